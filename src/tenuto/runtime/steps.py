"""The steps of one App: found by the names that workflows call them by, and called.

python.charge            as Python workflows call it
python.charge:1.0.0      as documents call it: `call: python.charge:1.0.0@default`
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

from tenuto.authoring.declare import PYTHON, STEP_VERSION, Step
from tenuto.authoring.step_context import enter_step, leave_step
from tenuto.engine.model import Json
from tenuto.errors import Faulted, InvalidInput, NotFound, Unfit
from tenuto.plugin import Call
from tenuto.runtime.actions import Functions as Finder
from tenuto.runtime.actions import Invocable
from tenuto.runtime.attempts import Attempt
from tenuto.runtime.calling import AnyStep, call, failed, fit, given
from tenuto.runtime.limits import Limits, Release
from tenuto.runtime.processes import Processes
from tenuto.runtime.step_child import Where, place_of
from tenuto.runtime.threads import THREADS, Threads

_PREFIX: Final = f"{PYTHON}."


class PythonStep:
    """A step that workflows can call; implements `runtime.actions.Invocable`."""

    __slots__ = ("_place", "_processes", "_threads", "limited", "step")

    def __init__(self, step: AnyStep, threads: Threads, processes: Processes) -> None:
        self.step = step
        self.limited = step.concurrency is not None or step.rate is not None
        """Whether its calls have to go through `Limits` first."""
        self._threads = threads
        self._processes = processes
        self._place: Where | None = None

    def accepts(self, name: str) -> bool:
        """Whether it has a parameter of that name."""
        return name in self.step.parameters.names

    async def invoke(self, call: Call, arguments: dict[str, Json]) -> Json:
        """Call the function with plain JSON and return plain JSON.

        An attempt whose time is over fails, and so does one without a sign of life for too long. A
        function in a thread or a process cannot be stopped then, nor when the call is cancelled: it goes
        on in the background (`StepContext.cancelled` tells it), and what it returns is ignored.

        Raises:
            Faulted: The function raised, or the arguments do not fit, or its time is over.
            Unfit: What it returned cannot be recorded, or a process cannot find it.
        """
        attempt = Attempt(self.step, call)
        try:
            if attempt.limit is not None:
                async with attempt.limit:
                    output = await self._run(attempt, call, arguments)
            elif self.step.asynchronous:
                output = await self._on_loop(attempt, arguments)
            else:
                output = await self._run(attempt, call, arguments)
        except TimeoutError:
            # The function's own TimeoutError is a fault by now: this one says that its time is over.
            attempt.end(failed=True)
            raise attempt.late() from None
        except (Faulted, Unfit):
            attempt.end(failed=True)
            raise
        finally:
            attempt.end(failed=False)
        return output

    async def _run(self, attempt: Attempt, call: Call, arguments: dict[str, Json]) -> Json:
        if self.step.asynchronous:
            return await self._on_loop(attempt, arguments)
        if self.step.pool == "process":
            if self._place is None:
                self._place = place_of(self.step)
            return await self._processes.run(attempt, self.step, self._place, call, arguments)
        return await self._in_thread(attempt, arguments)

    async def _on_loop(self, attempt: Attempt, arguments: dict[str, Json]) -> Json:
        step = self.step
        args, kwargs = given(step, arguments)
        attempt.begin()
        token = enter_step(attempt.context())
        try:
            value = await step.function(*args, **kwargs)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise failed(step, error) from None
        except BaseException as error:
            # Also SystemExit, which would end the whole program.
            raise failed(step, error) from None
        finally:
            leave_step(token)
        return fit(step, value)

    async def _in_thread(self, attempt: Attempt, arguments: dict[str, Json]) -> Json:
        work: Callable[[], Json] = partial(call, self.step, attempt.context(), arguments)
        return await self._threads.run(attempt, copy_context(), work)


class Steps:
    """The steps that one App knows, and what they run in; belongs to one event loop."""

    def __init__(
        self, *, threads: int = THREADS, processes: int | None = None, limits: Limits | None = None
    ) -> None:
        """Know nothing yet.

        Args:
            threads: How many steps that are plain functions run at once.
            processes: How many steps with `pool="process"` run at once; as many as there are processors.
            limits: What admits the calls of steps with limits.
        """
        self._known: dict[str, PythonStep] = {}
        self._threads = Threads(threads)
        self._processes = Processes(processes)
        self._limits = Limits() if limits is None else limits

    def know(self, step: AnyStep) -> None:
        """Know a step from now on; raises `InvalidInput` if another one has its name.

        The same function again, made anew by the code around it, takes the place of the one before.
        """
        known = self._known.get(step.called)
        if known is not None:
            if known.step is step:
                return
            if not _same(known.step, step):
                raise InvalidInput(
                    f"two steps are called `{step.name}`: {_place(known.step)} and {_place(step)}",
                    hint=f'give one of them another name: @step(name="{step.name}_2")',
                )
        self._known[step.called] = PythonStep(step, self._threads, self._processes)
        if step.undo is not None:
            self.know(step.undo)

    def find(self, name: str) -> PythonStep | None:
        """Return a step by the name of its function, optionally `:` and a version or its first parts."""
        found = self._known.get(name)
        if found is None:
            called, colon, version = name.partition(":")
            if colon and _fits(version):
                found = self._known.get(called)
        return found

    def names(self) -> list[str]:
        """Return the names of all steps, in order."""
        return sorted(known.step.name for known in self._known.values())

    def admit(self, function: str, arguments: dict[str, Json], begin: Callable[[], None]) -> Release | None:
        """Call `begin` now, or when the limits of the step that a function is allow; see `Limits.admit`."""
        found = self._known.get(function) or self.find(function)
        if found is None or not found.limited:
            begin()
            return None
        return self._limits.admit(found.step, arguments, begin)

    async def close(self) -> None:
        """Begin nothing more, end what can be ended: processes do, threads end with their step."""
        self._limits.close()
        self._threads.close()
        await self._processes.close()


class Functions:
    """Where the gate finds functions: steps first, then what is installed."""

    def __init__(self, steps: Steps, others: Finder) -> None:
        self._steps = steps
        self._others = others

    def find(self, name: str) -> Invocable:
        """Return a step or a function of a connector; raises `NotFound`."""
        found = self._steps.find(name)
        if found is not None:
            return found
        if name.startswith(_PREFIX):
            raise self._unknown(name)
        return self._others.find(name)

    def _unknown(self, name: str) -> NotFound:
        called, _, version = name.removeprefix(_PREFIX).partition(":")
        known = self._steps.names()
        if called in known:
            return NotFound(
                f"the step `{called}` has version {STEP_VERSION}, not {version}",
                hint=f"write `{_PREFIX}{called}:{STEP_VERSION}`",
            )
        close = get_close_matches(called, known, n=1, cutoff=0.6)
        return NotFound(
            f"no step `{called}`" + (f"; did you mean `{close[0]}`?" if close else ""),
            hint="Steps are known once a workflow has called them,"
            " or when they are given to App(steps=[...])",
        )


def _fits(version: str) -> bool:
    asked = version.split(".")
    return STEP_VERSION.split(".")[: len(asked)] == asked


def _same(one: AnyStep, other: AnyStep) -> bool:
    """Whether two steps are the same text at the same place."""
    first, second = one.function, other.function
    return (first.__module__, first.__qualname__) == (second.__module__, second.__qualname__) and (
        first.__code__ is second.__code__ or first.__code__ == second.__code__
    )


def _place(step: Step[..., Any]) -> str:
    code = step.function.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
