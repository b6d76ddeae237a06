"""The relay's benchmark, as pid 1 of a namespace that holds nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from benchmarks import session
from benchmarks.relay_peers import ASYNCIO, WHOLE, Peer, start_all
from benchmarks.relay_verdict import Numbers, best, table, targets

DEADLINE = 600  # seconds
_GIB = 1 << 30
_FOREVER = 1 << 50  # bytes
_PING = "0.5"  # s; pieces are short, and many, so that each relay has some in quiet moments
_CONNECT = "0.3"


def main(folder: str) -> int:
    """Start the relays, measure them in turns, print; return 1 if a target is missed."""
    if os.getpid() != 1:
        print("benchmarks.relays: start `python -m benchmarks` instead", file=sys.stderr)
        return 2
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(DEADLINE)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    peers = start_all(folder)
    of_session = list(session.targets(folder, peers[WHOLE]))
    results = _race(peers)
    print(f"\nRelays on loopback, in turns; the best of each.\n\n{table(results)}\n")
    judged = [*targets(results), *of_session]
    print("\n".join(map(str, judged)))
    for peer in peers.values():
        peer.stop()
    return 0 if all(each.met for each in judged) else 1


def _race(peers: dict[str, Peer]) -> dict[str, Numbers]:
    """Measure one thing after the other, every relay in turns, after a turn that does not count."""
    measured: dict[str, dict[str, list[float]]] = {name: {} for name in peers}
    for measure, turns in ((_stream, 8), (_ping_beside_a_stream, 8), (_connections, 12)):
        for turn in range(turns + 1):
            for name, peer in peers.items():
                for field, value in measure(name, peer):
                    if turn:
                        measured[name].setdefault(field, []).append(value)
    return {name: best(each) for name, each in measured.items()}


def _stream(name: str, peer: Peer) -> Iterator[tuple[str, float]]:
    """Send a stream; the slow relay gets a shorter one."""
    size = _GIB // 2 if name == ASYNCIO else 2 * _GIB
    source = _start("source", peer.sink, str(size))
    _line(source)
    before = peer.cpu()
    _go(source)
    seconds = float(_line(source))
    yield "cpu", (peer.cpu() - before) / (size / _GIB)
    yield "throughput", size * 8 / seconds / 1e9
    _go(source)
    source.wait(10)


def _ping_beside_a_stream(_name: str, peer: Peer) -> Iterator[tuple[str, float]]:
    source = _start("source", peer.sink, str(_FOREVER))
    _line(source)
    _go(source)
    time.sleep(0.2)
    p50, p99 = map(float, _line(_start("ping", peer.echo, _PING)).split())
    source.kill()
    source.wait(10)
    yield "p50", p50
    yield "p99", p99


def _connections(_name: str, peer: Peer) -> Iterator[tuple[str, float]]:
    for field, width in (("one", "1"), ("many", "16")):
        yield field, float(_line(_start("connect", peer.echo, _CONNECT, width)))


def _start(role: str, port: int, *numbers: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.traffic", role, str(port), *numbers]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _too_late(_signal: int, _frame: object) -> NoReturn:
    raise TimeoutError(f"not done after {DEADLINE} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
