"""The commonest shapes of expressions as the smallest closures: no frame, no meter, no generality.

A direct closure answers only what it is sure of. Whatever else comes (a missing member, an unusual
type) raises `KeyError`, `TypeError` or `Unsure`, and the expression is evaluated the general way,
which knows every case. Both ways are pure, so that starting over changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from tenuto.language.expressions import syntax as s
from tenuto.language.expressions.numbers import EXACT, number

Json: TypeAlias = Any
Direct: TypeAlias = Callable[[Json, Mapping[str, Json]], Json]
_LONG: Final = 65_536


class Unsure(Exception):
    """The direct way does not know this case."""


FALLBACK: Final = (KeyError, TypeError, Unsure)
"""What sends an evaluation the general way."""


def compile_direct(node: s.Node) -> Direct | None:
    """Compile one of the common shapes; None for any other."""
    match node:
        case s.Identity():
            return lambda value, variables: value
        case s.Constant(constant):
            return lambda value, variables: constant
        case s.Number(text):
            return _number(text)
        case s.Variable(name):
            return lambda value, variables: variables[name]
        case s.Index():
            return _path(node)
        case s.Text(parts, None):
            return _text(parts)
        case s.Object(pairs):
            return _object(pairs)
        case s.Binary("+", left, s.Object(pairs)):
            return _merge(compile_direct(left), _object(pairs))
        case s.Binary("+" | "-" as operator, left, right):
            return _sum(operator, compile_direct(left), compile_direct(right))
        case s.Binary("==" | "!=" as operator, left, right):
            return _equality(operator == "==", compile_direct(left), right)
        case s.Binary("<" | ">" | "<=" | ">=" as operator, left, right):
            return _order(operator, compile_direct(left), compile_direct(right))
        case s.Binary("and" | "or" as operator, left, right):
            return _logic(operator == "and", compile_direct(left), compile_direct(right))
        case s.Binary("//", left, right):
            return _alternative(compile_direct(left), compile_direct(right))
        case s.Call("not", ()):
            return lambda value, variables: value is None or value is False
        case s.Pipe((left, right)):
            return _pipe(compile_direct(left), compile_direct(right))
        case _:
            return None


def _number(text: str) -> Direct | None:
    """Compile a plain number."""
    constant = number(text, 0)
    if type(constant) in (int, float) and abs(constant) <= EXACT:
        return lambda value, variables: constant
    return None


def _path(node: s.Index) -> Direct | None:
    """Compile `.a.b.c` or `$x.a.b`, by length."""
    names: list[str] = []
    base: s.Node = node
    while isinstance(base, s.Index) and not base.optional:
        key = base.key
        if not isinstance(key, s.Text) or len(key.parts) != 1 or not isinstance(key.parts[0], str):
            return None
        names.insert(0, key.parts[0])
        base = base.base
    if isinstance(base, s.Variable):
        return _variable_path(base.name, names)
    if not isinstance(base, s.Identity):
        return None
    match names:
        case [a]:
            return lambda value, variables: value[a]
        case [a, b]:
            return lambda value, variables: value[a][b]
        case [a, b, c]:
            return lambda value, variables: value[a][b][c]
    path = tuple(names)

    def run(value: Json, _variables: Mapping[str, Json]) -> Json:
        for name in path:
            value = value[name]
        return value

    return run


def _variable_path(variable: str, names: list[str]) -> Direct:
    """Compile `$x.a.b`, by length."""
    match names:
        case [a]:
            return lambda value, variables: variables[variable][a]
        case [a, b]:
            return lambda value, variables: variables[variable][a][b]
    path = tuple(names)

    def run(value: Json, variables: Mapping[str, Json]) -> Json:
        value = variables[variable]
        for name in path:
            value = value[name]
        return value

    return run


def _text(parts: tuple[str | s.Node, ...]) -> Direct | None:
    """Compile a string whose parts are strings and whole numbers."""
    if not parts:
        return lambda value, variables: ""
    if len(parts) == 1 and isinstance(parts[0], str):
        fixed = parts[0]
        return lambda value, variables: fixed
    compiled: list[str | Direct] = []
    for part in parts:
        made = part if isinstance(part, str) else compile_direct(part)
        if made is None:
            return None
        compiled.append(made)
    pieces = tuple(compiled)

    def run(value: Json, variables: Mapping[str, Json]) -> Json:
        found = []
        for piece in pieces:
            if type(piece) is str:
                found.append(piece)
                continue
            item = piece(value, variables)  # type: ignore[operator]  # no text, by the test above
            if type(item) is int and -EXACT <= item <= EXACT:
                found.append(str(item))
            elif type(item) is str and len(item) < _LONG:
                found.append(item)
            else:
                raise Unsure
        return "".join(found)

    return run


def _object(pairs: tuple[tuple[s.Node, s.Node], ...]) -> Direct | None:
    """Compile an object with keys written out."""
    compiled: list[tuple[str, Direct]] = []
    for key, item in pairs:
        made = compile_direct(item)
        if made is None or not isinstance(key, s.Text) or key.style is not None or len(key.parts) != 1:
            return None
        name = key.parts[0]
        if not isinstance(name, str):
            return None
        compiled.append((name, made))
    members = tuple(compiled)
    if len(members) == 1:
        only, content = members[0]
        return lambda value, variables: {only: content(value, variables)}
    return lambda value, variables: {name: item(value, variables) for name, item in members}


def _merge(left: Direct | None, right: Direct | None) -> Direct | None:
    """Compile `left + {...}` for small objects."""
    if left is None or right is None:
        return None

    def run(value: Json, variables: Mapping[str, Json]) -> Json:
        base = left(value, variables)
        if type(base) is dict and len(base) < _LONG:
            return {**base, **right(value, variables)}
        raise Unsure

    return run


def _sum(operator: str, left: Direct | None, right: Direct | None) -> Direct | None:
    """Compile `+` and `-` on small whole numbers, `+` on strings."""
    if left is None or right is None:
        return None
    if operator == "-":

        def subtract(value: Json, variables: Mapping[str, Json]) -> Json:
            one, other = left(value, variables), right(value, variables)
            if type(one) is int and type(other) is int and abs(one) < EXACT // 2 and abs(other) < EXACT // 2:
                return one - other
            raise Unsure

        return subtract

    def add(value: Json, variables: Mapping[str, Json]) -> Json:
        one, other = left(value, variables), right(value, variables)
        if type(one) is int and type(other) is int:
            if abs(one) < EXACT // 2 and abs(other) < EXACT // 2:
                return one + other
        elif type(one) is str and type(other) is str and len(one) + len(other) < _LONG:
            return one + other
        raise Unsure

    return add


def _equality(wanted: bool, left: Direct | None, right: s.Node) -> Direct | None:
    """Compile `left == constant` and `!=`, and the same for two strings."""
    if left is None:
        return None
    other = compile_direct(right)
    if other is None:
        return None
    if isinstance(right, s.Constant):
        constant = right.value
        return lambda value, variables: (left(value, variables) is constant) is wanted
    if isinstance(right, s.Number):
        amount = other(None, {})

        def against_number(value: Json, variables: Mapping[str, Json]) -> Json:
            found = left(value, variables)
            return ((type(found) is int or type(found) is float) and found == amount) is wanted

        return against_number

    def run(value: Json, variables: Mapping[str, Json]) -> Json:
        one, two = left(value, variables), other(value, variables)
        if type(one) is str or type(two) is str:
            return (one == two) is wanted
        raise Unsure

    return run


def _order(operator: str, left: Direct | None, right: Direct | None) -> Direct | None:
    """Compile a comparison of two whole numbers or two strings."""
    if left is None or right is None:
        return None
    compare = _COMPARE[operator]

    def run(value: Json, variables: Mapping[str, Json]) -> Json:
        one, other = left(value, variables), right(value, variables)
        if type(one) is type(other) and (type(one) is int or type(one) is str):
            return compare(one, other)
        raise Unsure

    return run


_COMPARE: Final[dict[str, Callable[[Json, Json], bool]]] = {
    "<": lambda one, other: bool(one < other),
    ">": lambda one, other: bool(one > other),
    "<=": lambda one, other: bool(one <= other),
    ">=": lambda one, other: bool(one >= other),
}


def _logic(conjunction: bool, left: Direct | None, right: Direct | None) -> Direct | None:
    """Compile `and` and `or`."""
    if left is None or right is None:
        return None

    def run(value: Json, variables: Mapping[str, Json]) -> Json:
        found = left(value, variables)
        if (found is None or found is False) is conjunction:
            return not conjunction
        other = right(value, variables)
        return not (other is None or other is False)

    return run


def _alternative(left: Direct | None, right: Direct | None) -> Direct | None:
    """Compile `left // right`."""
    if left is None or right is None:
        return None

    def run(value: Json, variables: Mapping[str, Json]) -> Json:
        found = left(value, variables)
        return right(value, variables) if found is None or found is False else found

    return run


def _pipe(left: Direct | None, right: Direct | None) -> Direct | None:
    """Compile a pipe of two."""
    if left is None or right is None:
        return None
    return lambda value, variables: right(left(value, variables), variables)
