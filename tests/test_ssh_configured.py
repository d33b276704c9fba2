"""The user's own SSH configuration and known hosts are honoured, damaged lines and all; a jump host is called one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.sshd import Sshd, public, why_not
from test_ssh import address

from harness import bundle
from harness.errors import DeviceError
from harness.records import Address
from harness.transport.ssh import Ssh

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("other")) as server:
        yield server


def look(to: Address, folder: Path) -> bool:
    """Whether a look there was answered from the workdir that was asked for."""
    line = Ssh("board", to, str(folder / "wd"), sys.executable)
    seen = line.look(bundle.build("empty"))
    line.close()
    return Path(str(seen["workdir"])) == folder / "wd"


def entry(server: Sshd, name: str = "my-board", more: str = "") -> str:
    return (
        f"Host {name}\n  HostName {server.host}\n  Port {server.port}\n  User {server.user}\n  IdentityFile {server.key}\n"
        f'  UserKnownHostsFile "{server.known_hosts}"\n{more}'
    )


def test_an_alias_says_all_that_the_inventory_does_not(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text(entry(sshd))
    assert look(Address("my-board"), home)


def test_what_a_configuration_includes_counts(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "boards").write_text(entry(sshd))
    (home / ".ssh" / "config").write_text(f"Include {home}/.ssh/boards\n")
    assert look(Address("my-board"), home)


def test_the_inventory_s_words_stand_over_the_configuration_s(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host *\n  User nobody-of-that-name\n  Port 1\n")
    assert look(address(sshd), home)


def test_a_host_key_s_alias_is_looked_up(sshd: Sshd, home: Path) -> None:
    trusted = home / "trusted"
    trusted.write_text(f"the-board {public(sshd.folder / 'host_key')}\n")
    text = entry(sshd, more="  HostKeyAlias the-board\n").replace(str(sshd.known_hosts), str(trusted))
    (home / ".ssh" / "config").write_text(text)
    assert look(Address("my-board"), home)


def test_a_configuration_that_openssh_refuses_is_told_with_its_line(sshd: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host *\n  NoSuchWord yes\n")
    with pytest.raises(DeviceError, match="your SSH configuration cannot be read"):
        look(address(sshd), home)


def test_jump_hosts_of_the_configuration_are_gone_through(sshd: Sshd, other: Sshd, home: Path) -> None:
    text = entry(other, "gate") + entry(sshd, more="  ProxyJump gate\n")
    (home / ".ssh" / "config").write_text(text)
    assert look(Address("my-board"), home)
    other.stop()
    with pytest.raises(
        DeviceError, match=rf"device board: jump host {other.user}@127.0.0.1:{other.port}: nothing listens"
    ):
        look(Address("my-board"), home)


def test_an_unknown_board_behind_a_jump_host_is_asked_from_there(sshd: Sshd, other: Sshd, home: Path) -> None:
    trusted = home / "trusted"
    trusted.write_text(other.known_hosts.read_text())
    (home / ".ssh" / "config").write_text(entry(other, "gate").replace(str(other.known_hosts), str(trusted)))
    to = address(sshd, jump="gate", known_hosts=str(trusted))
    let_in = other.folder / "authorized_keys"
    let_in.write_text(let_in.read_text() + public(sshd.key) + "\n")
    with pytest.raises(DeviceError, match=r"its host key .* is not known here") as refused:
        look(to, home)
    assert f"ssh -p {other.port} {other.user}@127.0.0.1 ssh-keyscan" in refused.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "@cert-authority *.example.org ssh-rsa AAAA",
        "damaged",
        "host ssh-ed25519 notbase64!",
        "",
        "# a comment",
        "h x y z",
    ],
)
def test_a_line_that_cannot_be_read_hides_no_other_host(sshd: Sshd, home: Path, line: str) -> None:
    trusted = home / "trusted"
    trusted.write_text(f"{line}\n{sshd.known_hosts.read_text()}")
    assert look(address(sshd, known_hosts=str(trusted)), home)


def test_a_revoked_key_is_refused_however_well_known(sshd: Sshd, home: Path) -> None:
    trusted = home / "trusted"
    trusted.write_text(f"{sshd.known_hosts.read_text()}@revoked * {public(sshd.folder / 'host_key')}\n")
    with pytest.raises(DeviceError, match=r"its host key .* is revoked in"):
        look(address(sshd, known_hosts=str(trusted)), home)


def test_a_log_in_that_prints_is_said_to(tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    noisy.write_text("#!/bin/sh\necho 'Welcome to this board'\nexec /usr/lib/openssh/sftp-server\n")
    noisy.chmod(0o755)
    with (
        Sshd(tmp_path / "sshd", sftp=str(noisy)) as server,
        pytest.raises(DeviceError, match="its file service") as told,
    ):
        look(address(server), tmp_path)
    assert "must print nothing" in told.value.hint


def test_a_command_may_be_preceded_by_what_a_log_in_prints(tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    noisy.write_text("#!/bin/sh\ncase \"$SSH_ORIGINAL_COMMAND\" in *sftp*) exec /usr/lib/openssh/sftp-server;; esac\n"
                     "echo 'Welcome to this board'\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n")  # fmt: skip
    noisy.chmod(0o755)
    with Sshd(tmp_path / "sshd", sftp="/usr/lib/openssh/sftp-server", force_command=str(noisy)) as server:
        assert look(address(server), tmp_path)


def test_an_agent_that_was_damaged_is_sent_again(sshd: Sshd, tmp_path: Path) -> None:
    assert look(address(sshd), tmp_path)
    (agent,) = (tmp_path / "wd" / "agents").iterdir()
    data = bytearray(agent.read_bytes())
    data[len(data) // 2] ^= 0xFF
    agent.write_bytes(data)
    assert look(address(sshd), tmp_path)
    assert agent.read_bytes() == bundle.build("empty").read_bytes()
