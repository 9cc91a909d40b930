"""`tenuto run`, `resume`, `retry`, `suspend` and `cancel`: driving runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tenuto.cli.code import is_code, split_name
from tenuto.cli.driving import Session, ask, drive, note, tell
from tenuto.cli.exits import INVALID
from tenuto.cli.files import known_files, read, read_input
from tenuto.cli.options import complete_run, database_option, with_option, working_options
from tenuto.cli.output import format_option
from tenuto.cli.problems import described
from tenuto.cli.wiring import Wiring
from tenuto.engine.ports import DocumentRow
from tenuto.errors import DatabaseHeld, Invalid, InvalidInput
from tenuto.operations.desk import Desk
from tenuto.operations.documents import Checked, check, check_input, definition, is_workflow
from tenuto.operations.history import find_open_row, find_row
from tenuto.operations.runs import cancel_run, resume_run, retry_run, start_run, suspend_run
from tenuto.settings import Settings, secret_variable

if TYPE_CHECKING:
    from tenuto.operations.modules import Modules


@click.command(short_help="Run a workflow and print its result.")
@click.argument("file", metavar="WORKFLOW", type=click.Path())
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
    """Run WORKFLOW and print what it answers.

    WORKFLOW is a YAML file (`-`: standard input), or Python code: `module:name`, `file.py:name`, or
    without `:name` if there is only one in it. The input of Python code has its parameters as members.

    Standard output gets the result and nothing else; progress goes to standard error. If the
    run faults, the last line there is the error as JSON (RFC 7807). The same --id with the same
    workflow and input never runs twice: the run that is there goes on, or shows its result.

    \b
    Examples:
      tenuto run hello.yaml
      tenuto run hello.yaml --input '{"name": "Ada"}'
      tenuto run hello.yaml --input @record.json --output json | jq .greetings
      tenuto run main.yaml --with library/ --secrets secrets.yaml --id order-4711
      tenuto run shop.orders:order_flow --input '{"order": {"item": "tea", "count": 2}}'
    """
    session = Session(wiring, options)
    place, name = split_name(file)
    if is_code(place, name, wiring.found):
        return _run_code(session, place, name, data, id, format)
    modules = session.load()
    if file == "-" and data == "-":
        raise InvalidInput("the workflow and its input cannot both come from standard input")
    folders = [Path(file).parent, *session.settings.known]
    checked = check("<stdin>" if file == "-" else file, read(file), wiring.known(folders, modules))
    if not _usable(checked):
        return INVALID
    given = read_input(data)
    check_input(checked, given)
    _warn_of_secrets(checked, session.settings)
    row = definition(checked, None if file == "-" else str(Path(file).resolve()))
    known = list(_known(session, modules))

    async def begin(desk: Desk) -> str:
        if known:
            await desk.journal.put_documents(known)
        return await start_run(desk, row, given, run=id)

    return drive(session, modules, begin, format, taken_up=id is not None)


def _run_code(
    session: Session, place: str, name: str | None, data: str | None, id: str | None, format: str
) -> int:
    """Run a workflow in Python."""
    modules = session.load(place)
    assert modules is not None
    row, given = modules.start(name, read_input(data))
    known = list(_known(session, modules))

    async def begin(desk: Desk) -> str:
        if known:
            await desk.journal.put_documents(known)
        return await start_run(desk, row, given, run=id)

    return drive(session, modules, begin, format, taken_up=id is not None)


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
    modules = session.load()
    known = list(_known(session, modules))

    async def begin(desk: Desk) -> str:
        if known:
            await desk.journal.put_documents(known)
        row = await find_open_row(desk.journal, run)
        await resume_run(desk, row.id)
        return row.id

    try:
        return drive(session, modules, begin, format, taken_up=True)
    except DatabaseHeld:
        if run is None:
            raise
        return ask(session, "resume", run)


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
    modules = session.load()
    known = list(_known(session, modules))

    async def begin(desk: Desk) -> str:
        if known:
            await desk.journal.put_documents(known)
        row = await find_row(desk.journal, run)
        return await retry_run(desk, row.id, task, replace=data is not None, data=given)

    return drive(session, modules, begin, format, taken_up=True)


@click.command(short_help="Pause a run until it is resumed.")
@click.argument("run", shell_complete=complete_run)
@database_option
@with_option
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

    return tell(session, "suspend", run, pause, "suspended")


@click.command(short_help="Stop a run for good.")
@click.argument("run", shell_complete=complete_run)
@click.option("--reason", help="Why; it is recorded.")
@database_option
@with_option
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

    return tell(session, "cancel", run, stop, "cancelled", reason=reason)


# ── documents ────────────────────────────────────────────────────────────────────────────


def _usable(checked: Checked) -> bool:
    """Print what is wrong with a document; tell whether it can run all the same."""
    for problem in checked.problems:
        if problem.severity == "error" or not checked.errors:
            note(described(checked.file, checked.text, problem))
    return not checked.errors


def _warn_of_secrets(checked: Checked, settings: Settings) -> None:
    """Name the secrets that the document declares and nobody gave, before anything runs."""
    use = checked.source.data.get("use") if checked.source is not None else None
    missing = [name for name in (use or {}).get("secrets") or () if name not in settings.secrets]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        variables = ", ".join(secret_variable(name) for name in missing)
        note(f"warning: no value is given for {names} of `use.secrets`")
        note(f"hint: give it with --secrets FILE or {variables}")


def _known(session: Session, modules: Modules | None) -> list[DocumentRow]:
    """Return the documents that `--with` names; other files of a named folder are passed over."""
    rows = []
    functions = None if modules is None else session.wiring.known(session.settings.known, modules)
    for path, named in known_files(session.documents):
        checked = check(str(path), read(str(path)), functions)
        if not is_workflow(checked) or (checked.source is None and not named):
            if named:
                raise Invalid(f"--with: {path} is no workflow", hint="it has no `document` and `do`")
            continue
        if not _usable(checked):
            raise Invalid(f"--with: {path} is not valid")
        rows.append(definition(checked, str(path.resolve())))
    return rows
