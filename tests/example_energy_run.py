"""A run with energies as it could have been, and the journals of its passes: a board that idles at 2.9 W and works at 6.9 W."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import example_run

from harness import wire
from harness.records import Energy, EnergyRecord, Figure, Interval, Run, Saving, Summary

IDLE_W, WORK_W = 2.9, 4.0  # work comes on top of idling
RATE_HZ = 150.0
WINDOW_S = 20.0
HALF_WIDTH = 0.010
VDD_IN = wire.Channel("ina3221", "VDD_IN", "module", "instant_power", True, 0.0066, 0.04)
VDD_CPU = wire.Channel("ina3221", "VDD_CPU_GPU_CV", "rail", "instant_power", False, 0.0066, 0.04)
TEXT = {"sensor": "ina3221", "channel": "VDD_IN", "kind": "instant_power"}
PART = "a part of the module: drawn, never added"
NO_ENERGY = "no pass gave a whole trace: ina3221 error: /sys/class/hwmon/hwmon3/in1_input: No such device"


def run(methods=("easier",), scenarios=("paced", "closed"), scopes=("module",), scale=1.0, window_s=WINDOW_S) -> Run:
    """A runtime per scope, in this order: onnxruntime, torch. `scale` multiplies all energies."""
    runtimes = ("onnxruntime", "torch")[: len(scopes)]
    made = replace(example_run.run(methods, runtimes), device="jetson")
    scope = dict(zip(runtimes, scopes, strict=True))
    heads = {s.case_id: gross(s, scenarios[0]) * scale for s in made.cases}
    cases = tuple(
        replace(
            s,
            energy_j=_energy(s, scenarios, scope[s.runtime], heads[s.reference], scale, window_s),
            energy_status="ok",
            reasons={key: reason for key, reason in s.reasons.items() if key != "energy_j"},
        )
        for s in made.cases
    )
    jobs = tuple(replace(job, energy=_record(scope[job.runtime], scenarios)) for job in made.jobs)
    return replace(made, cases=cases, jobs=jobs)


def without(made: Run, rungs=None, reason: str = NO_ENERGY) -> Run:
    """The same run, in which these rungs (None: nothing) had no energy."""
    cases = tuple(
        replace(s, energy_j=None, energy_status="no energy", reasons={**s.reasons, "energy_j": reason})
        if rungs is None or s.rung in rungs
        else s
        for s in made.cases
    )
    return replace(made, cases=cases)


def gross(s: Summary, scenario: str) -> float:
    """J per inference."""
    busy_s = s.latency_ns.median / 1e9
    period_s = 1 / RATE_HZ if scenario == "paced" else busy_s
    return IDLE_W * period_s + WORK_W * busy_s


def journals(made: Run, blocks: int = 2, scenarios=("paced", "closed"), window_s: float = 4.0, hz: float = 40.0):
    """The passes of the first cases of each runtime: in block 1 a gap of half a second in rung 1's `closed` pass."""
    found = {}
    for runtime in made.plan.runtimes:
        cases = [s for s in made.cases if s.runtime == runtime and s.rung is not None][:4]
        asked = [("idle", None), *((scenario, s) for s in cases for scenario in scenarios)]
        passes = [(block, *each) for block in range(1, blocks + 1) for each in asked]
        found[runtime] = [
            passed(n, block, scenario, s, window_s, hz, gap=(block, scenario) == (1, "closed") and s is cases[1])
            for n, (block, scenario, s) in enumerate(passes)
        ]
    return found


