"""What a job asks of energy passes: meters, scenarios, windows."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from harness.decode import require
from harness.wire.names import require_name

SCENARIOS = ("paced", "closed")  # the first that was measured is the one that is compared
IDLE = "idle"


@dataclass(frozen=True)
class Meter:
    """A sensor to read on the device while passes run, with its options (plain JSON values)."""

    sensor: str
    options: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_name(self.sensor, "a sensor's name")


@dataclass(frozen=True)
class EnergyPlan:
    """How a job's energy passes go: `windows` blocks, each with one idle pass and one per case and scenario.

    A window lasts `window_s` (s); traces reach `lead_s` beyond it at both ends. `rate_hz`: inferences per second of the
    paced scenario, equal for all cases; None: half of what the slowest case does by its latencies. `meters` are read on
    the device, in order of preference; `remote` names those that the controller reads meanwhile.
    """

    meters: Tuple[Meter, ...]
    remote: Tuple[str, ...] = ()
    scenarios: Tuple[str, ...] = SCENARIOS
    windows: int = 5
    window_s: float = 20.0
    lead_s: float = 0.5
    rate_hz: Optional[float] = None
    attempts: int = 2

    def __post_init__(self) -> None:
        require(bool(self.meters or self.remote), "energy passes need a meter", "")
        known = bool(self.scenarios) and set(self.scenarios) <= set(SCENARIOS)
        require(known, "scenarios must be of " + ", ".join(SCENARIOS), self.scenarios)
        require(1 <= self.windows <= 1000, "windows must be from 1 to 1000", self.windows)
        require(0 < self.window_s <= 3600, "window_s must be above 0 and at most 3600", self.window_s)
        require(0 <= self.lead_s <= 60, "lead_s must be from 0 to 60", self.lead_s)
        require(self.rate_hz is None or self.rate_hz > 0, "rate_hz must be positive", self.rate_hz)
        require(self.attempts >= 1, "attempts must be positive", self.attempts)
