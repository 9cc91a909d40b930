"""Decisions decide: no I/O, clock, chance, threads or logging in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.modules import Module, modules, parse

PURE = {"engine", "language", "authoring", "governance", "events"}
IMPURE_MODULES = {
    "asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "aiohttp", "uuid", "jq",
}  # fmt: skip
# `authoring` carries UUIDs, so it needs the type; the generators beside it stay forbidden. A seeded
# `Random` always gives the same.
TYPES_ONLY = {"uuid": {"UUID"}, "random": {"Random"}}
IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "urandom", "exec", "eval", "breakpoint"}


def impurities(module: Module) -> Iterator[str]:
    """Yield what a pure module must not use."""
    types_only = {node.lineno for node in ast.walk(module.tree) if _imports_types_only(node)}
    for name, line in module.imports():
        if name.partition(".")[0] in IMPURE_MODULES and line not in types_only:
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


def _imports_types_only(node: ast.AST) -> bool:
    """Whether a node imports nothing of an impure module but its harmless types."""
    return isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} <= TYPES_ONLY.get(
        node.module or "", set()
    )


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


def test_a_type_of_an_impure_module_may_be_named_but_its_generators_not() -> None:
    """`UUID` is a type; `uuid4` is chance."""
    assert list(impurities(parse("authoring.data", "from uuid import UUID\n"))) == []
    assert len(list(impurities(parse("authoring.data", "from uuid import UUID, uuid4\n")))) == 1
    assert len(list(impurities(parse("authoring.data", "import uuid\n")))) == 1
