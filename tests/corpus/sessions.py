"""The recorded sessions of this folder, and what drives the rewriters over them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vscadmin.proxy import bind
from vscadmin.proxy.rewrite import Announcements, Backend, Event, Forward, Tcp, Unix

HOST: Final = b"10.9.8.7"

_FOLDER: Final = Path(__file__).parent


def read(folder: str, suffix: str, result: str) -> dict[str, tuple[bytes, bytes]]:
    """Return each file's name with its bytes and what is to become of them."""
    found = {}
    for path in sorted((_FOLDER / folder).glob(f"*{suffix}")):
        if not path.name.endswith(result):
            changed = path.with_name(path.name.removesuffix(suffix) + result)
            pair = (path.read_bytes(), (changed if changed.exists() else path).read_bytes())
            found[path.name.removesuffix(suffix)] = pair
    return found


BOOTSTRAPS: Final = read("bootstraps", ".sh", ".direct.sh")
RESULTS: Final = read("results", ".out", ".relayed.out")
EVERYTHING: Final = [pair[0] for pair in (*BOOTSTRAPS.values(), *RESULTS.values())]


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut *data* at *cuts*, each modulo its length: any numbers are cuts of it."""
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def replacement(number: int, backend: Backend) -> Backend:
    """Return what stands for the backend that was announced after *number* others."""
    if isinstance(backend, Unix):
        return Unix(b"/tmp/proxy-%d/s" % number)
    return Tcp("127.0.0.1", 50000 + number)


def relayed(stream: Iterable[bytes], *, late: bool = False) -> tuple[bytes, list[Backend]]:
    """Pass *stream* on with every announcement replaced; return that, and what was announced.

    Answer at once, or as *late* as can be.
    """
    rewriter = Announcements()
    announced: list[Backend] = []
    out = b""
    asked: list[Backend] = []

    def follow(events: list[Event]) -> None:
        nonlocal out
        for event in events:
            if isinstance(event, Forward):
                out += event.data
            else:
                asked.append(event.backend)

    def answer() -> None:
        while asked:
            announced.append(backend := asked.pop())
            follow(rewriter.answer(replacement(len(announced) - 1, backend)))

    for piece in stream:
        follow(rewriter.receive_data(piece))
        if not late:
            answer()
    answer()
    follow(rewriter.end())
    return out, announced


def bound(stream: Iterable[bytes], host: bytes = HOST) -> tuple[bytes, list[bind.Event]]:
    """Pass *stream* on with the bind host set; return that, and what was said about it."""
    rewriter = bind.BindRewriter(host)
    events = [event for piece in stream for event in rewriter.receive_data(piece)]
    events += rewriter.end()
    out = b"".join(event.data for event in events if isinstance(event, Forward))
    return out, [event for event in events if not isinstance(event, Forward)]
