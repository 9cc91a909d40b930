"""The standard's lifecycle events: each type carries what its table in the reference asks for."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from tenuto.engine.advance import Run, advance
from tenuto.engine.model import (
    Answered,
    Arrived,
    CancelRequested,
    Entry,
    Event,
    Failed,
    Note,
    Open,
    Resumed,
    Started,
    Suspended,
)
from tenuto.engine.ports import RunRow
from tenuto.errors import Fault
from tenuto.events.lifecycle import lifecycle_events
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load
from tests.language.playing import HEADER

NOW = 1_700_000_000.0
TIME = "2023-11-14T22:13:20.000Z"
NAME = "play-run-1.test"
FAULT = Fault("https://x.test/broken", 500, "Broken")
ROW = RunRow(
    number=1,
    id="run-1",
    definition="digest",
    namespace="test",
    name="play",
    version="1.0.0",
    status="running",
    started=NOW,
    updated=NOW,
)


class Telling:
    """A run that is told events by hand, and the lifecycle events that follow."""

    def __init__(self, body: str) -> None:
        self.program = Interpreter(load(HEADER + textwrap.dedent(body)).data)
        self.run: Run | None = None
        self.seq = 0
        self.events: list[dict[str, Any]] = []
        self.tell(Started(NOW, "run-1", "digest", None, "nonce"))

    def tell(self, event: Event) -> None:
        """Fold one event and keep what the world is told of it."""
        self.run, commands = advance(self.program, self.run, event)
        entry = Entry(event, tuple(command for command in commands if isinstance(command, Note)))
        self.seq += 1
        self.events += lifecycle_events(ROW, self.seq, entry, self.run.finish)

    def open(self, kind: str) -> Open:
        """Return the open command of a kind."""
        assert self.run is not None
        return next(command for command in self.run.open.values() if type(command).__name__ == kind)

    def told(self, since: int = 0) -> list[tuple[str, Any]]:
        """Return kinds and data, in order."""
        prefix, suffix = len("io.serverlessworkflow."), -len(".v1")
        return [(event["type"][prefix:suffix], event["data"]) for event in self.events[since:]]


def of_task(path: str, member: str, **more: Any) -> dict[str, Any]:
    """Return the data of a task's event."""
    return {"workflow": NAME, "task": path, member: TIME, **more}


def test_a_run_that_completes_tells_its_whole_life() -> None:
    """Workflow and task: started, created, completed, with the members that the tables require."""
    run = Telling("do: [{a: {set: {x: 1}}}]")

    assert run.told() == [
        (
            "workflow.started",
            {
                "name": NAME,
                "definition": {"name": "play", "namespace": "test", "version": "1.0.0"},
                "startedAt": TIME,
            },
        ),
        ("task.created", of_task("/do/0/a", "createdAt")),
        ("task.started", of_task("/do/0/a", "startedAt")),
        ("task.completed", of_task("/do/0/a", "completedAt")),
        ("workflow.completed", {"name": NAME, "completedAt": TIME}),
    ]
    assert {event["specversion"] for event in run.events} == {"1.0"}
    assert len({event["id"] for event in run.events}) == len(run.events)


def test_faults_are_told_with_their_error() -> None:
    """Of the task and of the workflow."""
    run = Telling("do: [{a: {call: 'core.noop:1.0.0@default'}}]")
    since = len(run.events)
    run.tell(Failed(NOW, run.open("Perform").id, FAULT))
    error = {"type": FAULT.type, "status": 500, "title": "Broken", "instance": "/do/0/a"}

    assert run.told(since) == [
        ("task.faulted", of_task("/do/0/a", "faultedAt", error=error)),
        ("workflow.faulted", {"name": NAME, "faultedAt": TIME, "error": error}),
    ]


def test_a_retry_is_told() -> None:
    """When the delay is over, of the task that tries again."""
    run = Telling("""
        do:
          - t:
              try: [{a: {call: 'core.noop:1.0.0@default'}}]
              catch: {retry: {delay: PT1S, limit: {attempt: {count: 1}}}}
    """)
    run.tell(Failed(NOW, run.open("Perform").id, FAULT))
    since = len(run.events)
    run.tell(Answered(NOW, run.open("Wake").id))

    assert run.told(since)[0] == ("task.retried", of_task("/do/0/t", "retriedAt"))


def test_a_cancelled_run_tells_of_what_it_stopped() -> None:
    """Every task under way, then the workflow."""
    run = Telling("do: [{d: {do: [{w: {wait: PT1H}}]}}]")
    since = len(run.events)
    run.tell(CancelRequested(NOW))

    assert run.told(since) == [
        ("task.cancelled", of_task("/do/0/d/do/0/w", "cancelledAt")),
        ("task.cancelled", of_task("/do/0/d", "cancelledAt")),
        ("workflow.cancelled", {"name": NAME, "cancelledAt": TIME}),
    ]


@pytest.mark.parametrize("task", ["{wait: PT1H}", "{call: 'core.noop:1.0.0@default'}"])
def test_a_pause_is_told_of_the_run_and_of_every_task_under_way(task: str) -> None:
    """Not of those that are over, nor at its end of those that only began meanwhile."""
    run = Telling(f"do: [{{a: {{set: {{x: 1}}}}}}, {{w: {task}}}, {{last: {{wait: PT1H}}}}]")
    since = len(run.events)
    run.tell(Suspended(NOW))
    run.tell(Resumed(NOW))
    assert run.told(since) == [
        ("workflow.suspended", {"name": NAME, "suspendedAt": TIME}),
        ("task.suspended", of_task("/do/1/w", "suspendedAt")),
        ("workflow.resumed", {"name": NAME, "resumedAt": TIME}),
        ("task.resumed", of_task("/do/1/w", "resumedAt")),
    ]

    run.tell(Suspended(NOW))
    since = len(run.events)
    run.tell(Answered(NOW, run.open("Wake" if "wait" in task else "Perform").id))
    run.tell(Resumed(NOW))
    assert [kind for kind, _ in run.told(since)] == [
        "task.completed",
        "task.created",
        "task.started",
        "workflow.resumed",
    ]


def test_a_run_that_was_paused_goes_on_as_if_it_had_not_been() -> None:
    """The tasks' state is what it was; only the pause was noted."""
    plain, paused = (Telling("do: [{l: {listen: {to: {one: {with: {type: a}}}}}}]") for _ in range(2))
    paused.tell(Suspended(NOW))
    paused.tell(Resumed(NOW))

    assert plain.run == paused.run


def test_correlating_is_told_with_the_keys() -> None:
    """`correlationKeys` are those that were found; without any the member is left out."""
    run = Telling("do: [{l: {listen: {to: {one: {with: {type: a}, correlate: {pet: {from: .data.pet}}}}}}}]")
    since = len(run.events)
    run.tell(Arrived(NOW, {"type": "a", "data": {"pet": "milou"}}))

    assert run.told()[3] == ("workflow.correlation-started", {"name": NAME, "startedAt": TIME})
    assert run.told(since)[0] == (
        "workflow.correlation-completed",
        {"name": NAME, "completedAt": TIME, "correlationKeys": {"pet": "milou"}},
    )


def test_no_two_events_have_the_same_id() -> None:
    """Also when many steps come at the same instant, as they do in one transaction."""
    story = Telling("do: [{a: {set: {x: 1}}}, {b: {wait: PT0S}}, {c: {wait: PT0S}}, {d: {wait: PT0S}}]")
    while story.run is not None and not story.run.over:
        story.tell(Answered(NOW, story.open("Wake").id))
    ids = [event["id"] for event in story.events]

    assert len(set(ids)) == len(ids) > 10
