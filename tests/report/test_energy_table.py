"""Energy in the table: columns where there is any, on what it rests, and why where there is none."""

import io
import json
from dataclasses import replace

import example_energy_run as example
import example_run
import pytest
from rich.console import Console

from harness import report
from harness.records import Interval

RUN = example.run()


def shown(run, **console):
    stream = io.StringIO()
    report.show(run, Console(file=stream, **{"width": 120, "highlight": False, **console}))
    return stream.getvalue()


def flat(run):
    return " ".join(shown(run).split())


def lines_of(text, name):
    return [line for line in text.splitlines() if line.startswith(f"{name} ")]


def with_record(run, **changes):
    return replace(run, jobs=tuple(replace(job, energy=replace(job.energy, **changes)) for job in run.jobs))


def test_a_run_without_energy_has_no_column_of_it_and_says_why_once():
    text = shown(example_run.run())
    assert "/inference" not in text and "saving" not in text
    assert text.count("attach a meter and name it in the inventory") == 1


def test_a_wide_terminal_has_time_and_energy_of_a_rung_in_one_line():
    (line,) = lines_of(shown(RUN, width=200), "8")
    assert "0.753 [0.741, 0.765] slower" in " ".join(line.split())
    assert " ".join(line.split()).endswith("32.1 [31.8, 32.5] 0.902 [0.893, 0.911] more abc")


@pytest.mark.parametrize("width", [120, 80])
def test_where_there_is_no_room_energy_has_a_table_of_its_own_and_nothing_is_cut(width):
    text = shown(RUN, width=width)
    assert max(map(len, text.splitlines())) <= width and text.isascii() and "energy per inference: module" in text
    first, second = lines_of(text, "8")
    assert first.split()[-2:] == ["slower", "abc"]
    assert second.split() == [
        "8",
        "32.1",
        "[31.8,",
        "32.5]",
        "0.902",
        "[0.893,",
        "0.911]",
        "more",
        "12.8",
        "4.82",
        "22.1",
    ]


def test_the_reference_saves_nothing_and_has_no_verdict():
    _, line = lines_of(shown(RUN), "0")
    assert line.split()[:5] == ["0", "29.0", "[28.7,", "29.3]", "1.000"]
    assert not {"less", "more", "same", "unclear"} & set(line.split())


@pytest.mark.parametrize(
    ("scale", "said"),
    [(1e-4, "2.90 [2.87, 2.93]"), (1.0, "29.0 [28.7, 29.3]"), (1e3, "29.0 [28.7, 29.3]")],
    ids=["micro", "milli", "whole"],
)
def test_the_unit_follows_the_largest_figure(scale, said):
    text = shown(example.run(scale=scale))
    assert {1e-4: " uJ/inference", 1.0: " mJ/inference", 1e3: " J/inference"}[scale] in text
    assert said in " ".join(text.split())


def test_the_text_below_says_what_the_figures_rest_on():
    text = flat(RUN)
    assert "scope module (ina3221 VDD_IN, instant power); paced at 150 Hz, 5 windows x 20 s" in text
    assert "Idle: 2.90 [2.89, 2.91] W, from block to block by up to 0.40 % another." in text
    assert "Latency with the sampler over that without: 1.004 [0.999, 1.009]." in text
    assert "Of 127 passes do not count: 2 contended." in text and "meter's clock" not in text


def test_windows_that_end_with_an_inference_have_a_length_that_can_be_read():
    lengths = [20.00002 + (0.9 if s.rung == 8 else 0) for s in RUN.cases]
    cases = tuple(
        replace(s, energy_j=replace(s.energy_j, window_s=each)) for s, each in zip(RUN.cases, lengths, strict=True)
    )
    assert "5 windows x 20 to 20.9 s; saving" in flat(replace(RUN, cases=cases))


def test_a_controllers_meter_says_how_well_its_clock_is_known():
    assert "The meter's clock is known to +-0.40 ms." in flat(with_record(RUN, clock_bound_s=0.0004))


def test_what_is_not_known_of_a_job_is_left_out_not_zero():
    text = flat(with_record(RUN, idle_w=None, idle_drift=None, sampler=None, passes={}))
    assert "Idle:" not in text and "with the sampler" not in text and "do not count" not in text


