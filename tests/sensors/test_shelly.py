"""Shelly meters that answer well, badly, late, elsewhere or no more."""

from __future__ import annotations

import base64
import http.server
import json
import re
import socket
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugs import Meter, Reply, digest, ok, recorded

from harness import content
from harness.sensing import AbsentError, Taken, UnavailableError

SHELLY: Any = content.load("sensor", "shelly")
PATH = "/rpc/Switch.GetStatus?id=0"
GOOD = json.loads(recorded("shelly_plus_plug_s.json"))
SECRET = "s3cret+&word"


def plug(**changes: Any) -> str:
    """What a plug says, with changes; `total` is that of its counter."""
    said = {**GOOD, **{key: value for key, value in changes.items() if key != "total"}}
    if "total" in changes:
        said["aenergy"] = {**said["aenergy"], "total": changes["total"]}
    return json.dumps(said)


def read(meter: Meter, **options: Any) -> list[Taken]:
    with SHELLY.open({"host": meter.host, **options}) as session:
        return list(session.read())


def test_a_plug_gives_its_counter_in_joules_and_its_power_in_watts() -> None:
    with Meter({PATH: plug()}) as meter, SHELLY.open({"host": meter.host}) as session:
        began = time.monotonic_ns()
        energy, power = session.read()
        assert began <= energy.t_ns <= time.monotonic_ns() and energy.t_ns == power.t_ns
        assert (energy.value, power.value) == (pytest.approx(913.252 * 3600), 25.7)
        kinds = [(each.scope, each.kind, each.total, each.update_s, each.resolution) for each in session.channels]
        assert kinds == [
            ("wall", "energy_counter", True, 1.0, 3.6),
            ("wall", "instant_power", True, 1.0, 0.1),
        ]
        assert session.period_s == 1.0
        assert SHELLY.probe({"host": meter.host}) == ("ok", "wall: energy 3.28771e+06 J, power 25.7 W")


def test_an_energy_meter_has_its_counter_in_a_component_beside_it_and_updates_it_once_a_minute() -> None:
    answers = {"EM1": "shelly_em1.json", "EM1Data": "shelly_em1data.json"}
    with Meter({f"/rpc/{name}.GetStatus?id=1": recorded(file) for name, file in answers.items()}) as meter:
        energy, power = read(meter, component="em1", id=1)
        assert (energy.value, power.value) == (pytest.approx(6644.9 * 3600), 25.7)
        with SHELLY.open({"host": meter.host, "component": "em1", "id": 1}) as session:
            assert (session.channels[0].update_s, session.channels[0].resolution) == (60.0, 36.0)


def test_three_phases_are_told_as_their_sum() -> None:
    answers = {"/rpc/EM.GetStatus?id=0": '{"total_act_power": 30.5}', "/rpc/EMData.GetStatus?id=0": '{"total_act": 2}'}
    with Meter(answers) as meter:
        assert [each.value for each in read(meter, component="em")] == [7200, 30.5]


def test_the_first_generation_counts_watt_minutes() -> None:
    with Meter({"/meter/0": recorded("shelly_gen1_meter.json")}) as meter:
        energy, power = read(meter, generation=1)
        assert (energy.value, power.value) == (23389 * 60, 12.34)


def test_a_first_generation_relay_that_is_off_gives_no_number_and_no_relay_gives_0_watt() -> None:
    idle = '{"power": 0.0, "is_valid": true, "total": 5}'
    with Meter({"/meter/0": idle, "/relay/0": '{"ison": false}'}) as meter:
        assert [(each.value, each.status) for each in read(meter, generation=1)] == [(None, "error")] * 2
    with Meter({"/meter/0": idle}) as meter:
        assert [each.value for each in read(meter, generation=1)] == [300, 0]


def test_a_plug_whose_output_is_off_gives_no_number_for_either_channel() -> None:
    with Meter({PATH: plug(output=False, apower=0.0)}) as meter:
        found = read(meter)
        assert [each.value for each in found] == [None, None]
        assert all(each.status == "error" and "output is off" in each.reason for each in found)
        assert SHELLY.probe({"host": meter.host})[0] == "error"


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"apower": None}, "error", "apower is null"),
        ({"apower": "25.7"}, "error", "apower as no number"),
        ({"apower": True}, "error", "apower as no number"),
        ({"apower": -3.2}, "error", "negative apower"),
        ({"apower": [1]}, "error", "apower as no number"),
    ],
)
def test_power_that_is_no_number_is_a_gap_beside_energy_that_is(
    changes: dict[str, Any], status: str, reason: str
) -> None:
    with Meter({PATH: plug(**changes)}) as meter:
        energy, power = read(meter)
        assert energy.status == "ok" and energy.value
        assert (power.value, power.status) == (None, status) and reason in power.reason and meter.host in power.reason
        assert SHELLY.probe({"host": meter.host})[0] == "ok"


