"""What a device told of the networks that it really ran, and of what it can do at best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Bound = Literal["compute", "memory", "overhead", "unknown"]
Matched = Literal["name", "macs"]


@dataclass(frozen=True)
class Ceilings:
    """What a device's processor did at best with so many threads: a product in float32 and a copy (bytes read and written).

    Both are None where it could not be measured, and `reason` says why. `made_with`: the library and its version. `cpus`: on
    which CPUs, as `--option cpus=` says it, "" for all. `contended`: somebody else used them meanwhile, so that they are too
    low to judge by.
    """

    threads: int
    macs_per_s: float | None
    bytes_per_s: float | None
    made_with: str
    reason: str = ""
    cpus: str = ""
    contended: bool = False


@dataclass(frozen=True)
class Operation:
    """An operator as it was executed: what the device told of it, and what follows.

    `layer` of the variant is None where it has none (no MACs) or nothing tells which (then `matched` is None too); `matched`
    says by what it was found. `share` is of the time of all operators; `of_compute` and `of_copy` are fractions of the
    device's ceilings, which are those of float32. `bound` says what holds it, where times were measured; else None.
    """

    name: str
    kind: str
    layer: str | None
    matched: Matched | None
    macs: int | None
    bytes: int | None
    dtype: str
    layout: str
    time_ns: int | None = None
    share: float | None = None
    macs_per_s: float | None = None
    bytes_per_s: float | None = None
    of_compute: float | None = None
    of_copy: float | None = None
    bound: Bound | None = None


@dataclass(frozen=True)
class Executed:
    """A case's network as its device executed it; what is None has its reason among the row's, under `executed.<key>`.

    `operators` is their number; `macs` and `bytes` are sums over them for one inference (a whole batch), `macs_ratio` is
    `macs` over the controller's count. `macs_uncounted`: kinds of operators that nobody could count. Rates are those at the
    median latency, `of_compute` and `of_copy` fractions of `ceilings`. `operators_ns`: sum of the operators' own times,
    medians of `inferences`. `counters`: hardware counters per inference, by perf's names. `contended`: somebody else used the
    processor while the operators were timed, so that nothing is judged by their times.
    """

    operators: int
    macs: int | None
    macs_uncounted: tuple[str, ...]
    macs_ratio: float | None
    bytes: int | None
    macs_per_s: float | None
    flops_per_s: float | None
    bytes_per_s: float | None
    of_compute: float | None
    of_copy: float | None
    operators_ns: int | None
    inferences: int
    ceilings: Ceilings | None
    counters: Mapping[str, float | None] = field(default_factory=dict)
    contended: bool = False
