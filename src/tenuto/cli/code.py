"""Tells names of Python code from names of workflow files; imports nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tenuto.cli.files import SUFFIXES

_NAMED: Final = re.compile(r"(?P<place>.+?):(?P<name>[A-Za-z_][\w-]*)")

Found = Callable[[str], bool]


def split_name(text: str) -> tuple[str, str | None]:
    """Return where a workflow is and what it is called there, if that is said.

    >>> split_name("shop.orders:order_flow"), split_name("hello.yaml")
    (('shop.orders', 'order_flow'), ('hello.yaml', None))
    """
    found = _NAMED.fullmatch(text)
    return (found["place"], found["name"]) if found else (text, None)


def is_code(place: str, name: str | None, found: Found) -> bool:
    """Tell whether a place is a Python module or file; `found` answers for single words that are no file."""
    path = Path(place)
    if path.suffix == ".py":
        return True
    if path.is_dir() and (path / "__init__.py").is_file():
        return True
    if path.exists() or path.suffix in SUFFIXES:
        return False
    if not all(part.isidentifier() for part in place.split(".")):
        return False
    return "." in place or name is not None or found(place)


def named_code(places: Iterable[Path], found: Found) -> tuple[list[str], tuple[Path, ...]]:
    """Return which of the places that `--with` names are Python code, and the others."""
    code, others = [], []
    for place in places:
        if is_code(str(place), None, found):
            code.append(str(place))
        else:
            others.append(place)
    return code, tuple(others)
