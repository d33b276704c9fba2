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
from typing import TYPE_CHECKING, Any

from harness import cache, content
from harness.records import Calibration, Exam, Examples, digest

if TYPE_CHECKING:
    from harness.compress import state

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
        calibrating = state.inputs(parts.train, torch.arange(min(CALIBRATING, len(parts.train.labels))))
    with cache.storing(), cache.put("examples", key) as folder:
        np.save(folder / _CALIBRATION, calibrating.contiguous().numpy(), allow_pickle=False)
        _write_inputs(folder / _INPUTS, parts.test)
        np.save(folder / _LABELS, parts.test.labels.contiguous().numpy(), allow_pickle=False)
        described = {name: _describe(folder / name) for name in (_CALIBRATION, _INPUTS, _LABELS)}
        (folder / _RECORD).write_text(json.dumps(described))


def _write_inputs(file: Path, split: state.Split) -> None:
    """Write all inputs of a split a batch at a time: thousands of large images would fill the memory."""
    import numpy as np

    from harness.compress import state

    with file.open("wb") as stream:
        for place, (x, _) in enumerate(state.batches(split)):
            if not place:
                shape = (len(split.labels), *x.shape[1:])
                header = {"descr": x.numpy().dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(x.contiguous().numpy().tobytes())


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
