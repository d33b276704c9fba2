"""This harness on one network: a job of one case in ten fresh processes, as `harness run` would measure it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import analysis, calibrate, jobs, stats, store, transport, wire
from harness.records import Artifact, Device, Estimate


def measure(device: Device, artifact: Artifact, name: str) -> Estimate:
    """Measure once, ten processes; return the estimate."""
    asked = calibrate.Asked(device.name, artifact.runtime, "", 0.0)
    job = calibrate.make(name, asked, device.profile, 0, {"reference": artifact})
    one = wire.Job(job.run, job.job, job.runtime, 0, job.cases, (), job.protocol)
    with tempfile.TemporaryDirectory() as folder:
        store.save_job(Path(folder), one)
        jobs.bring(transport.connect(device), Path(folder), one, [artifact], lambda _: None)
        found = analysis.processes(one, store.events(Path(folder), one.runtime))
    return stats.estimate(found[one.cases[0].case_id], 1.0)
