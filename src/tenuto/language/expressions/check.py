"""What the parser cannot see: the lane of an expression, its variables, where secrets may stand."""

from __future__ import annotations

from typing import Final

from tenuto.language.expressions import syntax as s
from tenuto.language.expressions.failures import ExpressionSyntax
from tenuto.language.expressions.functions import FIRST_LANE, FORMATS, words

RANGE_LIMIT: Final = 10_000
"""The longest `range` of the first lane; longer ones, and ones of unknown length, go to the second."""

_MISPLACED: Final = "a secret can only be joined into a string or passed on"
_MISPLACED_HINT: Final = 'use it as $secrets.name.field, in "...\\(...)", with +, or as a member of an object'

_VALUE_ARGUMENTS: Final = words(
    """
    contains/1 delpaths/1 endswith/1 error/1 getpath/1 has/1 in/1 index/1 indices/1 inside/1 join/1
    ltrimstr/1 rindex/1 rtrimstr/1 setpath/2 split/1 startswith/1 trimstr/1 pow/2 nth/1
    """
)
_FILTERS: Final = words(
    """
    arrays/0 booleans/0 empty/0 first/1 iterables/0 last/1 nth/2 nulls/0 numbers/0 objects/0 scalars/0
    strings/0 values/0
    """
)
_SEVERAL: Final = words("limit/2 path/1 paths/0 paths/1 range/1 range/2 range/3 recurse/0 skip/2")
_COUNTED: Final = frozenset({"limit/2", "skip/2", "nth/2"})
_PATHS: Final = frozenset({"path/1", "paths/1", "del/1"})
_PATH_FUNCTIONS: Final = frozenset(
    {"empty/0", "first/0", "last/0", "first/1", "select/1", "recurse/0", "values/0"}
)
_PLAIN_PARTS: Final = frozenset({"+", "//"})
_ASSIGNING: Final = frozenset({"=", "|=", "+=", "//="})


