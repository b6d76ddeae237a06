"""What --explain prints: every setting, its value, and where it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from vscadmin.escape import printable
from vscadmin.proxy.arguments import Parser
from vscadmin.proxy.draft import BUILT_IN, COMMAND_LINE, Draft, Setting
from vscadmin.proxy.launch import BOOT

_LONGEST = 4096  # characters of one value
_OF_SITE = (
    "contact", "plugins", "relay_address", "relay_ports", "python", "allow_direct",
    "direct_bind",
)  # fmt: skip
_OF_USER = ("listen_host", "listen_port", "byte_limit", "log_file", "tee", "verbosity")


def explain(draft: Draft) -> str:
    """Return a table, a row for each setting, and below it the command and the notes."""
    rows = [Setting("SETTING", "VALUE", "FROM"), *map(_printable, _rows(draft))]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{wide[0]}}  {value:{wide[1]}}  {source}" for name, value, source in rows]
    command = shlex.join("…" if word == BOOT else word for word in draft.command)
    lines += ["", f"runs: {printable(command, _LONGEST)}"]
    lines += [f"note: {each}" for each in draft.notes]
    return "\n".join(lines) + "\n"


def _printable(row: Setting) -> Setting:
    return Setting(*(printable(each, _LONGEST) for each in row))


def _rows(draft: Draft) -> Iterator[Setting]:
    yield from (row._replace(value=_shown(row.value)) for row in draft.settled)
    for group in draft.groups:
        yield from (Setting("argument", each, group.source) for each in group.arguments)
    for name, (value, source) in draft.environment.items():
        yield Setting("environment", name if value is None else f"{name}={value}", source)
    for variable, socket, source in draft.forwards:
        yield Setting("forward", f"{variable} to {socket}", source)
    if draft.shell:
        yield Setting("shell in", shlex.join(draft.shell), "plugins")
    for key in _OF_SITE:
        value, source = draft.of_site(key)
        yield Setting(key, _shown(value), source)
    backlog, source = draft.of_site("listen_backlog")
    asked = draft.asked.backlog
    yield Setting("backlog", str(asked or backlog), COMMAND_LINE if asked else source)
    usual = Parser().parse(())
    for key in _OF_USER:
        value = getattr(draft.asked, key)
        source = BUILT_IN if value == getattr(usual, key) else COMMAND_LINE
        yield Setting(key, _shown(value), source)


def _shown(value: object) -> str:
    """Return a value as proxy.toml or the command line would have it; "-" for none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple) and any(isinstance(each, int) for each in value):
        return "-".join(map(str, value)) if any(value) else "-"
    if isinstance(value, tuple):
        return " ".join(str(each) for each in value if each) or "-"
    return str(value) if value != "" else "-"
