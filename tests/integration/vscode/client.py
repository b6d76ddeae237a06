"""A small client of VS Code's own remote protocol, for tests with a real server.

As a program it is an editor's window which a test can kill:
``client.py --port N --token T --commit C [--extension-host] [--socks HOST:PORT] [--read FILE]``.
It needs nothing but Python, so that it runs from wherever it has been copied to.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import queue
import socket
import struct
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, Final, Self

Endpoint = tuple[str, int] | Path
"""Where a server listens: host and port, or the path of its unix socket."""

Socks = tuple[str, int] | None
"""Where a SOCKS 5 proxy listens, as `ssh -D` does, if connections go through one."""

MANAGEMENT: Final = 1
EXTENSION_HOST: Final = 2

_HEADER: Final = struct.Struct(">BIII")
_REGULAR: Final = 1
_CONTROL: Final = 2
_ACK: Final = 3
_DISCONNECT: Final = 5
_KEEP_ALIVE: Final = 9

# What an extension host and its window say to each other, one byte each.
_INITIALIZED: Final = b"\x01"
_READY: Final = b"\x02"
_TERMINATE: Final = b"\x03"

_AUTHORITY: Final = "ssh-remote+test"
_KEEP_ALIVE_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0


class ConnectionRefusedByServerError(Exception):
    """The server heard us and said no, for instance "auth mismatch"."""


class ConnectionLostError(Exception):
    """The server closed the connection, or did not answer in time."""


class Connection:
    """One connection to the server, kept alive by a thread of its own.

    The server gives up on a window that leaves a message without an answer for
    20 seconds, so reading cannot wait until a test gets round to it.
    """

    def __init__(
        self, endpoint: Endpoint, token: str, commit: str, socks: Socks, kind: int
    ) -> None:
        self.messages: queue.Queue[bytes] = queue.Queue()
        self._kind = kind
        self._sending = threading.Lock()
        self._sent = 0
        self._received = 0
        self._held = b""
        self._said_goodbye = False
        self._lost = threading.Event()
        self._socket = socket.socket(
            socket.AF_UNIX if isinstance(endpoint, Path) else socket.AF_INET
        )
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            self._connect(endpoint, socks)
            self._upgrade()
            self._shake_hands(token, commit)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return not self._lost.is_set()

    def send(self, payload: bytes) -> None:
        with self._sending:
            self._sent += 1
            self._write(_REGULAR, payload, self._sent)

    def receive(self) -> bytes:
        """Return the next regular message."""
        try:
            return self.messages.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            raise ConnectionLostError("no message in time") from None

    def close(self) -> None:
        """Say goodbye as a closed window does, so that the server lets go at once."""
        if self._socket.fileno() == -1:
            return
        with contextlib.suppress(OSError):  # gone already: nothing to say goodbye to
            if self._kind == EXTENSION_HOST:
                self.send(_TERMINATE)
            with self._sending:
                self._write(_DISCONNECT)
                self._said_goodbye = True
                self._socket.shutdown(socket.SHUT_WR)
        self._thread.join(2 * _KEEP_ALIVE_SECONDS)
        self._socket.close()

    def _write(self, kind: int, payload: bytes = b"", number: int = 0) -> None:
        self._socket.sendall(_HEADER.pack(kind, number, self._received, len(payload)) + payload)

    def _connect(self, endpoint: Endpoint, socks: Socks) -> None:
        if isinstance(endpoint, tuple):
            self._socket.connect(socks or endpoint)
            if socks:
                self._ask_proxy(*endpoint)
        elif socks:
            raise ValueError(f"SOCKS reaches TCP ports only, not {endpoint}: use ssh -L PORT:PATH")
        else:
            self._socket.connect(str(endpoint))

    def _ask_proxy(self, host: str, port: int) -> None:
        """Have the SOCKS 5 proxy connect us to *port* of the address *host*.

        OpenSSH says yes before it has tried, and closes the connection if nobody listens.
        """
        request = b"\x05\x01\x00\x01" + socket.inet_aton(host) + port.to_bytes(2, "big")
        for words, size in ((b"\x05\x01\x00", 2), (request, 10)):
            self._socket.sendall(words)
            self._fill(size)
            answer, self._held = self._held[:size], self._held[size:]
            if not answer.startswith(b"\x05\x00"):
                raise ConnectionRefusedByServerError(f"the SOCKS proxy: {answer!r}")

    def _upgrade(self) -> None:
        query = f"reconnectionToken={uuid.uuid4()}&reconnection=false&skipWebSocketFrames=true"
        self._socket.sendall(
            f"GET /?{query} HTTP/1.1\r\nHost: localhost\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._held:
            self._fill(len(self._held) + 1)
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if " 101 " not in status:
            raise ConnectionRefusedByServerError(status)

    def _shake_hands(self, token: str, commit: str) -> None:
        self._ask({"type": "auth", "auth": token, "data": str(uuid.uuid4())})
        kind: dict[str, Any] = {"type": "connectionType", "desiredConnectionType": self._kind}
        if self._kind == EXTENSION_HOST:
            kind["args"] = {"language": "en", "break": False, "port": None, "env": {}}
        self._ask({**kind, "signedData": token, "commit": commit})

    def _ask(self, message: dict[str, Any]) -> None:
        """Send a control message, and wait for an answer that is no refusal."""
        self._write(_CONTROL, json.dumps(message).encode())
        kind = 0
        while kind != _CONTROL:
            kind, _number, payload = self._frame()
        if (answer := json.loads(payload)).get("type") == "error":
            raise ConnectionRefusedByServerError(answer["reason"])

    def _fill(self, size: int) -> None:
        """Receive until *size* bytes are held."""
        while len(self._held) < size:
            if not (data := self._socket.recv(65536)):
                raise ConnectionLostError("the server closed the connection")
            self._held += data

    def _frame(self) -> tuple[int, int, bytes]:
        """Return a message's kind, number (regular ones have one) and payload."""
        self._fill(_HEADER.size)
        kind, number, _acknowledged, length = _HEADER.unpack_from(self._held)
        end = _HEADER.size + length
        self._fill(end)
        payload, self._held = self._held[_HEADER.size : end], self._held[end:]
        return kind, number, payload

    def _hold(self) -> None:
        self._socket.settimeout(_KEEP_ALIVE_SECONDS)
        try:
            while True:
                self._hold_once()
        except (OSError, ConnectionLostError):
            self._lost.set()

    def _hold_once(self) -> None:
        try:
            kind, number, payload = self._frame()
        except TimeoutError:
            self._respond(_KEEP_ALIVE)
            return
        if kind == _REGULAR:
            self._received = number
            self.messages.put(payload)
            self._respond(_ACK)

    def _respond(self, kind: int) -> None:
        """Send a bare frame, unless we have said goodbye.

        A failure here would close the socket with something unread, which resets
        the connection: the server would lose the goodbye itself.
        """
        with self._sending:
            if not self._said_goodbye:
                self._write(kind)


