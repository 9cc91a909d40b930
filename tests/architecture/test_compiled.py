"""What wheels compile: docs/decisions/0011."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator

from tests.architecture.modules import ROOT

HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "hooks"
]
COMPILED = [ROOT / path.removeprefix("/") for path in HOOK["mypyc"]["include"]]


def awaiting(source: str) -> Iterator[int]:
    """Yield the lines at which something is awaited."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno


def test_nothing_that_is_compiled_awaits() -> None:
    """A compiled coroutine is cancelled by a deprecated call; where warnings are errors that becomes its end."""
    found = [f"{path.name}:{line}" for path in COMPILED for line in awaiting(path.read_text())]

    assert len(COMPILED) > 10
    assert found == []


def test_waiting_is_noticed() -> None:
    """The guard can fail."""
    assert list(awaiting("async def f():\n    await g()\n")) == [2]
    assert list(awaiting("async def f():\n    async with g():\n        pass\n")) == [2]
