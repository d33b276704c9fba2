"""Networks made to be measured: whole, kept and alone; made once, whoever interrupts; their keys follow what they depend on."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.child import Progress
from harness.compress import keys, models, plans, program, rungs
from harness.compress.scenes import Scene
from harness.errors import FoldError, UsageError
from harness.records.planned import OptionsRequest, Wanted

TINY = OptionsRequest("tiny", "tiny", seed=5)
BLOCK = "layer1.1.conv1..layer1.1.conv2:plain"
WHOLE, KEPT, ALONE = Wanted("whole"), Wanted("kept", (BLOCK,)), Wanted("alone", (BLOCK,))
_HERE = Path(keys.__file__).parent


def silent(_: Progress) -> None:
    """Nobody listens."""


def make(*wanted: Wanted, tell: Callable[[Progress], None] = silent) -> None:
    """Make networks under their keys."""
    plans.make(TINY, {keys.planned(TINY, each): each for each in wanted}, tell)


def test_networks_are_made_once_and_an_interrupted_making_goes_on() -> None:
    told: list[str] = []

    def until_alone(progress: Progress) -> None:
        told.append(progress.text)
        if progress.text.endswith("alone"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(WHOLE, KEPT, ALONE, tell=until_alone)
    made = {each: rungs.read(keys.planned(TINY, each)) for each in (WHOLE, KEPT, ALONE)}
    assert made[WHOLE] and made[KEPT] and made[ALONE] is None
    files = [Path(made[each].variant.program).stat().st_mtime_ns for each in (WHOLE, KEPT)]  # type: ignore[union-attr]
    make(WHOLE, KEPT, ALONE)
    now = [rungs.require(keys.planned(TINY, each)) for each in (WHOLE, KEPT, ALONE)]
    assert [Path(rung.variant.program).stat().st_mtime_ns for rung in now[:2]] == files
    assert [rung.removed_names for rung in now] == [(), (), ("layer1.1.relu1",)]
    assert now[1].variant.input_shape == now[2].variant.input_shape  # what the block reads within the network
    assert now[0].cost.macs and now[1].cost.macs and now[0].cost.macs > now[1].cost.macs


def test_the_unfolded_network_is_that_which_a_ladder_would_deploy(tmp_path: Path) -> None:
    make(WHOLE)
    task = models.task("tiny", None)
    network, example = models.build("tiny", task, TINY.seed), models.example(task, TINY.seed)
    deployed = program.deploy(network, example, task.CLASSES, (), tmp_path / "program.pt2")
    rung = rungs.require(keys.planned(TINY, WHOLE))
    assert rung.variant.name == deployed.variant.name  # the hash of graph and weights
    assert rung.cost == deployed.cost


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("layer1.0:skipp",), "layer1.0:skip"),
        (("",), 'option of tiny ""'),
        ((BLOCK, BLOCK), "touch one layer"),
        (("layer1.0:skip", "layer1.0.conv1..layer1.1.conv2:plain"), "touch one layer"),
    ],
)
def test_options_that_cannot_be_taken_are_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(Wanted("whole", names))


def test_a_network_that_cannot_be_made_says_why_and_the_others_go_on() -> None:
    lost = Wanted("alone", ("layer1.0:skip",))
    failed = plans.make(TINY, {"lost": lost, keys.planned(TINY, KEPT): KEPT}, silent)
    assert list(failed) == ["lost"] and "cannot be measured by itself" in failed["lost"]
    assert rungs.read("lost") is None and rungs.read(keys.planned(TINY, KEPT)) is not None


def test_an_unfolded_network_that_cannot_be_made_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content_of(tmp_path, monkeypatch, "endless", ENDLESS)
    with pytest.raises(FoldError, match="not finite"):
        plans.make(OptionsRequest("endless", "tiny"), {"key": WHOLE}, silent)


ENDLESS = """
from torch import nn

TASK = "tiny"

def build(weights=None, classes=10, shape=(3, 16, 16)):
    '''A network whose output is beyond float32.'''
    layer = nn.Linear(shape[0] * shape[1] * shape[2], classes)
    return nn.Sequential(nn.Flatten(), layer, nn.Threshold(0.0, float("inf")))
"""


def content_of(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    """A model of this test's own."""
    (folder / "models").mkdir()
    (folder / "models" / f"{name}.py").write_text(source)
    monkeypatch.setenv("HARNESS_CONTENT", str(folder))


class Deciding(nn.Module):
    """What runs depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) if x.sum() > 0 else x  # type: ignore[no-any-return]


def test_a_network_that_cannot_be_traced_is_told_in_a_sentence() -> None:
    with pytest.raises(FoldError, match="Deciding cannot be traced"):
        Scene.of(Deciding(), torch.randn(2, 3, 4, 4))


@pytest.mark.parametrize("change", [{"seed": 1}, {"model": "yardstick"}, {"task": "digits"}])
def test_keys_follow_what_networks_depend_on(change: dict[str, object], tmp_path: Path) -> None:
    for other in (replace(TINY, **change), replace(TINY, data=str(tmp_path))):  # type: ignore[arg-type]
        assert keys.options(other) != keys.options(TINY)
        assert keys.planned(other, WHOLE) != keys.planned(TINY, WHOLE)


def test_keys_follow_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys.options(TINY), keys.planned(TINY, WHOLE)
    version = keys.metadata.version
    monkeypatch.setattr(keys.metadata, "version", lambda name: "0" if name == "torch" else version(name))
    assert keys.options(TINY) != before[0] and keys.planned(TINY, WHOLE) != before[1]


def test_keys_follow_every_file_that_makes_networks() -> None:
    """Whatever `plans` imports of this package, but for what only keeps and names."""
    hashed = {file for pattern in keys._PLANS for file in _HERE.glob(pattern)}
    keeping = {_HERE / f"{name}.py" for name in ("keys", "listings", "rungs", "recipes", "schedules")}
    reached, left = set[Path](), [_HERE / "plans.py"]
    while left:
        file = left.pop()
        if file not in reached | keeping:
            reached.add(file)
            left.extend(_imported(file))
    assert {file.name for file in reached - hashed} == set()
    assert _HERE / "scenes.py" in reached


def _imported(file: Path) -> Iterator[Path]:
    """Files of harness.compress that a file imports as it is loaded."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("harness.compress"):
            home = _HERE.joinpath(*node.module.split(".")[2:])
            found = [home.with_suffix(".py"), home / "__init__.py", *(home / f"{each.name}.py" for each in node.names)]
            yield from (each for each in found if each.is_file())
