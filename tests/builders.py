"""Build the facts that pure modules judge, saying only what a test is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vscadmin.model import (
    Connections,
    Detail,
    Endpoint,
    NetTable,
    Owner,
    Place,
    Process,
    Snapshot,
    TcpSocket,
    Tree,
    Uids,
    UnixSocket,
)
from vscadmin.policy.settings import State
from vscadmin.policy.states import History
from vscadmin.procs.families import load_catalogue
from vscadmin.units import HOUR

NOW = 1_790_000_000.0  # seconds since the epoch
TICKS = 100
BOOT = NOW - 30 * 86400.0
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOME = "/home/ada"
LEGACY = f"{HOME}/.vscode-server/bin/{COMMIT}"
EXEC = f"{HOME}/.vscode-server/cli/servers/Stable-{COMMIT}/server"
NET = "net:[4026531840]"
CATALOGUE = load_catalogue()


def process(pid: int, *argv: str | bytes, **facts: Any) -> Process:
    """Return a process that started *age* seconds ago (default an hour), below pid 1."""
    age = facts.pop("age", 3600)
    known: dict[str, Any] = {
        "start_ticks": int((NOW - BOOT - age) * TICKS),
        "ppid": 1,
        "pgid": pid,
        "sid": pid,
        "tty": 0,
        "state": "S",
        "cpu_ticks": 0,
        "rss": 1 << 20,
        "uid": 1001,
    }
    spelled = tuple(each.encode() if isinstance(each, str) else each for each in argv)
    return Process(pid=pid, argv=spelled, **{**known, **facts})


def launcher(pid: int, folder: str = LEGACY, **facts: Any) -> Process:
    """Return the shell at the root of a legacy server."""
    return process(pid, "sh", f"{folder}/bin/code-server", "--start-server", **facts)


def server(pid: int, ppid: int, *options: str, folder: str = LEGACY, **facts: Any) -> Process:
    """Return the main node process of a server."""
    argv = (f"{folder}/node", f"{folder}/out/server-main.js", "--start-server", *options)
    return process(pid, *argv, ppid=ppid, **facts)


def child(pid: int, ppid: int, kind: str, folder: str = LEGACY, **facts: Any) -> Process:
    """Return an extensionHost, a fileWatcher or a ptyHost."""
    argv = (f"{folder}/node", f"{folder}/out/bootstrap-fork", f"--type={kind}")
    return process(pid, *argv, ppid=ppid, **facts)


def detail(each: Process, exe: str | None = None, **facts: Any) -> Detail:
    """Return what pass two reads of *each*; the executable follows argv[0] if not given."""
    program = each.argv[0].decode("utf-8", "replace") if each.argv else ""
    shell = "/usr/bin/dash" if program == "sh" else f"/usr/bin/{program}"
    known: dict[str, Any] = {
        "uids": Uids(*[each.uid] * 4),
        "exe": (exe or (program if program.startswith("/") else shell)).encode(),
        "cgroups": ("/user.slice/user-1001.slice/session-3.scope",),
        "pid_levels": 1,
        "net_ns": NET,
        "sockets": frozenset(),
    }
    return Detail(**{**known, **facts})


def snapshot(
    processes: Iterable[Process],
    details: Mapping[int, Detail] | None = None,
    tcp: Iterable[TcpSocket] = (),
    unix: Iterable[UnixSocket] = (),
    **facts: Any,
) -> Snapshot:
    """Return a process table; details are made for every process that has none."""
    table = {each.pid: each for each in processes}
    made = {pid: detail(each) for pid, each in table.items()}
    known: dict[str, Any] = {
        "boot_id": "b00710ad",
        "boot_time": BOOT,
        "taken_at": NOW,
        "ticks_per_second": TICKS,
        "nets": {NET: NetTable(tuple(tcp), tuple(unix))},
    }
    return Snapshot(processes=table, details={**made, **(details or {})}, **{**known, **facts})


def listening(port: int, inode: int, address: str = "127.0.0.1") -> TcpSocket:
    """Return a listening TCP socket."""
    return TcpSocket(Endpoint(address, port), Endpoint("0.0.0.0", 0), True, False, inode)  # noqa: S104


def established(port: int, other: int, inode: int, address: str = "127.0.0.1") -> TcpSocket:
    """Return one end of a connection on the loopback: ours on *port*."""
    return TcpSocket(Endpoint(address, port), Endpoint(address, other), False, True, inode)


def tree(**facts: Any) -> Tree:
    """Return a legacy VS Code server of one process, an hour old, that nobody uses."""
    root = facts.pop("root", None) or launcher(4100, **facts.pop("root_facts", {}))
    known: dict[str, Any] = {
        "root": root,
        "members": (root,),
        "product": "vscode",
        "title": "VS Code, Remote-SSH",
        "layout": "server",
        "verified": True,
        "report_only": False,
        "started_at": NOW - 3600,
        "orphan": True,
        "parent": "pid 1",
        "connections": Connections(listeners=("127.0.0.1:42179",)),
        "uids": Uids(*[root.uid] * 4),
        "place": Place.HERE,
        "place_words": "",
    }
    return Tree(**{**known, **facts})


ADA = Owner(1001, "ada", ("physics",))
CONFIRMED = History(  # abandoned for so long that the owner is told next
    first_seen=NOW - 90 * HOUR,
    last_client=NOW - 80 * HOUR,
    previous_scan=NOW - 600,
    state=State.ABANDONED,
    state_since=NOW - 77 * HOUR,
    clear_since=NOW - 77 * HOUR,
    clear_scans=9,
)
