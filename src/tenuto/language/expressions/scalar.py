"""Parts of an expression that give one value, put together from compiled parts.

Operands are evaluated in jq's order (the right one first), because it decides which error comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from tenuto.language.expressions import syntax as s
from tenuto.language.expressions.access import field_error, index, slice_of
from tenuto.language.expressions.failures import ExpressionFailed
from tenuto.language.expressions.formats import format_value
from tenuto.language.expressions.values import Frame, Json, Meter, Raised, kind, show, to_text, truthy

One: TypeAlias = Callable[[Json, Frame], Json]
Many: TypeAlias = Callable[[Json, Frame], Iterator[Json]]
Operation: TypeAlias = Callable[[Json, Json, Meter], Json]


def fixed(constant: Json) -> One:
    """Compile a constant."""
    return lambda value, frame: constant


def special(constant: Json) -> One:
    """Compile a constant number that must not leave as it is."""

    def run(_value: Json, frame: Frame) -> Json:
        frame.meter.special = True
        return constant

    return run


def identity(value: Json, _frame: Frame) -> Json:
    """Give the input."""
    return value


def look_up(name: str, frame: Frame) -> Json:
    """Return the value of a variable."""
    try:
        return frame.variables[name]
    except KeyError:
        raise ExpressionFailed(f"${name} is not defined here") from None


def apply(change: Callable[[Json, Meter], Json], inner: One) -> One:
    """Compile a function of one value."""
    return lambda value, frame: change(inner(value, frame), frame.meter)


def field(base: One, name: str) -> One:
    """Compile `base.name`."""

    def run(value: Json, frame: Frame) -> Json:
        found = base(value, frame)
        if type(found) is dict:
            return found.get(name)
        if found is None:
            return None
        raise field_error(found, name)

    return run


def indexed(base: One, key: One) -> One:
    """Compile `base[key]`; the key is evaluated first."""

    def run(value: Json, frame: Frame) -> Json:
        at = key(value, frame)
        return index(base(value, frame), at, frame.meter)

    return run


def sliced(base: One, low: One, high: One) -> One:
    """Compile `base[low:high]`."""

    def run(value: Json, frame: Frame) -> Json:
        first, last = low(value, frame), high(value, frame)
        return slice_of(base(value, frame), first, last, frame.meter)

    return run


def array(items: Many | None) -> One:
    """Compile `[items]`."""
    if items is None:
        return lambda value, frame: []
    return lambda value, frame: list(items(value, frame))


def object_of(pairs: tuple[tuple[One, One], ...]) -> One:
    """Compile `{key: value}`."""

    def run(value: Json, frame: Frame) -> Json:
        made = {}
        for key, item in pairs:
            name = key(value, frame)
            content = item(value, frame)
            if type(name) is not str:
                raise no_key(name)
            made[name] = content
        return made

    return run


def no_key(name: Json) -> Raised:
    """Return the error of a key that is no string."""
    return Raised(f"Cannot use {kind(name)} ({show(name)}) as object key")


def pipe(parts: tuple[One, ...]) -> One:
    """Compile a pipe."""

    def run(value: Json, frame: Frame) -> Json:
        for part in parts:
            value = part(value, frame)
        return value

    return run


def text(parts: tuple[str | One, ...], style: str) -> One:
    """Compile a string; the parts are evaluated from the last to the first, as jq does."""
    if all(isinstance(part, str) for part in parts):
        return fixed("".join(part for part in parts if isinstance(part, str)))
    backwards = parts[::-1]

    def run(value: Json, frame: Frame) -> Json:
        pieces = []
        for part in backwards:
            if isinstance(part, str):
                pieces.append(part)
                continue
            item = part(value, frame)
            if style == "text":
                pieces.append(item if type(item) is str else to_text(item, frame.meter))
            else:
                pieces.append(format_value(style, item, frame.meter))
        joined = "".join(reversed(pieces))
        frame.meter.spend(1 + (len(joined) >> 8))
        return joined

    return run


def both(left: One, right: One) -> One:
    """Compile `and`."""
    return lambda value, frame: truthy(left(value, frame)) and truthy(right(value, frame))


def either(left: One, right: One) -> One:
    """Compile `or`."""
    return lambda value, frame: truthy(left(value, frame)) or truthy(right(value, frame))


def operate(operation: Operation, left: One, right: One) -> One:
    """Compile an operator."""

    def run(value: Json, frame: Frame) -> Json:
        second = right(value, frame)
        return operation(left(value, frame), second, frame.meter)

    return run


def alternative(left: One, right: One) -> One:
    """Compile `left // right`."""

    def run(value: Json, frame: Frame) -> Json:
        found = left(value, frame)
        return found if truthy(found) else right(value, frame)

    return run


def alternative_to_maybe(left: Many, right: One) -> One:
    """Compile `left // right`, where left gives at most one value."""

    def run(value: Json, frame: Frame) -> Json:
        for found in left(value, frame):
            if truthy(found):
                return found
        return right(value, frame)

    return run


def conditional(branches: tuple[tuple[One, One], ...], otherwise: One) -> One:
    """Compile `if`."""

    def run(value: Json, frame: Frame) -> Json:
        for condition, body in branches:
            if truthy(condition(value, frame)):
                return body(value, frame)
        return otherwise(value, frame)

    return run


def attempt(body: One, handler: One) -> One:
    """Compile `try body catch handler`."""

    def run(value: Json, frame: Frame) -> Json:
        try:
            return body(value, frame)
        except Raised as raised:
            caught = raised.value
        return handler(caught, frame)

    return run


def destructure(pattern: s.Pattern, value: Json, meter: Meter) -> dict[str, Json]:
    """Return what a pattern binds; array patterns are matched from the end, as jq does."""
    found: dict[str, Json] = {}
    match pattern:
        case s.Name(name):
            found[name] = value
        case s.Items(parts):
            for at in reversed(range(len(parts))):
                found |= destructure(parts[at], index(value, at, meter), meter)
        case s.Members(parts):
            for key, bound, inner in parts:
                assert isinstance(key, s.Text)
                item = index(value, "".join(map(str, key.parts)), meter)
                if bound is not None:
                    found[bound] = item
                if inner is not None:
                    found |= destructure(inner, item, meter)
    return found


def bind(source: One, pattern: s.Pattern, body: One) -> One:
    """Compile `source as pattern | body`."""
    if isinstance(pattern, s.Name):
        name = pattern.name
        return lambda value, frame: body(value, frame.bind({name: source(value, frame)}))

    def run(value: Json, frame: Frame) -> Json:
        names = destructure(pattern, source(value, frame), frame.meter)
        return body(value, frame.bind(names))

    return run


def reduce(start: One, loop: Callable[[Json, Json, Frame], Json]) -> One:
    """Compile `reduce` with one start value."""
    return lambda value, frame: loop(start(value, frame), value, frame)


def fold(source: Many, pattern: s.Pattern, update: Many) -> Callable[[Json, Json, Frame], Json]:
    """Compile the loop of `reduce`: the last value of the update counts, null if there is none."""

    def run(state: Json, value: Json, frame: Frame) -> Json:
        for item in source(value, frame):
            frame.meter.spend(1)
            inner = frame.bind(destructure(pattern, item, frame.meter))
            before, state = state, None
            for after in update(before, inner):
                state = after
        return state

    return run
