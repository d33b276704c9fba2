"""What travels between controller and device: the job, the journal's events, the reply, sample tensors.

Both sides use this file, so it is standard library only and runs on Python 3.8. Everything is JSON. Reading is
the third of the four doors (CONTRIBUTING.md, Bad input): version, required and unknown keys, types, finite numbers,
bounded sizes (`decode`), names that cannot leave the job's folder, events that belong to the job. Past it, code trusts
its types.

    controller                                      device (workdir)
    job.json, artifacts/<sha256>     -- put -->     jobs/<job>/job.json, artifacts/<sha256>
    events.jsonl (copy)           <-- follow --     jobs/<job>/events.jsonl   the journal: the truth, append-only
    reply                            <-- get --     jobs/<job>/reply.json     written last
"""

from harness.wire.cores import CORES, core_names
from harness.wire.energy import PassEvent, PassFailedEvent
from harness.wire.events import (
    ENDS,
    SUSPENDED,
    EndEvent,
    Event,
    FailedEvent,
    ProcessEvent,
    Reply,
    SoakEvent,
    StartEvent,
    StateEvent,
    Tuned,
    TuneEvent,
    Usage,
    WaitEvent,
    forbidden,
)
from harness.wire.graphs import MAX_OPERATORS, MAX_WORDS, CeilingsEvent, GraphEvent, Operator
from harness.wire.job import (
    CPUS,
    MAX_SAMPLES,
    REGIMES,
    FileRef,
    Job,
    JobCase,
    Place,
    Protocol,
    Setting,
)
from harness.wire.names import VERSION, require_name
from harness.wire.plans import IDLE, SCENARIOS, EnergyPlan, Meter
from harness.wire.power import MAX_READINGS, MAX_VALUE, SCOPES, STATUSES, UNITS, Channel, Gap, Stepped, Trace
from harness.wire.reading import (
    EVENTS,
    MAX_LINE_BYTES,
    JournalReader,
    decode,
    decode_event,
    encode,
    parse,
    read_journal,
)
from harness.wire.tensors import Sample, Tensor

__all__ = [
    "CORES",
    "CPUS",
    "ENDS",
    "EVENTS",
    "IDLE",
    "MAX_LINE_BYTES",
    "MAX_OPERATORS",
    "MAX_READINGS",
    "MAX_SAMPLES",
    "MAX_VALUE",
    "MAX_WORDS",
    "REGIMES",
    "SCENARIOS",
    "SCOPES",
    "STATUSES",
    "SUSPENDED",
    "UNITS",
    "VERSION",
    "CeilingsEvent",
    "Channel",
    "EndEvent",
    "EnergyPlan",
    "Event",
    "FailedEvent",
    "FileRef",
    "Gap",
    "GraphEvent",
    "Job",
    "JobCase",
    "JournalReader",
    "Meter",
    "Operator",
    "PassEvent",
    "PassFailedEvent",
    "Place",
    "ProcessEvent",
    "Protocol",
    "Reply",
    "Sample",
    "Setting",
    "SoakEvent",
    "StartEvent",
    "StateEvent",
    "Stepped",
    "Tensor",
    "Trace",
    "TuneEvent",
    "Tuned",
    "Usage",
    "WaitEvent",
    "core_names",
    "decode",
    "decode_event",
    "encode",
    "forbidden",
    "parse",
    "read_journal",
    "require_name",
]
