"""The child process in which torch lives: `python -m harness.compress`, asked by harness.compress.client."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from harness import child
from harness.compress import alone, controls, examples, ladder
from harness.records import FoldRequest, LadderRequest


def handle(request: dict[str, Any], on_progress: child.OnProgress) -> Any:
    """Make a ladder, or a model's latency controls, or a task's examples, where the parent looks for it; or fold one."""
    from pydantic import TypeAdapter

    torch.set_num_threads(request["threads"])
    # The same numbers every time, at no cost here; filling fresh memory would cost and changes nothing.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if "ladder" in request:
        ladder.climb(TypeAdapter(LadderRequest).validate_python(request["ladder"]), request["key"], on_progress)
    elif "examples" in request:
        examples.make(**request["examples"], key=request["key"])
    elif "fold" in request:
        return asdict(alone.make(TypeAdapter(FoldRequest).validate_python(request["fold"]), on_progress))
    else:
        controls.make(**request["controls"], key=request["key"], on_progress=on_progress)
    return None


if __name__ == "__main__":
    child.serve(handle)
