"""Tells of its operators what its artifact says: fine, untimed, raising, crashing, nonsense (`--runtime telling`)."""

import os
import signal
from pathlib import Path

from harness import wire

PRECISIONS = ("fp32",)
OPTIONS = {}
CONVERTERS = ()
UNTIMED = "its clock is broken"


def export(variant, target, precision, options, out):
    out.write_text("fine")
    return {"ops_executed": 1}


def versions():
    return {"telling": "1"}


def operators(path, options, inputs, seconds):
    text = Path(path).read_text()
    with (Path(path).parent.parent / "walked").open("a") as file:
        file.write(f"{text} {seconds:g}\n")
    if text == "raising":
        raise NotImplementedError("its format is a secret")
    if text == "crashing":
        os.kill(os.getpid(), signal.SIGSEGV)
    told = {"name": "conv " * 100, "kind": "Conv", "macs": 3 * len(inputs), "bytes": 24}
    told = {**told, "dtype": "fp32 " * 100, "layout": "nchw " * 100}
    if text == "nonsense":
        told["macs"] = -1
    timed = seconds > 0 and text != "untimed"
    return [{**told, "time_ns": 7 if timed else None}], 12 if timed else 0


def load(path, options):
    return Session(wire.decode(wire.Sample, Path(options["sample"]).read_text(), "sample"))


class Session:
    def __init__(self, sample):
        self.sample = sample

    def feed(self, inputs):
        pass

    def __call__(self):
        pass

    def fetch(self, result):
        return self.sample.outputs

    def effective(self):
        return {"threads": 1, "precision": "fp32"}
