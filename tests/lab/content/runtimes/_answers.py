"""A runtime that answers with its sample's own outputs and takes a little time; what goes wrong is up to who uses it."""

import time
from pathlib import Path

from harness import wire

LATENCY_S = 0.002


class Session:
    """Does nothing for a while; `before` is called before each inference."""

    def __init__(self, options, before=None):
        self.outputs = wire.decode(wire.Sample, Path(options["sample"]).read_text(), "sample").outputs
        self.threads = int(options["threads"])
        self.before = before

    def feed(self, inputs):
        """Take the network's inputs."""

    def __call__(self):
        if self.before is not None:
            self.before()
        time.sleep(LATENCY_S)

    def fetch(self, result):
        """Return the sample's outputs."""
        return self.outputs

    def effective(self):
        """Return what is in force."""
        return {"threads": self.threads, "provider": "none", "precision": "fp32"}
