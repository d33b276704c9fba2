"""What all tables of plotted points share: how they become CSV, and their milliseconds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any


def to_csv(kind: type[Any], table: Sequence[Any]) -> str:
    """Dataclasses of one kind as CSV, a column per field; what is None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(each) for each in table)
    return text.getvalue()


def ms(ns: float | None) -> float | None:
    """Nanoseconds in ms; None stays None."""
    return None if ns is None else ns / 1e6
