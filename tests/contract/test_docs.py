"""The docs name every command, option, exit code, key and column, and nothing that is not there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import click
import pytest
from click.testing import CliRunner

from tests import stores
from tests.builders import launcher, tree
from tests.contract.markdown import (
    DOCS,
    ROOT,
    code_blocks,
    in_backquotes,
    keys_of,
    rows,
    section,
    sections,
    without_code_blocks,
)
from vscadmin.cleanup import execute
from vscadmin.cleanup.records import Delivery, Outcome, Result
from vscadmin.cli import doctor_facts, explain, mine, ssh_config, survey
from vscadmin.cli import fleet as cli_fleet
from vscadmin.cli import sessions as proxy_sessions
from vscadmin.cli.main import cli
from vscadmin.config import parse_policy
from vscadmin.errors import Exit
from vscadmin.fleet.ask import Answer
from vscadmin.model import Detail, Endpoint, NetTable, Owner, Process, Snapshot, TcpSocket, Uids
from vscadmin.policy.quiet import QuietHours
from vscadmin.policy.settings import Policy, State
from vscadmin.procs import families, sight, usage
from vscadmin.procs.catalogue import Catalogue
from vscadmin.proxy.statuses import Status
from vscadmin.slurm.job import Job

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
INTERRUPTED = 130  # what a shell says of Ctrl-C: no member of Exit, as it is no failure


# Commands and their options.


class Verb(NamedTuple):
    path: tuple[str, ...]
    command: click.Command

    @property
    def page(self) -> Path:
        return DOCS / "commands" / f"{self.path[0]}.md"

    @property
    def text(self) -> str:
        """The page, of a command below a group its own section."""
        if not self.page.exists():
            return ""
        if len(self.path) > 1:
            return section(self.page, f"vscadmin {' '.join(self.path)}")
        return self.page.read_text(encoding="utf-8")

    @property
    def options(self) -> set[str]:
        context = click.Context(self.command, help_option_names=["-h", "--help"])
        return {
            spelling
            for param in self.command.get_params(context)
            if isinstance(param, click.Option)
            for spelling in (*param.opts, *param.secondary_opts)
        }


def verbs(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[Verb]:
    """Walk the tree of commands, the top left out."""
    if path:
        yield Verb(path, command)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from verbs(below, (*path, name))


VERBS = {" ".join(verb.path): verb for verb in verbs()}
each_verb = pytest.mark.parametrize("name", VERBS)


@each_verb
def test_every_command_has_a_page(name: str) -> None:
    assert VERBS[name].text, f"no page or section for vscadmin {name}"


def test_every_page_is_a_commands() -> None:
    pages = {page.stem for page in (DOCS / "commands").glob("*.md")}
    assert pages == {verb.path[0] for verb in VERBS.values()}


def test_the_readme_links_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in VERBS.values():
        assert f"(docs/commands/{verb.path[0]}.md)" in readme


@each_verb
def test_every_option_is_explained(name: str) -> None:
    verb = VERBS[name]
    named = {word.split()[0] for row in rows(verb.text) for word in in_backquotes(row[0])} | set(
        in_backquotes(without_code_blocks(verb.text))
    )
    assert verb.options - named == set()


def test_the_options_of_vscadmin_itself_are_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for option in Verb((), cli).options:
        assert not option.startswith("--") or f"vscadmin {option}" in readme


@each_verb
def test_the_synopsis_names_every_option(name: str) -> None:
    """Help is the one option that no synopsis names."""
    verb = VERBS[name]
    text = verb.page.read_text(encoding="utf-8")
    synopsis = next(block for block in code_blocks(text, "") if block.startswith("vscadmin"))
    calls = [
        " ".join(call.split()) for call in re.split(r"^(?=vscadmin)", synopsis, flags=re.MULTILINE)
    ]
    mine = next((call for call in calls if call.startswith(f"vscadmin {name}")), "")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", mine))
    if not isinstance(verb.command, click.Group):
        assert named == {each for each in verb.options if each[:2] == "--"} - {"--help"}


@pytest.mark.parametrize(
    "page", sorted((DOCS / "commands").glob("*.md")), ids=lambda page: page.stem
)
def test_no_option_is_documented_that_does_not_exist(page: Path) -> None:
    known = {option for verb in VERBS.values() if verb.page == page for option in verb.options}
    text = page.read_text(encoding="utf-8")
    spoken = " ".join(in_backquotes(without_code_blocks(text)))
    shown = " ".join(re.findall(r"^(?:\$ )?vscadmin .*$", text, re.MULTILINE))
    assert set(re.findall(r"(?<![\w=-])--[a-z][a-z0-9-]*", f"{spoken} {shown}")) <= known


# Exit codes.


def test_every_exit_code_is_explained() -> None:
    table = {
        (int(row[0]), *in_backquotes(row[1]))
        for row in rows((DOCS / "exit-codes.md").read_text(encoding="utf-8"))
    }
    assert table == {(code.value, code.name) for code in Exit}


@pytest.mark.parametrize(
    "page", sorted((DOCS / "commands").glob("*.md")), ids=lambda page: page.stem
)
def test_the_exit_codes_of_every_command_exist(page: Path) -> None:
    codes = {int(row[0]) for row in rows(section(page, "Exit codes"))}
    assert {Exit.DONE, Exit.USAGE} <= codes <= set(Exit)


def test_who_uses_an_exit_code_is_as_the_pages_of_the_commands_say() -> None:
    pages = {page.stem: page for page in (DOCS / "commands").glob("*.md")}
    said = {
        name: {int(row[0]) for row in rows(section(page, "Exit codes"))}
        for name, page in pages.items()
    }
    for code, _, _, users in rows((DOCS / "exit-codes.md").read_text(encoding="utf-8")):
        if users != "all":
            using = {name for name, codes in said.items() if int(code) in codes}
            assert using == {name for name in users.split(", ") if name in pages}, code


def test_an_interruption_is_explained() -> None:
    assert str(INTERRUPTED) in (DOCS / "exit-codes.md").read_text(encoding="utf-8")


# The policy: the tables of docs/policy.md against the dataclasses.

SPELLED = {"rules": "rule", "lasting": "for", "sender": "from"}
POLICY = DOCS / "policy.md"


def setting_keys(kind: Any, path: str = "") -> Iterator[str]:
    """Yield every key of a policy as TOML spells it, `rule.when.for`."""
    hints = get_type_hints(kind)
    for each in fields(kind):
        where = f"{path}{SPELLED.get(each.name, each.name)}"
        inner = [hint for hint in (hints[each.name], *get_args(hints[each.name])) if is_table(hint)]
        if path or not inner:
            yield where
        for hint in inner:
            yield from setting_keys(hint, f"{where}.")


def is_table(hint: Any) -> bool:
    return is_dataclass(hint) and hint is not QuietHours


def documented_settings() -> dict[str, list[str]]:
    """Return the rows of docs/policy.md by their key; a heading names the table they are in."""
    found: dict[str, list[str]] = {}
    prefix: str | None = None
    for each in sections(POLICY):
        if table := re.fullmatch(r"`\[{1,2}(\w+)\]{1,2}`", each.heading):
            prefix = f"{table[1]}."
        elif each.heading == "`when`":
            prefix = "rule.when."
        else:
            prefix = "" if each.heading == "Top level" else None
        if prefix is not None:
            found |= {prefix + row[0]: row for row in keys_of(each.text)}
    return found


def test_every_key_of_the_policy_is_explained() -> None:
    assert set(documented_settings()) == {"version", *setting_keys(Policy)}


def test_the_defaults_of_the_policy_are_as_documented() -> None:
    """Write a file of them and read it: rules and exemptions have no defaults."""
    tables: dict[str, list[str]] = {"": []}
    for key, (name, _, default, *_) in documented_settings().items():
        table = key.rpartition(".")[0]
        if default.startswith("`") and table not in ("rule", "rule.when", "exempt"):
            tables.setdefault(table, []).append(f"{name} = {default.strip('`')}")
    text = "\n".join(
        "\n".join([f"[{table}]" if table else "", *lines]) for table, lines in tables.items()
    )
    assert parse_policy(text.encode(), "docs/policy.md") == Policy(rules=())


def test_it_is_said_of_every_key_whether_it_acts() -> None:
    assert {row[3] for row in documented_settings().values()} == {"now"}


def test_every_state_is_explained() -> None:
    table = keys_of(section(ROOT / "README.md", "States"))
    assert [row[0] for row in table] == [str(state) for state in State]


# The catalogue: which keys its reader takes, and which families are shipped.


def test_every_key_of_a_family_file_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = set()
    take = families._Reader.take

    def recording(self: Any, table: dict[str, Any], key: str, *rest: Any) -> Any:
        taken.add(key)
        return take(self, table, key, *rest)

    monkeypatch.setattr(families._Reader, "take", recording)
    families.load_catalogue()
    start = ("Top level", "`[[", "`listens`")
    documented = {
        row[0]
        for each in sections(DOCS / "catalogue.md")
        if each.heading.startswith(start)
        for row in keys_of(each.text)
    }
    assert documented == taken


def test_the_example_of_a_family_file_is_right(tmp_path: Path) -> None:
    (example,) = code_blocks((DOCS / "catalogue.md").read_text(encoding="utf-8"), "toml")
    (tmp_path / "example.toml").write_text(example, encoding="utf-8")
    family = families.load_catalogue(str(tmp_path)).family("example")
    assert family is not None
    assert len(family.layouts[0].processes) == 3


def test_every_family_is_listed_with_its_status() -> None:
    table = keys_of(section(DOCS / "catalogue.md", "Families that are shipped"))
    shipped = families.load_catalogue().families
    status = {True: "verified", False: "unverified"}
    assert {(row[0], row[2]) for row in table} == {
        (each.name, status[each.verified]) for each in shipped
    }


# JSON: what the commands print of an invented machine, against docs/json.md.

NOW, BOOTED, UID = 1_800_000_000.0, 1_799_000_000.0, 61_234
FIRST_PID = 5_000_000  # above every pid that a kernel hands out: nobody is measured by mistake
FOLDER = "/home/alice/.vscode-server/bin/" + "0f1e2d3c4b" * 4
CLAUDE = "/home/alice/.vscode-server/extensions/anthropic.claude-code-2/resources/native-binary"


def process(number: int, parent: int, *argv: str, uid: int = UID) -> Process:
    pid = FIRST_PID + number
    ppid = FIRST_PID + parent if parent else 1
    line = tuple(word.encode() for word in argv)
    return Process(pid, 5_000 + number, ppid, pid, pid, 0, "S", 700, 1 << 30, uid, line)


MACHINE = (
    process(1, 0, "sh", f"{FOLDER}/bin/code-server", "--port=0"),
    process(2, 1, f"{FOLDER}/node", f"{FOLDER}/out/server-main.js", "--port=0"),
    process(3, 2, f"{CLAUDE}/claude"),
    process(4, 2, "sudo", "-i", uid=0),
    process(5, 0, "sh", f"{FOLDER}/bin/code-server", "--port=1"),
)
EXES = ("/usr/bin/dash", f"{FOLDER}/node", f"{CLAUDE}/claude", "/usr/bin/sudo", "/usr/bin/dash")


def invented_machine(_catalogue: Catalogue, _recorded: Any = None) -> Snapshot:
    """Two servers of one user, one with a client, an agent and a process of root inside."""
    server, client = Endpoint("127.0.0.1", 40_000), Endpoint("127.0.0.1", 50_000)
    nobody = Endpoint("0.0.0.0", 0)  # noqa: S104 - as the kernel writes it, bound by nobody
    return Snapshot(
        boot_id="5d0c4f6e-0000-4000-8000-000000000001",
        boot_time=BOOTED,
        taken_at=NOW,
        ticks_per_second=100,
        processes={each.pid: each for each in MACHINE},
        details={
            each.pid: Detail(
                uids=Uids(*[each.uid] * 4),
                exe=exe.encode(),
                cgroups=("/",),
                pid_levels=1,
                net_ns="net:[1]",
                sockets=frozenset({11, 12} if each is MACHINE[1] else ()),
            )
            for each, exe in zip(MACHINE, EXES, strict=True)
        },
        nets={
            "net:[1]": NetTable(
                (
                    TcpSocket(server, nobody, listening=True, established=False, inode=11),
                    TcpSocket(server, client, listening=False, established=True, inode=12),
                ),
                (),
            )
        },
    )


def invented_owners(uids: Iterable[int], *, with_groups: bool = False) -> dict[int, Owner]:
    return {uid: Owner(uid, "alice") for uid in uids}


def invented_past(folder: Path) -> Path:
    """Store what every kind of record can be, and a policy that a rehearsal ends servers by."""
    now, hour, path = time.time(), 3600.0, folder / "lib" / "store.sqlite"
    trees = [tree(root=launcher(pid)) for pid in (4100, 4200)]
    (old,) = stores.trees(1)
    again = tree(root=launcher(4900, start_ticks=old.root.start_ticks + 10**9))
    with stores.new(path.parent) as store:
        for number in range(9):
            busy = replace(trees[0].connections, clients=("somebody",) if number == 8 else ())
            seen = [replace(trees[0], connections=busy), trees[1]]
            stores.scan(store, [*seen, again] if number > 4 else seen, now - (9 - number) * hour)
        store.begin_run(stores.run(policy_digest="", words=("a problem",)))
        over = stores.run("r2", outcome=Outcome.DONE, finished_at=now, plan_hash="3f9c2a7d10be")
        store.begin_run(over)
        stores.delivered(store, old)
        failed = stores.notice(trees[1], not_before=None)
        store.add_notices([failed])
        store.finish_notices([failed], Delivery.FAILED, error="550 no such user")
        store.begin_termination(stores.termination(trees[1], now))
        ended = stores.termination(old, now - 4.5 * hour)
        store.begin_termination(ended)
        ended = replace(ended, result=Result.SURVIVORS, finished_at=ended.started_at + 1)
        store.finish_termination(replace(ended, survivors=1, words=("pid 4 lives on",)))
    policy = folder / "past.toml"
    policy.write_text(
        f'version = 1\n[store]\npath = "{path}"\n[[rule]]\nname = "abandoned"\n'
        'when = {state = "abandoned"}\naction = "terminate"\nnotice = "1h"\n',
        encoding="utf-8",
    )
    return policy


def documents_of_the_past(folder: Path) -> list[dict[str, Any]]:
    policy, none = str(invented_past(folder)), folder / "no-past.toml"
    none.write_text(f'version = 1\n[store]\npath = "{folder}/none/store"\n', encoding="utf-8")
    options = ("--policy", policy)
    return [
        printed("history", *options, "--json"),
        printed("notices", *options, "--json"),
        printed("replay", policy, "--mode", "enforce", "--json"),
        *(printed(verb, "--policy", str(none), "--json") for verb in ("history", "notices")),
        printed("replay", str(none), "--json"),
    ]


def documents_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """List servers and end one, for whoever runs the tests, and without a signal."""
    ended = execute.Ended(Result.SURVIVORS, ("pid 7 lives on",), (MACHINE[0].key,))
    monkeypatch.setattr(mine, "_own", lambda found: list(found.forest.trees))
    monkeypatch.setattr(mine, "_named", lambda found, _: found.forest.trees[0])
    monkeypatch.setattr(execute, "terminate", lambda *_: ended)
    pid = str(MACHINE[0].pid)
    return [printed("mine", "--json"), printed("mine", "--stop", pid, "--json")]


def document_of_sessions(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """List a session on another login node, one whose job has no comment, and one without a job."""
    job = Job(
        id=7,
        user="alice",
        uid=UID,
        name="vscode-shell-proxy",
        comment="vscode-shell-proxy 0123abcd login02:99",
        state="RUNNING",
        reason="None",
        partition="devel",
        node="c1",
        time_limit=3600,
        submit=1_800_000_000,
        start=1_800_000_000,
        end=1_800_003_600,
    )
    waiting = replace(job, id=8, comment="", state="PENDING", node="", start=None, end=None)
    plain = Status(uid=UID, session="89abcdef", pid=3, start_ticks=1, started=1_800_000_000)
    monkeypatch.setattr(proxy_sessions, "_jobs", lambda _: ("", (job, waiting)))
    monkeypatch.setattr(proxy_sessions, "statuses", lambda _: [plain])
    return printed("sessions", "--json")


def documents_of_a_fleet(
    monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Ask nodes that answer with the documents that vscadmin prints, and one that does not."""

    def answers(_nodes: Any, command: str, _limits: Any) -> list[Answer]:
        kind = "doctor" if "doctor" in command else "report"
        clock = [b"1800000000.5"] if kind == "doctor" else []
        lines = [[*clock, json.dumps(each).encode()] for each in said if each["kind"] == kind]
        nobody = {"host": "login9", "boot_id": "b"}
        if kind == "doctor":
            facts = (
                nobody
                | dict.fromkeys(said_facts(said), "x")
                | {"plugins": [{"name": "gpu", "sha256": None}]}
            )
            other = {**json.loads(lines[0][-1]), "facts": facts}
            lines.append([b"1800000000.5", json.dumps(other).encode()])
        else:
            other = json.loads(lines[0][-1]) | nobody
            other["trees"][0]["user"] = None
            lines.append([json.dumps(other).encode()])
        heard = [
            Answer(f"n{number}", 0, each, begun=1.8e9, heard=1.8e9 + 1)
            for number, each in enumerate(lines)
        ]
        return [*heard, Answer("gone", None)]

    monkeypatch.setattr(cli_fleet, "ask", answers)
    return [printed("fleet", verb, "-w", "n", "--json") for verb in ("report", "doctor")]


