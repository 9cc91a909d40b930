"""Functions as tests see them: replaced by answers, recorded, or refused if they would reach outside.

They stand behind the gate as the real ones do: the gate finds and calls them, here nobody else does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from tenuto.authoring.data import Codec
from tenuto.authoring.declare import PYTHON, Step
from tenuto.authoring.step_context import StepContext, inside_step
from tenuto.engine.model import Json
from tenuto.errors import Faulted, InvalidInput, NotFound, configuration_fault, timeout_fault
from tenuto.plugin import Call
from tenuto.runtime.actions import Functions, Invocable
from tenuto.runtime.calling import failed, fit, given, lost
from tenuto.runtime.catalog import DEFAULT_CONNECTOR, Catalog
from tenuto.runtime.function import Function
from tenuto.runtime.steps import PythonStep
from tenuto.testing.answers import After, Answers, NoAnswer, call_by_name, settle, shown
from tenuto.testing.passing import Passing

HARMLESS: Final = ("core.*",)
"""Functions that tests may call for real: they reach nothing outside."""

_ANY: Final[Codec[Any]] = Codec(Any, "the answer of a step whose code is not at hand")
RESOURCE: Final = "resource.read"  # harmless too where it reads the files beside the workflow


class UnexpectedCall(AssertionError):
    """A workflow called what the test has no answer for; the message says how to give one."""


class Refused(Faulted):
    """What a workflow is told of a call that must not be."""


class _TooLate(Exception):
    """An answer takes longer than its step may."""


class Recorded(msgspec.Struct, frozen=True):
    """One call that a workflow made: what, with which arguments (as JSON), which attempt.

    `function` is the full name (`python.charge`, `http.request`), `time` the virtual time in seconds
    since the epoch. `idempotency_key` is the same for all attempts. In `arguments` secrets have their
    values.
    """

    function: str
    arguments: dict[str, Json]
    attempt: int
    idempotency_key: str
    run: str
    task: str
    time: float


class Doubles:
    """Where the gate of a test finds functions; implements `runtime.actions.Functions`."""

    def __init__(
        self, passing: Passing, allow: Iterable[str], refuse: Callable[[UnexpectedCall], None]
    ) -> None:
        """Replace nothing yet; `refuse` is told of each call that must not be."""
        self.calls: list[Recorded] = []
        self.passing = passing
        self._allowed = (*HARMLESS, *map(_path, allow))
        self._refuse = refuse
        self._answers: dict[str, Answers] = {}
        self._real: Functions | None = None

    def stand_before(self, real: Functions) -> None:
        """Stand before these functions."""
        self._real = real

    def replace(self, what: str | Step[..., Any], answer: Any, catalog: Catalog) -> None:
        """Answer the calls of a function; raises `NotFound` if no connector has it."""
        name = name_of(what, catalog)
        if not name.startswith(f"{PYTHON}."):
            catalog.find(what if isinstance(what, str) and ":" in what else name)
        self._answers[name] = answer if isinstance(answer, Answers) else Answers(answer)

    def find(self, name: str) -> Invocable:
        """Return what stands for a function; raises `NotFound`."""
        assert self._real is not None
        path = _path(name)
        answers = self._answers.get(path)
        try:
            real = self._real.find(name)
        except NotFound:
            if answers is None or not path.startswith(f"{PYTHON}."):
                raise
            return UnknownStep(self, path, answers)
        if answers is not None and isinstance(real, PythonStep):
            return ReplacedStep(self, path, real.step, answers)
        if answers is not None and isinstance(real, Function):
            return replaced_function(self, path, real, answers)
        return Real(self, path, real)

    def allows(self, path: str, arguments: dict[str, Json]) -> bool:
        """Tell whether a function may be called for real."""
        if path.startswith(f"{PYTHON}."):
            return True
        if path == RESOURCE and _is_local(arguments.get("endpoint")):
            return True
        return any(fnmatchcase(path, pattern) for pattern in self._allowed)

    def note(self, path: str, call: Call, arguments: dict[str, Json]) -> None:
        """Record a call."""
        self.calls.append(
            Recorded(
                path,
                copy.deepcopy(arguments),
                call.attempt,
                call.idempotency_key,
                call.run,
                call.task,
                self.passing.clock.now(),
            )
        )

    async def answer(
        self,
        path: str,
        answers: Answers,
        made: Call,
        arguments: dict[str, Json],
        call: Callable[[Callable[..., Any]], Any],
        limit: float | None = None,
    ) -> Any:
        """Return the next answer for a function, or raise it; `_TooLate` if it takes longer than `limit`."""
        try:
            answer = answers.next(path, (made.idempotency_key, made.attempt), arguments)
        except NoAnswer as missing:
            raise self.refused(missing.message, missing.hint) from None
        while isinstance(answer, After):
            if limit is not None and (answer.seconds is None or answer.seconds > limit):
                await self.passing.sleep(limit)
                raise _TooLate
            await self.passing.sleep(answer.seconds)
            answer = answer.answer
        return await settle(answer, call)

    def refused(self, message: str, hint: str) -> Refused:
        """Tell the test of a call that must not be; return what the workflow is told."""
        self._refuse(UnexpectedCall(f"{message}\nhint: {hint}"))
        return Refused(configuration_fault(f"{message} ({hint})").fault)


class Real:
    """A function that is called for real, if it may be."""

    def __init__(self, doubles: Doubles, path: str, real: Invocable) -> None:
        self._doubles = doubles
        self._path = path
        self._go_on = real.invoke
        self.accepts = real.accepts

    async def invoke(self, call: Call, arguments: dict[str, Json]) -> Json:
        """Call it, or refuse."""
        self._doubles.note(self._path, call, arguments)
        if not self._doubles.allows(self._path, arguments):
            name = shown(self._path)
            raise self._doubles.refused(
                f"the workflow calls `{self._path}`, which would reach outside, and tests do not do that",
                f"replace it: env.replace({name}, answer), or let it reach out: allow=[{name}]",
            )
        with self._doubles.passing.acting():
            return await self._go_on(call, arguments)


class ReplacedStep:
    """A step whose function is not called; arguments and results pass through its types all the same."""

    def __init__(self, doubles: Doubles, path: str, step: Step[..., Any], answers: Answers) -> None:
        self._doubles = doubles
        self._path = path
        self._step = step
        self._answers = answers

    def accepts(self, name: str) -> bool:
        """Whether the step has a parameter of that name."""
        return name in self._step.parameters.names

    async def invoke(self, call: Call, arguments: dict[str, Json]) -> Json:
        """Answer as the step would."""
        self._doubles.note(self._path, call, arguments)
        step = self._step
        args, kwargs = given(step, arguments)
        context = StepContext(
            call.run, call.task, call.attempt, call.idempotency_key, call.progress, call.report
        )
        try:
            with self._doubles.passing.acting(), inside_step(context):
                value = await self._doubles.answer(
                    self._path,
                    self._answers,
                    call,
                    arguments,
                    lambda answer: answer(*args, **kwargs),
                    step.timeout_seconds,
                )
        except Refused:
            raise
        except _TooLate:
            detail = (
                f"attempt {call.attempt} of step `{step.name}` took longer than {step.timeout_seconds:g} s"
            )
            raise lost(step, TimeoutError(detail), timeout_fault(detail)) from None
        except Exception as error:
            raise failed(step, error) from None
        return fit(step, value)


class UnknownStep:
    """A step that a document calls and whose code is not at hand: its arguments are taken as they are."""

    def __init__(self, doubles: Doubles, path: str, answers: Answers) -> None:
        self._doubles = doubles
        self._path = path
        self._answers = answers

    def accepts(self, name: str) -> bool:
        """True: nobody knows its parameters."""
        return True

    async def invoke(self, call: Call, arguments: dict[str, Json]) -> Json:
        """Answer for it."""
        self._doubles.note(self._path, call, arguments)
        with self._doubles.passing.acting():
            value = await self._doubles.answer(
                self._path, self._answers, call, arguments, lambda answer: call_by_name(answer, arguments)
            )
        return _ANY.encode(value)


def replaced_function(doubles: Doubles, path: str, real: Function, answers: Answers) -> Function:
    """Return a connector's function that checks its arguments as ever, and is then answered for."""

    async def implementation(call: Call, **arguments: Any) -> Any:
        plain = {name.removesuffix("_"): msgspec.to_builtins(value) for name, value in arguments.items()}
        doubles.note(path, call, plain)
        with doubles.passing.acting():
            return await doubles.answer(
                path, answers, call, plain, lambda answer: call_by_name(answer, arguments)
            )

    return real.answered_by(implementation)


# ── names ────────────────────────────────────────────────────────────────────────────────


def name_of(what: str | Step[..., Any], catalog: Catalog) -> str:
    """Return the full name of a step or function, without a version.

    A name without a connector is a function of the core, or else a step: `log` is `core.log`, and
    `charge` is `python.charge`.
    """
    if isinstance(what, Step):
        return what.called
    if not isinstance(what, str) or not what:
        raise InvalidInput(
            f"{what!r} is neither a step nor a function's name",
            hint='give the step itself, or a name as in "http.request"',
        )
    name = what.partition(":")[0]
    if "." in name:
        return name
    core = f"{DEFAULT_CONNECTOR}.{name}"
    return core if catalog.knows(core) else f"{PYTHON}.{name}"


def _path(name: str) -> str:
    path = name.partition(":")[0]
    return path if "." in path or "*" in path else f"{DEFAULT_CONNECTOR}.{path}"


def _is_local(endpoint: Json) -> bool:
    uri = endpoint.get("uri") if isinstance(endpoint, dict) else endpoint
    return isinstance(uri, str) and ("://" not in uri or uri.startswith("file:"))
