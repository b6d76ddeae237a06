"""Every block is read back by the real ssh, and its command by the login shells there are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vscadmin.proxy import hosts
from vscadmin.proxy.hosts import Host

SHELLS = ["sh", "bash", "dash", "tcsh", "fish"]
LOGIN = "login.example.edu"
real = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
printable = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=30)
arguments = st.lists(printable, max_size=6)
names = st.from_regex(r"[A-Za-z]([A-Za-z0-9._-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
ports = st.integers(1, 65535)


@pytest.fixture(autouse=True)
def ssh() -> None:
    if shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH's ssh")


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Put a program on PATH that is called like the proxy, and says what it was called with."""
    program = tmp_path / hosts.PROGRAM
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n", encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def host(**changes: Any) -> Host:
    return Host(**{"alias": "login-job", "host_name": LOGIN, **changes})


def read_back(folder: Path, wanted: Host, *, own_file: bool = False) -> dict[str, list[str]]:
    """Return what ssh makes of the block, by option."""
    file = folder / "config"
    file.write_text(hosts.render(wanted, own_file=own_file), encoding="utf-8")
    done = subprocess.run(
        ["ssh", "-G", "-F", file, wanted.alias],
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
    )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@real
@given(arguments)
def test_ssh_sends_the_command_as_it_was_quoted(tmp_path: Path, asked: list[str]) -> None:
    found = read_back(tmp_path, host(arguments=tuple(asked)))
    words = [hosts.PROGRAM, *map(hosts.quoted, asked)]
    assert found["remotecommand"] == [" ".join(words)]


@pytest.mark.parametrize("shell", SHELLS)
@real
@given(arguments)
def test_every_login_shell_gives_the_proxy_what_was_meant(
    shown: Path, shell: str, asked: list[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (sent,) = read_back(shown, host(arguments=tuple(asked)))["remotecommand"]
    done = subprocess.run(
        [shell, "-c", sent],
        env={"PATH": f"{shown}:{os.defpath}", "HOME": str(shown), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"".join(each.encode() + b"\0" for each in asked or [""])


@real
@given(names, names, names, ports)
def test_names_come_back_as_they_were(
    tmp_path: Path, alias: str, host_name: str, user: str, port: int
) -> None:
    found = read_back(tmp_path, host(alias=alias, host_name=host_name, user=user, port=port))
    assert found["hostname"] == [host_name.lower()]
    assert found["user"] == [user]
    assert found["port"] == [str(port)]
    assert found["remotecommand"] == [hosts.PROGRAM]


@real
@given(st.lists(st.tuples(ports, names, ports), max_size=4))
def test_forwarded_ports_come_back_as_they_were(
    tmp_path: Path, forwards: list[tuple[int, str, int]]
) -> None:
    wanted = host(local_forwards=tuple(f"{port}:{to}:{at}" for port, to, at in forwards))
    found = read_back(tmp_path, wanted).get("localforward", [])
    expected = {f"{port} [{to}]:{at}" for port, to, at in forwards}
    assert set(found) == expected


def test_forwarded_ports_may_have_addresses_of_version_6(tmp_path: Path) -> None:
    wanted = host(local_forwards=("[::1]:8888:[2001:db8::1]:80", "localhost:1:db:2"))
    assert read_back(tmp_path, wanted)["localforward"] == [
        "[::1]:8888 [2001:db8::1]:80",
        "[localhost]:1 [db]:2",
    ]


@pytest.mark.parametrize(
    "jump", ["gate", "alice@gate.example.edu:2222", "[2001:db8::1]:22", "one,bob@two:22"]
)
def test_the_way_through_other_hosts_comes_back_as_it_was(tmp_path: Path, jump: str) -> None:
    assert read_back(tmp_path, host(proxy_jump=jump))["proxyjump"] == [jump]


def test_the_plain_block_asks_for_no_terminal_and_keeps_the_line_alive(tmp_path: Path) -> None:
    found = read_back(tmp_path, host())
    assert found["requesttty"] == ["false"]
    assert found["serveraliveinterval"] == ["30"]
    assert found["serveralivecountmax"] == ["4"]
    assert found["forwardx11"] == ["no"]
    assert found["forwardagent"] == ["no"]
    assert found["controlmaster"] == ["false"]


def test_each_wish_is_one_that_ssh_knows(tmp_path: Path) -> None:
    found = read_back(tmp_path, host(x11=True, forward_agent=True, control_master=True))
    assert found["forwardx11"] == ["yes"]
    assert found["forwardx11trusted"] == ["yes"]
    assert found["forwardagent"] == ["yes"]
    assert found["controlmaster"] == ["auto"]
    assert found["controlpersist"] == ["600"]
    (path,) = found["controlpath"]
    assert len(path) + len(".0123456789abcdef") < 104  # ssh's suffix; the least sun_path there is


def test_a_block_in_a_file_of_its_own_is_read_as_well(tmp_path: Path) -> None:
    found = read_back(tmp_path, host(user="alice"), own_file=True)
    assert found["hostname"] == [LOGIN]
    assert found["remotecommand"] == [hosts.PROGRAM]


def test_an_address_of_version_6_is_a_host_name(tmp_path: Path) -> None:
    assert read_back(tmp_path, host(host_name="2001:db8::1"))["hostname"] == ["2001:db8::1"]
