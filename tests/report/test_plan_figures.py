"""Figures of plans: what is plotted of the front and of options, what is counted instead, hard cases, the matrix of regrets."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from harness import report
from harness.errors import StoreError, UsageError
from harness.records import Cost, Speedup
from harness.records.planned import (
    FoldingPlan,
    Gain,
    Listing,
    Option,
    Planned,
    Prediction,
    Verified,
)
from harness.records.transferred import Regret, Setting, Transfer
from harness.report import gained, planner, plans, regrets, style, transfers

WHOLE = 1e7
COST = Cost(1, 1, 1, 1, 1, 1, 1)
LONG = "features.$denseblock$_{1}.a-layer_of_a_very_long_name^2.module"


def gain(name: str, share: float, width: float = 0.01, basis: Any = "in place") -> Gain:
    return Gain(name, share * WHOLE, (share - width) * WHOLE, (share + width) * WHOLE, basis, 1e6)


def plan(options: tuple[str, ...], predicted: float, measured: float | None) -> FoldingPlan:
    ends = (WHOLE / predicted, 0.97 * WHOLE / predicted, 1.03 * WHOLE / predicted)
    found = measured and Verified(
        Speedup(measured, 0.98 * measured, 1.02 * measured, "faster"), WHOLE / measured, 0.0, COST, 1e-7
    )
    said = Prediction(*ends, predicted, predicted / 1.03, predicted / 0.97)
    return FoldingPlan(options, ("relu",) * len(options), 1.0, said, (), found or None)


def planned(gains: list[Gain], front: list[FoldingPlan], **more: Any) -> Planned:
    words = {"model": "resnet18", "runtime": "onnxruntime", "precision": "fp32", "threads": 2, "batch": 1}
    made = Planned(
        schema=1,
        device="local",
        created="2026-11-22T12:00:00+00:00",
        asked=words,
        listing=Listing("resnet18", "digits", (), (), ()),
        reference_ns=WHOLE,
        slope=None,
        gains=tuple(gains),
        prices=(),
        front=tuple(front),
        chosen=len(front) - 1 if front else None,
        undecided=(),
        resolution=None,
        seconds={},
    )
    return replace(made, **more)


def many(n: int) -> list[Gain]:
    return [
        gain(f"layer{k}.0.conv1..layer{k}.0.conv2:plain", 0.2 - 0.05 * k, basis=("in place", "isolated")[k % 2])
        for k in range(n)
    ]


USUAL = planned(
    [
        gain("b.conv1..b.conv2:plain", 0.1),
        gain("a.conv1..a.conv2:dense", -0.3),
        gain("c:tail", 0.001, basis="isolated"),
    ],
    [plan(("b.conv1..b.conv2:plain",), 1.1, 1.09)],
)
TEN = [plan((f"layer{k}.0.conv1..layer{k}.0.conv2:plain",), 1.02 + 0.05 * k, 1.0 + 0.07 * k) for k in range(10)]
HARD = {
    "usual": USUAL,
    "one plan of one option": planned(many(1), TEN[:1]),
    "ten plans of 130 options": planned([*many(130), Gain("lost", None, None, None, None, failure="no")], TEN),
    "no gains": planned([], TEN[:1]),
    "no plan": planned(many(8), []),
    "nothing but costs": planned(many(12)[6:], []),
    "a plan that failed": planned(many(8), [plan(("x",), 1.1, None)]),
    "all failed": planned([Gain("lost", None, None, None, None, failure="no")], [], reference_ns=None),
    "long names": planned(
        [gain(f"{LONG}.{k}.conv1..{LONG}.{k}.conv2:bypass={LONG}.{k}.conv1", 0.1 - 0.1 * k) for k in range(20)],
        TEN,
        device="raspberry_pi-" + "behind-the-$door$ " * 3,
    ),
    "plans far apart": planned(many(3), [plan(("x",), 1.1, 0.2), plan(("y",), 30.0, 25.0)]),
    "no interval": planned(
        many(3),
        [replace(TEN[0], verified=replace(TEN[0].verified, speedup=Speedup(1.1, None, None, None)))],  # type: ignore[arg-type]
    ),
}


def drawn(figure: Figure) -> str:
    """All words of a figure; each must lie within it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    words = [*figure.texts, *figure.legends[0].get_texts()]
    for axes in figure.axes:
        words += [*axes.texts, axes._left_title, axes.xaxis.label, axes.yaxis.label]  # type: ignore[attr-defined]
        words += [label for label in axes.get_xticklabels() if label.get_position()[0] <= max(axes.get_xlim())]
        words += [label for label in axes.get_yticklabels() if label.get_position()[1] <= max(axes.get_ylim())]
    for word in words:
        box = word.get_window_extent(renderer)
        inside = figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1
        assert not word.get_text() or (inside and box.y1 <= figure.bbox.y1 + 1), word.get_text()
    return "\n".join(word.get_text() for word in words)


