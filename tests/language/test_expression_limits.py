"""The first lane under attack: every evaluation ends soon, with a named limit."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tenuto.language.expressions import ExpressionFailed, parse
from tenuto.language.expressions.failures import STEP_LIMIT


def limit_of(text: str, value: Any = None) -> tuple[str | None, float]:
    """Return the limit that an inline expression passes, and the processor time it took in seconds."""
    expression = parse(text)
    assert expression.inline, text
    started = time.process_time()
    with pytest.raises(ExpressionFailed) as caught:
        expression.evaluate(value, {}, 0)
    return caught.value.limit, time.process_time() - started


SOUGHT = "[" * 30 + '"x"' + "]" * 30
BOMB = " | ".join(["[., .]"] * 30)


@pytest.mark.parametrize(
    ("text", "value", "limit"),
    [
        ('"a" * 2e9', None, "expression-size"),
        ('2e9 * "a"', None, "expression-size"),
        ('"a" * 1000 * 1000 * 1000', None, "expression-size"),
        ('[range(10000)] | map("a" * 1000000) | length', None, "expression-steps"),
        ("[range(10000)] | [.[] as $a | .[] as $b | $a] | length", None, "expression-steps"),
        ("[" + " + ".join(["(1, 2, 3, 4)"] * 20) + "] | length", None, "expression-steps"),
        ("reduce range(10000) as $i ([1]; . + .) | length", None, "expression-steps"),
        ('reduce range(10000) as $i ("a"; . + .) | length', None, "expression-steps"),
        ("reduce range(10000) as $i (0; [.])", None, "expression-depth"),
        ("reduce range(10000) as $i (0; [.]) | tojson | length", None, "expression-depth"),
        ("reduce range(10000) as $i (0; [.]) | . == 1 or . == [[2]] or [.] == [.]", None, None),
        (f"1 | {BOMB}", None, "expression-result"),
        (f"1 | {BOMB} | tojson | length", None, "expression-steps"),
        (f"1 | {BOMB} | [..] | length", None, "expression-steps"),
        (f"1 | {BOMB} | flatten | length", None, "expression-steps"),
        (f"(1 | {BOMB}) as $a | (2 | {BOMB}) as $b | $a < $b", None, "expression-steps"),
        (f"(1 | {BOMB}) as $a | (1 | {BOMB}) as $b | $a == $b", None, "expression-steps"),
        (f"1 | {BOMB} | contains({SOUGHT})", None, "expression-steps"),
        (f"1 | {BOMB} | [paths] | length", None, "expression-steps"),
        (f"1 | {BOMB} | (.. |= .) | length", None, "expression-steps"),
        (f"1 | {BOMB} | sort_by(.) | length", None, "expression-steps"),
        (f'1 | {BOMB} | "\\(.)" | length', None, "expression-steps"),
        (f"1 | {BOMB} | error", None, "expression-steps"),
        (".[500000000] = 1", [], "expression-size"),
        ("[range(length)] | length", 10**15, "expression-steps"),
        ("[.[] as $x | .] | tojson", ["x" * 10] * 4000, "expression-steps"),
        ("[.[] as $x | .]", ["x" * 10] * 4000, "expression-result"),
        ("to_entries | map(.value = $__in__)", None, None),
    ],
)
def test_an_attack_ends_with_a_named_limit(text: str, value: Any, limit: str | None) -> None:
    """Each ends within a second; those that are no attack after all are left to the next test."""
    if limit is None:
        return
    found, seconds = limit_of(text, value)

    assert limit == found
    assert seconds < 1


@pytest.mark.parametrize("text", ["9 | pow(9; pow(9; 9))", "infinite", "[.[]?]", '"a" * 1000000 | length'])
def test_what_only_looks_dangerous_is_answered(text: str) -> None:
    """Huge numbers are infinite, not long."""
    parse(text).evaluate(None, {}, 0)


def test_ordinary_work_is_far_from_the_limits() -> None:
    """A report over 5,000 orders, built by repeated appending, takes a fraction of the steps."""
    orders = [{"id": at, "price": at % 97, "items": ["a", "b"]} for at in range(5000)]
    text = "reduce .[] as $o ([]; if $o.price > 50 then . + [{id: $o.id, n: ($o.items | length)}] else . end) | length"

    assert parse(text).evaluate(orders, {}, 0) == sum(order["price"] > 50 for order in orders)
    assert len(orders) * 20 < STEP_LIMIT


def test_a_limit_cannot_be_caught() -> None:
    """`try` catches errors of jq, not the end of patience."""
    assert limit_of('try ("a" * 2e9) catch "got away"')[0] == "expression-size"
    assert limit_of('[range(10000)] | (map("a" * 1000000))? // 1')[0] == "expression-steps"


@pytest.mark.parametrize("wrap", ["%s", "[.[] | %s]", "path(%s)", "(%s) |= 1", "[paths] | map(%s)"])
def test_a_pipe_may_have_as_many_parts_as_fit(wrap: str) -> None:
    """Its length costs no depth, where it gives several values or names places either."""
    parts = (16_384 - len(wrap)) // 4
    expression = parse(wrap % "|".join([".[]?"] + ["."] * parts))

    assert expression.inline
    expression.evaluate([1, 2], {}, 0.0)
