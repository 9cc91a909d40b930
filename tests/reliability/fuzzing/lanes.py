"""Both lanes of expressions: what one evaluates, the other does as well, and to the same."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

import msgspec

from tenuto.engine.model import Json
from tenuto.language.expressions import Expression, ExpressionFailed
from tenuto.runtime.evaluation import Evaluator
from tests.reliability.fuzzing.language import JQ, VALUES, WORDS, evaluated, variables_of
from tests.reliability.fuzzing.target import Target

NOW: Final = 1_700_000_000.25


@functools.cache
def _lanes() -> tuple[asyncio.Runner, Evaluator]:
    """Return what evaluates in a child process; both end with this process."""
    return asyncio.Runner(), Evaluator(size=1)


def close() -> None:
    """End what evaluates, if it was begun."""
    if _lanes.cache_info().currsize:
        runner, evaluator = _lanes()
        runner.run(evaluator.close())
        runner.close()
        _lanes.cache_clear()


def _first(expression: Expression, value: Json) -> tuple[str, object]:
    try:
        return "value", msgspec.json.encode(evaluated(expression, value))
    except ExpressionFailed as failed:
        return ("limit", None) if failed.limit else ("failed", None)


def _second(expression: Expression, value: Json) -> tuple[str, object]:
    runner, evaluator = _lanes()
    work = evaluator.evaluate(expression.text, value, variables_of(expression), NOW)
    try:
        return "value", msgspec.json.encode(runner.run(work))
    except ExpressionFailed as failed:
        return ("limit", None) if failed.limit else ("failed", None)


def both(data: bytes) -> None:
    """Evaluate an expression in both lanes: both fail, or both give the same. Limits are each lane's own."""
    text = data.decode(errors="replace")
    expression = Expression(text)
    value = VALUES[len(text) % len(VALUES)]
    second = _second(expression, value)
    if not expression.inline:
        return
    first = _first(expression, value)
    if "limit" in (first[0], second[0]) or b"-0" in (str(first[1]) + str(second[1])).encode():
        return
    assert first == second, f"{text!r}: the first lane gives {first}, the second {second}"


TARGETS: Final = (Target("both lanes", both, lambda: [text.encode() for text in JQ], words=WORDS),)
