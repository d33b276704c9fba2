"""What a plan says of itself: who reads it with a paper in hand learns what is folded, what is left, and why."""

from dataclasses import replace

import pytest

from harness.planner.words import explained, noise, undecided
from harness.records import Cost, Speedup
from harness.records.planned import FoldingPlan, Gain, Interaction, Listing, Option, Prediction, Price, Verified

US = 1000.0
BLOCKS = tuple(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2))
LAYERS = ("conv1", *(f"{block}.conv{number}" for block in BLOCKS for number in (1, 2)), "fc")
UNFOLDED = Prediction(2.4e6, 2.4e6, 2.4e6, 1.0, 1.0, 1.0)


def option(name, form="plain", long=2, dropped=()):
    first = LAYERS.index(f"{name}.conv1")
    last = LAYERS[first + long - 1]
    return Option(
        f"{name}.conv1..{last}:{form}", form, first, first + long, (), dropped, (f"{name}.relu1",), 1, 1, 1, 1, ""
    )


def listing(*options, left=None):
    return Listing("resnet18", "digits", LAYERS, (), options, left or {})


def gain(of, middle, half, basis="in place", failure=None):
    ends = [None] * 3 if middle is None else [US * middle, US * (middle - half), US * (middle + half)]
    return Gain(of.name, *ends, None if failure else basis, failure=failure)


def plan(*options, predicted=None):
    predicted = predicted or Prediction(2.0e6, 1.8e6, 2.3e6, 1.19, 1.06, 1.34)
    return FoldingPlan(tuple(each.name for each in options), (), 0.02, predicted)


RESNET = tuple(option(block) for block in BLOCKS)
LAST, DEEPEST = RESNET[-1], BLOCKS[-1]
COUNTED = [Price(each.name, 0.012, 0.0008, "loss") for each in RESNET]
SLOWER = [gain(each, -300 - 10 * place, 40) for place, each in enumerate(RESNET[:-1])]
ALL_BUT_ONE_SLOWER = [*SLOWER, gain(LAST, 350, 250)]


def told(plan, options=RESNET, gains=ALL_BUT_ONE_SLOWER, prices=COUNTED, left=None):
    return explained(plan, listing(*options, left=left), gains, prices)


def test_the_first_sentence_sums_up_what_is_folded_what_it_brings_and_what_is_left():
    assert told(plan(LAST))[0] == (
        "1 of 8 segments is folded: 1.19x [1.06, 1.34] predicted; 7 would make the network slower."
    )


def test_a_folded_segment_says_its_form_what_it_saves_with_its_interval_what_goes_and_its_price():
    assert told(plan(LAST))[1] == (
        "layer4.1.conv1..layer4.1.conv2 becomes one layer: saves 350 µs [100, 600]; layer4.1.relu1 goes; "
        "price 0.012 ± 0.0008 nats of loss after one epoch."
    )


def test_of_many_folded_segments_those_that_save_most_have_a_sentence_each_and_the_others_one():
    gains = [gain(each, 10 * (place + 1), 5) for place, each in enumerate(RESNET)]
    said = told(plan(*RESNET), gains=gains)
    assert [line.split("..")[0] for line in said[1:6]] == [f"{block}.conv1" for block in BLOCKS[3:]]
    assert said[6] == (
        "The 3 others save less each: layer2.0.conv1..layer2.0.conv2 (30.0 µs [25.0, 35.0]), "
        "layer1.1.conv1..layer1.1.conv2 (20.0 µs [15.0, 25.0]) and layer1.0.conv1..layer1.0.conv2 (10.0 µs [5.0, 15.0])."
    )
    six = told(plan(*RESNET[:6]), gains=gains)
    assert [line.split("..")[0] for line in six[1:7]] == [f"{block}.conv1" for block in BLOCKS[:6]]


def test_of_many_that_would_be_slower_the_worst_are_named_with_their_loss_and_the_rest_are_counted():
    assert told(plan(LAST))[2] == (
        "Folding these 7 segments would make the network slower: layer4.0.conv1..layer4.0.conv2 by 360 µs [320, 400], "
        "layer3.1.conv1..layer3.1.conv2 by 350 µs [310, 390], "
        "layer3.0.conv1..layer3.0.conv2 by 340 µs [300, 380] and 4 more."
    )
    assert len(told(plan(LAST))) == 3


def test_every_segment_is_told_once_whatever_its_forms():
    forms = (option(DEEPEST), option(DEEPEST, "dense"), option(DEEPEST, "skip"), RESNET[0])
    gains = [gain(each, value, 5) for each, value in zip(forms, (20, 40, -80, -60), strict=True)]
    said = told(plan(forms[1]), forms, gains)
    assert said[0].startswith("1 of 2 segments is folded") and said[0].endswith("1 would make the network slower.")
    assert "matrix from image to image" in said[1] and "saves 40.0 µs [35.0, 45.0]" in said[1]
    assert len(said) == 3


