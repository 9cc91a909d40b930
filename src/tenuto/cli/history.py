"""`tenuto runs` and `tenuto show`: what ran, what is running, how it went."""

from __future__ import annotations

import asyncio
import time
from typing import Any, get_args

import click
import msgspec

from tenuto.cli.options import complete_run, database_option, settings_of
from tenuto.cli.output import FORMATS, format_option, table, write, written
from tenuto.cli.problems import fault_text
from tenuto.cli.terminal import COLORS, as_tree, command, duration, progress_text, shown_name
from tenuto.cli.text import cut, printable
from tenuto.cli.wiring import Wiring
from tenuto.engine.model import Note, Status
from tenuto.engine.ports import RunRow
from tenuto.errors import NotFound
from tenuto.operations.history import (
    SAID,
    EventView,
    Logged,
    RunView,
    TaskView,
    list_runs,
    row_to_json,
    show_events,
    show_run,
    task_to_json,
    timestamp,
    told,
)


@click.command(short_help="List runs, the newest first.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(get_args(Status)),
    help="Only runs in this status (repeatable).",
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="At most so many runs."
)
@click.option(
    "--output",
    "-o",
    "format",
    type=click.Choice(["table", *FORMATS]),
    default="table",
    show_default=True,
    help="A table for people, JSON or YAML for programs.",
)
@database_option
@click.pass_obj
def runs(wiring: Wiring, /, statuses: tuple[str, ...], limit: int, format: str, **options: Any) -> None:
    """List the runs in the database, the newest first.

    \b
    Examples:
      tenuto runs
      tenuto runs --status faulted --status cancelled
      tenuto runs --limit 1000 --output json
    """
    settings = settings_of(wiring, options)

    async def fetch() -> list[RunRow]:
        async with wiring.read(settings) as journal:
            return await list_runs(journal, statuses, limit)

    rows = asyncio.run(fetch())
    if format != "table":
        write([row_to_json(row) for row in rows], format)
    elif not rows:
        click.echo("there are no such runs" if statuses else "there are no runs yet", err=True)
    else:
        now = time.time()
        click.echo(table(["RUN", "STATUS", "WORKFLOW", "STARTED", "TOOK"], [_line(row, now) for row in rows]))


def _line(row: RunRow, now: float) -> list[str]:
    took = "" if row.ended is None else duration(row.ended - row.started)
    name = f"{row.namespace}/{row.name}:{row.version}"
    status = click.style(row.status, fg=COLORS.get(row.status))
    return [row.id, status, printable(name), f"{duration(now - row.started)} ago", took]


@click.command(short_help="Show one run: its tasks, input, output and history.")
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("--events", is_flag=True, help="Also every entry of the run's journal.")
@click.option(
    "--task", "wanted", metavar="PATH", help="Only this task, by path or name, and those inside it."
)
@format_option("text")
@database_option
@click.pass_obj
def show(
    wiring: Wiring, /, run: str | None, events: bool, wanted: str | None, format: str, **options: Any
) -> None:
    """Show the run called RUN, or the newest one; the first letters of its id suffice.

    As JSON: {id, status, document: {namespace, name, version, digest}, started, ended, input,
    output, error, tasks: [{path, name, type, status, attempt, started, ended}], skipped}, with
    the tasks in the order in which they started; `reason` if it was cancelled with one, or if it
    is suspended because its code has to be mended; `log` if the workflow wrote into it.

    \b
    Examples:
      tenuto show
      tenuto show 4f1c --task greet
      tenuto show 4f1c --events
      tenuto show 4f1c --output json
    """
    settings = settings_of(wiring, options)

    async def fetch() -> tuple[RunView, list[EventView]]:
        async with wiring.read(settings) as journal:
            view = await show_run(journal, run)
            listed = [event async for event in show_events(journal, view.row)] if events else []
            return view, listed

    view, listed = asyncio.run(fetch())
    tasks = list(view.tasks)
    if wanted is not None:
        tasks = _inside(tasks, wanted)
        if not tasks:
            raise NotFound(
                f"the run has no task {wanted!r}",
                hint="its tasks: " + ", ".join(dict.fromkeys(task.name for task in view.tasks)),
            )
        paths = {task.path for task in tasks}
        listed = [event for event in listed if any(note.task in paths for note in event.entry.notes)]
    if format == "text":
        again = command("resume", view.row.id, settings, {}, works=True)
        click.echo(_text(view, tasks, listed, detailed=wanted is not None, again=again))
        return
    shown = RunView(view.row, view.input, tasks, view.reason, view.log).to_json()
    if wanted is not None:
        shown["tasks"] = [_detailed(task) for task in tasks]
    write({**shown, "events": [event.to_json() for event in listed]} if events else shown, format)


