"""Every kind of finding: how severe it may be, what it says, what to do. docs/findings.md is made from this list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.records import Finding, Severity


@dataclass(frozen=True)
class Kind:
    """A kind of finding: the severities that it may have, its definition in one sentence, what to do about it."""

    severities: tuple[Severity, ...]
    says: str
    do: str


_ERROR: tuple[Severity, ...] = ("error",)
_WARNING: tuple[Severity, ...] = ("warning",)
_INFO: tuple[Severity, ...] = ("info",)
_EITHER: tuple[Severity, ...] = ("warning", "info")

_COMPARED = {
    "control-wins": Kind(
        _EITHER,
        "A narrower or shallower control beats a ladder: a trained one at equal accuracy or latency (warning), an untrained "
        "one by latency alone (info).",
        "Train a smaller network with the same budget before any depth is removed; keep the ladder only where it wins.",
    ),
    "order-differs": Kind(
        _INFO,
        "The best rung of a ladder clearly differs between runtimes, precisions or devices, or between latency and energy.",
        "Choose the rung where it will run and by what is short there; say both beside any ranking.",
    ),
    "depth-without-speed": Kind(
        _WARNING,
        "Fewer layers than rung 0, and slower or the same (the LayerFold warning).",
        "Deploy the fastest rung, which may be rung 0; look at bytes of weights and useful MACs, and run with --profile.",
    ),
    "flops-fell-latency-rose": Kind(
        _WARNING,
        "Fewer MACs than rung 0, nominal or useful, and slower; such a rung is not said again under depth-without-speed.",
        "Choose by measured latency; FLOPs are no stand-in for it on this device.",
    ),
    "overhead-bound": Kind(
        _WARNING,
        "By its profile a rung that is not faster spends its time between operators or on the price of their calls, and more "
        "so than rung 0.",
        "Have fewer operators or cheaper calls: a compiled mode, a runtime that fuses more, a larger batch.",
    ),
    "memory-bound": Kind(
        _WARNING,
        "By its profile a rung that is not faster waits for bytes: an operator that grew, or most of its operators' time, is "
        "near the copy ceiling.",
        "Save bytes instead of MACs: narrower layers, merges with fewer weights, numbers of fewer bits.",
    ),
    "kernel-cliff": Kind(
        _WARNING,
        "By its profile a merged operator takes over 1.5 times as long per MAC as those it replaced: it left the fast kernel.",
        "Leave that layer unmerged, or try a runtime whose kernels take the merged shape as fast.",
    ),
    "layout-change": Kind(
        _WARNING,
        "By its profile the operator that grew most has another kind, layout or number format than before, or converts layouts.",
        "Try another layout, runtime or precision, or leave that layer unmerged.",
    ),
    "macs-rose": Kind(
        _EITHER,
        "More useful MACs than rung 0; info where such a rung is faster all the same.",
        "Look at which merged layers multiply more, and let a measurement decide.",
    ),
    "accuracy-lost": Kind(
        _WARNING,
        "Accuracy below rung 0 by more than the test split's noise.",
        "Stop at the rung before, or fine-tune for longer.",
    ),
    "quantisation-worse-after-folding": Kind(
        _WARNING,
        "An artifact loses clearly more of its network's accuracy to rounding than rung 0's artifact does.",
        "Keep the merged layers in a wider format, give channels scales of their own, or quantise rung 0 instead.",
    ),
    "faster-not-cheaper": Kind(
        _WARNING,
        "Faster than rung 0, and more energy per inference.",
        "Choose by energy where a battery or heat is the limit.",
    ),
    "energy-rose": Kind(
        _WARNING,
        "Fewer layers than rung 0, and more energy per inference.",
        "Deploy a rung that takes less; look at MACs and weights of the merged layers.",
    ),
}

_LADDERS = {
    "order-not-determined": Kind(
        _INFO,
        "The data do not settle which activation goes first: the scores' gap is below twice its bootstrap error.",
        "Compare ladders of several seeds before reading anything into the order.",
    ),
    "not-exact": Kind(
        ("error", "info"),
        "A folded rung lies beyond its error bound (error), or groups stayed unmerged to stay exact (info).",
        "Do not report a rung beyond its bound as folded without loss; a refused group costs depth, not correctness.",
    ),
    "agreement": Kind(
        _INFO,
        "How far networks given as files compute the same as the first of them: told, never bound.",
        "Read speed-ups of different functions together with their accuracies.",
    ),
    "ladder-cut-short": Kind(
        _EITHER,
        "A ladder ended before its candidates did: by --delta (info), or for a training diverged (warning).",
        "Allow more (--delta), train for longer, or take another seed.",
    ),
    "delta-not-resolvable": Kind(
        _WARNING,
        "A ladder's end by --delta was judged on too few images.",
        "Read nothing into the ladder's length, or take a task with more images.",
    ),
}

_MEASURED = {
    "failed": Kind(
        _ERROR,
        "Rows failed: an artifact could not be built, loaded or run, or computes something else.",
        "Read the row's own words; most name the next move. harness run --resume tries again.",
    ),
    "skipped": Kind(
        _WARNING,
        "Rows were never measured: the job ended first.",
        "Go on with --resume, allow a larger --budget, or ask for fewer rungs.",
    ),
    "noisy": Kind(
        _WARNING,
        "Intervals are wider than asked for, or a reference differs from itself by more than 2 %.",
        "Quieten the machine; a larger --budget helps where the finding says so.",
    ),
    "few-builds": Kind(
        _WARNING,
        "A difference below 5 % between networks that the device compiled fewer than three times.",
        "Repeat with --option builds=3.",
    ),
    "contended": Kind(
        _EITHER,
        "Processes beside which a spin was slow: something else used the machine; a warning from a tenth of them on.",
        "Stop what else runs, and measure again.",
    ),
    "not-steady": Kind(
        _EITHER,
        "Processes had not settled when they were timed, or shifted meanwhile; a warning from a tenth of them on.",
        "Look at the clock governor, at heat and at neighbours.",
    ),
    "throttled": Kind(
        ("error", "info"),
        "The device held its clocks down beside processes; an error where such processes count.",
        "Cool it, mend its power supply, or choose clocks that it can hold (--tune, --power-mode).",
    ),
    "foreign-load": Kind(
        _WARNING,
        "Others wanted more cores than there were left beside a tenth of the processes.",
        "Stop them, or take fewer --threads.",
    ),
    "stolen": Kind(
        _WARNING,
        "A hypervisor gave the processors' time to other guests.",
        "Measure on a machine of your own.",
    ),
    "swapped": Kind(
        _WARNING,
        "The device swapped pages while it measured: memory was short.",
        "Close what else runs there, or measure smaller networks.",
    ),
    "warm-start": Kind(
        _WARNING,
        "Blocks began before the device had cooled in the time allowed.",
        "Give it more air or a longer cooldown_s, or measure it warm on purpose: --regime sustained.",
    ),
    "heat-sensitive": Kind(
        _WARNING,
        "Latency goes along with the temperature from process to process.",
        "Cool the device, or lock a clock that it can hold (--tune).",
    ),
    "load-sensitive": Kind(
        _WARNING,
        "Latency goes along with what others used, with stolen time or with migrations from process to process.",
        "Stop what else runs, or isolate cores.",
    ),
    "energy-lost": Kind(
        _WARNING,
        "Windows of energy passes have no figure: their sensor stopped, stalled, may not be read or left holes.",
        "Do what the status asks for (permissions, driver, longer --window), then measure again.",
    ),
    "sampler-disturbs": Kind(
        _WARNING,
        "Inferences beside the sampler take another time, by more than 2 % for sure.",
        "Leave the sampler a core of its own, or read the sensor less often.",
    ),
    "idle-drifts": Kind(
        _WARNING,
        "Idle power differs by more than 5 % or 0.2 W from one block to the next.",
        "Let the device cool and keep others away; trust gross savings, doubt net ones.",
    ),
    "late-paces": Kind(
        _WARNING,
        "More than 5 % of a case's paced inferences began late.",
        "Choose a lower --rate.",
    ),
}

GROUPS: Mapping[str, Mapping[str, Kind]] = {
    "What depth reduction did": _COMPARED,
    "How ladders came to be": _LADDERS,
    "How far the measurement can be believed": _MEASURED,
}
KINDS: Mapping[str, Kind] = {name: kind for group in GROUPS.values() for name, kind in group.items()}


def known(finding: Finding) -> Finding:
    """Return a finding of a kind and severity that are defined here. Raises ValueError for another."""
    kind = KINDS.get(finding.kind)
    if kind is None or finding.severity not in kind.severities:
        raise ValueError(f"no such finding: {finding.kind}, {finding.severity}")
    return finding
