"""Steps and workflows as they are declared: what they are called, take and give, and how steps may fail.

    @step(retry=Retry(attempts=5), undo=refund)
    def charge(order: Order) -> Receipt: ...

    @workflow(version="1.2.0")
    async def buy(order: Order) -> Receipt:
        return await charge(order)

Declaring registers nothing anywhere: an `App` is given its workflows, and learns of their steps
when they call them.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import textwrap
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import cached_property
from math import inf
from types import FunctionType
from typing import Any, Final, Generic, Literal, ParamSpec, Protocol, TypeVar, get_type_hints, overload

from tenuto.authoring.asking import ChildCall, StepCall
from tenuto.authoring.data import Codec
from tenuto.authoring.parameters import Parameters
from tenuto.engine.ports import DocumentRow
from tenuto.engine.rules import Backoff
from tenuto.errors import Invalid

P = ParamSpec("P")
R = TypeVar("R")

PYTHON: Final = "python"
"""The connector that all steps belong to: the step `charge` is the function `python.charge`."""

STEP_VERSION: Final = "1.0.0"
"""The version of every step, as YAML documents call it: `call: python.charge:1.0.0@default`."""

RESULT: Final = "result"  # the parameter of an undo step that is given the step's result
_SEMANTIC: Final = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")
_HOST_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a step is tried, and how long to wait between.

    `attempts` counts all of them, the first too. The delay is constant, or grows with each attempt:
    `delay_seconds * 1, 2, 3` (linear) or `* 1, 2, 4` (exponential), at most `delay_seconds_max`; up to
    `jitter` of it (0.1: a tenth) is added. Tried again is after exceptions of the classes `on`, unless
    they are of the classes `never`.
    """

    attempts: int = 3
    delay_seconds: float = 1.0
    backoff: Backoff = "exponential"
    delay_seconds_max: float = 3600.0
    jitter: float = 0.1
    on: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        delays = (self.delay_seconds, self.delay_seconds_max, self.jitter)
        if self.attempts < 1 or not all(0 <= delay < inf for delay in delays):
            raise Invalid(
                f"{self} cannot be followed",
                hint="attempts is 1 or more, delays and jitter are numbers from 0",
            )


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `count` calls of a step at once in this process; with `key`, for each of its values.

    `key` is called with the step's arguments and returns a text.
    """

    count: int
    key: Callable[..., str] | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise Invalid(f"{self} lets nothing run", hint="count is 1 or more")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` calls of a step begin in any `per_seconds` in this process; with `key`, for each."""

    count: int
    per_seconds: float = 1.0
    key: Callable[..., str] | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.per_seconds < inf:
            raise Invalid(f"{self} lets nothing run", hint="count is 1 or more, per_seconds above 0")


Pool = Literal["thread", "process"]


class Step(Generic[P, R]):
    """A function whose result is recorded. Call it in a workflow, and `await` the call.

    Called outside of workflows it is the plain function, awaited: handy in a step's own tests.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout_seconds: float | None = None,
        heartbeat_seconds: float | None = None,
        undo: Step[..., Any] | None = None,
        concurrency: Concurrency | None = None,
        rate: Rate | None = None,
        pool: Pool = "thread",
    ) -> None:
        _require_function(function, "step")
        self.name = name or function.__name__
        if not self.name.isidentifier():
            raise Invalid(f"{self.name!r} cannot be a step's name", hint="use letters, digits and _")
        where = f"step `{self.name}`"
        self.function = function
        self.asynchronous = inspect.iscoroutinefunction(function)
        if pool == "process" and self.asynchronous:
            raise Invalid(
                f"{where} is async and cannot run in a process", hint="write `def`, or pool='thread'"
            )
        self.retry = retry
        for option, seconds in (("timeout", timeout_seconds), ("heartbeat", heartbeat_seconds)):
            if seconds is not None and not 0 <= seconds < inf:
                raise Invalid(
                    f"{option}_seconds of {where} is {seconds!r}",
                    hint="give a number, 0 or more, or leave it out",
                )
        self.timeout_seconds = timeout_seconds
        self.heartbeat_seconds = heartbeat_seconds
        self.concurrency = concurrency
        self.rate = rate
        self.pool: Pool = pool
        self.parameters = Parameters(function, where)
        self.result: Codec[Any] = Codec(_result_type(function), f"the result of {where}")
        self.undo = undo
        self.called = f"{PYTHON}.{self.name}"
        # Whether its undo can be called when nobody knows if the step did anything: with result None.
        self.undo_unknown = undo is not None and _check_undo(self, undo)
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> StepCall[R]:
        """Return the call, to be awaited."""
        return StepCall(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def inline(self, args: Any, kwargs: Any) -> Generator[Any, Any, R]:
        """Call the plain function, outside of workflows."""
        called = self.function(*args, **kwargs)
        result: R = (yield from called.__await__()) if self.asynchronous else called
        return result


class Workflow(Generic[P, R]):
    """An `async def` that is run durably: `app.start(it, ...)`, or called and awaited in another workflow."""

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        *,
        name: str | None = None,
        namespace: str = "default",
        version: str = "1.0.0",
    ) -> None:
        _require_function(function, "workflow")
        self.name = name or function.__name__.strip("_").replace("_", "-").lower()
        self.namespace = namespace
        self.version = version
        where = f"workflow `{self.name}`"
        for what, text, form in (("name", self.name, _HOST_NAME), ("namespace", namespace, _HOST_NAME)):
            if not form.fullmatch(text):
                raise Invalid(
                    f"{text!r} cannot be a workflow's {what}", hint="use a-z, 0-9 and hyphens, at most 63"
                )
        if not _SEMANTIC.fullmatch(version):
            raise Invalid(f"{version!r} cannot be the version of {where}", hint='write as in "1.0.0"')
        if not inspect.iscoroutinefunction(function):
            raise Invalid(f"{where} is not async", hint=f"write `async def {function.__name__}(...)`")
        self.function = function
        self.parameters = Parameters(function, where)
        self.result: Codec[Any] = Codec(_result_type(function), f"the result of {where}")
        self.source = _source(function)
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ChildCall[R]:
        """Return the call, to be awaited in another workflow or given to `App.start`."""
        return ChildCall(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.namespace}/{self.name}:{self.version}>"

    def document(self) -> DocumentRow:
        """Return the workflow as it is stored: its digest is that of its name, version and source.

        Its origin is the module that it is in, unless that is the program itself.
        """
        return self._row

    @cached_property
    def _row(self) -> DocumentRow:
        # Its code does not change any more: one digest serves all starts.
        head = f"{self.namespace}/{self.name}:{self.version}\n"
        return DocumentRow(
            digest=hashlib.sha256((head + self.source).encode()).hexdigest(),
            namespace=self.namespace,
            name=self.name,
            version=self.version,
            source=self.source,
            origin=None if self.function.__module__ == "__main__" else self.function.__module__,
            kind=PYTHON,
        )


class StepDecorator(Protocol):
    """What `step(...)` with options gives: make a function a step."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...


