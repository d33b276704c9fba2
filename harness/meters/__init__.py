"""Meters that the controller reads while a job's energy passes run (a plug on the network, for one), and what is kept of it.

    record.py   the lines that are kept, and the traces that they come to on the device's clock
    reader.py   a thread for each meter; the clocks compared meanwhile

A meter never endangers a run: what cannot be read is a gap with a status and a reason, and the job goes on.
"""

from __future__ import annotations

from harness.meters.reader import Reader
from harness.meters.record import Found, Line, encode, found, read, whole_bytes

__all__ = ["Found", "Line", "Reader", "encode", "found", "read", "whole_bytes"]
