"""Run one command on many nodes through ClusterShell, and keep what each of them says.

ClusterShell brings the fan-out, its groups and its tree mode; the transport is ssh. What a
node says has a bound: no node fills our memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vscadmin.fleet.clustershell import EventHandler, task_cleanup, task_self

MOST_BYTES = 32 << 20  # of one node's answer: ten thousand servers
MOST_WORDS = 16 << 10  # bytes of one node's complaints
_NO_CONNECTION = 255  # ssh's own exit status


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a node may take, in seconds, and how many are asked at once (None: the usual)."""

    timeout: float = 60.0
    connect: float = 10.0
    fanout: int | None = None


@dataclass(slots=True)
class Answer:
    """What came of one node.

    *code* is the command's exit status, None where none came. *begun* is when the node was
    first spoken to, *heard* when its first line came; seconds since the epoch.
    """

    node: str
    code: int | None = None
    lines: list[bytes] = field(default_factory=list)
    complaints: list[bytes] = field(default_factory=list)
    begun: float = 0.0
    heard: float | None = None
    size: int = 0
    is_too_long: bool = False

    @property
    def is_unreachable(self) -> bool:
        """Whether it did not answer at all: no connection, or no end within the time."""
        return self.code is None or (self.code == _NO_CONNECTION and not self.lines)

    @property
    def words(self) -> bytes:
        """The last line of its complaints: the reason, in ssh's words or the command's."""
        return next((each for each in reversed(self.complaints) if each.strip()), b"")


class _Ears(EventHandler):  # type: ignore[misc]
    """Hears what the nodes say; the methods are ClusterShell's."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = answers

    def ev_pickup(self, worker: Any, node: str) -> None:  # noqa: ARG002
        """Note when a node is spoken to."""
        self._answers[node].begun = time.time()

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:  # noqa: ARG002
        """Keep a line."""
        answer = self._answers[node]
        if sname == "stderr":
            if sum(map(len, answer.complaints)) < MOST_WORDS:
                answer.complaints.append(msg[:MOST_WORDS])
            return
        if answer.heard is None:
            answer.heard = time.time()
        answer.size += len(msg) + 1
        if answer.size > MOST_BYTES:
            answer.is_too_long = True
            answer.lines.clear()
        else:
            answer.lines.append(msg)

    def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:  # noqa: ARG002
        """Note how a node's command ended."""
        self._answers[node].code = rc


def ask(nodes: Iterable[str], command: str, limits: Limits) -> tuple[Answer, ...]:
    """Run *command* on *nodes*, and return what came of each, in their order."""
    names = tuple(nodes)
    answers = {name: Answer(name) for name in names}
    task = task_self()
    for stream in ("stdout_msgtree", "stderr_msgtree"):
        task.set_default(stream, False)  # one copy of each answer is enough
    task.set_info("connect_timeout", limits.connect)
    if limits.fanout is not None:
        task.set_info("fanout", limits.fanout)
    try:
        task.shell(
            command,
            nodes=",".join(names),
            handler=_Ears(answers),
            timeout=limits.timeout,
            stderr=True,
            stdin=False,
        )
        task.resume()
    finally:
        task_cleanup()
    return tuple(answers[name] for name in names)
