from __future__ import annotations

from xml.etree import ElementTree as ET

from made_nights import came, change, eventful, night, row

from harness.nights import junit
from harness.records.nights import Night

# What Jenkins (junit-10.xsd of its xUnit plug-in), GitLab and GitHub's actions read.
ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message", "type"},
    "system-out": set(),
}
INSIDE = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase", "system-out"},
    "testcase": {"failure", "error", "skipped", "system-out"},
}
OUTCOMES = ("failure", "error", "skipped")


def read(made: Night) -> ET.Element:
    root = ET.fromstring(junit.xml(made))
    for element in root.iter():
        assert set(element.keys()) == ATTRIBUTES[element.tag]
        assert {child.tag for child in element} <= INSIDE.get(element.tag, set())
    for counted in (root, *root):
        cases = list(counted.iter("testcase"))
        assert int(counted.get("tests", "")) == len(cases)
        for kind, name in zip(OUTCOMES, ("failures", "errors", "skipped"), strict=True):
            if name in ATTRIBUTES[counted.tag]:
                assert int(counted.get(name, "")) == sum(case.find(kind) is not None for case in cases)
        assert float(counted.get("time", "")) == sum(float(case.get("time", "")) for case in cases)
    assert all(sum(child.tag in OUTCOMES for child in case) <= 1 for case in root.iter("testcase"))
    return root


def cases(made: Night) -> dict[str, ET.Element]:
    return {f"{case.get('classname')} {case.get('name')}": case for case in read(made).iter("testcase")}


def verdict(case: ET.Element) -> str:
    return next((f"{each.tag} {each.get('type')}" for each in case if each.tag in OUTCOMES), "passed")


def test_a_suite_stands_for_a_device_and_a_case_for_a_row() -> None:
    root = read(eventful())
    assert root.tag == "testsuites" and [suite.get("name") for suite in root] == ["pi5", "orin", "jetson"]
    assert [suite.get("timestamp") for suite in root] == ["2026-11-20T02:00:00"] * 3
    assert len(cases(eventful())) == len(eventful().rows)


def test_every_outcome_has_its_verdict() -> None:
    rest = "easier onnxruntime fp32"
    found = {name.replace(f" {rest}", ""): verdict(case) for name, case in cases(eventful()).items()}
    assert found == {
        "pi5 resnet18": "failure regression",
        "pi5 vgg16": "passed",
        "pi5 bert": "error failed",
        "pi5 swin_t": "error failed",
        "orin resnet18": "skipped unreachable",
        "pi5 roberta": "error missing",
        "pi5 resnet50": "skipped out-of-time",
        "pi5 resnet34": "passed",
        "pi5 tiny": "passed",
        "pi5 mobilenet_v2": "passed",
        "pi5 plain": "skipped excluded",
        "jetson resnet18 canary": "error canary",
        "jetson resnet18": "skipped blamed",
    }


def test_a_row_with_several_regressions_is_one_failure_that_tells_them_all() -> None:
    case = cases(eventful())["pi5 resnet18 easier onnxruntime fp32"]
    failure, out = case.find("failure"), case.findtext("system-out") or ""
    assert failure is not None and failure.get("message", "").endswith("(and 1 more)")
    for quantity in ("latency: 12.1 → 13.4 ms, +10.7 % (+8.1 to +13.0)", "p99: "):
        assert quantity in (failure.text or "") and quantity in out
    assert "run 20261120T021500Z-1a2b, confirmed by 20261120T043000Z-9f0e" in out
    assert case.get("time") == "61.500"


def test_numbers_of_what_improved_or_was_seen_once_stand_in_system_out() -> None:
    found = cases(eventful())
    assert "better: easier 3, latency" in (found["pi5 vgg16 easier onnxruntime fp32"].findtext("system-out") or "")
    assert "not confirmed: easier 3" in (found["pi5 tiny easier onnxruntime fp32"].findtext("system-out") or "")
    assert "worse" not in (found["jetson resnet18 easier onnxruntime fp32"].findtext("system-out") or "")


def test_anything_may_stand_in_a_reason_and_it_is_still_xml() -> None:
    for hostile in ("<&\"']]>", "\x00\x1b[31m\x0c", "\ud800", "\ufffe", "</testcase>", "a\nb"):
        made = night(came(row(), "failed", reason=hostile), blamed={"pi5": hostile}, annotations={"pi5": (hostile,)})
        (case,) = cases(made).values()
        error = case.find("error")
        assert error is not None and "never measured" in (error.text or "")


def test_rows_that_differ_in_further_words_alone_have_names_of_their_own() -> None:
    rows = [came(row(words={"option": f"layout={name}"})) for name in ("nchw", "nhwc")]
    assert list(cases(night(*rows))) == [
        f"pi5 resnet18 easier onnxruntime fp32 option=layout={n}" for n in ("nchw", "nhwc")
    ]
    assert len(cases(night(came(row(priority=1)), came(row("b"))))) == 2


def test_a_night_without_rows_is_a_report_without_suites() -> None:
    assert list(read(night())) == []
    assert (
        verdict(cases(night(came(row()), changes=(change(row(), 0.9),)))["pi5 resnet18 easier onnxruntime fp32"])
        == "passed"
    )
