"""The data of the experiments that the docs quote: they agree with each other and with what is claimed of them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import noise, rules
from harness.calibration import SAME

CONDITIONS = {name: (frame, raw) for name, frame, raw in noise.conditions()}
pytestmark = pytest.mark.skipif(not CONDITIONS, reason="no experiment was run")


@pytest.mark.parametrize("name", CONDITIONS)
def test_our_rule_on_the_kept_data_says_what_the_calibration_said(name: str) -> None:
    frame, raw = CONDITIONS[name]
    found = json.loads((noise.DATA / f"noise-{name}.json").read_text())
    said: dict[int, list[int]] = {}
    for added, case, reference in rules._pairs(frame):
        said.setdefault(added, []).extend(rules._tried(*rules.RULES["ours"], case, reference, raw))
    assert [sum(map(abs, said[0])), len(said[0])] == [found["false"]["hits"], found["false"]["tries"]]
    for effect in found["effects"]:
        answers = said[round(100 * effect["added"])]
        assert [answers.count(1), answers.count(-1)] == [effect["found"]["hits"], effect["wrong"]]


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_experiment_is_whole(name: str) -> None:
    """At least 300 comparisons of equal networks, ten blocks each, and the raw latencies of every process."""
    frame, raw = CONDITIONS[name]
    per_pair = frame[frame.case.str.startswith(SAME)].groupby(["job", "case"]).block.nunique()
    assert len(per_pair) >= noise.ENOUGH and (per_pair == 10).all()
    assert len(raw) == len(frame)
    medians = np.median(raw, axis=1)
    assert np.quantile(np.abs(np.log(medians / frame.median_ns)), 0.5) < 0.05


def test_the_bars_of_the_experiments_hold() -> None:
    """At most 1 % of equal networks called different; none that is slower called faster."""
    for name in CONDITIONS:
        found = json.loads((noise.DATA / f"noise-{name}.json").read_text())
        assert found["false"]["hits"] <= 0.01 * found["false"]["tries"], name
        assert all(effect["wrong"] == 0 for effect in found["effects"]), name


def test_every_process_has_a_row_of_its_own() -> None:
    for frame, _ in CONDITIONS.values():
        assert isinstance(frame, pd.DataFrame)
        assert not frame.duplicated(["job", "case", "block", "replicate"]).any()
