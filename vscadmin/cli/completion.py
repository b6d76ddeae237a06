"""`vscadmin completion`: what a shell needs to complete verbs, options and products."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vscadmin.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell, to be sourced or installed.

    For example: vscadmin completion bash > /etc/bash_completion.d/vscadmin
    """
    completer = get_completion_class(shell)
    if completer is None:
        raise UsageError(f'shell: "{shell}" is not one that can be completed')
    click.echo(completer(ctx.find_root().command, {}, "vscadmin", "_VSCADMIN_COMPLETE").source())
    return 0
