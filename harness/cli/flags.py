"""The flags of `harness run`, in a word or two each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DeviceWord = Annotated[
    str | None,
    typer.Option(help="Devices of the inventory, or tag:NAME for all that have it.", metavar="NAME[,NAME]"),
]
Model = Annotated[str, typer.Option(help="The network: see `harness models`.")]
Task = Annotated[str | None, typer.Option(help="Its data; by default the model's own.")]
Data = Annotated[Path | None, typer.Option(help="A folder for tasks that read one.", metavar="DIR")]
Method = Annotated[str, typer.Option(help="How depth is chosen: see `harness methods`.", metavar="X[,X]")]
Eligible = Annotated[str, typer.Option(help="Activations: those that unlock a merge, or all.", metavar="mergeable|all")]
Entropy = Annotated[str | None, typer.Option(help="easier: of a channel or of a position.", metavar="channel|position")]
Order = Annotated[str | None, typer.Option(help="order: activations, first out first.", metavar="NAME[,NAME]")]
Onnx = Annotated[
    list[Path] | None,
    typer.Option(help="Measure networks folded elsewhere; repeated, the first is the reference.", metavar="FILE"),
]
Runtime = Annotated[str | None, typer.Option(help="By default the first of the device's profile.", metavar="R[,R]")]
Precision = Annotated[str, typer.Option(help="Of weights and arithmetic.", metavar="P[,P]")]
Threads = Annotated[int | None, typer.Option(help="Of an inference; by default the profile's.")]
Batch = Annotated[int, typer.Option(help="Inputs per inference.")]
Option = Annotated[list[str] | None, typer.Option(help="A runtime's option; may be repeated.", metavar="K=V")]
Budget = Annotated[float, typer.Option(help="Seconds of measuring per job, at most.", metavar="S")]
Seed = Annotated[int, typer.Option(help="Of training and of the order of measuring.")]
Controls = Annotated[bool, typer.Option(help="Measure the latency controls beside the ladder.")]
Tune = Annotated[
    str | None, typer.Option(help="Settings to bring about meanwhile, of the profile.", metavar="NAME[,NAME]")
]
Regime = Annotated[
    str | None,
    typer.Option(help="A cool device (the default), or one under lasting load.", metavar="burst|sustained"),
]
PowerMode = Annotated[str | None, typer.Option(help="A power mode of the profile.", metavar="NAME")]
Profile = Annotated[
    bool, typer.Option("--profile", help="Time each operator too, once all is measured; count hardware events.")
]
Energy = Annotated[
    str,
    typer.Option(
        help="Energy, after the latencies: both scenarios, paced, closed or none; auto: both, where a sensor can be read.",
        metavar="MODE",
    ),
]
Windows = Annotated[int | None, typer.Option(help="Energy windows of each case and scenario; 5 at least.", metavar="N")]
Window = Annotated[float | None, typer.Option(help="Length of one; by default as its sensors need it.", metavar="S")]
Rate = Annotated[
    float | None,
    typer.Option(help="Inferences a second of the paced scenario; by default half the slowest's.", metavar="HZ"),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for a device that another run holds.")]
Steal = Annotated[bool, typer.Option("--steal", help="End the run that holds a device, and take it.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check words, model and data as a run would, print the plan and stop.")
]
CopyTo = Annotated[
    str | None,
    typer.Option(help="Copy each finished run below this URL: s3://BUCKET/runs, file://...", metavar="URL"),
]
Resume = Annotated[str | None, typer.Option(help="Finish a run that was cut off.", metavar="RUN")]
Recipe = Annotated[
    list[str] | None,
    typer.Option(help="A setting of a method, or of all that have it; may be repeated.", metavar="[METHOD.]K=V"),
]
Schedule = Annotated[
    str | None, typer.Option(help="How networks are trained: see docs/methods.md; by default quick.", metavar="NAME")
]
BudgetEpochs = Annotated[
    int | None,
    typer.Option(
        help="Epochs of a ladder beyond full depth, for every method alike; by default the schedule's.", metavar="N"
    ),
]
Rungs = Annotated[int | None, typer.Option(help="Rungs of a ladder at most, besides full depth.", metavar="N")]
Step = Annotated[int, typer.Option(help="What a rung takes at once: so many activations or blocks.", metavar="N")]
Delta = Annotated[
    float | None,
    typer.Option(help="End a ladder where it is so much less accurate than `continue`: 0.01 is a point.", metavar="D"),
]
Distil = Annotated[
    float | None, typer.Option(help="Learn from the full network too: its share of the loss.", metavar="SHARE")
]
Seeds = Annotated[int, typer.Option(help="A ladder for each of so many seeds, from --seed on.", metavar="N")]
TrainOn = Annotated[str | None, typer.Option(help="Where networks are trained; by default cpu.", metavar="cpu|cuda")]