def figure_of(made: Planned) -> str:
    with mpl.rc_context(style.RC):
        return drawn(planner._figure(made, gained.marks(made)))


@pytest.mark.slow
@pytest.mark.parametrize("hard", HARD)
def test_every_word_of_a_plans_figure_lies_within_it(hard: str) -> None:
    assert figure_of(HARD[hard])  # which looks at each


def test_a_glance_tells_how_many_folds_would_make_it_slower_and_how_many_would_not() -> None:
    words = figure_of(USUAL)
    assert "1 of 3 folds would make it slower here\n1 would make it faster, 1 undecided" in words
    assert "1 of 1 plan within 10% of the prediction" in words and "hollow: measured by itself" in words
    assert "2 of 2 folds" in figure_of(planned(many(2), []))
    assert "faster here" in figure_of(planned(many(2), [])) and "no plan: nothing surely gains here" in figure_of(
        planned(many(2), [])
    )


def test_the_points_are_those_of_the_plan_and_a_figure_has_all_its_formats(tmp_path: Path) -> None:
    figure, points = report.draw_plan(USUAL, tmp_path / "plan.png", also=(".svg", ".pdf"))
    assert all(figure.with_suffix(end).stat().st_size > 5000 for end in (".png", ".svg", ".pdf"))
    with points.open() as stream:
        found = list(csv.DictReader(stream))
    assert [row["kind"] for row in found] == ["plan", "option", "option", "option"]
    assert (float(found[0]["predicted"]), float(found[0]["measured"]), found[0]["chosen"]) == (1.1, 1.09, "True")
    assert [(row["name"], row["verdict"], row["chosen"]) for row in found[1:]] == [
        ("b.conv1..b.conv2:plain", "saves", "True"),
        ("c:tail", "undecided", "False"),
        ("a.conv1..a.conv2:dense", "costs", "False"),
    ]
    assert float(found[1]["saved"]) == pytest.approx(0.1) and float(found[1]["saved_ms"]) == pytest.approx(1.0)


def test_of_very_many_options_the_ends_are_drawn_and_the_rest_is_counted() -> None:
    made = HARD["ten plans of 130 options"]
    marks = [mark for mark in gained.marks(made) if mark.kind == "option"]
    assert len(marks) == 131 and sum(mark.drawn for mark in marks) == gained.BARS
    assert [mark.drawn for mark in marks[:21]] == [True] * 20 + [False] and marks[-1].verdict == "failed"
    words = figure_of(made)
    assert "100 more between: 100 slower" in words and "not measured: 1 option" in words


def test_a_bar_that_would_press_the_others_together_is_cut_and_says_how_far_it_goes() -> None:
    words = figure_of(planned([gain("a", 0.05), gain("b", -9.0)], []))
    assert "\u2212900 %" in words
    assert (
        "\u2212"
        not in figure_of(planned([gain("a", 0.05), gain("b", -0.2)], [])).split("95 % intervals")[-1].split("\u25c4")[0]
    )


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("layer4.1.conv1..layer4.1.conv2:plain", "layer4.1.conv1..conv2:plain"),
        ("features.3.conv.0.0..features.3.conv.2:dense", "features.3.conv.0.0..2:dense"),
        ("layer2.1.conv1..layer2.1.conv2:bypass=layer2.1.conv1", "layer2.1.conv1..conv2:bypass=conv1"),
        ("layer2.1:skip", "layer2.1:skip"),
        ("a..b:tail", "a..b:tail"),
    ],
)
def test_names_say_once_what_layers_share(name: str, short: str) -> None:
    assert gained.short(name) == short


def test_a_name_that_is_still_too_long_loses_its_middle() -> None:
    cut = gained.short(f"{LONG}.conv1..{LONG}.conv2:plain", 30)
    assert len(cut) == 30 and "\u2026" in cut and cut.endswith("conv2:plain")


def test_a_figure_is_stale_once_another_plan_is_meant(tmp_path: Path) -> None:
    picture, made = tmp_path / "plan.png", HARD["ten plans of 130 options"]
    assert not gained.is_plotted(made, picture)
    report.draw_plan(made, picture)
    assert gained.is_plotted(made, picture)
    assert not gained.is_plotted(replace(made, chosen=0), picture)
    assert not gained.is_plotted(replace(made, chosen=None), picture)