def passed(
    n: int, block: int, scenario: str, s: Summary | None, window_s=4.0, hz=40.0, *, gap=False, attempt=1, **changes
):
    """Pass `n`: a window that began 0.5 s into its traces, and readings as a sensor with steps of 40 mW gives them."""
    start_ns = 10**12 + round(n * 1e9 * (window_s + 10))
    end_ns = start_ns + round(window_s * 1e9)
    times = [start_ns + round((i / hz - 0.5) * 1e9) for i in range(round((window_s + 1) * hz))]
    if gap:
        middle = (start_ns + end_ns) // 2
        missing = [t for t in times if abs(t - middle) < 0.25e9]
        times = [t for t in times if t not in missing]
        gaps = tuple(wire.Gap(t, "error", "ina3221: in1_input: No such device") for t in missing)
    noise = random.Random(n)
    mean_w = IDLE_W + (0 if s is None else WORK_W * s.latency_ns.median / 1e9 * rate(scenario, s))
    watts = tuple(0.04 * round((mean_w + noise.gauss(0, 0.12)) / 0.04) for _ in times)
    part = tuple(0.4 * value for value in watts)
    traces = (wire.Trace(VDD_IN, tuple(times), watts, gaps if gap else ()), wire.Trace(VDD_CPU, tuple(times), part))
    busy = {} if s is None else {"unsampled_ns": 2_400_000, "sampled_ns": 2_410_000}
    fields = {
        "v": wire.VERSION,
        "seq": n,
        "t_ns": end_ns + 10**9,
        "kind": "pass",
        "scenario": scenario,
        "block": block,
        "case_id": s.case_id if s else "",
        "attempt": attempt,
        "start_ns": start_ns,
        "end_ns": end_ns,
        "inferences": round(window_s * rate(scenario, s)) if s else 0,
        "wall_ns": round((window_s + 4) * 1e9),
        "spin_before_ns": 10**6,
        "spin_after_ns": 10**6,
        "contended": False,
        "traces": traces,
        **dict(rate_hz=RATE_HZ if scenario == "paced" else None, sampler_cpus="5", **busy),
    }
    return wire.PassEvent(**{**fields, **changes})


def rate(scenario: str, s: Summary) -> float:
    """Inferences per second."""
    return RATE_HZ if scenario == "paced" else 1e9 / s.latency_ns.median


def _energy(s: Summary, scenarios, scope: str, head: float, scale: float, window_s: float) -> Energy:
    figures = {name: _figure(s, name, head if name == scenarios[0] else None, scale, window_s) for name in scenarios}
    first = figures[scenarios[0]]
    return Energy(first.gross, first.net, scope, window_s, scenarios[0], **TEXT, saving=first.saving, figures=figures)


def _figure(s: Summary, scenario: str, head: float | None, scale: float, window_s: float) -> Figure:
    value = gross(s, scenario) * scale
    net = WORK_W * s.latency_ns.median / 1e9 * scale
    saving = None if head is None else _saving(head / value, s.case_id == s.reference)
    rate_hz = RATE_HZ if scenario == "paced" else None
    watts = interval(value * rate(scenario, s))
    return Figure(interval(value), interval(net, 2.5), watts, 5, window_s, rate_hz, 0.998, 0, saving)


def _saving(ratio: float, itself: bool) -> Saving:
    if itself:
        return Saving(1.0, None, None, None)
    low, high = ratio * math.exp(-HALF_WIDTH), ratio * math.exp(HALF_WIDTH)
    verdict = "less" if low > 1 else "more" if high < 1 else "same" if low > 0.98 and high < 1.02 else "unclear"
    return Saving(ratio, low, high, verdict)


def interval(value: float, wide: float = 1.0) -> Interval:
    """A value with an interval of one per cent to each side, times `wide`."""
    return Interval(value, value * math.exp(-HALF_WIDTH * wide), value * math.exp(HALF_WIDTH * wide))


def _record(scope: str, scenarios) -> EnergyRecord:
    return EnergyRecord(
        scope,
        **TEXT,
        rate_hz=RATE_HZ if "paced" in scenarios else None,
        idle_w=interval(IDLE_W, 0.5),
        idle_drift=0.004,
        sampler=Interval(1.004, 0.999, 1.009),
        passes={"ok": 125, "contended": 2, "throttled": 0, "uncovered": 0, "failed": 0},
        others={
            "ina3221 VDD_CPU_GPU_CV instant_power": PART,
            "ina3221 VDD_SOC instant_power": PART,
            "shelly": "error: no answer from 192.168.1.20 within 2 s",
        },
    )
