"""proxy.toml as an admin meets it: config validate, config show, and doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.integration.pythons import python_without
from vscadmin.cli import doctor_proxy
from vscadmin.cli.main import cli
from vscadmin.cli.unprivileged import Looked, unprivileged
from vscadmin.errors import ConfigError, Exit
from vscadmin.proxy.settings import ProxySettings, parse

PLUGIN = "from vscadmin.sites import hookimpl\n@hookimpl\ndef notes():\n    return []\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this Python one that users can read, wherever it is installed."""
    monkeypatch.setattr(os, "access", lambda *_: True)


@pytest.fixture
def file() -> Iterator[Path]:
    """Yield a file in a directory that nobody can read too, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield written(Path(folder) / "proxy.toml")


def written(path: Path) -> Path:
    path.write_text('version = 1\nmode = "direct"\n[profile.gpu]\nsalloc_args = ["-G1"]\n')
    path.chmod(0o644)
    return path


def plugin(file: Path, source: str) -> Path:
    folder = file.parent / "site-plugins"
    folder.mkdir(exist_ok=True)
    path = folder / "mine.py"
    path.write_text(source)
    path.chmod(0o644)
    file.write_text('version = 1\nplugins = ["mine"]\n')
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words, standalone_mode=False)


def problems(*words: str) -> tuple[str, ...]:
    error = run(*words).exception
    assert isinstance(error, ConfigError)
    return error.problems


# config


@pytest.mark.parametrize("words", [(), ("--proxy",)])
def test_a_right_file_is_valid_by_its_name_or_by_the_option(
    file: Path, words: tuple[str, ...]
) -> None:
    done = run("config", "validate", *words, str(file))
    assert done.output == f"{file}: valid; profiles: 1; plugins: none\n"
    assert done.return_value == 0


def test_a_file_of_another_name_is_checked_before_it_is_installed(file: Path) -> None:
    other = file.rename(file.with_name("source"))
    assert "valid; profiles: 1" in run("config", "validate", "--proxy", str(other)).output
    assert "mode:" in problems("config", "validate", str(other))[0], "else it is a policy"


def test_all_that_is_wrong_is_told_at_once(file: Path) -> None:
    file.write_text('version = 1\nmod = "x"\nlauncher = "y"\n')
    found = problems("config", "validate", str(file))
    assert [each.split(": ")[1] for each in found] == ["mod", "launcher"]
    done = run("config", "validate", str(file), "--json")
    document = json.loads(done.output)
    assert (document["valid"], document["problems"]) == (False, list(found))
    assert done.return_value == Exit.BAD_CONFIGURATION


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "proxy.toml")
    assert problems("config", "validate", path) == (f"{path}: No such file or directory",)


@pytest.mark.usefixtures("readable")
def test_the_plugins_are_checked_with_it(file: Path) -> None:
    plugin(file, PLUGIN.replace("notes", "note"))
    (problem,) = problems("config", "validate", str(file))
    assert 'there is no hook note; did you mean "notes"?' in problem
    plugin(file, PLUGIN)
    assert "plugins: mine" in run("config", "validate", str(file)).output


def test_a_file_that_others_could_change_is_a_warning(file: Path) -> None:
    file.chmod(0o666)
    words = "its group or others can write it: sessions would refuse this file"
    assert words in run("config", "validate", str(file)).stderr
    assert words in json.loads(run("config", "validate", str(file), "--json").output)["warnings"][0]


def test_what_show_prints_is_a_file_of_the_same_meaning(file: Path) -> None:
    text = run("config", "show", "--proxy", str(file)).output
    assert text.startswith(f"# {file} ")
    found, same = parse(text.encode(), "p"), parse(file.read_bytes(), "p")
    assert found._replace(given=same.given) == same
    settings = json.loads(run("config", "show", "--proxy", str(file), "--json").output)["settings"]
    assert settings == tomllib.loads(text)


def test_without_a_file_the_built_in_settings_are_shown(tmp_path: Path) -> None:
    text = run("config", "show", "--proxy", str(tmp_path / "none.toml")).output
    assert text.startswith("# built-in\n")
    assert parse(text.encode(), "")._replace(given=frozenset()) == ProxySettings()


# Plugins are never run with root's rights.


@as_root
@pytest.mark.usefixtures("readable")
def test_as_root_a_plugin_is_loaded_as_nobody(file: Path) -> None:
    plugin(file, "import os\nraise ValueError(os.getresuid(), os.getresgid(), os.getgroups())")
    ids = (65534,) * 3
    assert f"({ids}, {ids}, [])" in problems("config", "validate", str(file))[0]


@as_root
@pytest.mark.usefixtures("readable")
def test_a_plugin_that_ends_the_interpreter_is_told(file: Path) -> None:
    plugin(file, "import os\nos._exit(0)")
    assert problems("config", "validate", str(file)) == ("the plugins ended the interpreter",)


@as_root
@pytest.mark.usefixtures("readable")
def test_a_plugin_that_never_returns_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vscadmin.cli.unprivileged.LONGEST", 1)

    def forever() -> list[str]:
        while True:
            pass

    assert unprivileged(forever) == Looked(("the plugins took longer than 1 s",))


@as_root
def test_a_python_that_users_cannot_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    looked = unprivileged(lambda: ["not looked at"])
    assert looked.lines == ()
    assert "users cannot read it, so none of them can start a session" in looked.problem


# doctor


@pytest.fixture
def checked(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make *file* the one that doctor looks at, with a command in PATH."""
    folder = file.parent / "bin"
    folder.mkdir()
    for name in ("vscode-shell-proxy", "salloc", "srun", "squeue"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(doctor_proxy, "PROXY_FILE", str(file))
    return file


def doctor() -> dict[str, list[Any]]:
    """Return grade, words and code of every check of the proxy, by name."""
    found: dict[str, list[Any]] = {}
    for each in doctor_proxy.checks():
        found.setdefault(each.name, []).append((str(each.grade), each.words, int(each.code)))
    return found


def test_doctor_finds_a_site_in_order(checked: Path) -> None:
    command = checked.parent / "bin" / "vscode-shell-proxy"
    assert doctor() == {
        "proxy": [("ok", f"{checked} is valid; profiles: gpu", 0)],
        "site plugins": [("ok", "none", 0)],
        "launcher": [("ok", "salloc", 0)],
        "proxy command": [("ok", str(command), 0)],
        "ctypes": [("ok", "can be imported", 0)],
        "sock_diag": [("ok", "tells whose a connection is", 0)],
    }


def test_doctor_tells_every_problem_of_the_file(checked: Path) -> None:
    checked.write_text("version = 1\nmod = 1\nlaunch = 2\n")
    found = doctor()["proxy"]
    assert [(grade, code) for grade, _, code in found] == [("FAIL", 78)] * 2


def test_doctor_tells_a_file_that_sessions_refuse(checked: Path) -> None:
    checked.chmod(0o666)
    grade, words, code = doctor()["proxy"][0]
    assert (grade, code) == ("FAIL", 78)
    assert "sessions would refuse this file" in words


@pytest.mark.usefixtures("readable")
def test_doctor_tells_a_plugin_that_others_could_change(checked: Path) -> None:
    path = plugin(checked, PLUGIN)
    assert doctor()["site plugins"] == [("ok", "mine", 0)]
    path.chmod(0o666)
    grade, words, code = doctor()["proxy"][0]
    assert (grade, words, code) == ("FAIL", f"{path}: its group or others can write it", 78)


def test_doctor_misses_slurm_and_the_command(
    checked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    found = doctor()
    assert found["launcher"][0][:2] == (
        "warn", "salloc, srun, squeue: not found in PATH, so no session can get a job",
    )  # fmt: skip
    assert found["proxy command"][0][0] == "warn"
    checked.unlink()
    assert {grade for rows in doctor().values() for grade, _, _ in rows} == {"ok"}, "not used here"


@pytest.fixture
def used(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the proxy is used."""
    command = tmp_path / "vscode-shell-proxy"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def doctor_of(*python: str, environment: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return grade and words of each check as another interpreter finds them."""
    argv = [*python, "-I", "-c", "from vscadmin.cli.main import main; main()", "doctor", "--json"]
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=False)
    rows = json.loads(done.stdout)["checks"]
    return {row["check"]: (row["grade"], row["words"]) for row in rows}


def test_doctor_misses_ctypes(tmp_path: Path, used: dict[str, str]) -> None:
    python = python_without("_ctypes", tmp_path / "venv")
    grade, words = doctor_of(python, environment=used)["ctypes"]
    assert grade == "warn"
    assert words.startswith(f"{python}: ")
    assert words.endswith("; no session can get a job")


def test_doctor_looks_itself_up(used: dict[str, str]) -> None:
    filtered = str(Path(__file__).with_name("no_sock_diag.py"))
    found = doctor_of(sys.executable, filtered, sys.executable, environment=used)["sock_diag"]
    words = "the kernel does not tell whose a connection is (tcp_diag): sessions refuse all"
    assert found == ("warn", words)


def test_doctor_follows_the_link_to_the_command(checked: Path) -> None:
    command = checked.parent / "bin" / "vscode-shell-proxy"
    target = command.rename(checked.parent / "it")
    command.symlink_to(target)
    assert doctor()["proxy command"] == [("ok", f"{command}, which is {target}", 0)]
    target.chmod(0o777)
    assert doctor()["proxy command"][0][0] == "warn"


@pytest.mark.usefixtures("readable")
def test_doctor_looks_at_the_file_beside_the_command(checked: Path) -> None:
    beside = checked.parent / "bin" / "vscode-shell-proxy-local.py"
    beside.write_text("x = 1")
    beside.chmod(0o644)
    assert doctor()["site plugins"][0][0] == "warn", "proxy.toml puts it out of use"
    checked.unlink()
    (row,) = doctor()["site plugins"]
    assert (row[0], row[2]) == ("FAIL", 78)
    assert "has no hook" in row[1]
    beside.write_text(PLUGIN)
    assert doctor()["site plugins"] == [("ok", str(beside), 0)]
