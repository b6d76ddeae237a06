"""Read the socket tables of a network namespace, from inside it.

TCP is read as text through a process that lives there. Unix sockets are asked for by
netlink (unix_diag), which names the peers; that needs to be in the namespace, so for
another one a thread of ours enters it (setns(2) moves one thread, and needs root).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable

from vscadmin.deadline import start_without_signals
from vscadmin.model import NetTable, TcpSocket, UnixSocket
from vscadmin.procs.nets import parse_tcp, parse_unix, parse_unix_reply, unix_request

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG, include/uapi/linux/netlink.h
_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_REPLY = 1 << 16  # bytes of one datagram; the kernel sends at most 32 KiB
_DEADLINE = 5.0  # seconds
Unix = tuple[UnixSocket, ...]

_TRIES = 4  # a busy machine changes the list while it is read


def read_net(pid: int, name: str) -> NetTable:
    """Read the sockets of the network namespace *name* (as ns/net says) that *pid* lives in.

    Our own is read through ourselves. Another one is read through *pid*, which may end, or
    move to a namespace of its making, before we have read: then nothing is believed.
    """
    if name == _net_of("thread-self"):
        return NetTable(_tcp("thread-self"), _unix("thread-self", _ask_kernel))
    table = NetTable(_tcp(pid), _unix(pid, lambda: _inside(pid, name)))
    return table if _net_of(pid) == name else NetTable(None, None)


def _net_of(pid: int | str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def _tcp(pid: int | str) -> tuple[TcpSocket, ...] | None:
    tables: list[TcpSocket] = []
    for protocol in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{protocol}", "rb") as file:
                tables += parse_tcp(file.read())
        except FileNotFoundError:
            if protocol == "tcp" or os.path.exists("/proc/net/tcp6"):
                return None  # the process is gone; else a kernel without IPv6
        except (OSError, ValueError):
            return None
    return tuple(tables)


def _unix(pid: int | str, ask: Callable[[], Unix]) -> Unix | None:
    """Return what *ask* learns from the kernel, else the text that *pid* sees."""
    try:
        return ask()
    except (OSError, ValueError):
        return _from_text(pid)


def _ask_kernel() -> Unix:
    """Return the unix sockets of the namespace that this thread is in.

    Raises OSError or ValueError when the kernel refuses, or gave no consistent list in
    several tries.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(ValueError):
            return _ask_once()
    return _ask_once()


def _ask_once() -> Unix:
    found: list[UnixSocket] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as ask:
        ask.settimeout(_DEADLINE)
        ask.send(unix_request())
        done = False
        while not done:
            sockets, done = parse_unix_reply(ask.recv(_REPLY))
            found += sockets
    return tuple(found)


def _inside(pid: int, name: str) -> Unix:
    """Ask in the network namespace of *pid*, in a thread that enters it and ends there."""
    import ctypes  # noqa: PLC0415 - only for namespaces that are not ours

    libc = ctypes.CDLL(None, use_errno=True)
    answer: list[Unix] = []
    failure: list[Exception] = []

    def enter() -> None:
        try:
            with open(f"/proc/{pid}/ns/net", "rb") as namespace:
                if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            if _net_of("thread-self") != name:
                raise OSError("another network namespace than the one asked for")
            answer.append(_ask_kernel())
        except (OSError, ValueError) as error:
            failure.append(error)

    thread = threading.Thread(target=enter, daemon=True)
    start_without_signals(thread)
    thread.join(_DEADLINE)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError("no answer from another network namespace")
    return answer[0]


def _from_text(pid: int | str) -> Unix | None:
    try:
        with open(f"/proc/{pid}/net/unix", "rb") as file:
            return parse_unix(file.read())
    except (OSError, ValueError):
        return None
