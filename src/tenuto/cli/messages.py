"""`tenuto signal`, `tenuto emit` and `tenuto query`: talking to runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from tenuto.cli.driving import Session, note, request
from tenuto.cli.files import read_input
from tenuto.cli.options import complete_run, database_option, with_option
from tenuto.cli.output import format_option, write
from tenuto.cli.terminal import COLORS
from tenuto.cli.text import printable
from tenuto.cli.wiring import Wiring
from tenuto.engine.model import TERMINAL
from tenuto.engine.ports import RunRow
from tenuto.errors import DatabaseHeld, InvalidInput, TenutoError
from tenuto.operations.history import find_row
from tenuto.operations.runs import emit_event, find_run, query_run, send_signal

_Command = TypeVar("_Command", bound=Callable[..., Any])

_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")
_TAKEN: Final = frozenset({"specversion", "type", "data", "subject", "source"})


def _data_option(what: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--data",
        "-d",
        metavar="JSON|@FILE|-",
        help=f"{what}: JSON, or a JSON or YAML file (@FILE; `-` is standard input).",
    )


@click.command(short_help="Send a run a signal.")
@click.argument("run", shell_complete=complete_run)
@click.argument("name")
@_data_option("What the signal brings; without it null")
@database_option
@with_option
@click.pass_obj
def signal(wiring: Wiring, /, run: str, name: str, data: str | None, **options: Any) -> None:
    """Send RUN, of a workflow in Python, the signal NAME; it is recorded when this returns.

    If a process works on the database the run goes on there; otherwise `tenuto resume` goes on.

    \b
    Examples:
      tenuto signal 4f1c approved --data true
      tenuto signal 4f1c address --data '{"street": "Main Street 1"}'
    """
    session = Session(wiring, options)
    session.require_database()
    given = None if data is None else read_input(data, "--data")
    modules = session.load()

    async def send() -> tuple[str, str]:
        async with session.work(modules, records_only=True) as desk:
            row = await find_row(desk.journal, run)
            return row.id, await send_signal(desk, row.id, name, given)

    try:
        id, status = asyncio.run(send())
    except DatabaseHeld:
        id, _ = request(session, "signal", run, name=name, data=given)
        note(f"{id} has the signal `{printable(name)}`, in the process that works on it")
    else:
        note(f"{id} has the signal `{printable(name)}`")
        _say_next(session, id, status)


@click.command(short_help="Ask a run what it says of itself.")
@click.argument("run", shell_complete=complete_run)
@click.argument("name")
@format_option()
@database_option
@with_option
@click.pass_obj
def query(wiring: Wiring, /, run: str, name: str, format: str, **options: Any) -> None:
    """Print what RUN, of a workflow in Python, says of itself under NAME; also after its end.

    \b
    Examples:
      tenuto query 4f1c progress
      tenuto query 4f1c progress --output json
    """
    session = Session(wiring, options)
    session.require_database()
    modules = session.load()

    async def fetch() -> Any:
        async with session.work(modules, records_only=True) as desk:
            row = await find_row(desk.journal, run)
            return await query_run(desk, row.id, name)

    try:
        value = asyncio.run(fetch())
    except DatabaseHeld:
        value = request(session, "query", run, name=name)[1]["value"]
    write(value, format)


@click.command(short_help="Publish an event to all runs that wait for it.")
@click.argument("type")
@_data_option("What the event brings")
@click.option("--subject", help="Whom or what it is about.")
@click.option("--source", help="Where it comes from; without it /tenuto.")
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="Another attribute (repeatable)."
)
@database_option
@with_option
@click.pass_obj
def emit(
    wiring: Wiring,
    /,
    type: str,
    data: str | None,
    subject: str | None,
    source: str | None,
    attributes: tuple[str, ...],
    **options: Any,
) -> None:
    """Publish a CloudEvent of TYPE; it is recorded with all runs that wait for it when this returns.

    If a process works on the database, the runs that it works on hear the event. Otherwise all runs
    that wait in the database do, and `tenuto resume` goes on with each.

    \b
    Examples:
      tenuto emit org.example.order.paid --data '{"order": 4711}'
      tenuto emit org.example.order.paid --subject 4711 --source /shop --attribute region=eu
    """
    session = Session(wiring, options)
    session.require_database()
    given = None if data is None else read_input(data, "--data")
    named = {"subject": subject, "source": source, **_attributes(attributes)}
    more = {name: value for name, value in named.items() if value is not None}
    modules = session.load()

    async def publish() -> list[RunRow]:
        asyncio.get_running_loop().set_exception_handler(_say_left_out)
        async with session.work(modules, records_only=True) as desk:
            await desk.runner.recover()
            return [await find_run(desk, run) for run in await emit_event(desk, type, given, more)]

    try:
        rows = asyncio.run(publish())
    except DatabaseHeld:
        runs = asyncio.run(_hand_over(session, type, given, more))
        _say_heard(type, runs, held=True)
    else:
        _say_heard(type, [row.id for row in rows], held=False)
        for row in rows:
            _say_next(session, row.id, row.status)


async def _hand_over(session: Session, type: str, data: Any, attributes: dict[str, str]) -> list[str]:
    asked = {"verb": "emit", "type": type, "data": data, "attributes": attributes}
    answer = await session.wiring.ask(session.settings, asked)
    runs: list[str] = answer["runs"]
    return runs


def _say_heard(type: str, runs: list[str], *, held: bool) -> None:
    place = "the process that works on the database"
    if runs:
        note(f"heard by {', '.join(runs)}" + (f", in {place}" if held else ""))
    else:
        note(f"no run{f' of {place}' if held else ''} waits for `{printable(type)}`: nobody has heard it")


def _say_next(session: Session, run: str, status: str) -> None:
    """Say how a run goes on that has heard something, while nobody works on it."""
    if status in TERMINAL:
        note(f"{run} is {click.style(status, fg=COLORS.get(status))}")
    else:
        note(f"To go on: {session.suggest('resume', run)}")


def _say_left_out(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Name a run that cannot be taken up, so that it has not heard the event."""
    error = context.get("exception")
    why = error.message if isinstance(error, TenutoError) else error
    note(f"warning: {context['message']}: {printable(str(why))}")


def _attributes(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not _ATTRIBUTE.fullmatch(name):
            raise InvalidInput(
                f"--attribute: {each!r} is not NAME=VALUE",
                hint="an attribute's name has letters a-z and digits, as in region=eu",
            )
        if name in _TAKEN:
            raise InvalidInput(
                f"--attribute: `{name}` is not given this way", hint="see `tenuto emit --help`"
            )
        found[name] = value
    return found
