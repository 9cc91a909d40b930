"""Expressions that name places in their input, and the assignments that change those places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from tenuto.language.expressions.access import Editor, Path, delete_paths, get_path, index, places
from tenuto.language.expressions.scalar import Many, One, Operation
from tenuto.language.expressions.values import Frame, Json, Raised, truthy

Place: TypeAlias = tuple[Path, Json]
"""A path and what stands there."""

Places: TypeAlias = Callable[[Place, Frame], Iterator[Place]]
"""Given a place, yields places at or below it."""

Change: TypeAlias = Callable[[Json, Json, Frame], Json]
"""Given the input and an operand, the input changed."""


def here(place: Place, _frame: Frame) -> Iterator[Place]:
    """Yield the place itself."""
    yield place


def nowhere(_place: Place, _frame: Frame) -> Iterator[Place]:
    """Yield nothing."""
    return iter(())


def descend(place: Place, frame: Frame) -> Iterator[Place]:
    """Yield a place and all places inside it, outermost first."""
    stack = [place]
    while stack:
        path, found = stack.pop()
        yield path, found
        if type(found) in (list, dict):
            frame.meter.spend(1 + len(path))
            inner = [((*path, key), item) for key, item in places(found, frame.meter)]
            stack.extend(reversed(inner))


def indexed(base: Places, key: One, optional: bool) -> Places:
    """Compile `base[key]`."""

    def run(place: Place, frame: Frame) -> Iterator[Place]:
        at = key(place[1], frame)
        for path, value in base(place, frame):
            try:
                found = index(value, at, frame.meter)
            except Raised:
                if not optional:
                    raise
                continue
            yield (*path, at), found

    return run


def iterate(base: Places, optional: bool) -> Places:
    """Compile `base[]`."""

    def run(place: Place, frame: Frame) -> Iterator[Place]:
        for path, value in base(place, frame):
            try:
                found = places(value, frame.meter)
            except Raised:
                if not optional:
                    raise
                continue
            frame.meter.spend(len(path))
            for key, item in found:
                yield (*path, key), item

    return run


def pipe(parts: tuple[Places, ...]) -> Places:
    """Compile a pipe."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2  # in halves: a pipe may have thousands of parts
    first, rest = pipe(parts[:middle]), pipe(parts[middle:])
    return lambda place, frame: (found for inner in first(place, frame) for found in rest(inner, frame))


def comma(parts: tuple[Places, ...]) -> Places:
    """Compile `a, b`."""

    def run(place: Place, frame: Frame) -> Iterator[Place]:
        for part in parts:
            frame.meter.spend(1)
            yield from part(place, frame)

    return run


def attempt(body: Places) -> Places:
    """Compile `body?`."""

    def run(place: Place, frame: Frame) -> Iterator[Place]:
        try:
            items = body(place, frame)
            found = next(items, None)
            while found is not None:
                yield found
                found = next(items, None)
        except Raised:
            return

    return run


def conditional(branches: tuple[tuple[One, Places], ...], otherwise: Places) -> Places:
    """Compile `if`."""

    def run(place: Place, frame: Frame) -> Iterator[Place]:
        for condition, body in branches:
            if truthy(condition(place[1], frame)):
                return body(place, frame)
        return otherwise(place, frame)

    return run


def select(condition: Many) -> Places:
    """Compile `select(condition)`."""
    return lambda place, frame: (place for holds in condition(place[1], frame) if truthy(holds))


def first(body: Places) -> Places:
    """Compile `first(body)`."""

    def run(place: Place, frame: Frame) -> Iterator[Place]:
        for found in body(place, frame):
            yield found
            return

    return run


def put(targets: Places) -> Change:
    """Compile `=`: the operand is put at every place."""

    def run(value: Json, operand: Json, frame: Frame) -> Json:
        editor = Editor(value, frame.meter)
        for path, _ in targets(((), value), frame):
            frame.meter.spend(1)
            editor.set(path, operand)
        return editor.value

    return run


def combine(targets: Places, operation: Operation) -> Change:
    """Compile `+=` and its relatives: every place is combined with the operand."""

    def run(value: Json, operand: Json, frame: Frame) -> Json:
        editor = Editor(value, frame.meter)
        for path, _ in targets(((), value), frame):
            frame.meter.spend(1)
            old = get_path(editor.value, list(path), frame.meter)
            editor.release(old, path)
            editor.set(path, operation(old, operand, frame.meter))
        return editor.value

    return run


def update(targets: Places, change: Many) -> One:
    """Compile `|=`: the first value of the change counts, no value deletes the place."""

    def run(value: Json, frame: Frame) -> Json:
        editor = Editor(value, frame.meter)
        doomed: list[Json] = []
        for path, _ in targets(((), value), frame):
            frame.meter.spend(1)
            old = get_path(editor.value, list(path), frame.meter)
            editor.release(old, path)
            for item in change(old, frame):
                editor.set(path, item)
                break
            else:
                doomed.append(list(path))
        return delete_paths(editor.value, doomed, frame.meter) if doomed else editor.value

    return run
