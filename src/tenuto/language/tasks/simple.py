"""Tasks that need nothing but the fold: the workflow itself, do, set, switch, raise, wait, emit."""

from __future__ import annotations

from typing import Final

import msgspec

from tenuto.engine.model import Emit, Json
from tenuto.engine.rules import derived_id
from tenuto.errors import Fault, Faulted, configuration_fault
from tenuto.language.evaluating import iso_time, uri_of
from tenuto.language.fold import Fold, Kind
from tenuto.language.program import Task
from tenuto.language.state import TaskFrame, WaitData

_TEXTS: Final = frozenset(("id", "source", "type", "time", "subject", "datacontenttype", "dataschema"))


class Workflow(Kind):
    """The workflow itself: a list of tasks between an input and an output."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Start the workflow's task list."""
        fold.start_list(frame, "/do", "/do", frame.input)


class Do(Kind):
    """A list of tasks, one after the other."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Start the list."""
        fold.start_list(frame, task.node + "/do", frame.path + "/do", frame.input)


class Set(Kind):
    """Data, put together."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Evaluate the data."""
        fold.complete(frame, fold.fill(frame, task.template("set", task.definition["set"]), frame.input))


class Switch(Kind):
    """The first case that holds says where to go on; none: the task's own `then`."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Find the case."""
        default: str | None = None
        for item in task.definition["switch"]:
            name, case = next(iter(item.items()))
            if "when" not in case:
                default = default or case["then"]
            elif fold.test(frame, task, f"switch/{name}", case["when"], frame.input):
                fold.complete(frame, frame.input, case["then"])
                return
        fold.complete(frame, frame.input, default)


class Raise(Kind):
    """An error, on purpose."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Put the error together and raise it."""
        error = task.definition["raise"]["error"]
        if isinstance(error, str):
            known = fold.outline.use.get("errors") or {}
            if error not in known:
                raise configuration_fault(f"use.errors has no {error!r}")
            error = known[error]
        filled = fold.fill(frame, task.template("raise", error), frame.input)
        kind = uri_of(filled.get("type"), error.get("type"), frame.input)
        raise Faulted(read_fault({**filled, "type": kind}))


def read_fault(value: Json) -> Fault:
    """Return the fault that an error object of a document describes.

    Raises:
        Faulted: A configuration fault, if it lacks a type or has no integer status.
    """
    kind, status = value.get("type"), value.get("status")
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    if not isinstance(kind, str):
        raise configuration_fault(f"an error's type is a URI, not {kind!r}")
    if isinstance(status, bool) or not isinstance(status, int):
        raise configuration_fault(f"an error's status is an HTTP status such as 400, not {status!r}")
    title, detail, instance = (
        None if value.get(name) is None else str(value[name]) for name in ("title", "detail", "instance")
    )
    return Fault(kind, status, title, detail, instance)


class Wait(Kind):
    """A pause that survives restarts."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Ask to be woken."""
        seconds = fold.seconds(frame, task, "wait", task.definition["wait"], frame.input)
        frame.data = WaitData()
        fold.wake(frame, fold.now + seconds)
        fold.note(frame, "waiting")

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """Time is up: the input goes on unchanged."""
        fold.complete(frame, frame.input)


def _attribute(name: str, value: Json) -> Json:
    """Return an attribute of an event; CloudEvents has text in those that it names itself."""
    if name not in _TEXTS or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        raise configuration_fault(
            f"the `{name}` of an event is a text, not {msgspec.json.encode(value).decode()}"
        )
    return msgspec.json.encode(value).decode()


class EmitTask(Kind):
    """An event for whoever listens; the task's output is the event."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Put the event together and publish it."""
        written = task.definition["emit"]["event"]["with"]
        attributes = fold.fill(frame, task.template("emit", written), frame.input)
        uris = {
            name: uri_of(attributes[name], written[name], frame.input)
            for name in ("source", "dataschema")
            if name in written
        }
        if not isinstance(attributes, dict):
            raise configuration_fault("`emit.event.with` must give an object of attributes")
        document = fold.outline.document["document"]
        event = {
            "specversion": "1.0",
            "id": derived_id(fold.state.run, frame.key, "event"),
            "source": f"/{document['namespace']}/{document['name']}/{document['version']}",
            "time": iso_time(fold.now),
            **{
                name: _attribute(name, value)
                for name, value in {**attributes, **uris}.items()
                if value is not None
            },
        }
        if "type" not in event:
            raise configuration_fault("an event needs a type, a text")
        frame.output = event
        frame.data = WaitData()
        fold.open(lambda id: Emit(id, event), frame.id)

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """The event is with everybody who listens."""
        fold.complete(frame, frame.output)
