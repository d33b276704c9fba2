"""Ratios become ns, isolated gains are corrected by one slope, and what failed says why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtrit

from harness.planner import gains
from harness.planner.gains import Compared, Saved
from harness.records import Speedup
from harness.records.planned import Gain, Option


def option(name: str, signature: str = "", macs: tuple[int, int] = (100, 50)) -> Option:
    return Option(name, "plain", 0, 2, ("a", "b"), (), ("relu",), *macs, 10, 10, signature or name)


def compared(reference_ns: float, ratio: float, width: float = 0.01) -> Compared:
    return Compared(reference_ns, Speedup(ratio, ratio * (1 - width), ratio * (1 + width), "unclear"))


def found(options: list[Option], isolated: dict[str, Compared], in_place: dict[str, Compared]) -> dict[str, Gain]:
    return {gain.option: gain for gain in gains.gains(options, isolated, in_place)[0]}


def test_a_ratio_saves_the_share_of_the_reference_that_it_leaves_out() -> None:
    saved = gains.saved(Compared(1000.0, Speedup(1.25, 1.0, 2.0, "unclear")))
    assert saved == Saved(pytest.approx(200.0), 0.0, 500.0)
    slower = gains.saved(Compared(1000.0, Speedup(0.5, 0.4, 0.8, "slower")))
    assert slower == Saved(-1000.0, pytest.approx(-1500.0), pytest.approx(-250.0))


def test_an_option_that_was_measured_in_place_has_that_gain_and_no_other_where_no_slope_is_known() -> None:
    gain = found([option("o")], {"o": compared(100.0, 2.0)}, {"o": compared(1000.0, 1.25)})["o"]
    assert (gain.basis, gain.gain_ns, gain.kept_ns) == ("in place", pytest.approx(200.0), 100.0)
    assert gain.isolated is not None and gain.isolated.ratio == 2.0
    assert gain.in_place is not None and gain.in_place.ratio == 1.25


def table(slopes: list[float]) -> tuple[list[Option], dict[str, Compared], dict[str, Compared]]:
    """Options that save 10, 20, ... ns by themselves, in place as many times that as the slopes say; the last not there."""
    options = [option(f"o{n}") for n in range(len(slopes) + 1)]
    isolated = {f"o{n}": compared(1000.0, 1 / (1 - 0.01 * (n + 1)), 1e-4) for n in range(len(slopes) + 1)}
    in_place = {f"o{n}": compared(1e4, 1 / (1 - 0.001 * (n + 1) * s), 1e-5) for n, s in enumerate(slopes)}
    return options, isolated, in_place


def test_an_option_measured_by_itself_is_multiplied_by_the_devices_slope_and_widened_by_what_the_slope_does_not_know() -> (
    None
):
    options, isolated, in_place = table([1.9, 2.0, 2.1, 2.0])
    gain = found(options, isolated, in_place)["o4"]
    own = gains.saved(isolated["o4"])
    assert own is not None and own.ns == pytest.approx(50.0, rel=0.01)
    assert gain.basis == "isolated" and gain.gain_ns == pytest.approx(100.0, rel=0.01)
    assert gain.low_ns is not None and gain.high_ns is not None
    assert gain.high_ns - gain.low_ns > 3 * (own.high - own.low)
    steady = found(*table([2.0, 2.0, 2.0, 2.0]))["o4"]
    assert steady.low_ns is not None and steady.low_ns > gain.low_ns


def test_what_is_small_beside_the_noise_of_a_whole_network_is_told_by_both_measurements_together() -> None:
    options, isolated, in_place = table([2.0, 2.1, 1.9, 2.0, 2.0])
    noisy = in_place | {"o4": compared(1e4, 1 / (1 - 0.01), 0.02)}  # 100 ns of 10 us, 200 ns either way
    gain = found(options, isolated, noisy)["o4"]
    alone = gains.saved(noisy["o4"])
    assert alone is not None and not alone.is_decided
    assert gain.basis == "both" and gain.low_ns is not None and gain.low_ns > 0
    assert gain.gain_ns == pytest.approx(100.0, rel=0.05)


def test_what_contradicts_the_isolated_gain_in_place_counts_alone() -> None:
    options, isolated, in_place = table([2.0, 2.1, 1.9, 2.0, -3.0])
    gain = found(options, isolated, in_place)["o4"]
    assert gain.basis == "in place" and gain.gain_ns == pytest.approx(-150.0, rel=0.01)


def test_intervals_of_gains_hold_the_true_gain_as_often_as_they_say() -> None:
    """On made devices of slope 0.9 with 3 % noise between processes; six blocks, the reference measured four times in each."""
    draw, held, decided, alone_decided = np.random.default_rng(5), 0, 0, 0
    for _ in range(60):
        saved_ns = draw.uniform(20e3, 80e3, 16)
        true_ns = saved_ns * draw.normal(0.9, 0.25, 16)
        options = [option(f"o{n}") for n in range(16)]
        isolated = {f"o{n}": _measured(draw, 1e5, 1e5 - each, 0.01, 3, 1) for n, each in enumerate(saved_ns)}
        in_place = {f"o{n}": _measured(draw, 16e5, 16e5 - each, 0.03, 6, 4) for n, each in enumerate(true_ns)}
        known = found(options, isolated, in_place)
        alone = {name: gains.saved(each) for name, each in in_place.items()}
        gain = [known[f"o{n}"] for n in range(16)]
        held += sum((each.low_ns or 0) <= true <= (each.high_ns or 0) for each, true in zip(gain, true_ns, strict=True))
        decided += sum((each.low_ns or 0) > 0 for each in gain)
        alone_decided += sum(each is not None and each.is_decided for each in alone.values())
    assert held / (60 * 16) > 0.93
    assert decided > 1.5 * alone_decided


def _measured(draw: np.random.Generator, whole: float, case: float, noise: float, blocks: int, times: int) -> Compared:
    """A comparison as a job makes it: logarithms paired within blocks, Student's t over them."""
    apart = np.log(whole / case) + draw.normal(0, noise, blocks) + draw.normal(0, noise / times**0.5, blocks)
    half = float(stdtrit(blocks - 1, 0.975) * apart.std(ddof=1) / blocks**0.5)
    middle = float(apart.mean())
    return Compared(whole, Speedup(*(math.exp(middle + side) for side in (0, -half, half)), "unclear"))


