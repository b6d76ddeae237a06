from __future__ import annotations

import pytest

from tests.builders import CATALOGUE, COMMIT, HOME, LEGACY
from vscadmin.model import Client
from vscadmin.procs.catalogue import (
    Catalogue,
    Family,
    Layout,
    ProcessPattern,
    Role,
    exe_agrees,
    script_of,
    split_path,
)


def argv(line: str) -> tuple[bytes, ...]:
    return tuple(each.encode() for each in line.split())


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("node app.js", b"app.js"),
        ("node --dns-result-order=ipv4first app.js --x", b"app.js"),
        ("node -r dotenv/config app.js", b"app.js"),
        ("node -e code app.js", None),
        ("node -- app.js", b"app.js"),
        ("node --", None),
        ("node", None),
        ("sh /bin/code-server", b"/bin/code-server"),
        ("/usr/bin/bash -x script", b"script"),
        ("-bash", None),
        ("bash -c script", None),
        ("bash -lc script", None),
        ("sh -s script", None),
        ("bash --init-file rc", None),
        ("bash +o posix script", b"script"),
        ("vim script", None),
        ("python3 script", None),
    ],
)
def test_a_script_is_an_interpreters_first_operand(line: str, script: bytes | None) -> None:
    assert script_of(argv(line)) == script


def test_the_most_exact_pattern_wins() -> None:
    """A legacy launcher is called bin/code-server, as coder's command is."""
    match = CATALOGUE.match(argv(f"sh {LEGACY}/bin/code-server --x"))
    assert match is not None
    assert (match.family.name, match.folder) == ("vscode", LEGACY.encode())


@pytest.mark.parametrize(
    "line",
    [
        f"vim {LEGACY}/bin/code-server",
        f"sh x{LEGACY}/bin/code-server",
        f"sh {LEGACY}x/bin/code-server",
        f"sh {LEGACY}/../{COMMIT}/bin/code-server",
        f"sh {LEGACY.upper()}/bin/code-server",
        f"{HOME}/.vscode-server/code-{COMMIT}",
        f"{HOME}/.vscode-server/code-{COMMIT} agent x host",
        "code --tunnel",
    ],
)
def test_a_near_miss_is_no_server(line: str) -> None:
    match = CATALOGUE.match(argv(line))
    assert match is None or not exe_agrees(match, b"/usr/bin/dash")


def test_no_argv_is_no_match() -> None:
    assert CATALOGUE.match(()) is None
    assert CATALOGUE.agent([]) is None


@pytest.mark.parametrize(
    ("exe", "agrees"),
    [
        (f"{LEGACY}/node", True),
        (f"{LEGACY}/node (deleted)", True),
        (f"{LEGACY}/.nfs0000000000000001", True),
        (f"/scratch/ada/servers/bin/{COMMIT}/node", True),
        (f"/scratch/ada/servers/bin/{COMMIT}/.nfs0000000000000001", True),
        ("/scratch/ada/elsewhere/.nfs0000000000000001", False),
        (f"/home/ada/.vscode-server/bin/{COMMIT[::-1]}/node", False),
        ("/usr/bin/node", False),
        ("/usr/bin/sleep", False),
        ("", False),
        ("/", False),
    ],
)
def test_the_executable_must_be_the_servers_own_node(exe: str, agrees: bool) -> None:
    match = CATALOGUE.match(argv(f"{LEGACY}/node {LEGACY}/out/server-main.js"))
    assert match is not None
    assert exe_agrees(match, exe.encode()) is agrees


@pytest.mark.parametrize(
    ("exe", "agrees"),
    [
        (f"{HOME}/.vscode-server/code-{COMMIT}", True),
        (f"/data{HOME}/.vscode-server/code-{COMMIT} (deleted)", True),
        (f"{HOME}/.vscode-server/.nfs01", True),
        (f"{HOME}/.vscode-server/other", False),
        ("/tmp/.nfs01", False),
    ],
)
def test_a_command_line_program_must_be_itself(exe: str, agrees: bool) -> None:
    match = CATALOGUE.match(argv(f"{HOME}/.vscode-server/code-{COMMIT} command-shell --on-port"))
    assert match is not None
    assert exe_agrees(match, exe.encode()) is agrees


def test_every_family_says_how_well_it_is_known() -> None:
    unverified = {family.name for family in CATALOGUE.families if not family.verified}
    assert unverified == {"kiro", "trae", "void", "jetbrains"}
    assert all(family.source for family in CATALOGUE.families)


def test_a_wild_name_in_a_short_folder_is_found() -> None:
    pattern = ProcessPattern(
        name="server",
        role=Role.ROOT,
        is_script=False,
        folder=(".ab", "bin", "[0-9a-f]" * 40),
        below=("ma?n",),
        exe=("path",),
    )
    family = Family("ab", "AB", False, (Layout("server", Client.OUTSIDE, (pattern,)),))
    catalogue = Catalogue((family,))
    assert catalogue.match(argv(f"/home/ada/.ab/bin/{COMMIT}/main")) is not None


def test_a_folder_that_is_not_utf8_comes_back_as_it_was() -> None:
    folder = f"/tmp/x/.vscode-server/bin/{COMMIT}".encode().replace(b"x", b"\xff")
    match = CATALOGUE.match((folder + b"/node", folder + b"/out/server-main.js"))
    assert match is not None
    assert match.folder == folder


def test_a_path_that_climbs_has_no_components() -> None:
    assert split_path(b"/a/./b//c") == ("a", "b", "c")
    assert split_path(b"/a/../b") == ()
