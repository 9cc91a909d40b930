"""The listen task: which events it takes, when it has enough, what it does with each.

An event that nobody takes waits in the run's inbox for a later `listen`; one that is taken is
gone for later ones. Events consumed by an `until` strategy are not part of the output.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from tenuto.engine.model import Json
from tenuto.language.expressions import Expression, is_expression, parse
from tenuto.language.fold import Fold, Kind
from tenuto.language.program import Task
from tenuto.language.state import ListenData, ListFrame, TaskFrame
from tenuto.language.tasks.iterating import handle_items, take_item

_PATTERN: Final = re.compile(r"[\\*+?\[\](){}|^$]")


class Listen(Kind):
    """Wait for events; see the module's text."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Look at the events that wait, handle what was consumed, end when there is enough."""
        data = frame.data
        if data is None:
            waiting = [event for event in fold.state.inbox if not _foreign(task, event)]
            fold.state.inbox = [event for event in fold.state.inbox if _foreign(task, event)]
            data = frame.data = ListenData(inbox=waiting)
            fold.note(frame, "waiting")
            fold.note(frame, "correlation-started")
        assert isinstance(data, ListenData)
        foreach, node = task.definition.get("foreach"), task.node + "/foreach/do"
        strategy = task.definition["listen"]["to"]
        until = strategy.get("until") if "any" in strategy else None

        def enough() -> bool:
            return isinstance(until, str) and fold.test(frame, task, "listen.until", until, data.values)

        done = handle_items(fold, frame, task, data, foreach, node, enough)
        while data.stage == "consume" and data.inbox and not data.closed:
            _look_at(fold, frame, task, data, data.inbox[0])
            data.inbox = data.inbox[1:]
            fold.forget_answers(frame)
            done = handle_items(fold, frame, task, data, foreach, node, enough)
        if data.closed and data.inbox:
            # What came after the last event that was wanted is for a later `listen`.
            fold.state.inbox = [*data.inbox, *fold.state.inbox]
            data.inbox = []
        if done:
            fold.note(frame, "correlation-completed", data=data.expect or None)
            fold.complete(frame, data.outputs)

    def arrived(self, fold: Fold, frame: TaskFrame, event: dict[str, Json]) -> bool:
        """Queue an event that may be one of those waited for."""
        data = frame.data
        task = fold.outline.task(frame.node)
        if not isinstance(data, ListenData) or data.closed or _foreign(task, event):
            return False
        frame = fold.own(frame)
        assert isinstance(frame.data, ListenData)
        frame.data.inbox = [*frame.data.inbox, event]
        fold.schedule(frame)
        return True

    def listed(self, fold: Fold, frame: TaskFrame, ended: ListFrame, output: Json, exited: bool) -> None:
        """An item's tasks are done."""
        take_item(fold, frame, output, exited)


def _foreign(task: Task, event: dict[str, Json]) -> bool:
    """Whether an event cannot be meant by a `listen`, judged by its literal types alone."""
    strategy = task.definition["listen"]["to"]
    until = strategy.get("until")
    strategies = [strategy, until] if isinstance(until, dict) else [strategy]
    for one in strategies:
        filters = _filters(one)
        if not filters:
            return False
        for wanted in filters:
            kind = (wanted.get("with") or {}).get("type")
            if not isinstance(kind, str) or kind == event.get("type") or _PATTERN.search(kind):
                return False
    return True


def _filters(strategy: dict[str, Json]) -> list[dict[str, Json]]:
    if "one" in strategy:
        return [strategy["one"]]
    filters: list[dict[str, Json]] = strategy.get("all", strategy.get("any")) or []
    return filters


def _look_at(fold: Fold, frame: TaskFrame, task: Task, data: ListenData, event: dict[str, Json]) -> None:
    """Consume an event if a filter matches it, and see whether that was enough."""
    strategy = task.definition["listen"]["to"]
    until = strategy.get("until") if "any" in strategy else None
    if isinstance(until, dict):
        expect = dict(data.expect)
        matched = _match(fold, frame, task, until, event, data.until_matched, expect)
        if matched is not None:
            data.until_matched = [*data.until_matched, matched]
            data.closed = _satisfied(until, data.until_matched)
            return
    expect = dict(data.expect)
    matched = _match(fold, frame, task, strategy, event, data.matched, expect)
    if matched is None:
        return
    value = _read(event, task.definition["listen"].get("read", "data"))
    data.matched = [*data.matched, matched]
    data.expect = expect
    data.values = [*data.values, value]
    data.closed = until is None and _satisfied(strategy, data.matched)


def _satisfied(strategy: dict[str, Json], matched: list[int]) -> bool:
    if "all" in strategy:
        return len(set(matched)) >= len(strategy["all"])
    return bool(matched)


def _match(
    fold: Fold,
    frame: TaskFrame,
    task: Task,
    strategy: dict[str, Json],
    event: dict[str, Json],
    matched: list[int],
    expect: dict[str, Json],
) -> int | None:
    """Return the number of the first filter that takes the event, None if none does."""
    filters = _filters(strategy)
    if not filters:
        return 0
    for position, wanted in enumerate(filters):
        if "all" in strategy and position in matched:
            continue
        # What is written out comes first: expressions are for events that fit otherwise.
        attributes = sorted(wanted["with"].items(), key=lambda item: _is_open(item[1]))
        if not all(_attribute_fits(fold, frame, event, name, value) for name, value in attributes):
            continue
        found = dict(expect)
        if _correlates(fold, frame, task, wanted.get("correlate") or {}, event, found):
            expect.update(found)
            return position
    return None


def _is_open(wanted: Json) -> bool:
    return isinstance(wanted, dict) or (isinstance(wanted, str) and is_expression(wanted))


def _attribute_fits(fold: Fold, frame: TaskFrame, event: dict[str, Json], name: str, wanted: Json) -> bool:
    """Compare one attribute: an expression is a condition or a value, text may be a pattern."""
    found = event.get(name)
    if isinstance(wanted, str) and is_expression(wanted):
        result = fold.evaluate(frame, parse(wanted), found)
        return result if isinstance(result, bool) else result == found
    if wanted == found:
        return True
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(_attribute_fits(fold, frame, found, key, value) for key, value in wanted.items())
    if isinstance(wanted, str) and isinstance(found, str) and _PATTERN.search(wanted):
        # Patterns run in the second lane, where one that never ends is stopped.
        return bool(fold.evaluate(frame, _pattern(wanted), found))
    return False


def _pattern(text: str) -> Expression:
    return parse(f"test({msgspec.json.encode(f'^(?:{text})$').decode()})")


def _correlates(
    fold: Fold,
    frame: TaskFrame,
    task: Task,
    correlations: dict[str, Any],
    event: dict[str, Json],
    expect: dict[str, Json],
) -> bool:
    """Check an event's correlation values; the first value seen is expected from then on."""
    for name, correlation in correlations.items():
        value = fold.evaluate(frame, parse(correlation["from"]), event)
        if value is None:
            return False
        if "expect" in correlation:
            wanted = fold.fill(
                frame,
                task.template(f"expect/{name}/{correlation['expect']}", correlation["expect"]),
                frame.input,
            )
            if value != wanted and _text(value) != _text(wanted):
                return False
        elif expect.setdefault(name, value) != value:
            return False
        expect.setdefault(name, value)
    return True


def _text(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _read(event: dict[str, Json], how: str) -> Json:
    if how == "envelope":
        return event
    data = event.get("data")
    return _text(data) if how == "raw" else data
