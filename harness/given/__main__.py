"""The child process in which onnx and ONNX Runtime live: `python -m harness.given`, asked by harness.given.client."""

from __future__ import annotations

from harness import child
from harness.given.ladder import handle

if __name__ == "__main__":
    child.serve(handle)
