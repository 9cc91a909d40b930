"""The standard's lifecycle events: what a journal entry says, as CloudEvents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from tenuto.engine.model import Entry, Finish, Json, Note, Resumed, Started, Suspended
from tenuto.engine.ports import RunRow
from tenuto.engine.rules import derived_id

LIFECYCLE_PREFIX: Final = "io.serverlessworkflow."
SOURCE: Final = "https://open-workflow-specification.org/runtimes/tenuto"

# What a note means: the event's last name part and the member that holds its time.
_TASK_EVENTS: Final = {
    "started": ("started", "startedAt"),
    "completed": ("completed", "completedAt"),
    "faulted": ("faulted", "faultedAt"),
    "cancelled": ("cancelled", "cancelledAt"),
    "suspended": ("suspended", "suspendedAt"),
    "resumed": ("resumed", "resumedAt"),
    "retried": ("retried", "retriedAt"),
}


def lifecycle_events(row: RunRow, seq: int, entry: Entry, finish: Finish | None) -> Iterator[dict[str, Json]]:
    """Yield the lifecycle events that follow from entry number `seq` of a run, in order.

    `finish` is the run's end, if the entry brought it.
    """
    time = datetime.fromtimestamp(entry.event.time, UTC).isoformat(timespec="milliseconds")
    stamp = time.replace("+00:00", "Z")
    count = 0

    def event(kind: str, data: dict[str, Json]) -> dict[str, Json]:
        nonlocal count
        count += 1
        return {
            "specversion": "1.0",
            "id": derived_id(row.id, str(seq), str(count), kind),
            "source": SOURCE,
            "type": f"{LIFECYCLE_PREFIX}{kind}.v1",
            "time": stamp,
            "subject": row.id,
            "datacontenttype": "application/json",
            "data": data,
        }

    name = qualified_name(row)
    if isinstance(entry.event, Started):
        definition = {"name": row.name, "namespace": row.namespace, "version": row.version}
        yield event("workflow.started", {"name": name, "definition": definition, "startedAt": stamp})
    elif isinstance(entry.event, Suspended):
        yield event("workflow.suspended", {"name": name, "suspendedAt": stamp})
    elif isinstance(entry.event, Resumed):
        yield event("workflow.resumed", {"name": name, "resumedAt": stamp})
    for note in entry.notes:
        yield from (event(kind, data) for kind, data in _of_note(name, note, stamp))
    if finish is not None:
        yield event(f"workflow.{finish.status}", _of_finish(name, finish, stamp))


def qualified_name(row: RunRow) -> str:
    """Return a run's name as the standard qualifies it: `name-id.namespace`."""
    return f"{row.name}-{row.id}.{row.namespace}"


def _of_note(name: str, note: Note, stamp: str) -> Iterator[tuple[str, dict[str, Json]]]:
    task: dict[str, Any] = {"workflow": name, "task": note.task}
    if note.what == "started":
        yield "task.created", {**task, "createdAt": stamp}
    if note.what in _TASK_EVENTS:
        kind, member = _TASK_EVENTS[note.what]
        extra = {"error": note.data} if note.what == "faulted" else {}
        yield f"task.{kind}", {**task, member: stamp, **extra}
    elif note.what == "correlation-started":
        yield "workflow.correlation-started", {"name": name, "startedAt": stamp}
    elif note.what == "correlation-completed":
        keys = {"correlationKeys": note.data} if note.data else {}
        yield "workflow.correlation-completed", {"name": name, "completedAt": stamp, **keys}


def _of_finish(name: str, finish: Finish, stamp: str) -> dict[str, Json]:
    data: dict[str, Json] = {"name": name, f"{finish.status}At": stamp}
    if finish.fault is not None:
        data["error"] = finish.fault.to_json()
    return data
