"""A climb keeps its own rungs whatever the cap, says what had to go, and ends clearly where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import TINY, Told, climb

from harness import cache
from harness.compress import client
from harness.errors import StoreError
from harness.records import Ladder, Rung


def sizes(made: Sequence[Rung]) -> tuple[int, int]:
    """Bytes of all that a ladder keeps, and of that without weights to go on from."""
    folders = [Path(rung.variant.program).parent for rung in made]
    whole = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    return whole, whole - sum((folder / "state.pt").stat().st_size for folder in folders)


def states(made: Sequence[Rung]) -> list[bool]:
    return [Path(rung.variant.program).with_name("state.pt").exists() for rung in made]


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rung, ...]:
    """The ladder as it is where there is room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("roomy")))
        return climb(TINY)[1]


def allow(size_bytes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GB", str(size_bytes / 2**30))


def names(made: Sequence[Rung]) -> list[str]:
    return [rung.variant.name for rung in made]


def test_where_there_is_room_all_weights_stay(roomy: tuple[Rung, ...]) -> None:
    assert states(roomy) == [True] * 4


def test_where_room_is_short_the_weights_in_the_middle_go_first_and_it_is_said(
    roomy: tuple[Rung, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = sizes(roomy)
    allow(whole - 1, monkeypatch)
    told = Told()
    _, made = climb(TINY, told)
    assert names(made) == names(roomy)
    assert states(made) == [True, False, False, True]
    assert told.heard("easier: the cache dropped weights of finished rungs")
    assert cache.size_bytes() < whole


@pytest.mark.slow
def test_a_climb_goes_on_after_its_weights_were_dropped_and_makes_again_what_it_must(
    roomy: tuple[Rung, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(sizes(roomy)[0] - 1, monkeypatch)
    _, short = climb(replace(TINY, rungs=2))
    assert states(short) == [True, False, True]
    told = Told()
    _, made = climb(TINY, told)
    assert not told.heard("rung 1 ") and not told.heard("rung 2 ")
    for file in Path(made[3].variant.program).parent.iterdir():
        file.unlink()
    told = Told()
    _, again = climb(TINY, told)
    assert names(again) == names(roomy)
    assert told.heard("rung 1 of 3, fine-tuning") and not told.heard("rung 0")


def test_others_entries_make_room_and_it_is_said_what_went(
    roomy: tuple[Rung, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(2 * sizes(roomy)[0], monkeypatch)
    with cache.put("artifact", "old") as folder:
        (folder / "artifact").write_bytes(bytes(int(1.9 * sizes(roomy)[0])))
    told = Told()
    _, made = climb(TINY, told)
    assert cache.get("artifact", "old") is None
    assert told.heard("the cache dropped 1 artifact (") and told.heard("to stay under ")
    assert names(made) == names(roomy)


def test_a_ladder_larger_than_the_cap_ends_with_what_it_takes_and_the_next_move(
    roomy: tuple[Rung, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(0.6 * sizes(roomy)[1], monkeypatch)
    with pytest.raises(StoreError, match=r"the rungs of this ladder take .* by now, the cache may hold") as caught:
        climb(TINY)
    assert "HARNESS_CACHE_GB" in caught.value.hint and "--rungs" in caught.value.hint


def test_weights_that_cannot_fit_are_refused_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(10_000, monkeypatch)
    told = Told()
    with pytest.raises(StoreError, match=r"4 rungs of .* do not fit the cache, which may hold 0.01 MB") as caught:
        climb(TINY, told)
    assert "Set HARNESS_CACHE_GB=1 or more" in caught.value.hint
    assert not told.lines and not cache.entries()


def test_a_ladder_that_was_dropped_to_make_another_is_named_before_anything_is_built() -> None:
    outline, made = climb(replace(TINY, method="order", rungs=1))
    ladder = Ladder(outline.name, "order", "tiny", "tiny", {}, 0, made)
    client.require_all([ladder])
    Path(made[1].variant.program).unlink()
    with pytest.raises(StoreError, match="dropped rungs of ladder order while another ladder was made"):
        client.require_all([ladder])
