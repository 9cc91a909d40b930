"""What happened: runs and their tasks, read from the journal's notes without running anything again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from tenuto.engine.model import (
    STUCK,
    Answered,
    CancelRequested,
    Entry,
    Failed,
    Json,
    Note,
    Progressed,
    Restarted,
    Resumed,
    Started,
    Suspended,
)
from tenuto.engine.ports import Journal, RunRow
from tenuto.errors import NotFound

PAGE: Final = 1000  # entries read at once
OVER: Final = frozenset({"completed", "faulted", "cancelled", "skipped"})

_ENTRY: Final = msgspec.json.Decoder(Entry)
_STATUS: Final[dict[str, str]] = {
    "started": "running",
    "retried": "running",
    "suspended": "suspended",
    "resumed": "running",
    "waiting": "waiting",
    "correlation-started": "waiting",
    "correlation-completed": "running",
    "completed": "completed",
    "faulted": "faulted",
    "cancelled": "cancelled",
    "skipped": "skipped",
    "progressed": "running",
}
OF_TASKS: Final = frozenset(_STATUS)
WAITS: Final = frozenset({"wait", "listen", "signal"})  # kinds of tasks that only wait
# What belongs to the run as a whole, or is more than a change of status: with what it says.
SAID: Final = frozenset({"logged", "progressed", STUCK})


class TaskView(msgspec.Struct):
    """One execution of a task, with its latest attempt. Times in seconds since the epoch.

    `status` is one of the standard's, or `skipped` for a task whose `if` did not hold.
    `answer` is what its action answered, before the task's `output` was applied; `progress` is what
    it last told of itself.
    """

    path: str
    name: str
    type: str
    status: str
    attempt: int
    started: float
    ended: float | None = None
    error: dict[str, Json] | None = None
    answer: Json | msgspec.UnsetType = msgspec.UNSET
    progress: Json = None


class Logged(msgspec.Struct, frozen=True):
    """A line that a workflow in Python wrote into its history."""

    time: float
    level: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the line as scripts get it."""
        return {"time": timestamp(self.time), "level": self.level, "message": self.message}


class RunView(msgspec.Struct, frozen=True):
    """A run with its tasks, in the order in which they started.

    `reason` is why it was cancelled, or why it is suspended if nobody asked for that.
    """

    row: RunRow
    input: Json
    tasks: Sequence[TaskView]
    reason: str | None = None
    log: Sequence[Logged] = ()

    @property
    def output(self) -> Json:
        """The run's output; None while there is none."""
        return (self.row.outcome or {}).get("output")

    @property
    def error(self) -> dict[str, Json] | None:
        """The error that ended the run, as RFC 7807 has it."""
        return (self.row.outcome or {}).get("error")

    def to_json(self) -> dict[str, Any]:
        """Return the run as scripts get it; times as RFC 3339 text."""
        return {
            **row_to_json(self.row),
            "input": self.input,
            "output": self.output,
            "error": self.error,
            **({} if self.reason is None else {"reason": self.reason}),
            "tasks": [task_to_json(task) for task in self.tasks if task.status != "skipped"],
            "skipped": [task.path for task in self.tasks if task.status == "skipped"],
            **({"log": [line.to_json() for line in self.log]} if self.log else {}),
        }


class EventView(msgspec.Struct, frozen=True):
    """One entry of a run's journal: its place, what was told, and what that did to tasks."""

    seq: int
    entry: Entry

    def to_json(self) -> dict[str, Any]:
        """Return the entry as scripts get it."""
        fields: dict[str, Any] = {
            name: msgspec.to_builtins(getattr(self.entry.event, name))
            for name in self.entry.event.__struct_fields__
            if name not in {"time", "nonce"}
        }
        return {
            "seq": self.seq,
            "time": timestamp(self.entry.event.time),
            "event": type(self.entry.event).__struct_config__.tag,
            "data": {
                name: value.to_json() if hasattr(value, "to_json") else value
                for name, value in fields.items()
            },
            "tasks": [
                {
                    "path": note.task,
                    "what": note.what,
                    "attempt": note.attempt,
                    **({"data": note.data} if note.what in SAID else {}),
                }
                for note in self.entry.notes
            ],
        }


