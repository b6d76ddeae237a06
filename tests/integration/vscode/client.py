"""A small client of VS Code's own remote protocol, for tests with a real server.

As a program it is an editor's window which a test can kill:
``client.py --port N --token T --commit C [--extension-host]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import socket
import struct
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from typing import Self

Endpoint = tuple[str, int] | Path
"""Where a server listens: host and port, or the path of its unix socket."""

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

_KEEP_ALIVE_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0


class ConnectionRefusedByServerError(Exception):
    """The server heard us and said no, for instance "auth mismatch"."""


class ConnectionLostError(Exception):
    """The server closed the connection, or did not answer in time."""


class Frame(NamedTuple):
    """One message: only regular ones are numbered, and must be acknowledged."""

    kind: int
    number: int
    payload: bytes


class Connection:
    """One connection to the server, kept alive by a thread of its own.

    The server gives up on a window that leaves a message without an answer for
    20 seconds, so reading cannot wait until a test gets round to it.
    """

    def __init__(self, endpoint: Endpoint, token: str, commit: str, kind: int) -> None:
        self.messages: queue.Queue[bytes] = queue.Queue()
        self._kind = kind
        self._sending = threading.Lock()
        self._sent = 0
        self._received = 0
        self._held = b""
        self._said_goodbye = False
        self._lost = threading.Event()
        self._socket = _connect(endpoint)
        try:
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
        header = _HEADER.pack(kind, number, self._received, len(payload))
        self._socket.sendall(header + payload)

    def _upgrade(self) -> None:
        query = f"reconnectionToken={uuid.uuid4()}&reconnection=false&skipWebSocketFrames=true"
        self._socket.sendall(
            f"GET /?{query} HTTP/1.1\r\nHost: localhost\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._held:
            self._fill()
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if " 101 " not in status:
            raise ConnectionRefusedByServerError(status)

    def _shake_hands(self, token: str, commit: str) -> None:
        self._control({"type": "auth", "auth": token, "data": str(uuid.uuid4())})
        self._answer()
        request: dict[str, Any] = {
            "type": "connectionType",
            "signedData": token,
            "desiredConnectionType": self._kind,
            "commit": commit,
        }
        if self._kind == EXTENSION_HOST:
            request["args"] = {"language": "en", "break": False, "port": None, "env": {}}
        self._control(request)
        self._answer()

    def _control(self, message: dict[str, Any]) -> None:
        self._write(_CONTROL, json.dumps(message).encode())

    def _answer(self) -> dict[str, Any]:
        """Return the server's next control message, unless it is a refusal."""
        while (frame := self._frame()).kind != _CONTROL:
            pass
        answer: dict[str, Any] = json.loads(frame.payload)
        if answer.get("type") == "error":
            raise ConnectionRefusedByServerError(answer["reason"])
        return answer

    def _fill(self) -> None:
        if not (data := self._socket.recv(65536)):
            raise ConnectionLostError("the server closed the connection")
        self._held += data

    def _frame(self) -> Frame:
        while len(self._held) < _HEADER.size:
            self._fill()
        kind, number, _acknowledged, length = _HEADER.unpack_from(self._held)
        end = _HEADER.size + length
        while len(self._held) < end:
            self._fill()
        payload, self._held = self._held[_HEADER.size : end], self._held[end:]
        return Frame(kind, number, payload)

    def _hold(self) -> None:
        self._socket.settimeout(_KEEP_ALIVE_SECONDS)
        try:
            while True:
                self._hold_once()
        except (OSError, ConnectionLostError):
            self._lost.set()

    def _hold_once(self) -> None:
        try:
            frame = self._frame()
        except TimeoutError:
            self._respond(_KEEP_ALIVE)
            return
        if frame.kind == _REGULAR:
            self._received = frame.number
            self.messages.put(frame.payload)
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

    def __init__(self, endpoint: Endpoint, token: str, commit: str) -> None:
        self._server = (endpoint, token, commit)
        self._calls = 0
        self._management: Connection | None = None
        self._extension_hosts: list[Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Tell whether the server has dropped none of the connections."""
        return all(connection.alive for connection in self._connections())

    def management(self) -> Connection:
        """Open the management connection, the first one of every window."""
        if self._management is None:
            self._management = Connection(*self._server, MANAGEMENT)
            self._management.send(_encode("renderer"))
            while _decode_all(self._management.receive())[0] != [200]:
                pass
        return self._management

    def extension_host(self) -> Connection:
        """Have the server start an extension host, and wait until it has initialised."""
        environment = self.call("remoteextensionsenvironment", "getEnvironmentData", {})
        connection = Connection(*self._server, EXTENSION_HOST)
        self._extension_hosts.append(connection)
        while connection.receive() != _READY:
            pass
        connection.send(json.dumps(_init_data(self._server[2], environment)).encode())
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

    def close(self) -> None:
        """Close every connection cleanly, as closing the window does."""
        for connection in self._connections():
            connection.close()

    def _connections(self) -> list[Connection]:
        return [c for c in (*self._extension_hosts, self._management) if c is not None]


def _connect(endpoint: Endpoint) -> socket.socket:
    if isinstance(endpoint, tuple):
        return socket.create_connection(endpoint, timeout=_ANSWER_SECONDS)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_ANSWER_SECONDS)
    try:
        connection.connect(str(endpoint))
    except BaseException:
        connection.close()
        raise
    return connection


def _init_data(commit: str, environment: dict[str, Any]) -> dict[str, Any]:
    """Return what a window tells its extension host: no folder, no extensions.

    The parent's pid is what makes the host end by itself when its server is killed.
    """
    homes = {k: environment[k] for k in ("appRoot", "globalStorageHome", "workspaceStorageHome")}
    return {
        "version": "",
        "commit": commit,
        "parentPid": environment["pid"],
        "environment": {"appName": "tests", "appLanguage": "en", "appUriScheme": "vscode", **homes},
        "workspace": None,
        "remote": {"isRemote": True, "authority": "ssh-remote+test", "connectionData": None},
        "consoleForward": {"includeStack": False, "logNative": False},
        "extensions": {
            "versionId": 1,
            "allExtensions": [],
            "myExtensions": [],
            "activationEvents": {},
        },
        "telemetryInfo": {},
        "logLevel": 3,
        "loggers": [],
        "logsLocation": environment["extensionHostLogsPath"],
        "autoStart": True,
        "uiKind": 1,
    }


def _length(number: int) -> bytes:
    """Encode *number* seven bits at a time, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


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
    values: list[Any] = []
    position = 0
    while position < len(data):
        value, position = _decode(data, position)
        values.append(value)
    return values


def _decode(data: bytes, position: int) -> tuple[Any, int]:
    kind, position = data[position], position + 1
    if kind == 0:
        return None, position
    number = shift = 0
    while True:
        byte, position = data[position], position + 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    if kind == 6:
        return number, position
    if kind == 4:
        items = []
        for _ in range(number):
            item, position = _decode(data, position)
            items.append(item)
        return items, position
    raw, position = data[position : position + number], position + number
    if kind == 1:
        return raw.decode(), position
    return json.loads(raw) if kind == 5 else raw, position


def main() -> int:
    """Hold a window open until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="TCP port on 127.0.0.1")
    where.add_argument("--socket", type=Path, help="unix socket")
    parser.add_argument("--token", required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--extension-host", action="store_true")
    options = parser.parse_args()
    endpoint = options.socket or ("127.0.0.1", options.port)
    try:
        with Client(endpoint, options.token, options.commit) as client:
            client.management()
            if options.extension_host:
                client.extension_host()
            print("connected", flush=True)
            sys.stdin.buffer.read()
            if not client.alive:
                raise ConnectionLostError("the server closed the connection")
    except (OSError, ConnectionLostError, ConnectionRefusedByServerError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("closed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
