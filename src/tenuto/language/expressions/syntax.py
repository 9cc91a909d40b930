"""The parts of an expression, as the parser finds them: frozen values, one class per form of jq."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Identity:
    """`.`"""


@dataclass(frozen=True, slots=True)
class Descend:
    """`..`: the value and everything inside it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    text: str


@dataclass(frozen=True, slots=True)
class Constant:
    """`null`, `true` or `false`."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Text:
    """A string: pieces of text and expressions between them; `style` is the `@format` before it."""

    parts: tuple[str | Node, ...]
    style: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """`@json` and the like, applied to `.`."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`"""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Secret:
    """`$secrets.name.field`: never a value, only a reference."""

    path: tuple[str, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Index:
    """`base[key]`, `base.key`; `optional` with `?`."""

    base: Node
    key: Node
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """`base[low:high]`"""

    base: Node
    low: Node | None
    high: Node | None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Iterate:
    """`base[]`"""

    base: Node
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """`[body]`"""

    body: Node | None


@dataclass(frozen=True, slots=True)
class Object:
    """`{key: value, ...}`"""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Negate:
    """`-body`"""

    body: Node


@dataclass(frozen=True, slots=True)
class Pipe:
    """`a | b | c`, two parts or more."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Comma:
    """`a, b, c`, two parts or more."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic, comparison, `and`, `or` and `//`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Assign:
    """`left = right` and its relatives `|= += -= *= /= %= //=`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class If:
    """`if condition then body elif ... else otherwise end`"""

    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None


@dataclass(frozen=True, slots=True)
class Try:
    """`try body catch handler`; `body?` has no handler."""

    body: Node
    handler: Node | None


@dataclass(frozen=True, slots=True)
class Bind:
    """`source as pattern | body`; several patterns with `?//`."""

    source: Node
    patterns: tuple[Pattern, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Reduce:
    """`reduce source as pattern (start; update)`"""

    source: Node
    patterns: tuple[Pattern, ...]
    start: Node
    update: Node


@dataclass(frozen=True, slots=True)
class Foreach:
    """`foreach source as pattern (start; update; extract)`"""

    source: Node
    patterns: tuple[Pattern, ...]
    start: Node
    update: Node
    extract: Node | None


@dataclass(frozen=True, slots=True)
class Call:
    """A function by name, with its arguments; `own` if the expression itself defines it."""

    name: str
    arguments: tuple[Node, ...]
    offset: int
    own: bool = False


@dataclass(frozen=True, slots=True)
class Define:
    """`def name(parameters): body; rest`"""

    name: str
    parameters: tuple[str, ...]
    body: Node
    rest: Node


@dataclass(frozen=True, slots=True)
class Label:
    """`label $name | body`"""

    name: str
    body: Node


@dataclass(frozen=True, slots=True)
class Break:
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


@dataclass(frozen=True, slots=True)
class Name:
    """A pattern `$name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Items:
    """A pattern `[first, second]`."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Members:
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
