"""Recipes come from words and are checked; keys follow what rungs depend on, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.compress import keys, recipes
from harness.errors import UsageError
from harness.records import LadderRequest

EASIER = LadderRequest(method="easier", model="tiny", task="tiny")


def test_settings_are_checked_by_name_and_value() -> None:
    with pytest.raises(UsageError, match=r'no setting of method easier "entropie"; did you mean "entropy"\?'):
        recipes.resolve("easier", {"entropie": "channel"})
    with pytest.raises(UsageError, match=r"entropy = 'chanel'.*'channel' or 'position'"):
        recipes.resolve("easier", {"entropy": "chanel"})
    with pytest.raises(UsageError, match=r'no method "easer"; did you mean "easier"\?'):
        recipes.resolve("easer", {})


def test_a_ladder_is_named_by_method_and_what_differs_from_the_defaults() -> None:
    def name(method: str, **given: object) -> str:
        return recipes.ladder_name(method, recipes.resolve(method, given))

    assert name("easier") == name("easier", entropy="channel") == "easier"
    assert name("easier", entropy="position") == "easier-position"
    assert name("order") == "order"
    assert name("tlc", joint=True) == "tlc-joint"
    assert name("layer-folding", threshold=0, weight=0.5) == "layer-folding-weight0.5-threshold0"
    first, second = name("order", order=["a", "b"]), name("order", order=["b", "a"])
    assert first != second
    assert first.startswith("order-")


def test_saying_the_default_changes_no_key() -> None:
    assert keys.ladder(EASIER) == keys.ladder(replace(EASIER, recipe={"entropy": "channel"}))


def test_rung_0_is_shared_by_methods_that_train_and_by_their_recipes() -> None:
    position = replace(EASIER, recipe={"entropy": "position"})
    assert keys.rung(EASIER, 0, None) == keys.rung(position, 0, None)
    assert keys.rung(EASIER, 1, "above") != keys.rung(position, 1, "above")
    assert keys.rung(EASIER, 0, None) != keys.rung(replace(EASIER, method="order"), 0, None)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"threads": 1}, {"forms": ("ring",)}, {"data": "/d"}, {"task": "digits"}],
)
def test_a_key_follows_what_the_rungs_depend_on(change: dict[str, object]) -> None:
    other = replace(EASIER, **change)
    assert keys.ladder(EASIER) != keys.ladder(other)
    assert keys.rung(EASIER, 0, None) != keys.rung(other, 0, None)


def test_what_is_eligible_changes_every_rung_but_the_first() -> None:
    everything = replace(EASIER, eligible="all")
    assert keys.ladder(EASIER) != keys.ladder(everything)
    assert keys.rung(EASIER, 1, "above") != keys.rung(everything, 1, "above")
    assert keys.rung(EASIER, 0, None) == keys.rung(everything, 0, None)


def test_a_key_follows_the_files_of_the_data_folder(tmp_path: Path) -> None:
    def key() -> str:
        keys.listing.cache_clear()  # as in another process
        return keys.rung(replace(EASIER, data=str(tmp_path)), 0, None)

    file = tmp_path / "train" / "images.npy"
    found = [key()]
    for content in (b"some", b"more than that"):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        found.append(key())
    assert key() == found[-1]
    os.utime(file, (0, 0))
    found.append(key())
    assert len(set(found)) == 4


def test_a_key_follows_the_packages_that_split_data_and_resample_it(monkeypatch: pytest.MonkeyPatch) -> None:
    version = keys.metadata.version
    for package in ("numpy", "pillow", "scikit-learn", "scipy", "tokenizers", "torch"):
        with monkeypatch.context() as other:
            other.setattr(
                keys.metadata, "version", lambda name, package=package: "another" if name == package else version(name)
            )
            changed = keys.ladder(EASIER)
        assert changed != keys.ladder(EASIER), package


def test_a_rung_rests_on_the_very_rung_above() -> None:
    assert keys.rung(EASIER, 1, "one") != keys.rung(EASIER, 1, "another")
    assert keys.rung(EASIER, 1, "one") != keys.rung(EASIER, 2, "one")


def test_a_key_follows_the_sources_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    (tmp_path / "models").mkdir()
    found = []
    for text in ("TASK = 'tiny'\n", "TASK = 'tiny'\n# changed\n"):
        (tmp_path / "models" / "mine.py").write_text(text)
        found.append(keys.ladder(replace(EASIER, model="mine")))
    (tmp_path / "models" / "_shared.py").write_text("")
    found.append(keys.ladder(replace(EASIER, model="mine")))
    assert len(set(found)) == 3


def test_keys_and_client_need_no_torch() -> None:
    code = (
        "import sys; from harness.compress import client, keys; from harness.records import LadderRequest;"
        "keys.ladder(LadderRequest('easier', 'tiny', 'tiny')); keys.controls('tiny', 'tiny', 0);"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_key_follows_the_versions_of_the_packages_that_build_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = replace(EASIER, model="bert", task="wordpieces")
    before, unconcerned = keys.ladder(reader), keys.ladder(EASIER)
    monkeypatch.setattr(keys.metadata, "version", lambda name: "0" if name == "transformers" else version(name))
    assert keys.ladder(reader) != before
    assert keys.ladder(EASIER) == unconcerned