@pytest.mark.parametrize("total", [None, "913.252", -1.0, True, {}])
def test_a_counter_that_is_no_number_is_a_gap_beside_power_that_is(total: Any) -> None:
    with Meter({PATH: plug(total=total)}) as meter:
        energy, power = read(meter)
        assert power.value == 25.7
        assert (energy.value, energy.status) == (None, "error") and meter.host in energy.reason


def test_a_counter_that_is_missing_is_unsupported() -> None:
    with Meter({PATH: plug(aenergy=3)}) as meter:
        energy, power = read(meter)
        assert (energy.status, power.status) == ("unsupported", "ok")


def test_a_counter_that_is_reset_is_an_error_until_it_has_risen_twice() -> None:
    with Meter({PATH: plug(total=5.0)}) as meter, SHELLY.open({"host": meter.host}) as session:
        found = []
        for total in (5.0, 0.0, 0.001, 0.002):
            meter.answers[PATH] = plug(total=total)
            found.append(session.read()[0])
    assert [each.value for each in found] == [18000, None, None, pytest.approx(7.2)]
    assert "fell from 18000 to 0 J" in found[1].reason and found[1].status == "error"


def test_the_same_answer_for_a_minute_though_there_is_power_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SHELLY._plug, "_STALL_S", 0.2)
    monkeypatch.setattr(SHELLY._plug, "_STALL_STEPS", 0.1)
    with Meter({PATH: plug()}) as meter, SHELLY.open({"host": meter.host}) as session:
        assert [each.status for each in session.read()] == ["ok", "ok"]
        time.sleep(0.25)
        found = session.read()
        assert [(each.value, each.status) for each in found] == [(None, "stale")] * 2
        assert "restart the meter" in found[0].reason
        meter.answers[PATH] = plug(apower=25.8)
        assert [each.status for each in session.read()] == ["ok", "ok"]


def test_a_steady_power_that_is_too_low_to_move_the_counter_is_not_stale() -> None:
    plugs = SHELLY._plug
    session = plugs.Session("shelly", "x", lambda: None, plugs.Steps(1.0, 3600.0, 1.0, 1.0))
    assert session._limit_s(5.0) == 3 * 720
    assert session._limit_s(1000.0) == 60


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        ((404, b"No handler", {}), "unsupported", "has no /rpc/Switch.GetStatus: another kind of meter"),
        ((500, b'{"code":-105}', {}), "error", "HTTP status 500"),
        ((503, b"", {}), "error", "HTTP status 503"),
        ((401, b"", {}), "permission", "asks for a password.*password_env"),
        ((403, b"", {}), "permission", "asks for a password"),
        (ok("<html>Welcome to your router</html>"), "error", "no JSON object"),
        (ok("[1, 2]"), "error", "no JSON object"),
        (ok(""), "error", "no JSON object"),
        (ok('{"apower": NaN}'), "error", "no JSON object"),
        (ok(b"\xff\xfe\x00"), "error", "no JSON object"),
        (ok("[" * 60000), "error", "no JSON object"),
        (ok("{" + " " * 70000 + "}"), "error", "more than 65536 bytes"),
        (ok('{"id": 0, "output": true}'), "unsupported", "no power meter in Switch 0"),
        (ok(plug(errors=["power_meter_failure"])), "error", "power_meter_failure"),
    ],
    ids=[str(number) for number in range(14)],
)
def test_an_answer_that_is_no_reading_is_a_status_and_a_reason_that_names_the_meter(
    reply: Reply, status: str, reason: str
) -> None:
    with Meter({PATH: plug()}) as meter:
        with SHELLY.open({"host": meter.host}) as session:
            meter.answers[PATH] = reply
            found = session.read()
        assert [each.value for each in found] == [None, None]
        assert {each.status for each in found} == {status}
        assert re.search(reason, found[0].reason) and meter.host in found[0].reason
        assert SHELLY.probe({"host": meter.host}) == (status, found[0].reason)
        expected = {"unsupported": AbsentError, "permission": PermissionError, "error": UnavailableError}[status]
        with pytest.raises(expected), SHELLY.open({"host": meter.host}):
            pass


