"""The relays that are compared, each a running program with two ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

SINK, ECHO = 20001, 20002  # where the two kinds of traffic end
_FIRST = 21000  # ports of the relays: two each
_BIN = os.path.dirname(sys.executable)
_FOLDER = os.path.dirname(__file__)
_HAPROXY = """
global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen sink
  bind 127.0.0.1:{sink}
  server it 127.0.0.1:20001
listen echo
  bind 127.0.0.1:{echo}
  server it 127.0.0.1:20002
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """One relay: its processes, and the ports by which it leads to sink and echo."""

    processes: tuple[subprocess.Popen[bytes], ...]
    sink: int
    echo: int

    def cpu(self) -> float:
        """Return the CPU seconds of its processes so far, those of children included."""
        return sum(_cpu(each) for process in self.processes for each in _family(process.pid))

    def stop(self) -> None:
        """End it and all it has started."""
        for process in self.processes:
            process.terminate()
            process.wait(10)


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(psutil.NoSuchProcess):
        yield from (each.pid for each in psutil.Process(pid).children(recursive=True))


def _cpu(pid: int) -> float:
    """Read the clock of a process, to the nanosecond: clock_getcpuclockid(3) as Linux has it."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def _python(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *arguments])


def _program(name: str) -> Callable[[str, int, int], Peer]:
    def start(_folder: str, sink: int, echo: int) -> Peer:
        ports = (f"{sink}:{SINK}", f"{echo}:{ECHO}")
        return Peer((_python("-m", f"benchmarks.{name}", *ports),), sink, echo)

    return start


def _socat(_folder: str, sink: int, echo: int) -> Peer:
    def start(port: int, backend: int) -> subprocess.Popen[bytes]:
        here = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=1024"
        return subprocess.Popen(["socat", "-b", "262144", here, f"TCP:127.0.0.1:{backend}"])

    return Peer((start(sink, SINK), start(echo, ECHO)), sink, echo)


def _haproxy(folder: str, sink: int, echo: int) -> Peer:
    path = os.path.join(folder, "haproxy.cfg")
    with open(path, "w", encoding="ascii") as file:
        file.write(_HAPROXY.format(sink=sink, echo=echo))
    return Peer((subprocess.Popen(["haproxy", "-db", "-q", "-f", path]),), sink, echo)


def session_command(folder: str) -> list[str]:
    """Return the command of a session whose job is a shell of this machine."""
    config = os.path.join(folder, "proxy.toml")
    with open(config, "w", encoding="ascii") as file:
        file.write('version = 1\nlauncher = "shell"\n')
    return [os.path.join(_BIN, "vscode-shell-proxy"), "--config", config]


def _session(folder: str, _sink: int, _echo: int) -> Peer:
    """Run a whole session in relay mode, and announce both backends in its shell."""
    process = subprocess.Popen(
        session_command(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "HOME": folder},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    ports = []
    for backend in (SINK, ECHO):
        process.stdin.write(b"echo listeningOn==127.0.0.1:%d==\n" % backend)
        process.stdin.flush()
        match = re.match(rb"listeningOn==127\.0\.0\.1:(\d+)==", process.stdout.readline())
        assert match is not None
        ports.append(int(match[1]))
    return Peer((process,), *ports)


OURS = "vscode-shell-proxy, direct path"
WHOLE = "vscode-shell-proxy, relay mode"
ASYNCIO, HAPROXY, SOCAT = "asyncio streams, 4 KiB", "haproxy, mode tcp", "socat -b 262144"
_STARTS: dict[str, Callable[[str, int, int], Peer]] = {
    OURS: _program("direct_relay"),
    WHOLE: _session,
    ASYNCIO: _program("asyncio_relay"),
    HAPROXY: _haproxy,
    SOCAT: _socat,
}


def start_all(folder: str) -> dict[str, Peer]:
    """Start what is behind the relays, then every relay; files go to *folder*."""
    for role, port in (("sink", SINK), ("echo", ECHO)):
        _python("-m", "benchmarks.traffic", role, str(port))
    _wait_for(SINK, ECHO)
    peers = {
        name: start(folder, _FIRST + 2 * number, _FIRST + 2 * number + 1)
        for number, (name, start) in enumerate(_STARTS.items())
    }
    for peer in peers.values():
        _wait_for(peer.sink, peer.echo)
    return peers


def _wait_for(*ports: int) -> None:
    """Wait until somebody listens at each; raises TimeoutError after 10 s."""
    end = time.monotonic() + 10
    while missing := set(ports) - _listening():
        if time.monotonic() > end:
            raise TimeoutError(f"nobody listens at {missing}")
        time.sleep(0.05)


def _listening() -> set[int]:
    found = psutil.net_connections("tcp4")
    listening = (each.laddr for each in found if each.status == psutil.CONN_LISTEN)
    return {each.port for each in listening if each}
