"""The plugin page and the names in `tenuto` are what users import; a change of either shows here."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType, SimpleNamespace

import tenuto
import tenuto.plugin
import tenuto.testing

EXPORTS = [
    "ENTRY_POINT_GROUP", "Call", "Effect", "Fault", "Faulted", "FunctionFacts", "Network", "Secret",
    "authentication_fault", "authorization_fault", "communication_fault", "configuration_fault", "facts_of",
    "function", "runtime_fault", "timeout_fault", "validation_fault",
]  # fmt: skip

AUTHORING = [
    "App", "Cancelled", "Concurrency", "Conflict", "Fault", "Faulted", "Handle", "HistoryMismatch", "Invalid",
    "InvalidInput", "Nondeterministic", "NotFound", "Query", "Rate", "Retry", "RunCancelled", "Signal", "Step",
    "StepContext", "StepFailed", "TenutoError", "Unavailable", "Workflow", "call", "child", "continue_as_new",
    "current_step", "each", "emit", "gather", "log", "now", "patched", "race", "random", "run_document",
    "secret", "sleep", "sleep_until", "step", "uuid", "wait_for_event", "workflow",
]  # fmt: skip

TESTING = [
    "NEVER", "START_TIME", "After", "CrashReport", "Driver", "Environment", "Error", "Recorded",
    "ReplayMismatch", "Stalled", "UnexpectedCall", "check_replay", "crash_everywhere",
]  # fmt: skip


def differences(module: ModuleType | SimpleNamespace, promised: list[str]) -> list[str]:
    """Return the names that are promised and not there, or there and not promised."""
    names: list[str] = module.__all__
    missing = [name for name in names if not hasattr(module, name)]
    return sorted({*(set(names) ^ set(promised)), *missing})


def typed(module: ModuleType) -> list[str]:
    """Return the names that a type checker finds in a module whose names are loaded late."""
    tree = ast.parse(Path(module.__file__ or "").read_text())
    return sorted(
        alias.asname or alias.name
        for branch in tree.body
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def test_the_plugin_page_exports_what_it_promised() -> None:
    """Adding is a decision, removing breaks somebody's connector."""
    assert [] == differences(tenuto.plugin, EXPORTS)


def test_workflows_in_python_import_what_they_were_promised() -> None:
    """Adding is a decision, removing breaks somebody's workflow, or its tests."""
    assert [] == differences(tenuto, AUTHORING)
    assert [] == differences(tenuto.testing, TESTING)


def test_type_checkers_find_every_name_that_is_loaded_late() -> None:
    """What is written for them, and what is loaded, are two lists."""
    assert sorted(AUTHORING) == typed(tenuto)
    assert sorted(TESTING) == typed(tenuto.testing)


def test_a_changed_list_is_noticed() -> None:
    """The guard can fail: a name more, a name less, a name that stands for nothing."""
    module = SimpleNamespace(__all__=["kept", "added", "void"], kept=1, added=2)

    assert ["added", "removed", "void"] == differences(module, ["kept", "removed", "void"])
