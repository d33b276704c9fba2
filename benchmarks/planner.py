"""What `harness plan` finds on this machine, latency alone: against folding everything, against chance, against itself.

python -m benchmarks planner-resnet18        a quarter of an hour; planner-mobilenet-32, planner-mobilenet-224 likewise
python -m benchmarks planner-chance          60 of the choices on ResNet-18 at random, 20 minutes

Each begins with an empty cache. A comparison that a bar speaks of is made in blocks that nothing was chosen by; what failed
there fails the bar. Together three plans in 20 jobs: they tell of the measuring, not of 20 networks. What each job came to is
kept in `benchmarks/data/planner-<suite>.json` (`benchmarks.planner_world`).
"""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure
from benchmarks.planner_world import Over, World, interval, told, world
from harness import stats
from harness.findings.views import count
from harness.planner import rivals
from harness.planner.trials import Options, Trial
from harness.records import Speedup
from harness.records.planned import Gain, Planned

CHANCES, RANKED = 60, 20
BEST = 5  # of the choices at random, measured again beside the plan
LEAST_BLOCKS, ROOMY_BLOCKS = 6, 12  # of choices at random: asked for; given time for
SIGNS, SIGN_BLOCKS = 40, 5  # rows whose sign is measured again, at most; blocks that they are given time for


@dataclass(frozen=True)
class Bars:
    """What a suite has to reach: the plan's speed-up, seconds of its table; of folding everything, where it has one."""

    least: float
    table_s: float
    jobs: int  # in which the plan may turn out slower
    everything: float | None = None


def resnet18() -> list[Figure]:
    """ResNet-18 at 32x32, digits."""
    with world("resnet18", "resnet18", "digits") as own:
        return measured(own, Bars(1.10, 180.0, 8, everything=0.85))


def mobilenet_32() -> list[Figure]:
    """MobileNetV2 at 32x32, digits."""
    with world("mobilenet-32", "mobilenet_v2", "digits") as own:
        return measured(own, Bars(1.5, 480.0, 6))


def mobilenet_224() -> list[Figure]:
    """MobileNetV2 at 224x224."""
    with world("mobilenet-224", "mobilenet_v2", "flowers102") as own:
        return measured(own, Bars(1.5, 480.0, 6))


def chance() -> list[Figure]:
    """The plan for ResNet-18 among 60 of its 255 choices at random, and how well 20 of those were predicted."""
    with world("chance", "resnet18", "digits") as own:
        return drawn(own)


# --- one network -----------------------------------------------------------------------------------------------------


def measured(own: World, bars: Bars) -> list[Figure]:
    """Plan, look it up, try the plan beside folding every block in jobs that choose nothing, try the table's signs."""
    what = f"{own.model}, {own.task}"
    found, spent = own.plan()
    again = _again(own, what)
    best, blocks = meant(found), tuple(option.name for option in rivals.whole_blocks(found.listing))
    jobs = [own.trial(f"job {n + 1}", (best, blocks)) for n in range(bars.jobs)]
    table_s = spent.table_s
    parts = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in found.seconds.items())
    return [
        *_against(what, jobs, best, blocks, bars),
        _predictions(what, found),
        _signs(own, what, found),
        Figure(f"{what}: table", f"<= {bars.table_s:.0f} s", "there was none" if table_s is None else f"{table_s:.0f} s",
               table_s is not None and table_s <= bars.table_s,
               f"wall time from an empty cache to the end of its last job; the front included: {spent.whole_s:.0f} s ({parts})"),
        again,
    ]  # fmt: skip


def meant(found: Planned) -> Options:
    """The options of the plan that is meant; none where the unfolded network is."""
    return () if found.chosen is None else found.front[found.chosen].options


def _against(what: str, jobs: Sequence[Trial | str], best: Options, blocks: Options, bars: Bars) -> list[Figure]:
    """The plan, folding every block, the one over the other (paired within each job), and how often the plan is slower."""
    plan, everything, over = Over.of(jobs, best), Over.of(jobs, blocks), Over.of(jobs, best, blocks)
    slower, most = sum(one.verdict == "slower" for one in plan.found), bars.everything
    folds = f"1 plan of {count(len(best), 'option')}" if best else "no plan: it stays unfolded"
    return [
        Figure(f"{what}: the plan's speed-up", f">= {bars.least:g}x", plan.words(),
               plan.holds(lambda ratio: ratio >= bars.least), f"{folds}, {plan.range()}"),
        Figure(f"{what}: folding every block", "" if most is None else f"<= {most:g}x", everything.words(),
               None if most is None else everything.holds(lambda ratio: ratio <= most),
               f"{count(len(blocks), 'block')}, {everything.range()}"),
        Figure(f"{what}: the plan over folding every block", ">= 1.05x", over.words(),
               over.holds(lambda ratio: ratio >= 1.05), f"paired within each job: {over.range()}"),
        Figure(f"{what}: jobs that call the plan slower", "0", f"{slower} of {len(plan.found)}",
               bool(best) and plan.holds(lambda _: slower == 0),
               f"{'1 plan' if best else 'no plan'}, {count(len(jobs), 'job')} that chose nothing"),
    ]  # fmt: skip