def said_facts(said: list[dict[str, Any]]) -> list[str]:
    return next(list(each["facts"]) for each in said if each["kind"] == "doctor")


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Every document that the commands can print: known values, and None where there is one."""
    monkeypatch.setattr(survey, "DEFAULT_POLICY", str(tmp_path / "none.toml"))
    monkeypatch.setattr(sight, "take_snapshot", invented_machine)
    monkeypatch.setattr(sight, "owners", invented_owners)
    quick = partial(usage.measure, interval=0.001)
    monkeypatch.setattr(usage, "measure", quick)
    monkeypatch.setattr(explain, "measure", quick)
    monkeypatch.setattr(ssh_config, "DEFAULT", str(tmp_path / "none.toml"))
    monkeypatch.setattr(ssh_config, "_caller", lambda: None)
    proxy = tmp_path / "proxy.toml"
    proxy.write_text('version = 1\nplugins = ["workgroup", "none"]\n', encoding="utf-8")
    monkeypatch.setattr(doctor_facts, "PROXY_FILE", str(proxy))
    wrong, right = tmp_path / "wrong.toml", tmp_path / "right.toml"
    wrong.write_text("version = 2\n", encoding="utf-8")
    right.write_text("version = 1\n", encoding="utf-8")
    found = [
        printed(*words, "--json")
        for words in (
            ("scan",),
            ("report",),
            ("report", "--policy", str(right)),
            ("explain", str(MACHINE[0].pid)),
            ("explain", "alice"),
            ("ssh-config",),
            ("ssh-config", "--user", "alice"),
            ("config", "validate", str(wrong)),
            ("config", "show"),
            ("config", "show", "--proxy", str(right)),
            ("config", "show", "--proxy", "/nonexistent/proxy.toml"),
            ("config", "show", "--proxy", str(right)),
            ("config", "show", "--proxy", str(tmp_path / "none.toml")),
            ("doctor",),
        )
    ]
    monkeypatch.setattr(doctor_facts, "PROXY_FILE", str(tmp_path / "none.toml"))
    found.append(printed("doctor", "--policy", str(wrong), "--json"))
    found += documents_of_the_past(tmp_path) + documents_of_ones_own(monkeypatch)
    found.append(document_of_sessions(monkeypatch))
    found += documents_of_a_fleet(monkeypatch, found)
    nameless = {UID: Owner(UID, None)}
    monkeypatch.setattr(sight, "owners", lambda *_, **__: nameless)
    monkeypatch.setattr(usage, "_unique", lambda _: None)
    stranger = process(9, 0, "vim", "vscode-server.md")
    monkeypatch.setitem(globals(), "MACHINE", (*MACHINE, stranger))
    monkeypatch.setitem(globals(), "EXES", (*EXES, "/usr/bin/vim"))
    pids = (MACHINE[0].pid, stranger.pid)
    return [
        *found,
        printed("report", "--json"),
        *(printed("explain", str(pid), "--json") for pid in pids),
    ]


def printed(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
    type(None): "null",
}


def typed_keys(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key below *value* with the name of its type; settings are docs/policy.md's."""
    if path:
        yield path, TYPES[type(value)]
    if isinstance(value, dict) and path != "settings":
        for key, inner in value.items():
            yield from typed_keys(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict):
                yield from (each for each in typed_keys(inner, f"{path}[]") if each[0][-1] != "]")


