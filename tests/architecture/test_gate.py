"""One gate to the outside world: only there are functions called, only connectors reach out."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.modules import Module, modules, parse

GATE = "runtime.actions"
OUTSIDE = {
    "aiohttp",
    "asyncpg",
    "aiomysql",
    "asyncssh",
    "aiosmtplib",
    "grpc",
    "subprocess",
    "socket",
    "urllib.request",
}
# The lock names its host; the children of the second lane are ours, and reach nothing.
NOT_OUTSIDE = {"storage.lock", "runtime.evaluation", "runtime.evaluation_child"}


def invocations(module: Module) -> Iterator[str]:
    """Yield the lines where a catalog function is called."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "invoke":
            yield f"{module.name}:{node.lineno}"


def reaches(module: Module) -> Iterator[str]:
    """Yield the imports with which a module could reach outside."""
    for name, line in module.imports():
        if name in OUTSIDE or name.partition(".")[0] in OUTSIDE:
            yield f"{module.name}:{line} {name}"


def test_functions_are_called_in_one_place() -> None:
    """So nothing can be forgotten there."""
    # Click's own commands are invoked too, but they are no functions of the catalog.
    places = [found for module in modules() if module.part != "cli" for found in invocations(module)]

    assert len(places) == 1
    assert places[0].startswith(GATE)


def test_only_connectors_reach_outside() -> None:
    """No other part imports a client of anything."""
    others = [m for m in modules() if m.part != "connectors" and m.name not in NOT_OUTSIDE]

    assert [found for module in others for found in reaches(module)] == []


def test_a_way_around_the_gate_is_noticed() -> None:
    """The guards can fail."""
    around = parse("runtime.worker", "import aiohttp\nasync def f(g):\n    await g.invoke(1, {})\n")

    assert list(invocations(around)) == ["runtime.worker:3"]
    assert list(reaches(around)) == ["runtime.worker:1 aiohttp"]
