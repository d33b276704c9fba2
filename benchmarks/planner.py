"""What `harness plan` finds on this machine, latency alone: against folding everything, against chance, against itself.

python -m benchmarks planner-resnet18        a quarter of an hour; planner-mobilenet-32, planner-mobilenet-224 likewise
python -m benchmarks planner-chance          60 of the 256 choices on ResNet-18 at random, 20 minutes

Each begins with an empty cache. A comparison that a bar speaks of is made in blocks that nothing was chosen by.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from harness import inventory, stats
from harness.child import Progress
from harness.planner import choice, folder, rivals, trials
from harness.planner.gains import saved
from harness.planner.trials import Trial
from harness.records.planned import Gain, Planned

FORMS = "plain"  # what the literature's choices are of: activations removed, layers merged
REPEATS = {"resnet18": 8, "mobilenet_v2": 6}  # jobs in which a plan may turn out slower: 20 in all
CHANCES, RANKED = 60, 20
BEST = 5  # of the choices at random, measured again beside the plan
Names = tuple[str, ...]


@dataclass
class World:
    """An inventory, results and a cache of their own."""

    place: Path
    model: str
    task: str

    def plan(self, *words: str) -> tuple[Planned, float]:
        """Carry `harness plan` out; return what it found, and its wall time in s."""
        command = [
            sys.executable,
            "-m",
            "harness",
            "plan",
            "--device",
            "local",
            "--model",
            self.model,
            "--task",
            self.task,
        ]
        began = time.monotonic()
        subprocess.run(
            [*command, "--forms", FORMS, *words],
            cwd=self.place,
            env={**os.environ, "XDG_CACHE_HOME": str(self.place / "cache")},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        spent_s = time.monotonic() - began
        found = folder.load(self.own)
        assert found is not None
        return found, spent_s

    @property
    def own(self) -> Path:
        """The plan's folder."""
        (found,) = self.place.glob("results/local/plans/*/asked.json")
        return found.parent

    def trial(self, sets: Sequence[Names], budget_s: float | None = None) -> Trial:
        """Measure option sets against the unfolded network, in one job with blocks of its own."""
        device = inventory.device("local", self.place / "inventory.yaml")
        with _home(self.place / "cache"):
            return trials.trial(self.own, device, sets, _say, budget_s, again=True)


def ratio(trial: Trial, names: Names) -> float:
    """How many times as fast as unfolded; 1 for nothing taken."""
    found = trial.compared(names).speedup if names else None
    return found.ratio if found else 1.0


# --- the suites ----------------------------------------------------------------------------------------------------


def resnet18() -> list[Figure]:
    """ResNet-18 at 32x32, digits."""
    return _measured("resnet18", "digits", 180.0, least=1.10, everything=("<= 0.85x", 0.85))


def mobilenet_32() -> list[Figure]:
    """MobileNetV2 at 32x32, digits."""
    return _measured("mobilenet_v2", "digits", 480.0, least=1.5)


def mobilenet_224() -> list[Figure]:
    """MobileNetV2 at 224x224."""
    return _measured("mobilenet_v2", "flowers102", 480.0, least=1.5)


def _measured(
    model: str, task: str, bar_s: float, least: float, everything: tuple[str, float] | None = None
) -> list[Figure]:
    with _world(model, task) as world:
        found, first_s = world.plan()
        _, again_s = world.plan()
        best = fastest(found)
        blocks = tuple(option.name for option in rivals.whole_blocks(found.listing))
        jobs = [world.trial([each for each in (best, blocks) if each]) for _ in range(REPEATS[model])]
        signs = _signs(world, found)
    what = f"{model}, {task}"
    ratios = sorted(ratio(each, best) for each in jobs)
    alls = sorted(ratio(each, blocks) for each in jobs)
    middle, whole = ratios[len(ratios) // 2], alls[len(alls) // 2]
    slower = sum(_is_slower(each, best) for each in jobs)
    spent = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in found.seconds.items())
    table_s = sum(found.seconds.get(part, 0.0) for part in ("options", "build", "segments", "in place"))
    bar, most = everything or ("", None)
    return [
        Figure(f"{what}: the plan's speed-up", f">= {least:g}x", f"{middle:.2f}x", middle >= least,
               f"median of {len(jobs)} jobs that chose nothing, {ratios[0]:.2f} to {ratios[-1]:.2f}; {len(best)} options"),
        Figure(f"{what}: folding every block", bar, f"{whole:.2f}x", None if most is None else whole <= most,
               f"same jobs, {alls[0]:.2f} to {alls[-1]:.2f}"),
        Figure(f"{what}: the plan over folding every block", ">= 1.05x", f"{middle / whole:.2f}x", middle / whole >= 1.05),
        Figure(f"{what}: jobs that call the plan slower", "0", f"{slower} of {len(jobs)}", slower == 0),
        *_predictions(what, found),
        signs,
        Figure(f"{what}: table, building included", f"<= {bar_s:.0f} s", f"{table_s:.0f} s", table_s <= bar_s,
               f"from an empty cache; all of `harness plan`: {first_s:.0f} s ({spent})"),
        Figure(f"{what}: the same words again", "a look-up", f"{again_s:.1f} s", again_s < 15),
    ]  # fmt: skip


