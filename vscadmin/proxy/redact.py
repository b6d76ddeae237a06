"""Secrets are taken out of what is written to files: copies of the session's stdio, and logs.

A token opens the editor's server to whoever holds it. Its value goes; its name stays, and so do
file names, empty values and references to shell variables: they are no secrets, and they tell
what happened.
"""

from __future__ import annotations

import re

_REDACTED = b"[redacted]"

_WORDS = (b"token", b"tkn", b"secret", b"passw", b"got some")  # a secret stands behind one
_NAME = rb"(?:token|tkn|(?<!--connection-)secret|password|passwd)"  # that one names a file
_HEADS = (
    rb"%b==?+" % _NAME,  # connectionToken==…==, VSCODE_CLI_REQUIRE_TOKEN=…, ?tkn=…
    rb"%b[ \t]{1,8}==?+[ \t]{0,8}" % _NAME,
    rb"%b\\?[\"']?[ \t]{0,8}:[ \t]{0,8}" % _NAME,  # "connectionToken": "…"
    rb"--(?!without-)[\w-]{0,40}%b(?:[ \t]{1,8}|[\"'],[ \t]{0,8}(?=[\"']))(?![\"']?-)" % _NAME,
    rb"\btoken[ \t]{1,8}(?=[\"']?[0-9a-f][0-9a-f-]{11})",  # the CLI's log: token …, got Some("…")
    rb"\bgot Some\(",
)
# Up to the quote that closes; else up to what ends a word, or to the "==" behind a result's value.
_VALUE = (
    rb"(?:(?P<quote>\\?[\"'])(?![\s$`;&|)])(?:(?!(?P=quote))[^\n]){1,16384}+"
    rb"|(?![$`])(?:[^\s\"'`\\;&|<>(),=]|=(?!=)|,(?=[^\s,])){1,16384}+)"
)
_ECHO = rb"\b(?:echo|printf)[ \t]{1,8}(?:(?:-[neE]{1,3}|[\"']?%s(?:\\n)?[\"']?)[ \t]{1,8})?"
_INTO = rb"[\"']?[ \t]{0,8}>[^\n;&|]{0,200}"

# The look ahead at what a head begins with makes the search six times as fast.
_SECRET = re.compile(rb"(?=[-gpst])(?P<head>%b)%b" % (b"|".join(_HEADS), _VALUE), re.IGNORECASE)
_STORED = re.compile(rb"(?P<head>%b)%b(?=%btoken)" % (_ECHO, _VALUE, _INTO), re.IGNORECASE)
_STORING = re.compile(rb"%b%b%b" % (_ECHO, _VALUE, _INTO), re.IGNORECASE)

_LONGEST_LINE = 1 << 16  # bytes held of a line that has not ended; no secret is as long
_UNDECIDED = 1 << 10  # bytes; more than any of the patterns takes without the value


def redact(text: str) -> str:
    """Return *text*, a line of a log or a command line, without the secrets in it."""
    return _redacted(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


class Redactor:
    """Takes the secrets out of a stream, however it is cut: it goes out line by line."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the stream's next bytes; return what may be written."""
        self._held += data
        cut = self._held.rfind(b"\n") + 1
        if len(self._held) - cut > _LONGEST_LINE:
            cut = _between_secrets(self._held, cut, len(self._held) - _UNDECIDED)
        ready, self._held = self._held[:cut], self._held[cut:]
        return _redacted(ready)

    def end(self) -> bytes:
        """Return what is left."""
        ready, self._held = self._held, b""
        return _redacted(ready)


def _between_secrets(text: bytes, line: int, wanted: int) -> int:
    """Return *wanted*, or what is before it in the line and inside no secret."""
    found = (each.span() for form in (_SECRET, _STORING) for each in form.finditer(text, line))
    spans = [span for span in found if span[0] < wanted]
    cut = wanted
    while inside := [start for start, end in spans if start < cut < end]:
        cut = min(inside)
    return cut if cut > line else wanted


def _redacted(data: bytes) -> bytes:
    lower = data.lower()
    if not any(word in lower for word in _WORDS):
        return data
    return _STORED.sub(_hidden, _SECRET.sub(_hidden, data))


def _hidden(found: re.Match[bytes]) -> bytes:
    return found["head"] + (found["quote"] or b"") + _REDACTED
