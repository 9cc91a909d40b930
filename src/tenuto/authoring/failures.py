"""What goes wrong in workflow code, and how actions' faults become exceptions and back.

    BaseException
    ├── Stuck                the code cannot take what was recorded: the run is kept, suspended
    │   ├── Nondeterministic    it asked for the clock, chance, a thread or the outside world
    │   └── HistoryMismatch     it asks for something else than what was recorded
    ├── ContinueAsNew        the run goes on from the start of its code, with another input
    ├── Cancelled            somebody stopped the run, or nobody needs this branch any more
    └── TenutoError
        └── Faulted
            └── StepFailed   an action failed, and its own exception is not known here

The first of these are no `Exception`s, so that code which catches all of these does not swallow them.
"""

from __future__ import annotations

import sys

import msgspec

from tenuto.engine.model import Json, Note
from tenuto.engine.stuck import Stuck
from tenuto.errors import Fault, Faulted, Raised, TenutoError, runtime_fault


class Nondeterministic(Stuck):
    """Workflow code did what would give another result when it is replayed, at `file`:`line`."""

    def __init__(self, message: str, hint: str, file: str, line: int) -> None:
        super().__init__(message, hint)
        self.file = file
        self.line = line


class Cancelled(BaseException):
    """The run was cancelled, or this branch is not needed any more.

    It is raised where the code waits. Clean up in `finally` or `except Cancelled`; steps may be
    called there. To catch it and return means to complete.
    """


class ContinueAsNew(BaseException):
    """The run begins anew with this input, as JSON by parameter; `tenuto.continue_as_new` raises it."""

    def __init__(self, input: Json) -> None:
        super().__init__("continue_as_new")
        self.input = input


class StepFailed(Faulted):
    """An action failed; `fault` says how. Raised if the action's own exception cannot be made here."""


def told(note: Note) -> str:
    """Return a note as a line for people.

    >>> told(Note("/charge", "started", "step"))
    'started /charge (step)'
    """
    kind = f" ({note.kind})" if note.kind else ""
    return f"{note.what} {note.task}{kind}".rstrip()


def exception_of(fault: Fault) -> Exception:
    """Return the exception with which a fault is raised in code.

    It is the exception that the step raised, where its class is known to this program and can be made
    of its arguments; elsewhere a `StepFailed`.
    """
    raised = fault.exception
    if raised is not None:
        module, _, name = raised.type.rpartition(".")
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and raised.arguments is not None:
            try:
                return kind(*raised.arguments)
            except Exception:
                return StepFailed(fault)
    return StepFailed(fault)


def fault_of_exception(error: BaseException) -> Fault:
    """Return the fault that stands for an exception of user code, in journals and for `catch`."""
    if isinstance(error, Faulted):
        return error.fault
    kind = type(error)
    detail = str(error) if isinstance(error, TenutoError) else _line_of(error)
    fault = runtime_fault(detail, title=kind.__qualname__).fault
    return msgspec.structs.replace(
        fault, exception=Raised(f"{kind.__module__}.{kind.__qualname__}", _arguments(error))
    )


def _line_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    return (text or type(error).__qualname__).encode(errors="replace").decode()


def _arguments(error: BaseException) -> list[Json] | None:
    """Return an exception's arguments if they come back from JSON as they are."""
    arguments = list(error.args)
    try:
        same = msgspec.json.decode(msgspec.json.encode(arguments)) == arguments
    except (TypeError, ValueError, RecursionError, OverflowError):
        return None
    plain = all(isinstance(value, str | int | float | bool | None) for value in arguments)
    return arguments if same and plain else None
