from __future__ import annotations

import re
from typing import Any

import pytest
from made_nights import came, change, eventful, night, row
from markdown_it import MarkdownIt

from harness.nights.facts import exit_code, facts
from harness.nights.summary import code, headline_of, markdown
from harness.nights.wording import fact, levels, percent, title


def test_the_first_line_says_whether_someone_has_to_get_up() -> None:
    quiet = night(came(row()))
    assert (
        markdown(quiet).splitlines()[0]
        == "**Nobody has to get up: nothing regressed, nothing fails, nothing is missing.**"
    )
    failed = night(came(row(), "failed"), came(row("orin"), "unreachable"))
    said = "Nobody has to get up, but look at it by day: nothing regressed, 1 row newly fails and 1 row is missing."
    assert headline_of(failed) == said
    assert headline_of(eventful()) == (
        "Get up: 2 confirmed regressions on `pi5`; besides, 1 row newly fails, 1 row still fails, 2 rows are missing "
        "and 1 device is blamed."
    )
    assert headline_of(night(ended=None)).endswith("(the night is not over).")


def test_facts_stand_in_the_order_in_which_they_matter() -> None:
    titles = [line[3:] for line in markdown(eventful()).splitlines() if line.startswith("## ")]
    assert titles == [
        *(
            "Blamed devices",
            "What changed around it",
            "Regressions",
            "Newly failing",
            "Still failing",
            "Missing",
            "New",
        ),
        *("Improved", "Seen once, not confirmed", "Unchanged"),
    ]


def test_a_regression_is_one_line_with_all_that_is_known_of_it() -> None:
    line = next(line for line in markdown(eventful()).splitlines() if "latency: " in line)
    assert line == (
        "- `pi5` `resnet18 easier onnxruntime fp32`, `easier 3`, latency: 12.1 → 13.4 ms, +10.7 % (+8.1 to +13.0), p < 0.001, "
        "since 2026-11-20 (run 20261120T021500Z-1a2b, confirmed by 20261120T043000Z-9f0e)"
    )


def test_the_largest_regression_stands_first_and_each_fact_is_one_line() -> None:
    lines = markdown(eventful()).splitlines()
    first = lines.index("## Regressions") + 2
    assert "p99" in lines[first] and "latency" in lines[first + 1] and lines[first + 2] == ""


def test_what_was_planned_and_did_not_arrive_is_told_with_when_it_last_did() -> None:
    text = markdown(eventful())
    assert "- `orin`: unreachable, `no route to host`, 1 row, last measured 2026-11-08" in text
    assert "`roberta easier onnxruntime fp32`: missing, `it never came back`, last measured 2026-11-18" in text
    assert "out-of-time, `the night was 10 minutes too short`, never measured yet" in text


def test_a_device_that_is_away_is_one_fact_however_many_rows_it_has() -> None:
    rows = [came(row("orin", f"m{n}"), "unreachable", reason="off", last=f"2026-11-{n:02}") for n in (1, 8, 3)]
    assert "## Missing\n\n- `orin`: unreachable, `off`, 3 rows, last measured 2026-11-08\n\n" in markdown(night(*rows))


def test_unchanged_rows_are_counted_and_not_listed() -> None:
    text = markdown(eventful())
    assert text.endswith(
        "## Unchanged\n\n1 row measured without a change, 1 still fresh, 1 excluded, 2 on blamed devices.\n"
    )
    assert "`plain easier" not in text and "`mobilenet_v2 easier" not in text


def test_what_waits_for_a_canary_stands_apart_with_the_reason_and_alarms_nobody() -> None:
    rows, canary = (came(row()), came(row("jetson"))), row(canary=True)
    seen = (change(row()), change(canary), change(row("jetson")))
    made = night(*rows, suspected=seen, waiting={"pi5": "its canary was not measured, failed: no space"})
    text = markdown(made)
    waits, once = text.index("## Waiting a night"), text.index("## Seen once, not confirmed")
    assert "\n\n- `pi5`: `its canary was not measured, failed: no space`; what its rows seem" in text[waits:once]
    assert text[waits:once].count("latency: ") == 1 and text[once:].count("latency: ") == 2
    assert exit_code(made) == 0 and facts(made).counts["waiting"] == 1 and facts(made).counts["unconfirmed"] == 2


