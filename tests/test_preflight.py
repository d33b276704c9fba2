"""A device made ready: what its answers say of others is said in words that steer nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from harness import preflight
from harness.errors import DeviceError
from harness.records import Device, Profile


class Held:
    """A line to a device that somebody holds who signs as he likes."""

    def __init__(self, holder: Any) -> None:
        self.name, self.holder = "d", holder

    def look(self, bundle: Path, options: Any = None) -> dict[str, Any]:
        return {"holder": self.holder}


@pytest.mark.parametrize("key", ["run", "owner", "job", "pid"])
def test_what_a_holder_signed_can_fake_no_line(key: str) -> None:
    signed = {"run": "r", "owner": "ann@desk", "job": "j", "pid": 7, key: "x\nerror: all is lost\r\x1b[2J" + "y" * 999}
    line = cast(Any, Held(signed))
    with pytest.raises(DeviceError, match="is busy") as refused:
        preflight.make(Device("d", Profile("p", "", "any", ("empty",))), ["empty"], lambda _: None, line=line)
    assert refused.value.message.isprintable() and "x error: all is lost ?[2Jy" in refused.value.message
    assert len(refused.value.message) < 400
