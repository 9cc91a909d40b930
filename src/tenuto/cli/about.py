"""`tenuto version` and `tenuto completion`."""

from __future__ import annotations

import platform

import click
from click.shell_completion import get_completion_class

from tenuto import __version__


@click.command(short_help="Print the version.")
def version() -> None:
    """Print the version of Tenuto, of Python and of the workflow language.

    \b
    Example:
      tenuto version
    """
    click.echo(
        f"tenuto {__version__} (Open Workflow Specification 1.0.3, Python {platform.python_version()})"
    )


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, run ids and connector names.

    \b
    Examples:
      tenuto completion bash > ~/.local/share/bash-completion/completions/tenuto
      tenuto completion zsh > ~/.zfunc/_tenuto       (with ~/.zfunc in $fpath)
      tenuto completion fish > ~/.config/fish/completions/tenuto.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    source = kind(ctx.find_root().command, {}, "tenuto", "_TENUTO_COMPLETE")
    click.echo(source.source_template % source.source_vars())