def _predictions(what: str, found: Planned) -> Figure:
    """How far measured latencies of the front are from the predicted ones; a plan that was not measured fails."""
    known = [plan for plan in found.front if plan.verified]
    lost = len(found.front) - len(known)
    head, bar = f"{what}: predicted latency, worst of {count(len(known), 'plan')}", "within 10 %"
    worst = max(known, key=lambda plan: abs(plan.verified.error if plan.verified else 0.0), default=None)
    if worst is None or worst.verified is None:
        return Figure(head, bar, "not measured", False, f"{len(found.front)} plans in the front")
    ends = f"{worst.predicted.speedup:.2f}x [{worst.predicted.speedup_low:.2f}, {worst.predicted.speedup_high:.2f}]"
    said = f"there {ends} predicted, {interval(worst.verified.speedup)} measured" + _failed(lost, "plan")
    off = abs(worst.verified.error)
    return Figure(head, bar, f"{100 * off:.1f} %", off <= 0.10 and not lost, said)


def _signs(own: World, what: str, found: Planned) -> Figure:
    """Whether options do what the table is sure of, in place and in blocks of their own."""
    sure = [gain for gain in found.gains if _sign(gain)]
    taken = random.Random(0).sample(sure, min(SIGNS, len(sure)))
    trial = own.trial("signs", [(gain.option,) for gain in taken], own.budget(len(taken), SIGN_BLOCKS))
    ratios = [(gain, told(trial, (gain.option,))) for gain in taken]
    known = [(gain, ratio) for gain, ratio in ratios if isinstance(ratio, Speedup)]
    clear = [(gain, ratio) for gain, ratio in known if _is_told(ratio)]
    right, leaning = (sum(_agrees(*pair) for pair in pairs) for pairs in (clear, known))
    of = f"{len(taken)} at random of {len(sure)}" if len(taken) < len(sure) else f"{len(taken)}"
    said = [f"{of} rows whose interval excludes 0, of {len(found.gains)}, measured again in place {_blocks(trial)}"]
    said.append(f"{len(known) - len(clear)} of them hold 1 there, which tells nothing; by their middles {leaning} hold")
    lost = _failed(len(taken) - len(known), "row")
    return Figure(f"{what}: signs of the table that hold", ">= 95 %", f"{right} of {len(clear)}",
                  bool(clear) and not lost and right >= 0.95 * len(clear), "; ".join(said) + lost)  # fmt: skip


def _sign(gain: Gain) -> int:
    """1 for an option that surely gains, -1 for one that surely costs, else 0."""
    if gain.low_ns is None or gain.high_ns is None:
        return 0
    return int(gain.low_ns > 0) - int(gain.high_ns < 0)


def _agrees(gain: Gain, ratio: Speedup) -> bool:
    return ratio.ratio > 1 if _sign(gain) > 0 else ratio.ratio < 1


def _is_told(ratio: Speedup) -> bool:
    return ratio.low is not None and ratio.high is not None and not ratio.low <= 1 <= ratio.high


def _again(own: World, what: str) -> Figure:
    """Whether the same words are a look-up: no job more on the device, none in the folder."""
    head, bar = f"{what}: the same words again", "no new job"
    try:
        spent_s, new = own.look_up()
    except subprocess.CalledProcessError as error:
        return Figure(head, bar, "it failed", False, f"exit code {error.returncode}")
    return Figure(head, bar, count(new, "new job"), new == 0, f"in {spent_s:.1f} s")


# --- choices at random -----------------------------------------------------------------------------------------------


