"""The operators of each network as it was loaded, with `--profile` their times: asked for when all is measured.

A process of its own for each case, in which nothing is timed for the case, and which costs about what its import and load
do. Whatever happens in it - a runtime that cannot tell, a crash, a hang - becomes the reason why there are no operators.
A runtime that has operators and no times may say why, as `UNTIMED`.
"""

from typing import AbstractSet, Any, Callable, Dict, List, Tuple

from devices.agent import counters
from devices.agent.launch import Outcome
from harness import wire
from harness.decode import build
from harness.errors import WireError

PROFILED_S = 1.0
_NO_WALK = "runtime %s does not tell the operators of what it has loaded"
_UNTIMED = "this runtime does not tell what its operators take"
_WORDS = ("name", "kind", "dtype", "layout")


def wanted(past: List[wire.Event], job: wire.Job, measured: AbstractSet[str]) -> List[wire.JobCase]:
    """Return the cases whose network has not been looked at yet, of those that were measured: no other has a row to explain."""
    known = {event.case_id for event in past if isinstance(event, wire.GraphEvent)}
    return [case for case in job.cases if case.case_id in measured - known]


def look(job: wire.Job, case: wire.JobCase, walks: bool, launch: Callable[[], Tuple[Outcome, bool]]) -> Dict[str, Any]:
    """Return the fields of a case's `wire.GraphEvent`.

    `launch` starts the process, and tells whether it was contended; it is spared where it has nothing to do.
    """
    blank: Dict[str, Any] = {"operators": (), "inferences": 0, "counters": {}, "reasons": {}}
    if not walks and not job.profile:
        return {**blank, "case_id": case.case_id, "reason": _NO_WALK % job.runtime}
    outcome, contended = launch()
    if outcome.result is None:
        words = "the process that looked at the network gave nothing: %s: %s"
        return {**blank, "case_id": case.case_id, "reason": words % (outcome.cause, outcome.detail)}
    return {**_checked(outcome.result), "case_id": case.case_id, "contended": contended}


def _checked(told: Dict[str, Any]) -> Dict[str, Any]:
    """Let what a runtime's file tells pass the wire's door: a number that is none must not end the job."""
    try:
        operators = tuple(build(wire.Operator, each, "operator") for each in told["operators"])
        if len(operators) > wire.MAX_OPERATORS:
            raise WireError("%d operators; at most %d are kept" % (len(operators), wire.MAX_OPERATORS))
    except WireError as error:
        operators, told = (), {**told, "reason": "what the runtime tells is not to be read: %s" % error.message}
    return {**told, "operators": operators, "inferences": told["inferences"] if operators else 0}


# --- in the process of its own -------------------------------------------------------------------------------------


def walk(request: Dict[str, Any]) -> Dict[str, Any]:
    """Ask the runtime's `operators`; with `profile`, count hardware events over plain inferences after that."""
    from devices.agent import measure, pinning, worker

    pinning.pin(request["case"]["options"])
    case = build(wire.JobCase, request["case"], "case")
    options = measure.options_of(request)
    seconds = PROFILED_S if request["profile"] else 0.0
    # opened before any thread is: threads that begin later are counted with their parent
    counted = counters.Counters() if request["profile"] else None
    runtime = worker.load_runtime(request["runtime"])
    inputs, _ = next(measure.input_sets(measure.read_sample(request["sample"]), case.batch))
    told = _operators(runtime, request, options, inputs, seconds)
    if counted is None:
        return {**told, "counters": {}, "reasons": {}}
    untimed = bool(told["operators"]) and not told["inferences"]
    session = runtime.load(request["artifact"], options)
    session.feed(inputs)
    values, reasons = counted.per_inference(session.__call__, seconds)
    if untimed:
        reasons["time_ns"] = getattr(runtime, "UNTIMED", _UNTIMED)
    return {**told, "counters": values, "reasons": reasons}


def _operators(
    runtime: Any, request: Dict[str, Any], options: Dict[str, Any], inputs: Any, seconds: float
) -> Dict[str, Any]:
    if not hasattr(runtime, "operators"):
        return {"operators": [], "inferences": 0, "reason": _NO_WALK % request["runtime"]}
    try:
        found, inferences = runtime.operators(request["artifact"], options, inputs, seconds)
    except Exception as error:
        import traceback

        traceback.print_exc()
        return {"operators": [], "inferences": 0, "reason": "%s: %s" % (type(error).__name__, str(error)[:500])}
    found = [{**each, **{word: str(each[word])[: wire.MAX_WORDS] for word in _WORDS if word in each}} for each in found]
    return {"operators": found, "inferences": inferences, "reason": "" if found else "the graph has no operators"}
