"""What `harness plan --transfer` found: plans on settings that they were not made for. Data alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.records.measured import Speedup, Verdict


@dataclass(frozen=True)
class Setting:
    """Where a plan is made for: a device, and how it runs networks there."""

    device: str
    runtime: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Regret:
    """What the plan of one setting (`of`: its place) costs on another (`on`): its latency there over that of the one made there.

    Paired within blocks, with a 95 % interval; above 1 the foreign plan is slower, which `verdict` says of it. A plan against
    itself is 1, without an interval; where it could not be measured all are None, and `failure` says why. `speedup` is the
    foreign plan's over the unfolded network there.
    """

    of: int
    on: int
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict | None
    speedup: Speedup | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Transfer:
    """What plans made for one setting are worth on others: `results/transfers/<id>/transfer.json`.

    `plans`: the options that each setting's plan takes, none where the unfolded network is its plan; `regrets`: one of every
    pair of settings, a row of the matrix after the other. `folders`: where each setting was measured, below `results`;
    `goal`: what each plan was chosen for (goals.Goal).
    """

    schema: int
    created: str
    model: str
    task: str
    settings: tuple[Setting, ...]
    plans: tuple[tuple[str, ...], ...]
    regrets: tuple[Regret, ...]
    folders: tuple[str, ...] = ()
    goal: Mapping[str, Any] = field(default_factory=dict)
