"""Values without a declared type: plain JSON passes, whatever would come back changed does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tenuto.authoring.forms.form import EVERY_KIND, KIND_OF, Form, Unfit, found
from tenuto.authoring.forms.scalars import (
    write_bool,
    write_float,
    write_int,
    write_none,
    write_str,
)
from tenuto.engine.model import Json

_SCALARS: Final[dict[type, Callable[[Any], Json]]] = {
    type(None): write_none,
    bool: write_bool,
    int: write_int,
    float: write_float,
    str: write_str,
}


def copy_json(value: Any) -> Json:
    """Return a copy of plain JSON; raise Unfit for everything that JSON would change."""
    kind = type(value)
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar(value)
    if kind is list:
        items: list[Json] = []
        try:
            for item in value:
                items.append(copy_json(item))  # noqa: PERF401  # its length names the place
        except Unfit as unfit:
            unfit.place.append(f"[{len(items)}]")
            raise
        return items
    if kind is dict:
        members: dict[str, Json] = {}
        name: Any = None
        try:
            for name, item in value.items():  # the last one names the place
                if type(name) is not str:
                    raise _wrong_key(name)
                members[write_str(name)] = copy_json(item)
        except Unfit as unfit:
            unfit.place.append(f"[{name!r}]" if isinstance(name, str) else "")
            raise
        return members
    raise Unfit(
        f"no type is declared, and {found(value)} would come back as something else",
        "annotate it with its type; without one only None, bool, int, float, str, list and dict pass",
    )


def _wrong_key(name: object) -> Unfit:
    return Unfit(
        f"no type is declared, and a dict key that is {found(name)} would come back as text",
        "annotate it, as in `dict[int, str]`; without a type keys are str",
    )


def order_key(data: Json) -> bytes:
    """Return what unordered things are sorted by, so that equal sets are always written alike."""
    return msgspec.json.encode(data, order="deterministic")


ANYTHING: Final = Form("Any", copy_json, copy_json, None, EVERY_KIND, lambda _: {})


def json_of(kind: type) -> str:
    """Return what people call the JSON value that a Python builtin is.

    >>> json_of(dict)
    'object'
    """
    return KIND_OF.get(kind, kind.__name__)
