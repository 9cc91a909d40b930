"""Tasks that run others several times or at once: for and fork."""

from __future__ import annotations

from typing import Any

from tenuto.engine.model import Json
from tenuto.errors import Fault, expression_fault
from tenuto.language.fold import Fold, Kind
from tenuto.language.program import Task
from tenuto.language.state import ForData, ForkData, ListFrame, TaskFrame


class For(Kind):
    """One round for each item; each round's output is the next one's input."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Start the next round, or end when no item is left or `while` no longer holds."""
        loop = task.definition["for"]
        data = frame.data
        if data is None:
            items = fold.fill(frame, task.formula("for.in", loop["in"]), frame.input)
            if not isinstance(items, list):
                raise expression_fault(f"for.in must give an array, not {_kind_name(items)}")
            fold.forget_answers(frame)
            data = frame.data = ForData(items, 0, frame.input)
        assert isinstance(data, ForData)
        if data.index >= len(data.items):
            fold.complete(frame, data.current)
            return
        scope = {
            **frame.scope,
            loop.get("each", "item"): data.items[data.index],
            loop.get("at", "index"): data.index,
        }
        condition = task.definition.get("while")
        if condition is not None and not fold.test(frame, task, "while", condition, data.current, scope):
            fold.complete(frame, data.current)
            return
        fold.forget_answers(frame)
        fold.start_list(
            frame, task.node + "/do", f"{frame.path}/for/{data.index}/do", data.current, scope=scope
        )

    def listed(self, fold: Fold, frame: TaskFrame, ended: ListFrame, output: Json, exited: bool) -> None:
        """Hand the round's output on; `exit` ends the loop."""
        data = frame.data
        assert isinstance(data, ForData)
        data.current = output
        data.index = len(data.items) if exited else data.index + 1
        fold.schedule(frame)


class Fork(Kind):
    """Branches at once: all of them, or the first to complete.

    Each branch sees its own `$context`; at the end the changes are merged in the order in which
    the branches are declared. Without `compete` the first fault cancels the others; with it, a
    branch that faults has lost, and the task faults only when all have.
    """

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Start all branches."""
        node = task.node + "/fork/branches"
        count = len(fold.outline.tasks(node))
        frame.data = ForkData(count)
        if not count:
            fold.complete(frame, [])
        for slot in range(count):
            fold.start_list(
                frame,
                node,
                frame.path + "/fork/branches",
                frame.input,
                role="branch",
                slot=slot,
                only=slot,
                own_context=True,
            )

    def listed(self, fold: Fold, frame: TaskFrame, ended: ListFrame, output: Json, exited: bool) -> None:
        """Take a branch's output; end when it was the last, or the first of a race."""
        data = frame.data
        assert isinstance(data, ForkData)
        if fold.outline.task(frame.node).definition["fork"].get("compete"):
            fold.set_context(frame, ended.own_context)
            fold.cancel_below(frame)
            fold.complete(frame, output)
            return
        data.outputs = {**data.outputs, ended.slot: output}
        if ended.own_context != fold.context(frame):
            data.contexts = {**data.contexts, ended.slot: ended.own_context}
        data.running -= 1
        if data.running == 0:
            fold.set_context(frame, _merge(fold.context(frame), data.contexts))
            fold.complete(frame, [data.outputs[slot] for slot in sorted(data.outputs)])

    def list_faulted(self, fold: Fold, frame: TaskFrame, ended: ListFrame, fault: Fault) -> None:
        """A branch has faulted: so has the task, unless others still race."""
        data = frame.data
        assert isinstance(data, ForkData)
        data.running -= 1
        if fold.outline.task(frame.node).definition["fork"].get("compete"):
            data.faults = {**data.faults, ended.slot: fault}
            if data.running:
                return
            fault = data.faults[min(data.faults)]
        fold.fault(frame, fault)


def _merge(base: Json, contexts: dict[int, Json]) -> Json:
    """Merge what branches made of a context, in their declared order.

    >>> _merge({"a": 1}, {0: {"a": 1, "b": 2}, 1: {"a": 3}})
    {'a': 3, 'b': 2}
    """
    merged: Any = base
    known = base if isinstance(base, dict) else {}
    for slot in sorted(contexts):
        context = contexts[slot]
        if isinstance(context, dict) and (merged is None or isinstance(merged, dict)):
            changed = {k: v for k, v in context.items() if k not in known or known[k] != v}
            gone = known.keys() - context.keys()
            kept = {k: v for k, v in (merged or {}).items() if k not in gone}
            merged = {**kept, **changed}
        else:
            merged = context
    return merged


def _kind_name(value: Json) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), "an object")
