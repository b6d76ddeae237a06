"""Where the editor's server is to listen, as the client's script says it: direct mode rewrites it.

The script is the client's stdin. Everything passes at once up to and including the word that
starts a server or sets its arguments; the rest of that command is held until it is complete (a
backslash before the newline continues it), and its bind host is replaced. A comment, a
here-document or an echo that quotes such a command is changed like one, which does no harm: the
legacy bootstrap prints what it is about to start.

A command line interface of before May 2024 knows no --on-host. It says so and ends, where it
would have listened on an address that nobody reaches from outside: relay mode serves it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vscadmin.proxy.rewrite import Forward


@dataclass(frozen=True, slots=True)
class Changed:
    """A command as it came and as it is passed on, without its last newline.

    Of what stands before the command on its line, only the end is shown.
    """

    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """A command that starts a server, and binds it in a form that is not rewritten."""

    command: bytes


Event = Forward | Changed | Unknown

_START = re.compile(rb"--start-server|SERVER_SCRIPT|server\.sh|command-shell|LISTEN_ARGS=")
_LONGEST_START = len(b"--start-server")
_LONGEST_COMMAND = 1 << 14  # bytes; a real one has some 600, and 50 for each extension it names
_SHOWN = 1 << 10  # bytes before the command that are kept for its report

_OPTION = rb"(?<![\w-])--(?:on-)?host(?:=|[ \t]++)\\?+[\"']?+"
_ADDRESS = rb"(?:localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]?)"
_END = rb"(?![\w.:\[\]-])"
_BIND = re.compile(rb"(%b)%b%b" % (_OPTION, _ADDRESS, _END))
_ON_PORT = re.compile(rb"(?<![\w-])--on-port(?![\w-])")
_SERVER = re.compile(rb"--start-server[ \t]+(?:\\\n[ \t]*)?[-$]")  # and not only its name
_PLACE = re.compile(rb"(?<![\w-])--(?:host|socket-path)(?![\w-])")

_HOST = re.compile(rb"[0-9A-Za-z][0-9A-Za-z.-]*|[0-9A-Fa-f:.]+")


class BindRewriter:
    """Makes the server that the client's script starts listen on *host*.

    Raises ValueError if *host* is neither a name nor an address without brackets: it becomes
    part of a shell's command.
    """

    def __init__(self, host: bytes) -> None:
        if not _HOST.fullmatch(host):
            raise ValueError(f"bind host {host!r}: neither a name nor an address")
        self._host = host
        self._other = re.compile(rb"%b(?!%b%b)" % (_OPTION, re.escape(host), _END))
        self._line = b""  # the end of what has passed of this line
        self._held: bytes | None = None  # of a command, what came after its first word
        self._has_reported = False

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the client; return what to do about them."""
        events: list[Event] = []
        while data:
            if self._held is None:
                data = self._pass(data, events)
            else:
                data = self._hold(self._held + data, events)
        return events

    def end(self) -> list[Event]:
        """Release what is held: a script's last command may do without a newline."""
        events: list[Event] = []
        if self._held:
            self._release(self._held, self._rewritten(self._held), events)
        return events

    def _pass(self, data: bytes, events: list[Event]) -> bytes:
        """Forward *data* up to where a command has begun; return the rest."""
        known = len(self._line)
        text = self._line + data
        found = _START.search(text, max(0, known - _LONGEST_START))
        end = found.end() if found else len(text)
        events.append(Forward(text[known:end]))
        self._line = text[text.rfind(b"\n", 0, end) + 1 : end][-_SHOWN:]
        self._held = b"" if found else None
        return text[end:]

    def _hold(self, text: bytes, events: list[Event]) -> bytes:
        """Rewrite the command in *text* if it is complete; return what follows it.

        One that gets too long passes unchanged as far as it came.
        """
        end = _end_of_command(text)
        if end:
            command = text[:end]
            self._release(command, self._rewritten(command), events)
            return text[end:]
        if len(text) < _LONGEST_COMMAND:
            self._held = text
            return b""
        command = text[:_LONGEST_COMMAND]
        self._release(command, command, events)
        return text[_LONGEST_COMMAND:]

    def _release(self, before: bytes, after: bytes, events: list[Event]) -> None:
        started = self._line
        self._line, self._held = b"", None
        if after != before:
            changed = (started + each.removesuffix(b"\n") for each in (before, after))
            events.append(Changed(*changed))
        command = started + after.removesuffix(b"\n")
        if not self._has_reported and self._is_unknown(command):
            self._has_reported = True
            events.append(Unknown(command))
        events.append(Forward(after))

    def _rewritten(self, command: bytes) -> bytes:
        command = _BIND.sub(lambda found: found[1] + self._host, command)
        if b"--on-host" in self._line + command:
            return command
        return _ON_PORT.sub(b"--on-host=%b --on-port" % self._host, command)

    def _is_unknown(self, command: bytes) -> bool:
        """Return whether *command* binds another host, or one that is not on its line."""
        if self._other.search(command):
            return True
        return _SERVER.search(command) is not None and not _PLACE.search(command)


def _end_of_command(text: bytes) -> int:
    """Return where the command that *text* begins with is complete, 0 if it is not."""
    newline = text.find(b"\n", 0, _LONGEST_COMMAND)
    while newline >= 0 and _is_continued(text[:newline]):
        newline = text.find(b"\n", newline + 1, _LONGEST_COMMAND)
    return newline + 1


def _is_continued(line: bytes) -> bool:
    """Return whether the newline after *line* is quoted: by a backslash that is not itself."""
    return (len(line) - len(line.rstrip(b"\\"))) % 2 == 1
