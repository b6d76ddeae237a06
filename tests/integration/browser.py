"""A real Chromium without a window, driven through its pipe, which notes all it asks for."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 60.0  # seconds for the browser to start, and for each answer
_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--no-proxy-server",
)  # fmt: skip


class Browser:
    """One tab. *requests* are the addresses it asked for, *complaints* what its console says."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._held, self._last, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self._events: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file and wait until all of it is loaded, what scripts begin included."""
        self.requests.clear()
        self.complaints.clear()
        self._events.clear()
        self.ask("Page.navigate", url=path.as_uri() + fragment)
        deadline = time.monotonic() + _PATIENCE
        while "Page.loadEventFired" not in self._events:
            self._take(deadline)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page; fails where it throws."""
        done = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def settle(self) -> None:
        """Let two frames pass: what a page begins late, it has begun then."""
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.ask("Runtime.evaluate", expression=frames, awaitPromise=True)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol; return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE
        while True:
            answer = self._take(deadline)
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _take(self, deadline: float) -> dict[str, Any]:
        """Return the next message; an event is noted too."""
        while b"\0" not in self._held:
            readable, _, _ = select.select([self._answers], [], [], deadline - time.monotonic())
            assert readable, "the browser does not answer"
            data = os.read(self._answers, 1 << 16)
            assert data, "the browser has ended"
            self._held += data
        line, _, self._held = self._held.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, facts: dict[str, Any]) -> None:
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(facts["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(facts["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(facts["message"])


def installed() -> str:
    """Return the browser; skip without one, which is a failure where tests must be complete."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"none of {', '.join(NAMES)} is installed")
    pytest.skip(f"none of {', '.join(NAMES)} is installed")


@contextmanager
def running(profile: Path) -> Iterator[Browser]:
    """Run a browser with a new profile; end it, and nothing else, in the end."""
    to_read, commands = os.pipe()
    answers, to_write = os.pipe()
    own = ("--no-sandbox",) if os.geteuid() == 0 else ()  # its sandbox refuses root
    # It reads from 3 and writes to 4, whichever the pipes are here.
    shell = f'exec 3<&{to_read} 4>&{to_write}; exec "$0" "$@"'
    argv = ["bash", "-c", shell, installed(), *_FLAGS, *own, f"--user-data-dir={profile}"]
    child = subprocess.Popen(
        argv, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Browser(commands, answers)
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)
        os.close(commands)
        os.close(answers)