def test_nothing_is_reported_of_a_blamed_device_but_why() -> None:
    text = markdown(eventful())
    assert "- `jetson`: `its canary is 9 % slower`; its 2 measured rows not reported" in text
    assert text.count("jetson") == 1
    assert not any(each.row.device == "jetson" for each in facts(eventful()).regressions)


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (night(), 0),
        (night(came(row()), came(row("b"), "fresh"), came(row("c"), "excluded"), came(row("d"), "out-of-time")), 0),
        (night(came(row(), new=True), changes=(change(row(), 0.8),)), 0),
        (night(came(row()), suspected=(change(row()),)), 0),
        (night(came(row(), "failed")), 1),
        (night(came(row(), "failed", failed_before=True)), 1),
        (night(came(row(), "missing")), 1),
        (night(came(row(), "unreachable")), 1),
        (night(came(row()), changes=(change(row()),), blamed={"pi5": "its canary moved"}), 1),
        (night(came(row()), changes=(change(row()),)), 3),
        (night(came(row()), came(row("b"), "failed"), changes=(change(row()),)), 3),
    ],
)
def test_the_exit_code_is_3_for_a_confirmed_regression_1_for_what_failed_or_did_not_arrive_else_0(
    made: Any, code: int
) -> None:
    assert exit_code(made) == code


@pytest.mark.parametrize(
    "hostile", ["`", "``` ``", "a`b", "`@all`", "[x](http://y)", "<script>", "**b**", " ", "", "a\nb\x1b[2J", "|"]
)
def test_words_of_a_device_are_code_on_one_line_whatever_they_hold(hostile: str) -> None:
    written = code(hostile)
    fence = re.match("`+", written)
    assert fence and written.endswith(fence[0]) and "\n" not in written and "\x1b" not in written
    inside = written[len(fence[0]) : -len(fence[0])]
    assert inside and fence[0] not in re.findall("`+", inside)
    text = markdown(night(came(row(), "failed", reason=hostile), annotations={"pi5": (hostile,)}))
    inline = [token for line in MarkdownIt().parse(text) for token in line.children or ()]
    assert {token.type for token in inline} <= {"text", "code_inline", "strong_open", "strong_close"}
    told = [token.content for token in inline if token.type == "code_inline"]
    assert " ".join(hostile.replace("\x1b", "?").split()) in [*told, *(word.strip() for word in told)]


@pytest.mark.parametrize(
    ("unit", "before", "after", "said"),
    [
        ("ns", 2.41e9, 2.5e9, "2.41 → 2.50 s"),
        ("ns", 871.0, 950.0, "871 → 950 ns"),
        ("J", 0.0021, 0.0034, "2.10 → 3.40 mJ"),
        ("bytes", 44.7e6, 44.71e6, "44.70 → 44.71 MB"),
        ("fraction", 0.982, 0.931, "98.2 → 93.1 %"),
        ("fraction", 0.9821, 0.9820, "98.21 → 98.20 %"),
        ("s", 61.0, 140.0, "61.0 → 140 s"),
        ("", 3.1e-7, 6.2e-6, "3.10e-07 → 6.20e-06"),
        ("furlong", 1.0, 2.0, "1.00 → 2.00 furlong"),
        ("J", 0.0, 0.0, "0 → 0 µJ"),
    ],
)
def test_levels_stand_in_one_unit_with_as_many_digits_as_tell_them_apart(
    unit: str, before: float, after: float, said: str
) -> None:
    assert levels(change(row(), unit=unit, before=before, after=after)) == said


def test_an_interval_that_cannot_be_had_is_left_out_and_nothing_is_infinite() -> None:
    assert percent(change(row(), 1.2, low=None, high=None)) == "+20.0 %"
    assert percent(change(row(), 1.2, low=1.1, high=float("inf"))) == "+20.0 %"
    assert percent(change(row(), float("inf"), before=0.0)) == "from nothing"
    assert ", p " not in fact(change(row(), p=None))
    assert ", p 0.0023" in fact(change(row(), p=0.0023))


def test_a_row_is_called_with_its_words_as_they_stand_in_yaml_and_the_canary_without() -> None:
    words = {"budget": 60.0, "controls": False, "recipe": ["a=b", "c=1"], "rungs": 2}
    assert title(row(words=words)) == (
        "resnet18 easier onnxruntime fp32 budget=60 controls=false recipe=a=b,c=1 rungs=2"
    )
    assert title(row(words=words, canary=True)) == "resnet18 easier onnxruntime fp32 canary"
