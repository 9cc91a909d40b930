"""The written form of one type, and the complaint about a value that does not fit it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin
from urllib.parse import quote

from tenuto.authoring.asking import Ask
from tenuto.engine.model import Json

Kind: TypeAlias = Literal["null", "boolean", "integer", "float", "string", "array", "object"]
Write: TypeAlias = Callable[[Any], Json]
Read: TypeAlias = Callable[[Json], Any]
Definitions: TypeAlias = dict[str, Json]

EVERY_KIND: Final[frozenset[Kind]] = frozenset(
    {"null", "boolean", "integer", "float", "string", "array", "object"}
)
KIND_OF: Final[dict[type, Kind]] = {
    NoneType: "null",
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "string",
    list: "array",
    dict: "object",
}


class Unfit(Exception):
    """A value does not fit its declared type; `place` is filled from the inside out."""

    def __init__(self, problem: str, hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.place: list[str] = []

    @property
    def where(self) -> str:
        """The place inside the value, as in `.lines[2].price`; empty for the value itself."""
        return "".join(reversed(self.place))


@dataclass(slots=True)
class Form:
    """How values of one type are written and read.

    `types` are the exact Python types of its values (None: not known beforehand), `kinds` the
    kinds of JSON values that they are written as. `tag` is the member and the value by which
    objects of a tagged type can be told from others. Filled in later for types that contain
    themselves, which is why it is not frozen.
    """

    name: str
    write: Write
    read: Read
    types: frozenset[type] | None
    kinds: frozenset[Kind]
    schema: Callable[[Definitions], dict[str, Json]]
    hashable: bool = True
    tag: tuple[str, str | int] | None = None


def found(value: object) -> str:
    """Say what kind of value there is, without showing it: it may be a secret."""
    if value is None:
        return "None"
    kind = type(value)
    if isinstance(value, Ask):
        return "a call that was not awaited: `await` is missing"
    if kind.__module__ in {"builtins", "datetime", "decimal", "uuid"}:
        return f"{_article(kind.__name__)} {kind.__name__}"
    return f"a value of the type `{kind.__qualname__}`"


def wrong_type(name: str, value: object, *accepted: type, written: str = "") -> Unfit:
    """Return the complaint about a value of another type than declared; `written`: how JSON has it."""
    for wanted in accepted:
        if isinstance(value, wanted) and type(value) is not wanted:
            kind = type(value).__name__
            return Unfit(
                f"expected exactly `{name}`, found {found(value)}, "
                "which is a subclass and would come back as something else",
                f"declare `{name} | {kind}`, or pass a plain {wanted.__name__}",
            )
    return Unfit(f"expected `{name}`{written}, found {found(value)}")


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """Return the question for the nearest known word, or nothing.

    >>> did_you_mean("ordr", ["order", "amount"])
    ' (did you mean `order`?)'
    """
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean `{close[0]}`?)" if close else ""


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Return names as they are listed in a sentence.

    >>> listed(["a", "b"])
    '`a`, `b`'
    """
    return ", ".join(f"`{name}`" for name in names)


def reference(name: str) -> dict[str, Json]:
    """Return the schema that refers to a definition.

    >>> reference("Box[int]")
    {'$ref': '#/$defs/Box%5Bint%5D'}
    """
    return {"$ref": f"#/$defs/{quote(name)}"}


def text_of(kind: Any) -> str:
    """Return a type as people write it.

    >>> text_of(dict[str, list[int]])
    'dict[str, list[int]]'
    """
    if kind is None or kind is NoneType:
        return "None"
    if kind is Ellipsis:
        return "..."
    if isinstance(kind, enum.Enum):
        return f"{type(kind).__name__}.{kind.name}"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None or not arguments:
        name = getattr(kind, "__name__", None) or getattr(kind, "_name", None)
        return name if isinstance(name, str) else str(kind)
    if origin is Literal:
        texts = [text_of(a) if isinstance(a, enum.Enum | None) else repr(a) for a in arguments]
        return f"Literal[{', '.join(texts)}]"
    if not isinstance(origin, type):
        return text_of(arguments[0]) if hasattr(kind, "__metadata__") else " | ".join(map(text_of, arguments))
    if origin.__name__ in {"Union", "UnionType"}:
        return " | ".join(map(text_of, arguments))
    if hasattr(kind, "__metadata__"):
        return text_of(arguments[0])
    inside = [f"[{', '.join(map(text_of, a))}]" if isinstance(a, list) else text_of(a) for a in arguments]
    return f"{origin.__name__}[{', '.join(inside)}]"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiouAEIOU" else "a"
