"""The papers' tables, as printed: `results/published/`. They are shown beside ours, never computed with ours."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass

from harness import content

CAPTION = "hardware as printed; protocol unknown"
_FOLDER = content.ROOT / "results" / "published"
_TABLES = {"easier": "easier_resnet18_cifar10_latency.csv"}
_DEVICES = {
    "xeon_e5_2640_ms": "Xeon E5-2640",
    "raspberry_pi_4_ms": "Raspberry Pi 4",
    "jetson_orin_ms": "Jetson Orin",
    "quadro_p2000_ms": "Quadro P2000",
    "rtx_2080_ms": "RTX 2080",
    "rtx_a4500_ms": "RTX A4500",
}


@dataclass(frozen=True)
class Published:
    """A paper's latency table: activations removed, of how many, and milliseconds per device.

    The table's MFLOPs are left out on purpose: row 0 of EASIER's is a misprint (725.47), so no ratio may use it.
    """

    name: str
    title: str
    source: str
    activations: int
    removed: tuple[int, ...]
    latency_ms: Mapping[str, tuple[float, ...]]


def published(name: str) -> Published:
    """Read a paper's latency table by name. Raises UsageError when there is none of that name."""
    content.require_known("published table", name, sorted(_TABLES))
    lines = (_FOLDER / _TABLES[name]).read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return Published(
        name=name,
        title="EASIER, ResNet-18 on CIFAR-10",
        source=comments[0],
        activations=int(rows[0]["activations"]),
        removed=tuple(int(row["removed"]) for row in rows),
        latency_ms={device: tuple(float(row[key]) for row in rows) for key, device in _DEVICES.items()},
    )
