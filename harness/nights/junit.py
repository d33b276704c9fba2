"""A night as JUnit XML, for CI systems: a suite per device, a case per row. Pure.

A confirmed regression is a failure; a row that failed or is missing, and a canary that moved, an error; rows that were excluded,
did not fit into the night, or belong to a device that was not reached or is blamed, are skipped, with the reason. The numbers
stand in `system-out`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as ET

from harness.nights.wording import fact, last, runs, title, why
from harness.records.nights import Night, RowOutcome, SeriesChange
from harness.text import printable

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2: Char
_SKIPPED = ("excluded", "out-of-time", "unreachable")
_ERRORS = ("failed", "missing")
_COUNTS = ("tests", "failures", "errors")  # of all suites; a schema that is read strictly knows no others there

Changes = Mapping[str, Sequence[SeriesChange]]


def xml(night: Night) -> bytes:
    """Return the report, UTF-8. Fresh rows passed when they were measured, and pass."""
    changes, seen = _by_row(night.changes), _by_row(night.suspected)
    devices = dict.fromkeys(row.row.device for row in night.rows)
    suites = [_suite(night, device, changes, seen) for device in devices]
    root = ET.Element("testsuites", {"name": "harness nightly", **_totals(suites)})
    root.extend(suites)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _by_row(changes: Iterable[SeriesChange]) -> Changes:
    found: dict[str, list[SeriesChange]] = {}
    for change in changes:
        found.setdefault(change.row.key, []).append(change)
    return found


def _suite(night: Night, device: str, changes: Changes, seen: Changes) -> ET.Element:
    rows = [row for row in night.rows if row.row.device == device]
    titles = Counter(title(row.row) for row in rows)
    blame = night.blamed.get(device)
    cases = [_case(row, titles, blame, changes.get(row.row.key, ()), seen.get(row.row.key, ())) for row in rows]
    told = {kind: str(sum(case.find(kind) is not None for case in cases)) for kind in ("failure", "error", "skipped")}
    suite = ET.Element(
        "testsuite",
        {
            "name": _text(printable(device)),
            "tests": str(len(cases)),
            "failures": told["failure"],
            "errors": told["error"],
            "skipped": told["skipped"],
            "time": f"{sum(row.seconds or 0.0 for row in rows):.3f}",
            "timestamp": _timestamp(night.began),
        },
    )
    suite.extend(cases)
    wait = night.waiting.get(device)
    doubts = (f"blamed: {blame}" if blame else "", f"changes wait a night: {wait}" if wait else "")
    if notes := (*filter(None, doubts), *night.annotations.get(device, ())):
        ET.SubElement(suite, "system-out").text = _text("\n".join(map(printable, notes)))
    return suite


def _case(
    row: RowOutcome,
    titles: Mapping[str, int],
    blame: str | None,
    changes: Sequence[SeriesChange],
    seen: Sequence[SeriesChange],
) -> ET.Element:
    name = title(row.row)
    unique = name if titles[name] == 1 else f"{name} [{row.row.key}]"
    about = {
        "name": _text(printable(unique)),
        "classname": _text(printable(row.row.device)),
        "time": f"{row.seconds or 0.0:.3f}",
    }
    case = ET.Element("testcase", about)
    _judge(case, row, blame, [] if blame else [change for change in changes if change.direction == "worse"])
    lines = [f"{row.outcome}: {why(row)}" if row.reason else row.outcome, *filter(None, (runs(row),))]
    if not blame:
        lines += [f"{change.direction}: {fact(change)}" for change in changes]
        lines += [f"seen, not confirmed: {fact(change)}" for change in seen]
    ET.SubElement(case, "system-out").text = _text("\n".join(lines))
    return case


def _judge(case: ET.Element, row: RowOutcome, blame: str | None, worse: Sequence[SeriesChange]) -> None:
    """Add what a row's outcome comes to, if it is not that it passed: one element at most, as readers expect."""
    if row.outcome in _ERRORS:
        _add(case, "error", row.outcome, f"{why(row)}; {last(row)}")
    elif row.outcome in _SKIPPED:
        _add(case, "skipped", row.outcome, f"{row.outcome}: {why(row)}")
    elif blame and row.outcome == "measured":
        if row.row.canary:
            _add(case, "error", "canary", printable(blame))
        else:
            _add(case, "skipped", "blamed", f"the device is blamed: {printable(blame)}")
    elif worse:
        _add(case, "failure", "regression", *(fact(change) for change in worse))


def _add(case: ET.Element, kind: str, of_type: str, *lines: str) -> None:
    """Add an element whose message is the first line, and whose text is all of them."""
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    element = ET.SubElement(case, kind, {"message": _text(lines[0] + more), "type": of_type})
    element.text = _text("\n".join(lines))


def _totals(suites: Sequence[ET.Element]) -> dict[str, str]:
    counted = {name: str(sum(int(suite.get(name, "0")) for suite in suites)) for name in _COUNTS}
    return {**counted, "time": f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}"}


def _timestamp(moment: str) -> str:
    """ISO 8601 to the second without a zone, as the format's readers take it; times are UTC."""
    return re.sub(r"(\.\d+)?(Z|\+00:00)$", "", moment)


def _text(text: str) -> str:
    """Text without what XML has no way to write."""
    return _FORBIDDEN.sub("?", text)
