"""`call: undo:1.0.0@default`: take back what was done, the last thing first.

Inside a `catch.do` it takes back what the tasks of that `try` did, elsewhere everything that the
run did. What takes an action back is declared by its connector, or by the task itself as a call in
`metadata.undo`, which sees the task's input, its variables and its `$output`. An action whose branch
was cancelled is allowed to end first: only then is it known whether there is something to take back.
What cannot be taken back does not stop the rest; the task then faults and names it, and a later
`undo` tries just that again.
"""

from __future__ import annotations

from tenuto.engine.model import Json, Perform
from tenuto.errors import Fault, configuration_fault, runtime_fault
from tenuto.language.fold import Fold, Kind
from tenuto.language.program import Task
from tenuto.language.state import TaskFrame, Undoable, UndoData
from tenuto.language.tasks.endpoints import STANDARD_CALLS, resolve_endpoints


class Undo(Kind):
    """Take back, one action after the other; see the module's text."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Take back the newest action that was not tried yet."""
        data = frame.data
        assert isinstance(data, UndoData)
        scope = _scope(frame)
        if data.current or any(entry.path.startswith(scope) for entry in fold.state.in_flight.values()):
            return
        entries = [e for e in fold.state.undoable if e.path.startswith(scope)]
        left = len(entries) - len(data.failures)
        if left <= 0:
            self._end(fold, frame, data)
            return
        entry = entries[left - 1]
        if entry.node:
            function, arguments = self._as_the_task_says(fold, frame, entry)
        else:
            function, arguments = entry.function, {**entry.arguments, "result": entry.output}
        fold.forget_answers(frame)
        data.current = fold.open(
            lambda id: Perform(
                id,
                frame.path,
                function,
                arguments,
                entry.key + "/undo",
                frame.attempt,
                undoing=not entry.node,
                nonce=fold.state.nonce,
            ),
            frame.id,
        )

    def _as_the_task_says(self, fold: Fold, frame: TaskFrame, entry: Undoable) -> tuple[str, dict[str, Json]]:
        """Fill a task's `metadata.undo`, a call, with what the task saw and what came of it."""
        task = fold.outline.task(entry.node)
        undo = task.definition["metadata"]["undo"]
        call = undo.get("call") if isinstance(undo, dict) else None
        if call in STANDARD_CALLS:
            function = STANDARD_CALLS[call]
        elif isinstance(call, str) and call.endswith("@default"):
            function = call.removesuffix("@default")
        else:
            raise configuration_fault(
                f"metadata.undo of {entry.path} has to be a `call` of a service or of the default catalog"
            )
        visible = {**entry.scope, "input": entry.input, "output": entry.output}
        written = undo.get("with") or {}
        arguments = fold.fill(frame, task.template("metadata.undo", written), entry.input, visible)
        return function, resolve_endpoints(fold, frame, arguments, written, entry.input)

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """One action is taken back: forget it."""
        data = frame.data
        assert isinstance(data, UndoData)
        scope = _scope(frame)
        entries = [e for e in fold.state.undoable if e.path.startswith(scope)]
        gone = entries[len(entries) - len(data.failures) - 1]
        fold.state.undoable = [e for e in fold.state.undoable if e is not gone]
        data.undone += 1
        data.current = 0
        fold.schedule(frame)

    def failed(self, fold: Fold, frame: TaskFrame, command: int, fault: Fault) -> None:
        """One action could not be taken back: remember why and go on."""
        data = frame.data
        assert isinstance(data, UndoData)
        data.failures = [*data.failures, fault.detail or fault.title or fault.type]
        data.current = 0
        fold.schedule(frame)

    def _end(self, fold: Fold, frame: TaskFrame, data: UndoData) -> None:
        if data.failures:
            raise runtime_fault(
                f"{len(data.failures)} actions could not be undone: " + "; ".join(data.failures),
                title="Undo Failed",
            )
        fold.complete(frame, {"undone": data.undone})


def _scope(frame: TaskFrame) -> str:
    """Return the path whose actions are meant: the `try` around a handler, or the whole run."""
    place, found, _ = frame.path.rpartition("/catch/do/")
    return place + "/try/" if found else "/"
