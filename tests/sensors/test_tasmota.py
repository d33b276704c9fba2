"""Meters with Tasmota that answer well, badly or no more; what they have in common with others is in test_shelly."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugs import Meter, Reply, ok, recorded

from harness import content
from harness.sensing import AbsentError, Taken

TASMOTA: Any = content.load("sensor", "tasmota")
NEW, OLD, STATE = (f"/cm?cmnd=Status%20{number}" for number in (10, 8, 11))
SECRET = "s3cret+&wörd"


def said(**energy: Any) -> str:
    """What a meter says, with changes under ENERGY."""
    fields = json.loads(recorded("tasmota_status10.json"))
    fields["StatusSNS"]["ENERGY"].update(energy)
    return json.dumps(fields)


def read(meter: Meter, **options: Any) -> list[Taken]:
    with TASMOTA.open({"host": meter.host, **options}) as session:
        return list(session.read())


def test_a_meter_gives_its_counter_in_joules_its_power_in_watts_and_its_steps_by_their_decimals() -> None:
    with Meter({NEW: recorded("tasmota_status10.json")}) as meter, TASMOTA.open({"host": meter.host}) as session:
        energy, power = session.read()
        assert (energy.value, power.value) == (pytest.approx(3.185 * 3.6e6), 12)
        channels = [(each.scope, each.kind, each.total, each.update_s, each.resolution) for each in session.channels]
        assert channels == [
            ("wall", "energy_counter", True, 1.0, pytest.approx(3600.0)),
            ("wall", "instant_power", True, 1.0, 1.0),
        ]
        assert TASMOTA.probe({"host": meter.host}) == ("ok", "wall: energy 1.1466e+07 J, power 12 W")


def test_phases_are_added_and_finer_answers_have_finer_steps() -> None:
    with Meter({NEW: recorded("tasmota_three_phases.json")}) as meter, TASMOTA.open({"host": meter.host}) as session:
        assert [each.value for each in session.read()] == [pytest.approx(3.3 * 3.6e6), 12.0]
        steps = [each.resolution for each in session.channels]
    assert steps == [pytest.approx(36.0), pytest.approx(0.1)]


def test_an_old_firmware_answers_the_old_command_and_is_asked_no_other_from_then_on() -> None:
    answers = {NEW: '{"Command": "Unknown"}', OLD: recorded("tasmota_status10.json")}
    with Meter(answers) as meter, TASMOTA.open({"host": meter.host}) as session:
        assert session.read()[1].value == 12
        assert meter.asked == [NEW, OLD, OLD]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"Command": "Unknown"}', "tells no StatusSNS"),
        ('{"StatusSNS": {"Time": "x"}}', "tells no ENERGY"),
        ('{"StatusSNS": 3}', "tells no StatusSNS"),
        ('{"StatusSNS": {"ENERGY": {"Power": 3}}}', "tells no Total"),
        ('{"StatusSNS": {"ENERGY": {"Total": 3}}}', "tells no Power"),
        ((404, b"", {}), "has no /cm: another kind of meter"),
    ],
)
def test_what_measures_no_energy_is_unsupported_and_says_what_is_missing(answer: str | Reply, reason: str) -> None:
    with Meter({NEW: answer, OLD: answer}) as meter:
        status, told = TASMOTA.probe({"host": meter.host})
        assert status == "unsupported" and reason in told and meter.host in told
        with pytest.raises(AbsentError), TASMOTA.open({"host": meter.host}):
            pass


@pytest.mark.parametrize(
    ("energy", "channel", "reason"),
    [
        ({"Total": "3.185"}, 0, "Total as no number"),
        ({"Total": None}, 0, "Total is null"),
        ({"Total": -0.001}, 0, "negative Total"),
        ({"Total": [1.0, None]}, 0, "Total is null"),
        ({"Total": []}, 0, "as a list of 0"),
        ({"Power": "12"}, 1, "Power as no number"),
        ({"Power": None}, 1, "Power is null"),
        ({"Power": [5, -1]}, 1, "negative Power"),
        ({"Power": [1] * 20}, 1, "as a list of 20"),
    ],
)
def test_what_is_no_number_is_a_gap_beside_the_number_that_is(
    energy: dict[str, Any], channel: int, reason: str
) -> None:
    with Meter({NEW: said(**energy)}) as meter:
        found = read(meter)
        assert found[1 - channel].status == "ok"
        gap = found[channel]
        assert (gap.value, gap.status) == (None, "error") and reason in gap.reason and meter.host in gap.reason


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ('{"StatusSTS": {"POWER": "OFF"}}', "error"),
        ('{"StatusSTS": {"POWER1": "OFF", "POWER2": "OFF"}}', "error"),
        ('{"StatusSTS": {"POWER1": "ON", "POWER2": "OFF"}}', "ok"),
        ('{"StatusSTS": {"Heap": 25}}', "ok"),
    ],
)
def test_no_power_is_0_watt_only_where_not_every_relay_is_off(state: str, status: str) -> None:
    with Meter({NEW: said(Power=0), STATE: state}) as meter:
        found = read(meter)
        assert {each.status for each in found} == {status}
        assert [each.value is None for each in found] == [status == "error"] * 2
        assert status == "ok" or "output is off" in found[0].reason


def test_a_counter_that_is_reset_is_an_error() -> None:
    with Meter({NEW: said(Total=3.0)}) as meter, TASMOTA.open({"host": meter.host}) as session:
        assert session.read()[0].value == 3.0 * 3.6e6
        meter.answers[NEW] = said(Total=0.0)
        energy, power = session.read()
        assert (energy.value, energy.status, power.status) == (None, "error", "ok") and "fell" in energy.reason


def test_a_meter_that_vanishes_in_the_middle_gives_gaps() -> None:
    with Meter({NEW: said()}) as meter, TASMOTA.open({"host": meter.host}) as session:
        assert session.read()[0].status == "ok"
        meter.vanish()
        found = session.read()
    assert [(each.value, each.status) for each in found] == [(None, "error")] * 2
    assert meter.host in found[0].reason


def test_a_password_stands_in_the_question_and_in_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUG_PASSWORD", SECRET)
    path = NEW + "&user=admin&password=s3cret%2B%26w%C3%B6rd"
    with Meter({path: said()}) as meter:
        options = {"host": meter.host, "password_env": "PLUG_PASSWORD"}
        assert TASMOTA.probe(options)[0] == "ok"
        for reply in [(status, path.encode(), {}) for status in (200, 302, 401, 404, 500)]:
            meter.answers[path] = meter.answers[path.replace("10", "8", 1)] = reply
            status, reason = TASMOTA.probe(options)
            assert status != "ok" and not re.search("s3cret|user=", reason)


@pytest.mark.parametrize(
    "refusal", [ok('{"WARNING": "Need user=<username>&password=<password>"}'), (401, b"Unauthorized", {})]
)
def test_a_missing_password_is_a_matter_of_permission(refusal: Reply) -> None:
    with Meter({NEW: refusal}) as meter:
        status, reason = TASMOTA.probe({"host": meter.host})
        assert status == "permission" and "asks for a password" in reason and "password_env" in reason


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({}, "option host must be"),
        ({"host": "x/cm"}, "option host must be"),
        ({"host": "x", "password": SECRET}, 'did you mean "password_env"'),
        ({"host": "x", "component": "em"}, "an option must be one of host, password_env"),
    ],
)
def test_a_wrong_option_is_refused_with_option_and_rule(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        TASMOTA.open(options)
    status, reason = TASMOTA.probe(options)
    assert status == "error" and re.search(rule, reason) and SECRET not in reason


VALUES = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)


@given(st.dictionaries(st.sampled_from(["Power", "Total"]), VALUES | st.lists(VALUES, max_size=3)))
def test_no_answer_makes_a_number_below_0_or_an_error_of_ours(energy: dict[str, Any]) -> None:
    fields = {"StatusSNS": {"ENERGY": energy}}
    asked = TASMOTA._Asked(_Told(fields), "")
    session = TASMOTA._plug.Session("tasmota", "x", asked.look, TASMOTA._plug.Steps(1.0, 1.0, 1.0, 1.0))
    for each in session.read():
        assert each.value is None or 0 <= each.value < float("inf")
        assert (each.value is None) == (each.status != "ok") == bool(each.reason)


class _Told:
    """An address at which an answer lies ready: hundreds of examples over a network would take the test's time."""

    host = "x"

    def __init__(self, fields: dict[str, Any]) -> None:
        self.answer = TASMOTA._http.Answer(TASMOTA._http.read(json.dumps(fields).encode()), 1)

    def get(self, path: str) -> Any:
        return self.answer
