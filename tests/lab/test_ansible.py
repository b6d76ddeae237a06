"""A site's year with the roles, in the order of the tests: ansible-playbook over real ssh.

Both login nodes begin without vscadmin, and end without it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import cluster as lab
from tests.lab.cluster import Cluster
from tests.lab.editor import Editor
from tests.lab.errors import LabError
from tests.lab.node import Node
from tests.lab.remote_ssh.scripts import Layout
from tests.lab.roll_out import Controller, bundle, bundle_of, index_of, sources, strip
from tests.lab.session import COMMAND
from vscadmin.version import __version__

NEXT, LATER, UNBUILT = "9.1.0", "9.2.0", "9.3.0"
INSTALLED = f"/opt/vscadmin/{LATER}/INSTALLED"
POLICY = "/etc/vscadmin/policy.toml"
PROXY = "/etc/vscadmin/proxy.toml"
ONE = ("--limit", "login1")
FAMILY = """
[[family]]
name = "example"
title = "Example Editor"
status = "unverified"
source = "process list of version 1.2"
[[family.layout]]
name = "server"
folder = [".example-server/bin/<commit>"]
client = "outside"
[[family.layout.process]]
name = "server"
role = "root"
script = "out/server-main.js"
exe = ["folder/node"]
listens = { tcp = true }
"""
PLUGIN = """
from vscadmin.sites import hookimpl

@hookimpl
def notes(request):
    return ["welcome"]
"""
MAIL = {
    "vscadmin_cleanup_smtp": "ctl:25",
    "vscadmin_cleanup_from": "ops@cluster.test",
    "vscadmin_cleanup_address": "{user}@cluster.test",
}
# Everything but what Ansible itself and the nodes' daemons leave.
FILES = r"find /etc /opt /usr/local /var/lib/vscadmin /root -xdev -not -path '/root/.ansible*'"
SEEN = "while sleep 0.05; do vscadmin --version 2>&1 || echo lost; done"


@pytest.fixture(scope="module")
def bare(root: None) -> Iterator[Cluster]:
    """Bring up a lab of its own: the others' nodes are shown an installation that is ready."""
    name = f"test-{os.getpid()}-ansible"
    try:
        lab.down(name)
        cluster = lab.up(name)
        bundle()
    except LabError as error:
        lab.down(name)
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    try:
        for node in cluster.login_nodes:
            strip(node)
            # A run that waits for its turn would keep the version it began with.
            node.run("kill", *map(str, node.pids("cron -f", user="root")))
            # What root makes is nobody else's at many a site: users must run it all the same.
            node.write("/root/.bashrc", "umask 077\n")
            node.run("mount", "-o", "remount,noexec", "/tmp")
        yield cluster
    finally:
        lab.down(name)


@pytest.fixture(scope="module")
def before(bare: Cluster) -> dict[str, set[str]]:
    return {node.name: files(node) for node in bare.login_nodes}


@pytest.fixture(scope="module")
def controller(
    bare: Cluster, before: dict[str, set[str]], tmp_path_factory: pytest.TempPathFactory
) -> Controller:
    """Lend the admin's machine, with catalogue, template and plugin of the site."""
    folder = tmp_path_factory.mktemp("controller")
    for name, text in (("example.toml", FAMILY), ("terminal.txt.j2", "Hi"), ("greet.py", PLUGIN)):
        (folder / name).write_text(text)
    return Controller(
        bare,
        folder,
        vscadmin_source="bundle",
        vscadmin_source_path=str(bundle()),
        vscadmin_keep_versions=1,
        vscadmin_cleanup_catalogue=[str(folder / "example.toml")],
        vscadmin_cleanup_templates=[str(folder / "terminal.txt.j2")],
        vscadmin_cleanup_textfile_dir="/var/lib/node_exporter/textfile",
        vscadmin_cleanup_mailto="ops@cluster.test",
        vscadmin_proxy_settings='contact = "ops"\nplugins = ["greet"]\n',
        vscadmin_proxy_plugins=[str(folder / "greet.py")],
    )


def files(node: Node) -> set[str]:
    return set(node.run("sh", "-c", FILES, check=False).stdout.splitlines())


