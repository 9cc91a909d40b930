"""The parts of an expression, as the parser finds them: frozen values, one class per form of jq."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """`.`"""


class Descend(msgspec.Struct, frozen=True):
    """`..`: the value and everything inside it."""


class Number(msgspec.Struct, frozen=True):
    """A number as it was written."""

    text: str


class Constant(msgspec.Struct, frozen=True):
    """`null`, `true` or `false`."""

    value: bool | None


class Text(msgspec.Struct, frozen=True):
    """A string: pieces of text and expressions between them; `style` is the `@format` before it."""

    parts: tuple[str | Node, ...]
    style: str | None = None


class Format(msgspec.Struct, frozen=True):
    """`@json` and the like, applied to `.`."""

    name: str


class Variable(msgspec.Struct, frozen=True):
    """`$name`"""

    name: str
    offset: int


class Secret(msgspec.Struct, frozen=True):
    """`$secrets.name.field`: never a value, only a reference."""

    path: tuple[str, ...]
    offset: int


class Index(msgspec.Struct, frozen=True):
    """`base[key]`, `base.key`; `optional` with `?`."""

    base: Node
    key: Node
    optional: bool = False


class Slice(msgspec.Struct, frozen=True):
    """`base[low:high]`"""

    base: Node
    low: Node | None
    high: Node | None
    optional: bool = False


class Iterate(msgspec.Struct, frozen=True):
    """`base[]`"""

    base: Node
    optional: bool = False


class Array(msgspec.Struct, frozen=True):
    """`[body]`"""

    body: Node | None


class Object(msgspec.Struct, frozen=True):
    """`{key: value, ...}`"""

    pairs: tuple[tuple[Node, Node], ...]


class Negate(msgspec.Struct, frozen=True):
    """`-body`"""

    body: Node


class Pipe(msgspec.Struct, frozen=True):
    """`a | b | c`, two parts or more."""

    parts: tuple[Node, ...]


class Comma(msgspec.Struct, frozen=True):
    """`a, b, c`, two parts or more."""

    parts: tuple[Node, ...]


class Binary(msgspec.Struct, frozen=True):
    """Arithmetic, comparison, `and`, `or` and `//`."""

    operator: str
    left: Node
    right: Node


class Assign(msgspec.Struct, frozen=True):
    """`left = right` and its relatives `|= += -= *= /= %= //=`."""

    operator: str
    left: Node
    right: Node


class If(msgspec.Struct, frozen=True):
    """`if condition then body elif ... else otherwise end`"""

    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None


class Try(msgspec.Struct, frozen=True):
    """`try body catch handler`; `body?` has no handler."""

    body: Node
    handler: Node | None


class Bind(msgspec.Struct, frozen=True):
    """`source as pattern | body`; several patterns with `?//`."""

    source: Node
    patterns: tuple[Pattern, ...]
    body: Node


class Reduce(msgspec.Struct, frozen=True):
    """`reduce source as pattern (start; update)`"""

    source: Node
    patterns: tuple[Pattern, ...]
    start: Node
    update: Node


class Foreach(msgspec.Struct, frozen=True):
    """`foreach source as pattern (start; update; extract)`"""

    source: Node
    patterns: tuple[Pattern, ...]
    start: Node
    update: Node
    extract: Node | None


class Call(msgspec.Struct, frozen=True):
    """A function by name, with its arguments; `own` if the expression itself defines it."""

    name: str
    arguments: tuple[Node, ...]
    offset: int
    own: bool = False


class Define(msgspec.Struct, frozen=True):
    """`def name(parameters): body; rest`"""

    name: str
    parameters: tuple[str, ...]
    body: Node
    rest: Node


class Label(msgspec.Struct, frozen=True):
    """`label $name | body`"""

    name: str
    body: Node


class Break(msgspec.Struct, frozen=True):
    """`break $name`"""

    name: str


Node: TypeAlias = (
    Identity
    | Descend
    | Number
    | Constant
    | Text
    | Format
    | Variable
    | Secret
    | Index
    | Slice
    | Iterate
    | Array
    | Object
    | Negate
    | Pipe
    | Comma
    | Binary
    | Assign
    | If
    | Try
    | Bind
    | Reduce
    | Foreach
    | Call
    | Define
    | Label
    | Break
)


class Name(msgspec.Struct, frozen=True):
    """A pattern `$name`."""

    name: str


class Items(msgspec.Struct, frozen=True):
    """A pattern `[first, second]`."""

    parts: tuple[Pattern, ...]


class Members(msgspec.Struct, frozen=True):
    """A pattern `{key: part}`; with `{$name: part}` the member is bound to `$name` as well."""

    parts: tuple[tuple[Node, str | None, Pattern | None], ...]


Pattern: TypeAlias = Name | Items | Members


def children(node: Node) -> tuple[Node, ...]:
    """Return the expressions directly inside a node, patterns' keys included.

    >>> children(Negate(Identity()))
    (Identity(),)
    """
    match node:
        case Index(base, key):
            return (base, key)
        case Slice(base, low, high):
            return tuple(part for part in (base, low, high) if part is not None)
        case Iterate(base):
            return (base,)
        case Text(parts):
            return tuple(part for part in parts if not isinstance(part, str))
        case Array(body):
            return () if body is None else (body,)
        case Object(pairs):
            return tuple(part for pair in pairs for part in pair)
        case Negate(body):
            return (body,)
        case Pipe(parts) | Comma(parts):
            return parts
        case Binary(_, left, right) | Assign(_, left, right):
            return (left, right)
        case If(branches, otherwise):
            inner = tuple(part for branch in branches for part in branch)
            return inner if otherwise is None else (*inner, otherwise)
        case Try(body, handler):
            return (body,) if handler is None else (body, handler)
        case Bind(source, patterns, body):
            return (source, *pattern_keys(patterns), body)
        case Reduce(source, patterns, start, update):
            return (source, *pattern_keys(patterns), start, update)
        case Foreach(source, patterns, start, update, extract):
            inner = (source, *pattern_keys(patterns), start, update)
            return inner if extract is None else (*inner, extract)
        case Call(_, arguments):
            return arguments
        case Define(_, _, body, rest):
            return (body, rest)
        case Label(_, body):
            return (body,)
        case _:
            return ()


def pattern_keys(patterns: tuple[Pattern, ...]) -> tuple[Node, ...]:
    """Return the key expressions of patterns."""
    keys: list[Node] = []
    for pattern in patterns:
        match pattern:
            case Items(parts):
                keys += pattern_keys(parts)
            case Members(members):
                for key, _, inner in members:
                    keys.append(key)
                    keys += pattern_keys((inner,) if inner is not None else ())
            case Name():
                pass
    return tuple(keys)


def pattern_names(patterns: tuple[Pattern, ...]) -> tuple[str, ...]:
    """Return the variables that patterns bind, in the order written, repetitions included.

    >>> pattern_names((Items((Name("a"), Name("b"))),))
    ('a', 'b')
    """
    names: list[str] = []
    for pattern in patterns:
        match pattern:
            case Name(name):
                names.append(name)
            case Items(parts):
                names += pattern_names(parts)
            case Members(members):
                for _, bound, inner in members:
                    if bound is not None:
                        names.append(bound)
                    names += pattern_names((inner,) if inner is not None else ())
    return tuple(names)