def variables(node: s.Node, bound: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the variables that an expression uses and does not bind itself.

    >>> sorted(variables(s.Variable("context", 0)))
    ['context']
    """
    match node:
        case s.Variable(name):
            return frozenset() if name in bound else frozenset({name})
        case s.Bind(source, patterns, body):
            inner = bound | frozenset(s.pattern_names(patterns))
            return variables(source, bound) | _all(s.pattern_keys(patterns), bound) | variables(body, inner)
        case s.Reduce(source, patterns, start, update):
            inner = bound | frozenset(s.pattern_names(patterns))
            outer = _all((source, start, *s.pattern_keys(patterns)), bound)
            return outer | variables(update, inner)
        case s.Foreach(source, patterns, start, update, extract):
            inner = bound | frozenset(s.pattern_names(patterns))
            outer = _all((source, start, *s.pattern_keys(patterns)), bound)
            return outer | _all((update,) if extract is None else (update, extract), inner)
        case s.Define(_, parameters, body, rest):
            inner = bound | frozenset(name[1:] for name in parameters if name.startswith("$"))
            return variables(body, inner) | variables(rest, bound)
        case _:
            return _all(s.children(node), bound)


def _all(nodes: tuple[s.Node, ...], bound: frozenset[str]) -> frozenset[str]:
    """Return the free variables of all the nodes."""
    found: frozenset[str] = frozenset()
    for node in nodes:
        found |= variables(node, bound)
    return found


# ── secrets ──────────────────────────────────────────────────────────────────────────────


def secrets(node: s.Node, allowed: bool = True) -> frozenset[tuple[str, ...]]:
    """Return the paths of all secrets used; refuse those that stand where they would be looked at."""
    found: frozenset[tuple[str, ...]] = frozenset()
    if isinstance(node, s.Secret):
        if not allowed or not node.path:
            raise ExpressionSyntax(_MISPLACED, node.offset, _MISPLACED_HINT)
        return frozenset({node.path})
    passing = _passing(node) if allowed else ()
    for child in s.children(node):
        found |= secrets(child, any(child is kept for kept in passing))
    return found


def _passing(node: s.Node) -> tuple[s.Node, ...]:
    """Return the children whose value only goes through to the node's own value."""
    match node:
        case s.Pipe(parts):
            return parts[-1:]
        case s.Comma(parts):
            return parts
        case s.Array(body):
            return () if body is None else (body,)
        case s.Object(pairs):
            return tuple(value for _, value in pairs)
        case s.Text(parts, style) if style in (None, "text"):
            return tuple(part for part in parts if not isinstance(part, str))
        case s.Binary(operator, left, right) if operator in _PLAIN_PARTS:
            return (left, right)
        case s.Assign(operator, _, right) if operator in _ASSIGNING:
            return (right,)
        case s.If(branches, otherwise):
            kept = tuple(body for _, body in branches)
            return kept if otherwise is None else (*kept, otherwise)
        case s.Try(body, handler):
            return (body,) if handler is None else (body, handler)
        case s.Bind(_, _, body) | s.Label(_, body):
            return (body,)
        case s.Define(_, _, _, rest):
            return (rest,)
        case s.Call("map", (body,), _, False):
            return (body,)
        case _:
            return ()


# ── lanes ────────────────────────────────────────────────────────────────────────────────


ONE: Final = 0
MAYBE: Final = 1
MANY: Final = 2


def single(node: s.Node) -> bool:
    """Tell whether a node gives exactly one value, or an error, whatever its input.

    >>> single(s.Identity()), single(s.Descend())
    (True, False)
    """
    return count(node) == ONE


def count(node: s.Node) -> int:
    """Return how many values a node gives: exactly `ONE`, `MAYBE` one, or perhaps `MANY`."""
    match node:
        case s.Identity() | s.Number() | s.Constant() | s.Format() | s.Variable() | s.Secret() | s.Array():
            return ONE
        case s.Iterate() | s.Descend() | s.Comma() | s.Foreach() | s.Define() | s.Label() | s.Break():
            return MANY
        case s.Index(optional=True) | s.Slice(optional=True):
            return max(MAYBE, _most(node))
        case s.Try(body, None):
            return max(MAYBE, count(body))
        case s.Binary("//", left, right):
            return MANY if count(left) == MANY else count(right)
        case s.Reduce(_, _, start):
            return count(start)
        case s.Assign(operator, _, right):
            return ONE if operator == "|=" else count(right)
        case s.Bind(source, _, body):
            return max(count(source), count(body))
        case s.Call("select", (condition,), _, False):
            return max(MAYBE, count(condition))
        case s.Call(name, arguments, _, False):
            key = f"{name}/{len(arguments)}"
            if key in _FILTERS:
                return MAYBE
            return ONE if key in FIRST_LANE and key not in _SEVERAL else MANY
        case s.Call():
            return MANY
        case _:
            return _most(node)


def _most(node: s.Node) -> int:
    """Return the most values that any part of a node gives."""
    return max((count(child) for child in s.children(node)), default=ONE)


def first_lane(node: s.Node) -> bool:
    """Tell whether an expression is total and cheap enough to be evaluated in process."""
    match node:
        case s.Define() | s.Label() | s.Break():
            return False
        case s.Format(name):
            return name in FORMATS
        case s.Text(_, style) if style is not None and style not in FORMATS:
            return False
        case s.Bind(_, patterns) | s.Reduce(_, patterns) | s.Foreach(_, patterns) if not _simple(patterns):
            return False
        case s.Reduce(_, _, start) if not single(start):
            return False  # jq forgets the input after the first start value
        case s.Assign(operator, left, right):
            if not pathlike(left) or (operator != "|=" and not single(right)):
                return False
        case s.Call():
            if not _cheap_call(node):
                return False
        case _:
            pass
    return all(first_lane(child) for child in s.children(node))


def _simple(patterns: tuple[s.Pattern, ...]) -> bool:
    """Tell whether patterns have one form, constant keys and no name twice."""
    names = s.pattern_names(patterns)
    keys = s.pattern_keys(patterns)
    plain = all(isinstance(key, s.Text) and key.style is None and _constant(key) for key in keys)
    return len(patterns) == 1 and len(set(names)) == len(names) and plain


def _constant(node: s.Text) -> bool:
    """Tell whether a string has no expressions inside."""
    return all(isinstance(part, str) for part in node.parts)


def _cheap_call(node: s.Call) -> bool:
    """Tell whether a call can be made in the first lane, with these arguments."""
    key = f"{node.name}/{len(node.arguments)}"
    if node.own or key not in FIRST_LANE:
        return False
    if node.name == "range":
        return _short_range(node.arguments)
    if key in _VALUE_ARGUMENTS:
        return all(single(argument) for argument in node.arguments)
    if key in _COUNTED or key == "flatten/1":
        return _whole(node.arguments[0]) is not None
    if key in _PATHS:
        return key == "paths/1" or pathlike(node.arguments[0])
    return True


def _whole(node: s.Node) -> int | None:
    """Return a whole number that is written out and not negative."""
    if isinstance(node, s.Number) and node.text.isdigit() and len(node.text) < 10:
        return int(node.text)
    return None


def _short_range(arguments: tuple[s.Node, ...]) -> bool:
    """Tell whether a range is known to be short: written out, or as long as a value."""
    if len(arguments) == 3:
        return False
    if all(single(argument) and _measure(argument) for argument in arguments):
        return True
    bounds = [_whole(argument) for argument in arguments]
    if None in bounds:
        return False
    low, high = (0, bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    return int(high or 0) - int(low or 0) <= RANGE_LIMIT


def _measure(node: s.Node) -> bool:
    """Tell whether a number is the length of something, or a small one written out."""
    match node:
        case s.Call("length", ()):
            return True
        case s.Pipe(parts):
            return _measure(parts[-1])
        case s.Binary("-", left, right):
            return _measure(left) and _measure(right)
        case s.Number():
            whole = _whole(node)
            return whole is not None and whole <= RANGE_LIMIT
        case _:
            return False


def pathlike(node: s.Node) -> bool:
    """Tell whether an expression names places in its input, in forms that the first lane can follow."""
    match node:
        case s.Identity() | s.Descend():
            return True
        case s.Index(base, key):
            return pathlike(base) and single(key)
        case s.Slice(base, low, high):
            return pathlike(base) and all(single(part) for part in (low, high) if part is not None)
        case s.Iterate(base):
            return pathlike(base)
        case s.Pipe(parts) | s.Comma(parts):
            return all(pathlike(part) for part in parts)
        case s.Try(body, None):
            return pathlike(body)
        case s.If(branches, otherwise):
            inner = all(single(condition) and pathlike(body) for condition, body in branches)
            return inner and (otherwise is None or pathlike(otherwise))
        case s.Call(name, arguments, _, False) if f"{name}/{len(arguments)}" in _PATH_FUNCTIONS:
            return name == "select" or all(pathlike(argument) for argument in arguments)
        case _:
            return False


def heavy(node: s.Node) -> bool:
    """Tell whether a value could come out many times larger than what went in."""
    return _copies(node) > 8


def _copies(node: s.Node) -> float:
    """Return how many times the input could appear in the output, at most."""
    endless = float("inf")
    match node:
        case s.Pipe(parts):
            total = 1.0
            spread = False
            for part in parts:
                if spread and _outside(part):
                    return endless
                total *= _copies(part)
                spread = spread or not single(part)
            return total
        case s.Iterate(base) | s.Index(base, _) | s.Slice(base, _, _):
            return _copies(base)
        case s.Comma(parts):
            return sum(map(_copies, parts))
        case s.Array(body):
            return 0 if body is None else _copies(body)
        case s.Object(pairs):
            return (
                sum(_copies(value) for _, value in pairs) if all(map(single, s.children(node))) else endless
            )
        case s.Binary(operator, left, right) if operator in ("+", "//", "*"):
            return _copies(left) + _copies(right) if single(left) and single(right) else endless
        case s.If(branches, otherwise):
            return sum(_copies(body) for _, body in branches) + (
                1 if otherwise is None else _copies(otherwise)
            )
        case s.Assign(_, left, right):
            return 1 + _copies(right) if single(left) else endless
        case s.Bind(source, _, body):
            return _copies(source) * _copies(body) if single(source) else endless
        case s.Try(body, handler):
            return _copies(body) + (_copies(handler) if handler is not None else 0)
        case s.Call("map" | "map_values" | "with_entries", (body,)):
            return endless if _outside(body) else _copies(body)
        case s.Call("select" | "paths" | "path", _):
            return 1 if node.name == "select" else endless
        case s.Call(_, arguments):
            return 1 + sum(map(_copies, arguments))
        case s.Descend() | s.Reduce() | s.Foreach():
            return endless
        case _:
            return 1


def _outside(node: s.Node) -> bool:
    """Tell whether a node may bring in something other than parts of its input."""
    return isinstance(node, s.Variable | s.Reduce | s.Foreach | s.Bind) or any(
        map(_outside, s.children(node))
    )
