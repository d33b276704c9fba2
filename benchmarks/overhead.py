"""What the harness itself costs: inside each latency, per process, against a bare loop. `python -m benchmarks.overhead`.

Everything is interleaved, because the level of a machine drifts by more than what is measured here.
"""

from __future__ import annotations

import array
import hashlib
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.figures import Figure, table
from devices.agent import measure as agent
from harness import bundle, content, wire
from harness.transport import Local

PROTOCOL = wire.Protocol(timed_s=0.3)


def measure() -> list[Figure]:
    """Return the figures of this file, about a minute's work."""
    added, pair = added_latency()
    cost, slow_cost = process_cost()
    ratio, low, high = ratio_to_bare_loop()
    half_width = (math.log(high) - math.log(low)) / 2
    return [
        Figure("added inside each latency (`empty` runtime)", "<= 0.2 us", f"{added / 1e3:.3f} us", added <= 200,
               f"beyond the bare pair of clock reads, {pair / 1e3:.3f} us"),
        Figure("fixed cost per measured process, spins and journal included", "<= 0.5 s", f"{cost:.3f} s", cost <= 0.5,
               f"from one journal entry to the next, less import, load, warm-up, timing; 90th percentile {slow_cost:.3f} s"),
        Figure("harness's median over a bare loop's, same session", "contains 1", f"{ratio:.4f} [{low:.4f}, {high:.4f}]",
               low <= 1 <= high, "interleaved, 95 % interval"),
        Figure("half-width of that interval", "<= 1 %", f"{100 * half_width:.2f} %", half_width <= 0.01),
    ]  # fmt: skip


def added_latency(rounds: int = 30) -> tuple[float, float]:
    """Return the time added inside each latency (around `empty`, less a bare pair of clock reads), and the pair's; ns.

    Medians of means: the clock's resolution (10 ns on some machines) is as large as what is measured.
    """
    protocol = wire.Protocol(timed_s=0.02, max_samples=20_000)
    session = content.load("runtime", "empty").Session(_sample(), threads=1)
    timed, bare = [], []
    for _ in range(rounds):
        timed.append(statistics.fmean(agent.time_session(session.__call__, protocol)[1]))
        bare.append(statistics.fmean(_clock_pairs(20_000)))
    pair = statistics.median(bare)
    return statistics.median(timed) - pair, pair


def _clock_pairs(count: int) -> list[int]:
    clock, pairs = time.perf_counter_ns, []
    for _ in range(count):
        before = clock()
        after = clock()
        pairs.append(after - before)
    return pairs


def process_cost(blocks: int = 6, cases: int = 5) -> tuple[float, float]:
    """Return the fixed cost of a measured process in s, median and 90th percentile, import and load left out.

    Its turn is the time between two journal entries. What is neither import, load, warm-up nor timing in it is fixed
    cost: spins, the check of outputs, the process's end, the journal.
    """
    turns = itertools.pairwise(_run_empty(blocks, cases))
    costs = [
        (event.t_ns - earlier.t_ns) / 1e9 - useful_s(event)
        for earlier, event in turns
        if isinstance(event, wire.ProcessEvent)
    ]
    return statistics.median(costs), statistics.quantiles(costs, n=10)[-1]


def useful_s(event: wire.ProcessEvent) -> float:
    """Seconds of a process spent in import, load, warm-up and timing."""
    timed_ns = event.start_ns[-1] + event.latency_ns[-1] - event.start_ns[0]
    return (event.import_ns + event.load_ns + sum(event.warmup_ns) + timed_ns) / 1e9


def _run_empty(blocks: int, cases: int) -> list[wire.Event]:
    with tempfile.TemporaryDirectory() as folder:
        device = Local("bench", Path(folder) / "workdir")
        job = _empty_job(device, Path(folder), blocks, cases)
        device.start(bundle.build("empty"), job)
        while device.reply(job) is None:
            time.sleep(0.2)
        while device.alive(job):
            time.sleep(0.01)
        return wire.read_journal(device.follow(job, 0).decode(), "journal")


def _empty_job(device: Local, folder: Path, blocks: int, cases: int) -> wire.Job:
    def put(text: str) -> wire.FileRef:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        (folder / sha256).write_text(text)
        device.put({sha256: folder / sha256})
        return wire.FileRef(sha256, len(text))

    sample = put(wire.encode(_sample()))
    wanted = tuple(
        wire.JobCase(f"{n:016x}", f"case {n}", put(f"artifact {n}"), sample, 1e-4, "fp32", 1, 1) for n in range(cases)
    )
    job = wire.Job("bench", "bench", "empty", 0, wanted, (), wire.Protocol(looks=(blocks,)))
    device.put_job(job)
    return job


def _sample() -> wire.Sample:
    return wire.Sample(
        (wire.Tensor.of((1, 3), array.array("f", (1, 2, 3)).tobytes()),),
        (wire.Tensor.of((1, 2), array.array("f", (1, 2)).tobytes()),),
    )


def ratio_to_bare_loop(rounds: int = 40) -> tuple[float, float, float]:
    """Return the harness's median over the median of a bare loop around the same onnxruntime session, with its 95 % interval.

    A round times both, in alternating order; t interval on the log ratios of the rounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact"
        path.write_bytes(_convolutions())
        session = content.load("runtime", "onnxruntime").load(str(path), {"threads": 1})
    session.feed([wire.Tensor.of((1, 16, 32, 32), bytes(4 * 16 * 32 * 32))])
    run, names, fed = session.session.run, session.output_names, session.fed
    agent.warm_up(session.__call__, PROTOCOL)
    ratios = [math.log(_pair(session, lambda: run(names, fed), harness_first=n % 2 == 0)) for n in range(rounds)]
    low, high = _interval(ratios)
    return math.exp(statistics.fmean(ratios)), math.exp(low), math.exp(high)


def _pair(session: Any, infer: Callable[[], object], *, harness_first: bool) -> float:
    def timed() -> float:
        return statistics.median(agent.time_session(session.__call__, PROTOCOL)[1])

    def bare() -> float:
        return statistics.median(_bare(infer))

    if harness_first:
        ours = timed()
        return ours / bare()
    theirs = bare()
    return timed() / theirs


def _bare(infer: Callable[[], object]) -> list[int]:
    clock, latencies = time.perf_counter_ns, []
    end = clock() + int(PROTOCOL.timed_s * 1e9)
    while clock() < end:
        before = clock()
        infer()
        latencies.append(clock() - before)
    return latencies


def _interval(values: Sequence[float]) -> tuple[float, float]:
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    margin = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - margin, mean + margin


def _convolutions(count: int = 4) -> bytes:
    """A small ONNX network of 3x3 convolutions, about 0.1 ms."""
    from onnx import TensorProto, checker, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, (16, 16, 3, 3), [0.01] * (16 * 16 * 9))
    names = [f"x{n}" for n in range(count + 1)]
    nodes = [
        helper.make_node("Conv", [here, "w"], [there], pads=[1, 1, 1, 1]) for here, there in itertools.pairwise(names)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 16, 32, 32)) for name in (names[0], names[-1])]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    print(table(measure()))
