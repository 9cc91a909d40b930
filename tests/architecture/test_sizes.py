"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.modules import Module, modules, parse

LONGEST_FILE = 700
LONGEST_FUNCTION = 70


def too_long(module: Module) -> Iterator[str]:
    """Yield what is longer than it may be."""
    lines = module.text.count("\n")
    if lines > LONGEST_FILE:
        yield f"{module.name} has {lines} lines"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{module.name}:{node.lineno} {node.name} has {length} lines"


def test_nothing_is_too_long() -> None:
    """No file over 700 lines, no function over 70."""
    assert [found for module in modules() for found in too_long(module)] == []


def test_length_is_noticed() -> None:
    """The guard can fail."""
    body = "def f():\n" + "    x = 1\n" * 701

    assert len(list(too_long(parse("x", body)))) == 2