def source(name: str, path: Path) -> dict[str, str]:
    return {"vscadmin_source": name, "vscadmin_source_path": str(path)}


def wheel(bundle: Path) -> Path:
    (found,) = bundle.glob("vscadmin-*.whl")
    return found


def sha256(bundle: Path) -> str:
    return hashlib.sha256(wheel(bundle).read_bytes()).hexdigest()


def versions(node: Node) -> set[str]:
    return set(node.run("ls", "-A", "/opt/vscadmin").stdout.split()) - {"current"}


def version(node: Node) -> str:
    """Return the version that users have."""
    return node.run("vscadmin", "--version", user="alice").stdout.split()[-1]


@contextmanager
def asking(node: Node, answers: Path) -> Iterator[None]:
    """Let a user ask for the version all the time."""
    with answers.open("wb") as file, node.start("sh", "-c", SEEN, user="bob", stdout=file) as user:
        try:
            yield
        finally:
            user.kill()


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of LATER."""
    folder = tmp_path_factory.mktemp("later")
    return bundle_of(sources(folder / "checkout", LATER), folder / "bundle")


@pytest.fixture(scope="module")
def index(
    controller: Controller, later: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Serve a package index on the campus, the only one that nodes reach; lend pip's settings."""
    pages = index_of(bundle(), later, target=tmp_path_factory.mktemp("index"))
    (pages / "vscadmin" / f"vscadmin-{UNBUILT}.tar.gz").touch()
    address = controller.cluster.laptop.spec.outside
    server = ["python3", "-um", "http.server", "--bind", address, "--directory", str(pages), "8000"]
    command, quiet = [*controller.on_campus(), *server], subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith(b"Serving HTTP"), "it listens now"
            yield {"index-url": f"http://{address}:8000/", "trusted-host": address}
        finally:
            process.kill()


def pip_args(index: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in index.items()]


@contextmanager
def configured(node: Node, index: dict[str, str]) -> Iterator[None]:
    """Make *index* the one that pip on *node* uses by itself."""
    lines = [f"{name} = {value}\n" for name, value in index.items()]
    node.write("/etc/pip.conf", "".join(["[global]\n", *lines]))
    try:
        yield
    finally:
        node.run("rm", "/etc/pip.conf")


def test_check_mode_says_what_a_bare_node_would_get(
    controller: Controller, before: dict[str, set[str]]
) -> None:
    played = controller.play("site", "--check", "--diff", *ONE)
    assert played.code == 0, played.said
    assert '\n+mode    = "observe"' in played.said
    assert "/opt/vscadmin/current -> " in played.said
    assert files(controller.cluster["login1"]) == before["login1"]


def test_a_wheel_alone_leaves_a_bare_node_bare(
    controller: Controller, before: dict[str, set[str]]
) -> None:
    """The node has no index to take from what the wheel needs."""
    played = controller.play("site", *ONE, **source("wheel", wheel(bundle())))
    assert played.code != 0
    why = f"source: wheel brings no vscadmin {__version__} to the node; pip there says: Could not"
    assert why in played.refusal, played.said
    assert files(controller.cluster["login1"]) == before["login1"]


def test_bare_nodes_get_all_of_it(controller: Controller) -> None:
    played = controller.play("site")
    assert played.code == 0, played.said
    for node in controller.cluster.login_nodes:
        assert version(node) == __version__
        valid = node.run("vscadmin", "config", "validate").stdout
        assert valid.endswith("mode: observe\n")
        assert "plugins: greet" in node.run("vscadmin", "config", "validate", PROXY).stdout
        assert "welcome" in node.run(COMMAND, "--explain", user="bob").stdout
        assert "\nMAILTO=ops@cluster.test\n" in node.read("/etc/cron.d/vscadmin-cleanup")
        assert node.run("vscadmin", "cleanup").stderr == ""
        assert node.run("stat", "-c", "%U %a", "/var/lib/vscadmin").stdout == "root 700\n"
        node.run("test", "-s", "/var/lib/node_exporter/textfile/vscadmin.prom")


def test_a_second_run_changes_nothing(controller: Controller) -> None:
    played = controller.play("site")
    assert (played.code, played.changed) == (0, {"login1": 0, "login2": 0}), played.said