def documented_json() -> dict[str, dict[str, str]]:
    """Return for each kind of document its keys, and what their types may be."""
    found: dict[str, dict[str, str]] = {}
    for each in sections(DOCS / "json.md"):
        kinds = re.search(r"^Kinds: (.*)$", each.text, re.MULTILINE)
        for kind in in_backquotes(kinds[1]) if kinds else ():
            found.setdefault(kind, {}).update({row[0]: row[1] for row in keys_of(each.text)})
    return found


def test_every_key_of_the_json_is_explained(documents: list[dict[str, Any]]) -> None:
    printed_keys: dict[str, set[str]] = {}
    for document in documents:
        keys = {key for key, _ in typed_keys(document)}
        printed_keys.setdefault(document["kind"], set()).update(keys)
    assert {kind: set(keys) for kind, keys in documented_json().items()} == printed_keys


def test_the_types_of_the_json_are_as_documented(documents: list[dict[str, Any]]) -> None:
    documented = documented_json()
    seen = {(doc["kind"], *each) for doc in documents for each in typed_keys(doc)}
    for kind, key, name in sorted(seen):
        allowed = documented[kind][key].split(" or ")
        assert name in allowed, f"{key} of {kind} is {name}, documented as {documented[kind][key]}"
    allowed_nulls = {key for each in documented.values() for key in each if "null" in each[key]}
    unseen = allowed_nulls - {key for _, key, name in seen if name == "null"}
    assert unseen == set(), "documented as null, and never seen so"