def test_why_a_plan_failed_stands_below_the_front() -> None:
    lost = replace(plan(("x",), 1.9, None), failure="cannot be built: no such operator")
    console = Console(record=True, width=200)
    words = {**USUAL.asked, "task": "digits", "data": None, "options": {}}
    listing = replace(USUAL.listing, options=(Option("x", "plain", 0, 2, (), (), (), 1, 1, 1, 1, ""),))
    made = planned([], [lost, TEN[0]], asked=words, listing=listing)
    plans.show(made, (), "no noise", console, ("--results", "my plans"))
    text = console.export_text()
    assert "plan 1 failed: cannot be built: no such operator" in text
    assert "--results 'my plans'" in text and "--results" not in plans.next_move(made)


def test_another_suffix_and_nothing_to_draw_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        report.draw_plan(USUAL, tmp_path / "plan.txt")
    with pytest.raises(StoreError, match="nothing to fold was measured"):
        report.draw_plan(planned([], []), tmp_path / "plan.png")


# --- the matrix ----------------------------------------------------------------------------------------------------


def transfer(settings: list[Setting]) -> Transfer:
    """Each plan costs a tenth more elsewhere for sure; 0 on 1 is not told apart, 1 on 0 failed, the last two are the same."""
    size = len(settings)
    plans = tuple((f"layer{min(n, size - 2)}:plain",) * (n > 0) for n in range(size))
    found = []
    for of in range(size):
        for on in range(size):
            if plans[of] == plans[on]:
                found.append(Regret(of, on, 1.0, None, None, "same", Speedup(1.31, 1.2, 1.4, "faster")))
            elif (of, on) == (1, 0):
                found.append(Regret(of, on, None, None, None, None, None, "cannot be built"))
            else:
                low = 0.97 if (of, on) == (0, 1) else 1.06
                found.append(Regret(of, on, 1.1, low, 1.15, "slower" if low > 1 else "unclear"))
    return Transfer(1, "2026-11-22T12:00:00+00:00", "resnet18", "digits", tuple(settings), plans, tuple(found))


def settings(many: int, device: str = "local") -> list[Setting]:
    kinds = [(r, p, t) for r in ("onnxruntime", "litert", "torch") for p in ("fp32", "int8") for t in (1, 2)]
    return [Setting(device, *kind) for kind in kinds[:many]]


@pytest.mark.slow
@pytest.mark.parametrize("many", [2, 3, 12])
@pytest.mark.parametrize("device", ["local", "a_rather_long_$device$_of_{mine}" * 2])
def test_every_word_of_a_matrix_lies_within_it(many: int, device: str) -> None:
    made = settings(many, device)
    with mpl.rc_context(style.RC):
        assert drawn(regrets._figure(transfer([*made[:-1], replace(made[-1], device="another-" + device)])))


def test_a_matrix_tells_each_ratio_with_its_interval_what_is_the_same_and_what_is_not_told_apart() -> None:
    made = transfer(settings(4))
    with mpl.rc_context(style.RC):
        figure = regrets._figure(made)
        words = drawn(figure)
    assert words.count("1.10\n[1.06, 1.15]") + words.count("1.10\n[0.97, 1.15]") == 9
    assert "not measured" in words and words.count("the same plan") == 2 and "stays unfolded" in words
    assert "1.31x unfolded" in words and "not told apart" in words and "local" in words
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert [(patch.get_x(), patch.get_y()) for patch in hatched] == [(1.0, 0.0)]  # type: ignore[attr-defined]


def test_settings_are_named_by_what_they_differ_in() -> None:
    one = [Setting("local", "onnxruntime", "fp32", threads) for threads in (1, 2)]
    assert transfers.names(one) == ["1 thread", "2 threads"] and transfers.shared(one) == "local onnxruntime fp32"
    assert transfers.name(one[1]) == "local onnxruntime fp32 2 threads"


def test_the_numbers_of_a_matrix_lie_beside_it(tmp_path: Path) -> None:
    _, points = report.draw_transfer(transfer(settings(3)), tmp_path / "t.svg", also=(".pdf",))
    with points.open() as stream:
        found = list(csv.DictReader(stream))
    assert len(found) == 9 and found[3]["failure"] == "cannot be built" and found[3]["ratio"] == ""
    assert (found[2]["of"], found[2]["on"]) == ("local onnxruntime fp32 1 thread", "local onnxruntime int8 1 thread")
    assert (found[2]["ratio"], found[2]["low"], found[2]["high"]) == ("1.1", "1.06", "1.15")


# --- in words ------------------------------------------------------------------------------------------------------


def told(made: Transfer) -> list[str]:
    return list(transfers.told(made))


