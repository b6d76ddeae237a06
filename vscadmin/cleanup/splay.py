"""Spread the login nodes of a fleet over a span of time: the same node always waits as long."""

from __future__ import annotations

from hashlib import sha256

_BITS = 64


def splay_seconds(host: str, span: int) -> int:
    """Return how long *host* waits, from 0 up to but not including *span* seconds; 0 for no span.

    By a hash that is the same on every machine and in every run, which Python's own is
    not: a node's run comes at a time that people can learn.
    """
    number = int.from_bytes(sha256(host.encode("utf-8", "surrogateescape")).digest()[: _BITS // 8])
    return number * max(span, 0) >> _BITS