def drawn(own: World) -> list[Figure]:
    """Measure choices of blocks at random in one job, the best of them again beside the plan in another."""
    found, _ = own.plan()
    names = [option.name for option in rivals.whole_blocks(found.listing)]
    every = range(1, 2 ** len(names))  # without the choice of nothing, which is what all are held against
    numbers = random.Random(0).sample(every, min(CHANCES, len(every)))
    sets = [tuple(name for at, name in enumerate(names) if number >> at & 1) for number in numbers]
    best = meant(found)
    first = own.trial("choices", [*sets, best], own.budget(len(sets) + 1, ROOMY_BLOCKS))
    ratios = {each: told(first, each) for each in sets}
    known = {each: ratio.ratio for each, ratio in ratios.items() if isinstance(ratio, Speedup)}
    ahead = sorted(known, key=lambda each: -known[each])[:BEST]
    second = own.trial("best again", [*ahead, best])
    return [
        _behind(ahead, best, second, len(every), len(sets) - len(known), first),
        *(_ranks(found, first, some) for some in (sets[:RANKED], sets)),
        _spread(known, len(sets)),
    ]


def _behind(
    ahead: Sequence[Options], best: Options, second: Trial | str, many: int, lost: int, first: Trial | str
) -> Figure:
    """How far the plan is behind the best of the choices, paired within one job that neither was chosen by."""
    head, bar = f"the plan behind the best of {CHANCES} choices at random", "within 3 %"
    over = [told(second, each, best) for each in ahead]
    known = [one for one in over if isinstance(one, Speedup)]
    plan = told(second, best)
    if not known or isinstance(plan, str):
        why = next((one for one in (plan, *over, first) if isinstance(one, str)), "no choice was measured")
        return Figure(head, bar, "not measured", False, why)
    top, whole = max(known, key=lambda one: one.ratio), isinstance(first, str) or first.measured.blocks >= LEAST_BLOCKS
    said = f"of {many} that fold anything, measured {_blocks(first)}; the best {len(known)} again beside the plan"
    said += f", which is {interval(plan)}: the best over the plan {interval(top)}"
    said += _failed(lost + len(over) - len(known), "choice") + ("" if whole else f"; fewer than {LEAST_BLOCKS} blocks")
    holds = top.ratio <= 1.03 and whole and not lost and len(known) == len(over)
    return Figure(head, bar, f"{100 * (top.ratio - 1):+.1f} %", holds, said)


def _ranks(found: Planned, trial: Trial | str, sets: Sequence[Options]) -> Figure:
    """Rank correlation of predicted and measured latencies; the bar is of the first RANKED."""
    gain = {each.option: each.gain_ns for each in found.gains}
    points = [(_predicted(gain, each), None if isinstance(trial, str) else trial.latency_ns(each)) for each in sets]
    known = [(one, other) for one, other in points if one is not None and other is not None]
    result = stats.rank_correlation([one for one, _ in known], [other for _, other in known])
    head = f"rank correlation of predicted and measured, {len(sets)} choices"
    bar, lost = ">= 0.9" if len(sets) <= RANKED else "", len(sets) - len(known)
    if result is None:
        return Figure(
            head, bar, "not known", False if bar else None, f"{len(known)} choices have both: too few to tell"
        )
    low, high = _fisher(result.rho, len(known))
    said = f"95 % interval about {low:.2f} to {high:.2f}{_failed(lost, 'choice')}"
    return Figure(head, bar, f"{result.rho:.2f}", (result.rho >= 0.9 and not lost) if bar else None, said)


def _predicted(gain: dict[str, float | None], options: Options) -> float | None:
    """A choice's latency less that of the unfolded network, by the table; None where that does not know an option."""
    gains = [known for name in options if (known := gain.get(name)) is not None]
    return -sum(gains) if len(gains) == len(options) else None


def _fisher(rho: float, many: int) -> tuple[float, float]:
    """The 95 % interval of a correlation, by Fisher's transformation."""
    middle, width = math.atanh(max(-0.999999, min(0.999999, rho))), 1.96 / math.sqrt(many - 3)
    return math.tanh(middle - width), math.tanh(middle + width)


def _spread(known: dict[Options, float], many: int) -> Figure:
    """How fast and how slow choices at random are."""
    head, speeds = "the choices themselves", known.values()
    if not known:
        return Figure(head, "", "not measured", None, f"all {many} failed")
    said = f"{sum(speed < 1 for speed in speeds)} of {len(known)} are slower than the unfolded network"
    return Figure(
        head, "", f"{min(speeds):.2f}x to {max(speeds):.2f}x", None, said + _failed(many - len(known), "choice")
    )


# --- words -----------------------------------------------------------------------------------------------------------


def _blocks(trial: Trial | str) -> str:
    return f"(no job: {told(trial, ())})" if isinstance(trial, str) else f"in {trial.measured.blocks} blocks"


def _failed(many: int, what: str) -> str:
    """What failed, where anything did."""
    return f"; {count(many, what)} failed" if many else ""
