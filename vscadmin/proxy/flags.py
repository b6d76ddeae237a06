"""The flags of vscode-shell-proxy, and what the value of each may be."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

from vscadmin.proxy.settings import MODES, VARIABLE

_BYTE_LIMIT = 512 << 10  # bytes: relay.CHUNK, by its benchmark
_MOST_BYTES = 64 << 20


def add_usual(parser: argparse.ArgumentParser) -> None:
    """Add what a researcher is likely to need."""
    group = parser.add_argument_group("options")
    add = group.add_argument
    add(
        "-S",
        "--salloc-arg",
        "--srun-arg",
        dest="salloc_args",
        action="append",
        default=[],
        metavar="ARG",
        help="pass ARG on to salloc (or srun), as in -S --time=4:00:00; repeatable",
    )
    add("--profile", default="", metavar="NAME", help="what the site has put together as NAME")
    add("--list-profiles", action="store_true", help="list the profiles of this site, and exit")
    add(
        "-e",
        "--env",
        "--salloc-env",
        "--srun-env",
        dest="environment",
        action="append",
        default=[],
        type=_variable,
        metavar="NAME[=VALUE]",
        help="set an environment variable in the job, or copy it from the login node; repeatable",
    )
    add(
        "--explain",
        action="store_true",
        help="show every setting, where it comes from and the command, and exit without a job",
    )
    add("--version", action="store_true", help="show the version, and exit")
    add("-h", "--help", action="store_true", help="show this help, and exit")


def add_of_files(parser: argparse.ArgumentParser) -> None:
    """Add what shows what happens: the log, and copies of the streams."""
    words = """\
These show what happens when something is wrong. A "[PID]" in the name of a
FILE becomes the process id. Tokens are left out of what is written."""
    group = parser.add_argument_group("log and copies", words)
    add = group.add_argument
    add("-v", "--verbose", action="count", default=0, help="say more; repeatable")
    add("-q", "--quiet", action="count", default=0, help="say less; repeatable")
    add(
        "-l",
        "--log-file",
        type=_file,
        default=None,
        metavar="FILE",
        help="write the log to FILE, not to stderr",
    )
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        add(
            f"-{number}",
            f"--tee-{name}",
            type=_file,
            default=None,
            metavar="FILE",
            help=f"write a copy of {name} to FILE",
        )


def add_rare(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the rest, and return its group."""
    group = parser.add_argument_group("rarely needed")
    add = group.add_argument
    add(
        "--mode",
        type=_mode,
        metavar="MODE",
        default=None,
        help="how the editor's connections reach the job: over a channel of the session's own "
        "(relay), or straight to the compute node (direct)",
    )
    add(
        "--config",
        metavar="FILE",
        help="read this proxy.toml; only root's or the installer's is believed",
    )
    add(
        "-H",
        "--listen-host",
        type=_host,
        default="127.0.0.1",
        metavar="HOST",
        help="address for the editor's connections (default 127.0.0.1)",
    )
    add(
        "-p",
        "--listen-port",
        type=_whole(0, 65535),
        default=0,
        metavar="N",
        help="port for the editor's connections (default 0: any that is free)",
    )
    add(
        "-b",
        "--backlog",
        type=_whole(1, 65535),
        default=None,
        metavar="N",
        help="connections that may wait to be accepted (default 1024)",
    )
    add(
        "-B",
        "--byte-limit",
        type=_whole(1, _MOST_BYTES),
        default=_BYTE_LIMIT,
        metavar="N",
        help=f"bytes moved at once for one connection (default {_BYTE_LIMIT})",
    )
    return group


def _whole(least: int, most: int) -> Any:
    def check(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            words = f'"{text}" is no whole number from {least} to {most}'
            raise argparse.ArgumentTypeError(words)
        return int(text)

    return check


def _mode(text: str) -> str:
    if text not in MODES:
        raise argparse.ArgumentTypeError(f'"{text}" is not one of {", ".join(MODES)}')
    return text


def _file(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must name a file")
    return os.path.abspath(os.path.expanduser(text))


def _host(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:_%-]+", text):
        raise argparse.ArgumentTypeError(f'"{text}" is no address; leave it out for 127.0.0.1')
    return text


def _variable(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not re.fullmatch(VARIABLE, name):
        words = f'"{name}" is no name of a variable; write NAME or NAME=VALUE'
        raise argparse.ArgumentTypeError(words)
    return name, value if equals else None
