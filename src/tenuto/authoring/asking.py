"""What a workflow can await: each is a wish that its execution turns into commands.

    receipt = await charge(order)      # StepCall -> Perform -> its answer

An `Ask` does nothing until it is awaited, or handed to `gather`, `race` or `each`. Its `open` begins
it and returns what waits (a `Wait`), or None if the answer is there already; who asked is told through
`Asker`. A wait that is not needed any more is stopped with `stop`, and then tells `Cancelled`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from tenuto.engine.model import Json
from tenuto.errors import Invalid

if TYPE_CHECKING:
    from tenuto.authoring.data import Codec
    from tenuto.authoring.declare import Retry, Step, Workflow
    from tenuto.authoring.execution import Execution

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

PATIENCE: Final = 1_000
"""How many awaits of a coroutine that is let go of are ended; one that swallows more is left where it is."""


class Gone:
    """In place of an execution whose coroutines are let go of: whatever they await then ends them."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        self._ended = 0

    def end(self) -> None:
        """End an await; lets it wait for ever if the code goes on and on in spite of that."""
        self._ended += 1
        if self._ended <= PATIENCE:
            raise GeneratorExit


_current: ContextVar[Any] = ContextVar("tenuto_execution", default=None)


NOWHERE: Final = Context()
"""Where nothing runs: the context of executions that are let go of."""


def context_of(execution: Execution) -> Context:
    """Return a context whose code runs in an execution: also code that workflow code lets others call."""
    context = Context()
    context.run(_current.set, execution)
    return context


def close_generators_left() -> Any:
    """Close async generators that are left early from now on; returns what `restore_generator_hooks` needs.

    The event loop's own hooks would let them go on outside of the workflow.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, _let_go)
    return hooks


def restore_generator_hooks(hooks: Any) -> None:
    """Go back to what was before `close_generators_left`."""
    sys.set_asyncgen_hooks(*hooks)


@contextmanager
def gone() -> Iterator[None]:
    """End whatever is awaited meanwhile: coroutines are let go of."""
    token, hooks = _current.set(Gone()), close_generators_left()
    try:
        yield
    finally:
        restore_generator_hooks(hooks)
        _current.reset(token)


def _let_go(generator: AsyncGenerator[Any, Any]) -> None:
    """Close an async generator that workflow code has left; what it still would await is not done."""
    with gone():
        try:
            generator.aclose().send(None)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: S110  # nobody is there who could hear of it
            pass


def inside() -> Execution | None:
    """Return the execution that this code runs in; None outside of workflows."""
    found: Execution | None = _current.get()
    return found


def execution() -> Execution:
    """Return the execution that this code runs in; raises `Invalid` outside of workflows."""
    found = _current.get()
    if type(found) is Gone:
        raise GeneratorExit
    if found is None:
        raise Invalid(
            "this is only for workflow code, and no workflow runs here",
            hint="call it in an `async def` under @workflow, and start that with `app.start(...)`",
        )
    current: Execution = found
    return current


class Asker(Protocol):
    """Whoever waits for an answer."""

    def resume(self, value: Any) -> None:
        """Here is the answer."""

    def fail(self, error: BaseException) -> None:
        """There is none: this is why."""


class Wait(Protocol):
    """Something that was begun and is waited for."""

    def stop(self) -> None:
        """Stop it: nobody needs it; who asked is told `Cancelled`, at once or when it has cleaned up."""

    def answered(self, output: Json) -> None:
        """Take the answer of its command."""

    def failed(self, fault: Any) -> None:
        """Take the fault of its command."""

    def abandon(self) -> None:
        """Stop it, and tell nobody: who asked is gone too."""


class Ask(Generic[R_co]):
    """Something that can be awaited in a workflow."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, R_co]:
        found = _current.get()
        if found is None:
            execution()
        elif type(found) is Gone:
            self.close()
            found.end()
        answer: R_co = yield self
        return answer

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Begin; see the module's text."""
        raise TypeError(f"{type(self).__name__} cannot be awaited")

    def close(self) -> None:
        """Let go of it: it will not be begun."""
        found = _current.get()
        if found is not None and type(found) is not Gone:
            found.unbegun.pop(id(self), None)

    def made(self) -> None:
        """Count as forgotten until it is begun: a missing `await` would do nothing, silently."""
        found = _current.get()
        if found is not None and type(found) is not Gone:
            found.unbegun[id(self)] = self

    def called(self) -> str:
        """Return what it is called in workflow code."""
        return type(self).__name__.lower()


