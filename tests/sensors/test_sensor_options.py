"""Options of sensors: what is no option, or has no sense, is said with its rule and its value."""

from __future__ import annotations

import pytest

from devices.sensors import _options


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r'one of rails, total; did you mean "total"\?, not \'totl\''):
        _options.known({"totl": ["VDD_IN"]}, {"total": "", "rails": ""})


@pytest.mark.parametrize("said", [{}, {"total": 1}, {"total": 1, "rails": 2}], ids=["none", "one", "all"])
def test_known_options_pass_and_one_more_does_not(said: dict[str, object]) -> None:
    _options.known(said, {"total": "", "rails": ""})
    with pytest.raises(ValueError, match="colour"):
        _options.known({**said, "colour": 3}, {"total": "", "rails": ""})


def test_a_missing_option_is_its_default_and_without_one_it_is_asked_for() -> None:
    assert _options.text({}, "program", "x") == "x"
    assert _options.number({"w": None}, "w", 2.5, 0, 9) == 2.5
    with pytest.raises(ValueError, match="option host must be given"):
        _options.text({}, "host")


@pytest.mark.parametrize(
    "value", ["", "a\nb", 5, ["x"], "x" * 10_001], ids=["empty", "lines", "number", "list", "long"]
)
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="option program must be text of one line, not"):
        _options.text({"program": value}, "program")


@pytest.mark.parametrize("value", [True, "5", -1, 11, float("nan")], ids=["flag", "text", "low", "high", "nan"])
def test_what_is_no_number_in_range_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="option w must be a number from 0 to 10, not"):
        _options.number({"w": value}, "w", 1.0, 0, 10)
    with pytest.raises(ValueError, match="option w must be a whole number from 0 to 10, not"):
        _options.whole({"w": value}, "w", 1, 0, 10)


def test_a_whole_number_is_not_cut_out_of_another() -> None:
    assert _options.whole({"w": 3}, "w", 1, 0, 10) == 3
    with pytest.raises(ValueError, match=r"whole number from 0 to 10, not 2\.5"):
        _options.whole({"w": 2.5}, "w", 1, 0, 10)


def test_a_choice_is_among_its_words() -> None:
    assert _options.choice({}, "scope", ("a", "b"), "b") == "b"
    with pytest.raises(ValueError, match="option scope must be one of a, b, not 'c'"):
        _options.choice({"scope": "c"}, "scope", ("a", "b"), "b")


def test_a_flag_is_true_or_false() -> None:
    assert _options.flag({"x": False}, "x", True) is False
    with pytest.raises(ValueError, match="option x must be true or false, not 'yes'"):
        _options.flag({"x": "yes"}, "x", True)


@pytest.mark.parametrize(
    ("value", "rule"),
    [("VDD_IN", "a list of texts"), ([1], "a list of texts"), ([""], "a list of texts"), (["A", "A"], "nothing twice")],
    ids=["text", "numbers", "empty-text", "twice"],
)
def test_names_are_a_list_of_different_texts(value: object, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        _options.names({"total": value}, "total", ())


def test_no_names_are_fine_only_where_none_is_the_default() -> None:
    assert _options.names({"total": ["A", "B"]}, "total") == ("A", "B")
    assert _options.names({"total": []}, "total", ()) == ()
    with pytest.raises(ValueError, match="must name something"):
        _options.names({"total": []}, "total", ("A",))
