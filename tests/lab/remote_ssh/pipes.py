"""A child process's pipes, read by a thread and written with a deadline."""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK: Final = 65536
_KEPT_BYTES: Final = 65536


class Pipes:
    """Take in what *process* writes, and keep the last of it.

    *on_stdout* gets every piece of stdout, and at its end an empty one. It runs in the
    thread. The process's children may hold the pipes open when it is gone itself, so
    the end of the output is not waited for.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], on_stdout: Callable[[bytes], None]
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._on_stdout = on_stdout
        self._kept = {self._stdout: b"", self._stderr: b""}
        self._stop = os.eventfd(0)
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def stdout(self) -> bytes:
        """The last of what came on stdout."""
        return self._kept[self._stdout]

    @property
    def stderr(self) -> bytes:
        """The last of what came on stderr."""
        return self._kept[self._stderr]

    def write(self, data: bytes, seconds: float) -> None:
        """Write *data* to stdin; raise OSError if it is not taken within *seconds*."""
        deadline = time.monotonic() + seconds
        left = data
        while left:
            if not select.select([], [self._stdin], [], max(0, deadline - time.monotonic()))[1]:
                raise TimeoutError(f"{len(left)} of {len(data)} bytes not taken")
            left = left[os.write(self._stdin.fileno(), left) :]

    def close_stdin(self) -> None:
        """Let the process read an end of file."""
        self._stdin.close()

    def close(self) -> None:
        """Take in what has been written so far, and close everything."""
        if self._stdout.closed:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop, selectors.EVENT_READ)
            for stream in (self._stdout, self._stderr):
                selector.register(stream, selectors.EVENT_READ, stream)
            stopping = False
            while not stopping:
                ready = [key.data for key, _ in selector.select()]
                stopping = None in ready
                for stream in filter(None, ready):
                    if not self._take(stream):
                        selector.unregister(stream)
        for stream in (self._stdout, self._stderr):
            while self._take(stream):
                pass

    def _take(self, stream: IO[bytes]) -> bool:
        """Read once; tell whether there was anything."""
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        self._kept[stream] = (self._kept[stream] + data)[-_KEPT_BYTES:]
        if stream is self._stdout:
            self._on_stdout(data)
        return bool(data)
