from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import plan, rows
from harness.errors import UsageError
from harness.plan import Words

SHIPPED = Path(__file__).resolve().parent.parent / "inventory.yaml"
LOCAL = Words(device="local")


def test_a_device_is_enough_the_rest_has_defaults() -> None:
    ((device, planned),) = plan.make(LOCAL, SHIPPED)
    assert device.name == "local"
    assert planned.runtimes == ("onnxruntime",)
    assert [(ladder.method, ladder.model, ladder.task) for ladder in planned.ladders] == [
        ("easier", "resnet18", "digits")
    ]
    assert planned.controls


def test_several_methods_and_runtimes_make_several_ladders_and_jobs() -> None:
    words = replace(LOCAL, method="easier,order", runtime="onnxruntime,torch", entropy="position")
    ((_, planned),) = plan.make(words, SHIPPED)
    assert [(ladder.method, dict(ladder.recipe)) for ladder in planned.ladders] == [
        ("easier", {"entropy": "position"}),
        ("order", {}),
    ]
    assert planned.runtimes == ("onnxruntime", "torch")


@pytest.mark.parametrize(("word", "told"), [("0-2,5", "0,1,2,5"), ("3", "3"), ("2,0,2", "0,2")])
def test_cpus_are_an_option_of_every_runtime_and_stand_in_the_plan_as_the_device_will_say_them(
    word: str, told: str
) -> None:
    ((_, planned),) = plan.make(replace(LOCAL, option=(f"cpus={word}",)), SHIPPED)
    assert planned.options == {"cpus": told}


def test_an_option_goes_to_the_runtimes_that_have_it_and_to_no_other() -> None:
    words = replace(LOCAL, runtime="onnxruntime,empty", option=("spinning=off",))
    ((_, planned),) = plan.make(words, SHIPPED)
    assert rows.options_of("onnxruntime", planned.options) == {"spinning": "off"}
    assert rows.options_of("empty", planned.options) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (Words("lcal"), 'no device "lcal"; did you mean "local"?'),
        (Words("local", model="resnet81"), 'no model "resnet81"; did you mean "resnet18"?'),
        (Words("local", task="digit"), 'no task "digit"; did you mean "digits"?'),
        (Words("local", method="easer"), 'no method "easer"; did you mean "easier"?'),
        (Words("local", method="easier,"), "an item of the list is empty"),
        (Words("local", runtime="onxruntime"), 'no runtime "onxruntime"; did you mean "onnxruntime"?'),
        (Words("local", precision="fp31"), 'no precision of runtime onnxruntime "fp31"; did you mean "fp32"?'),
        (Words("local", eligible="al"), 'no eligibility "al"; did you mean "all"?'),
        (Words("local", entropy="chanel"), 'no entropy "chanel"; did you mean "channel"?'),
        (Words("local", method="order", entropy="channel"), "--entropy: method order has no such setting"),
        (Words("local", option=("optimisation=all",)), 'no option of runtime onnxruntime "optimisation"; did you mean'),
        (Words("local", option=("optimization=most",)), "no value of onnxruntime's option optimization"),
        (Words("local", option=("optimization",)), "must be key=value"),
        (Words("local", option=("spinning=on", "spinning=off")), "--option spinning=off: spinning was given before, as on"),
        (Words("local", option=("cpus=two",)), "--option cpus=two: must be CPU numbers"),
        (Words("local", option=("cpus=3-1",)), "--option cpus=3-1: must be CPU numbers"),
        (Words("local", threads=0), "--threads 0: must be from 1 to 1024"),
        (Words("local", threads=-1), "--threads -1: must be from 1 to 1024"),
        (Words("local", batch=0), "--batch 0: must be from 1 to 4096"),
        (Words("local", budget=float("nan")), "--budget nan"),
        (Words("local", seed=-1), "--seed -1"),
        (Words("local", data=Path("/no/such")), "--data /no/such: no such folder"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_named_with_the_rule_and_the_nearest_known_one(words: Words, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan.make(words, SHIPPED)
    assert message in caught.value.message
    assert caught.value.exit_code == 2


def test_int8_of_given_networks_is_refused_before_they_are_read() -> None:
    with pytest.raises(UsageError, match="no task to calibrate on"):
        plan.make(replace(LOCAL, onnx=(Path("full.onnx"),), precision="fp32,int8"), SHIPPED)
    with pytest.raises(UsageError, match='no precision of runtime torch "int8"'):
        plan.make(replace(LOCAL, runtime="torch", precision="int8"), SHIPPED)


def test_settings_to_tune_are_those_of_the_profile_and_keep_its_order() -> None:
    ((_, planned),) = plan.make(replace(LOCAL, tune="clocks,governor"), SHIPPED)
    assert planned.tune == ("governor", "clocks")


def test_an_unknown_setting_is_told_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r'no setting "governer"; did you mean "governor"\?'):
        plan.make(replace(LOCAL, tune="governer"), SHIPPED)


def test_a_regime_is_burst_or_sustained_and_stored() -> None:
    assert plan.make(replace(LOCAL, regime="sustained"), SHIPPED)[0][1].regime == "sustained"
    with pytest.raises(UsageError, match='no regime "warm"'):
        plan.make(replace(LOCAL, regime="warm"), SHIPPED)


def test_a_plan_says_how_long_cooling_and_soaking_may_take() -> None:
    ((device, burst),) = plan.make(LOCAL, SHIPPED)
    cool = replace(device, profile=replace(device.profile, cooldown_s=10.0))
    assert plan.describe(cool, burst)["cooling_s_at_most"] == 360.0
    sustained = plan.describe(cool, replace(burst, regime="sustained"))
    assert (sustained["cooling_s_at_most"], sustained["soaking_s_at_most"]) == (0.0, 600.0)
