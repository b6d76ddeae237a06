"""Pythons as sites build them."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_without(module: str, place: Path) -> str:
    """Make a virtual environment that has what ours has, but not *module*; return its Python."""
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    gone = f"import sys; sys.modules[{module!r}] = None"
    lines = (str(ROOT), sysconfig.get_path("purelib"), gone)
    (packages / "without.pth").write_text("".join(f"{line}\n" for line in lines))
    return str(place / "bin" / "python3")
