"""No environment variable changes the policy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from tests.run import json_of
from vscadmin.cli.main import cli

WISHED = ("POLICY", "CONFIG_SHOW_POLICY", "MODE", "CATALOGUE", "CONFIG")


def commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            each = command.get_command(context, name)
            assert each is not None
            yield from commands(each)


def test_no_option_is_taken_from_a_variable() -> None:
    found = list(commands(cli))
    assert len(found) > 10
    assert all(option.envvar is None for each in found for option in each.params)
    assert all("auto_envvar_prefix" not in each.context_settings for each in found)


def test_a_policy_that_a_variable_names_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('version = 1\nmode = "enforce"\n', encoding="utf-8")
    names = {f"VSCADMIN_{each}": str(tmp_path / "policy.toml") for each in WISHED}
    odd = {**os.environ, **names, "XDG_CONFIG_HOME": str(tmp_path), "VSCADMIN_MODE": "enforce"}
    assert json_of("config", "show", env=odd) == json_of("config", "show")