def test_a_closed_run_names_no_rate():
    assert "; closed, 5 windows" in flat(example.run(scenarios=("closed",)))


def test_a_rung_without_energy_shows_a_dash_and_says_why_once():
    text = shown(example.without(RUN, [3]))
    _, line = lines_of(text, "3")
    assert line.split() == ["3", *["-"] * 6]
    assert text.count("no pass gave a whole trace") == 1 and "-  energy of rung 3: no pass gave" in text


def test_a_row_with_energy_and_without_a_saving_says_why():
    bare = [
        replace(s, energy_j=replace(s.energy_j, saving=None), reasons={"energy_j.saving": "too few"})
        for s in RUN.cases[1:3]
    ]
    text = shown(replace(RUN, cases=(RUN.cases[0], *bare, *RUN.cases[3:])))
    assert text.count("saving of 1, 2: too few") == 1 and "saving of" not in shown(RUN)


def test_where_no_row_has_energy_each_reason_stands_once_with_its_rows_and_the_passes_are_counted():
    lost = example.without(RUN, reason="something else used the machine")
    cases = tuple(replace(s, energy_status="held-up" if s.rung == 8 else "contended") for s in lost.cases)
    text = flat(with_record(replace(lost, cases=cases), passes={"ok": 1, "contended": 30, "failed": 2}))
    assert text.count("contended: something else used the machine") == 1
    assert "; 8: held-up: something else" in text
    assert "Of 33 passes do not count: 30 contended, 2 failed." in text


def test_channels_and_meters_left_out_are_told_by_reason():
    text = flat(RUN)
    assert "not in the energies: ina3221 VDD_CPU_GPU_CV instant_power, ina3221 VDD_SOC instant_power: a part of" in text
    assert "not in the energies: shelly: error: no answer from 192.168.1.20 within 2 s" in text


def test_sensors_that_gave_nothing_before_the_run_are_told_with_their_status():
    found = {"rapl": ("permission", "energy_uj is root's: sudo chmod a+r"), "ina3221": ("ok", "VDD_IN")}
    text = flat(replace(RUN, sensors=found))
    assert "not in the energies: rapl: permission: energy_uj is root's: sudo chmod a+r" in text
    assert text.count("shelly") == 1 and "not in the energies: ina3221:" not in text
    assert "rapl: permission" in flat(replace(example_run.run(), sensors=found))


def test_runtimes_of_unlike_scope_are_marked_as_not_to_be_compared():
    text = flat(example.run(scopes=("module", "wall")))
    assert "energy per inference: module" in text and "energy per inference: wall" in text
    assert "energies of unlike scope are not to be compared: onnxruntime module, torch wall" in text
    assert "unlike scope" not in flat(example.run(scopes=("module", "module")))


def test_a_net_energy_below_zero_is_shown_as_it_is():
    cases = tuple(replace(s, energy_j=replace(s.energy_j, net=Interval(-0.0004))) for s in RUN.cases)
    assert " -0.400 " in shown(replace(RUN, cases=cases))


def test_markdown_has_energy_in_the_same_table_and_what_it_rests_on():
    text = report.markdown(RUN)
    assert "| mJ/inference [95 % interval] | saving [interval] | energy | see |" in text
    assert "| 32.1 [31.8, 32.5] | 0.902 [0.893, 0.911] | more |" in text and "scope module" in text


def test_the_json_keeps_the_contract_of_energy():
    made = report.to_json(RUN)
    energy = made["cases"][1]["energy_j"]
    assert set(energy) >= {"gross", "net", "scope", "window_s"}
    assert set(energy["gross"]) == set(energy["net"]) == {"value", "low", "high"}
    assert energy["scope"] == "module" and energy["figures"]["closed"]["gross"]["value"] < energy["gross"]["value"]
    assert made["jobs"][0]["energy"]["passes"]["contended"] == 2
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    none = report.to_json(replace(example.without(RUN), sensors={"rapl": ("permission", "root's")}))
    assert none["cases"][1]["energy_j"] is None and none["cases"][1]["reasons"]["energy_j"]
    assert none["sensors"] == {"rapl": {"status": "permission", "reason": "root's"}}
