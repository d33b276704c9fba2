"""Runs on disk and back: one folder per run, atomic writes, versions with stepwise upgrades.

    results/<device>/<UTC time>-<short id>/
        run.json            what was asked, from what, what came out (records.Run)
        samples.parquet     case_id, block, replicate, attempt, phase, index, start_ns, latency_ns, valid
        state.parquet       block, when, sensor, scope, kind, status, start_ns, value, unit
        power.parquet       runtime, block, scenario, case_id, sensor, channel, scope, kind, status, start_ns, value, unit
        windows.parquet     runtime, block, scenario, case_id, attempt, start_ns, end_ns, inferences, valid
        jobs/<runtime>/     job.json, events.jsonl (the journal: the truth), reply.json; meters.jsonl (read by the controller)
        plots/
        thinned.json, medians.parquet   where raw samples were given up (thinning.py)

Statistics are recomputed from the journal when `analysis_version` is older than the program's; nothing here computes.
`search` picks cases of all runs by an expression, through an index that lies in the cache (`index.py`).
"""

from __future__ import annotations

from harness.store.calibrations import (
    calibration_of,
    compared_calibration,
    load_calibration,
    quote_calibration,
    save_calibration,
)
from harness.store.frames import Frames, frames, save_frames
from harness.store.journals import (
    append_journal,
    artifact_sizes,
    events,
    job_folder,
    journal_bytes,
    load_job,
    load_reply,
    measured,
    save_job,
    save_reply,
    set_journal_aside,
)
from harness.store.meters import all_meters, meter_record, meters, meters_found
from harness.store.parts import require_whole
from harness.store.picking import Found, search
from harness.store.places import find, folders, held, require_writable
from harness.store.runs import SCHEMA, create, load, save
from harness.store.thinning import Mark, raw, require_raw, thin, thinned
from harness.store.writing import write

__all__ = [
    "SCHEMA",
    "Found",
    "Frames",
    "Mark",
    "all_meters",
    "append_journal",
    "artifact_sizes",
    "calibration_of",
    "compared_calibration",
    "create",
    "events",
    "find",
    "folders",
    "frames",
    "held",
    "job_folder",
    "journal_bytes",
    "load",
    "load_calibration",
    "load_job",
    "load_reply",
    "measured",
    "meter_record",
    "meters",
    "meters_found",
    "quote_calibration",
    "raw",
    "require_raw",
    "require_whole",
    "require_writable",
    "save",
    "save_calibration",
    "save_frames",
    "save_job",
    "save_reply",
    "search",
    "set_journal_aside",
    "thin",
    "thinned",
    "write",
]
