"""Which jobs a planner brings to their end: what groups of options say nothing of is measured one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import transport
from harness.planner import folder, table, work
from harness.planner.bench import Bench, Told
from harness.planner.folder import Asked, Pair, Row, Sheet
from harness.planner.gains import Compared
from harness.planner.goals import Goal
from harness.records import Device, Profile, Speedup
from harness.records.planned import Listing, Option

ASKED = Asked("local", "tiny", "tiny", None, "onnxruntime", "fp32", 1, 1)
DEVICE = Device("local", Profile("box", "", "any", ("onnxruntime",)))
OPTIONS = tuple(Option(f"o{n:02}", "plain", n, n + 1, (), (), (), 2, 1, 1, 1, f"s{n}") for n in range(18))
LISTING = Listing("tiny", "tiny", (), (), OPTIONS)
GAINING = Compared(100.0, Speedup(1.2, 1.1, 1.3, "faster"))


class Scripted(Bench):
    """A bench on which jobs say what they are told to; `asked` holds which were wanted."""

    def say(self, *jobs: Told) -> None:
        self.jobs, self.asked_for = list(jobs), list[tuple[str, tuple[Pair, ...]]]()

    def bring(self, own: Path, kind: folder.Kind, pairs: Sequence[Pair]) -> Told:
        self.asked_for.append((own.name, tuple(pairs)))
        return self.jobs.pop(0)


@pytest.fixture
def bench(tmp_path: Path) -> Scripted:
    own = folder.make(tmp_path, folder.begin(ASKED, {"facts": {}, "versions": {}}))
    return Scripted(own, DEVICE, transport.connect(DEVICE), None, lambda _: None)


def test_groups_that_tell_of_no_option_are_followed_by_a_job_of_each_by_itself(bench: Scripted, tmp_path: Path) -> None:
    bench.say({(): Compared()}, {("o00",): GAINING})
    told = work.Work(tmp_path, Goal("count"), bench)._in_place(LISTING, {each.signature: GAINING for each in OPTIONS})
    assert told == {("o00",): GAINING}
    (first, groups), (second, alone) = bench.asked_for
    assert (first, second) == ("001", "002")
    assert any(len(pair.options) > 1 for pair in groups) and {len(pair.options) for pair in alone} == {1}


def test_what_failed_by_itself_takes_no_group_down(bench: Scripted, tmp_path: Path) -> None:
    bench.say({("o00",): GAINING})
    isolated = {each.signature: GAINING for each in OPTIONS} | {"s3": Compared(failure="cannot be built: no")}
    work.Work(tmp_path, Goal("count"), bench)._in_place(LISTING, isolated)
    ((_, groups),) = bench.asked_for
    assert {name for pair in groups for name in pair.options} == {each.name for each in OPTIONS} - {"o03"}


def test_an_unfolded_network_that_failed_is_not_tried_once_more_with_each_option(
    bench: Scripted, tmp_path: Path
) -> None:
    bench.say({(): Compared(failure="no memory left")})
    told = work.Work(tmp_path, Goal("count"), bench)._in_place(LISTING, {each.signature: GAINING for each in OPTIONS})
    assert told[()].failure == "no memory left" and len(bench.asked_for) == 1


def test_groups_none_of_which_was_built_say_whether_the_unfolded_network_was() -> None:
    pair = table.whole(("o00", "o01"))
    nothing = table.measured(None, [])
    lost = Sheet("in place", (Row(pair, None, "case", None, None, "cannot be built: no such operator"),))
    assert table.compared(lost, nothing) == {(): Compared()}
    unbuilt = Sheet("in place", (Row(pair, None, None, None, None, "cannot be built: no room"),))
    assert table.compared(unbuilt, nothing) == {(): Compared(failure="cannot be built: no room")}
