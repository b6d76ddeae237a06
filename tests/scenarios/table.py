"""Read a recorded process table: the output of ps and ss, pasted into a TOML file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.builders import BOOT, NOW, TICKS
from vscadmin.config import parse_policy
from vscadmin.model import (
    Detail,
    Endpoint,
    NetTable,
    Owner,
    Process,
    Snapshot,
    TcpSocket,
    Uids,
    UnixSocket,
)
from vscadmin.policy.decide import Plan, Scene, decide
from vscadmin.policy.settings import Mode, Policy, State
from vscadmin.policy.states import History
from vscadmin.procs.families import load_catalogue
from vscadmin.procs.stat import parse_cgroups
from vscadmin.procs.trees import find_trees, logins
from vscadmin.units import parse_duration

COLUMNS = ["PID", "PPID", "PGID", "SID", "TT", "STAT", "UID", "ELAPSED", "RSS", "COMMAND"]
_NET = "net:[4026531840]"
_HOLDER = re.compile(r"pid=(\d+)")
_SHELLS = {"sh": "/usr/bin/dash", "-bash": "/usr/bin/bash"}


@dataclass(frozen=True)
class Scenario:
    """A scenario file, read."""

    expected: list[dict[str, Any]]
    snapshot: Snapshot
    histories: dict[int, History]
    policy: Policy

    def plan(self) -> Plan:
        """Find the trees and judge them."""
        forest = find_trees(self.snapshot, load_catalogue())
        keys = {tree.root.pid: tree.key for tree in forest.trees}
        scene = Scene(
            owners={
                uid: Owner(uid, f"user{uid}", ())
                for uid in {tree.root.uid for tree in forest.trees}
            },
            logins=logins(self.snapshot, forest),
            histories={keys[pid]: history for pid, history in self.histories.items()},
            ticks=TICKS,
        )
        return decide(forest.trees, scene, self.policy, NOW)


def load(path: Path) -> Scenario:
    """Read the scenario at *path*; see docs/scenarios.md for the format."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return Scenario(
        data.get("expect", []),
        read_snapshot(data, NOW),
        {int(pid): _history(each) for pid, each in data.get("history", {}).items()},
        read_policy(data, path),
    )


def read_policy(data: dict[str, Any], path: Path) -> Policy:
    """Return the policy that a scenario states, else the built-in one; `mode` replaces its own."""
    text = data.get("policy")
    policy = Policy() if text is None else parse_policy(text.encode(), str(path))
    return replace(policy, mode=Mode(data["mode"])) if "mode" in data else policy


def read_snapshot(data: dict[str, Any], taken_at: float) -> Snapshot:
    """Return the process table of *data*; its ELAPSED is as of NOW, whenever it was taken."""
    lines = data["ps"] + "\n".join([*_many(data.get("many", [])), *data.get("add", [])])
    without, cpu = data.get("without", []), data.get("cpu", {})
    processes = {
        each.pid: each._replace(cpu_ticks=int(cpu.get(str(each.pid), 0) * TICKS))
        for each in _processes(lines)
        if each.pid not in without
    }
    tcp, held_tcp = _tcp(data.get("tcp", ""))
    unix, held_unix = _unix(data.get("unix", ""))
    held = {pid: held_tcp.get(pid, set()) | held_unix.get(pid, set()) for pid in processes}
    details = {pid: _detail(each, data, held[pid]) for pid, each in processes.items()}
    return Snapshot(
        boot_id=data.get("boot_id", "recorded"),
        boot_time=BOOT,
        taken_at=taken_at,
        ticks_per_second=TICKS,
        processes=processes,
        details=details,
        nets={_NET: NetTable(tcp, unix)},
    )


def _many(blocks: list[dict[str, Any]]) -> list[str]:
    """Repeat a line for each of its pids, the first and the last given."""
    return [
        block["line"].format(pid=pid)
        for block in blocks
        for pid in range(block["pids"][0], block["pids"][1] + 1)
    ]


