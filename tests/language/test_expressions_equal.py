"""Both lanes give exactly what the real jq gives: values, their text, the order of members, and errors."""

from __future__ import annotations

import json
import math
from typing import Any

import jq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenuto.language.expressions import ExpressionSyntax, parse
from tenuto.language.expressions.numbers import read, settle, spell
from tests.language.jq_programs import PROGRAMS, VALUES, first_lane, real, second_lane

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))


def compare(text: str, value: Any, context: Any) -> None:
    """Compare all three ways; a limit of the first lane is an answer of its own."""
    expression = parse(text)
    expected = real(text, value, context)
    if expected[0] == "refused" or "-0" in expected[1]:
        return

    assert expected == second_lane(expression, value, context)
    if expression.inline:
        answer = first_lane(expression, value, context)
        assert answer[0] == "limit" or expected == answer


@pytest.mark.slow
@settings(SLOW, max_examples=1500)
@given(PROGRAMS, VALUES, VALUES)
def test_generated_programs_are_evaluated_as_jq_does(text: str, value: Any, context: Any) -> None:
    """The law of both lanes, over the grammar that we admit."""
    try:
        parse(text)
    except ExpressionSyntax as error:
        assert "key of an object" in error.message  # noqa: PT017 - jq refuses it as well
        return
    compare(text, value, context)


def test_a_wrong_lane_would_be_noticed() -> None:
    """Negative control: a program that means something else does not compare equal."""
    assert first_lane(parse(".a + 1"), {"a": 1}, None) != real(".a + 2", {"a": 1}, None)
    assert first_lane(parse("keys"), {"b": 1, "a": 1}, None) != real("keys_unsorted", {"b": 1, "a": 1}, None)
    assert first_lane(parse("1"), None, None) != real("1.0", None, None)


PAIRS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 0.5, 2**53, 2**53 + 1, -(2**53) - 1, 1e308, 5e-324, 1e17, 123456789012345678]),
)
BINARY = ["+", "-", "*", "/", "%", "==", "<", "<=", ">", ">=", "!="]
UNARY = [
    "floor",
    "ceil",
    "round",
    "sqrt",
    "fabs",
    "trunc",
    "tojson",
    "tostring",
    "length",
    "isnormal",
    "todate",
    "abs",
]


@pytest.mark.slow
@settings(SLOW, max_examples=300)
@given(PAIRS, PAIRS)
def test_numbers_are_computed_and_written_as_jq_does(left: float, right: float) -> None:
    """Doubles, exact whole numbers that are only passed on, and the text of each."""
    parts = [f"(try (.[0] {operator} .[1] | [., tojson]) catch .)" for operator in BINARY]
    parts += [f"(try (.[0] | {function} | [., tojson]) catch .)" for function in UNARY]
    parts += [
        "pow(.[0]; .[1])",
        "(.[0] - .[0] | tojson)",
        "([.[0], .[1], .[0]] | sort | unique)",
        "-.[0]",
    ]
    for part in parts:
        compare(part, [left, right], None)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=300)
def test_the_text_of_a_number_is_that_of_jq(value: float) -> None:
    """Untouched numbers and computed ones are written differently far out."""
    untouched, computed = jq.compile("., . + 0 | tojson").input_text(json.dumps(value)).all()

    assert untouched == spell(value)
    assert computed.lstrip("-") == spell(settle(value)).lstrip("-") or value == 0


@pytest.mark.parametrize(
    "text",
    ["1", "1.0", "1.10", "1e2", "1e-7", ".5", "1.", "007", "0.0", "1E+5", "12345678901234567890.5", "-1", "+5", "nan",
     "Infinity", "-inf", "1e400", "", "-", "0x1", "1_0", " 1", "１", "e5", "1e", "infx",
     "1e1100010", "-1e999999999", "1e1000000000", "1e1999999999999999999", "1e-1100010", "0.0e1100010", "0e1999999999999999999"],
)  # fmt: skip
def test_tonumber_reads_what_jq_reads(text: str) -> None:
    """The texts that are numbers, and their values."""
    if (number := read(text)) is not None and math.isinf(number) and "e" in text:
        compare("try (tonumber | tojson) catch .", text, None)  # its value has several texts
        return
    compare("try (tonumber | [., tojson]) catch .", text, None)


