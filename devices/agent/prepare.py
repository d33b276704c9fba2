"""What must be made on the device before anything is measured: a runtime's `prepare(path, options)`, where it has one.

Once per case that is still to be measured, each in a process of its own and with a limit of its own: an engine takes minutes
to build. It comes before the job's start stands in the journal, so it counts neither against the budget nor into a block.
What is there already is looked up, so a job that goes on loses seconds. What fails is tried once more: somebody else may have
had the memory.
"""

from pathlib import Path
from typing import Any, Dict

from devices.agent.launch import Outcome, launch

LIMIT_S = 3600.0


def all_of(requests: Dict[str, Dict[str, Any]], log: Path) -> Dict[str, Outcome]:
    """Prepare cases by their requests; returns those that could not be, by case_id."""
    tried = {case: _tried(request, log) for case, request in requests.items()}
    return {case: outcome for case, outcome in tried.items() if outcome.result is None}


def _tried(request: Dict[str, Any], log: Path) -> Outcome:
    threads = request["case"]["threads"]
    outcome = launch("prepare-worker", request, threads, log, LIMIT_S)
    return outcome if outcome.result is not None else launch("prepare-worker", request, threads, log, LIMIT_S)