def test_a_redirect_is_not_followed() -> None:
    with Meter({PATH: plug()}) as other:
        away = (302, b"", {"Location": f"http://{other.host}{PATH}"})
        with Meter({PATH: away}) as meter:
            status, reason = SHELLY.probe({"host": meter.host})
        assert status == "error" and "sends elsewhere" in reason and other.asked == []


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Meter({PATH: plug()}) as meter:
        assert SHELLY.probe({"host": meter.host})[0] == "ok"


def test_a_meter_that_vanishes_gives_gaps_and_comes_back() -> None:
    with Meter({PATH: plug()}) as meter, SHELLY.open({"host": meter.host}) as session:
        assert session.read()[0].status == "ok"
        meter.vanish()
        found = session.read()
        assert [(each.value, each.status) for each in found] == [(None, "error")] * 2
        assert "refused the connection" in found[0].reason and meter.host in found[0].reason
        again = Meter({PATH: plug(total=914.0)})
        again.server.server_close()
        again.server = http.server.ThreadingHTTPServer(("127.0.0.1", int(meter.host[10:])), again._handler())
        with again:
            assert session.read()[0].value == 914 * 3600


@pytest.mark.parametrize("how", [{"wait_s": 30.0}, {"drip_s": 0.05}], ids=["silent", "one byte at a time"])
def test_a_slow_meter_takes_no_longer_than_its_time_out(how: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SHELLY._http, "TIMEOUT_S", 0.3)
    with Meter({PATH: plug()}, **how) as meter:
        began = time.monotonic()
        status, reason = SHELLY.probe({"host": meter.host})
        assert status == "error" and "did not answer within 0.3 s" in reason
        assert time.monotonic() - began < 1.5


def test_what_speaks_no_http_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 smtp ready\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        status, reason = SHELLY.probe({"host": host})
        thread.join()
    assert status == "error" and "answered no HTTP" in reason


def test_a_name_that_is_not_known_says_so() -> None:
    status, reason = SHELLY.probe({"host": "no-such-meter.invalid"})
    assert status == "error" and "no-such-meter.invalid is no name" in reason


# --- passwords


def test_the_digest_of_the_standard_s_example_is_right() -> None:
    challenge = {
        "realm": "http-auth@example.org",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "qop": "auth",
        "algorithm": "SHA-256",
    }
    http_, user = SHELLY._http, SHELLY._http.USER
    try:
        http_.USER = "Mufasa"
        told = http_.digest(
            challenge, "/dir/index.html", "Circle of Life", 1, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
        )
    finally:
        http_.USER = user
    assert "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1" in told  # RFC 7616, section 3.9.1


def test_a_password_opens_a_meter_by_digest_and_a_new_nonce_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUG_PASSWORD", SECRET)
    nonces = ["one"]
    with Meter({PATH: digest(SECRET, PATH, plug(), nonces)}) as meter:
        options = {"host": meter.host, "password_env": "PLUG_PASSWORD"}
        with SHELLY.open(options) as session:
            asked = len(meter.asked)
            assert session.read()[1].value == 25.7
            assert len(meter.asked) == asked + 1  # the challenge is remembered
            nonces[0] = "two"
            assert session.read()[1].value == 25.7


@pytest.mark.parametrize(
    ("held", "reason"), [("wrong", "does not take the password"), (None, "is not set here"), ("", "is not set here")]
)
def test_a_wrong_or_missing_password_is_a_matter_of_permission(
    monkeypatch: pytest.MonkeyPatch, held: str | None, reason: str
) -> None:
    monkeypatch.delenv("PLUG_PASSWORD", raising=False)
    if held is not None:
        monkeypatch.setenv("PLUG_PASSWORD", held)
    with Meter({PATH: digest(SECRET, PATH, plug(), ["one"])}) as meter:
        status, said = SHELLY.probe({"host": meter.host, "password_env": "PLUG_PASSWORD"})
    assert status == "permission" and reason in said and "wrong" not in said.replace("or wrong", "")


def test_a_meter_that_asks_for_basic_where_digest_is_due_gets_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUG_PASSWORD", SECRET)
    seen: list[str | None] = []

    def ask(headers: Any) -> Reply:
        seen.append(headers["Authorization"])
        return 401, b"", {"WWW-Authenticate": 'Basic realm="x"'}

    with Meter({PATH: ask}) as meter:
        assert SHELLY.probe({"host": meter.host, "password_env": "PLUG_PASSWORD"})[0] == "permission"
    assert set(seen) == {None}


