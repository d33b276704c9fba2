"""The accuracy of an artifact itself: run on this machine, on the task's test part (`python -m harness.accuracy`).

Each artifact has a process of its own: what was compiled for another machine may crash it, or take hours, and then there is
no accuracy but still an artifact.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import child, content, limits, wire
from harness.child import OnProgress, Progress
from harness.errors import HarnessError
from harness.records import Exam

MODULE = "harness.accuracy"
_ALONE = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Sitting:
    """What an exam may take: `seconds` in all, and the bounds of its process. Whoever waits hears of every set of inputs."""

    seconds: float
    bounds: child.Bounds
    on_progress: OnProgress


def measure(
    runtime: str, artifact: Path, options: Mapping[str, Any], exam: Exam, sitting: Sitting
) -> tuple[float | None, str]:
    """Return the fraction of the exam that the artifact classifies correctly, or None and why it cannot be told here.

    `options` are those of the runtime's `load`, `batch` among them.
    """
    asked: dict[str, Any] = {"runtime": runtime, "artifact": str(artifact), "options": dict(options)}
    asked |= {"exam": asdict(exam), "seconds": sitting.seconds}
    sitting.on_progress(Progress("", 0))
    try:
        with child.Group() as alone:
            answer = alone.call(MODULE, asked, sitting.on_progress, _ALONE, sitting.bounds)
    except child.ChildBoundedError as error:
        return None, f"judging the artifact {error.message} and was ended: {limits.ADVICE}"
    except HarnessError as error:
        return None, f"the artifact cannot be run on this machine: {error.message}"
    return answer["accuracy"], answer["reason"]


# --- in the child --------------------------------------------------------------------------------------------------


def _serve(asked: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Answer what `measure` asks. A line of progress per set of inputs: it ends this process when nobody listens."""
    runtime = content.load("runtime", asked["runtime"])
    try:
        session = runtime.load(asked["artifact"], asked["options"])
        until = time.monotonic() + asked["seconds"]
        right = _right(session, Exam(**asked["exam"]), int(asked["options"]["batch"]), until, on_progress)
    except BrokenPipeError:
        raise
    except Exception as error:  # a runtime may raise anything; ImportError where it is not installed here
        said = f"the artifact cannot be run on this machine: {type(error).__name__}: {error}"
        return {"accuracy": None, "reason": said[:2000]}
    if right is None:
        said = f"judging the artifact took more than {asked['seconds']:g} s and was ended: {limits.ADVICE}"
        return {"accuracy": None, "reason": said}
    return {"accuracy": sum(right) / len(right), "reason": ""}


def _right(session: Any, exam: Exam, batch: int, until: float, on_progress: OnProgress) -> list[bool] | None:
    """Whether each example is classified correctly, fed in sets of `batch`; a last set is filled up with its last input.

    None when the time is up before all are.
    """
    import numpy as np

    labels = np.load(exam.labels)
    right: list[bool] = []
    for inputs in _sets(exam, batch):
        session.feed([wire.Tensor.of(inputs.shape, inputs.tobytes(), inputs.dtype.name)])
        output = session.fetch(session())[0]
        scores = np.frombuffer(output.raw(), "<f4").reshape(output.shape)
        counted = labels[len(right) : len(right) + batch]
        right += (scores.argmax(axis=1)[: len(counted)] == counted).tolist()
        on_progress(Progress("", len(right), len(labels)))
        if time.monotonic() > until and len(right) < len(labels):
            return None
    return right


def _sets(exam: Exam, batch: int) -> Iterator[Any]:
    import numpy as np

    inputs = np.load(exam.inputs, mmap_mode="r")
    for first in range(0, len(inputs), batch):
        part = inputs[first : first + batch]
        yield np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])


if __name__ == "__main__":
    os.environ.update(_ALONE)
    child.serve(_serve)
