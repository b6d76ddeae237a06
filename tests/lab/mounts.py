"""What is mounted on this machine, as far as a lab has to know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

# Folders that are often file systems of their own: an overlay of / does not show what is in them.
_SYSTEM: Final = ("/usr", "/usr/local", "/opt", "/var", "/var/lib")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo (proc(5)); *options* are the file system's."""

    device: str
    root: str
    point: Path
    kind: str
    options: tuple[str, ...]


def parse(text: str) -> list[Mount]:
    """Read /proc/self/mountinfo; lines of another form are left out."""
    found = []
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        head, tail = before.split(" "), after.split(" ")
        if dash and len(head) >= 6 and len(tail) >= 3:
            options = tuple(tail[2].split(","))
            found.append(Mount(head[2], _plain(head[3]), Path(_plain(head[4])), tail[0], options))
    return found


def mounted() -> list[Mount]:
    """Return the mounts that this process sees."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse(file.read())


def system_folders(mounts: list[Mount]) -> list[str]:
    """Return those of the system's folders that have a mount of their own, outer ones first."""
    points = {str(mount.point) for mount in mounts}
    return [folder for folder in _SYSTEM if folder in points]


def _plain(text: str) -> str:
    """Undo the kernel's escapes of blanks and backslashes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
