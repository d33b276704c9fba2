"""A task's examples as NumPy files in the cache, for artifacts of rounded numbers: to calibrate on, and to be judged on.

examples/<key>/calibration.npy          the first inputs of the training part, as training sees them
examples/<key>/inputs.npy, labels.npy   the whole test part
examples/<key>/examples.json            SHA-256 and size of each file

Reading needs no torch; only a task's `load` does, so making is for the child process.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness import cache, content
from harness.records import Calibration, Exam, Examples, digest

CALIBRATING = 64  # inputs: ranges of activations hardly widen with more, and a converter runs the network on each
_CALIBRATION, _INPUTS, _LABELS = "calibration.npy", "inputs.npy", "labels.npy"
_RECORD = "examples.json"


def read(key: str) -> Examples | None:
    """Return the examples of `key`, or None when they are not cached whole."""
    return cache.read("examples", key, _parse)


def make(task: str, data: str | None, key: str) -> None:
    """Write the task's examples into the cache under `key`. Raises ContentError (the task's own code), StoreError."""
    import numpy as np
    import torch

    from harness.compress import state

    module = content.load("task", task)
    with content.blaming(content.find("task", task)):
        parts = module.load(data)
        tensors = {
            _CALIBRATION: state.inputs(parts.train, torch.arange(min(CALIBRATING, len(parts.train.labels)))),
            _INPUTS: state.inputs(parts.test, torch.arange(len(parts.test.labels))),
            _LABELS: parts.test.labels,
        }
    with cache.storing(), cache.put("examples", key) as folder:
        for name, tensor in tensors.items():
            np.save(folder / name, np.ascontiguousarray(tensor.numpy()), allow_pickle=False)
        described = {name: _describe(folder / name) for name in tensors}
        (folder / _RECORD).write_text(json.dumps(described))


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "size_bytes": file.stat().st_size}


def _parse(folder: Path) -> Examples:
    files = json.loads((folder / _RECORD).read_text())
    for name in (_CALIBRATION, _INPUTS, _LABELS):
        if (folder / name).stat().st_size != files[name]["size_bytes"]:
            raise ValueError(f"{folder / name} is incomplete")
    both = digest([files[name]["sha256"] for name in (_INPUTS, _LABELS)])
    return Examples(
        Calibration(str(folder / _CALIBRATION), files[_CALIBRATION]["sha256"]),
        Exam(str(folder / _INPUTS), str(folder / _LABELS), both),
    )
