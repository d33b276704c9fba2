"""`harness run --method planned` takes the plans that `harness plan` kept of the device, for what is measured there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import inventory
from harness import plan as planning
from harness.errors import UsageError
from harness.plan import Words
from harness.planner import folder, stored
from harness.planner.folder import Asked
from harness.records import Device, Plan
from harness.records.planned import FoldingPlan, Listing, Planned, Prediction

SKIP, MERGE = "layer1.0:skip", "layer2.0.conv1..layer2.0.conv2:plain"
NOTHING = Prediction(1e6, 1e6, 1e6, 1.0, 1.0, 1.0)


def asked(device: str, *methods: str, recipe: tuple[str, ...] = (), **more: object) -> tuple[tuple[Device, Plan], ...]:
    words = Words(device, model="tiny", method=",".join(methods), recipe=recipe, **more)  # type: ignore[arg-type]
    return planning.make(words, inventory.locate(None))


def kept(results: Path, created: str, *front: tuple[str, ...], **asked: object) -> Planned:
    """What `harness plan` would have kept of tiny on local, ONNX Runtime, float32, one thread."""
    words = folder.plain(Asked("local", "tiny", "tiny", None, "onnxruntime", "fp32", 1, 1))
    planned = Planned(
        schema=folder.SCHEMA,
        device="local",
        created=created,
        asked={**words, **asked},
        listing=Listing("tiny", "tiny", (), (), ()),
        reference_ns=1e6,
        slope=None,
        gains=(),
        prices=(),
        front=tuple(FoldingPlan(options, (), 1.0, NOTHING) for options in front),
        chosen=None,
        undecided=(),
        resolution=None,
        seconds={},
    )
    own = folder.home(results, "local") / f"tiny-{created}"
    own.mkdir(parents=True)
    folder.save(own, planned)
    return planned


def recipes(planned: tuple[tuple[Device, Plan], ...]) -> list[object]:
    return [request.recipe.get("plans") for _, plan in planned for request in plan.ladders]


def test_the_newest_front_for_what_is_measured_becomes_the_recipe(tmp_path: Path) -> None:
    kept(tmp_path, "2026-11-20", (MERGE,))
    kept(tmp_path, "2026-11-21", (SKIP,), (SKIP, MERGE))
    kept(tmp_path, "2026-11-22", (SKIP,), runtime="litert")
    kept(tmp_path, "2026-11-23", (SKIP,), threads=2)
    resolved = stored.resolve(asked("local", "planned", "easier"), tmp_path)
    assert recipes(resolved) == [[SKIP, f"{SKIP}+{MERGE}"], None]
    assert recipes(stored.resolve(asked("local", "planned", threads=2), tmp_path)) == [[SKIP]]


def test_the_plan_that_was_told_last_is_trained_though_its_table_is_older(tmp_path: Path) -> None:
    wanted = kept(tmp_path, "2026-11-20", (MERGE,))
    kept(tmp_path, "2026-11-21", (SKIP,), forms=["skip"])
    assert recipes(stored.resolve(asked("local", "planned"), tmp_path)) == [[SKIP]]
    folder.save(folder.home(tmp_path, "local") / "tiny-2026-11-20", wanted)  # a look-up
    assert recipes(stored.resolve(asked("local", "planned"), tmp_path)) == [[MERGE]]


def test_a_plan_of_other_options_tuning_or_data_and_one_set_aside_say_nothing(tmp_path: Path) -> None:
    kept(tmp_path, "2026-11-20", (MERGE,))
    kept(tmp_path, "2026-11-21", (SKIP,), options={"optimization": "basic"})
    kept(tmp_path, "2026-11-22", (SKIP,), tune=["governor"])
    kept(tmp_path, "2026-11-23", (SKIP,), data="elsewhere")
    kept(tmp_path, "2026-11-24.before-20261124T000000Z", (SKIP,))
    assert recipes(stored.resolve(asked("local", "planned"), tmp_path)) == [[MERGE]]
    optioned = asked("local", "planned", option=("optimization=basic",))
    assert recipes(stored.resolve(optioned, tmp_path)) == [[SKIP]]


def test_plans_that_failed_on_the_device_are_not_trained(tmp_path: Path) -> None:
    found = kept(tmp_path, "2026-11-20", (SKIP,), (MERGE,))
    front = (replace(found.front[0], failure="cannot be built: no"), found.front[1])
    folder.save(folder.home(tmp_path, "local") / "tiny-2026-11-20", replace(found, front=front))
    assert recipes(stored.resolve(asked("local", "planned"), tmp_path)) == [[MERGE]]


def test_plans_that_are_named_stay(tmp_path: Path) -> None:
    kept(tmp_path, "2026-11-20", (MERGE,))
    named = asked("local", "planned", recipe=(f"plans={SKIP}",))
    assert recipes(stored.resolve(named, tmp_path)) == [[SKIP]]


def test_without_plans_the_command_that_makes_them_is_told(tmp_path: Path) -> None:
    kept(tmp_path, "2026-11-20", (MERGE,), batch=8)
    with pytest.raises(
        UsageError, match=r"no plan of tiny on local \(onnxruntime, fp32, 1 thread, batch 1\)"
    ) as caught:
        stored.resolve(asked("local", "planned"), tmp_path)
    hint = caught.value.hint or ""
    assert "harness plan --device local --model tiny --task tiny --runtime onnxruntime" in hint
    assert hint.endswith(f"--results {tmp_path}")  # else the plan would lie where the run does not look


def test_a_plan_that_folds_nothing_says_so(tmp_path: Path) -> None:
    kept(tmp_path, "2026-11-20")
    with pytest.raises(UsageError, match="folds nothing") as caught:
        stored.resolve(asked("local", "planned"), tmp_path)
    assert "--forms" in (caught.value.hint or "")


def test_a_damaged_plan_is_none(tmp_path: Path) -> None:
    kept(tmp_path, "2026-11-20", (MERGE,))
    newer = folder.home(tmp_path, "local") / "tiny-2026-11-21"
    newer.mkdir()
    (newer / "plan.json").write_text("{")
    assert recipes(stored.resolve(asked("local", "planned"), tmp_path)) == [[MERGE]]


def test_other_methods_are_left_as_they_are(tmp_path: Path) -> None:
    planned = asked("local", "easier", "random")
    assert stored.resolve(planned, tmp_path) == planned
