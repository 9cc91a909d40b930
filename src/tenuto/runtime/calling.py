"""Calls the function of a step: from JSON to JSON, and nothing else comes out but `Faulted` and `Unfit`.

The same code serves the event loop, its threads and the child processes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tenuto.authoring.declare import Step
from tenuto.authoring.failures import fault_of_exception
from tenuto.authoring.step_context import StepContext, inside_step
from tenuto.engine.model import Json
from tenuto.errors import Faulted, InvalidInput, Unfit, runtime_fault, validation_fault

RESULT_BYTES_MAX: Final = 32 * 1024 * 1024
"""The largest result of a step, as JSON: it is written into the run's history."""

WAY_OUT: Final = (
    "annotate the step's result with the type that it returns, or convert it to one that can be recorded;"
    " store large data elsewhere and return a reference to it; then `tenuto resume` tries the step again"
)

_SMALL: Final = frozenset({int, float, bool, type(None)})
_ESCAPED_BYTES_MAX: Final = 6  # of one character in JSON
_encoder: Final = msgspec.json.Encoder()

AnyStep = Step[..., Any]


def call(step: AnyStep, context: StepContext, arguments: dict[str, Json]) -> Json:
    """Call a function that is not async; raises `Faulted` or `Unfit`."""
    args, kwargs = given(step, arguments)
    try:
        with inside_step(context):
            value = step.function(*args, **kwargs)
    except BaseException as error:
        # A thread of a pool has nobody to tell of a SystemExit; the run has.
        raise failed(step, error) from None
    return fit(step, value)


def given(step: AnyStep, arguments: dict[str, Json]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments as the function takes them; raises `Faulted`."""
    try:
        args, kwargs = step.parameters.decode(arguments)
    except InvalidInput as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise validation_fault(f"{error.message}{hint}") from None
    return args, kwargs


def fit(step: AnyStep, value: object) -> Json:
    """Return a result as it is recorded; raises `Unfit` if it does not fit its type or is too large."""
    try:
        output = step.result.encode(value)
    except InvalidInput as error:
        hint = f"{error.hint}; or {WAY_OUT}" if error.hint else WAY_OUT
        raise Unfit(
            f"step `{step.name}` returned what cannot be recorded: {error.message}", hint=hint
        ) from None
    size = _size(output)
    if size > RESULT_BYTES_MAX:
        raise Unfit(
            f"step `{step.name}` returned {size} bytes (a {type(value).__qualname__}), expected at most"
            f" RESULT_BYTES_MAX, {RESULT_BYTES_MAX}",
            hint="store large data elsewhere, and return a reference to it: a path, a URL, a key;"
            " then `tenuto resume` tries the step again",
        )
    return output


def _size(output: Json) -> int:
    """Return how many bytes a value has as JSON, as far as that matters."""
    kind = type(output)
    if kind in _SMALL or (kind is str and len(output) * _ESCAPED_BYTES_MAX < RESULT_BYTES_MAX):
        return 0
    return len(_encoder.encode(output))


def failed(step: AnyStep, error: BaseException) -> Faulted:
    """Return what a run is told of an exception of the function; transient if the step's `Retry` says so."""
    fault = fault_of_exception(error)
    if step.retry is not None:
        fault = msgspec.structs.replace(fault, transient=covers(step, error))
    return Faulted(fault)


def lost(step: AnyStep, error: BaseException, fault: Faulted) -> Faulted:
    """Return the fault of an attempt that the function did not end itself, as if it had raised `error`."""
    raised = fault_of_exception(error).exception
    return Faulted(msgspec.structs.replace(fault.fault, transient=covers(step, error), exception=raised))


def died(step: AnyStep, error: BaseException) -> Faulted:
    """Return the fault of an attempt whose process died."""
    detail = (
        f"the process in which step `{step.name}` ran ended before the step did: it was killed (is there"
        " enough memory?), it crashed, or it could not begin (a script that starts an App needs"
        ' `if __name__ == "__main__":`)'
    )
    return lost(step, error, runtime_fault(detail, title="Process Lost"))


def covers(step: AnyStep, error: BaseException) -> bool:
    """Tell whether a step is tried again after an exception."""
    retry = step.retry
    return retry is not None and isinstance(error, retry.on) and not isinstance(error, retry.never)
