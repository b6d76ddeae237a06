"""`vscadmin config`: validate a policy, show the one in force, generate one to start from."""

from __future__ import annotations

import os
from typing import Any

import click

from vscadmin import policy
from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.survey import DEFAULT_POLICY, Loaded, load_families, load_policy, warn_of
from vscadmin.errors import ConfigError
from vscadmin.policy.text import as_toml

STARTER = os.path.join(os.path.dirname(policy.__file__), "starter.toml")


@click.group("config")
def command() -> None:
    """Check, show and write the policy."""


@command.command("validate")
@click.argument("file", metavar="[FILE]", required=False)
@options.catalogue
@options.as_json
def validate(file: str | None, catalogue_dir: str | None, as_json: bool) -> int:
    """Check a policy file, by default /etc/vscadmin/policy.toml; prints all errors at once.

    Exits with 78 when it is wrong. A file that others could change is a warning here:
    cleanup refuses it.
    """
    path = file or DEFAULT_POLICY
    try:
        loaded = load_policy(path)
        load_families(loaded, catalogue_dir)
    except ConfigError as error:
        if as_json:
            _emit_validity(path, error.problems, ())
            return error.exit_code
        raise
    if as_json:
        _emit_validity(path, (), loaded.warnings)
        return 0
    warn_of(loaded)
    click.echo(f"{path}: valid; rules: {len(loaded.policy.rules)}; mode: {loaded.policy.mode}")
    return 0


def _emit_validity(path: str, problems: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    body = {"file": path, "valid": not problems, "problems": problems, "warnings": warnings}
    js.emit("config", body)


@command.command("show")
@options.inputs
@options.as_json
def show(policy_path: str | None, catalogue_dir: str | None, as_json: bool) -> int:
    """Print the policy in force, every default filled in."""
    loaded = load_policy(policy_path)
    load_families(loaded, catalogue_dir)
    if as_json:
        js.emit("policy", {"policy": js.policy_facts(loaded), "settings": _settings(loaded)})
    else:
        click.echo(f"# {loaded.source} {loaded.digest}".rstrip())
        click.echo(as_toml(loaded.policy), nl=False)
    return 0


def _settings(loaded: Loaded) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only here

    settings = tomllib.loads(as_toml(loaded.policy))
    for exemption in settings.get("exempt", ()):
        exemption["until"] = exemption["until"].isoformat()
    return settings


@command.command("generate")
def generate() -> int:
    """Print a commented policy to start from: the built-in one, in mode observe.

    For example: vscadmin config generate > /etc/vscadmin/policy.toml
    """
    with open(STARTER, encoding="utf-8") as file:
        click.echo(file.read(), nl=False)
    return 0
