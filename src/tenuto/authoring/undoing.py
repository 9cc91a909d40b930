"""Taking back what steps did, the last first, when a workflow fails or is cancelled.

An action that can be taken back and is under way when nobody needs it any more is allowed to end:
only then is it known whether there is something to take back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenuto.authoring.data import Codec
from tenuto.engine.model import Json

if TYPE_CHECKING:
    from tenuto.authoring.declare import Retry, Step
    from tenuto.authoring.execution import Execution
    from tenuto.authoring.waits import Action

TIMEOUT_STATUS: Final = 408  # of a fault after which nobody knows whether the action did anything
ANYTHING: Final[Codec[Any]] = Codec(Any, "the result")


@dataclass(frozen=True, slots=True)
class Undo:
    """How an action is taken back: by which function, with which of the action's arguments.

    `names` is None where the function itself says which it knows. `unknown` means that it may be
    called when nobody knows whether the action did anything.
    """

    name: str
    function: str
    names: tuple[str, ...] | None
    retry: Retry | None
    unknown: bool = True


@dataclass(frozen=True, slots=True)
class _Done:
    undo: Undo
    arguments: dict[str, Json]
    output: Json
    key: str


class Undoing:
    """What a run did that can be taken back, and how far taking it back has come."""

    def __init__(self) -> None:
        self._done: list[_Done] = []
        self.under_way: set[int] = set()
        self._failures: list[str] = []
        self._busy = False

    def of_step(self, step: Step[..., Any], know: Callable[[Step[..., Any]], None]) -> Undo | None:
        """Return how a step is taken back, if it is; `know` is told of the step that does it."""
        if step.undo is None:
            return None
        know(step.undo)
        undo = step.undo
        return Undo(undo.name, undo.called, undo.parameters.names, undo.retry, step.undo_unknown)

    def of_function(self, function: str) -> Undo:
        """Return how a connector's function is taken back by another."""
        return Undo(function.partition(":")[0], function, None, None)

    def remember(self, action: Action, output: Json) -> None:
        """An action is done, or may be: it can be taken back."""
        assert action.undo is not None
        self._done.append(_Done(action.undo, action.arguments, output, action.idempotency_key()))

    def leave_alone(self, id: int) -> None:
        """Let an action under way end, although nobody waits for it."""
        self.under_way.add(id)

    def ended(self, id: int) -> None:
        """Such an action has ended."""
        self.under_way.discard(id)

    def settle(self) -> None:
        """What was done so far is not taken back any more, nor what was left alone."""
        self._done.clear()
        self.under_way.clear()

    def proceed(self, execution: Execution) -> Sequence[str] | None:
        """Take back what is left, one after the other; once nothing is, return what could not be."""
        if self._busy or self.under_way:
            return None
        if not self._done:
            return self._failures
        done = self._done.pop()
        self._busy = True
        arguments = {**done.arguments, "result": done.output}
        if done.undo.names is not None:
            # A run that was retried with other arguments may lack some: the undo says so itself.
            arguments = {name: arguments[name] for name in done.undo.names if name in arguments}
        execution.open_undo(done.undo, arguments, done.key + "/undo", self)
        return None

    def resume(self, value: Any) -> None:
        """One is taken back."""
        self._busy = False

    def fail(self, error: BaseException) -> None:
        """One could not be taken back: the others are all the same."""
        self._busy = False
        self._failures.append(f"not undone: {error}")
