"""What a device is and can do, against its profile, and what differs: `harness check`. Nothing is measured.

points.py     what is said: a point each, with what was expected, what was found and what to do
cpus.py       what a processor is called, and what code made for it needs
compare.py    what the device is, against its profile (pure)
response.py   how a sensor of power answers to a step of load (pure); steps.py puts one on the device
standing.py   how it stands at the moment: room, clock, lock, throttling, sensors (pure)
story.py      the device looked at, its runtimes imported there
"""

from harness.check.compare import compare
from harness.check.points import Examination, Point, Severity
from harness.check.standing import sensors, standing
from harness.check.story import examine

__all__ = ["Examination", "Point", "Severity", "compare", "examine", "sensors", "standing"]
