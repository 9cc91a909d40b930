"""Every error Tenuto raises on purpose, and the error value that workflows see.

    TenutoError
    ├── Invalid            the caller must change what was sent
    │   ├── InvalidDocument   a workflow document, with every problem found
    │   ├── InvalidInput      a run's input, an option, a setting
    │   ├── Unfit             what code gave cannot be recorded: the code has to be mended
    │   └── LimitExceeded     a named limit was passed
    ├── NotFound           no such run, task, document, function
    │   └── CodeMissing       the code of a run is not at hand: the run is kept
    ├── RunCancelled       whoever waits for a run's result waits in vain
    ├── Conflict           the thing exists or is in a state that forbids this
    │   └── DatabaseHeld      another process owns the database
    ├── Unavailable        a dependency did not answer; trying again may work
    ├── StorageFailed      the database did not keep its word; this process stops writing
    └── Faulted            an action or a run ended with a workflow error (`Fault`)

The classes follow who acts next, not which module raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

ERROR_BASE: Final = "https://open-workflow-specification.org/spec/1.0.0/errors/"


class Raised(msgspec.Struct, frozen=True):
    """The Python exception behind a fault: its class as `module.name`, its arguments if JSON has them."""

    type: str
    arguments: list[Any] | None = None


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """A workflow error: RFC 7807 problem details, as `catch` and `raise` see it.

    `transient` is an extension member: true when the function that failed says that
    trying again may work (`catch.when: ${ $error.transient }`). `exception` is there if Python
    code raised one.

    >>> Fault(type=ERROR_BASE + "timeout", status=408, title="Timeout").status
    408
    """

    type: str
    status: int
    title: str | None = None
    detail: str | None = None
    instance: str | None = None
    transient: bool = False
    exception: Raised | None = None

    def at(self, instance: str) -> Fault:
        """Return the same fault, with `instance` set unless it already names a task."""
        return self if self.instance else msgspec.structs.replace(self, instance=instance)

    def to_json(self) -> dict[str, Any]:
        """Return the fault as a JSON object, absent members left out."""
        members: dict[str, Any] = msgspec.to_builtins(self)
        return members


class TenutoError(Exception):
    """The root of every error raised on purpose; `hint` says what to do about it."""

    code = "error"
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def told(self) -> str:
        """Return what happened and, on a line of its own, what to do about it if that is known.

        >>> TenutoError("no room", hint="make some").told(), TenutoError("no room").told()
        ('no room\\nhint: make some', 'no room')
        """
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class Invalid(TenutoError):
    """The caller sent something that cannot be used as it is."""

    code = "invalid"


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a document: where it is, what was expected, how to mend it.

    `line` and `column` count from 1; `path` is a JSON pointer into the document;
    `severity` is `error` or `warning`; warnings never make a document invalid.
    """

    code: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None
    severity: str = "error"


class InvalidDocument(Invalid):
    """A workflow document has mistakes; `problems` lists each of them once."""

    code = "invalid-document"

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{name}:{first.line}:{first.column}: {first.message}{more}", hint=first.hint)
        self.name = name
        self.problems = tuple(problems)


class InvalidInput(Invalid):
    """An input, an option or a setting is not what was asked for."""

    code = "invalid-input"


class Unfit(Invalid):
    """What a step gave cannot be recorded. The run is kept, and the step tried again when it is resumed."""

    code = "unfit"


class LimitExceeded(Invalid):
    """A named limit was passed; the message says which one and its value."""

    code = "limit-exceeded"


class NotFound(TenutoError):
    """Nothing of that name is known here."""

    code = "not-found"


class CodeMissing(NotFound):
    """The code of a workflow in Python is not at hand, or cannot be loaded. Its run is kept."""


class RunCancelled(TenutoError):
    """The run was cancelled, so it has no result."""

    code = "cancelled"


class Conflict(TenutoError):
    """What was asked does not fit the present state."""

    code = "conflict"


class DatabaseHeld(Conflict):
    """Another process owns the database file; the message names it."""

    code = "database-held"


class Unavailable(TenutoError):
    """A dependency did not answer; trying again may work."""

    code = "unavailable"
    retryable = True


class StorageFailed(TenutoError):
    """The database failed to store or keep what it accepted; nothing more is written."""

    code = "storage-failed"


class Faulted(TenutoError):
    """An action or a run ended with the workflow error in `fault`."""

    code = "faulted"

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail or fault.title or fault.type)
        self.fault = fault
        self.retryable = fault.transient


def _standard(kind: str, status: int, title: str, detail: str | None, transient: bool = False) -> Faulted:
    return Faulted(Fault(ERROR_BASE + kind, status, title, detail, None, transient))


def configuration_fault(detail: str) -> Faulted:
    """Return a `configuration` error (400): the document or a setting asks for what cannot be."""
    return _standard("configuration", 400, "Configuration Error", detail)


def validation_fault(detail: str) -> Faulted:
    """Return a `validation` error (400): data does not fit its schema."""
    return _standard("validation", 400, "Validation Error", detail)


def expression_fault(detail: str) -> Faulted:
    """Return an `expression` error (400): an expression failed."""
    return _standard("expression", 400, "Expression Error", detail)


def authentication_fault(detail: str, status: int = 401) -> Faulted:
    """Return an `authentication` error (401): credentials were refused or could not be had."""
    return _standard("authentication", status, "Authentication Error", detail)


def authorization_fault(detail: str, status: int = 403) -> Faulted:
    """Return an `authorization` error (403): the caller is known but not allowed."""
    return _standard("authorization", status, "Authorization Error", detail)


def timeout_fault(detail: str) -> Faulted:
    """Return a `timeout` error (408)."""
    return _standard("timeout", 408, "Timeout", detail)


def communication_fault(
    detail: str, status: int = 500, title: str = "Communication Error", *, transient: bool = False
) -> Faulted:
    """Return a `communication` error: a service did not answer, or answered with an error status."""
    return _standard("communication", status, title, detail, transient)


def runtime_fault(detail: str, status: int = 500, title: str = "Runtime Error") -> Faulted:
    """Return a `runtime` error (500): the action itself failed."""
    return _standard("runtime", status, title, detail)
