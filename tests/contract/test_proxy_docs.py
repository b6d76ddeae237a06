"""The pages about the proxy: flags, settings, examples and lines are those of the program."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.contract.markdown import (
    DOCS,
    ROOT,
    code_blocks,
    in_backquotes,
    keys_of,
    rows,
    section,
    without_code_blocks,
)
from vscadmin.cli import ssh_config
from vscadmin.cli.main import cli
from vscadmin.errors import Exit, UsageError
from vscadmin.proxy import hosts, settings
from vscadmin.proxy.arguments import Parser
from vscadmin.proxy.prepare import prepare
from vscadmin.slurm.progress import Progress

USERS_PAGE = DOCS / "shell-proxy.md"
ADMINS_PAGE = DOCS / "shell-proxy-admin.md"
WORKGROUP = {"-g", "--group", "--workgroup"}  # a plugin's, and documented with the rest
SIGNALLED = range(129, 160)  # 128 + the signal


def flags_of(text: str) -> set[str]:
    """Return every flag that is spelled in *text*."""
    return set(re.findall(r"(?<![\w=-])--?[a-zA-Z0-9][a-z0-9-]*", text))


# Arguments.


def test_every_argument_of_the_proxy_is_explained() -> None:
    table = rows(section(USERS_PAGE, "Arguments"))
    documented = flags_of(" ".join(" ".join(in_backquotes(row[0])) for row in table))
    offered = re.findall(r"^  (-.*?)(?:  |$)", Parser().help(), re.MULTILINE)
    assert documented == flags_of(" ".join(offered)) | WORKGROUP


def test_the_exit_statuses_are_those_of_the_program() -> None:
    stated = {
        int(code)
        for row in rows(section(USERS_PAGE, "Exit status"))
        for code in re.findall(r"\d+", row[0])
    }
    ours = {Exit.USAGE, Exit.NO_BACKEND, Exit.NOT_PERMITTED, Exit.BAD_CONFIGURATION}
    assert {code for code in stated if code not in SIGNALLED} == ours


# What ssh-config prints.


def printed_examples(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each call of ssh-config in a page's code blocks, with what it is said to print."""
    for block in code_blocks(page.read_text(encoding="utf-8"), ""):
        call, _, output = block.partition("\n")
        if call.startswith("$ vscadmin ssh-config"):
            yield call, output


EXAMPLES = [
    each
    for page in (USERS_PAGE, DOCS / "commands" / "ssh-config.md")
    for each in printed_examples(page)
]


@pytest.mark.parametrize(("call", "output"), EXAMPLES, ids=[call for call, _ in EXAMPLES])
def test_an_example_is_what_is_printed(
    call: str, output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text("version = 1\n[profile.gpu]\n", encoding="utf-8")
    config.chmod(0o644)
    monkeypatch.setattr(ssh_config, "DEFAULT", str(config))
    words = shlex.split(call)[2:]
    asked = [*words, "--host-name", "login01.example.edu", "--user", "alice"]
    assert CliRunner().invoke(cli, asked, standalone_mode=False).stdout == output


def test_every_setting_that_is_printed_is_explained() -> None:
    explained = {
        key.partition(":")[0].strip('"')
        for key, *_ in keys_of(section(USERS_PAGE, "Settings of VS Code"))
    }
    wanted = hosts.settings(hosts.Host(alias="x", host_name="y"), 300)
    assert set(wanted) <= explained


# Lines.


def texts_of_the_program() -> Iterator[str]:
    """Yield all strings in the proxy's and the scheduler's modules, f-strings in pieces."""
    package = ROOT / "vscadmin"
    of_both = [path for folder in ("proxy", "slurm") for path in (package / folder).glob("*.py")]
    for path in [*of_both, package / "cli" / "shell_proxy.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def pieces_of_lines() -> Iterator[str]:
    """Yield of every line that the user's page explains what stands between its gaps."""
    for row in rows(section(USERS_PAGE, "What the lines mean")):
        for line in in_backquotes(row[0]):
            if line.startswith("salloc:"):
                continue  # Slurm's
            pieces = (each.strip(" :;") for each in re.split(r"…|[0-9]+|: (?=job )", line))
            yield from (each for each in pieces if len(each) > 3)


TEXTS = "\n".join(texts_of_the_program())


@pytest.mark.parametrize("piece", sorted(set(pieces_of_lines())))
def test_a_line_that_is_explained_is_one_that_is_said(piece: str) -> None:
    assert piece in TEXTS


@pytest.mark.parametrize("limit", ['time = "8h"', 'partitions = ["short"]'])
def test_the_line_about_a_limit_is_one_that_is_explained(tmp_path: Path, limit: str) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(f"version = 1\n[limits]\n{limit}\n", encoding="utf-8")
    config.chmod(0o644)
    asked = ["-S", "--time=9:00:00", "-S", "--partition=long"]
    with pytest.raises(UsageError) as caught:
        prepare(asked, "/usr/bin/it", {"PATH": "/usr/bin"}, str(config))
    table = rows(section(USERS_PAGE, "What the lines mean"))
    explained = in_backquotes(" ".join(row[0] for row in table if "`-S" in row[0]))
    patterns = [re.escape(line).replace("…", ".+") for line in explained]
    assert any(re.fullmatch(pattern, str(caught.value)) for pattern in patterns), caught.value


def squeue(job: int, state: str, start: object = "N/A", end: object = "N/A") -> str:
    """Return squeue's line about a job that waits for its turn, or runs."""
    node, reason = ("c042", "None") if state == "RUNNING" else ("", "Priority")
    return f"{job}|{job}|{state}|{start}|{end}|8:00:00|devel|{node}|10|{reason}\n"


def told_while_a_job_waits_and_runs() -> Iterator[str]:
    """Yield what is said of job 4711: third of twelve at 14:08, and started at 14:20."""
    now = int(datetime(2026, 11, 20, 14, 8).timestamp())
    start, end = now + 12 * 60, now + 12 * 60 + 8 * 3600
    progress = Progress()
    progress.question(4711)
    yield from progress.answer(squeue(4711, "PENDING").encode(), 0, now).lines
    progress.question(4711)
    queue = [squeue(job, "PENDING", start) for job in range(4709, 4721)]
    yield from progress.answer("".join(queue).encode(), 0, now).lines
    yield from progress.started("c042")
    for moment in (start, end - 30 * 60):
        runs = squeue(4711, "RUNNING", start, end)
        yield from progress.answer(runs.encode(), 0, moment).lines


def test_the_example_of_a_wait_is_what_is_said() -> None:
    (example, *_) = code_blocks(section(USERS_PAGE, "While you wait, and while you work"), "")
    said = [f"vscode-shell-proxy: {line}" for line in told_while_a_job_waits_and_runs()]
    assert example.splitlines() == said


# The admin's page.


def test_no_example_of_a_command_is_a_pattern_for_a_shell() -> None:
    """An unquoted [PID] is one: csh and zsh refuse it where no file is called so."""
    for page in (USERS_PAGE, ADMINS_PAGE):
        for command in in_backquotes(without_code_blocks(page.read_text(encoding="utf-8"))):
            words = re.sub(r"\"[^\"]*\"|'[^']*'", "", command)
            assert " " not in command or "[PID]" not in words, command


def test_the_example_of_a_configuration_is_right() -> None:
    (example,) = code_blocks(ADMINS_PAGE.read_text(encoding="utf-8"), "toml")
    read = settings.parse(example.encode(), "docs")
    assert set(read.profile) == {"gpu"}
