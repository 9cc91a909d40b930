"""The second lane's text: write a parsed expression as a jq program again, every part in brackets.

What jq is given is always written here, from what our parser understood; never the text it came from.
Names that depend on the machine are replaced: `now` is the recorded time, local time is UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from tenuto.language.expressions import syntax as s

_UTC: Final = {"localtime": "gmtime", "strflocaltime": "strftime"}


def program(node: s.Node, variables: Iterable[str]) -> str:
    """Return the whole program: it takes what `envelope` makes.

    It gives `[text]` with the first value as JSON, `[]` if there is none, or the error's message.
    """
    names = "".join(f" | $__in.v[{_quote(name)}] as ${name}" for name in sorted(variables))
    start = f". as $__in{names} | $__in.s as $__secrets | $__in.n as $__now | def now: $__now; $__in.i"
    failed = 'if type == "string" then . else tojson + " (not a string)" end'
    return f"{start} | try [first({write(node)}) | tojson] catch ({failed})"


def envelope(
    value: Any, variables: dict[str, Any], references: dict[tuple[str, ...], str], now: float
) -> Any:
    """Return the input of a program: the expression's own input and all that it may refer to."""
    secrets = {_key(path): text for path, text in references.items()}
    return {"i": value, "v": variables, "s": secrets, "n": now}


def _key(path: tuple[str, ...]) -> str:
    """Return the key under which the envelope holds the reference to a secret."""
    return json.dumps(path)


def _quote(text: str) -> str:
    """Return a string as a literal."""
    return json.dumps(text)


def write(node: s.Node) -> str:
    """Return a node as jq text.

    >>> write(s.Index(s.Identity(), s.Text(("name",))))
    '(.["name"])'
    """
    match node:
        case s.Identity():
            return "."
        case s.Descend():
            return "(..)"
        case s.Number(text):
            return f"({text})"
        case s.Constant(value):
            return json.dumps(value)
        case s.Text(parts, style):
            inner = "".join(
                _quote(part)[1:-1] if isinstance(part, str) else f"\\({write(part)})" for part in parts
            )
            return f'(@{style} "{inner}")' if style else f'"{inner}"'
        case s.Format(name):
            return f"(@{name})"
        case s.Variable(name):
            return f"${name}"
        case s.Secret(path):
            return f"$__secrets[{_quote(_key(path))}]"
        case s.Index(base, key, optional):
            return f"({write(base)}[{write(key)}]{_mark(optional)})"
        case s.Slice(base, low, high, optional):
            ends = f"{write(low or s.Constant(None))}:{write(high or s.Constant(None))}"
            return f"({write(base)}[{ends}]{_mark(optional)})"
        case s.Iterate(base, optional):
            return f"({write(base)}[]{_mark(optional)})"
        case s.Array(body):
            return "[]" if body is None else f"[{write(body)}]"
        case s.Object(pairs):
            return "{" + ", ".join(f"({_write_key(key)}): ({write(value)})" for key, value in pairs) + "}"
        case s.Negate(body):
            return f"({write(body)} | if . == 0 then . else -. end)"
        case s.Pipe(parts):
            return f"({' | '.join(map(write, parts))})"
        case s.Comma(parts):
            return f"({', '.join(map(write, parts))})"
        case s.Binary(operator, left, right) | s.Assign(operator, left, right):
            return f"({write(left)} {operator} {write(right)})"
        case _:
            return _write_control(node)


def _write_key(key: s.Node) -> str:
    """Return a key as jq text; a constant that is no string fails when evaluated, not when compiled."""
    return write(key) if isinstance(key, s.Text) else f"{write(key)} as $__key | $__key"


def _mark(optional: bool) -> str:
    """Return the mark of an optional access."""
    return "?" if optional else ""


def _write_control(node: s.Node) -> str:
    """Return a node of control flow, a call or a definition as jq text."""
    match node:
        case s.If(branches, otherwise):
            words = ("if", *("elif",) * (len(branches) - 1))
            tests = " ".join(
                f"{word} {write(condition)} then {write(body)}"
                for word, (condition, body) in zip(words, branches, strict=True)
            )
            return f"({tests} else {write(otherwise or s.Identity())} end)"
        case s.Try(body, handler):
            caught = "" if handler is None else f" catch ({write(handler)})"
            return f"(try ({write(body)}){caught})"
        case s.Bind(source, patterns, body):
            return f"({write(source)} as {_patterns(patterns)} | {write(body)})"
        case s.Reduce(source, patterns, start, update):
            return f"(reduce {write(source)} as {_patterns(patterns)} ({write(start)}; {write(update)}))"
        case s.Foreach(source, patterns, start, update, extract):
            last = "" if extract is None else f"; {write(extract)}"
            return (
                f"(foreach {write(source)} as {_patterns(patterns)} ({write(start)}; {write(update)}{last}))"
            )
        case s.Call(name, arguments, _, own):
            bare = name if own else _UTC.get(name, name)
            return f"{bare}({'; '.join(map(write, arguments))})" if arguments else bare
        case s.Define(name, parameters, body, rest):
            listed = f"({'; '.join(parameters)})" if parameters else ""
            return f"(def {name}{listed}: {write(body)}; {write(rest)})"
        case s.Label(name, body):
            return f"(label ${name} | {write(body)})"
        case s.Break(name):
            return f"(break ${name})"
        case _:
            raise AssertionError(f"unknown form: {node}")


def _patterns(patterns: tuple[s.Pattern, ...]) -> str:
    """Return patterns as jq text."""
    return " ?// ".join(map(_pattern, patterns))


def _pattern(pattern: s.Pattern) -> str:
    """Return a pattern as jq text."""
    match pattern:
        case s.Name(name):
            return f"${name}"
        case s.Items(parts):
            return f"[{', '.join(map(_pattern, parts))}]"
        case s.Members(parts):
            return "{" + ", ".join(_member(*part) for part in parts) + "}"


def _member(key: s.Node, name: str | None, inner: s.Pattern | None) -> str:
    """Return one member of an object pattern as jq text."""
    if name is not None:
        return f"${name}" if inner is None else f"${name}: {_pattern(inner)}"
    assert inner is not None
    return f"({_write_key(key)}): {_pattern(inner)}"
