"""From a stored document to something that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tenuto.engine.ports import DocumentRow
from tenuto.errors import CodeMissing, TenutoError
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load
from tenuto.language.program import undoable_functions
from tenuto.runtime.hot import Definition

Build = Callable[[DocumentRow], Definition]


class Undos(Protocol):
    """Where it is found what undoes a function."""

    def undo_of(self, name: str) -> str | None:
        """Return the function that undoes this one; None if there is none. Raises `TenutoError`."""


def builder(catalog: Undos, folders: tuple[Path, ...] = (), others: Build | None = None) -> Build:
    """Return what makes documents ready to run with the functions of a catalog.

    Relative files are looked up beside the document first, then in `folders`. `others` does the same
    for what is no document; relative files are then looked up in `folders` only.
    """

    def build(row: DocumentRow) -> Definition:
        if row.kind != "document":
            return replace((others or _unknown)(row), folders=folders)
        document = load(row.source, row.origin or row.name).data
        undo = {}
        for name in undoable_functions(document):
            undoing = _undo_of(catalog, name)
            if undoing is not None:
                undo[name] = undoing
        beside = (Path(row.origin).parent,) if row.origin else ()
        return Definition(row, Interpreter(document), undo, (*beside, *folders))

    return build


def _unknown(row: DocumentRow) -> Definition:
    raise CodeMissing(
        f"{row.namespace}/{row.name}:{row.version} is a workflow in Python, and its code is not known here",
        hint="name its module: --with shop.orders, or --with shop/orders.py",
    )


def _undo_of(catalog: Undos, name: str) -> str | None:
    """Return a function's undo; an unknown function has none, and fails when it is called."""
    try:
        return catalog.undo_of(name)
    except TenutoError:
        return None