def test_the_first_generation_takes_basic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUG_PASSWORD", SECRET)
    right = "Basic " + base64.b64encode(f"admin:{SECRET}".encode()).decode()

    def ask(headers: Any) -> Reply:
        if headers["Authorization"] == right:
            return ok(recorded("shelly_gen1_meter.json"))
        return 401, b"", {"WWW-Authenticate": 'Basic realm="shelly"'}

    with Meter({"/meter/0": ask}) as meter:
        assert read(meter, generation=1, password_env="PLUG_PASSWORD")[1].value == 12.34


@pytest.mark.parametrize(
    "challenge",
    ["Digest", 'Digest realm="x", nonce="', "Digest realm=, nonce=y", "Digest a, =b", 'Digest algorithm="X"'],
)
def test_a_challenge_that_makes_no_sense_is_a_matter_of_permission(
    monkeypatch: pytest.MonkeyPatch, challenge: str
) -> None:
    monkeypatch.setenv("PLUG_PASSWORD", SECRET)
    with Meter({PATH: (401, b"", {"WWW-Authenticate": challenge})}) as meter:
        assert SHELLY.probe({"host": meter.host, "password_env": "PLUG_PASSWORD"})[0] == "permission"


@pytest.mark.parametrize("name", ["not a name!", f"{SECRET}", 5])
def test_a_password_in_the_place_of_a_name_is_refused_and_not_told(name: Any) -> None:
    with pytest.raises(ValueError, match="name of an environment variable") as error:
        SHELLY.open({"host": "x", "password_env": name})
    assert str(name) not in str(error.value)


def test_no_reason_tells_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUG_PASSWORD", SECRET)
    replies: list[Any] = [(status, SECRET.encode(), {}) for status in (200, 302, 401, 404, 500)]
    for reply in replies:
        with Meter({PATH: reply}) as meter:
            assert SECRET not in SHELLY.probe({"host": meter.host, "password_env": "PLUG_PASSWORD"})[1]


# --- options


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({}, "option host must be given: the meter's name or address"),
        ({"host": "http://192.168.1.20"}, "option host must be"),
        ({"host": "192.168.1.20/rpc"}, "option host must be"),
        ({"host": "a b"}, "option host must be"),
        ({"host": "a:99999"}, "option host must be"),
        ({"host": 7}, "option host must be"),
        ({"host": "a\r\nX: y"}, "option host must be"),
        ({"host": "x", "generation": 0}, "option generation must be a whole number"),
        ({"host": "x", "generation": "2"}, "option generation must be a whole number"),
        ({"host": "x", "component": "relay"}, "option component must be one of switch, pm1, em1, em"),
        ({"host": "x", "generation": 1, "component": "pm1"}, "component belongs to generation 2"),
        ({"host": "x", "id": -1}, "option id must be a whole number"),
        ({"host": "x", "password": "y"}, 'did you mean "password_env"'),
    ],
)
def test_a_wrong_option_is_refused_with_option_and_rule(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        SHELLY.open(options)
    status, reason = SHELLY.probe(options)
    assert status == "error" and re.search(rule, reason)


def test_credentials_in_the_host_are_refused_and_not_told() -> None:
    with pytest.raises(ValueError, match="password_env") as error:
        SHELLY.open({"host": f"admin:{SECRET}@192.168.1.20"})
    assert SECRET not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["apower", "aenergy", "total", "output", "errors"]), inner, max_size=5)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["apower", "aenergy", "output", "errors"]), JSON))
def test_no_json_makes_a_number_below_0_or_an_error_of_ours(said: dict[str, Any]) -> None:
    with FUZZED as meter:
        meter.answers[PATH] = json.dumps(said)
        for each in FUZZED.session.read():
            assert each.value is None or 0 <= each.value < float("inf")
            assert (each.value is None) == (each.status != "ok") == bool(each.reason)


class _Fuzzed:
    """One meter and one session for all examples: a server each would take the test's time."""

    def __enter__(self) -> Meter:
        if not hasattr(self, "meter"):
            self.meter = Meter({PATH: plug()}).__enter__()
            self.opened = SHELLY.open({"host": self.meter.host})
            self.session = self.opened.__enter__()
        return self.meter

    def __exit__(self, *_: object) -> None:
        pass


FUZZED = _Fuzzed()


@pytest.fixture(autouse=True, scope="module")
def _end_fuzzed() -> Any:
    yield
    if hasattr(FUZZED, "meter"):
        FUZZED.opened.__exit__(None, None, None)
        FUZZED.meter.vanish()
