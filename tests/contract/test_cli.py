"""The command line: one clear line and the design's exit code for everything that is wrong."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from click import Context, Group

from tests.run import COMMAND, json_of, vscadmin
from vscadmin.cli import main

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["explain", "4194304999"], 2, "pid 4194304999: there is no such process"),
        (["explain", "\u00b2"], 2, '"\u00b2" is no user of this machine'),
        (["explain", "9" * 5000], 2, "is no user of this machine"),
        (["explain", "no-such-user"], 2, '"no-such-user" is no user of this machine'),
        (["report", "--user", "no-such-user"], 2, '"no-such-user" is no user'),
        (["report", "--product", "vscod"], 2, '--product: "vscod" is no product'),
        (["scan", "--catalogue", "/nonexistent"], 78, "/nonexistent: is not a directory"),
        (["report", "--policy", "/nonexistent.toml"], 78, "/nonexistent.toml: No such file"),
        (["config", "validate", "/nonexistent.toml"], 78, "/nonexistent.toml: No such file"),
        (["doctor", "--policy", "/nonexistent.toml"], 78, ""),
    ],
)
def test_bad_input_is_one_clear_line(arguments: list[str], code: int, said: str) -> None:
    done = vscadmin(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [["nope"], ["scan", "--nope"], ["explain"], ["completion", "tcsh"]]
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = vscadmin(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr


def test_a_word_that_is_nearly_a_command_is_pointed_out() -> None:
    assert 'No such command "repot"; did you mean "report"?' in vscadmin("repot").stderr
    assert vscadmin("xyzzy").stderr.splitlines()[-1] == 'Error: No such command "xyzzy"'


GROUPS = {"": main.cli} | {
    name: command
    for name in main.cli.list_commands(Context(main.cli))
    if isinstance(command := main.cli.get_command(Context(main.cli), name), Group)
}


def test_there_are_groups_of_commands() -> None:
    assert {"", "config", "fleet"} <= set(GROUPS)


@pytest.mark.parametrize("name", GROUPS)
def test_every_command_is_one_whole_line_of_the_help(name: str) -> None:
    done = vscadmin(*name.split(), "--help", env={**os.environ, "COLUMNS": "80"})
    lines = done.stdout.partition("Commands:\n")[2].splitlines()
    group = GROUPS[name]
    assert [line.split()[0] for line in lines] == list(group.list_commands(Context(group)))
    assert all(line.endswith(".") and not line.endswith("..") for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("report", "Policy to judge by; default"),
        ("history", "Policy whose store.path is read; default"),
        ("notices", "Policy whose store.path is read; default"),
        ("digest", "Policy whose store.path, exempt and [notify] count; default"),
    ],
)
def test_help_says_what_the_policy_is_for(name: str, use: str) -> None:
    assert use in " ".join(vscadmin(name, "--help").stdout.split())


def test_every_error_of_a_policy_is_told(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nmod = 1\n[session]\ngrace_default = "5w"\n')
    done = vscadmin("report", "--policy", str(policy))
    assert done.returncode == 78
    keys = {line.split(": ")[2] for line in done.stderr.splitlines()}
    assert keys == {"mod", "session.grace_default"}
    told = vscadmin("config", "validate", str(policy), "--json")
    assert told.returncode == 78
    assert len(json.loads(told.stdout)["problems"]) == 2


def test_a_policy_that_lists_a_report_only_family_is_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\n[scope]\nproducts = ["ssh-tunnel"]\n')
    done = vscadmin("config", "validate", str(policy))
    assert done.returncode == 78
    assert 'scope.products: "ssh-tunnel" is only reported' in done.stderr


def test_a_policy_that_others_can_write_is_warned_of(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("version = 1\n")
    policy.chmod(0o666)
    done = vscadmin("report", "--policy", str(policy))
    assert done.returncode == 0
    assert "others can write it: cleanup would refuse this policy" in done.stderr
    assert vscadmin("doctor", "--policy", str(policy)).returncode == 78


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is that strict")
def test_as_root_a_family_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    family = tmp_path / "x.toml"
    family.write_text("")
    family.chmod(0o666)
    done = vscadmin("scan", "--catalogue", str(tmp_path))
    assert done.returncode == 78
    assert "others can write it" in done.stderr


def test_what_is_generated_is_valid_and_the_built_in_policy(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(vscadmin("config", "generate").stdout)
    assert vscadmin("config", "validate", str(policy)).returncode == 0
    shown = vscadmin("config", "show", "--policy", str(policy)).stdout.splitlines()
    assert shown[1:] == vscadmin("config", "show").stdout.splitlines()[1:]
    assert json_of("config", "show")["settings"]["mode"] == "observe"


def test_a_report_fits_100_columns_and_has_no_colours_in_a_pipe() -> None:
    done = vscadmin("report")
    assert done.returncode in (0, 10)
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert not ANSI.search(done.stdout)


def test_json_is_ascii_and_says_its_schema() -> None:
    for verb in ("scan", "report"):
        found = json_of(verb)
        assert (found["schema"], found["kind"]) == (1, verb)
    assert vscadmin("scan", "--json").stdout.isascii()


@pytest.mark.parametrize(
    ("verb", "slow"),
    [
        ("scan", {"psutil", "rich", "structlog", "cattrs", "jinja2", "smtplib"}),
        ("report", {"rich", "structlog", "jinja2", "smtplib"}),
        ("mine", {"psutil", "rich", "structlog", "jinja2", "smtplib"}),
        ("history", {"psutil", "rich", "structlog", "jinja2", "smtplib"}),
    ],
)
def test_a_command_imports_nothing_slow_that_it_does_not_need(verb: str, slow: set[str]) -> None:
    code = (
        "import sys; from vscadmin.cli.main import cli;"
        f"cli.main(['{verb}', '--json'], standalone_mode=False);"
        f"print(sorted({slow} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_callers_python_variables_do_not_reach_us(tmp_path: Path) -> None:
    """A module environment that sets PYTHONHOME breaks generated entry points."""
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(99)\n")
    odd = {**os.environ, "PYTHONHOME": "/nonexistent", "PYTHONPATH": str(tmp_path)}
    assert vscadmin("--version", env=odd).returncode == 0


def test_a_symlink_to_the_command_works(tmp_path: Path) -> None:
    link = tmp_path / "vscadmin"
    link.symlink_to(COMMAND)
    assert subprocess.run([link, "--version"], capture_output=True, check=False).returncode == 0


def test_a_closed_stdout_is_no_error() -> None:
    argv = ["bash", "-c", f"{COMMAND} scan --json >&-"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {COMMAND} config show | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_completion_script(shell: str) -> None:
    done = vscadmin("completion", shell)
    assert done.returncode == 0
    assert "_VSCADMIN_COMPLETE" in done.stdout


def test_products_are_completed() -> None:
    words = {"COMP_WORDS": "vscadmin report --product cur", "COMP_CWORD": "3"}
    env = {**os.environ, **words, "_VSCADMIN_COMPLETE": "bash_complete"}
    assert "plain,cursor" in vscadmin(env=env).stdout


def test_on_a_terminal_there_are_columns_of_it() -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 60, 0, 0))
    done = subprocess.Popen([COMMAND, "report"], stdout=follower)
    os.close(follower)
    shown = b""
    with open(leader, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while data := terminal.read(4096):  # ends with EIO when nobody writes any more
            shown += data
    assert done.wait(60) in (0, 10)
    assert max(len(ANSI.sub("", line)) for line in shown.decode().splitlines()) <= 60


def test_doctor_checks_what_it_should() -> None:
    done = vscadmin("doctor", "--json")
    names = {each["check"] for each in json.loads(done.stdout)["checks"]}
    wanted = {"pidfd", "process table", "hidepid", "pid namespace", "cgroup", "clock", "rights"}
    assert names >= wanted | {"policy", "catalogue"}
    assert done.returncode == 0


def test_explain_says_why_a_process_is_in_no_tree() -> None:
    own = json_of("explain", str(os.getpid()))
    assert "is this command or an ancestor of it" in own["no_tree"]


BUG = """
import sys
from vscadmin.cli import main
from vscadmin import logs
logs._SYSLOG = "/nonexistent"
logs._ROOTS_FILE = sys.argv[1]
main._VERBS["nowhere"] = "Is in no module."
sys.argv = ["vscadmin", "nowhere"]
main.main()
"""


def test_a_bug_is_one_line_for_the_user_and_a_traceback_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "vscadmin.log"
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BUG, str(log)], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 1
    assert done.stderr.startswith("vscadmin: a bug: ModuleNotFoundError")
    assert len(done.stderr.splitlines()) == 1
    event = json.loads(log.read_text())
    assert "Traceback" in event["exception"]
    assert log.stat().st_mode & 0o777 == 0o600
