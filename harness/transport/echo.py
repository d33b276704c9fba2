"""Exchanges of times with a device over one kept channel (`harness/clocks.py` says what for).

One channel for all of them: a command of its own for each would take hundreds of ms. The agent's verb at the other end sleeps
until a line comes; none comes but those that are asked for.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness import interrupt, wire
from harness.clocks import Exchange
from harness.errors import DeviceError, WireError

if TYPE_CHECKING:
    import paramiko

    from harness.transport.link import Link, Session

_GREETING_S = 15.0  # an interpreter's start on a small board that is busy
_ANSWER_S = 2.0
_MOST_BYTES = 1024  # of a line


class Lines:
    """The agent's verb `clock`, spoken to line by line. All raise DeviceError, after which it is not to be asked again."""

    def __init__(self, name: str, send: Callable[[bytes], object], receive: Callable[[int], bytes]) -> None:
        self.name, self._send, self._receive = name, send, receive
        self._asked = 0
        try:
            said = wire.parse(self._line(), f"device {name}, clock")
        except WireError as error:
            raise DeviceError(error.message) from None
        boot = said.get("boot_id") if isinstance(said, dict) else None
        self.boot = boot if isinstance(boot, str) else ""

    def exchange(self) -> Exchange:
        """Return one exchange; its line is numbered, so that no answer is taken for another's."""
        self._asked += 1
        question = b"%d\n" % self._asked
        began = time.monotonic_ns()
        try:
            self._send(question)
        except (OSError, EOFError) as error:
            raise self._lost(error) from None
        answer = self._line()
        ended = time.monotonic_ns()
        words = answer.split()
        if len(words) != 3 or words[0] != str(self._asked) or not all(word.isdecimal() for word in words[1:]):
            raise DeviceError(f"device {self.name}: its clock answered {answer[:100]!r}")
        return Exchange(self.boot, began, int(words[1]), int(words[2]), ended)

    def _line(self) -> str:
        data = b""
        try:
            while not data.endswith(b"\n"):
                piece = self._receive(_MOST_BYTES)
                if not piece or len(data) > _MOST_BYTES:
                    raise EOFError("it ended" if not piece else "it said too much")
                data += piece
        except (OSError, EOFError) as error:
            raise self._lost(error) from None
        return data.decode("utf-8", "replace").strip()

    def _lost(self, error: Exception) -> DeviceError:
        said = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return DeviceError(f"device {self.name}: its clock cannot be asked: {said}")


@contextmanager
def over(link: Link, argv: Sequence[str]) -> Iterator[Lines]:
    """Start the verb over a link and give what can be asked; its end ends the verb. Raises DeviceError."""
    with link.hurried():  # nothing that is measured rests on it
        channel = link.ask("asking for the time", lambda session: _begun(session, argv))
    with interrupt.ended_by(channel.close):
        try:
            channel.settimeout(_GREETING_S)
            lines = Lines(link.name, channel.sendall, channel.recv)
            channel.settimeout(_ANSWER_S)
            yield lines
        finally:
            channel.close()


def _begun(session: Session, argv: Sequence[str]) -> paramiko.Channel:
    channel = session.connection.transport.open_session(timeout=_GREETING_S)
    channel.exec_command(shlex.join(argv))
    return channel
