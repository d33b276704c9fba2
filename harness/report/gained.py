"""What the figure of a plan plots, as values: its front, predicted and measured, and what each option gains; names that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.records.planned import FoldingPlan, Gain, Planned
from harness.report.plotted import ms, to_csv

Verdict = Literal["saves", "costs", "undecided", "failed"]

BARS = 30  # options that are drawn
_NAME = 46  # characters of an option's name


@dataclass(frozen=True)
class Mark:
    """A plan of the front, or an option: what it should bring, and what it brought. None: there is no such number.

    Of a plan speed-ups over the unfolded network, predicted and measured; of an option what it saves, in ms and as a share of
    the unfolded network's latency. `verdict` of an option: its whole interval saves, or costs, or holds 0. `drawn`: of very many
    options those that gain and cost most are.
    """

    kind: Literal["plan", "option"]
    name: str
    place: int
    chosen: bool
    predicted: float | None = None
    predicted_low: float | None = None
    predicted_high: float | None = None
    measured: float | None = None
    measured_low: float | None = None
    measured_high: float | None = None
    saved_ms: float | None = None
    saved_low_ms: float | None = None
    saved_high_ms: float | None = None
    saved: float | None = None
    saved_low: float | None = None
    saved_high: float | None = None
    basis: str | None = None
    verdict: str | None = None
    drawn: bool = True


def marks(planned: Planned) -> tuple[Mark, ...]:
    """The plans of the front, then the options, those that save most first, those that failed last."""
    plans = tuple(_plan(n, plan, n == planned.chosen) for n, plan in enumerate(planned.front))
    ranked = sorted(planned.gains, key=lambda gain: (gain.gain_ns is None, -(gain.gain_ns or 0.0), gain.option))
    chosen = planned.front[planned.chosen].options if planned.chosen is not None else ()
    shown = _shown(ranked)
    options = (_option(n, gain, planned, gain.option in chosen, n in shown) for n, gain in enumerate(ranked))
    return (*plans, *options)


def is_plotted(planned: Planned, figure: Path) -> bool:
    """Whether a plan's figure is there, and the points beside it are still those of the plan."""
    points = figure.with_suffix(".csv")
    return figure.is_file() and points.is_file() and points.read_text() == to_csv(Mark, marks(planned))


def _plan(place: int, plan: FoldingPlan, chosen: bool) -> Mark:
    found, predicted = plan.verified, plan.predicted
    return Mark(
        "plan",
        " + ".join(plan.options),
        place + 1,
        chosen,
        predicted=predicted.speedup,
        predicted_low=predicted.speedup_low,
        predicted_high=predicted.speedup_high,
        measured=found.speedup.ratio if found else None,
        measured_low=found.speedup.low if found else None,
        measured_high=found.speedup.high if found else None,
    )


def _option(place: int, gain: Gain, planned: Planned, chosen: bool, drawn: bool) -> Mark:
    values = (gain.gain_ns, gain.low_ns, gain.high_ns)
    whole = planned.reference_ns
    shares = (None if each is None or not whole else each / whole for each in values)
    return Mark(
        "option",
        gain.option,
        place + 1,
        chosen,
        **dict(zip(("saved_ms", "saved_low_ms", "saved_high_ms"), map(ms, values), strict=True)),
        **dict(zip(("saved", "saved_low", "saved_high"), shares, strict=True)),
        basis=gain.basis,
        verdict=verdict(gain),
        drawn=drawn,
    )


def verdict(gain: Gain) -> Verdict:
    """What an option's interval says of it."""
    if gain.gain_ns is None or gain.low_ns is None or gain.high_ns is None:
        return "failed"
    return "saves" if gain.low_ns > 0 else "costs" if gain.high_ns < 0 else "undecided"


def _shown(ranked: Sequence[Gain]) -> set[int]:
    """The places of those that are drawn: of very many the first two thirds, and the last third."""
    known = [place for place, gain in enumerate(ranked) if verdict(gain) != "failed"]
    if len(known) <= BARS:
        return set(known)
    return {*known[: BARS - BARS // 3], *known[-(BARS // 3) :]}


def short(option: str, most: int = _NAME) -> str:
    """An option's name with what its layers share said once, and without its middle where it is still too long.

    layer4.1.conv1..layer4.1.conv2:plain is layer4.1.conv1..conv2:plain.
    """
    layers, colon, form = option.partition(":")
    first, dots, last = layers.partition("..")
    kind, equal, inner = form.partition("=")
    dropped = ",".join(_beyond(first, each) for each in inner.split(","))
    name = f"{first}{dots}{_beyond(first, last)}{colon}{kind}{equal}{dropped}"
    if len(name) <= most:
        return name
    tail = 2 * most // 3
    return f"{name[: most - tail - 1]}\u2026{name[-tail:]}"


def _beyond(first: str, other: str) -> str:
    """A layer's name without the modules that it shares with the first; its own last part always stays."""
    ours, theirs = first.split("."), other.split(".")
    same = next((n for n, (one, two) in enumerate(zip(ours, theirs, strict=False)) if one != two), len(ours))
    return ".".join(theirs[min(same, len(theirs) - 1) :])
