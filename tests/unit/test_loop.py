"""The loop serves what is ready in the order in which the kernel tells it."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial

import pytest

from vscadmin.proxy.loop import READ, Loop


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_what_was_ready_first_is_served_first(order: list[int]) -> None:
    """What a launcher said before the hello is no line of the shell's.

    So it is with what has not been ready in the step before; that comes first as it is.
    """
    pipes = [os.pipe() for _ in order]
    served: list[int] = []

    def served_by(number: int, _events: int) -> None:
        served.append(number)

    with closing(Loop()) as loop:
        for number, (reader, _) in enumerate(pipes):
            loop.watch(reader, READ, partial(served_by, number))
        for number in order:
            os.write(pipes[number][1], b"x")
        loop.step()
    for fd in (fd for pipe in pipes for fd in pipe):
        os.close(fd)
    assert served == order