class WorkflowDecorator(Protocol):
    """What `workflow(...)` with options gives: make an async function a workflow."""

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]:
        """Make the function a workflow."""


@overload
def step(function: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = ...,
    retry: Retry | None = ...,
    timeout_seconds: float | None = ...,
    heartbeat_seconds: float | None = ...,
    undo: Step[..., Any] | None = ...,
    concurrency: Concurrency | None = ...,
    rate: Rate | None = ...,
    pool: Pool = ...,
) -> StepDecorator: ...
def step(function: Any = None, /, **options: Any) -> Any:
    """Make a function a step: what it does is done at least once, its result is recorded once.

    Args:
        function: A `def` (it runs in a thread) or an `async def`; all parameters have types.
        name: What it is called in histories and policies; without it the function's name.
        retry: When to try again; without it the first failure counts.
        timeout_seconds: An attempt that takes longer has failed, and may be tried again.
        heartbeat_seconds: An attempt that tells of no progress for so long has failed.
        undo: The step that takes this one's effect back when the workflow fails or is cancelled. It is
            called with those of this step's arguments that it has parameters for, and with `result`.
        concurrency: How many calls may be under way at once.
        rate: How many calls may begin in a time.
        pool: Where a `def` runs: in a `thread`, or in a `process` of its own for work that computes.
    """
    if function is None:
        return lambda function: Step(function, **options)
    return Step(function, **options)


@overload
def workflow(function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(*, name: str | None = ..., namespace: str = ..., version: str = ...) -> WorkflowDecorator: ...
def workflow(function: Any = None, /, **options: Any) -> Any:
    """Make an `async def` a workflow: it survives crashes by being run again over what is recorded.

    Args:
        function: Its code has to do the same whenever it is run over the same records: everything that
            touches the world is a step, and time, chance and waiting come from `tenuto`.
        name: What it is called; without it the function's name with hyphens.
        namespace: With name and version, how other workflows call it.
        version: A run keeps to the version it was started with.
    """
    if function is None:
        return lambda function: Workflow(function, **options)
    return Workflow(function, **options)


def _require_function(function: object, what: str) -> None:
    if inspect.isfunction(function) and function.__name__ != "<lambda>":
        _refuse_method(function, what)
        return
    found = "a lambda" if inspect.isfunction(function) else f"{function!r}"
    raise Invalid(
        f"{found} cannot be a {what}: it has no name that lasts",
        hint=f"define a function with `def` and put @{what} over it",
    )


def _refuse_method(function: FunctionType, what: str) -> None:
    """Refuse a method: the object that it belongs to is gone when the process is."""
    named = function.__qualname__.rpartition("<locals>.")[2]
    first = next(iter(inspect.signature(function).parameters), "")
    if first in {"self", "cls"} and "." in named:
        raise Invalid(
            f"the method `{named}` cannot be a {what}: its `{first}` is not recorded",
            hint=f"put @{what} over a function, and hand in what it needs as arguments",
        )


def _result_type(function: Callable[..., Any]) -> Any:
    hints = get_type_hints(function, include_extras=True)
    return hints.get("return", Any)


def _check_undo(done: Step[..., Any], undo: Step[..., Any]) -> bool:
    """Refuse an undo that cannot be called with what is known; return whether the result may be unknown."""
    known = (*done.parameters.names, RESULT)
    for name in undo.parameters.names:
        if name not in known:
            raise Invalid(
                f"undo of step `{done.name}`: `{undo.name}` has a parameter `{name}` that nobody can give",
                hint=f"it can have: {', '.join(known)}",
            )
    if RESULT not in undo.parameters.names:
        return True
    hint = get_type_hints(undo.function, include_extras=True).get(RESULT, Any)
    try:
        Codec(hint, RESULT).decode(None)
    except Invalid:
        return False
    return True


def _source(function: Callable[..., Any]) -> str:
    """Return a function's text; where there is none, what its code was compiled to."""
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        code = function.__code__
        return f"# the source is not at hand\n{code.co_name} {code.co_code.hex()} {code.co_consts!r}"