def test_the_slope_is_not_moved_by_one_odd_option() -> None:
    _, correction = gains.gains(*table([2.0, 2.0, -9.0, 2.1, 1.9, 2.0]))
    assert correction is not None and correction.slope == pytest.approx(2.0, rel=0.06)
    assert correction.low > 1.5 and correction.high < 2.5


def test_below_three_options_with_both_there_is_no_slope_and_the_interval_holds_a_factor_of_three() -> None:
    options, isolated, in_place = table([2.0, 2.0])
    known, correction = gains.gains(options, isolated, in_place)
    assert correction is None
    (last,) = (gain for gain in known if gain.option == "o2")
    assert last.gain_ns == pytest.approx(30.0, rel=0.01)
    assert last.low_ns is not None and last.low_ns < 10.0 and last.high_ns is not None and last.high_ns > 90.0


def test_an_option_whose_isolated_gain_may_be_nothing_says_nothing_of_the_slope() -> None:
    unsure = (Saved(1.0, -5.0, 7.0), Saved(900.0, 800.0, 1000.0))
    sure = (Saved(10.0, 9.0, 11.0), Saved(20.0, 19.0, 21.0))
    assert gains.correction([sure, sure, unsure]) is None
    found = gains.correction([sure, sure, sure, unsure])
    assert found is not None and (found.slope, found.low, found.high) == (2.0, 2.0, 2.0)


def test_options_of_one_signature_share_one_isolated_measurement() -> None:
    options = [option("a", "same"), option("b", "same"), option("c")]
    known = found(options, {"same": compared(100.0, 2.0), "c": compared(100.0, 0.5)}, {})
    assert known["a"] == replace(known["b"], option="a")
    assert known["c"].gain_ns == pytest.approx(-100.0)


def test_what_failed_has_no_gain_and_says_why() -> None:
    options = [option("lost"), option("brief"), option("apart")]
    isolated = {"lost": compared(100.0, 2.0), "apart": Compared(failure="cannot be built: no room")}
    once = Compared(100.0, Speedup(2.0, None, None, "unclear"))
    known = found(options, isolated, {"lost": Compared(failure="crash: signal 9"), "brief": once})
    assert {name: gain.failure for name, gain in known.items()} == {
        "lost": "crash: signal 9",
        "brief": "measured in fewer than two blocks: no interval",
        "apart": "cannot be built: no room",
    }
    assert all(gain.gain_ns is gain.low_ns is gain.high_ns is gain.basis is None for gain in known.values())


def test_an_option_that_was_not_measured_has_no_gain_at_all() -> None:
    assert set(found([option("a"), option("b")], {}, {"a": compared(100.0, 2.0)})) == {"a"}


def test_the_most_profitable_options_are_measured_in_place_first_and_the_hopeless_ones_not() -> None:
    ratios = {"little": 1.05, "much": 2.0, "bad": 0.5, "worse": 0.4, "unsure": 0.999}
    options = [option(name) for name in ratios] + [option("apart", "-", (100, 10)), option("smaller", "--", (100, 60))]
    isolated = {name: compared(100.0, ratio) for name, ratio in ratios.items()}
    worth = gains.worth_a_look(options, isolated)
    assert [each.name for each in worth] == ["much", "little", "unsure", "apart", "smaller"]


def test_what_failed_by_itself_is_put_in_no_group_unless_there_is_nothing_else() -> None:
    options = [option("fine"), option("broken"), option("apart", "-", (100, 10))]
    isolated = {"fine": compared(100.0, 1.5), "broken": Compared(failure="cannot be built: no such operator")}
    assert [each.name for each in gains.worth_a_look(options, isolated)] == ["fine", "apart"]
    assert [each.name for each in gains.worth_a_look(options[1:2], isolated)] == ["broken"]


def test_where_nothing_seems_to_gain_as_many_are_looked_at_as_a_slope_needs() -> None:
    ratios = {"bad": 0.5, "worse": 0.4, "worst": 0.3, "hopeless": 0.1}
    isolated = {name: compared(100.0, ratio) for name, ratio in ratios.items()}
    worth = gains.worth_a_look([option(name) for name in reversed(ratios)], isolated)
    assert [each.name for each in worth] == ["bad", "worse", "worst"]
