"""Parts of an expression that give several values or none, put together from compiled parts; all lazy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tenuto.language.expressions import syntax as s
from tenuto.language.expressions.access import members
from tenuto.language.expressions.numbers import double, settle
from tenuto.language.expressions.scalar import Many, One, Operation, destructure, no_key
from tenuto.language.expressions.values import NUMBERS, Frame, Json, Meter, Raised, truthy

_NOTHING: Final = object()


def once(one: One) -> Many:
    """Compile a part that gives one value as one that gives several."""
    return lambda value, frame: iter((one(value, frame),))


def descend(value: Json, frame: Frame) -> Iterator[Json]:
    """Yield a value and everything inside it, outermost first."""
    stack = [value]
    while stack:
        found = stack.pop()
        yield found
        if type(found) in (list, dict):
            stack.extend(reversed(list(members(found, frame.meter))))


def comma(parts: tuple[Many, ...]) -> Many:
    """Compile `a, b`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for part in parts:
            frame.meter.spend(1)
            yield from part(value, frame)

    return run


def pipe(parts: tuple[Many, ...]) -> Many:
    """Compile a pipe of which some part gives several values or none."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2  # in halves: a pipe may have thousands of parts
    first, rest = pipe(parts[:middle]), pipe(parts[middle:])

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for item in first(value, frame):
            yield from rest(item, frame)

    return run


def each(items: Many, change: Callable[[Json, Meter], Json]) -> Many:
    """Compile a change of every value."""
    return lambda value, frame: (change(item, frame.meter) for item in items(value, frame))


def iterate(base: Many, optional: bool) -> Many:
    """Compile `base[]`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for item in base(value, frame):
            try:
                found = members(item, frame.meter)
            except Raised:
                if not optional:
                    raise
                continue
            yield from found

    return run


def access(
    base: Many, keys: tuple[Many, ...], reach: Callable[[Json, tuple[Json, ...], Meter], Json], optional: bool
) -> Many:
    """Compile an index or a slice with several bases or keys, or with `?`; keys are the outer loops."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for chosen in choose(keys, value, frame):
            for item in base(value, frame):
                try:
                    found = reach(item, chosen, frame.meter)
                except Raised:
                    if not optional:
                        raise
                    continue
                yield found

    return run


def choose(choices: tuple[Many, ...], value: Json, frame: Frame) -> Iterator[tuple[Json, ...]]:
    """Yield every combination of values, the first being the outer loop."""
    if not choices:
        yield ()
        return
    for first in choices[0](value, frame):
        for rest in choose(choices[1:], value, frame):
            yield (first, *rest)


def text(parts: tuple[Many, ...]) -> Many:
    """Compile a string with parts that give several values; the last part is the outer loop."""
    backwards = parts[::-1]

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for chosen in choose(backwards, value, frame):
            joined = "".join(reversed(chosen))
            frame.meter.spend(1 + (len(joined) >> 8))
            yield joined

    return run


def object_of(pairs: tuple[tuple[Many, Many], ...]) -> Many:
    """Compile an object with keys or values that give several values; the first is the outer loop."""

    def build(made: dict[str, Json], at: int, value: Json, frame: Frame) -> Iterator[Json]:
        if at == len(pairs):
            yield made
            return
        keys, items = pairs[at]
        for name in keys(value, frame):
            for content in items(value, frame):
                if type(name) is not str:
                    raise no_key(name)
                yield from build({**made, name: content}, at + 1, value, frame)

    return lambda value, frame: build({}, 0, value, frame)


def alternative(left: Many, right: Many) -> Many:
    """Compile `left // right`: every true value of the left side, else all of the right."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        found = False
        for item in left(value, frame):
            if truthy(item):
                found = True
                yield item
        if not found:
            yield from right(value, frame)

    return run


def logic(decided: bool, left: Many, right: Many) -> Many:
    """Compile `and` and `or`; `decided` is the left side's value that settles the matter."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for first in left(value, frame):
            if truthy(first) is decided:
                yield decided
            else:
                for second in right(value, frame):
                    yield truthy(second)

    return run


def operate(operation: Operation, left: Many, right: Many) -> Many:
    """Compile an operator on several values; the right side is the outer loop."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for second in right(value, frame):
            for first in left(value, frame):
                frame.meter.spend(1)
                yield operation(first, second, frame.meter)

    return run


def conditional(condition: Many, body: Many, otherwise: Many) -> Many:
    """Compile `if` with a condition or branches that give several values."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for holds in condition(value, frame):
            yield from (body if truthy(holds) else otherwise)(value, frame)

    return run


def attempt(body: Many, handler: Many | None) -> Many:
    """Compile `try`; an error ends the values of the body."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        try:
            items = body(value, frame)
            item = next(items, _NOTHING)
            while item is not _NOTHING:
                yield item
                item = next(items, _NOTHING)
        except Raised as raised:
            caught = raised.value
        else:
            return
        if handler is not None:
            yield from handler(caught, frame)

    return run


def bind(source: Many, pattern: s.Pattern, body: Many) -> Many:
    """Compile `source as pattern | body`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for item in source(value, frame):
            yield from body(value, frame.bind(destructure(pattern, item, frame.meter)))

    return run


def foreach(source: Many, pattern: s.Pattern, start: Many, update: Many, extract: Many) -> Many:
    """Compile `foreach`; an update without a value leaves null behind."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for state in start(value, frame):
            current = state
            for item in source(value, frame):
                frame.meter.spend(1)
                inner = frame.bind(destructure(pattern, item, frame.meter))
                before, current = current, None
                for after in update(before, inner):
                    current = after
                    yield from extract(after, inner)

    return run


def first(items: Many) -> Many:
    """Compile `first(items)`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for item in items(value, frame):
            yield item
            return

    return run


def last(items: Many) -> Many:
    """Compile `last(items)`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        found = _NOTHING
        for item in items(value, frame):
            found = item
        if found is not _NOTHING:
            yield found

    return run


def limit(count: int, items: Many) -> Many:
    """Compile `limit(count; items)`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        left = count
        if left == 0:
            return
        for item in items(value, frame):
            yield item
            left -= 1
            if left == 0:
                return

    return run


def skip(count: int, items: Many) -> Many:
    """Compile `skip(count; items)`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for at, item in enumerate(items(value, frame)):
            if at >= count:
                yield item

    return run


def select(condition: Many) -> Many:
    """Compile `select(condition)`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for holds in condition(value, frame):
            if truthy(holds):
                yield value

    return run


def keep(holds: Callable[[Json], bool]) -> Many:
    """Compile `strings`, `values` and the like."""
    return lambda value, frame: iter((value,) if holds(value) else ())


def count(low: Many, high: Many) -> Many:
    """Compile `range(low; high)`."""

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for start, end in choose((low, high), value, frame):
            yield from _range(start, end, frame.meter)

    return run


def _range(start: Json, end: Json, meter: Meter) -> Iterator[Json]:
    """Yield the numbers of a range, one apart."""
    if type(start) is int and type(end) is int:
        for number in range(start, end):
            meter.spend(1)
            yield number
        return
    if type(start) not in NUMBERS or type(end) not in NUMBERS:
        raise Raised("Range bounds must be numeric")
    current = start
    while double(current) < double(end):
        meter.spend(1)
        yield current
        current = settle(double(current) + 1)