def test_a_form_that_surely_gains_speaks_for_its_segment_before_one_that_may_gain_more():
    sure, unsure = option("layer1.0"), option("layer1.0", "dense")
    said = told(plan(), (sure, unsure), [gain(sure, 7, 2), gain(unsure, 20, 70)], [Price(sure.name, 1, None, "count")])
    assert said[0].endswith("0 of 1 segment is folded; 1 saves too little for the price.")


@pytest.mark.parametrize(
    ("form", "dropped", "words"),
    [
        ("tail", (), "becomes one matrix up to the classifier"),
        ("skip", ("layer4.1.conv1",), "is dropped: the block becomes an identity"),
        ("bypass", ("layer4.1.conv1",), "becomes one layer, with an identity in place of layer4.1.conv1"),
    ],
)
def test_every_form_is_said_in_words(form, dropped, words):
    one = option(DEEPEST, form, dropped=dropped)
    assert f"layer4.1.conv1..layer4.1.conv2 {words}: saves" in told(plan(one), (one,), [gain(one, 30, 5)])[1]


def test_a_gain_that_was_only_measured_by_itself_says_so():
    said = told(plan(LAST), (LAST,), [gain(LAST, 30, 5, "isolated")])
    assert "saves 30.0 µs [25.0, 35.0] (measured by itself, corrected)" in said[1]


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (Price(LAST.name, 1.0, None, "count"), "price 1 activation."),
        (Price(LAST.name, 2.0, None, "count"), "price 2 activations."),
        (Price(LAST.name, 0.543, None, "entropy"), "price 0.54 bits that its activations decide."),
        (Price(LAST.name, 0.02, None, "loss"), "price 0.02 nats of loss after one epoch."),
    ],
)
def test_a_price_says_in_what_it_is_counted(price, words):
    assert told(plan(LAST), (LAST,), [gain(LAST, 30, 5)], [price])[1].endswith(words)


def test_what_is_left_says_which_reason_holds_for_which_segment():
    noisy, dear, failed, unmeasured, unpriced = RESNET[:5]
    gains = [gain(noisy, 3, 20), gain(dear, 30, 5), gain(failed, None, None, failure="out of memory")]
    gains += [gain(unpriced, 30, 5), gain(LAST, 350, 250)]
    prices = [price for price in COUNTED if price.option != unpriced.name]
    said = told(plan(LAST), (noisy, dear, failed, unmeasured, unpriced, LAST), gains, prices)
    assert said[0].endswith(
        "predicted; 1 is within the noise; 1 saves too little for the price; 1 is without a price; 1 failed; 1 is not measured."
    )
    assert said[2:] == (
        "What folding this segment brings is within the noise (undecided): "
        "layer1.0.conv1..layer1.0.conv2 (3.0 µs [-17.0, 23.0]).",
        "Folding this segment would make it faster, but it saves too little for the price in this plan: "
        "layer1.1.conv1..layer1.1.conv2 (30.0 µs [25.0, 35.0]).",
        "Folding this segment would make it faster, but at a price that is not known: "
        "layer3.0.conv1..layer3.0.conv2 (30.0 µs [25.0, 35.0]).",
        "Nothing is known of this segment, for measuring failed: layer2.0.conv1..layer2.0.conv2 (out of memory).",
        "Nothing is known of this segment, for nothing was measured: layer2.1.conv1..layer2.1.conv2.",
    )


def test_an_option_without_a_price_says_why():
    said = explained(plan(), listing(LAST), [gain(LAST, 350, 250)], (), (), {LAST.name: "seed 0: diverged"})
    assert said[-1] == (
        "Folding this segment would make it faster, but at a price that is not known: "
        "layer4.1.conv1..layer4.1.conv2 (350 µs [100, 600]) (seed 0: diverged)."
    )


def test_what_a_better_choice_stands_in_the_way_of_says_so_unless_it_would_be_slower_anyway():
    whole, left, right = option("layer4.0", long=4), option("layer4.0"), option("layer4.1")
    gains = [gain(whole, 90, 5), gain(left, 30, 5), gain(right, -30, 5)]
    said = told(plan(whole), (whole, left, right), gains, [Price(o.name, 1, None, "count") for o in (whole, left)])
    assert said[0].endswith("1 would make the network slower; 1 overlaps a better choice.")
    assert said[-1] == (
        "Folding this segment would make it faster, but it overlaps a better choice: "
        "layer4.0.conv1..layer4.0.conv2 (30.0 µs [25.0, 35.0])."
    )


def test_what_cannot_be_merged_is_grouped_by_its_reason():
    left = {"layer1.0": "an add follows", "layer2.0": "an add follows.", "": "softmax is not linear"}
    assert told(plan(LAST), left=left)[-2:] == (
        "Cannot be merged: layer1.0 and layer2.0 (an add follows).",
        "Cannot be merged: the network (softmax is not linear).",
    )
    many = {f"layer{place}": f"reason {place}" for place in range(9)}
    assert told(plan(LAST), left=many)[-1] == "6 more cannot be merged, for 6 other reasons."


