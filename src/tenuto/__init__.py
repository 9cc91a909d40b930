"""Durable workflows for systems, applications and infrastructure.

    from tenuto import App, step, workflow

Everything that workflows in Python need is here. It is loaded when it is first asked for, so that
`import tenuto` costs nothing, and so does the command line.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tenuto.application import App, Handle
    from tenuto.authoring.declare import Concurrency, Rate, Retry, Step, Workflow, step, workflow
    from tenuto.authoring.failures import Cancelled, Nondeterministic, StepFailed
    from tenuto.authoring.step_context import StepContext, current_step
    from tenuto.authoring.verbs import (
        Query,
        Signal,
        call,
        child,
        continue_as_new,
        each,
        emit,
        gather,
        log,
        now,
        patched,
        race,
        random,
        run_document,
        secret,
        sleep,
        sleep_until,
        uuid,
        wait_for_event,
    )
    from tenuto.engine.stuck import HistoryMismatch
    from tenuto.errors import (
        Conflict,
        Fault,
        Faulted,
        Invalid,
        InvalidInput,
        NotFound,
        RunCancelled,
        TenutoError,
        Unavailable,
    )

_PLACES: Final[dict[str, str]] = {
    "tenuto.application": "App Handle",
    "tenuto.authoring.declare": "Concurrency Rate Retry Step Workflow step workflow",
    "tenuto.authoring.failures": "Cancelled Nondeterministic StepFailed",
    "tenuto.authoring.step_context": "StepContext current_step",
    "tenuto.authoring.verbs": "Query Signal call child continue_as_new each emit gather log now patched"
    " race random run_document secret sleep sleep_until uuid wait_for_event",
    "tenuto.engine.stuck": "HistoryMismatch",
    "tenuto.errors": "Conflict Fault Faulted Invalid InvalidInput NotFound RunCancelled TenutoError"
    " Unavailable",
}
_MODULES: Final = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = [
    "App",
    "Cancelled",
    "Concurrency",
    "Conflict",
    "Fault",
    "Faulted",
    "Handle",
    "HistoryMismatch",
    "Invalid",
    "InvalidInput",
    "Nondeterministic",
    "NotFound",
    "Query",
    "Rate",
    "Retry",
    "RunCancelled",
    "Signal",
    "Step",
    "StepContext",
    "StepFailed",
    "TenutoError",
    "Unavailable",
    "Workflow",
    "call",
    "child",
    "continue_as_new",
    "current_step",
    "each",
    "emit",
    "gather",
    "log",
    "now",
    "patched",
    "race",
    "random",
    "run_document",
    "secret",
    "sleep",
    "sleep_until",
    "step",
    "uuid",
    "wait_for_event",
    "workflow",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'tenuto' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
