"""`vscadmin config`: validate a policy or proxy.toml, show it in force, generate a policy."""

from __future__ import annotations

import os
import tomllib
from typing import Any, NamedTuple

import click

from vscadmin import policy
from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.survey import BUILT_IN, DEFAULT_POLICY, Loaded, load_families, load_policy
from vscadmin.errors import ConfigError
from vscadmin.policy.text import as_toml
from vscadmin.proxy.settings import DEFAULT

STARTER = os.path.join(os.path.dirname(policy.__file__), "starter.toml")


@click.group("config")
def command() -> None:
    """Check, show and write the policy; check and show proxy.toml."""


_proxy = click.option(
    "--proxy",
    metavar="[FILE]",
    is_flag=False,
    flag_value=DEFAULT,
    help=f"The file of vscode-shell-proxy instead, by default {DEFAULT}.",
)


@command.command("validate", short_help="Check a policy file, or proxy.toml.")
@click.argument("file", metavar="[FILE]", required=False)
@_proxy
@options.catalogue
@options.as_json
def validate(file: str | None, proxy: str | None, catalogue_dir: str | None, as_json: bool) -> int:
    """Check a policy file, by default /etc/vscadmin/policy.toml; prints all errors at once.

    A file with the name proxy.toml is checked as one, with its plugins. Exits with 78 when it
    is wrong. A file that others could change is a warning here: cleanup, and every session,
    refuses it.
    """
    path = file or proxy or DEFAULT_POLICY
    try:
        if proxy or os.path.basename(path) == os.path.basename(DEFAULT):
            valid = _valid_proxy(path)
        else:
            valid = _valid_policy(path, catalogue_dir)
    except ConfigError as error:
        if as_json:
            _emit_validity(path, error.problems, ())
            return error.exit_code
        raise
    if as_json:
        _emit_validity(path, (), valid.warnings)
        return 0
    for warning in valid.warnings:
        click.echo(f"vscadmin: warning: {warning}{valid.consequence}", err=True)
    click.echo(f"{path}: valid; {valid.words}")
    return 0


class _Valid(NamedTuple):
    """What to say of a file that is right, and why it would be refused all the same."""

    words: str
    warnings: tuple[str, ...]
    consequence: str = ""


def _valid_policy(path: str, catalogue_dir: str | None) -> _Valid:
    loaded = load_policy(path)
    load_families(loaded, catalogue_dir)
    words = f"rules: {len(loaded.policy.rules)}; mode: {loaded.policy.mode}"
    return _Valid(words, loaded.warnings, ": cleanup would refuse this policy")


def _valid_proxy(path: str) -> _Valid:
    from vscadmin.cli.proxy_config import load_proxy  # noqa: PLC0415 - brings pluggy

    loaded = load_proxy(path)
    plugins = ", ".join(loaded.settings.plugins) or "none"
    words = f"profiles: {len(loaded.settings.profile)}; plugins: {plugins}"
    return _Valid(words, loaded.warnings)


def _emit_validity(path: str, problems: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    body = {"file": path, "valid": not problems, "problems": problems, "warnings": warnings}
    js.emit("config", body)


@command.command("show", short_help="Print the settings in force.")
@options.inputs
@_proxy
@options.as_json
def show(
    policy_path: str | None, catalogue_dir: str | None, proxy: str | None, as_json: bool
) -> int:
    """Print the policy in force, or with --proxy proxy.toml, every default filled in."""
    if proxy:
        return _show_proxy(proxy, as_json)
    loaded = load_policy(policy_path)
    load_families(loaded, catalogue_dir)
    if as_json:
        js.emit("policy", {"policy": js.policy_facts(loaded), "settings": _settings(loaded)})
    else:
        click.echo(f"# {loaded.source} {loaded.digest}".rstrip())
        click.echo(as_toml(loaded.policy), nl=False)
    return 0


def _show_proxy(path: str, as_json: bool) -> int:
    from vscadmin.cli import proxy_config  # noqa: PLC0415 - brings pluggy

    there = os.path.exists(path)
    loaded = proxy_config.load_proxy(path) if there else proxy_config.BUILT_IN_PROXY
    source = path if there else BUILT_IN
    text = proxy_config.as_toml(loaded.settings)
    if as_json:
        facts = {"source": source, "sha256": loaded.digest or None, "warnings": loaded.warnings}
        js.emit("proxy", {"proxy": facts, "settings": tomllib.loads(text)})
    else:
        click.echo(f"# {source} {loaded.digest}".rstrip())
        click.echo(text, nl=False)
    return 0


def _settings(loaded: Loaded) -> dict[str, Any]:
    settings = tomllib.loads(as_toml(loaded.policy))
    for exemption in settings.get("exempt", ()):
        exemption["until"] = exemption["until"].isoformat()
    return settings


@command.command("generate", short_help="Print a commented policy to start from.")
def generate() -> int:
    """Print a commented policy to start from: the built-in one, in mode observe.

    For example, where install -d -m 755 /etc/vscadmin has made the directory:

    vscadmin config generate > /etc/vscadmin/policy.toml
    """
    with open(STARTER, encoding="utf-8") as file:
        click.echo(file.read(), nl=False)
    return 0