class Tasks:
    """The tasks of a run, kept up to date entry by entry; with what actions answered, if wanted.

    `log` is what the run wrote into its history; `stuck` is why it cannot go on, if it cannot.
    """

    def __init__(self, *, answers: bool = True) -> None:
        self._answers = answers
        self.all: list[TaskView] = []
        self.log: list[Logged] = []
        self.stuck: str | None = None
        self._latest: dict[str, TaskView] = {}

    def tell(self, entry: Entry) -> list[tuple[TaskView | None, Note]]:
        """Take in one entry; return the tasks that changed and how, in the order of the changes.

        The task is None for what the entry says of the whole run.
        """
        event = entry.event
        if isinstance(event, Suspended | Resumed | CancelRequested):
            self.stuck = event.reason if isinstance(event, Suspended) else None
        changed: list[tuple[TaskView | None, Note]] = []
        for note in entry.notes:
            changed.append((self._note(note, event.time) if note.what in OF_TASKS else None, note))
            if note.what == "logged":
                self.log.append(Logged(event.time, note.kind, str(note.data)))
            elif note.what == STUCK:
                self.stuck = str(note.data)
        if self._answers and isinstance(event, Answered) and changed:
            task = changed[0][0]
            if task is not None and task.status == "completed":
                task.answer = event.output
        return changed

    def _note(self, note: Note, time: float) -> TaskView:
        status = "waiting" if note.what == "started" and note.kind in WAITS else _STATUS[note.what]
        task = self._latest.get(note.task)
        again = note.what in {"started", "skipped"} and (
            task is None or (task.status in OVER and note.attempt <= task.attempt)
        )
        if task is None or again:
            name = note.task.rsplit("/", 1)[-1].replace("~1", "/").replace("~0", "~")
            task = TaskView(note.task, name, note.kind, status, note.attempt, time)
            self._latest[note.task] = task
            self.all.append(task)
        if note.what == "progressed":
            task.progress = note.data
            return task
        task.status = status
        task.attempt = max(task.attempt, note.attempt)
        task.ended = time if status in OVER else None
        if status == "faulted":
            task.error = note.data
        elif note.what == "started":
            task.error = None
        return task


async def show_run(journal: Journal, run: str | None) -> RunView:
    """Return a run with its tasks; without an id, the newest one that no other run started.

    Raises:
        NotFound: There is no such run.
    """
    row = await find_row(journal, run)
    tasks, data, reason = Tasks(), None, None
    async for _, entry in entries(journal, row.number):
        tasks.tell(entry)
        if isinstance(entry.event, Started) and data is None:
            data = entry.event.input
        elif isinstance(entry.event, CancelRequested):
            reason = entry.event.reason
    return RunView(row, data, tasks.all, tasks.stuck or reason, tasks.log)


async def show_events(journal: Journal, row: RunRow) -> AsyncIterator[EventView]:
    """Yield a run's journal, entry by entry."""
    async for seq, entry in entries(journal, row.number):
        yield EventView(seq, entry)


async def list_runs(journal: Journal, statuses: Sequence[str] = (), limit: int = 20) -> list[RunRow]:
    """Return runs, the newest first; all of them, or those in one of these statuses."""
    return await journal.runs(statuses=statuses, limit=limit)


async def find_row(journal: Journal, run: str | None) -> RunRow:
    """Return a run's row, or without an id the newest that no other run started.

    The first letters of an id suffice if only one of the newest runs begins with them.
    """
    row = None if run is None else await journal.run(run)
    if row is not None:
        return row
    newest = await journal.runs(limit=PAGE)
    if run is None:
        row = next((each for each in newest if each.parent is None), None)
        if row is None:
            raise NotFound("there are no runs yet", hint="`tenuto run FILE` starts one")
        return row
    alike = [each for each in newest if each.id.startswith(run)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise NotFound(f"several runs begin with {run!r}", hint=", ".join(each.id for each in alike[:5]))
    raise NotFound(f"there is no run {run!r}", hint="`tenuto runs` lists them")


async def find_open_row(journal: Journal, run: str | None) -> RunRow:
    """Return a run's row, or without an id that of the newest run that is not over."""
    if run is not None:
        return await find_row(journal, run)
    statuses = ("pending", "running", "waiting", "suspended")
    for row in await journal.runs(statuses=statuses, limit=PAGE):
        if row.parent is None:
            return row
    raise NotFound("no run is open", hint="`tenuto runs` lists all; `tenuto retry` starts again from a task")


async def entries(journal: Journal, number: int) -> AsyncIterator[tuple[int, Entry]]:
    """Yield (seq, entry) of a run's journal in order, page by page."""
    after = 0
    while page := await journal.history(number, after=after, limit=PAGE):
        for seq, encoded in page:
            yield seq, _ENTRY.decode(encoded)
        after = page[-1][0]


def row_to_json(row: RunRow) -> dict[str, Any]:
    """Return what is known of a run without its journal, as scripts get it."""
    return {
        "id": row.id,
        "status": row.status,
        "document": {
            "namespace": row.namespace,
            "name": row.name,
            "version": row.version,
            "digest": row.definition,
        },
        "started": timestamp(row.started),
        "ended": timestamp(row.ended),
        "parent": row.parent,
        "origin": row.origin,
    }


def task_to_json(task: TaskView) -> dict[str, Any]:
    """Return a task as scripts get it; `error` only if it faulted."""
    members: dict[str, Any] = {
        "path": task.path,
        "name": task.name,
        "type": task.type,
        "status": task.status,
        "attempt": task.attempt,
        "started": timestamp(task.started),
        "ended": timestamp(task.ended),
    }
    if task.progress is not None:
        members["progress"] = task.progress
    return {**members, "error": task.error} if task.error else members


def timestamp(time: float | None) -> str | None:
    """Return a time as RFC 3339 text in UTC.

    >>> timestamp(1.5)
    '1970-01-01T00:00:01.500Z'
    """
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(entry: Entry) -> str:
    """Return in a few words what an entry's event says."""
    event = entry.event
    kind = str(type(event).__struct_config__.tag)
    match event:
        case Answered() | Failed() | Progressed():
            return f"{kind} #{event.id}"
        case Restarted():
            return f"{kind} from {event.task} of {event.run}"
        case _:
            return kind
