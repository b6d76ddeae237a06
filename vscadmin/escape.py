"""Names, arguments and paths are attacker-made: bytes in, harmless text out.

Escaped are all C0 and C1 controls (ESC starts terminal sequences, a newline forges
a log line), the bidirectional controls (they reorder what a reader sees) and the
invisible formats; what is not UTF-8 becomes backslash escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_HARMFUL = (
    *range(0x20), *range(0x7F, 0xA0), 0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010),
    *range(0x2028, 0x202F), *range(0x2060, 0x2070), *range(0xD800, 0xE000), 0xFEFF,
    *range(0xFFF9, 0xFFFC),
)  # fmt: skip
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _HARMFUL} | {
    code: f"\\U{code:08x}" for code in range(0xE0000, 0xE0080)
}

LONGEST_LINE = 256  # characters of one command line that any output shows


def printable(text: bytes | str, limit: int = LONGEST_LINE) -> str:
    """Return *text* safe for a terminal, a log or a mail, at most *limit* characters long."""
    if isinstance(text, bytes):
        text = text[: limit + 1].decode("utf-8", "backslashreplace")
    escaped = text[: limit + 1].translate(_ESCAPES)
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def command_line(argv: Iterable[bytes], limit: int = LONGEST_LINE) -> str:
    """Return an argv as one printable line, the values of secrets' options left out."""
    return printable(b" ".join(without_secrets(argv)), limit)


_SECRET = (b"token", b"secret", b"password")
_HIDDEN = b"***"


def without_secrets(argv: Iterable[bytes]) -> Iterator[bytes]:
    """Replace what follows an option like --connection-token; a file's name is no secret."""
    hide_next = False
    for argument in argv:
        name, equals, _ = argument.partition(b"=")
        is_secret = name.startswith(b"--") and any(word in name for word in _SECRET)
        is_secret = is_secret and not name.endswith((b"-file", b"without-connection-token"))
        if hide_next and not argument.startswith(b"--"):
            yield _HIDDEN
        elif is_secret and equals:
            yield name + b"=" + _HIDDEN
        else:
            yield argument
        hide_next = is_secret and not equals
