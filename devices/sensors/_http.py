"""Shared by meters on the network: one question, one JSON object, within 2 s, and no password in any reason.

http.client and not urllib.request: it follows no redirect and uses no proxy, so that a password goes to the meter alone.
Digest as in RFC 7616; urllib knows its SHA-256, which Shelly uses, only since Python 3.14.
"""

import base64
import contextlib
import decimal
import hashlib
import http.client
import json
import os
import re
import secrets
import socket
import threading
import time
import urllib.request
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from harness.decode import require
from harness.sensing import AbsentError, UnavailableError

TIMEOUT_S = 2.0  # of a whole question
MOST_BYTES = 65536
USER = "admin"  # Shelly and Tasmota know no other
_HOST = re.compile(r"(?:([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


class Answer(NamedTuple):
    """A JSON object, its numbers as Decimal (they keep their decimals), and the middle of the question (monotonic)."""

    fields: Dict[str, Any]
    t_ns: int


def host(options: Mapping[str, Any]) -> str:
    """Return the option `host`: a name or an address, with or without a port. Raises ValueError."""
    value = options.get("host")
    if value is None:
        raise ValueError("option host must be given: the meter's name or address, such as 192.168.1.20")
    if isinstance(value, str) and "@" in value:
        raise ValueError("option host must not carry a user or a password: that is what password_env is for")
    found = _HOST.fullmatch(value) if isinstance(value, str) else None
    fits = found is not None and 0 < int(found.group(3) or 80) < 65536
    require(fits, "option host must be the meter's name or address, such as 192.168.1.20 or plug.local:80", value)
    return str(value)


def password(options: Mapping[str, Any]) -> str:
    """Return what the variable holds that the option `password_env` names, "" without it. Raises ValueError, PermissionError.

    Neither error shows the option's value: somebody may have written the password itself.
    """
    name = options.get("password_env")
    if name is None:
        return ""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("option password_env must be the name of an environment variable, not the password itself")
    if not os.environ.get(name):
        raise PermissionError(
            "the environment variable that password_env names is not set here: export it, then try again"
        )
    return os.environ[name]


class Meter:
    """A meter at an address. `scheme`: how it asks for a password, basic or digest; "": it never does by headers."""

    def __init__(self, host: str, password: str = "", scheme: str = "") -> None:
        found = _HOST.fullmatch(host)
        assert found is not None
        self.host = host
        self._name, self._port = found.group(1) or found.group(2), int(found.group(3) or 80)
        self._address = ""
        self._password, self._scheme = password, scheme
        self._challenge: Optional[Mapping[str, str]] = None
        self._count = 0

    def get(self, path: str) -> Answer:
        """Ask for `path`. Raises AbsentError, PermissionError, UnavailableError; no reason tells the path's query."""
        status, body, challenge, t_ns = self._exchange(path)
        if status == 401 and self._accept(challenge):
            status, body, _, t_ns = self._exchange(path)
        self._judge(status, path.split("?")[0])
        fields = read(body)
        if fields is None:
            raise UnavailableError("%s answered no JSON object: is the meter at this address?" % self.host)
        return Answer(fields, t_ns)

    def _exchange(self, path: str) -> Tuple[int, bytes, str, int]:
        began = time.monotonic_ns()
        try:
            status, body, challenge = self._talk(path)
        except (socket.timeout, TimeoutError):
            raise UnavailableError(self._slow()) from None
        except ConnectionRefusedError:
            raise UnavailableError(
                "%s refused the connection: is it the meter's address and port?" % self.host
            ) from None
        except http.client.HTTPException as error:
            raise UnavailableError("%s answered no HTTP (%s)" % (self.host, type(error).__name__)) from None
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise UnavailableError(
                "%s cannot be reached (%s): is the meter on the network?" % (self.host, said)
            ) from None
        return status, body, challenge, (began + time.monotonic_ns()) // 2

    def _talk(self, path: str) -> Tuple[int, bytes, str]:
        if not self._address:
            self._address = self._resolved()
        connection = http.client.HTTPConnection(self._address, self._port, timeout=TIMEOUT_S)
        cut = threading.Event()
        with contextlib.closing(connection):
            connection.connect()
            watch = threading.Timer(TIMEOUT_S, _cut, (connection.sock, cut))  # a time-out alone is one of each byte
            watch.daemon = True
            watch.start()
            try:
                connection.request(
                    "GET", path, headers={"Host": self.host, "Connection": "close", **self._authority(path)}
                )
                with connection.getresponse() as response:
                    body = response.read(MOST_BYTES + 1)
                    challenge = response.getheader("WWW-Authenticate") or ""
            except (OSError, http.client.HTTPException):
                if cut.is_set():
                    raise TimeoutError from None
                raise
            finally:
                watch.cancel()
        if cut.is_set():
            raise TimeoutError
        if len(body) > MOST_BYTES:
            raise UnavailableError(
                "%s answered more than %d bytes: is the meter at this address?" % (self.host, MOST_BYTES)
            )
        return response.status, body, challenge

    def _resolved(self) -> str:
        """Ask for the name's address, once: a name server's time-outs are not ours."""
        try:
            found: List[Any] = socket.getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM)
        except OSError:
            raise UnavailableError("%s is no name that is known here: give the meter's address" % self._name) from None
        found.sort(key=lambda each: each[0] != socket.AF_INET)  # meters speak IPv4; many networks do no IPv6
        return str(found[0][4][0])

    def _slow(self) -> str:
        return "%s did not answer within %g s: is the meter on, and its network good?" % (self.host, TIMEOUT_S)

    def _judge(self, status: int, path: str) -> None:
        if status in (401, 403):
            raise PermissionError(self.denied())
        if status == 404:
            raise AbsentError("%s has no %s: another kind of meter, see the sensor's options" % (self.host, path))
        if 300 <= status < 400:
            raise UnavailableError("%s sends elsewhere, which no meter does: give the meter's own address" % self.host)
        if status != 200:
            raise UnavailableError("%s answered %s with HTTP status %d" % (self.host, path, status))

    def denied(self) -> str:
        """Say that the password is missing or wrong."""
        if self._password:
            return "%s does not take the password that password_env names: correct the variable" % self.host
        return "%s asks for a password: put it into an environment variable and name that in password_env" % self.host

    def _accept(self, challenge: str) -> bool:
        """Take a challenge of the expected scheme, and no weaker one; whether asking again makes sense."""
        scheme, _, rest = challenge.strip().partition(" ")
        if not self._password or not self._scheme or scheme.lower() != self._scheme:
            return False
        told = urllib.request.parse_keqv_list(
            [each for each in urllib.request.parse_http_list(rest) if each.partition("=")[2]]
        )
        fields = {name.lower(): value for name, value in told.items()}
        known = fields.get("algorithm", "MD5").upper() in _HASHES and "nonce" in fields and "realm" in fields
        if self._scheme == "digest" and not known:
            return False
        self._challenge, self._count = fields, 0
        return True

    def _authority(self, path: str) -> Dict[str, str]:
        if self._challenge is None:
            return {}
        if self._scheme == "basic":
            words = ("%s:%s" % (USER, self._password)).encode()
            return {"Authorization": "Basic " + base64.b64encode(words).decode()}
        self._count += 1
        return {"Authorization": digest(self._challenge, path, self._password, self._count, secrets.token_hex(8))}