def test_the_matrix_is_told_in_words_what_costs_most_first() -> None:
    made = transfer([Setting("local", runtime, "fp32", 1) for runtime in ("onnxruntime", "litert", "torch")])
    dear = replace(made.regrets[1], ratio=1.2, low=1.1, high=1.3, verdict="slower")
    words = told(replace(made, regrets=(made.regrets[0], dear, *made.regrets[2:])))
    assert words == [
        "nothing is folded for onnxruntime: no plan surely gained there",
        "the same network: the plans of litert and torch",
        "the plan made for onnxruntime costs litert 1.20x [1.10, 1.30]",
        "the plan made for onnxruntime costs torch 1.10x [1.06, 1.15]",
        "the plan made for litert was not measured on onnxruntime: cannot be built",
    ]


def test_where_nothing_is_told_apart_no_plan_is_said_to_cost_anything() -> None:
    made = transfer(settings(2))
    near = tuple(replace(each, low=1.03, verdict="unclear") if each.low else each for each in made.regrets[:2])
    words = told(replace(made, regrets=(*near, made.regrets[3])))
    assert "no plan surely costs another setting anything" in words
    assert words[-1] == "not told apart from the plan made there: 1 thread on 2 threads 1.10x [1.03, 1.15]"
    words = told(replace(made, regrets=(*near, *made.regrets[2:])))  # 1 on 0 failed
    assert "no plan that was measured surely costs another setting anything" in words


def test_where_every_foreign_plan_failed_nothing_is_said_of_what_they_cost() -> None:
    made = transfer(settings(2))
    failed = replace(made.regrets[2], of=0, on=1)
    words = told(replace(made, regrets=(made.regrets[0], failed, *made.regrets[2:])))
    assert not any("costs" in line for line in words) and sum("was not measured" in line for line in words) == 2


def test_the_verdict_decides_and_not_the_interval_alone() -> None:
    """An interval beyond 1 within what the device does by itself is no difference; one of two blocks has none."""
    unclear = Regret(0, 1, 1.02, 1.01, 1.03, "unclear")
    assert transfers.untold(unclear) and transfers.untold(replace(unclear, low=None, high=None, verdict=None))
    assert not transfers.untold(replace(unclear, verdict="slower"))
    assert not transfers.untold(Regret(0, 0, 1.0, None, None, "same"))
    assert not transfers.untold(Regret(0, 1, None, None, None, None, None, "no"))


def test_a_matrix_is_stale_once_another_plan_is_in_it(tmp_path: Path) -> None:
    picture, made = tmp_path / "transfer.png", transfer(settings(2))
    assert not regrets.is_plotted(made, picture)
    report.draw_transfer(made, picture)
    assert regrets.is_plotted(made, picture)
    assert not regrets.is_plotted(replace(made, plans=(("other:plain",), *made.plans[1:])), picture)


def test_a_foreign_plan_that_is_faster_is_told_as_that() -> None:
    made = transfer(settings(2))
    fast = replace(made.regrets[1], ratio=0.9, low=0.85, high=0.95, verdict="faster")
    words = told(replace(made, regrets=(made.regrets[0], fast, *made.regrets[2:])))
    assert "the plan made for 1 thread is faster on 2 threads than the one made there: 0.90x [0.85, 0.95]" in words


def test_the_matrix_is_a_table_on_a_terminal() -> None:
    text = io.StringIO()
    transfers.show(transfer(settings(4)), ("measured anew: kernel",), Console(file=text, width=140))
    assert "resnet18: plans of 4 settings (local onnxruntime), each measured on all of them" in text.getvalue()
    assert "1.10 [1.06, 1.15]" in text.getvalue() and "measured anew: kernel" in text.getvalue()


def test_settings_with_the_same_plan_share_a_column_and_are_told_of_once() -> None:
    """Of ten settings nine may come to one plan: forty-five pairs would say it."""
    four, folded = settings(4), (("a:plain",), ("b:plain",), ("a:plain",), ("a:plain",))
    regrets = tuple(
        Regret(of, on, 1.0, None, None, "same")
        if folded[of] == folded[on]
        else Regret(of, on, 1.1, 1.06, 1.15, "slower")
        for of in range(4)
        for on in range(4)
    )
    made, text = replace(transfer(four), plans=folded, regrets=regrets), io.StringIO()
    one, two, three, last = transfers.names(four)
    assert told(made) == [
        f"the same network: the plans of {one}, {three} and {last}",
        f"the plan made for {one} costs {two} 1.10x [1.06, 1.15]",
        *(f"the plan made for {two} costs {each} 1.10x [1.06, 1.15]" for each in (one, three, last)),
    ]
    transfers.show(made, (), Console(file=text, width=140))
    assert f"plan of {one} and 2 others" in text.getvalue() and text.getvalue().count("plan of") == 2
