"""What a user does with runs: one function per verb, the same for every door."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tenuto.engine.model import SIGNAL, Arrived, CancelRequested, Entry, Json, Resumed, Suspended
from tenuto.engine.ports import DocumentRow, RunRow
from tenuto.errors import Conflict, InvalidInput, NotFound
from tenuto.operations.desk import Desk
from tenuto.operations.history import timestamp

RUN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


async def start_run(desk: Desk, definition: DocumentRow, data: Json, *, run: str | None = None) -> str:
    """Start a run of a document and return its id once the start is durable.

    Raises:
        InvalidInput: The id is not made of 1 to 64 letters, digits, `_` and `-`.
        Conflict: A run of that id exists, of another document or with another input.
    """
    if run is not None and not _is_id(run):
        raise InvalidInput(
            f"{run!r} cannot be a run's id", hint="an id has 1 to 64 letters, digits, underscores and hyphens"
        )
    return await desk.runner.start(definition, data, run=run)


async def cancel_run(desk: Desk, run: str, reason: str | None = None) -> RunRow:
    """End a run for good; its actions under way are stopped."""
    _check_id(run)
    await desk.runner.tell(run, CancelRequested(desk.clock.now(), reason))
    return await desk.runner.settle(run)


async def request_cancel(desk: Desk, run: str, reason: str | None = None) -> None:
    """Ask a run to stop; returns when that is recorded, while the run may still clean up."""
    _check_id(run)
    await desk.runner.tell(run, CancelRequested(desk.clock.now(), reason))


async def suspend_run(desk: Desk, run: str) -> None:
    """Pause a run: what is under way ends and is recorded, nothing new begins."""
    _check_id(run)
    await desk.runner.tell(run, Suspended(desk.clock.now()))


async def resume_run(desk: Desk, run: str) -> RunRow:
    """Take a run up where it stopped and return its row; the end of a pause if it was suspended.

    Raises:
        Conflict: The run is over.
    """
    row = await find_run(desk, run)
    if row.ended is not None:
        raise Conflict(f"the run {run} is over: {row.status}", hint=f"`tenuto show {run}` shows how it ended")
    if row.status == "suspended":
        await desk.runner.tell(run, Resumed(desk.clock.now()))
    await desk.runner.resume(run)
    return row


async def retry_run(desk: Desk, run: str, task: str, *, replace: bool = False, data: Json = None) -> str:
    """Start a new run that shares the history of a run up to a task, and return its id."""
    _check_id(run)
    return await desk.runner.retry(run, task, replace=replace, data=data)


async def settle_run(desk: Desk, run: str) -> RunRow:
    """Drive a run until it is over, suspended, or waits for what nothing here will give."""
    _check_id(run)
    return await desk.runner.settle(run)


async def end_run(desk: Desk, run: str) -> RunRow:
    """Drive a run until it is over; raises `Conflict` if its code cannot go on."""
    _check_id(run)
    return await desk.runner.ended(run)


async def signal_run(desk: Desk, run: str, name: str, value: Json) -> None:
    """Send a run a signal; returns when it is recorded. Raises `Conflict` if the run is over."""
    _check_id(run)
    await desk.runner.tell(run, Arrived(desk.clock.now(), _event(desk, SIGNAL, value, {"subject": name})))


async def send_signal(desk: Desk, run: str, name: str, value: Json) -> str:
    """Send a signal for somebody who knows no more than a run's id; return the run's status then.

    Raises:
        Conflict: The run is over, or of a document: these hear events only.
    """
    row = await find_run(desk, run)
    document = await desk.journal.document(row.definition)
    if document is not None and document.kind == "document":
        raise Conflict(
            f"the run {run} is of a YAML document, which hears events, not signals",
            hint="send the event that it listens for: tenuto emit TYPE",
        )
    await signal_run(desk, run, name, value)
    return (await find_run(desk, run)).status


async def query_run(desk: Desk, run: str, name: str) -> Json:
    """Return what a run says of itself under a name, also after its end; raises `NotFound`."""
    _check_id(run)
    return await desk.runner.query(run, name)


async def emit_event(desk: Desk, type: str, data: Json, attributes: Mapping[str, str]) -> list[str]:
    """Publish a CloudEvent to all runs that listen; returns these when they have it recorded."""
    event = _event(desk, type, data, attributes)
    heard: list[str] = []

    def watch(run: str, _: int, entry: Entry) -> None:
        if isinstance(entry.event, Arrived) and entry.event.event.get("id") == event["id"]:
            heard.append(run)

    unwatch = desk.runner.watch(watch)
    try:
        await desk.runner.publish(event)
    finally:
        unwatch()
    return heard


def _event(desk: Desk, type: str, data: Json, attributes: Mapping[str, str]) -> dict[str, Json]:
    event = {
        "specversion": "1.0",
        "id": desk.chance.token(),
        "source": "/tenuto",
        "time": timestamp(desk.clock.now()),
        "type": type,
        **attributes,
    }
    return event if data is None else {**event, "data": data}


async def find_run(desk: Desk, run: str) -> RunRow:
    """Return a run's row; raises `NotFound`."""
    _check_id(run)
    row = await desk.journal.run(run)
    if row is None:
        raise _not_there(run)
    return row


def _check_id(run: str) -> None:
    """Raise `NotFound` for what cannot be a run's id: no store need be asked for it."""
    if not _is_id(run):
        raise _not_there(run)


def _is_id(run: object) -> bool:
    return isinstance(run, str) and RUN_ID.fullmatch(run) is not None


def _not_there(run: str) -> NotFound:
    return NotFound(f"there is no run {run!r}", hint="`tenuto runs` lists them")
