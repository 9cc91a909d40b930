"""The project's own modules and what they import, read from their syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tenuto"


@dataclass(frozen=True)
class Module:
    """One file: its dotted name below `tenuto` and its syntax tree."""

    name: str
    path: Path
    text: str

    @property
    def part(self) -> str:
        """The part that the file belongs to: the first word of its name."""
        return self.name.partition(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        """The file's syntax tree."""
        return ast.parse(self.text)

    def imports(self) -> Iterator[tuple[str, int]]:
        """Yield what is imported, with the line; imports for types only count too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno} imports relatively"
                yield node.module or "", node.lineno

    def late_imports(self) -> Iterator[int]:
        """Yield the lines of imports inside functions."""
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Import | ast.ImportFrom):
                        yield node.lineno


def parse(name: str, text: str) -> Module:
    """Return a module from text, for negative controls."""
    return Module(name, Path(name.replace(".", "/") + ".py"), text)


def modules() -> list[Module]:
    """Return every module of the project."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append(Module(name, path, path.read_text()))
    return found
