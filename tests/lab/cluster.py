"""Bring a lab up, find one that is up, take it down; the Cluster that tests talk to."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab import cgroups
from tests.lab.identity import write_identities
from tests.lab.node import Node, is_first
from tests.lab.software import CHECKOUT, installed
from tests.lab.topology import NODES, USERS, NodeSpec

STATE: Final = Path("/var/lib/vscadmin-lab")

_HERE: Final = Path(__file__).resolve().parent
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.005
_COMPLETE: Final = "complete"
_SWITCH: Final = "switch"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SWITCH_SCRIPT: Final = (
    "read -r pid _ </proc/self/stat; echo $pid; read -r go && exec sleep infinity"
)
_JOIN_SCRIPT: Final = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
_NAMESPACES: Final = ("--net", "--pid", "--mount", "--uts", "--ipc", "--cgroup")

# What a lab runs, and the Debian package that brings it.
_PROGRAMS: Final = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "srun": "slurm-client",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "dnsmasq": "dnsmasq-base",
    "cron": "cron",
    "tini": "tini",
    "Xvfb": "xvfb",
    "xauth": "xauth",
    "xdpyinfo": "x11-utils",
    "ip": "iproute2",
    "ps": "procps",
    "dig": "bind9-dnsutils",
    "socat": "socat",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "awk": "mawk",
}


class LabError(Exception):
    """The lab cannot be what was asked for; one line says why."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A lab that is up: its nodes by name."""

    name: str
    nodes: dict[str, Node]

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def laptop(self) -> Node:
        """The machine that the users sit at."""
        return self.nodes["laptop"]

    @property
    def login_nodes(self) -> list[Node]:
        """The nodes that users log in to."""
        return [node for node in self.nodes.values() if "login" in node.spec.roles]

    def home(self, user: str) -> Path:
        """Return, as this machine names it, the home that *user* has on the cluster."""
        return STATE / self.name / "home" / user

    def ssh(
        self, user: str, host: str, *command: str, options: tuple[str, ...] = (), **run: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* over ssh from the laptop; *host* is a node's name or the round-robin one.

        *options* are ssh's, *run* goes to Node.run.
        """
        return self.laptop.run("ssh", *options, host, *command, user=user, **run)

    def ssh_argv(self, user: str, *arguments: str) -> list[str]:
        """Return what runs ssh on the laptop as *user*, for a process that stays."""
        return self.laptop.argv("ssh", *arguments, user=user)

    def tidy(self) -> None:
        """End all jobs and processes of the users, and empty their homes but for the keys."""
        for user in USERS:
            self["ctl"].run("scancel", "--full", f"--user={user.name}")
        for node in self.nodes.values():
            if node.spec.home:
                node.tidy()
        for user in USERS:
            for each in self.home(user.name).iterdir():
                if each.name != ".ssh":
                    shutil.rmtree(each) if each.is_dir() else each.unlink()

    def logs(self) -> Iterator[tuple[str, str]]:
        """Yield the end of each node's logs, with a title."""
        for node in self.nodes.values():
            for name, text in node.logs().items():
                yield f"{node.name}:{name}", text


def up(name: str) -> Cluster:
    """Bring the lab *name* up; do nothing if it is.

    Raises LabError when this machine lacks something, or a node did not get ready.
    """
    check_machine()
    software = installed()
    with _locked(name):
        if found := find(name):
            return found
        _take_down(name)
        _lay_out(name)
        try:
            cluster = _start(name, software)
            _await_ready(cluster)
        except BaseException:
            _take_down(name)
            raise
        (STATE / name / _COMPLETE).write_text(str(software))
        return cluster


def down(name: str) -> bool:
    """Take the lab *name* away, whatever there is of it; tell whether there was any."""
    _check_root()
    _check_name(name)
    if not (STATE / name).exists() and name not in cgroups.labs():
        return False
    with _locked(name):
        _take_down(name)
        (STATE / name).rmdir()
    with suppress(OSError):  # another lab's state is there
        STATE.rmdir()
    return True


def find(name: str) -> Cluster | None:
    """Return the lab *name* if all of it is up."""
    if not (STATE / name / _COMPLETE).is_file():
        return None
    nodes = {}
    for spec in NODES:
        first = [pid for pid in cgroups.members(name, spec.name) if is_first(pid)]
        if len(first) != 1:
            return None
        nodes[spec.name] = Node(spec, first[0])
    if not cgroups.members(name, _SWITCH):
        return None
    return Cluster(name, nodes)


def is_outdated(name: str) -> bool:
    """Tell whether the lab *name* runs another state of the project than the checkout's."""
    return (STATE / name / _COMPLETE).read_text() != str(installed())


def check_machine() -> None:
    """Raise LabError in one line unless a lab can be had here."""
    _check_root()
    missing = {
        package
        for program, package in _PROGRAMS.items()
        if shutil.which(program, path=_PATH) is None
    }
    if missing:
        raise LabError(f"the lab needs packages: apt-get install {' '.join(sorted(missing))}")
    if not cgroups.hierarchies():
        raise LabError("the lab needs a mounted cgroup hierarchy")


def _check_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes namespaces and networks")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise LabError(f"a lab's name is made of a-z, 0-9 and -, not {name!r}")


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Keep others from the lab *name*; the lock is on the folder, which may go meanwhile."""
    _check_name(name)
    folder = STATE / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"lab {name} is being brought up or taken down") from None
        yield
    finally:
        os.close(handle)


def _take_down(name: str) -> None:
    """End what the lab runs and empty its folder; the folder itself is what is locked."""
    cgroups.end(name)
    for each in (STATE / name).iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def _lay_out(name: str) -> None:
    """Make the state folder: mount points, homes, keys."""
    folder = STATE / name
    for spec in NODES:
        (folder / "nodes" / spec.name).mkdir(parents=True)
    write_identities(folder)


def _start(name: str, software: Path) -> Cluster:
    """Start all nodes, connect them once their namespaces are there, and let them go on."""
    switch = _spawn(name, _SWITCH, "sh", "-c", _SWITCH_SCRIPT)
    waiting = {spec: _spawn_node(name, spec, software) for spec in NODES}
    pids = {spec: _pid(process) for spec, process in waiting.items()}
    _wire(_pid(switch), pids)
    for process in (switch, *waiting.values()):
        _let_go(process)
    for spec, pid in pids.items():
        _await_init(spec, pid)
    return Cluster(name, {spec.name: Node(spec, pid) for spec, pid in pids.items()})


def _spawn_node(name: str, spec: NodeSpec, software: Path) -> subprocess.Popen[bytes]:
    kinds = [hierarchy.controllers for hierarchy in cgroups.hierarchies()]
    settings = {
        "LAB_NODE": spec.name,
        "LAB_ROLES": " ".join(spec.roles),
        "LAB_INSIDE": spec.inside,
        "LAB_OUTSIDE": spec.outside,
        "LAB_HOME": spec.home,
        "LAB_STATE": str(STATE / name),
        "LAB_FILES": str(_HERE / "root"),
        "LAB_SOFTWARE": str(software) if spec.serves_users else "",
        "LAB_CGROUPS": " ".join(kinds),
    }
    return _spawn(name, spec.name, "sh", str(_HERE / "init.sh"), **settings)


def _spawn(lab: str, node: str, *command: str, **settings: str) -> subprocess.Popen[bytes]:
    """Start *command* in the node's cgroups and in namespaces of its own."""
    joins = [str(path) for path in cgroups.make(lab, node)]
    namespaces = ["unshare", "--fork", "--kill-child", *_NAMESPACES, "--", *command]
    with (STATE / lab / "nodes" / f"{node}.log").open("ab") as log:
        return subprocess.Popen(
            ["sh", "-c", _JOIN_SCRIPT, "sh", *joins, "--", *namespaces],
            env={"PATH": _PATH, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )


def _pid(process: subprocess.Popen[bytes]) -> int:
    """Return the pid that a starting node says it has."""
    assert process.stdout is not None
    said = process.stdout.readline()
    process.stdout.close()
    if not said.strip().isdigit():
        raise LabError("a node could not get namespaces of its own")
    return int(said)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Tell a node that waits for its network to go on; it stays when we end."""
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.close()
    process.returncode = 0  # not ours to wait for


def _await_init(spec: NodeSpec, pid: int) -> None:
    """Wait until the node has its own root: its first process is tini only then."""
    deadline = time.monotonic() + _READY_SECONDS
    with suppress(FileNotFoundError):
        while time.monotonic() < deadline:
            if Path(f"/proc/{pid}/comm").read_text() == "tini\n":
                return
            time.sleep(_POLL_SECONDS)
    log = STATE / "*" / "nodes" / f"{spec.name}.log"
    raise LabError(f"{spec.name} did not start; see {log}")


def _wire(switch: int, nodes: dict[NodeSpec, int]) -> None:
    """Connect the *nodes* to two bridges in the network namespace of *switch*."""
    batch = [f"link add {bridge} type bridge" for bridge in ("inside", "outside")]
    batch += [f"link set {bridge} up" for bridge in ("inside", "outside")]
    for spec, pid in nodes.items():
        for bridge, address in (("inside", spec.inside), ("outside", spec.outside)):
            port = f"{spec.name}-{bridge[0]}"
            if address:
                batch.append(f"link add {port} type veth peer name {bridge} netns {pid}")
                batch.append(f"link set {port} master {bridge} up")
    enter = ["nsenter", f"--net=/proc/{switch}/ns/net", "ip", "-batch", "-"]
    done = subprocess.run(
        enter, input="\n".join(batch), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"the lab's network cannot be made: {done.stderr.strip()}")


def _await_ready(cluster: Cluster) -> None:
    """Wait until every daemon of every node answers; LabError names one that does not."""
    deadline = time.monotonic() + _READY_SECONDS
    for node in cluster.nodes.values():
        seconds = f"{max(deadline - time.monotonic(), 0.1):.1f}"
        done = node.run("timeout", seconds, "sh", "/etc/lab/ready", check=False)
        if done.returncode != 0:
            (awaited,) = node.run("cat", "/run/lab-awaited", check=False).stdout.split() or [
                "start"
            ]
            logs = _save_logs(cluster)
            raise LabError(f"{node.name}: no {awaited} within {_READY_SECONDS:.0f} s; logs: {logs}")


def _save_logs(cluster: Cluster) -> Path:
    """Write what the nodes logged where it outlives them."""
    path = CHECKOUT / ".cache" / "lab" / f"{cluster.name}-failed.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"==> {title}\n{text}\n" for title, text in cluster.logs()))
    return path
