"""What stands in the place of steps and functions in tests: values, functions, errors, one after the other.

env.replace("http.request", {"status": 200})                 this value, always
env.replace(charge, lambda order: Receipt(order.id))         what this function returns or raises
env.replace("mail.send", [None, Error(503, transient=True)]) one answer a call
env.replace("http.request", After(timedelta(minutes=2), {})) an answer that takes its (virtual) time
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from tenuto.authoring.declare import PYTHON, Step
from tenuto.engine.model import Json
from tenuto.errors import ERROR_BASE, Fault, Faulted, InvalidInput

STANDARD_STATUS: Final = {
    "configuration": 400,
    "validation": 400,
    "expression": 400,
    "authentication": 401,
    "authorization": 403,
    "timeout": 408,
    "communication": 500,
    "runtime": 500,
}
"""The error types of the workflow language by their last word, and the status that each has."""


@dataclass(frozen=True, slots=True)
class Error:
    """An answer that is a workflow error, as `catch` sees it.

    `type` is the last word of one of the standard's types (`communication`, `timeout`, ...), or a whole
    URI. Without `status` it is the type's own. `transient` says that trying again may work.
    """

    status: int | None = None
    type: str = "communication"
    title: str | None = None
    detail: str | None = None
    transient: bool = False

    def fault(self) -> Fault:
        """Return the error as it is raised."""
        status = self.status if self.status is not None else STANDARD_STATUS.get(self.type, 500)
        return Fault(
            full_type(self.type),
            status,
            self.title or self.type.rpartition("/")[2].capitalize(),
            self.detail,
            None,
            self.transient,
        )


def full_type(type: str) -> str:
    """Return an error type as a URI: `timeout` is one of the standard's.

    >>> full_type("timeout")
    'https://open-workflow-specification.org/spec/1.0.0/errors/timeout'
    """
    return ERROR_BASE + type if type in STANDARD_STATUS else type


def seconds_of(delay: timedelta | float | None) -> float | None:
    """Return a length of time in seconds; raises `InvalidInput` if it is negative."""
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if seconds is not None and not seconds >= 0:  # also NaN
        raise InvalidInput(f"{delay!r} is no time that can pass", hint="give a timedelta, or seconds")
    return seconds


class After:
    """An answer that comes after some virtual time; without one, never."""

    __slots__ = ("answer", "seconds")

    def __init__(self, delay: timedelta | float | None, answer: Any = None) -> None:
        self.seconds = seconds_of(delay)
        self.answer = answer

    def __repr__(self) -> str:
        return f"After({self.seconds!r}, {self.answer!r})"


NEVER: Final = After(None)
"""An answer that never comes: for tests of timeouts."""


class NoAnswer(Exception):
    """There is no answer for a call: `message` says why, `hint` how to give one."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Answers:
    """The answers for one function, in their order."""

    def __init__(self, answer: Any) -> None:
        """Take one answer for all calls, or a list with one for each."""
        self.given: dict[object, int] = {}
        self._one_each = list(answer) if isinstance(answer, list) else None
        self._always = answer

    def next(self, path: str, attempt: object, arguments: dict[str, Json]) -> Any:
        """Return the answer for an attempt, the same if it is made again; raises `NoAnswer`."""
        number = self.given.setdefault(attempt, len(self.given))
        if self._one_each is None:
            return self._always
        if number < len(self._one_each):
            return self._one_each[number]
        raise NoAnswer(
            f"`{path}` was called for the {ordinal(number + 1)} time, and there are answers for"
            f" {len(self._one_each)}",
            f"give one more, or one for all calls: env.replace({shown(path)}, answer)",
        )


async def settle(answer: Any, call: Callable[[Callable[..., Any]], Any]) -> Any:
    """Return what an answer stands for, or raise it; `call` calls a function with the call's arguments."""
    if isinstance(answer, Error):
        raise Faulted(answer.fault())
    if isinstance(answer, type) and issubclass(answer, Exception):
        raise answer
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, Step):
        answer = answer.function
    if callable(answer):
        value = call(answer)
        return await value if inspect.isawaitable(value) else value
    return answer


def call_by_name(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call a function with those of the arguments that it has parameters for."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return function(**arguments)
    taken = {parameter.name for parameter in parameters}
    return function(**{name: value for name, value in arguments.items() if name in taken})


def shown(path: str) -> str:
    """Return a function as it is named in a test: a step by its variable, another by its text."""
    return path.removeprefix(f"{PYTHON}.") if path.startswith(f"{PYTHON}.") else f'"{path}"'


def ordinal(number: int) -> str:
    """Return a number as it counts.

    >>> ordinal(1), ordinal(12), ordinal(22)
    ('1st', '12th', '22nd')
    """
    last = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"