def test_check_mode_shows_what_would_change_and_leaves_it(controller: Controller) -> None:
    node = controller.cluster["login1"]
    old = files(node), node.read(POLICY)
    role = ("vscadmin_cleanup", "--check", "--diff")
    played = controller.role(*role, **MAIL, vscadmin_cleanup_mode="notify")
    assert (played.code, played.changed) == (0, {"login1": 1}), played.said
    assert '\n-mode    = "observe"' in played.said
    assert '\n+mode    = "notify"' in played.said
    wrong = controller.role(*role, vscadmin_cleanup_mode="notify")
    assert wrong.code != 0
    assert "notify.smtp" in wrong.said, wrong.said
    assert (files(node), node.read(POLICY)) == old


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a policy": ({"vscadmin_cleanup_policy_template": "{folder}/wrong.j2"}, "scope.uid_mim"),
    "a catalogue file": ({"vscadmin_cleanup_catalogue": ["{folder}/wrong.j2"]}, "new.toml"),
    "proxy.toml": (
        {"vscadmin_proxy_settings": "contakt = 1", "vscadmin_proxy_plugins": []},
        "contakt",
    ),
    "a plugin": ({"vscadmin_proxy_plugins": ["{folder}/bad/greet.py"]}, "greet"),
    "a variable's name": ({"vscadmin_cleanup_mood": "observe"}, "vscadmin_cleanup_mood: no role"),
    "a version": ({"vscadmin_version": "current"}, "current is not one version"),
    "a variable's value": ({"vscadmin_cleanup_schedule": "at"}, "cron, systemd, none"),
    "a timer without systemd": ({"vscadmin_cleanup_schedule": "systemd"}, "take cron"),
}


