"""What is said of ladders: a request per method and seed, settings to the methods that have them, nothing ignored."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from harness import content, plan, store
from harness.compress import keys, recipes
from harness.errors import ContentError, UsageError
from harness.plan import Words, ladders
from harness.records import Run

SHIPPED = Path(__file__).resolve().parent.parent / "inventory.yaml"
LOCAL = Words("local", model="tiny", method="easier,order")

METHOD = '''"""A method with a setting of each kind."""
from dataclasses import dataclass
from typing import Literal

TRAINS = True


@dataclass(frozen=True)
class Recipe:
    weight: float = 1.0
    images: int = 32
    healing: bool = False
    kind: Literal["a", "b"] = "a"
    power: Literal[1, 2] = 2
    widths: tuple[float, ...] = (0.5,)
    limit: float | None = None
    name: str = ""


def choose(state, recipe):
    return None
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with the methods `every` and `some-other`."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "every.py").write_text(METHOD)
    (tmp_path / "methods" / "some_other.py").write_text(METHOD.replace("weight: float = 1.0", "weight: int = 1"))
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    return tmp_path


def recipe(*said: str, method: str = "every") -> dict[str, Any]:
    (request,) = ladders.asked(Words("local", model="tiny", method=method, recipe=said))
    return dict(request.recipe)


def test_there_is_a_ladder_for_each_method_and_seed_and_each_has_its_own_name() -> None:
    made = ladders.asked(replace(LOCAL, seed=3, seeds=2, entropy="position"))
    assert [(each.method, each.seed) for each in made] == [("easier", 3), ("easier", 4), ("order", 3), ("order", 4)]
    names = [recipes.ladder_name(each.method, recipes.resolve(each.method, each.recipe), each.seed) for each in made]
    assert names == ["easier-position-s3", "easier-position-s4", "order-s3", "order-s4"]


def test_what_is_said_of_training_reaches_the_methods_that_train_and_no_others() -> None:
    said = {"schedule": "cifar", "budget_epochs": 40, "delta": 0.01, "distil": 0.3, "train_on": "cuda"}
    trained, untrained = ladders.asked(replace(LOCAL, rungs=4, step=2, **said))
    assert {name: getattr(trained, name) for name in said} == said
    assert {name: getattr(untrained, name) for name in said} == {
        field.name: field.default for field in fields(untrained) if field.name in said
    }
    assert [(each.rungs, each.step) for each in (trained, untrained)] == [(4, 2), (4, 2)]


def test_every_word_on_ladders_stands_in_the_plan_that_is_printed() -> None:
    said = {"schedule": "cifar", "budget_epochs": 40, "rungs": 4, "step": 2, "delta": 0.01, "distil": 0.3}
    ((device, planned),) = plan.make(replace(LOCAL, method="easier", train_on="cuda", seeds=2, **said), SHIPPED)
    printed = plan.describe(device, planned)["ladders"]
    assert [each["seed"] for each in printed] == [0, 1]
    assert said.items() <= printed[0].items() and printed[0]["train_on"] == "cuda"


def test_a_run_that_goes_on_has_the_ladders_that_were_planned(own: Path, tmp_path: Path) -> None:
    said = {"schedule": "cifar", "budget_epochs": 40, "rungs": 4, "step": 2, "delta": 0.0, "distil": 0.3}
    settings = ("weight=2", "healing=true", "widths=0.75,0.5", "limit=none", "power=1")
    words = replace(LOCAL, method="every", recipe=settings, seeds=2, train_on="cuda", **said)
    ((_, planned),) = plan.make(words, SHIPPED)
    run = Run(store.SCHEMA, "20260101T000000Z-abcd", "s", "local", False, "preparing", "now", ("run",), planned, {})
    again = store.load(store.create(tmp_path / "results", run)).plan
    assert again == planned
    assert [keys.ladder(each) for each in again.ladders] == [keys.ladder(each) for each in planned.ladders]


def test_settings_are_read_by_the_kind_that_the_recipe_gives_them(own: Path) -> None:
    said = ("weight=2.5", "images=8", "healing=true", "kind=b", "power=1", "widths=0.75, 0.5", "limit=3", "name=x=y")
    assert recipe(*said) == {
        "weight": 2.5, "images": 8, "healing": True, "kind": "b", "power": 1, "widths": [0.75, 0.5], "limit": 3.0,
        "name": "x=y",
    }  # fmt: skip
    assert recipe("limit=none") == {"limit": None}
    assert recipe() == {}


def test_a_setting_goes_to_every_method_that_has_it_unless_it_names_one(own: Path) -> None:
    words = Words("local", model="tiny", method="every,some-other,easier", recipe=("some-other.weight=3", "weight=2"))
    assert [each.recipe for each in ladders.asked(words)] == [{"weight": 2.0}, {"weight": 3}, {}]


def test_the_short_flags_say_what_recipe_says() -> None:
    short = ladders.asked(replace(LOCAL, entropy="position", order="layer1.0.relu1,layer2.0.relu1"))
    long = ladders.asked(replace(LOCAL, recipe=("entropy=position", "order.order=layer1.0.relu1,layer2.0.relu1")))
    assert short == long and short[1].recipe == {"order": ["layer1.0.relu1", "layer2.0.relu1"]}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("wieght=2", '--recipe wieght=2: method every has no such setting; did you mean "weight"?'),
        ("weight", '--recipe "weight": must be key=value or method.key=value'),
        (".weight=2", "must be key=value or method.key=value"),
        ("easier.entropy=channel", 'no method asked for in --recipe easier.entropy=channel: "easier"'),
        ("every.entropy=channel", "method every has no such setting"),
        ("weight=much", "method every: weight = 'much': Input should be a valid number"),
        ("weight=nan", "method every: weight = nan: must be finite"),
        ("widths=0.5,inf", "method every: widths = inf: must be finite"),
        ("images=2.5", "method every: images = '2.5'"),
        ("healing=perhaps", "method every: healing = 'perhaps'"),
        ("kind=c", 'no kind "c"'),
        ("power=3", 'no power "3"'),
        ("widths=0.5,,1", 'widths="0.5,,1": an item of the list is empty'),
    ],
)
def test_a_wrong_setting_is_named_with_the_rule(own: Path, said: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe(said)
    assert message in caught.value.message


def test_the_settings_that_there_are_are_told_beside_one_that_nobody_has(own: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ladders.asked(Words("local", model="tiny", method="easier,order", recipe=("weight=2",)))
    assert "easier: entropy; order: order" in caught.value.hint


def test_of_several_methods_it_is_said_that_none_has_a_setting_and_none_trains(own: Path) -> None:
    with pytest.raises(UsageError, match="none of the methods every, some-other and easier has such a setting"):
        recipe("shape=2", method="every,some-other,easier")
    for name in ("first", "second", "third"):
        (own / "methods" / f"{name}.py").write_text(METHOD.replace("TRAINS = True", "TRAINS = False"))
    with pytest.raises(UsageError, match="--schedule: none of the methods first, second and third trains"):
        ladders.asked(Words("local", model="tiny", method="first,second,third", schedule="quick"))


@pytest.mark.parametrize("twice", [("weight=1", "weight=2"), ("every.weight=1", "every.weight=1")])
def test_a_setting_that_is_said_twice_is_refused(own: Path, twice: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="weight was given before, as 1"):
        recipe(*twice)
    with pytest.raises(UsageError, match="entropy was given before, as channel"):
        ladders.asked(replace(LOCAL, entropy="channel", recipe=("entropy=position",)))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"rungs": 0}, "--rungs 0: must be from 1"),
        ({"step": 0}, "--step 0: must be from 1"),
        ({"seeds": 0}, "--seeds 0: must be from 1"),
        ({"seeds": 2, "seed": 2**32 - 1}, "--seeds 2: must be from 1 to 1"),
        ({"budget_epochs": 0}, "--budget-epochs 0: must be from 1"),
        ({"delta": -0.01}, "--delta -0.01: must be from 0 to 0.5"),
        ({"delta": 1.0}, "--delta 1: must be from 0 to 0.5"),
        ({"delta": float("nan")}, "--delta nan: must be"),
        ({"distil": 0.0}, "--distil 0: must be from 0.01 to 1"),
        ({"schedule": "cifra"}, 'no schedule "cifra"; did you mean "cifar"?'),
        ({"train_on": "gpu"}, 'no processor to train on "gpu"'),
        ({"method": "order", "delta": 0.01}, "--delta: method order does not train"),
        ({"method": "order", "distil": 0.5}, "--distil: method order does not train"),
        ({"method": "order", "budget_epochs": 5}, "--budget-epochs: method order does not train"),
        ({"method": "order", "schedule": "quick"}, "--schedule: method order does not train"),
        ({"method": "continue", "delta": 0.01}, "--delta: it cuts no controls, and continue is nothing else"),
        ({"method": "continue,narrow", "delta": 0.01}, "it cuts no controls, and continue and narrow are nothing else"),
        (
            {"method": "order,continue", "delta": 0.01},
            "neither controls nor what is not trained, and order and continue are",
        ),
        ({"method": "order", "train_on": "cpu"}, "--train-on: method order does not train"),
    ],
)
def test_what_no_method_would_heed_and_what_is_out_of_range_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan.make(replace(LOCAL, **said), SHIPPED)
    assert message in caught.value.message


def test_delta_cuts_no_controls(own: Path) -> None:
    (own / "methods" / "small.py").write_text(METHOD.replace("TRAINS", "CONTROL = True\nTRAINS"))
    with pytest.raises(UsageError, match="--delta: it cuts no controls, and small is nothing else"):
        ladders.asked(replace(LOCAL, method="small", delta=0.01))
    control, other = ladders.asked(replace(LOCAL, method="small,easier", delta=0.01))
    assert (control.delta, other.delta) == (None, 0.01)


@pytest.mark.parametrize(
    ("field", "message"),
    [("weight: float", "Recipe.weight has no default"), ("weight: dict = None", "no word of a command line says that")],
)
def test_a_recipe_that_no_words_can_fill_is_its_files_mistake(own: Path, field: str, message: str) -> None:
    (own / "methods" / "every.py").write_text(METHOD.replace("weight: float = 1.0", field))
    with pytest.raises(ContentError, match=message):
        recipe()


def test_every_setting_of_every_method_takes_its_own_default_as_a_word() -> None:
    for method in content.names("method"):
        for setting in recipes.settings(method):
            default = setting.default
            many = ",".join(map(str, default)) if setting.many else ""
            word = many if setting.many else "none" if default is None else str(default)
            if word:
                again = recipes.resolve(method, {setting.name: recipes.parse(setting, word)})
                assert asdict(again) == asdict(recipes.resolve(method, {})), f"{method}: {setting.name}={word}"
