"""A plan is held against choices of as many blocks that nobody had to measure for."""

from __future__ import annotations

from harness.planner import rivals
from harness.records.planned import Listing, Option


def option(name: str, first: int, after: int, *layers: str, form: str = "plain", added: int = 0) -> Option:
    removed = tuple(f"{layer}.act" for layer in layers[:-1]) or ("block.act",)
    return Option(name, form, first, after, layers, (), removed, 100, 100 + added, 1, 1, "")  # type: ignore[arg-type]


BLOCKS = [
    option(f"b{n}", 2 * n, 2 * n + 2, f"b{n}.one", f"b{n}.two", added=added) for n, added in enumerate([5, -9, 7, 3])
]
ACROSS = option("across", 1, 3, "b0.two", "b1.one", added=-99)
SKIPS = [option(f"b{n}:skip", 2 * n, 2 * n + 2, form="skip") for n in range(4)]
LISTING = Listing("model", "task", (), (), (*BLOCKS, ACROSS, *SKIPS))


def test_everything_is_each_block_whole_and_nothing_across_blocks() -> None:
    assert [each.name for each in rivals.whole_blocks(LISTING)] == ["b0", "b1", "b2", "b3"]


def test_of_a_block_s_options_the_one_of_most_layers_is_the_whole_block() -> None:
    long = option("b0 and shortcut", 0, 2, "b0.one", "b0.two", "b0.way")
    found = rivals.whole_blocks(Listing("m", "t", (), (), (*BLOCKS, long)))
    assert [each.name for each in found] == ["b0 and shortcut", "b1", "b2", "b3"]


def test_a_row_of_layers_in_one_module_is_folded_from_end_to_end() -> None:
    row = [f"features.{n}" for n in range(6)]
    every = [option(f"{a}..{b}", a, b, *row[a:b]) for a in range(6) for b in range(a + 2, min(a + 4, 6) + 1)]
    found = rivals.whole_blocks(Listing("m", "t", (), (), tuple(every)))
    assert [each.name for each in found] == ["0..4", "4..6"]


def test_each_rival_has_as_many_blocks_as_the_plan_but_for_everything_and_the_drop() -> None:
    found = rivals.rivals(LISTING, 2, order=("b2.one.act", "b0.one.act", "b1.one.act", "b3.one.act"))
    assert found["fold everything"] == ("b0", "b1", "b2", "b3")
    assert found["MACs greedy"] == ("b1", "b3")
    assert found["deepest first"] == ("b2", "b3")
    assert found["EASIER's order"] == ("b0", "b2")
    assert found["uniform block drop"] == ("b1:skip", "b3:skip")
    assert all(len(names) == 2 for name, names in found.items() if name.startswith("random"))


def test_choices_at_random_differ_from_each_other_and_are_all_there_are_where_those_are_few() -> None:
    many = {n: drawn(rivals.rivals(LISTING, n)) for n in (1, 2, 4)}
    assert [len(set(sets)) for sets in many.values()] == [len(sets) for sets in many.values()] == [4, 5, 1]


def drawn(found: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [names for name, names in found.items() if name.startswith("random")]


def test_rivals_that_come_out_alike_keep_a_name_each() -> None:
    found = rivals.rivals(LISTING, 4)
    assert found["deepest first"] == found["fold everything"] == found["random 1"]


def test_random_choices_are_those_of_the_seed() -> None:
    assert rivals.rivals(LISTING, 2, seed=3) == rivals.rivals(LISTING, 2, seed=3)
    assert drawn(rivals.rivals(LISTING, 2, seed=3)) != drawn(rivals.rivals(LISTING, 2, seed=4))


def test_a_network_without_options_has_no_rivals() -> None:
    assert rivals.rivals(Listing("m", "t", (), (), ()), 2) == {}
