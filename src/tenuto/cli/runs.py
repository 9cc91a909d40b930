"""`tenuto run`, `resume`, `retry`, `suspend` and `cancel`: driving runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from tenuto.cli.exits import BY_STATUS, COMPLETED, INTERRUPTED, INVALID
from tenuto.cli.files import known_files, read, read_input
from tenuto.cli.options import complete_run, database_option, settings_of, working_options
from tenuto.cli.output import format_option, write
from tenuto.cli.problems import described, fault_text
from tenuto.cli.progress import Progress
from tenuto.cli.streams import abandon
from tenuto.cli.terminal import COLORS, command, duration
from tenuto.cli.wiring import Wiring
from tenuto.engine.ports import DocumentRow, RunRow
from tenuto.errors import DatabaseHeld, Invalid, InvalidInput, NotFound
from tenuto.operations.desk import Desk
from tenuto.operations.documents import Checked, check, check_input, definition, is_workflow
from tenuto.operations.history import entries, find_open_row, find_row
from tenuto.operations.runs import cancel_run, resume_run, retry_run, settle_run, start_run, suspend_run
from tenuto.settings import Settings, secret_variable

_Result = TypeVar("_Result")


class Session:
    """One command that drives a run: its settings, and how to suggest the next command."""

    def __init__(self, wiring: Wiring, options: dict[str, Any]) -> None:
        self.wiring = wiring
        self.options = options
        self.settings = settings_of(wiring, options)

    def suggest(self, verb: str, run: str) -> str:
        """Return the command that does `verb` with a run."""
        works = verb in {"resume", "retry"}
        return command(verb, run, self.settings, self.options, works=works)

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


@click.command(short_help="Run a workflow and print its result.")
@click.argument("file", type=click.Path())
@click.option(
    "--input",
    "-i",
    "data",
    metavar="JSON|@FILE|-",
    help="The input: JSON, or a JSON or YAML file (@FILE; `-` is standard input). Without it: {}.",
)
@click.option("--id", "id", metavar="ID", help="The run's id: letters, digits, _ and -, at most 64.")
@format_option()
@working_options
@click.pass_obj
def run(wiring: Wiring, /, file: str, data: str | None, id: str | None, format: str, **options: Any) -> int:
    """Run the workflow in FILE (`-`: standard input) and print what it answers.

    Standard output gets the result and nothing else; progress goes to standard error. If the
    run faults, the last line there is the error as JSON (RFC 7807). The same --id with the same
    workflow and input never runs twice: the run that is there goes on, or shows its result.

    \b
    Examples:
      tenuto run hello.yaml
      tenuto run hello.yaml --input '{"name": "Ada"}'
      tenuto run hello.yaml --input @record.json --output json | jq .greetings
      tenuto run main.yaml --with library/ --secrets secrets.yaml --id order-4711
    """
    session = Session(wiring, options)
    if file == "-" and data == "-":
        raise InvalidInput("the workflow and its input cannot both come from standard input")
    folders = [Path(file).parent, *session.settings.known]
    checked = check("<stdin>" if file == "-" else file, read(file), wiring.known(folders))
    if not _usable(checked):
        return INVALID
    given = read_input(data)
    check_input(checked, given)
    _warn_of_secrets(checked, session.settings)
    row = definition(checked, None if file == "-" else str(Path(file).resolve()))
    known = list(_known(session.settings))

    async def begin(desk: Desk) -> str:
        if known:
            await desk.journal.put_documents(known)
        return await start_run(desk, row, given, run=id)

    return _drive(session, begin, format, taken_up=id is not None)


@click.command(short_help="Go on with a run that stopped in the middle.")
@click.argument("run", required=False, shell_complete=complete_run)
@format_option()
@working_options
@click.pass_obj
def resume(wiring: Wiring, /, run: str | None, format: str, **options: Any) -> int:
    """Go on with RUN where it stopped: after a crash, Ctrl-C, a pause or a wait.

    Without RUN: the newest run that is not over. No finished step runs again. Give the same
    --resolve, --with and --secrets as for `run`; they are not stored.

    \b
    Examples:
      tenuto resume
      tenuto resume 4f1c
    """
    session = Session(wiring, options)
    session.require_database()
    known = list(_known(session.settings))

    async def begin(desk: Desk) -> str:
        if known:
            await desk.journal.put_documents(known)
        row = await find_open_row(desk.journal, run)
        await resume_run(desk, row.id)
        return row.id

    try:
        return _drive(session, begin, format, taken_up=True)
    except DatabaseHeld:
        if run is None:
            raise
        return _ask(session, "resume", run)


@click.command(short_help="Start again from a task of an earlier run.")
@click.argument("run", shell_complete=complete_run)
@click.option(
    "--from", "task", required=True, metavar="TASK", help="The task to begin with: its path or name."
)
@click.option(
    "--input", "-i", "data", metavar="JSON|@FILE|-", help="Replace the task's input; as for `tenuto run`."
)
@format_option()
@working_options
@click.pass_obj
def retry(wiring: Wiring, /, run: str, task: str, data: str | None, format: str, **options: Any) -> int:
    """Start a new run that takes over what RUN did before TASK, and begins anew with TASK.

    RUN must be over; it stays as it is. What it did before TASK is not done again.

    \b
    Examples:
      tenuto retry 4f1c --from sendMail
      tenuto retry 4f1c --from /do/2/sendMail --input '{"to": "ada@example.com"}'
    """
    session = Session(wiring, options)
    session.require_database()
    given = None if data is None else read_input(data)
    known = list(_known(session.settings))

    async def begin(desk: Desk) -> str:
        if known:
            await desk.journal.put_documents(known)
        row = await find_row(desk.journal, run)
        return await retry_run(desk, row.id, task, replace=data is not None, data=given)

    return _drive(session, begin, format, taken_up=True)


@click.command(short_help="Pause a run until it is resumed.")
@click.argument("run", shell_complete=complete_run)
@database_option
@click.pass_obj
def suspend(wiring: Wiring, /, run: str, **options: Any) -> int:
    """Pause RUN: what is under way ends and is recorded, nothing new begins.

    This also works while another process drives the run. `tenuto resume RUN` ends the pause.

    \b
    Example:
      tenuto suspend 4f1c
    """
    session = Session(wiring, options)

    async def pause(desk: Desk) -> str:
        row = await find_row(desk.journal, run)
        await suspend_run(desk, row.id)
        return row.id

    return _tell(session, "suspend", run, pause, "suspended")


@click.command(short_help="Stop a run for good.")
@click.argument("run", shell_complete=complete_run)
@click.option("--reason", help="Why; it is recorded.")
@database_option
@click.pass_obj
def cancel(wiring: Wiring, /, run: str, reason: str | None, **options: Any) -> int:
    """Stop RUN for good: what is under way is stopped, nothing new begins.

    This also works while another process drives the run.

    \b
    Examples:
      tenuto cancel 4f1c
      tenuto cancel 4f1c --reason "ordered twice"
    """
    session = Session(wiring, options)

    async def stop(desk: Desk) -> str:
        row = await find_row(desk.journal, run)
        await cancel_run(desk, row.id, reason)
        return row.id

    return _tell(session, "cancel", run, stop, "cancelled", reason=reason)


# ── what is common to them ───────────────────────────────────────────────────────────────


def _note(text: str) -> None:
    """Tell people something on standard error; a run goes on also where that cannot be written."""
    try:
        click.echo(text, err=True)
    except OSError:
        abandon(sys.stderr)


def _usable(checked: Checked) -> bool:
    """Print what is wrong with a document; tell whether it can run all the same."""
    for problem in checked.problems:
        if problem.severity == "error" or not checked.errors:
            _note(described(checked.file, checked.text, problem))
    return not checked.errors


def _warn_of_secrets(checked: Checked, settings: Settings) -> None:
    """Name the secrets that the document declares and nobody gave, before anything runs."""
    use = checked.source.data.get("use") if checked.source is not None else None
    missing = [name for name in (use or {}).get("secrets") or () if name not in settings.secrets]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        variables = ", ".join(secret_variable(name) for name in missing)
        _note(f"warning: no value is given for {names} of `use.secrets`")
        _note(f"hint: give it with --secrets FILE or {variables}")


def _known(settings: Settings) -> list[DocumentRow]:
    """Return the workflows that `--with` names; other files of a named folder are passed over."""
    rows = []
    for path, named in known_files(settings.known):
        checked = check(str(path), read(str(path)))
        if not is_workflow(checked) or (checked.source is None and not named):
            if named:
                raise Invalid(f"--with: {path} is no workflow", hint="it has no `document` and `do`")
            continue
        if not _usable(checked):
            raise Invalid(f"--with: {path} is not valid")
        rows.append(definition(checked, str(path.resolve())))
    return rows


def _drive(session: Session, begin: Callable[[Desk], Awaitable[str]], format: str, *, taken_up: bool) -> int:
    """Begin a run, show how it goes until it rests, print its outcome; return the exit status."""
    progress = session.progress()
    current: list[str] = []

    async def work() -> RunRow:
        async with session.wiring.work(session.settings) as desk:
            unwatch = desk.runner.watch(progress.watch)
            drawing: asyncio.Task[None] | None = None
            try:
                id = await begin(desk)
                current.append(id)
                shared = await _remember(desk, id, progress) if taken_up else 0
                again = session.suggest("resume", id)
                _note(click.style(f"run {id}\nif it stops: {again}", dim=True))
                progress.follow(id, shared)
                drawing = asyncio.ensure_future(progress.draw_always())
                return await settle_run(desk, id)
            finally:
                unwatch()
                if drawing is not None:
                    drawing.cancel()
                progress.draw(last=True)

    row = _until_interrupted(work(), lambda: _say_stopped(session, current))
    if row is None:
        _say_stopped(session, current)
        return INTERRUPTED
    return _outcome(session, row, format)


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
        _note(f"stopped. To go on: {session.suggest('resume', current[0])}")
    else:
        _note("stopped before the run began")


def _until_interrupted(work: Coroutine[Any, Any, _Result], at_once: Callable[[], None]) -> _Result | None:
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


def _outcome(session: Session, row: RunRow, format: str) -> int:
    """Print how a run ended, where to look next, and its result or error."""
    took = duration((row.ended or row.updated) - row.started)
    status = click.style(row.status, fg=COLORS.get(row.status), bold=True)
    outcome = row.outcome or {}
    if row.status == "completed":
        _note(f"{status} in {took}. Look closer: {session.suggest('show', row.id)}")
        write(outcome.get("output"), format)
    elif row.status == "faulted":
        fault = outcome.get("error") or {}
        lines = [f"{status} after {took}: {fault_text(fault)[0]}", *fault_text(fault)[1:]]
        lines.append(f"Look closer: {session.suggest('show', row.id)}")
        if fault.get("instance", "").startswith("/do/"):
            again = session.suggest("retry", row.id)
            lines.append(f"Try again from there: {again} --from {_last_task(fault['instance'])}")
        _note("\n".join(lines))
        _note(msgspec.json.encode(fault).decode())
    elif row.status == "cancelled":
        _note(f"{status} after {took}. Look closer: {session.suggest('show', row.id)}")
    elif row.status == "waiting":
        _note(f"{status} for an event, which only a run of the same process could send; the run is kept.")
        _note(f"To go on: {session.suggest('resume', row.id)}")
    else:
        _note(f"{status}. To go on: {session.suggest('resume', row.id)}")
    return BY_STATUS.get(row.status, COMPLETED)


def _last_task(instance: str) -> str:
    return (
        instance
        if all(character.isalnum() or character in "/-_." for character in instance)
        else f"'{instance}'"
    )


def _tell(
    session: Session,
    verb: str,
    run: str,
    do: Callable[[Desk], Awaitable[str]],
    status: str,
    **more: Any,
) -> int:
    session.require_database()

    async def work() -> str:
        async with session.wiring.work(session.settings) as desk:
            return await do(desk)

    try:
        id = _until_interrupted(work(), lambda: None)
    except DatabaseHeld:
        return _ask(session, verb, run, **more)
    if id is None:
        return INTERRUPTED
    _note(f"{id} is {click.style(status, fg=COLORS.get(status))}")
    return COMPLETED


def _ask(session: Session, verb: str, run: str, **more: Any) -> int:
    """Have the process that holds the database do it."""

    async def work() -> tuple[str, dict[str, Any]]:
        async with session.wiring.read(session.settings) as journal:
            row = await find_row(journal, run)
        return row.id, await session.wiring.ask(session.settings, {"verb": verb, "run": row.id, **more})

    id, answer = asyncio.run(work())
    _note(f"{id} is {answer.get('status')}, by the process that works on it")
    return COMPLETED
