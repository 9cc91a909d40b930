"""The functions of jq in the first lane, by `name/arity`: how a call is compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

from tenuto.language.expressions import gather, places, stream, words
from tenuto.language.expressions import syntax as s
from tenuto.language.expressions.access import (
    Editor,
    delete_paths,
    get_path,
    has,
    members,
)
from tenuto.language.expressions.access import index as index_of
from tenuto.language.expressions.arithmetic import add, settled
from tenuto.language.expressions.check import single
from tenuto.language.expressions.numbers import Computed
from tenuto.language.expressions.scalar import Many, One
from tenuto.language.expressions.values import (
    Frame,
    Json,
    Meter,
    Raised,
    dump,
    equal,
    kind,
    to_text,
    truthy,
)

Arguments: TypeAlias = tuple[s.Node, ...]


class Compiler(NamedTuple):
    """How the arguments of a call are compiled: to one value, to several, to places."""

    one: Callable[[s.Node], One]
    many: Callable[[s.Node], Many]
    places: Callable[[s.Node], places.Places]


BuildOne: TypeAlias = Callable[[Compiler, Arguments], One]
BuildMany: TypeAlias = Callable[[Compiler, Arguments], Many]


# ── builders ─────────────────────────────────────────────────────────────────────────────


def _unary(function: Callable[[Json, Meter], Json]) -> BuildOne:
    """Build a function of the input."""
    return lambda compiler, arguments: lambda value, frame: function(value, frame.meter)


def _plain(function: Callable[[Json], Json]) -> BuildOne:
    """Build a function of the input that costs nothing to speak of."""
    return lambda compiler, arguments: lambda value, frame: function(value)


def _binary(function: Callable[[Json, Json, Meter], Json]) -> BuildOne:
    """Build a function of the input and one argument."""

    def build(compiler: Compiler, arguments: Arguments) -> One:
        argument = compiler.one(arguments[0])
        return lambda value, frame: function(value, argument(value, frame), frame.meter)

    return build


def _light(function: Callable[[Json, Json], Json]) -> BuildOne:
    """Build a function of the input and one argument that costs nothing to speak of."""
    return _binary(lambda value, argument, meter: function(value, argument))


def _keyed(function: gather.Keyed) -> BuildOne:
    """Build `sort_by(f)` and its relatives: the keys are all values of `f`, for each item."""

    def build(compiler: Compiler, arguments: Arguments) -> One:
        key = compiler.many(arguments[0])

        def run(value: Json, frame: Frame) -> Json:
            keys: list[Json] = [list(key(item, frame)) for item in members(value, frame.meter)]
            return function(value, keys, frame.meter)

        return run

    return build


def _quantifier(wanted: bool, condition_at: int | None, source_at: int | None) -> BuildOne:
    """Build `any` (wanted true) and `all` (wanted false) with or without a source and a condition."""

    def build(compiler: Compiler, arguments: Arguments) -> One:
        condition = compiler.many(s.Identity() if condition_at is None else arguments[condition_at])
        source = compiler.many(s.Iterate(s.Identity()) if source_at is None else arguments[source_at])

        def run(value: Json, frame: Frame) -> Json:
            for item in source(value, frame):
                for holds in condition(item, frame):
                    if truthy(holds) is wanted:
                        return wanted
            return not wanted

        return run

    return build


def _kinds(*names: str) -> BuildMany:
    """Build `strings` and its relatives."""
    return lambda compiler, arguments: stream.keep(lambda value: kind(value) in names)


# ── single functions ─────────────────────────────────────────────────────────────────────


def _map(compiler: Compiler, arguments: Arguments) -> One:
    """`map(f)`"""
    if single(arguments[0]):
        one = compiler.one(arguments[0])
        return lambda value, frame: [one(item, frame) for item in members(value, frame.meter)]
    many = compiler.many(arguments[0])
    return lambda value, frame: [found for item in members(value, frame.meter) for found in many(item, frame)]


def _map_values(compiler: Compiler, arguments: Arguments) -> One:
    """`map_values(f)`"""
    return places.update(compiler.places(s.Iterate(s.Identity())), compiler.many(arguments[0]))


def _with_entries(compiler: Compiler, arguments: Arguments) -> One:
    """`with_entries(f)`"""
    change = compiler.many(arguments[0])

    def run(value: Json, frame: Frame) -> Json:
        entries = gather.to_entries(value, frame.meter)
        changed = [found for entry in entries for found in change(entry, frame)]
        return gather.from_entries(changed, frame.meter)

    return run


def _add(compiler: Compiler, arguments: Arguments) -> One:
    """`add`, `add(f)`"""
    items = compiler.many(arguments[0] if arguments else s.Iterate(s.Identity()))

    def run(value: Json, frame: Frame) -> Json:
        total: Json = None
        own = False  # whether `total` is a container made here, which may grow in place
        for item in items(value, frame):
            if type(item) is str and type(total) is str:
                frame.meter.spend(1 + (len(item) >> 8))
                total += item
            elif own and type(item) is type(total):
                frame.meter.spend(1 + (len(item) >> 8))
                total.extend(item) if type(item) is list else total.update(item)
            elif item is not None:
                own = total is not None
                total = add(total, item, frame.meter)
                own = own and type(total) in (list, dict)
        return total

    return run


def _error(compiler: Compiler, arguments: Arguments) -> One:
    """`error`, `error(message)`"""
    message = compiler.one(arguments[0] if arguments else s.Identity())

    def run(value: Json, frame: Frame) -> Json:
        raise Raised(message(value, frame))

    return run


def _is_empty(compiler: Compiler, arguments: Arguments) -> One:
    """`isempty(f)`"""
    items = compiler.many(arguments[0])

    def run(value: Json, frame: Frame) -> Json:
        for _ in items(value, frame):
            return False
        return True

    return run


def _in(compiler: Compiler, arguments: Arguments) -> One:
    """`IN(source)`, `IN(wanted; source)`"""
    source = compiler.many(arguments[-1])
    wanted = compiler.many(arguments[0] if len(arguments) == 2 else s.Identity())

    def run(value: Json, frame: Frame) -> Json:
        for item in source(value, frame):
            for candidate in wanted(value, frame):
                if equal(candidate, item, frame.meter):
                    return True
        return False

    return run


def _flatten(_compiler: Compiler, arguments: Arguments) -> One:
    """`flatten(levels)`"""
    levels = _count(arguments[0])
    return lambda value, frame: gather.flatten(value, frame.meter, levels)


def _count(node: s.Node) -> int:
    """Return a whole number that is written out."""
    assert isinstance(node, s.Number)
    return int(node.text)


def _power(compiler: Compiler, arguments: Arguments) -> One:
    """`pow(base; exponent)`"""
    base, exponent = map(compiler.one, arguments)

    def run(value: Json, frame: Frame) -> Json:
        other = exponent(value, frame)
        return words.power(base(value, frame), other, frame.meter)

    return run


def _set_path(compiler: Compiler, arguments: Arguments) -> One:
    """`setpath(path; item)`"""
    path, item = map(compiler.one, arguments)

    def run(value: Json, frame: Frame) -> Json:
        content = item(value, frame)
        steps = path(value, frame)
        if type(steps) is not list:
            raise Raised("Path must be specified as an array")
        editor = Editor(value, frame.meter)
        editor.set(tuple(steps), content)
        return editor.value

    return run


def _delete(compiler: Compiler, arguments: Arguments) -> One:
    """`del(places)`"""
    targets = compiler.places(arguments[0])

    def run(value: Json, frame: Frame) -> Json:
        doomed = [list(path) for path, _ in targets(((), value), frame)]
        return delete_paths(value, doomed, frame.meter)

    return run


def _constant(number: float) -> BuildOne:
    """`nan`, `infinite`"""

    def run(_value: Json, frame: Frame) -> Json:
        frame.meter.special = True
        return Computed(number)

    return lambda compiler, arguments: run


def _now(_compiler: Compiler, _arguments: Arguments) -> One:
    """`now`: the recorded time."""
    return lambda value, frame: settled(float(frame.now), frame.meter)


def _inside(value: Json, outer: Json, meter: Meter) -> Json:
    """`inside(outer)`"""
    return words.contained(outer, value, meter)


# ── streams ──────────────────────────────────────────────────────────────────────────────


def _range(compiler: Compiler, arguments: Arguments) -> Many:
    """`range(high)`, `range(low; high)`"""
    low, high = (s.Number("0"), *arguments)[-2:]
    return stream.count(compiler.many(low), compiler.many(high))


def _paths(compiler: Compiler, arguments: Arguments) -> Many:
    """`paths`, `paths(f)`"""
    keep = compiler.many(arguments[0]) if arguments else None

    def run(value: Json, frame: Frame) -> Iterator[Json]:
        for path, found in places.descend(((), value), frame):
            if keep is None:
                if path:
                    yield list(path)
                continue
            for holds in keep(found, frame):
                if truthy(holds) and path:
                    yield list(path)

    return run


def _path(compiler: Compiler, arguments: Arguments) -> Many:
    """`path(places)`"""
    targets = compiler.places(arguments[0])
    return lambda value, frame: (list(path) for path, _ in targets(((), value), frame))


def _empty(_value: Json, _frame: Frame) -> Iterator[Json]:
    """`empty`"""
    return iter(())


# ── the tables ───────────────────────────────────────────────────────────────────────────

SINGLE: Final[dict[str, BuildOne]] = {
    "IN/1": _in,
    "IN/2": _in,
    "abs/0": _unary(words.absolute),
    "add/0": _add,
    "add/1": _add,
    "all/0": _quantifier(False, None, None),
    "all/1": _quantifier(False, 0, None),
    "all/2": _quantifier(False, 1, 0),
    "any/0": _quantifier(True, None, None),
    "any/1": _quantifier(True, 0, None),
    "any/2": _quantifier(True, 1, 0),
    "ascii_downcase/0": _unary(words.down),
    "ascii_upcase/0": _unary(words.up),
    "ceil/0": _unary(words.mathematical(words.ceil)),
    "contains/1": _binary(words.contained),
    "del/1": _delete,
    "delpaths/1": _binary(delete_paths),
    "endswith/1": _light(words.ends),
    "error/0": _error,
    "error/1": _error,
    "explode/0": _unary(words.explode),
    "fabs/0": _unary(words.mathematical(abs)),
    "first/0": _unary(lambda value, meter: index_of(value, 0, meter)),
    "flatten/0": _unary(gather.flatten),
    "flatten/1": _flatten,
    "floor/0": _unary(words.mathematical(words.floor)),
    "from_entries/0": _unary(gather.from_entries),
    "getpath/1": _binary(get_path),
    "group_by/1": _keyed(gather.group_by),
    "has/1": _light(has),
    "implode/0": _unary(words.implode),
    "in/1": _light(lambda value, container: has(container, value)),
    "index/1": _binary(words.first_index),
    "indices/1": _binary(words.indices),
    "infinite/0": _constant(math.inf),
    "inside/1": _binary(_inside),
    "isempty/1": _is_empty,
    "isinfinite/0": _plain(words.infinite),
    "isnan/0": _plain(words.not_a_number),
    "isnormal/0": _plain(words.normal),
    "join/1": _binary(gather.join),
    "keys/0": _unary(gather.keys),
    "keys_unsorted/0": _unary(gather.keys_unsorted),
    "last/0": _unary(lambda value, meter: index_of(value, -1, meter)),
    "length/0": _unary(gather.length),
    "ltrim/0": _unary(words.trimmer(True, False)),
    "ltrimstr/1": _light(words.without_prefix),
    "map/1": _map,
    "map_values/1": _map_values,
    "max/0": _unary(gather.itself(gather.greatest)),
    "max_by/1": _keyed(gather.greatest),
    "min/0": _unary(gather.itself(gather.least)),
    "min_by/1": _keyed(gather.least),
    "nan/0": _constant(math.nan),
    "not/0": _plain(lambda value: not truthy(value)),
    "now/0": _now,
    "nth/1": _binary(index_of),
    "pow/2": _power,
    "reverse/0": _unary(gather.reverse),
    "rindex/1": _binary(words.last_index),
    "round/0": _unary(words.mathematical(words.half_up)),
    "rtrim/0": _unary(words.trimmer(False, True)),
    "rtrimstr/1": _light(words.without_suffix),
    "setpath/2": _set_path,
    "sort/0": _unary(gather.sort),
    "sort_by/1": _keyed(gather.sort_by),
    "split/1": _binary(words.split_at),
    "sqrt/0": _unary(words.mathematical(words.square_root)),
    "startswith/1": _light(words.starts),
    "to_entries/0": _unary(gather.to_entries),
    "toboolean/0": _unary(words.to_boolean),
    "todate/0": _unary(words.to_date),
    "todateiso8601/0": _unary(words.to_date),
    "tojson/0": _unary(dump),
    "tonumber/0": _unary(words.to_number),
    "tostring/0": _unary(to_text),
    "transpose/0": _unary(gather.transpose),
    "trim/0": _unary(words.trimmer(True, True)),
    "trimstr/1": _light(lambda value, affix: words.without_suffix(words.without_prefix(value, affix), affix)),
    "trunc/0": _unary(words.mathematical(words.truncate)),
    "type/0": _plain(kind),
    "unique/0": _unary(gather.unique),
    "unique_by/1": _keyed(gather.unique_by),
    "utf8bytelength/0": _unary(words.byte_length),
    "with_entries/1": _with_entries,
}
"""The functions that give exactly one value."""

SEVERAL: Final[dict[str, BuildMany]] = {
    "arrays/0": _kinds("array"),
    "booleans/0": _kinds("boolean"),
    "empty/0": lambda compiler, arguments: _empty,
    "first/1": lambda compiler, arguments: stream.first(compiler.many(arguments[0])),
    "iterables/0": _kinds("array", "object"),
    "last/1": lambda compiler, arguments: stream.last(compiler.many(arguments[0])),
    "limit/2": lambda compiler, arguments: stream.limit(_count(arguments[0]), compiler.many(arguments[1])),
    "nth/2": lambda compiler, arguments: stream.first(
        stream.skip(_count(arguments[0]), compiler.many(arguments[1]))
    ),
    "nulls/0": _kinds("null"),
    "numbers/0": _kinds("number"),
    "objects/0": _kinds("object"),
    "path/1": _path,
    "paths/0": _paths,
    "paths/1": _paths,
    "range/1": _range,
    "range/2": _range,
    "recurse/0": lambda compiler, arguments: stream.descend,
    "scalars/0": _kinds("null", "boolean", "number", "string"),
    "select/1": lambda compiler, arguments: stream.select(compiler.many(arguments[0])),
    "skip/2": lambda compiler, arguments: stream.skip(_count(arguments[0]), compiler.many(arguments[1])),
    "strings/0": _kinds("string"),
    "values/0": lambda compiler, arguments: stream.keep(lambda value: value is not None),
}
"""The functions that give several values or none."""
