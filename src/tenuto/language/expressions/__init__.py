"""Expressions of workflow documents: jq, parsed by us, evaluated in two lanes.

An expression that is total and cheap is compiled to Python closures and evaluated in process (`inline`).
Any other is a jq program for a child process that can be killed; `program` is its text. Both lanes give
what jq 1.8 gives. See docs/reference/expressions.md for the grammar, the limits and the differences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from tenuto.language.expressions.check import first_lane, secrets, variables
from tenuto.language.expressions.direct import FALLBACK, compile_direct
from tenuto.language.expressions.failures import ExpressionFailed, ExpressionSyntax
from tenuto.language.expressions.grammar import parse_program
from tenuto.language.expressions.inline import compile_program
from tenuto.language.expressions.rewrite import envelope, program
from tenuto.language.expressions.secret import REFERENCE, reference, references

__all__ = [
    "CACHE_SIZE",
    "REFERENCE",
    "Expression",
    "ExpressionFailed",
    "ExpressionSyntax",
    "is_expression",
    "parse",
    "reference",
    "references",
]

CACHE_SIZE: Final = 4096
"""`expression-cache`: how many parsed expressions are kept."""

_WHOLE: Final = re.compile(r"\s*\$\{(.*)\}\s*", re.DOTALL)


class Expression:
    """A parsed expression, ready to be evaluated any number of times.

    `text` is the jq program without `${ }`; `inline` tells the first lane; `variables` are the names used
    without `$`, those bound inside left out; `secrets` are the paths used below `$secrets`; `program` is
    the text for the second lane.
    """

    __slots__ = ("_direct", "_general", "inline", "program", "secrets", "text", "variables")

    def __init__(self, source: str) -> None:
        match = _WHOLE.fullmatch(source)
        start, end = match.span(1) if match else (0, len(source))
        node = parse_program(source, start, end)
        self.text: str = source[start:end].strip()
        self.secrets: frozenset[tuple[str, ...]] = secrets(node)
        self.variables: frozenset[str] = variables(node)
        self.inline: bool = first_lane(node)
        self.program: str = program(node, self.variables)
        self._direct = compile_direct(node) if self.inline else None
        self._general = compile_program(node) if self.inline else None

    @property
    def uses_secrets(self) -> bool:
        """Tell whether the value may hold references to secrets."""
        return bool(self.secrets)

    def evaluate(self, value: Any, variables: Mapping[str, Any], now: float) -> Any:
        """Return the first value, in process; only for an `inline` expression.

        `now` is the recorded time in seconds since the epoch. With `uses_secrets`, `variables["__nonce__"]`
        marks the references. Raises `ExpressionFailed`. The value may share parts with what was given.
        """
        if self._direct is not None:
            try:
                return self._direct(value, variables)
            except FALLBACK:
                pass
        if self._general is None:
            raise ExpressionFailed(
                "the expression needs the second lane", hint="evaluate it in a child process"
            )
        return self._general(value, variables, now)

    def envelope(self, value: Any, variables: Mapping[str, Any], now: float) -> Any:
        """Return the input that `program` takes; raises `ExpressionFailed` where a variable is missing."""
        for name in (*sorted(self.variables), *(("__nonce__",) if self.secrets else ())):
            if name not in variables:
                raise ExpressionFailed(f"${name} is not defined here")
        marked = {path: reference(variables["__nonce__"], path) for path in self.secrets}
        return envelope(value, {name: variables[name] for name in self.variables}, marked, now)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@lru_cache(maxsize=CACHE_SIZE)
def parse(text: str) -> Expression:
    """Parse `${ expr }` or `expr`; raises `ExpressionSyntax` with the place of the mistake.

    >>> parse("${ .name + $context.suffix }").variables
    frozenset({'context'})
    """
    return Expression(text)


def is_expression(value: object) -> bool:
    """Tell whether a value is a string that as a whole is `${ ... }`.

    >>> is_expression("${ .name }"), is_expression("Hello ${ .name }")
    (True, False)
    """
    return isinstance(value, str) and "${" in value and _WHOLE.fullmatch(value) is not None
