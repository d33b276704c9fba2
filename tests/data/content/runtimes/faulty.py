"""Goes wrong in the way that its artifact names, for the fault tests (`--runtime faulty`); `fine` goes right."""

import os
import signal
import time
from pathlib import Path

from harness import wire

PRECISIONS = ("fp32",)
OPTIONS = {}
CONVERTERS = ()


def export(variant, target, precision, options, out):
    out.write_text("fine")
    return {"ops_executed": 0}


def versions():
    return {"faulty": "1"}


def load(path, options):
    way = Path(path).read_text()
    if way == "raise":
        raise KeyError("no such operator")
    if way == "exit":
        os._exit(3)
    if way == "allocate":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        bytearray(2**33)
    if way == "bad-alloc":
        raise RuntimeError("std::bad_alloc")
    if way == "chatter":
        os.write(1, b"a runtime that prints\n" * 10_000)
    sample = wire.decode(wire.Sample, Path(options["sample"]).read_text(), "sample")
    return Session(way, sample)


class Session:
    def __init__(self, way, sample):
        self.way = way
        self.sample = sample
        self.calls = 0

    def feed(self, inputs):
        self.fed = inputs

    def __call__(self):
        self.calls += 1
        if self.way == "segfault" or (self.way == "wear-out" and self.calls > 250):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.way == "illegal":
            os.kill(os.getpid(), signal.SIGILL)
        if self.way == "sleep":
            time.sleep(600)
        time.sleep(0.005 if self.way == "slow" else 0.0005)

    def fetch(self, result):
        outputs = self.sample.outputs
        if self.way == "wrong":
            return tuple(wire.Tensor.of(o.shape, b"\0\0\0\x41" * (len(o.raw()) // 4)) for o in outputs)
        if self.way == "nan":
            return tuple(wire.Tensor.of(o.shape, b"\0\0\xc0\x7f" * (len(o.raw()) // 4)) for o in outputs)
        return outputs

    def effective(self):
        threads = 4 if self.way == "ignore" else 1
        return {"threads": threads, "provider": "faulty", "precision": "fp32"}