class StepCall(Ask[R_co]):
    """A step, called with these arguments."""

    __slots__ = ("args", "kwargs", "step")

    def __init__(self, step: Step[..., R_co], args: Any, kwargs: Any) -> None:
        self.step = step
        self.args = args
        self.kwargs = kwargs
        # As `made` does; a call of a step is made too often for one more of a method.
        found = _current.get()
        if found is not None and type(found) is not Gone:
            found.unbegun[id(self)] = self

    def called(self) -> str:
        """Return the step's name."""
        return self.step.name

    def __repr__(self) -> str:
        return f"<call of {self.step!r}, to be awaited in a workflow>"

    def __await__(self) -> Generator[Any, Any, R_co]:
        found = _current.get()
        if found is None:
            return (yield from self.step.inline(self.args, self.kwargs))
        if type(found) is Gone:
            found.end()
        answer: R_co = yield self
        return answer

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Ask for the step's function."""
        return execution.open_step(self, asker)


class FunctionCall(Ask[R_co]):
    """A function of a connector, called with these arguments."""

    __slots__ = ("arguments", "function", "retry", "returns", "undo")

    def __init__(
        self,
        function: str,
        arguments: Mapping[str, Json],
        returns: Codec[R_co],
        retry: Retry | None,
        undo: str | None,
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.returns = returns
        self.retry = retry
        self.undo = undo
        self.made()

    def called(self) -> str:
        """Return the function's name."""
        return self.function

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Ask for the function."""
        return execution.open_function(self, asker)


class ChildCall(Ask[R_co]):
    """A workflow, called with these arguments: a run of its own."""

    __slots__ = ("args", "kwargs", "workflow")

    def __init__(self, workflow: Workflow[..., R_co], args: Any, kwargs: Any) -> None:
        self.workflow = workflow
        self.args = args
        self.kwargs = kwargs
        self.made()

    def called(self) -> str:
        """Return the workflow's name."""
        return self.workflow.name

    def __repr__(self) -> str:
        return f"<call of {self.workflow!r}, to be awaited in a workflow or given to App.start>"

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Start the run."""
        workflow = self.workflow
        data = workflow.parameters.encode(self.args, self.kwargs)
        return execution.open_child(
            workflow.namespace, workflow.name, workflow.version, data, workflow.result, asker
        )


class DocumentCall(Ask[R_co]):
    """A workflow by name, a YAML document for instance, with this input: a run of its own."""

    __slots__ = ("data", "name", "namespace", "returns", "version")

    def __init__(self, namespace: str, name: str, version: str, data: Json, returns: Codec[R_co]) -> None:
        self.namespace = namespace
        self.name = name
        self.version = version
        self.data = data
        self.returns = returns
        self.made()

    def called(self) -> str:
        """Return the workflow's name."""
        return self.name

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Start the run."""
        return execution.open_child(self.namespace, self.name, self.version, self.data, self.returns, asker)


class Sleep(Ask[None]):
    """A durable timer: until `at`, or for some seconds from when it begins."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float | None, at: float | None = None) -> None:
        self.seconds = seconds
        self.at = at
        self.made()

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Set the timer."""
        return execution.open_timer(self, asker)


class Emission(Ask[None]):
    """An event to publish."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: dict[str, Json]) -> None:
        self.attributes = attributes
        self.made()

    def called(self) -> str:
        """Return the verb."""
        return "emit"

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Publish it."""
        return execution.open_emission(self.attributes, asker)


class EventWait(Ask[R_co]):
    """The next event of a type for which `accepts` holds; `read` makes of it what is answered.

    After `timeout_seconds` the answer is a `TimeoutError`.
    """

    __slots__ = ("accepts", "name", "read", "timeout_seconds", "type")

    def __init__(
        self,
        name: str,
        type: str,
        accepts: Callable[[dict[str, Json]], bool],
        read: Callable[[dict[str, Json]], R_co],
        timeout_seconds: float | None,
    ) -> None:
        self.name = name
        self.type = type
        self.accepts = accepts
        self.read = read
        self.timeout_seconds = timeout_seconds

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Listen."""
        return execution.open_event(self, asker)
