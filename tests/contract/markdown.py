"""Reading the docs: headings, tables and code of Markdown, as the contract tests need them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


class Section(NamedTuple):
    heading: str
    text: str


def sections(page: Path) -> list[Section]:
    """Cut a page at its headings, those in code blocks left alone."""
    found = [Section("", "")]
    in_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        in_code ^= line.startswith("```")
        if line.startswith("#") and not in_code:
            found.append(Section(line.lstrip("# "), ""))
        else:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}{line}\n")
    return found


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables, their heads left out."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if re.match(r"\|[-| :]+\|$", line):
            found.pop()
        elif line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def in_backquotes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def keys_of(text: str) -> list[list[str]]:
    """Return the rows of tables whose first cell is one key in backquotes, without these."""
    return [[row[0].strip("`"), *row[1:]] for row in rows(text) if re.fullmatch("`[^`]+`", row[0])]


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_code_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(page: Path, heading: str) -> str:
    return next((each.text for each in sections(page) if each.heading == heading), "")
