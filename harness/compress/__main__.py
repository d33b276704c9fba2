"""The child process in which torch lives: `python -m harness.compress`, asked by harness.compress.client."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from harness import child
from harness.compress import alone, controls, examples, ladder, plans, pricing
from harness.compress.climber import Means
from harness.errors import ContentError, UsageError
from harness.records import FoldRequest, LadderRequest
from harness.records.planned import OptionsRequest, PricesRequest, Wanted


def handle(request: dict[str, Any], on_progress: child.OnProgress) -> Any:
    """Make a ladder, controls, options, prices or examples, where the parent looks for it; fold; or check."""
    from pydantic import TypeAdapter

    torch.set_num_threads(request["threads"])
    # The same numbers every time, at no cost here; filling fresh memory would cost and changes nothing.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if "ladder" in request:
        ladder.climb(TypeAdapter(LadderRequest).validate_python(request["ladder"]), request["key"], on_progress)
    elif "check" in request:
        check(TypeAdapter(list[LadderRequest]).validate_python(request["check"]), on_progress)
    elif "options" in request:
        plans.list_options(TypeAdapter(OptionsRequest).validate_python(request["options"]), request["key"], on_progress)
    elif "networks" in request:
        wanted = TypeAdapter(dict[str, Wanted]).validate_python(request["networks"])
        return plans.make(TypeAdapter(OptionsRequest).validate_python(request["of"]), wanted, on_progress)
    elif "prices" in request:
        pricing.make(TypeAdapter(PricesRequest).validate_python(request["prices"]), on_progress)
    elif "examples" in request:
        examples.make(**request["examples"], key=request["key"])
    elif "fold" in request:
        return asdict(alone.make(TypeAdapter(FoldRequest).validate_python(request["fold"]), on_progress))
    else:
        controls.make(**request["controls"], key=request["key"], on_progress=on_progress)
    return None


def check(requests: list[LadderRequest], on_progress: child.OnProgress) -> None:
    """Let each ladder be judged and its data be looked at, making none.

    Raises UsageError, which names the method; ContentError, which names a file.
    """
    for request in requests:
        try:
            Means(request, on_progress).check()
        except ContentError:
            raise
        except UsageError as error:
            if request.method in error.message:
                raise
            raise UsageError(f"method {request.method}: {error.message}", error.hint) from None


if __name__ == "__main__":
    child.serve(handle)
