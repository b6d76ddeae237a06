"""The shell in a job, before there is one."""

from __future__ import annotations

import os

import pytest

from vscadmin.proxy.loop import Loop
from vscadmin.proxy.shell import Shell


def test_a_shell_that_was_not_started_has_nobody_to_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session of number 0 is that of all whose own is in another pid namespace."""
    monkeypatch.setattr(os, "getsid", lambda _pid: 0)
    shell = Shell(
        Loop(),
        lambda _status: None,
        lambda _line: None,
        mark=b"",
        environment={},
        prefix=(),
        limits=(64, 64),
    )
    assert not shell.end(0)