def _predictions(what: str, found: Planned) -> list[Figure]:
    """How far measured latencies of the front are from the predicted ones."""
    errors = [abs(plan.verified.error) for plan in found.front if plan.verified]
    worst = max(errors, default=0.0)
    return [
        Figure(
            f"{what}: predicted latency, worst of {len(errors)} plans",
            "within 10 %",
            f"{100 * worst:.1f} %",
            worst <= 0.10,
        )
    ]


def _signs(world: World, found: Planned) -> Figure:
    """Whether options do what the table is sure of, in place and in blocks of their own."""
    sure = [gain for gain in found.gains if _sign(gain)]
    trial = world.trial([(gain.option,) for gain in sure])
    again = {gain.option: saved(trial.compared((gain.option,))) for gain in sure}
    told = [(gain, other) for gain in sure if (other := again[gain.option]) is not None]
    right = sum((other.ns > 0) == ((gain.gain_ns or 0.0) > 0) for gain, other in told)
    share = right / len(told) if told else 1.0
    return Figure(
        f"{world.model}, {world.task}: signs of the table that hold", ">= 95 %", f"{right} of {len(told)}", share >= 0.95,
        f"rows whose interval excludes 0, of {len(found.gains)}; measured again in place",
    )  # fmt: skip


def chance() -> list[Figure]:
    """The plan for ResNet-18 among 60 of its 256 choices at random, and how well 20 of those were predicted."""
    with _world("resnet18", "digits") as world:
        found, _ = world.plan()
        names = [option.name for option in rivals.whole_blocks(found.listing)]
        draw = random.Random(0)
        drawn = draw.sample(range(1, 2 ** len(names)), CHANCES)
        sets = [tuple(name for at, name in enumerate(names) if number >> at & 1) for number in drawn]
        best = fastest(found)
        first = world.trial([*dict.fromkeys([*sets, best])], budget_s=1500)
        speeds = [ratio(first, each) for each in sets]
        ranked = sorted(sets, key=lambda each: -ratio(first, each))[:BEST]
        second = world.trial([*dict.fromkeys([*ranked, best])], budget_s=600)
    ahead = max(ratio(second, each) for each in ranked) / ratio(second, best)
    return [
        Figure("the plan behind the best of 60 choices at random", "within 3 %", f"{100 * (ahead - 1):+.1f} %", ahead <= 1.03,
               f"of 256 on ResNet-18; the best {BEST}, measured again beside the plan, which is {ratio(second, best):.2f}x"),
        _ranks(found, first, sets[:RANKED], RANKED),
        _ranks(found, first, sets, len(sets)),
        Figure("the choices themselves", "", f"{min(speeds):.2f}x to {max(speeds):.2f}x", None,
               f"{sum(speed < 1 for speed in speeds)} of {len(sets)} are slower than the unfolded network"),
    ]  # fmt: skip


def _ranks(found: Planned, trial: Trial, sets: Sequence[Names], many: int) -> Figure:
    """Rank correlation of predicted and measured latencies."""
    gain = {each.option: each.gain_ns or 0.0 for each in found.gains}
    predicted = [-sum(gain[name] for name in each) for each in sets]
    measured = [trial.latency_ns(each) or 0.0 for each in sets]
    told = stats.rank_correlation(predicted, measured)
    value = told.rho if told else 0.0
    bar = ">= 0.9" if many == RANKED else ""
    return Figure(
        f"rank correlation of predicted and measured, {many} choices",
        bar,
        f"{value:.2f}",
        value >= 0.9 if bar else None,
    )


# --- parts -----------------------------------------------------------------------------------------------------------


def fastest(found: Planned) -> Names:
    """The options of the plan that was measured to be fastest; none where nothing pays."""
    plans = sorted(found.front, key=choice.speedup)
    return plans[-1].options if plans and choice.speedup(plans[-1]) > 1 else ()


def _sign(gain: Gain) -> int:
    """1 for an option that surely gains, -1 for one that surely costs, else 0."""
    if gain.low_ns is None or gain.high_ns is None:
        return 0
    return int(gain.low_ns > 0) - int(gain.high_ns < 0)


def _is_slower(trial: Trial, names: Names) -> bool:
    found = trial.compared(names).speedup if names else None
    return found is not None and found.verdict == "slower"


@contextmanager
def _world(model: str, task: str) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as place:
        world = Path(place)
        (world / "inventory.yaml").write_text(json.dumps(_inventory(world)))
        yield World(world, model, task)


def _inventory(world: Path) -> dict[str, Any]:
    return {"devices": {"local": {"profile": "host", "workdir": str(world / "workdir")}}}


@contextmanager
def _home(cache: Path) -> Iterator[None]:
    usual = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    try:
        yield
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if usual is not None:
            os.environ["XDG_CACHE_HOME"] = usual


def _say(progress: Progress) -> None:
    print(progress.text, file=sys.stderr)