def read(body: bytes) -> Optional[Dict[str, Any]]:
    """Return a JSON object, its numbers as Decimal; None for anything else."""
    try:
        found = json.loads(body, parse_float=decimal.Decimal, parse_int=decimal.Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, decimal.DecimalException):
        return None
    return found if isinstance(found, dict) else None


def digest(challenge: Mapping[str, str], path: str, password: str, count: int, nonce: str) -> str:
    """Return the header that answers a challenge with qop=auth, or with none (RFC 7616, section 3.4.1)."""
    name = challenge.get("algorithm", "MD5").upper()

    def hashed(*words: str) -> str:
        return _HASHES[name](":".join(words).encode()).hexdigest()

    first = hashed(USER, challenge["realm"], password)
    second = hashed("GET", path)
    fields = {"username": USER, "realm": challenge["realm"], "nonce": challenge["nonce"], "uri": path}
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    plain = {"algorithm": name}
    if "qop" in challenge:
        plain.update(qop="auth", nc="%08x" % count)
        fields["cnonce"] = nonce
        fields["response"] = hashed(first, challenge["nonce"], plain["nc"], nonce, "auth", second)
    else:
        fields["response"] = hashed(first, challenge["nonce"], second)
    words = ['%s="%s"' % each for each in fields.items()] + ["%s=%s" % each for each in plain.items()]
    return "Digest " + ", ".join(words)


def _cut(connection: socket.socket, cut: threading.Event) -> None:
    """End a conversation that takes too long, from outside."""
    cut.set()
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _refuse(word: str) -> Any:
    raise ValueError("%s is no number" % word)
