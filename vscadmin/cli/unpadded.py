"""Standard output that is no terminal: without the blanks that rich fills lines up with."""

from __future__ import annotations

import io
from typing import TextIO, cast


class _Unpadded(io.TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # rich asks for it
        return self._stream.encoding

    def write(self, text: str) -> int:
        self._stream.write("\n".join(line.rstrip(" ") for line in text.split("\n")))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def unpadded(stream: TextIO) -> TextIO:
    """Return what writes to *stream* lines without the blanks at their ends; it takes whole lines.

    They make a line of a pipe or a file no easier to read, and harder to compare and to copy.
    """
    return cast(TextIO, _Unpadded(stream))
