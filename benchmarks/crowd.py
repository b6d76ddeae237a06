"""A login node's process table, cheaply: every process is a shell that waits to read.

200 servers in VS Code's legacy layout with argv and executable as the catalogue wants
them; one process of each listens. The others are users' jobs below
their shells, and daemons; some name .vscode-server, none matches the catalogue.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable

from benchmarks import programs
from benchmarks.programs import SESSION_SIZE, TREE_SIZE, TREES, USERS

_FIRST_UID = 200_000
_DESCRIPTORS = range(20, 21)  # of a server beside the standard three: where it listens
_SETTLED = 180  # seconds to wait for the crowd to come to rest


class Crowd:
    """The processes that were started below this one, which is pid 1 of their namespace."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._size = 1  # ourselves
        self._hold, self._writer = os.pipe()  # nobody writes: its readers wait for good
        programs.install(folder)
        self._name_users()

    def _name_users(self) -> None:
        """Give the users names, in our own mount namespace only."""
        with open("/etc/passwd", encoding="utf-8") as file:
            text = file.read()
        passwd = os.path.join(self._folder, "passwd")
        with open(passwd, "w", encoding="utf-8") as file:
            file.write(text)
            for user in range(USERS):
                uid = _FIRST_UID + user
                file.write(f"{programs.name_of(user)}:x:{uid}:{uid}::/nonexistent:/bin/sh\n")
        mount = ["mount", "--bind", passwd, "/etc/passwd"]
        if os.waitpid(os.posix_spawnp("mount", mount, os.environ), 0)[1] != 0:
            raise RuntimeError("cannot bind a file over /etc/passwd of this namespace")

    def add_servers(self) -> None:
        """Start the servers, two a user, each with a socket that it listens on."""
        for user in range(USERS):
            self._as_user(user, servers=range(user, TREES, USERS))
        self._size += TREES * TREE_SIZE
        self._settle()

    def grow(self, size: int) -> None:
        """Start sessions and, one in forty, daemons, until *size* processes are there."""
        missing = size - self._size
        sessions = missing // SESSION_SIZE * 39 // 40
        for user in range(USERS):
            self._as_user(user, sessions=len(range(user, sessions, USERS)))
        for number in range(missing - sessions * SESSION_SIZE):
            self._start(programs.daemon(self._folder, number))
        self._size = size
        self._settle()

    def _as_user(self, user: int, *, servers: Iterable[int] = (), sessions: int = 0) -> None:
        """Start a user's processes from a process of his that then ends: pid 1 adopts them."""
        if pid := os.fork():
            if os.waitpid(pid, 0)[1] != 0:
                raise RuntimeError(f"cannot start the processes of {programs.name_of(user)}")
            return
        status = 1
        try:
            os.setgroups([])
            os.setgid(_FIRST_UID + user)
            os.setuid(_FIRST_UID + user)
            for tree in servers:
                self._start_server(tree)
            for _ in range(sessions):
                self._start(programs.session(self._folder, user))
            status = 0
        finally:
            os._exit(status)

    def _start_server(self, tree: int) -> None:
        with socket.socket() as listener:
            listener.bind(("", 0))
            listener.listen()
            first, *rest = _DESCRIPTORS
            held = [(os.POSIX_SPAWN_DUP2, listener.fileno(), first)]
            held += [(os.POSIX_SPAWN_DUP2, self._hold, number) for number in rest]
            self._start(programs.server(self._folder, tree), held)

    def _start(self, command: list[str], held: Iterable[tuple[int, int, int]] = ()) -> None:
        actions = [(os.POSIX_SPAWN_DUP2, self._hold, 0), *held]
        os.posix_spawn("/bin/sh", command, os.environ, file_actions=actions, setsid=True)

    def _settle(self) -> None:
        """Wait until all are there and asleep; raises TimeoutError if that takes too long."""
        end = time.monotonic() + _SETTLED
        while (states := _states()) != {"S": self._size - 1}:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._size - 1} sleeping processes wanted, not {states}")
            time.sleep(0.5)


def _states() -> dict[str, int]:
    """Count the processes below us by their state."""
    counts: dict[str, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            state = "gone"
        counts[state] = counts.get(state, 0) + 1
    return counts
