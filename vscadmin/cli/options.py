"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from vscadmin.units import parse_duration

Command = Callable[..., Any]


class Duration(click.ParamType[int]):
    """A duration as in the policy, "90s" or "14d", in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it; a wrong one is a usage error with the reason."""
        try:
            return value if isinstance(value, int) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def policy_for(use: str) -> Callable[[Command], Command]:
    """Return the option for the policy file, that says what it is used for."""
    words = f"Policy {use}; default /etc/vscadmin/policy.toml, else the built-in one."
    return click.option("--policy", "policy_path", metavar="FILE", help=words)


policy = policy_for("to judge by")
stored_policy = policy_for("whose store.path is read")
catalogue = click.option(
    "--catalogue",
    "catalogue_dir",
    metavar="DIR",
    help="Directory with more product families; default the policy's scope.catalogue_dir.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md).")
wide = click.option("--wide", is_flag=True, help="Use the whole width, not 100 columns.")


def _complete_products(_ctx: click.Context, _param: click.Parameter, start: str) -> list[str]:
    from vscadmin.procs.families import load_catalogue  # noqa: PLC0415 - only for completion

    return [each.name for each in load_catalogue().families if each.name.startswith(start)]


product = click.option(
    "--product", metavar="NAME", shell_complete=_complete_products, help="Only this product."
)
user = click.option("--user", metavar="NAME", help="Only this user's servers.")
past_user = click.option("--user", metavar="NAME", help="Only what is about this user.")
since = click.option(
    "--since", type=Duration(), metavar="TIME", help="Only the last so long, such as 14d."
)


def inputs(function: Command) -> Command:
    """Add the options that say what to judge by."""
    return policy(catalogue(function))
