"""A step of a job without Slurm: the real boot script and agent, with the test as the proxy."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from vscadmin.proxy import boot, wire
from vscadmin.proxy.boot import Hello, HelloReader

MARK = "00112233445566778899aabbccddeeff"
KEY = bytes(range(32))


class Step:
    """One boot script that runs here; use it as a context manager."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        wanted: Mapping[str, str | None] | None = None,
        pythons: Sequence[str] = (),
        prefix: Sequence[str] = (),
        **order: Any,
    ) -> None:
        self.wanted = dict(wanted or {})
        self.prefix = tuple(prefix)
        self.order = order
        argv = ["/bin/sh", *boot.script(MARK, pythons)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment), bufsize=0,
            start_new_session=True,
        )  # fmt: skip
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.control: socket.socket | None = None
        self.frames: list[tuple[int, bytes]] = []
        self._reader = wire.Frames()
        self.out = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.control is not None:
            self.control.close()
        self.listener.close()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def hello(self) -> Hello:
        reader = HelloReader(MARK.encode())
        assert self.process.stdout is not None
        while True:
            data = os.read(self.process.stdout.fileno(), 4096)
            assert data, self.stderr()
            if found := reader.feed(data):
                self.out = found[1]
                return found[0]

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def start(self) -> Self:
        """Play the proxy until the shell starts."""
        hello = self.hello()
        order = {"key": KEY, "mark": MARK, "address": "127.0.0.1", "environment": self.wanted}
        order |= {"port": self.listener.getsockname()[1], "shell": self.prefix, "forwards": ()}
        self.send(boot.agent_source({**order, "scancel": False, **self.order}, hello.python))
        kind, self.control = self.accept()
        assert kind.kind == wire.CONTROL
        return self

    def accept(self) -> tuple[wire.Greeting, socket.socket]:
        connection = self.listener.accept()[0]
        connection.settimeout(10)
        said = wire.read_greeting(KEY, _exactly(connection, wire.GREETING_SIZE))
        assert said is not None
        connection.sendall(wire.answer(KEY, said))
        return said, connection

    def say(self, kind: int, payload: bytes = b"") -> None:
        assert self.control is not None
        self.control.sendall(wire.frame(kind, payload))

    def frame(self, wanted: int, seconds: float = 15) -> bytes:
        """Return the payload of the next frame of that kind."""
        assert self.control is not None
        self.control.settimeout(seconds)
        while True:
            for index, (kind, payload) in enumerate(self.frames):
                if kind == wanted:
                    del self.frames[index]
                    return payload
            data = self.control.recv(4096)
            assert data, "the agent hung up"
            self.frames += self._reader.feed(data)

    def read_until(self, text: bytes, seconds: float = 10) -> bytes:
        """Return the shell's stdout up to and including *text*."""
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        while text not in self.out:
            ready, _, _ = select.select([self.process.stdout], [], [], end - time.monotonic())
            assert ready, self.out
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, self.out
            self.out += data
        before, _, self.out = self.out.partition(text)
        return before + text

    def run(self, script: bytes) -> tuple[int, bytes, bytes]:
        """Send *script* and the end of it; return status, stdout and stderr."""
        self.start()
        self.send(script)
        self.close_stdin()
        status = wire.read_exit(self.frame(wire.EXIT))[0]
        assert self.process.stdout is not None
        out = self.out + self.process.stdout.read()
        return status, out, self.stderr()

    def stderr(self) -> bytes:
        assert self.process.stderr is not None
        return self.process.stderr.read()


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, "hung up"
        data += more
    return data


def login(home: Path, **names: str) -> dict[str, str]:
    """Return an environment as sshd gives one."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **names}
