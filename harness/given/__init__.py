"""Networks that were folded elsewhere, given as ONNX files: from files to a ladder of variants, without compressing.

    look(paths, batch)            what the files hold, or UsageError with the first thing that is wrong; writes nothing
    climb(networks, batch, tell)  the same as a ladder of method `onnx`, its networks copied into the cache
    reference.sample(...)         seeded inputs, and what a given file computes of them with optimisations off

The first file is rung 0. A file is measured as it is: where its batch is fixed the artifact is the file, byte by byte; a
free batch is fixed, nothing else is touched. onnx and ONNX Runtime live in a child process (`python -m harness.given`),
torch nowhere.
"""

from __future__ import annotations

from harness.given.client import climb, look

__all__ = ["climb", "look"]
