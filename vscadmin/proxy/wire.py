"""What proxy and agent say to each other: greetings that prove the key, and control frames.

Sans-I/O. Every connection begins with a greeting of the side that dialled and the proof of the
other one, HMAC-SHA256 (RFC 2104) over all that was said before. What is signed is never the
same twice: a control greeting is accepted once in a session, and a data greeting names an
identifier that the proxy made for this one connection.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import hmac
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KEY_SIZE = 32  # bytes: the block of SHA-256's output
IDENT_SIZE = 8
PROOF_SIZE = 32
CONTROL = b"C"
DATA = b"D"

_MAGIC = b"VSP1"
_SAID = struct.Struct("!4sc8s16s")  # magic, kind, identifier, nonce
GREETING_SIZE = _SAID.size + PROOF_SIZE

# Control frames: a kind, a length, that many bytes.
_HEAD = struct.Struct("!BI")
_LONGEST = 1 << 16
OPEN = 1  # proxy: identifier, backend: dial this backend, then me with that identifier
END = 2  # proxy: end the shell, the job and yourself
GO = 3  # proxy: identifier, number: dial me for the forwarded connection of that number
EXIT = 4  # agent: status, bytes of stdout and stderr that went before
FAILED = 5  # agent: identifier, words: no connection to that backend
WANT = 6  # agent: number, index: somebody connected to the forward of that index
SAY = 7  # agent: a line for the user
BUG = 9  # agent: the traceback of what should not have happened
GONE = 8  # proxy: number, nothing: the forwarded connection of that number has no other end
_EXIT = struct.Struct("!BQQ")
_NUMBERS = struct.Struct("!II")


class WireError(Exception):
    """The other side said what no agent and no proxy says."""


class Greeting:
    """Who dials, and for which connection."""

    __slots__ = ("ident", "kind", "nonce")

    def __init__(self, kind: bytes, ident: bytes, nonce: bytes) -> None:
        self.kind = kind
        self.ident = ident
        self.nonce = nonce

    def __bytes__(self) -> bytes:
        return _SAID.pack(_MAGIC, self.kind, self.ident, self.nonce)


def greeting(kind: bytes, ident: bytes = bytes(IDENT_SIZE)) -> Greeting:
    """Make a greeting that was never said before."""
    return Greeting(kind, ident, os.urandom(16))


def greet(key: bytes, said: Greeting) -> bytes:
    """Return the GREETING_SIZE bytes to send right after dialling."""
    return bytes(said) + _proof(key, b"dials", said)


def read_greeting(key: bytes, data: bytes) -> "Greeting | None":
    """Return who dialled, or None where *data* (GREETING_SIZE bytes) does not prove the key."""
    if len(data) != GREETING_SIZE:
        return None
    magic, kind, ident, nonce = _SAID.unpack(data[: _SAID.size])
    said = Greeting(kind, ident, nonce)
    is_authentic = hmac.compare_digest(data[_SAID.size :], _proof(key, b"dials", said))
    return said if is_authentic and magic == _MAGIC and kind in (CONTROL, DATA) else None


def answer(key: bytes, said: Greeting) -> bytes:
    """Return the PROOF_SIZE bytes by which the side that was dialled proves the key too."""
    return _proof(key, b"answers", said)


def is_answer(key: bytes, said: Greeting, data: bytes) -> bool:
    """Tell whether *data* is the answer to our own greeting."""
    return hmac.compare_digest(data, _proof(key, b"answers", said))


def _proof(key: bytes, role: bytes, said: Greeting) -> bytes:
    return hmac.new(key, role + b"\0" + bytes(said), "sha256").digest()


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return one control frame."""
    return _HEAD.pack(kind, len(payload)) + payload


def exit_payload(status: int, out_bytes: int, err_bytes: int) -> bytes:
    """Return the payload of EXIT: how the shell ended and how many bytes it had written."""
    return _EXIT.pack(status, out_bytes, err_bytes)


def read_exit(payload: bytes) -> "tuple[int, int, int]":
    """Return status, bytes of stdout, bytes of stderr; raises WireError."""
    status, out_bytes, err_bytes = _unpacked(_EXIT, payload)
    return status, out_bytes, err_bytes


def numbers(first: int, second: int) -> bytes:
    """Return the payload of WANT (a number of the agent's, an index), and of GO and GONE."""
    return _NUMBERS.pack(first, second)


def read_numbers(payload: bytes) -> "tuple[int, int]":
    """Return what `numbers` packed; raises WireError."""
    first, second = _unpacked(_NUMBERS, payload)
    return first, second


def _unpacked(form: struct.Struct, payload: bytes) -> "tuple[int, ...]":
    try:
        return form.unpack(payload)
    except struct.error as error:
        raise WireError("a frame of the wrong size") from error


class Frames:
    """Control frames out of a stream of bytes, however it is cut."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> "Iterator[tuple[int, bytes]]":
        """Yield kind and payload of each frame that is complete; raises WireError."""
        self._held += data
        while len(self._held) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._held)
            if length > _LONGEST:
                raise WireError(f"a frame of {length} bytes")
            end = _HEAD.size + length
            if len(self._held) < end:
                return
            payload, self._held = self._held[_HEAD.size : end], self._held[end:]
            yield kind, payload