def _inside(tasks: list[TaskView], wanted: str) -> list[TaskView]:
    """Return the tasks with this path or name, and those inside them."""
    roots = [task.path for task in tasks if wanted in (task.path, task.name)]
    return [
        task for task in tasks if any(task.path == root or task.path.startswith(root + "/") for root in roots)
    ]


def _detailed(task: TaskView) -> dict[str, Any]:
    members = task_to_json(task)
    return members if task.answer is msgspec.UNSET else {**members, "answer": task.answer}


def _text(
    view: RunView, tasks: list[TaskView], events: list[EventView], *, detailed: bool, again: str
) -> str:
    row = view.row
    ended = row.ended if row.ended is not None else row.updated
    facts = [
        ("run", click.style(row.id, bold=True)),
        ("workflow", printable(f"{row.namespace}/{row.name}:{row.version}")),
        ("status", click.style(row.status, fg=COLORS.get(row.status))),
        ("started", str(timestamp(row.started))),
    ]
    if row.ended is not None:
        facts.append(("took", duration(ended - row.started)))
    if view.reason is not None and row.status != "suspended":
        facts.append(("reason", printable(view.reason)))
    if row.origin:
        facts.append(("goes on from", row.origin))
    if row.parent:
        facts.append(("started by", row.parent))
    lines = [f"{name:12}  {value}" for name, value in facts]
    if view.reason is not None and row.status == "suspended":
        lines += ["", "suspended because:", *(f"  {printable(line)}" for line in view.reason.splitlines())]
    if tasks:
        rows = [_task_line(depth, task, detailed) for depth, task in as_tree(tasks)]
        lines += ["", table(["TASK", "TYPE", "STATUS", "ATTEMPT", "TOOK"], rows)]
    if view.log and not detailed:
        lines += ["", "log:", *(_log_line(line) for line in view.log)]
    if detailed:
        for task in tasks:
            if task.answer is not msgspec.UNSET:
                lines += ["", f"{task.path} answered:", written(task.answer, "pretty")]
            if task.error:
                lines += ["", f"{task.path} faulted:", *fault_text(task.error)]
    else:
        lines += ["", "input:", written(view.input, "pretty")]
        if view.error is not None:
            lines += ["", "error:", *fault_text(view.error)]
        elif row.status == "completed":
            lines += ["", "output:", written(view.output, "pretty")]
    if events:
        rows = [
            [str(event.seq), str(timestamp(event.entry.event.time)), told(event.entry), _notes(event)]
            for event in events
        ]
        lines += ["", table(["ENTRY", "TIME", "EVENT", "TASKS"], rows)]
    if row.ended is None:
        lines += ["", f"to go on: {again}"]
    return "\n".join(lines)


def _task_line(depth: int, task: TaskView, detailed: bool) -> list[str]:
    took = "" if task.ended is None or task.status == "skipped" else duration(task.ended - task.started)
    name = printable(task.path) if detailed else "  " * depth + shown_name(task)
    return [
        name,
        task.type,
        click.style(task.status, fg=COLORS.get(task.status)),
        str(task.attempt) if task.attempt > 1 else "",
        took if task.progress is None or task.ended is not None else progress_text(task),
    ]


def _log_line(line: Logged) -> str:
    level = "" if line.level == "info" else f"{line.level}: "
    return f"  {timestamp(line.time)}  {printable(level + line.message)}"


def _notes(event: EventView) -> str:
    return cut(", ".join(map(_note, event.entry.notes)), 70)


def _note(note: Note) -> str:
    words = [note.task.rsplit("/", 1)[-1], note.what]
    if note.what in SAID:
        said = note.data if isinstance(note.data, str) else msgspec.json.encode(note.data).decode()
        words.append(said.splitlines()[0] if said else "")
    return " ".join(filter(None, words))
