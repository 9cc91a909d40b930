"""Drives a run from the command line: begins it, shows how it goes, says how it ended and what comes next."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from tenuto.cli.code import named_code
from tenuto.cli.exits import BY_STATUS, COMPLETED, INTERRUPTED
from tenuto.cli.options import settings_of
from tenuto.cli.output import write
from tenuto.cli.problems import fault_text
from tenuto.cli.progress import Progress
from tenuto.cli.streams import abandon
from tenuto.cli.terminal import COLORS, command, duration
from tenuto.cli.text import printable
from tenuto.cli.wiring import Wiring
from tenuto.engine.ports import RunRow
from tenuto.errors import DatabaseHeld, NotFound
from tenuto.operations.desk import Desk
from tenuto.operations.history import OVER, entries, find_row
from tenuto.operations.runs import settle_run

if TYPE_CHECKING:
    from tenuto.operations.modules import Modules

_Result = TypeVar("_Result")


class Session:
    """One command about runs: its settings, the code it was given, and how to suggest the next command.

    `code` are the Python modules that `--with` names, `documents` the other paths.
    """

    def __init__(self, wiring: Wiring, options: dict[str, Any]) -> None:
        self.wiring = wiring
        self.options = options
        self.settings = settings_of(wiring, options)
        self.code, self.documents = named_code(self.settings.known, wiring.found)

    def load(self, *more: str) -> Modules | None:
        """Import the Python modules that the user named, these first; None if there are none."""
        names = list(dict.fromkeys([*more, *self.code]))
        return self.wiring.load(names) if names else None

    def work(self, modules: Modules | None = None, *, records_only: bool = False) -> Any:
        """Open the database for writing; see `Wiring.work`."""
        return self.wiring.work(self.settings, modules, records_only=records_only)

    def suggest(self, verb: str, run: str, *more: str) -> str:
        """Return the command that does `verb` with a run."""
        return command(verb, run, self.settings, self.options, *more, works=verb in {"resume", "retry"})

    def require_database(self) -> None:
        """Raise NotFound where there is no database yet, so that none is made just to be empty."""
        path = self.settings.database.resolve()
        if not path.exists():
            raise NotFound(f"there is no database at {path}", hint="Name it with --db, or start a run first.")

    def progress(self) -> Progress:
        """Return what shows the run on standard error."""
        terminal = sys.stderr.isatty()
        return Progress(
            sys.stderr,
            time.time,
            live=terminal and not self.settings.dumb,
            color=terminal and self.settings.color,
        )


def note(text: str) -> None:
    """Tell people something on standard error; a run goes on also where that cannot be written."""
    try:
        click.echo(text, err=True)
    except OSError:
        abandon(sys.stderr)


def drive(
    session: Session,
    modules: Modules | None,
    begin: Callable[[Desk], Awaitable[str]],
    format: str,
    *,
    taken_up: bool,
) -> int:
    """Begin a run, show how it goes until it rests, print its outcome; return the exit status."""
    progress = session.progress()
    current: list[str] = []

    async def work() -> RunRow:
        async with session.work(modules) as desk:
            unwatch = desk.runner.watch(progress.watch)
            drawing: asyncio.Task[None] | None = None
            try:
                id = await begin(desk)
                current.append(id)
                shared = await _remember(desk, id, progress) if taken_up else 0
                again = session.suggest("resume", id)
                note(click.style(f"run {id}\nif it stops: {again}", dim=True))
                progress.follow(id, shared)
                drawing = asyncio.ensure_future(progress.draw_always())
                return await settle_run(desk, id)
            finally:
                unwatch()
                if drawing is not None:
                    drawing.cancel()
                progress.draw(last=True)

    row = until_interrupted(work(), lambda: _say_stopped(session, current))
    if row is None:
        _say_stopped(session, current)
        return INTERRUPTED
    return _outcome(session, row, progress, format)


async def _remember(desk: Desk, run: str, progress: Progress) -> int:
    """Tell what the run did before; return how many entries it took over from another run."""
    row = await desk.journal.run(run)
    if row is None:
        return 0
    if not progress.has_begun(run):
        async for seq, entry in entries(desk.journal, row.number):
            progress.remember(seq, entry)
    # The last of the shared entries is told anew: it is what starts the task again.
    return max(0, (row.origin_entries or 0) - 1)


def _say_stopped(session: Session, current: list[str]) -> None:
    if current:
        note(f"stopped. To go on: {session.suggest('resume', current[0])}")
    else:
        note("stopped before the run began")


def until_interrupted(work: Coroutine[Any, Any, _Result], at_once: Callable[[], None]) -> _Result | None:
    """Run until done; return None after SIGINT or SIGTERM, once everything is closed in order.

    A second signal leaves the process at once: what was acknowledged is on disk already.
    """

    async def supervised() -> _Result | None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        stopping = False

        def stop() -> None:
            nonlocal stopping
            if stopping:
                at_once()
                sys.stderr.flush()
                os._exit(INTERRUPTED)
            stopping = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            if stopping:
                return None
            raise

    return asyncio.run(supervised())


def _outcome(session: Session, row: RunRow, progress: Progress, format: str) -> int:
    """Print how a run ended, where to look next, and its result or error."""
    took = duration((row.ended or row.updated) - row.started)
    status = click.style(row.status, fg=COLORS.get(row.status), bold=True)
    outcome = row.outcome or {}
    if row.status == "completed":
        note(f"{status} in {took}. Look closer: {session.suggest('show', row.id)}")
        write(outcome.get("output"), format)
    elif row.status == "faulted":
        fault = outcome.get("error") or {}
        lines = [f"{status} after {took}: {fault_text(fault)[0]}", *fault_text(fault)[1:]]
        lines.append(f"Look closer: {session.suggest('show', row.id)}")
        lines.extend(_again(session.suggest("retry", row.id), fault, progress))
        note("\n".join(lines))
        note(msgspec.json.encode(fault).decode())
    elif row.status == "cancelled":
        note(f"{status} after {took}. Look closer: {session.suggest('show', row.id)}")
    elif row.status == "waiting":
        note(f"{status} for {_awaited(progress)}, which nothing in this process will send; the run is kept.")
        for send in _ways_to_send(session, row.id, progress):
            note(f"To send it: {send}")
        note(f"To go on: {session.suggest('resume', row.id)}")
    elif progress.stuck is not None:
        note(f"{status}, nothing is lost:")
        for line in progress.stuck.splitlines():
            note(printable(line))
        note(f"To go on, once it is mended: {session.suggest('resume', row.id)}")
    else:
        note(f"{status}. To go on: {session.suggest('resume', row.id)}")
    return BY_STATUS.get(row.status, COMPLETED)


def _waits(progress: Progress) -> list[tuple[str, str]]:
    """Return what the run waits for, the latest last: `signal` or `listen`, and its name."""
    kinds = {"signal", "listen"}
    open_tasks = [task for task in progress.tasks if task.type in kinds and task.status not in OVER]
    return [(task.type, re.sub(r"#\d+$", "", task.name)) for task in open_tasks]


def _awaited(progress: Progress) -> str:
    signals = list(dict.fromkeys(name for kind, name in _waits(progress) if kind == "signal"))
    if not signals:
        return "an event"
    return f"the signal{'s' if len(signals) > 1 else ''} " + " or ".join(f"`{name}`" for name in signals)


def _ways_to_send(session: Session, run: str, progress: Progress) -> list[str]:
    """Return the commands that give a run what it waits for."""
    waits = dict.fromkeys(_waits(progress))
    signals = [
        session.suggest("signal", run, name, "--data", "JSON") for kind, name in waits if kind == "signal"
    ]
    return signals or [session.suggest("emit", "TYPE", "--data", "JSON")]


def _again(retry: str, fault: dict[str, Any], progress: Progress) -> list[str]:
    """Return the command that tries again: from the failed task, or from the start if all is taken back."""
    if any(task.type == "undo" for task in progress.tasks):
        return [
            f"What it did is taken back. To begin anew: {retry} --from {_last_task(progress.tasks[0].path)}"
        ]
    task = _failed_task(fault, progress)
    return [] if task is None else [f"Try again from there: {retry} --from {_last_task(task)}"]


def _failed_task(fault: dict[str, Any], progress: Progress) -> str | None:
    """Return the path of the task that ended the run: the fault names it, or is the one that it had."""
    same = ("status", "title", "detail")
    for task in reversed(progress.tasks):
        if "instance" in fault:
            if task.path == fault["instance"]:
                return task.path
        elif task.error and all(task.error.get(name) == fault.get(name) for name in same):
            return task.path
    return None


def _last_task(instance: str) -> str:
    return (
        instance
        if all(character.isalnum() or character in "/-_." for character in instance)
        else f"'{instance}'"
    )


def tell(
    session: Session,
    verb: str,
    run: str,
    do: Callable[[Desk], Awaitable[str]],
    status: str,
    **more: Any,
) -> int:
    """Tell a run something, or have the process that holds the database do it."""
    session.require_database()
    modules = session.load()

    async def work() -> str:
        async with session.work(modules) as desk:
            return await do(desk)

    try:
        id = until_interrupted(work(), lambda: None)
    except DatabaseHeld:
        return ask(session, verb, run, **more)
    if id is None:
        return INTERRUPTED
    note(f"{id} is {click.style(status, fg=COLORS.get(status))}")
    return COMPLETED


def request(session: Session, verb: str, run: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Ask the process that holds the database; return the run's whole id and the answer."""

    async def work() -> tuple[str, dict[str, Any]]:
        async with session.wiring.read(session.settings) as journal:
            row = await find_row(journal, run)
        return row.id, await session.wiring.ask(session.settings, {"verb": verb, "run": row.id, **more})

    return asyncio.run(work())


def ask(session: Session, verb: str, run: str, **more: Any) -> int:
    """Have the process that holds the database do it."""
    id, answer = request(session, verb, run, **more)
    note(f"{id} is {answer.get('status')}, by the process that works on it")
    return COMPLETED
