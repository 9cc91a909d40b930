"""What can go wrong with an expression, before and while it is evaluated."""

from __future__ import annotations

from typing import Final

from tenuto.errors import Invalid, TenutoError

TEXT_LIMIT: Final = 16_384
"""`expression-text`: the longest expression, in characters."""

NESTING_LIMIT: Final = 50
"""`expression-nesting`: how deep brackets, strings and bindings may nest in an expression."""

DEPTH_LIMIT: Final = 256
"""`expression-depth`: how deep a value may nest that the first lane walks through."""

STEP_LIMIT: Final = 250_000
"""`expression-steps`: how much work one evaluation in the first lane may do (an item, or 256 characters)."""

SIZE_LIMIT: Final = 1_048_576
"""`expression-size`: the longest string or array that the first lane builds by multiplying or filling."""

RESULT_LIMIT: Final = 4_194_304
"""`expression-result`: the size of a built result, in characters of JSON, about."""


class ExpressionSyntax(Invalid, ValueError):
    """The text is no expression that we admit; `offset` counts characters from its start."""

    code = "expression-syntax"

    def __init__(self, message: str, offset: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset


class ExpressionFailed(TenutoError):
    """An expression gave an error, no value, or passed a limit (named in `limit`)."""

    code = "expression-failed"

    def __init__(self, message: str, *, hint: str | None = None, limit: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


def over(limit: str, what: str) -> ExpressionFailed:
    """Return the failure of an evaluation that passed the named limit.

    >>> over("expression-steps", "more than 250000 steps").message
    'the expression passed the limit expression-steps: more than 250000 steps'
    """
    return ExpressionFailed(f"the expression passed the limit {limit}: {what}", limit=limit)
