"""An NVIDIA GPU's own energy counter and power, by its driver's library (NVML).

Scope `gpu`: the card with its memory, nothing else of the machine, and all that runs on it, other people's work included.
Three channels that are never mixed, each asked for by itself: `energy` (J since the driver was loaded, a new value about
every 0.1 s), `average` (a mean over 1 s) and `instant` power. Where a driver knows neither of the two there is `power`, which is
one or the other by the GPU's age. On many cards the sensor behind all of them looks only part of the time (A100, H100: 25 ms
of 100 ms), and +-5 % is what to expect of it (arXiv 2312.02741): windows are long. Some modules tell their own power
alone: its scope is `module`. A Jetson's GPU answers "not supported" to all: there the sensor `ina3221` measures.

`gpu` counts as nvidia-smi does; CUDA may count in another order.

    sensors:
      nvml: {gpu: 0}
"""

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from harness import nvml, wire
from harness.sensing import AbsentError, Taken, UnavailableError

if TYPE_CHECKING:
    from devices.sensors import _accumulator, _options, _outcome
else:
    import _accumulator
    import _options
    import _outcome

WINDOW_S = (10.0, 30.0)
LEAD_S = 1.5  # a mean over 1 s, and half a second
OPTIONS: Dict[str, str] = {
    "gpu": "the GPU's number as nvidia-smi counts, else 0",
    "period_s": "how often it is read, s: from 0.02 to 1, else 0.1",
}

_UPDATE_S = 0.1
_STEP = 1e-3  # mJ and mW
_AVERAGE_S = 1.0
_MOST_W = 10_000.0  # of one GPU or module: what rises faster was not counted
_LAST_INSTANT = (8, 0)  # compute capability of GA100
_SETTLE_S = 0.3
_SCOPES = ("gpu", "module")  # by NVML's number


class Source(NamedTuple):
    """A channel and how it is read."""

    channel: wire.Channel
    read: Callable[[], float]


def probe(options: Mapping[str, Any]) -> Tuple[str, str]:
    """Return a status and its reason, after two readings."""
    return _outcome.probed(lambda: _look(options))


def _look(options: Mapping[str, Any]) -> Tuple[str, str]:
    with open(options) as session:
        first = session.read()
        time.sleep(_SETTLE_S)
        told = [_told(*each) for each in zip(session.channels, first, session.read())]
        status = next((status for status, _ in told if status == "ok"), told[0][0])
        return status, "%s: %s" % (session.title, ", ".join(words for _, words in told))


def _told(channel: wire.Channel, first: Taken, last: Taken) -> Tuple[str, str]:
    if last.value is None:
        return last.status, "no %s (%s)" % (channel.name, last.reason)
    if channel.unit == "W":
        return "ok", "%s %.1f W" % (channel.name, last.value)
    if first.value == last.value:
        return "stale", "no %s (the counter does not move)" % channel.name
    return "ok", channel.name


@contextlib.contextmanager
def open(options: Mapping[str, Any]) -> Iterator["Session"]:
    """Give a session. Raises AbsentError, PermissionError, UnavailableError, ValueError."""
    _options.known(options, OPTIONS)
    number = _options.whole(options, "gpu", 0, 0, 1023)
    period_s = _options.number(options, "period_s", 0.1, 0.02, 1.0)
    gpu, count = nvml.connect(number)
    try:
        title = "GPU %d of %d, %s" % (number, count, nvml.name(gpu) or "without a name")
        yield Session(title, _sources(gpu), period_s)
    finally:
        nvml.disconnect(gpu)


class Session:
    """What a GPU tells of itself."""

    def __init__(self, title: str, sources: Sequence[Source], period_s: float) -> None:
        self.title, self.period_s = title, period_s
        self._sources = sources
        self.channels: Tuple[wire.Channel, ...] = tuple(source.channel for source in sources)

    def read(self) -> Sequence[Taken]:
        """Return each channel's energy in J or power in W; one that fails leaves the others alone."""
        taken: List[Taken] = []
        for n, source in enumerate(self._sources):
            start_ns = time.monotonic_ns()
            found = _outcome.taken(n, source.read)
            taken.append(found._replace(t_ns=(start_ns + time.monotonic_ns()) // 2))
        return taken


def _sources(gpu: nvml.Gpu) -> List[Source]:
    """What this GPU tells. Raises AbsentError where that is nothing."""
    found = [*_energy(gpu), *_fields(gpu)]
    if not any(source.channel.unit == "W" for source in found):
        found += _usage(gpu)
    if not found:
        raise AbsentError(
            "%s tells NVML neither energy nor power; a Jetson's is measured by the sensor ina3221"
            % (nvml.name(gpu) or "this GPU")
        )
    return found


def _energy(gpu: nvml.Gpu) -> List[Source]:
    if not _there(functools.partial(nvml.energy_mj, gpu)):
        return []
    sums = _accumulator.Accumulator("the energy counter", _STEP, _MOST_W)
    read = lambda: sums.energy(nvml.energy_mj(gpu), time.monotonic_ns())  # noqa: E731
    return [Source(_channel("energy", "gpu", "energy_counter"), read)]


def _fields(gpu: nvml.Gpu) -> Iterator[Source]:
    """Average and instant power: of the GPU, or where it tells that alone of its module."""
    for name, kind, field in (
        ("average", "averaged_power", nvml.POWER_AVERAGE),
        ("instant", "instant_power", nvml.POWER_INSTANT),
    ):
        for number, scope in enumerate(_SCOPES):
            read = functools.partial(nvml.field_w, gpu, field, number)
            if _there(read):
                yield Source(_channel(name, scope, kind), functools.partial(_alive, read))
                break


def _usage(gpu: nvml.Gpu) -> Iterator[Source]:
    """The older query, whose kind follows from the GPU's age; where that is not told, neither is a number."""
    read = functools.partial(nvml.power_w, gpu)
    age = nvml.capability(gpu)
    if age is not None and _there(read):
        kind = "instant_power" if age <= _LAST_INSTANT else "averaged_power"
        yield Source(_channel("power", "gpu", kind), functools.partial(_alive, read))


def _channel(name: str, scope: str, kind: str) -> wire.Channel:
    average_s = _AVERAGE_S if kind == "averaged_power" else 0.0
    return wire.Channel("nvml", name, scope, kind, True, _UPDATE_S, _STEP, average_s)


def _there(read: Callable[[], float]) -> bool:
    """Whether a query is known here; one that fails in another way is a channel, and says so at each reading."""
    try:
        read()
    except AbsentError:
        return False
    except (OSError, UnavailableError):
        return True
    return True


def _alive(read: Callable[[], float]) -> float:
    power_w = read()
    if power_w <= 0:
        raise _outcome.StaleError("NVML says %g W, which no GPU takes that answers" % power_w)
    return power_w
