"""Two stored runs, the same rows, the same statistics across them: `harness compare A B`.

    compare(a, b, despite)      folders of two runs -> Comparison, or UsageError naming every fact that is unlike

Nothing of two runs is interleaved, so nothing cancels what drifted in between: only like is compared with like (`facts`),
what was waived by name stays in the record, and what differs between the same artifacts in both runs is a floor for all
else (`stats.across`).
Energies are compared where both are of one scope, sensor, scenario, window and rate (`energy`).
Reads stored runs through `store` and `analysis`; writes nothing.
"""

from __future__ import annotations

from harness.compare.records import SCHEMA, Comparison, EnergyRatio, Head, Measured, Row, Unlike
from harness.compare.story import compare

__all__ = ["SCHEMA", "Comparison", "EnergyRatio", "Head", "Measured", "Row", "Unlike", "compare"]