def _processes(text: str) -> list[Process]:
    header, *lines = text.strip().splitlines()
    assert header.split() == COLUMNS, "ps -eo pid,ppid,pgid,sid,tt,stat,uid,etimes,rss,args"
    return [_process(line.split(None, 9)) for line in lines]


def _process(fields: list[str]) -> Process:
    pid, ppid, pgid, sid = map(int, fields[:4])
    command = fields[9] if len(fields) > 9 else ""
    is_kernels = command.startswith("[") or fields[5].startswith("Z")
    return Process(
        pid=pid,
        start_ticks=int((NOW - BOOT - int(fields[7])) * TICKS),
        ppid=ppid,
        pgid=pgid,
        sid=sid,
        tty=0 if fields[4] == "?" else 0x8800 + int(fields[4].rpartition("/")[2]),
        state=fields[5][0],
        cpu_ticks=0,
        rss=int(fields[8]) * 1024,
        uid=int(fields[6]),
        argv=() if is_kernels else tuple(each.encode() for each in command.split()),
    )


def _detail(process: Process, data: dict[str, Any], sockets: set[int]) -> Detail:
    pid = str(process.pid)
    if process.pid in data.get("unreadable", []):
        return Detail()
    program = process.argv[0].decode() if process.argv else ""
    usual = _SHELLS.get(program, program if "/" in program else f"/usr/bin/{program}")
    cgroup = data.get("cgroup", {}).get(pid, "0::/user.slice/user-1001.slice/session-3.scope")
    return Detail(
        uids=Uids(*data.get("uids", {}).get(pid, [process.uid] * 4)),
        exe=data.get("exe", {}).get(pid, usual).encode(),
        cgroups=parse_cgroups(cgroup.encode()),
        pid_levels=data.get("pid_levels", {}).get(pid, 1),
        net_ns=_NET,
        sockets=frozenset(sockets),
    )


def _tcp(text: str) -> tuple[tuple[TcpSocket, ...], dict[int, set[int]]]:
    """Read `ss -tanpH`: State Recv-Q Send-Q Local Peer Process."""
    sockets: list[TcpSocket] = []
    held: dict[int, set[int]] = {}
    for inode, line in enumerate(text.strip().splitlines(), 900_000):
        state, _, _, local, remote, *holders = line.split()
        ends = _endpoint(local), _endpoint(remote)
        sockets.append(TcpSocket(*ends, state == "LISTEN", state == "ESTAB", inode))
        _hold(held, inode, holders)
    return tuple(sockets), held


def _endpoint(text: str) -> Endpoint:
    address, _, port = text.rpartition(":")
    return Endpoint(address.strip("[]"), int(port) if port.isdigit() else 0)


def _unix(text: str) -> tuple[tuple[UnixSocket, ...], dict[int, set[int]]]:
    """Read `ss -xanpH`: Netid State Recv-Q Send-Q Path Inode * PeerInode Process."""
    sockets: list[UnixSocket] = []
    held: dict[int, set[int]] = {}
    for line in text.strip().splitlines():
        _, state, _, _, path, inode, _, peer, *holders = line.split()
        name = b"" if path == "*" else path.encode()
        found = UnixSocket(name, state == "LISTEN", state == "ESTAB", int(inode), int(peer))
        sockets.append(found)
        _hold(held, int(inode), holders)
    return tuple(sockets), held


def _hold(held: dict[int, set[int]], inode: int, holders: list[str]) -> None:
    for pid in _HOLDER.findall("".join(holders)):
        held.setdefault(int(pid), set()).add(inode)


def _history(ago: dict[str, str]) -> History:
    """Turn "so long ago" into times."""
    at = {key: NOW - parse_duration(each) for key, each in ago.items() if key != "state"}
    return History(
        first_seen=at.get("first_seen"),
        last_client=at.get("last_client"),
        previous_scan=at.get("previous_scan"),
        state=State(ago["state"]) if "state" in ago else None,
        state_since=at.get("state_since"),
    )
