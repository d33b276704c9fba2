"""Does nothing: for measuring the harness itself (`--runtime empty`). Its session answers with the sample's own outputs.

What is left of a latency is the call and the two clock reads around it; what is left of a process is its fixed cost.
"""

import json
import platform
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

from harness import wire

PRECISIONS = ("fp32",)
FORMS = ("torch", "onnx")
OPTIONS: Dict[str, Tuple[str, ...]] = {}
CONVERTERS = ()


def export(variant: Any, target: Any, precision: str, options: Dict[str, str], out: Path) -> Dict[str, Optional[int]]:
    """Write an artifact that only says which variant it stands for."""
    out.write_text(json.dumps({"format": "empty", "variant": variant.name, "batch": options.get("batch", "1")}))
    return {"ops_executed": 0}


def load(path: str, options: Dict[str, Any]) -> "Session":
    """Return a session. `options["sample"]` is the path of the sample whose outputs it repeats."""
    sample = wire.decode(wire.Sample, Path(options["sample"]).read_text(encoding="utf-8"), options["sample"])
    return Session(sample, int(options["threads"]))


def versions() -> Dict[str, str]:
    """Return what it consists of: Python."""
    return {"python": platform.python_version()}


class Session:
    """Answers each inference with nothing; `fetch` looks the outputs up in the sample by the rows that were fed."""

    def __init__(self, sample: wire.Sample, threads: int) -> None:
        self.sample = sample
        self.threads = threads
        self.fed: Tuple[wire.Tensor, ...] = sample.inputs

    def feed(self, inputs: Sequence[wire.Tensor]) -> None:
        """Take the network's inputs."""
        self.fed = tuple(inputs)

    def __call__(self) -> None:
        """Do nothing, once."""

    def fetch(self, result: None) -> Tuple[wire.Tensor, ...]:
        """Return the sample's outputs for the rows that were fed."""
        rows, count = self.sample.inputs[0].shape[0], self.fed[0].shape[0]
        whole, part = self.sample.inputs[0].raw(), self.fed[0].raw()
        first = whole.index(part) * rows // len(whole)
        return tuple(output.rows(first, count) for output in self.sample.outputs)

    def effective(self) -> Dict[str, Any]:
        """Return what is in force. It does nothing with any number of threads, so as many are in force as were asked for."""
        batch = self.fed[0].shape[0]
        return {"threads": self.threads, "provider": "none", "precision": "fp32", "batch": batch}