CASES = [
    "to_entries | from_entries", ".a.b.c", '.["a"]?', ".[0:2]", ".[-1:]", ".[:-1]", "..", "[..]", "tojson", "@csv", "@tsv", "@html",
    "@uri", "@base64", "@base64d", "sort", "group_by(.a)", "unique", "unique_by(length)", "min_by(.a)", "max_by(.a)", "add", "any",
    "all", "flatten", "flatten(1)", "reverse", "join(\", \")", "join(1)", "ascii_downcase", "explode | implode", "implode", "tonumber",
    "tostring", "type", "keys", "length", "paths", "[paths]", "[paths(type == \"number\")]", "transpose", "has(\"a\")", "has(0)", "del(.a)",
    "del(.[0], .[1])", "del(.[1:])", "del(..)", "to_entries", "with_entries(.value |= tostring)", "map_values(empty)", ".[] += 1",
    ".a.b |= 3", ".a[2] = 1", ".[-1] = 9", ".[1:] = [7, 8, 9]", ".a //= 4", ".. |= .", "path(..)", "[path(.a[]?)]", "getpath([\"a\", 0])",
    "contains(\"a\")", "inside([1, 2, 3])", "index(\"a\")", "rindex(1)", "indices([1])", "ltrimstr(\"a\")", "split(\",\")", ". / \",\"",
    ". * 2", ". + null", "isempty(.[])", "first, last", "first(.[])", "nth(1; .[])", "limit(2; .[])", "[skip(1; .[])]", "todate", "trim",
    "tojson | @json", "[.[]?]", "try error catch .", "try error(\"x\\(.)\") catch .", ".. | numbers", "[.. | scalars]", "abs", "toboolean",
    ". as [$a, [$b]] | [$a, $b]", ". as {a: $x, b: [$y]} | [$x, $y]", "[limit(3; ..)]", "if . then 1 elif false then 2 end",
    "[.[]? // \"none\"]", "(.a?, .b?) // 1", "reduce .[]? as $x (0; . + 1)", "[foreach .[]? as $x (0; . + 1; [., $x])]", "IN(1, null)",
    "any(.[]?; . == 1)", "[splits(\",\")]", "ascii", "walk(.)", "map(.)", "@text \"a\\(.)\"", "@json \"a\\(.)\\(1, 2)\"", "{a: .[]?}",
    "{(.[]? | strings): 1}", "pick(.a)", "tostream", "[getpath([\"a\", \"b\"], [\"c\"])?]", "to_entries[0].key", "sort_by(.a, .b)",
]  # fmt: skip
DATA = [
    None, True, 0, -3, 1.5, "abc", "a,b", "aGk=", " é ", [], [3, 1, 2], ["b", "a"], {}, {"a": 1, "b": None}, {"a": {"b": [1, {"c": 2}]}},
    [[1, 2], [3]], [{"a": 2, "b": 1}, {"a": 1}], [1, None, "x", [2], {"k": 1.0}], [104, 105], 1e17, 12345678901234567890, ["a", 1, True, None],
]  # fmt: skip


@pytest.mark.slow
def test_every_function_on_every_kind_of_value() -> None:
    """A table of programs times a table of values."""
    refused = []
    for text in CASES:
        try:
            expression = parse(text)
        except ExpressionSyntax:
            refused.append(text)
            continue
        for value in DATA:
            expected = real(text, value, None)
            assert expected == second_lane(expression, value, None), (text, value)
            if expression.inline:
                assert expected == first_lane(expression, value, None), (text, value)

    assert refused == ["ascii"]


def test_zero_has_no_sign_of_its_own_when_negated() -> None:
    """The one deliberate difference: jq writes `-(1 - 1)` as -0, both our lanes as 0."""
    expression = parse("-(. - .) | tojson")

    assert real(expression.text, 1, None) == ("value", '"-0"')
    assert first_lane(expression, 1, None) == second_lane(expression, 1, None) == ("value", '"0"')
