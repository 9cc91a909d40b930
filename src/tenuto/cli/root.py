"""The `tenuto` command itself: its overview, and what happens to errors and interruptions.

Commands are loaded by name, one at a time, so that the overview stays fast.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn

import click

from tenuto.cli.commands import COMMANDS
from tenuto.cli.exits import INTERRUPTED, INVALID, OUT_OF_ORDER
from tenuto.cli.streams import abandon
from tenuto.cli.text import printable
from tenuto.cli.wiring import Wiring
from tenuto.errors import Conflict as ConflictError
from tenuto.errors import Invalid, InvalidDocument, NotFound, TenutoError

HELP: Final = """Run workflows, durably, from one command.

A workflow is a YAML file in the Open Workflow Specification, or Python code. Every finished step is
recorded before the next one begins; a run that was stopped, by whatever, goes on where it was.

\b
  tenuto init                      write a first workflow
  tenuto run hello.yaml            run it
  tenuto show                      see what happened
"""
EPILOG: Final = """`tenuto COMMAND --help` explains a command, with examples.

\b
Exit status: 0 completed, 1 faulted, 2 invalid document, input or request,
3 waiting or suspended, 4 Tenuto itself could not go on, 130 cancelled or interrupted.
"""
REPORT: Final = "This is a mistake in Tenuto. Please report it, with what TENUTO_DEBUG=1 prints."


class Root(click.Group):
    """The `tenuto` group: knows all commands by name, loads the one that is asked for."""

    def __init__(self, load: Callable[[str], click.Command]) -> None:
        super().__init__(
            name="tenuto",
            help=HELP,
            epilog=EPILOG,
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            params=[
                click.Option(
                    ["--debug"], is_flag=True, help="Show where unexpected errors come from (TENUTO_DEBUG)."
                ),
                click.Option(
                    ["--version"],
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=self._print_version,
                    help="Print the version, as `tenuto version` does.",
                ),
            ],
        )
        self._load = load

    def _print_version(self, ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            ctx.invoke(self._load("version"))
            ctx.exit()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None if there is none of that name."""
        return self._load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is asked for; a wrong word gets the nearest right one."""
        name = args[0]
        if name in COMMANDS or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `tenuto {near[0]}`?" if near else "`tenuto --help` lists all commands"
        if name.endswith((".yaml", ".yml", ".json", ".py")):
            hint = f"to run a workflow: tenuto run {name}"
        raise click.UsageError(f"there is no command {name!r}\nhint: {hint}", ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is asked for; 0 if a reader such as `head` has left, where Click says 1."""
        run_it = super().invoke
        try:
            return run_it(ctx)
        except BrokenPipeError:
            abandon(sys.stdout)
            return 0

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the list of commands, without loading one."""
        width = max(map(len, COMMANDS))
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            rows = [
                (name.ljust(width), entry.summary)
                for name, entry in COMMANDS.items()
                if entry.section == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows)


def run_command_line(root: Root, wiring: Wiring, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its exit status."""
    debug = wiring.settings.debug or "--debug" in (sys.argv[1:2] if arguments is None else arguments[:1])
    try:
        status: Any = root.main(
            args=None if arguments is None else list(arguments),
            prog_name="tenuto",
            standalone_mode=False,
            obj=wiring,
            color=None if wiring.settings.color else False,
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        status = error.exit_code
    except click.ClickException as error:
        _complain_usage(error)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except TenutoError as error:
        if debug:
            traceback.print_exc()
        complain(error)
        status = status_of(error)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            abandon(sys.stdout)
            _say("error: the output cannot be written: no space left")
            _say("hint: free some space; `tenuto show` shows again how a run ended")
            sys.exit(OUT_OF_ORDER)
        _say(f"error: {type(error).__name__}: {error}")
        _say(f"hint: {REPORT}")
        status = OUT_OF_ORDER
    sys.exit(status if isinstance(status, int) else 0)


def complain(error: TenutoError) -> None:
    """Print an expected error on standard error: what happened, and what to do."""
    if isinstance(error, InvalidDocument):
        for problem in error.problems:
            where = f"{error.name}:{problem.line}:{problem.column}"
            _say(f"{where}: {problem.severity}: {problem.message} [{problem.code}]")
            if problem.hint:
                _say(f"  hint: {problem.hint}")
        return
    for line in f"error: {error.message}".splitlines():
        _say(line)
    if error.hint:
        _say(f"hint: {error.hint}")


def _say(line: str) -> None:
    click.echo(printable(line), err=True)


def status_of(error: TenutoError) -> int:
    """Return the exit status of an error: who has to act next, the caller or the machine."""
    return INVALID if isinstance(error, Invalid | NotFound | ConflictError) else OUT_OF_ORDER


def _complain_usage(error: click.ClickException) -> None:
    message, _, hint = error.format_message().partition("\nhint: ")
    click.echo(f"error: {message[:1].lower()}{message[1:]}", err=True)
    if not hint and isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"see `{error.ctx.command_path} --help`"
    if hint:
        click.echo(f"hint: {hint}", err=True)