def test_a_plan_of_nothing_and_a_network_with_nothing_to_fold_say_so():
    assert told(plan(predicted=UNFOLDED), RESNET[:1], SLOWER[:1])[0] == (
        "0 of 1 segment is folded; 1 would make the network slower."
    )
    assert told(plan(predicted=UNFOLDED), (), (), ())[0] == (
        "Nothing can be folded: no layers of this network could become one."
    )


def test_options_whose_interval_holds_zero_are_undecided_and_what_failed_is_not_among_them():
    gains = [gain(RESNET[0], 5, 6), gain(RESNET[1], -5, 5), gain(RESNET[2], 5, 4), gain(RESNET[3], None, 0)]
    assert undecided(gains) == (RESNET[0].name, RESNET[1].name)


def test_a_noisy_device_says_what_it_can_tell_apart_or_which_command_finds_out():
    gains = [gain(RESNET[0], 5, 6), gain(RESNET[1], 9, 1), gain(RESNET[2], None, 0)]
    which = f"1 of 2 options is undecided: {RESNET[0].name}."
    told = f"{which} By its calibration a run on pi4 tells networks apart that differ by 5.2 % or more."
    assert noise(gains, 0.052, "pi4") == told
    assert noise(gains, None, "pi4") == (
        f"{which} What pi4 can tell apart is not known: `harness calibrate --device pi4` measures it."
    )
    assert noise(gains[1:2], 0.01, "pi4").startswith("0 of 1 option is undecided. ")
    assert noise(gains[2:], 0.01, "pi4").startswith("No gain is known. ")


def test_every_undecided_option_has_its_name_however_many_they_are():
    many = [gain(option, 5, 6) for option in RESNET]
    assert all(option.name in noise(many, None, "pi4") for option in RESNET)


def trained(of, price, accuracy=0.97, baseline=0.974):
    cost = Cost(1, 1, 1, 1, 1, 1, 1)
    verified = Verified(Speedup(1.2, 1.1, 1.3, "faster"), 2e6, 0.0, cost, 0.0, accuracy, baseline, price)
    return replace(of, verified=verified)


def together(options, excess, half, seeds=2):
    ends = (None, None) if half is None else (excess - half, excess + half)
    names = tuple(each.name for each in options)
    return Interaction(names, 0.02 + excess, 0.02, excess, 0.001, seeds, *ends)


@pytest.mark.parametrize(
    ("excess", "half", "said"),
    [
        (0.001, 0.0127, "0.001 nats more [-0.012, 0.014], which 2 seeds do not tell from nothing"),
        (0.031, 0.0127, "0.031 nats more [0.018, 0.044]"),
        (-0.018, 0.0127, "0.018 nats less [0.0053, 0.031]"),
        (0.001, None, "0.001 nats more, by one seed alone"),
    ],
)
def test_a_plan_trained_as_a_whole_says_whether_its_options_cost_more_together(excess, half, said):
    both = (RESNET[-2], LAST)
    found = trained(plan(*both), 0.02 + excess)
    lines = explained(found, listing(*RESNET), ALL_BUT_ONE_SLOWER, COUNTED, [together(both, excess, half)])
    (sentence,) = [each for each in lines if each.startswith("Fine-tuned")]
    assert sentence == (
        f"Fine-tuned as a whole it costs {0.02 + excess:.2g} nats, its options one by one 0.02: together {said}; "
        "accuracy 97.0 % where the full network has 97.4 % (validation part)."
    )
    assert not [each for each in lines if "of its options" in each]  # the pair is the plan itself


def test_of_the_pairs_within_a_larger_plan_those_are_told_that_surely_cost_more_or_less_together():
    three = plan(*RESNET[-3:])
    sure, unsure = together(RESNET[-3:-1], 0.031, 0.01), together(RESNET[-2:], 0.001, 0.01)
    said = explained(three, listing(*RESNET), ALL_BUT_ONE_SLOWER, COUNTED, [sure, unsure, together(RESNET[:2], 1, 0.1)])
    assert (
        f"2 pairs of its options were trained: {RESNET[-3].name} + {RESNET[-2].name} cost 0.031 nats more [0.021, 0.041] "
        "than one by one." in said
    )
    said = explained(three, listing(*RESNET), ALL_BUT_ONE_SLOWER, COUNTED, [unsure])
    assert "1 pair of its options was trained: none surely costs more or less than one by one." in said


def test_a_plan_of_one_option_has_no_interaction():
    (sentence,) = [each for each in told(trained(plan(LAST), 0.012)) if each.startswith("Fine-tuned")]
    assert "its options" not in sentence and sentence.startswith("Fine-tuned as a whole it costs 0.012 nats; accuracy")
