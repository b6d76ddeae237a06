"""Machines on which no process can be ended safely."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest

from tests.run import COMMAND
from vscadmin.cleanup import run
from vscadmin.policy.settings import Mode, Policy

ENFORCE = replace(Policy(rules=()), mode=Mode.ENFORCE)
INSIDE = ("unshare", "--pid", "--fork", "--kill-child")
CHECK = "pid namespace"


@pytest.mark.parametrize(
    ("pidfds", "namespace", "said"),
    [
        ("this kernel has none", (True, True), "this kernel has none"),
        ("", (False, True), "/proc is of another pid namespace than ours"),
    ],
)
def test_enforce_acts_as_notify_there(
    monkeypatch: pytest.MonkeyPatch, pidfds: str, namespace: tuple[bool, bool], said: str
) -> None:
    monkeypatch.setattr(run, "pidfd_problem", lambda: pidfds)
    monkeypatch.setattr(run, "pid_namespace", lambda: namespace)
    policy, (words,) = run._as_far_as_possible(ENFORCE)
    assert policy.mode is Mode.NOTIFY
    assert words.endswith(f"so enforce acts as notify: {said}")


def test_elsewhere_enforce_stays_enforce() -> None:
    """Else the test above could not fail."""
    assert run._as_far_as_possible(ENFORCE) == (ENFORCE, ())


def test_doctor_names_a_proc_of_another_pid_namespace(root: None) -> None:
    done = subprocess.run(
        [*INSIDE, COMMAND, "doctor", "--json"], capture_output=True, text=True, check=True
    )
    (found,) = (each for each in json.loads(done.stdout)["checks"] if each["check"] == CHECK)
    assert found["grade"] == "warn"
    assert found["words"].startswith("/proc shows another pid namespace than ours")