@pytest.mark.parametrize(("variables", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_and_what_was_there_stays(
    controller: Controller, variables: dict[str, Any], words: str
) -> None:
    folder = controller.folder
    (folder / "wrong.j2").write_text("version = 1\n[scope]\nuid_mim = 1000\n")
    (folder / "bad").mkdir(exist_ok=True)
    (folder / "bad" / "greet.py").write_text(PLUGIN.replace("notes", "nodes"))
    node = controller.cluster["login1"]
    laid = "md5sum $(find /etc/vscadmin /etc/cron.d /etc/systemd -type f | sort)"
    old = node.run("sh", "-c", laid).stdout
    filled = {key: _filled(value, folder) for key, value in variables.items()}
    played = controller.role(_role(filled), **filled)
    assert played.code != 0
    assert words in played.refusal, played.said
    assert node.run("sh", "-c", laid).stdout == old


def _role(variables: dict[str, Any]) -> str:
    """Return the role that reads the variables."""
    proxy = any(name.startswith("vscadmin_proxy") for name in variables)
    return "vscadmin_proxy" if proxy else "vscadmin_cleanup"


def _filled(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_filled(each, folder) for each in value]
    return value.replace("{folder}", str(folder))


@pytest.mark.usefixtures("vscode_server_installed")
def test_upgrades_leave_an_editor_connected(
    controller: Controller, index: dict[str, str], tmp_path: Path
) -> None:
    """Through two of them, though one version is to be kept."""
    cluster = controller.cluster
    login1, login2 = cluster.login_nodes
    checkout = sources(tmp_path / "checkout", NEXT)
    new = bundle_of(checkout, tmp_path / "bundle")
    command = shlex.join([COMMAND, "-S", "--nodelist=c1"])
    with (
        Editor(cluster, "alice", "login1", Layout.LEGACY, remote_command=command) as editor,
        editor.window() as window,
    ):
        with asking(login2, tmp_path / "answers"):
            played = controller.play("upgrade", vscadmin_source_path=str(new))
        assert played.code == 0, played.said
        answers = (tmp_path / "answers").read_text().splitlines()
        assert {line.split()[-1] for line in answers} == {__version__, NEXT}
        assert {version(login1), version(login2)} == {NEXT}
        told = {"vscadmin_pip_args": pip_args(index)}
        played = controller.play("upgrade", *ONE, **source("checkout", checkout), **told)
        assert played.code == 0, played.said
        assert version(login1) == NEXT
        built = login1.run("readlink", "/opt/vscadmin/current").stdout.strip()
        assert built.startswith(f"{NEXT}+src.")
        assert versions(login1) == {__version__, NEXT, built}
        with editor.window():
            assert window.process.poll() is None
    assert "mode: observe" in login1.run("vscadmin", "config", "validate").stdout


def test_a_new_version_and_a_higher_mode_do_not_come_together(controller: Controller) -> None:
    played = controller.role(
        "vscadmin_cleanup",
        vscadmin_version=NEXT,
        vscadmin_cleanup_mode="enforce",
        **MAIL,
    )
    assert played.code != 0
    assert "raise the mode in a run of its own" in played.refusal
    assert (
        "mode: observe" in controller.cluster["login1"].run("vscadmin", "config", "validate").stdout
    )


def test_a_version_that_is_still_there_comes_back_by_its_name(controller: Controller) -> None:
    """The oldest goes then: nobody runs it any more."""
    node = controller.cluster["login1"]
    built = node.run("readlink", "/opt/vscadmin/current").stdout.strip()
    played = controller.play("rollback", *ONE, vscadmin_version=NEXT)
    assert played.code == 0, played.said
    assert node.run("readlink", "/opt/vscadmin/current").stdout == f"{NEXT}\n"
    assert versions(node) == {NEXT, built}
    played = controller.play("rollback", *ONE, vscadmin_version=__version__)
    assert played.code != 0
    assert f"vscadmin_version: {__version__}; on the node there is: {NEXT}" in played.refusal


def test_a_wheel_gets_what_it_needs_from_an_index(
    controller: Controller, later: Path, index: dict[str, str]
) -> None:
    node = controller.cluster["login1"]
    told = {"vscadmin_pip_args": pip_args(index)}
    played = controller.play("upgrade", *ONE, **source("wheel", wheel(later)), **told)
    assert played.code == 0, played.said
    assert version(node) == LATER
    assert node.read(INSTALLED) == f"version {LATER}\nsource wheel\nsha256 {sha256(later)}\n"


def test_an_index_brings_the_version_that_is_asked_for(
    controller: Controller, later: Path, index: dict[str, str]
) -> None:
    """A release that it has as a source only is none: nothing is built on a node."""
    node = controller.cluster["login2"]
    other = ("upgrade", "--limit", node.name)
    with configured(node, index):
        old = files(node)
        played = controller.play(*other, vscadmin_source="index", vscadmin_version=UNBUILT)
        assert played.code != 0
        assert f"vscadmin==={UNBUILT} (from versions: {__version__}, {LATER})" in played.refusal
        assert files(node) == old
        played = controller.play(*other, vscadmin_source="index", vscadmin_version=LATER)
    assert played.code == 0, played.said
    assert version(node) == LATER
    assert node.read(INSTALLED) == f"version {LATER}\nsource index\nsha256 {sha256(later)}\n"


def test_uninstall_leaves_policy_and_store(
    controller: Controller, before: dict[str, set[str]]
) -> None:
    waiting = ("vscadmin", "cleanup", "--splay", "5m")
    with controller.cluster["login1"].start(*waiting) as run:
        played = controller.play("uninstall")
        assert played.code == 0, played.said
        assert run.wait(10) != 0, "a run that waits for its turn is ended"
    for node in controller.cluster.login_nodes:
        left = files(node) - before[node.name]
        assert {"/etc/vscadmin/policy.toml", "/var/lib/vscadmin/store.sqlite"} <= left
        of_policy = ("/etc/vscadmin", "/var/lib/vscadmin")
        assert all(path.startswith(of_policy) for path in left), left
        assert not {path for path in left if "proxy" in path or "site-plugins" in path}


def test_purge_leaves_nothing_at_all(controller: Controller, before: dict[str, set[str]]) -> None:
    played = controller.play("uninstall", vscadmin_purge=True)
    assert played.code == 0, played.said
    for node in controller.cluster.login_nodes:
        assert files(node) <= before[node.name]
    again = controller.play("uninstall", *ONE, vscadmin_purge=True)
    assert again.changed == {"login1": 0}, again.said