class Client:
    """One editor's window: a management connection and, if asked for, an extension host."""

    def __init__(self, endpoint: Endpoint, token: str, commit: str, socks: Socks = None) -> None:
        self._commit = commit
        self._open = functools.partial(Connection, endpoint, token, commit, socks)
        self._calls = 0
        self._management: Connection | None = None
        self._connections: list[Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Tell whether the server has dropped none of the connections."""
        return all(connection.alive for connection in self._connections)

    def management(self) -> Connection:
        """Open the management connection, the first one of every window."""
        if self._management is None:
            self._connections.append(management := self._open(MANAGEMENT))
            management.send(_encode("renderer"))
            while _decode_all(management.receive())[0] != [200]:
                pass
            self._management = management
        return self._management

    def extension_host(self) -> Connection:
        """Have the server start an extension host, and wait until it has initialised."""
        environment = self.call("remoteextensionsenvironment", "getEnvironmentData", {})
        self._connections.append(connection := self._open(EXTENSION_HOST))
        while connection.receive() != _READY:
            pass
        connection.send(json.dumps(_init_data(self._commit, environment)).encode())
        while connection.receive() != _INITIALIZED:
            pass
        return connection

    def call(self, channel: str, command: str, argument: object = None) -> Any:
        """Call one of the server's own services over the management connection."""
        management = self.management()
        self._calls += 1
        number = self._calls
        management.send(_encode([100, number, channel, command]) + _encode(argument))
        while True:
            header, *body = _decode_all(management.receive())
            if header[1:] != [number]:
                continue  # an event
            if header[0] != 201:
                raise ConnectionRefusedByServerError(f"{channel}.{command}: {body}")
            return body[0]

    def read_file(self, path: Path) -> bytes:
        """Return what is in the file *path* on the server's side, as opening it does."""
        uri = {"$mid": 1, "scheme": "vscode-remote", "authority": _AUTHORITY, "path": str(path)}
        content: bytes = self.call("remoteFilesystem", "readFile", [uri, {"atomic": False}])
        return content

    def close(self) -> None:
        """Close every connection cleanly, as closing the window does."""
        for connection in reversed(self._connections):
            connection.close()


def _init_data(commit: str, environment: dict[str, Any]) -> dict[str, Any]:
    """Return a window's words to its extension host, which ends by itself with its parent."""
    homes = {k: environment[k] for k in ("appRoot", "globalStorageHome", "workspaceStorageHome")}
    none: dict[str, Any] = {"allExtensions": [], "myExtensions": [], "activationEvents": {}}
    empty: dict[str, Any] = {"version": "", "workspace": None, "telemetryInfo": {}, "loggers": []}
    fixed = {**empty, "logLevel": 3, "autoStart": True, "uiKind": 1}
    return {
        **fixed,
        "commit": commit,
        "parentPid": environment["pid"],
        "environment": {"appName": "tests", "appLanguage": "en", "appUriScheme": "vscode", **homes},
        "remote": {"isRemote": True, "authority": _AUTHORITY, "connectionData": None},
        "consoleForward": {"includeStack": False, "logNative": False},
        "extensions": {"versionId": 1, **none},
        "logsLocation": environment["extensionHostLogsPath"],
    }


def _length(number: int) -> bytes:
    """Encode *number* seven bits at a time, the lowest first."""
    rest, low = number >> 7, number & 0x7F
    return bytes([low | 0x80]) + _length(rest) if rest else bytes([low])


def _encode(value: object) -> bytes:
    match value:
        case None:
            return b"\x00"
        case str():
            return b"\x01" + _length(len(value.encode())) + value.encode()
        case list():
            return b"\x04" + _length(len(value)) + b"".join(map(_encode, value))
        case int():
            return b"\x06" + _length(value)
    text = json.dumps(value).encode()
    return b"\x05" + _length(len(text)) + text


def _decode_all(data: bytes) -> list[Any]:
    """Decode every value of one message: a header and mostly a body."""
    stream = io.BytesIO(data)
    return [_decode(kind, stream) for kind in iter(lambda: stream.read(1), b"")]


def _decode(kind: bytes, stream: io.BytesIO) -> Any:
    if kind == b"\x00":
        return None
    number = _read_length(stream)
    if kind == b"\x06":
        return number
    if kind == b"\x04":
        return [_decode(stream.read(1), stream) for _ in range(number)]
    raw = stream.read(number)
    if kind == b"\x01":
        return raw.decode()
    return json.loads(raw) if kind == b"\x05" else raw


def _read_length(stream: io.BytesIO) -> int:
    byte = stream.read(1)[0]
    return byte if byte < 0x80 else byte & 0x7F | _read_length(stream) << 7


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="TCP port on 127.0.0.1")
    where.add_argument("--socket", type=Path, help="unix socket")
    parser.add_argument("--socks", type=_host_and_port, metavar="HOST:PORT", help="SOCKS 5 proxy")
    parser.add_argument("--token", required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--extension-host", action="store_true")
    parser.add_argument("--read", type=Path, metavar="FILE", help="print its length and SHA-256")
    return parser.parse_args()


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _hold_open(client: Client, options: argparse.Namespace) -> None:
    client.management()
    if options.extension_host:
        client.extension_host()
    print("connected", flush=True)
    if options.read:
        content = client.read_file(options.read)
        print(f"read {len(content)} {hashlib.sha256(content).hexdigest()}", flush=True)
    sys.stdin.buffer.read()
    if not client.alive:
        raise ConnectionLostError("the server closed the connection")


def main() -> int:
    """Hold a window open until standard input ends."""
    options = _options()
    endpoint = options.socket or ("127.0.0.1", options.port)
    try:
        with Client(endpoint, options.token, options.commit, options.socks) as client:
            _hold_open(client, options)
    except (OSError, ValueError, ConnectionLostError, ConnectionRefusedByServerError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("closed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
