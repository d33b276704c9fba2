"""The controller's frozen data, in the order in which it flows: one way, no setters.

    words + inventory -> Plan -> LadderRequest -> Ladder of Rungs (each with its Variant) -> Artifact -> Case -> Run
                                                                          Estimate, Speedup, Finding <- samples

Units stand in names. A number that cannot be had is None, and `reasons` says why, by the number's key; it is never 0.
Constructors keep invariants and raise ValueError: those are for us, users are stopped at the doors.
"""

from __future__ import annotations

from harness.records.asked import (
    ONNX,
    Device,
    Eligible,
    FoldRequest,
    GivenNetwork,
    LadderRequest,
    Method,
    Padding,
    Plan,
    Profile,
)
from harness.records.canonical import digest
from harness.records.made import (
    FOLD_ERROR_F32,
    FOLD_ERROR_F64,
    Artifact,
    Choice,
    Cost,
    Flip,
    FoldReport,
    Form,
    Group,
    Ladder,
    Rung,
    Spread,
    Variant,
)
from harness.records.measured import (
    Case,
    Components,
    Correlation,
    Curve,
    Entry,
    Estimate,
    Finding,
    JobRecord,
    Run,
    RunState,
    RunStatus,
    RunVerdict,
    Severity,
    Speedup,
    Status,
    Summary,
    Tail,
    Verdict,
)

__all__ = [
    "FOLD_ERROR_F32",
    "FOLD_ERROR_F64",
    "ONNX",
    "Artifact",
    "Case",
    "Choice",
    "Components",
    "Correlation",
    "Cost",
    "Curve",
    "Device",
    "Eligible",
    "Entry",
    "Estimate",
    "Finding",
    "Flip",
    "FoldReport",
    "FoldRequest",
    "Form",
    "GivenNetwork",
    "Group",
    "JobRecord",
    "Ladder",
    "LadderRequest",
    "Method",
    "Padding",
    "Plan",
    "Profile",
    "Run",
    "RunState",
    "RunStatus",
    "RunVerdict",
    "Rung",
    "Severity",
    "Speedup",
    "Spread",
    "Status",
    "Summary",
    "Tail",
    "Variant",
    "Verdict",
    "digest",
]
