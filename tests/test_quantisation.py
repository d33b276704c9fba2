"""What rounding costs beside folding: losses of artifacts, what a test split resolves, and the finding."""

from __future__ import annotations

import math
from dataclasses import replace

import example_run
import numpy as np
import pytest

from harness import findings
from harness.analysis import losses
from harness.findings.quantisation import resolution

N = 270


def run_of(*built, precision="int8"):
    """The example run with artifacts of these accuracies, in examples of 270, for its first rungs."""
    run = example_run.run()
    right = dict(enumerate(built))
    cases = tuple(
        replace(
            s,
            precision=precision,
            artifact_accuracy=right[s.rung] / N if s.method != "control" and s.rung in right else None,
            reasons={**s.reasons, "artifact_accuracy": "not asked for"},
        )
        for s in run.cases
    )
    return replace(run, cases=losses.attach(cases))


def worse(run):
    found = findings.find(run.cases, run.ladders, run.jobs)
    return [each for each in found if each.kind == "quantisation-worse-after-folding"]


def test_losses_are_torchs_accuracy_less_the_artifacts_and_what_is_added_to_rung_0s():
    first, second, third, *_ = run_of(264, 261).cases
    assert first.artifact_loss == pytest.approx(2 / N) and first.artifact_loss_added is None
    assert "rung 0 itself" in first.reasons["artifact_loss_added"]
    assert second.artifact_loss == pytest.approx(5 / N) and second.artifact_loss_added == pytest.approx(3 / N)
    assert third.artifact_loss is None and third.reasons["artifact_loss"] == "not asked for"


def test_an_artifact_may_gain_which_is_a_negative_loss():
    first, second, *_ = run_of(268, 268).cases
    assert first.artifact_loss == pytest.approx(-2 / N) and second.artifact_loss_added == pytest.approx(0)


def test_without_rung_0s_accuracy_nothing_is_added_to_it():
    run = run_of(264, 261)
    headless = losses.attach((replace(run.cases[0], artifact_accuracy=None), *run.cases[1:]))
    assert headless[1].artifact_loss is not None and headless[1].artifact_loss_added is None
    assert headless[1].reasons["artifact_loss_added"] == "the artifact of rung 0 has no accuracy"


def test_an_added_loss_beyond_what_the_split_resolves_is_a_finding_with_its_numbers():
    (finding,) = worse(run_of(265, 264, 200, 190))
    assert finding.numbers["rungs"] == "2 and 3" and finding.numbers["worst_rung"] == 3
    assert finding.numbers["loss_before"] == pytest.approx(1 / N)
    assert finding.numbers["loss_after"] == pytest.approx((263 - 190) / N)
    assert finding.numbers["loss_added"] == pytest.approx(72 / N)
    assert finding.numbers["resolution"] < finding.numbers["loss_added"] and finding.numbers["test_examples"] == N
    assert "Rung 1 is the last before a clear loss" in finding.advice and finding.cause.isascii()


def test_a_loss_within_what_the_split_resolves_is_none():
    accuracies = [266 / N, 266 / N, 265 / N]
    least = next(lost for lost in range(N) if lost / N > resolution([*accuracies, (265 - lost) / N], N))
    assert worse(run_of(266, 266, 265 - least + 1)) == [] and worse(run_of(266, 266, 265 - least)) != []


def test_layers_whose_merged_weights_round_worse_are_named():
    run = run_of(265, 264, 200)
    ladder = run.ladders[0]
    suffering = [
        replace(rung, groups=tuple(replace(group, suffers=("int8 per tensor",)) for group in rung.groups))
        for rung in ladder.rungs
    ]
    run = replace(run, ladders=(replace(ladder, rungs=tuple(suffering)), *run.ladders[1:]))
    (finding,) = worse(run)
    assert "The weights of the merged layer4.1 and 1 more round worse" in finding.cause
    (other,) = worse(replace(run, cases=tuple(replace(s, precision="fp16") for s in run.cases)))
    assert "No merged layer's weights alone explain it" in other.cause


def test_the_resolution_covers_a_difference_of_differences_and_is_cautious_where_examples_are_shared():
    rng = np.random.default_rng(0)
    truth, n, times = (0.97, 0.95, 0.95, 0.90), 300, 2000
    added = (truth[0] - truth[1]) - (truth[2] - truth[3])
    drawn = rng.binomial(n, truth, (times, 4)) / n
    missed = np.mean([abs((a - b) - (c - d) - added) > resolution((a, b, c, d), n) for a, b, c, d in drawn])
    assert 0.03 < missed < 0.07  # independent: 5 %
    shared = (rng.random((times, n, 1)) < np.array(truth)).mean(axis=1)
    tight = np.mean([abs((a - b) - (c - d) - added) > resolution((a, b, c, d), n) for a, b, c, d in shared])
    assert tight < 0.01


def test_all_right_still_leaves_something_unresolved():
    assert 0 < resolution((1.0, 1.0, 1.0, 1.0), N) < 0.02 and math.isfinite(resolution((0.0, 1.0, 0.5, 1.0), N))