def test_every_check_of_doctor_is_explained(documents: list[dict[str, Any]]) -> None:
    table = keys_of(section(DOCS / "commands" / "doctor.md", "Output"))
    made = {
        check["check"]
        for document in documents
        if document["kind"] == "doctor"
        for check in document["checks"]
    }
    assert {row[0] for row in table} == made | {"configuration", "templates"}


def test_the_number_of_the_schema_is_stated(documents: list[dict[str, Any]]) -> None:
    number = {document["schema"] for document in documents}.pop()
    text = (DOCS / "json.md").read_text(encoding="utf-8")
    assert f"The number in `schema` is {number}." in text


# Links and the quick start.


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    text = without_code_blocks(page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} in {page}"
        if anchor:
            assert anchor in {slug(each.heading) for each in sections(there)}, target


def test_every_command_and_decision_is_linked() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    }
    for folder in ("commands", "adr"):
        assert set((DOCS / folder).glob("*.md")) - linked == set()


def test_the_quick_start_is_two_commands() -> None:
    start = section(ROOT / "README.md", "Quick start")
    commands = [line for block in code_blocks(start, r"\w*") for line in block.splitlines()]
    assert commands == ["make report", "make test"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", sorted((DOCS / "adr").glob("0*.md")), ids=lambda page: page.stem)
def test_a_decision_is_short_and_whole(page: Path) -> None:
    headings = [each.heading for each in sections(page)]
    assert headings[2:] == ["Context", "Decision", "Consequences", "Measurement"]
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 40
