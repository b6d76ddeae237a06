"""The control connection between proxy and agent, and dialling in general.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import errno
import os
import socket
import struct
from contextlib import suppress

from vscadmin.proxy.loop import GONE, READ, WRITE, Loop
from vscadmin.proxy.wire import PROOF_SIZE, Frames, Greeting, WireError, frame, greet, is_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A dead peer or a cut link is noticed after 5 s and 3 probes of 5 s, whether anything is said
# or not (the agent has to be gone within 30 s).
_IDLE = 5
_INTERVAL = 5
_PROBES = 3
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, socket(7): close(2) sends RST
_UNANSWERED = 20  # s; TCP_USER_TIMEOUT, tcp(7), takes milliseconds


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel end *connection* soon after its other side died or was cut off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED * 1000)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Return the next *size* bytes of a blocking connection; raises OSError at an early end."""
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, "the other side hung up")
        data += more
    return data


class Backend:
    """Where the editor's server listens, as control frames name it."""

    __slots__ = ("address", "family")

    def __init__(self, family: int, address: "tuple[str, int] | bytes") -> None:
        self.family = family
        self.address = address

    def __str__(self) -> str:
        if isinstance(self.address, bytes):
            return self.address.decode("utf-8", "backslashreplace")
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __bytes__(self) -> bytes:
        if isinstance(self.address, bytes):
            return b"unix:" + self.address
        host, port = self.address
        return f"tcp:{host}:{port}".encode()


def read_backend(data: bytes) -> Backend:
    """Read what `bytes(backend)` wrote; raises WireError."""
    kind, _, rest = data.partition(b":")
    if kind == b"unix":
        return unix(rest)
    host, _, port = rest.decode("ascii", "replace").rpartition(":")
    if kind != b"tcp" or not port.isdigit():
        raise WireError("a backend that is neither tcp nor unix")
    return tcp(host, int(port))


def tcp(host: str, port: int) -> Backend:
    """Return a backend at an IPv4 or IPv6 address, which is no name."""
    return Backend(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))


def unix(path: bytes) -> Backend:
    """Return a backend at a path."""
    return Backend(socket.AF_UNIX, path)


def dial(
    loop: Loop, backend: Backend, dialled: "Callable[[socket.socket | OSError], None]"
) -> None:
    """Connect without waiting; *dialled* gets the non-blocking socket, or why there is none."""
    try:
        kind = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        made = socket.socket(backend.family, kind)
    except OSError as error:  # EMFILE
        dialled(error)
        return
    try:
        code = made.connect_ex(backend.address)
    except OSError as error:  # a path or a host that cannot be one
        made.close()
        dialled(error)
        return
    if code == errno.EINPROGRESS and not is_connected(made):
        _Dialling(loop, made, dialled)
    elif code in (0, errno.EINPROGRESS):
        dialled(made)
    else:
        made.close()
        dialled(OSError(code, _words(code)))


def is_connected(connection: socket.socket) -> bool:
    """Tell at once whether it stands; on loopback one does as soon as it was dialled."""
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _words(code: int) -> str:
    if code == errno.EAGAIN:  # a unix socket whose backlog is full, connect(2)
        return "too many connections are waiting"
    return os.strerror(code)


class _Dialling:
    def __init__(
        self,
        loop: Loop,
        made: socket.socket,
        dialled: "Callable[[socket.socket | OSError], None]",
    ) -> None:
        self._loop = loop
        self._made = made
        self._dialled = dialled
        loop.watch(made.fileno(), WRITE, self._ready)

    def _ready(self, _events: int) -> None:
        self._loop.forget(self._made.fileno())
        code = self._made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._made.close()
            self._dialled(OSError(code, _words(code)))
        else:
            self._dialled(self._made)


def reset(connection: socket.socket) -> None:
    """Close so that the other side sees an error and not an end."""
    reset_on_close(connection)
    connection.close()


def reset_on_close(connection: socket.socket) -> None:
    """Have `close` send RST; a unix socket knows none, and does as always."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def introduce(
    loop: Loop,
    key: bytes,
    said: Greeting,
    far: socket.socket,
    introduced: "Callable[[socket.socket, bool], None]",
) -> None:
    """Greet whom we dialled; *introduced* gets the connection, and whether the answer is right."""
    _Introduction(loop, key, said, far, introduced)


class _Introduction:
    """One greeting under way: sent, not yet answered."""

    def __init__(
        self,
        loop: Loop,
        key: bytes,
        said: Greeting,
        far: socket.socket,
        introduced: "Callable[[socket.socket, bool], None]",
    ) -> None:
        self._loop = loop
        self._key = key
        self._far = far
        self._introduced = introduced
        self._said = said
        self._heard = b""
        self._loop.watch(far.fileno(), READ, self._ready)
        with suppress(OSError):  # what broke it is read, too
            far.send(greet(key, self._said))  # a new connection has room for 61 bytes

    def _ready(self, _events: int) -> None:
        try:
            data = self._far.recv(PROOF_SIZE - len(self._heard))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heard += data
        if data and len(self._heard) < PROOF_SIZE:
            return
        self._loop.forget(self._far.fileno())
        is_proxy = bool(data) and is_answer(self._key, self._said, self._heard)
        self._introduced(self._far, is_proxy)


class Control:
    """Frames over the control connection; *lost* is called once when it ended.

    It has no limit to what it holds: frames are few and short.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        received: "Callable[[int, bytes], None]",
        lost: "Callable[[str], None]",
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._received = received
        self._lost = lost
        self._frames = Frames()
        self._held = b""
        self.is_open = True
        connection.setblocking(False)
        keep_alive(connection)
        loop.watch(connection.fileno(), READ, self._ready)

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame, now or as soon as possible; into the void after the end."""
        if self.is_open:
            self._held += frame(kind, payload)
            self._flush()

    def close(self) -> None:
        """Hang up, without a call to *lost*."""
        if self.is_open:
            self.is_open = False
            self._loop.forget(self._connection.fileno())
            self._connection.close()

    def _flush(self) -> None:
        try:
            while self._held:
                count = self._connection.send(self._held)
                self._held = self._held[count:]
        except BlockingIOError:
            self._loop.change(self._connection.fileno(), READ | WRITE)
        except OSError:
            return  # what broke it is read, too

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._loop.change(self._connection.fileno(), READ)
            self._flush()
        if events & (READ | GONE):
            self._read()

    def _read(self) -> None:
        try:
            data = self._connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        if not data:
            self._end("it was closed")
            return
        try:
            for kind, payload in self._frames.feed(data):
                if self.is_open:
                    self._received(kind, payload)
        except WireError as error:
            self._end(str(error))

    def _end(self, reason: str) -> None:
        self.close()
        self._lost(reason)
