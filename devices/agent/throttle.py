"""Whether a device was throttled: what each kind of device tells of it, and what follows from several moments.

Raspberry Pi: the firmware's bits, 0-3 now and 16-19 since boot. Jetson: counted over-current events. NVIDIA: the reasons
for the clock, by NVML. x86: counted thermal events. Unreadable is never "not throttled": it is no evidence, and the
reading says why.
"""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from harness import mailbox, nvml
from harness.sensing import Files, Snapshot, Source, UnavailableError, absent, number, text
from harness.wire import SUSPENDED

_SUSPENDED_LEAST_S = 0.010
_PI_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
_PI_STICKY = 16
_OC_NAMES = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "over-current"}
_NVML_INVALID = {
    0x8: "hardware slow-down",
    0x20: "software thermal slow-down",
    0x40: "hardware thermal slow-down",
    0x80: "power brake",
}
_CPU = "sys/devices/system/cpu"


def sources(root: Path, files: Files) -> Iterator[Source]:
    """What this device can tell; where it can tell nothing, that it cannot."""
    found = [*_pi(root, files), *_jetson(root, files), *_counters(root, files), *_gpus()]
    yield from found or [absent("throttling", "machine", "gauge", "1", "nothing here tells whether it is throttled")]


def _counters(root: Path, files: Files) -> Iterator[Source]:
    for kind in ("core", "package"):
        counters = sorted((root / _CPU).glob("cpu[0-9]*/thermal_throttle/%s_throttle_count" % kind))
        if counters:
            yield Source("thermal_throttle", kind, "counter", "1", _sum(files, counters))


def _gpus() -> Iterator[Source]:
    for gpu in nvml.gpus():
        read = lambda device=gpu: nvml.clock_reasons(device)  # noqa: E731
        yield Source("gpu_clock_reasons", "gpu%d" % gpu.number, "gauge", "1", read)


def _pi(root: Path, files: Files) -> Iterator[Source]:
    twins = sorted((root / "sys/devices/platform").glob("**/get_throttled"))
    if twins:
        yield Source("throttle_bits", "firmware", "gauge", "1", _hexadecimal(files, twins[0]))
    elif (root / "dev/vcio").exists():
        yield Source("throttle_bits", "firmware", "gauge", "1", lambda: mailbox.throttled(root / "dev/vcio"))
    for alarm in _hwmon(root, "rpi_volt", "in0_lcrit_alarm"):
        yield Source("undervoltage_alarm", "supply", "gauge", "1", number(files, alarm))


def _jetson(root: Path, files: Files) -> Iterator[Source]:
    for counter in _hwmon(root, "soctherm_oc", "oc*_event_cnt"):
        yield Source("overcurrent_events", counter.name.split("_")[0], "counter", "1", number(files, counter))


def _hwmon(root: Path, name: str, pattern: str) -> List[Path]:
    chips = [*(root / "sys/class/hwmon").glob("hwmon*"), *(root / "sys/devices/platform").glob("*/hwmon/hwmon*")]
    found = {path.resolve(): path for chip in chips if text(chip / "name") == name for path in chip.glob(pattern)}
    return sorted(found.values(), key=lambda path: path.name)


def _sum(files: Files, counters: Sequence[Path]) -> Callable[[], float]:
    reads = [number(files, counter) for counter in counters]
    return lambda: sum(read() for read in reads)


def _hexadecimal(files: Files, path: Path) -> Callable[[], float]:
    def read() -> float:
        try:
            return int(files.text(path), 16)
        except ValueError:
            raise UnavailableError("%s holds no hexadecimal number" % path) from None

    return read


# --- what follows --------------------------------------------------------------------------------------------------


def evidence(snapshots: Sequence[Snapshot]) -> Tuple[str, ...]:
    """Return one sentence for each sign, in snapshots of before, during and after a process, of throttling or sleep."""
    return (*_pi_evidence(snapshots), *_gpu_evidence(snapshots), *_counted(snapshots))


def _pi_evidence(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    """Bits that were on at any moment, and since-boot bits that came on: one that was on before can tell no more."""
    bits = [int(value) for snapshot in snapshots for value in snapshot.values("throttle_bits").values()]
    for n, word in enumerate(_PI_BITS):
        now = any(value >> n & 1 for value in bits)
        since_boot = [value >> (n + _PI_STICKY) & 1 for value in bits]
        if now or (any(since_boot) and not since_boot[0]):
            yield "the firmware says: %s%s (0x%x)" % (word, "" if now else " meanwhile", bits[-1])
    if any(snapshot.values("undervoltage_alarm").get("supply") for snapshot in snapshots):
        yield "the supply's under-voltage alarm was on"


def _gpu_evidence(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    """Slow-downs by the hardware or for heat; the software's power cap (0x4) is a reading, not a fault."""
    seen: Dict[str, int] = {}
    for snapshot in snapshots:
        for gpu, reasons in snapshot.values("gpu_clock_reasons").items():
            seen[gpu] = seen.get(gpu, 0) | int(reasons)
    for gpu in sorted(seen):
        words = [word for bit, word in _NVML_INVALID.items() if seen[gpu] & bit]
        if words:
            yield "%s slowed its clock: %s (0x%x)" % (gpu, ", ".join(words), seen[gpu])


def _counted(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    for name, rise in _rises(snapshots, "overcurrent_events").items():
        yield "%d %s events (%s)" % (rise, _OC_NAMES.get(name, "over-current"), name)
    for kind, rise in _rises(snapshots, "thermal_throttle").items():
        yield "the processor counted %d thermal throttling events (%s, over all CPUs)" % (rise, kind)
    slept = sum(_rises(snapshots, "suspended").values())
    if slept > _SUSPENDED_LEAST_S:
        yield "%s for %.3g s" % (SUSPENDED, slept)


def _rises(snapshots: Sequence[Snapshot], sensor: str) -> Dict[str, float]:
    """By scope, how far a counter rose in steps upward; a step back (wrap, reset) tells nothing."""
    rises: Dict[str, float] = {}
    last: Dict[str, float] = {}
    for snapshot in snapshots:
        values = snapshot.values(sensor)
        for scope, value in values.items():
            if value > last.get(scope, value):
                rises[scope] = rises.get(scope, 0.0) + value - last[scope]
        last.update(values)
    return rises
