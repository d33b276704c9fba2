"""The kernels that IREE dispatches in an inference, with their times, from the tools that come with its runtime.

The compiled network cannot be walked, and IREE's Python has no sink for its profiler. Its own benchmark has one
(`host-execution`: what its CPU devices did), and its own reader tells each dispatch. Multiply-adds and bytes are not told: a
kernel's name has extents of its loops, which are not always those of products (a pooling may be called `conv`).
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Tuple

if TYPE_CHECKING:
    from devices.runtimes import _operators
else:
    import _operators

_MOST = 100  # inferences that are profiled
_NAME = re.compile(
    r"(?:.*_)?dispatch_\d+(?:_(?P<kind>.*?))??(?:_\d+(?:x\d+)*)?(?:_(?P<dtype>[a-z]+\d+)(?:x[a-z]+\d+)*)?"
)
_DTYPES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8"}


def executed(
    network: bytes, entry: str, arrays: Sequence[Any], device: str, threads: int, seconds: float
) -> Tuple[List[Dict[str, Any]], int]:
    """Return the kernels and, with `seconds`, their times. Raises RuntimeError with what a tool complains of."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        command = ["--function=" + entry, *_files(Path(folder), network, arrays), *_device(device, threads)]
        events = _profiled(command, profile, 1)
        operators = [_described(event["key"]) for event in events]
        if not seconds:
            return operators, 0
        lasting_ns = max(event["end_host_time_ns"] for event in events) - events[0]["start_host_time_ns"]
        count = min(_MOST, max(_operators.LEAST, int(seconds * 1e9 / lasting_ns)))
        events = _profiled(command, profile, _operators.WARM + count)[_operators.WARM * len(operators) :]
    if len(events) != count * len(operators):
        raise RuntimeError("%d dispatches were told of %d times %d" % (len(events), count, len(operators)))
    rows = [[event["duration_ns"] for event in events[n :: len(operators)]] for n in range(len(operators))]
    return _operators.timed(operators, map(median, rows)), count


def _files(folder: Path, network: bytes, arrays: Sequence[Any]) -> Iterator[str]:
    """Write the network and its inputs; give the words by which the benchmark reads them."""
    import numpy

    (folder / "network.vmfb").write_bytes(network)
    yield "--module=%s" % (folder / "network.vmfb")
    for n, array in enumerate(arrays):
        path = folder / ("input%d.npy" % n)
        numpy.save(str(path), array)
        yield "--input=@%s" % path


def _device(device: str, threads: int) -> List[str]:
    """The device as the runtime's file chooses it."""
    if device != "cpu":
        return ["--device=" + device]
    return (
        ["--device=local-sync"] if threads == 1 else ["--device=local-task", "--task_topology_group_count=%d" % threads]
    )


def _profiled(command: List[str], profile: Path, times: int) -> List[Dict[str, Any]]:
    """Run so many inferences; return their dispatches in order."""
    told = ["--device_profiling_mode=host-execution", "--device_profiling_output=%s" % profile]
    _run("iree-benchmark-module", [*command, *told, "--benchmark_min_time=%dx" % times])
    lines = _run("iree-profile", ["dispatch", "--format=jsonl", "--dispatch_events", str(profile)]).splitlines()
    events = [event for event in map(json.loads, lines) if event["type"] == "host_dispatch_event"]
    if not events:
        raise RuntimeError("IREE's profiler told of no dispatch")
    return sorted(events, key=lambda event: int(event["event_id"]))


def _run(tool: str, arguments: List[str]) -> str:
    from iree import _runtime_libs

    path = Path(str(_runtime_libs.__file__)).with_name(tool)
    done = subprocess.run([str(path), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError("%s (exit status %d): %s" % (tool, done.returncode, " ".join(said[:1])[:500]))
    return done.stdout.decode(errors="replace")


def _described(key: str) -> Dict[str, Any]:
    """Return a kernel as an operator: `infer$async_dispatch_1_conv_32x32x64x3x3x3_f32` is a `conv` in fp32."""
    found = _NAME.fullmatch(key)
    kind, number = (found["kind"] or "dispatch", found["dtype"] or "") if found else ("dispatch", "")
    return _operators.described(key.rpartition("$async_")[2], kind, None, None, _DTYPES.get(number, number))
