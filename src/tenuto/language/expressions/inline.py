"""The first lane: compile an expression once into Python closures, then evaluate it in process.

A part that always gives one value becomes a `One`, any part a `Many`, a part that names places `Places`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tenuto.language.expressions import calls, places, scalar, stream
from tenuto.language.expressions import syntax as s
from tenuto.language.expressions.access import index, slice_of
from tenuto.language.expressions.arithmetic import OPERATIONS, negate
from tenuto.language.expressions.check import heavy, single
from tenuto.language.expressions.failures import ExpressionFailed
from tenuto.language.expressions.formats import format_value
from tenuto.language.expressions.numbers import Spelled, number
from tenuto.language.expressions.scalar import Many, One
from tenuto.language.expressions.secret import reference
from tenuto.language.expressions.values import Frame, Json, Meter, Raised, dump, leave, truthy

_NULL = s.Constant(None)


def compile_program(node: s.Node) -> Callable[[Json, Mapping[str, Json], float], Json]:
    """Compile an expression of the first lane: the input, the variables and the time give the first value."""
    many = compile_many(node)
    watched = heavy(node)

    def run(value: Json, variables: Mapping[str, Json], now: float) -> Json:
        meter = Meter()
        try:
            for found in many(value, Frame(variables, now, meter)):
                return leave(found, meter.special) if watched or meter.special else found
        except Raised as raised:
            raise ExpressionFailed(_message(raised.value, meter)) from None
        except RecursionError:
            raise ExpressionFailed(
                "the expression or its data nests too deeply", limit="expression-depth"
            ) from None
        raise ExpressionFailed("the expression gave no value", hint="give one with: (...) // null")

    return run


def _message(value: Json, meter: Meter) -> str:
    """Return the text of an error that nothing caught."""
    return value if isinstance(value, str) else f"{dump(value, meter)} (not a string)"


def compile_one(node: s.Node) -> One:
    """Compile a part that gives exactly one value."""
    match node:
        case s.Identity():
            return scalar.identity
        case s.Number(text):
            constant = number(text, 0)
            return scalar.special(constant) if type(constant) is Spelled else scalar.fixed(constant)
        case s.Constant(constant):
            return scalar.fixed(constant)
        case s.Text(parts, style):
            pieces = tuple(part if isinstance(part, str) else compile_one(part) for part in parts)
            return scalar.text(pieces, style or "text")
        case s.Format(name):
            return lambda value, frame: format_value(name, value, frame.meter)
        case s.Variable(name):
            return lambda value, frame: scalar.look_up(name, frame)
        case s.Secret(path):
            return lambda value, frame: reference(scalar.look_up("__nonce__", frame), path)
        case s.Index(base, s.Text((str() as name,), None), False):
            return scalar.field(compile_one(base), name)
        case s.Index(base, key, False):
            return scalar.indexed(compile_one(base), compile_one(key))
        case s.Slice(base, low, high, False):
            return scalar.sliced(compile_one(base), compile_one(low or _NULL), compile_one(high or _NULL))
        case s.Array(body):
            return scalar.array(None if body is None else compile_many(body))
        case s.Object(pairs):
            return scalar.object_of(tuple((compile_one(key), compile_one(item)) for key, item in pairs))
        case s.Negate(body):
            return scalar.apply(negate, compile_one(body))
        case s.Pipe(parts):
            return scalar.pipe(tuple(map(compile_one, parts)))
        case s.Binary(operator, left, right):
            return _binary(operator, left, compile_one(right))
        case s.If(branches, otherwise):
            compiled = tuple((compile_one(condition), compile_one(body)) for condition, body in branches)
            return scalar.conditional(compiled, compile_one(otherwise or s.Identity()))
        case s.Try(body, handler) if handler is not None:
            return scalar.attempt(compile_one(body), compile_one(handler))
        case s.Bind(source, patterns, body):
            return scalar.bind(compile_one(source), patterns[0], compile_one(body))
        case s.Reduce(_, _, start):
            return scalar.reduce(compile_one(start), _fold(node))
        case s.Assign(operator, left, right):
            return _assign(operator, left, right)
        case s.Call(name, arguments):
            return calls.SINGLE[f"{name}/{len(arguments)}"](_COMPILER, arguments)
        case _:
            raise AssertionError(f"gives several values or none: {node}")


def _binary(operator: str, left: s.Node, right: One) -> One:
    """Compile an operator that gives one value."""
    if operator == "//":
        if single(left):
            return scalar.alternative(compile_one(left), right)
        return scalar.alternative_to_maybe(compile_many(left), right)
    if operator in ("and", "or"):
        return (scalar.both if operator == "and" else scalar.either)(compile_one(left), right)
    return scalar.operate(OPERATIONS[operator], compile_one(left), right)


def _fold(node: s.Reduce) -> Callable[[Json, Json, Frame], Json]:
    """Compile the loop of a `reduce`."""
    return scalar.fold(compile_many(node.source), node.patterns[0], compile_many(node.update))


def _assign(operator: str, left: s.Node, right: s.Node) -> One:
    """Compile an assignment of one value."""
    if operator == "|=":
        return places.update(compile_places(left), compile_many(right))
    change, operand = _change(operator, left), compile_one(right)
    return lambda value, frame: change(value, operand(value, frame), frame)


def _change(operator: str, left: s.Node) -> places.Change:
    """Compile what an assignment other than `|=` does to its places."""
    targets = compile_places(left)
    if operator == "=":
        return places.put(targets)
    if operator == "//=":
        return places.combine(targets, lambda old, item, meter: old if truthy(old) else item)
    return places.combine(targets, OPERATIONS[operator[:-1]])


def compile_many(node: s.Node) -> Many:
    """Compile any part of the first lane."""
    if single(node):
        return stream.once(compile_one(node))
    match node:
        case s.Descend():
            return stream.descend
        case s.Comma(parts):
            return stream.comma(tuple(map(compile_many, parts)))
        case s.Pipe(parts):
            return stream.pipe(tuple(map(compile_many, parts)))
        case s.Iterate(base, optional):
            return stream.iterate(compile_many(base), optional)
        case s.Index(base, key, optional):
            return stream.access(
                compile_many(base),
                (compile_many(key),),
                lambda item, keys, meter: index(item, keys[0], meter),
                optional,
            )
        case s.Slice(base, low, high, optional):
            ends = (compile_many(low or _NULL), compile_many(high or _NULL))
            return stream.access(
                compile_many(base),
                ends,
                lambda item, keys, meter: slice_of(item, keys[0], keys[1], meter),
                optional,
            )
        case s.Text(parts, style):
            return stream.text(tuple(_piece(part, style or "text") for part in parts))
        case s.Object(pairs):
            return stream.object_of(tuple((compile_many(key), compile_many(item)) for key, item in pairs))
        case s.Negate(body):
            return stream.each(compile_many(body), negate)
        case s.Binary(operator, left, right):
            return _binary_many(operator, compile_many(left), compile_many(right))
        case s.If(((condition, body), *more), otherwise):
            rest = s.If(tuple(more), otherwise) if more else otherwise or s.Identity()
            return stream.conditional(compile_many(condition), compile_many(body), compile_many(rest))
        case s.Try(body, handler):
            return stream.attempt(compile_many(body), None if handler is None else compile_many(handler))
        case s.Bind(source, patterns, body):
            return stream.bind(compile_many(source), patterns[0], compile_many(body))
        case s.Foreach(source, patterns, start, update, extract):
            return stream.foreach(
                compile_many(source),
                patterns[0],
                compile_many(start),
                compile_many(update),
                compile_many(extract or s.Identity()),
            )
        case s.Assign(operator, left, right):
            change, operands = _change(operator, left), compile_many(right)
            return lambda value, frame: (change(value, item, frame) for item in operands(value, frame))
        case s.Call(name, arguments):
            return calls.SEVERAL[f"{name}/{len(arguments)}"](_COMPILER, arguments)
        case _:
            raise AssertionError(f"not of the first lane: {node}")


def _slice(item: Json, ends: tuple[Json, ...], meter: Meter) -> Json:
    """Return a slice between two ends."""
    return slice_of(item, ends[0], ends[1], meter)


def _piece(part: str | s.Node, style: str) -> Many:
    """Compile a piece of a string as text in its format."""
    return compile_many(s.Text((part,)) if isinstance(part, str) else s.Pipe((part, s.Format(style))))


def _binary_many(operator: str, left: Many, right: Many) -> Many:
    """Compile an operator on several values."""
    if operator == "//":
        return stream.alternative(left, right)
    if operator in ("and", "or"):
        return stream.logic(operator == "or", left, right)
    return stream.operate(OPERATIONS[operator], left, right)


def compile_places(node: s.Node) -> places.Places:
    """Compile an expression that names places in its input."""
    match node:
        case s.Identity():
            return places.here
        case s.Descend() | s.Call("recurse", ()):
            return places.descend
        case s.Index(base, key, optional):
            return places.indexed(compile_places(base), compile_one(key), optional)
        case s.Slice(base, low, high, optional):
            first, last = compile_one(low or _NULL), compile_one(high or _NULL)
            return places.indexed(
                compile_places(base),
                lambda value, frame: {"start": first(value, frame), "end": last(value, frame)},
                optional,
            )
        case s.Iterate(base, optional):
            return places.iterate(compile_places(base), optional)
        case s.Pipe(parts):
            return places.pipe(tuple(map(compile_places, parts)))
        case s.Comma(parts):
            return places.comma(tuple(map(compile_places, parts)))
        case s.Try(body, None):
            return places.attempt(compile_places(body))
        case s.If(branches, otherwise):
            compiled = tuple((compile_one(condition), compile_places(body)) for condition, body in branches)
            return places.conditional(compiled, compile_places(otherwise or s.Identity()))
        case s.Call("empty", ()):
            return places.nowhere
        case s.Call("first" | "last" as name, ()):
            return places.indexed(places.here, scalar.fixed(0 if name == "first" else -1), False)
        case s.Call("first", (argument,)):
            return places.first(compile_places(argument))
        case s.Call("select", (argument,)):
            return places.select(compile_many(argument))
        case s.Call("values", ()):
            return places.select(lambda value, frame: iter((value is not None,)))
        case _:
            raise AssertionError(f"names no places: {node}")


_COMPILER = calls.Compiler(compile_one, compile_many, compile_places)
