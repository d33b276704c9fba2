"""A step of load put on a device, its sensors of power read meanwhile, those on the network from here; what each answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from harness import bundle, energy, meters, wire
from harness.check.points import Point
from harness.check.response import point
from harness.child import OnProgress, Progress
from harness.errors import HarnessError
from harness.records import Device
from harness.text import printable
from harness.transport import Transport
from harness.transport.device import SensorOptions


def stepped(device: Device, found: energy.Found, line: Transport, tell: OnProgress) -> Iterator[Point]:
    """Yield how each sensor that can be read answers to a step of load, also one that another makes superfluous."""
    options = {name: each for name, each in energy.listed(device).items() if found[name][0] == "ok"}
    if not options:
        return
    tell(Progress(f"a step of load on every core of {device.name}: about half a minute"))
    here = {name: each for name, each in options.items() if energy.where(name) == "controller"}
    there = {name: each for name, each in options.items() if name not in here}
    try:
        seen = _seen(line, bundle.build(device.runtimes[0], tuple(there)), there, here)
    except HarnessError as error:
        advice = error.hint or "Try again when nothing else runs there."
        yield Point("step of load", printable(error.message), "missing", "what its sensors see of it", advice)
        return
    yield from (point(trace, seen.load_ns) for trace in seen.traces if trace.channel.total)
    for name, why in seen.unopened.items():
        yield Point(
            f"sensor {name}", printable(why), "missing", "readings", "It could be read a moment ago: try again."
        )


def _seen(line: Transport, agent: Path, there: SensorOptions, here: SensorOptions) -> wire.Stepped:
    """What all of them saw, on the device's clock. Raises HarnessError."""
    lines: list[meters.Line] = []
    with meters.Reader(here, lambda: nullcontext(lines.append), lambda: line.clock(agent)) as reader:
        reader.tick(passes=True)
        seen = line.step(agent, there)
        reader.end()
    told = meters.found(lines, f"meters of {line.name}")
    traces = (*seen.traces, *(remote.trace for remote in told.traces))
    return wire.Stepped(traces, {**seen.unopened, **told.unread}, seen.load_ns)
