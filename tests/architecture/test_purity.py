"""Decisions decide: no I/O, clock, chance, threads or logging in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.modules import Module, modules, parse

PURE = {"engine", "language", "governance", "events"}
IMPURE_MODULES = {
    "asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "aiohttp", "uuid", "jq",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "urandom", "exec", "eval", "breakpoint"}


def impurities(module: Module) -> Iterator[str]:
    """Yield what a pure module must not use."""
    for name, line in module.imports():
        if name.partition(".")[0] in IMPURE_MODULES:
            yield f"{module.name}:{line} imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                yield f"{module.name}:{node.lineno} calls {called.id}"
            if (
                isinstance(called, ast.Attribute)
                and called.attr in {"now", "utcnow", "today"}
                and isinstance(called.value, ast.Name)
                and called.value.id in {"datetime", "date", "time"}
            ):
                yield f"{module.name}:{node.lineno} calls {called.value.id}.{called.attr}"
        elif isinstance(node, ast.Global | ast.Await) or _async_body(node):
            yield f"{module.name}:{node.lineno} has {type(node).__name__}"


def _async_body(node: ast.AST) -> bool:
    """Whether a node is an async function that does something; ports only say what others do."""
    return isinstance(node, ast.AsyncFunctionDef) and len(node.body) > 1


def test_decisions_are_pure() -> None:
    """Nothing in them can give another answer tomorrow."""
    found = [text for module in modules() if module.part in PURE for text in impurities(module)]

    assert found == []


def test_impurity_is_noticed() -> None:
    """The guard can fail."""
    bad = "import time\nfrom datetime import datetime\nasync def f():\n    await x\n    open('x'); datetime.now()\n"

    assert len(list(impurities(parse("engine.bad", bad)))) == 5
