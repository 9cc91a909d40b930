"""Generated jq programs and data, and the real jq to compare with."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import jq
import msgspec
from hypothesis import strategies as st

from tenuto.language.expressions import Expression, ExpressionFailed

NOW = 1700000000.25

# ── data ─────────────────────────────────────────────────────────────────────────────────

_NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.sampled_from(
        [0.1, 1.0, -2.5, 1e-7, 1e17, 3e22, 2**53 + 1, 12345678901234567890, -(2**60), 0.00012, 1e5]
    ),
)
_STRINGS = st.one_of(
    st.sampled_from(
        ["", "a", "b", "a,b", "abc", " x ", "é€😀", '"\\\n', "10", "1.50", "null", "\x7f<&'>", "\x01"]
    ),
    st.text(max_size=5),
)
_KEYS = st.sampled_from(["a", "b", "c", "key", "value", "name"])

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _STRINGS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=3)),
    max_leaves=8,
)

# ── programs ─────────────────────────────────────────────────────────────────────────────

_UNARY = [
    "length",
    "keys",
    "keys_unsorted",
    "type",
    "not",
    "add",
    "any",
    "all",
    "flatten",
    "floor",
    "ceil",
    "round",
    "sqrt",
    "abs",
    "fabs",
    "trunc",
    "tostring",
    "tonumber",
    "tojson",
    "ascii_downcase",
    "ascii_upcase",
    "explode",
    "implode",
    "sort",
    "unique",
    "min",
    "max",
    "reverse",
    "to_entries",
    "from_entries",
    "first",
    "last",
    "transpose",
    "trim",
    "ltrim",
    "rtrim",
    "toboolean",
    "utf8bytelength",
    "isinfinite",
    "isnan",
    "isnormal",
    "todate",
    "error",
    "paths",
    "recurse",
    "values",
    "nulls",
    "strings",
    "numbers",
    "arrays",
    "objects",
    "iterables",
    "scalars",
    "booleans",
    "empty",
    "infinite",
    "@text",
    "@json",
    "@html",
    "@uri",
    "@csv",
    "@tsv",
    "@base64",
    "@base64d",
]
_OF_VALUE = [
    "has",
    "in",
    "contains",
    "inside",
    "startswith",
    "endswith",
    "ltrimstr",
    "rtrimstr",
    "trimstr",
    "split",
    "join",
    "index",
    "rindex",
    "indices",
    "getpath",
    "delpaths",
    "nth",
    "error",
]
_OF_STREAM = [
    "map",
    "select",
    "sort_by",
    "group_by",
    "unique_by",
    "min_by",
    "max_by",
    "any",
    "all",
    "map_values",
    "with_entries",
    "add",
    "isempty",
    "first",
    "last",
    "paths",
]
_OPERATORS = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "//"]
_ASSIGNMENTS = ["=", "|=", "+=", "-=", "*=", "//="]


def _names(*words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words)


_LITERALS = st.one_of(
    st.sampled_from(
        ["0", "1", "2", "-1", "0.5", "1.10", "1e2", "1e-7", "100000000000000000000", "null", "true", "false"]
    ),
    _STRINGS.map(json.dumps),
)
_PLACES = st.sampled_from(
    [".", ".a", ".b", ".[0]", ".[-1]", ".[]", ".[]?", ".a?", ".a.b", ".[1:]", ".[:-1]?", '.["c"]', ".."]
)
_LEAVES = st.one_of(_PLACES, _LITERALS, _names("$context", "$context.a", "[]", "{}"), st.sampled_from(_UNARY))


def _paths(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Programs that name places, most of the time."""
    return st.one_of(
        _PLACES,
        st.tuples(_PLACES, _PLACES).map(" | ".join),
        st.tuples(_PLACES, _PLACES).map(", ".join),
        st.builds("{} | select({})".format, _PLACES, inner),
        st.builds("if {} then {} else {} end".format, _PLACES, _PLACES, _PLACES),
        st.builds("first({})".format, _PLACES),
    ).map("({})".format)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Programs made of smaller ones, in every form of the first lane and some of the second."""
    two = st.tuples(inner, inner)
    three = st.tuples(inner, inner, inner)
    return st.one_of(
        two.map(lambda p: f"({p[0]} | {p[1]})"),
        two.map(lambda p: f"({p[0]}, {p[1]})"),
        st.tuples(inner, st.sampled_from(_OPERATORS), inner).map(lambda p: f"({' '.join(p)})"),
        inner.map("[{}]".format),
        inner.map("(-{})".format),
        inner.map("({})?".format),
        two.map(lambda p: f"{{a: {p[0]}, b: ({p[1]})}}"),
        two.map(lambda p: f"{{({p[0]}): ({p[1]}), $context}}"),
        three.map(lambda p: f"(if {p[0]} then {p[1]} else {p[2]} end)"),
        three.map(lambda p: f"(if {p[0]} then {p[1]} elif {p[2]} then 1 end)"),
        inner.map("(try ({}))".format),
        two.map(lambda p: f"(try ({p[0]}) catch ({p[1]}))"),
        two.map(lambda p: f"({p[0]} as $x | {p[1]}, $x)"),
        two.map(lambda p: f"({p[0]} as [$x, {{a: $y}}] | [$x, $y, {p[1]}])"),
        two.map(lambda p: f"({p[0]} as {{a: $x, $b, $c: [$d]}} | [$x, $b, $c, $d, {p[1]}])"),
        three.map(lambda p: f"(reduce ({p[0]}) as $x ({p[1]}; [., $x, {p[2]}]))"),
        three.map(lambda p: f"(reduce ({p[0]}) as $x ({p[1]}; {p[2]}))"),
        three.map(lambda p: f"[foreach ({p[0]}) as $x ({p[1]}; {p[2]}; [$x, .])]"),
        two.map(lambda p: f'"x\\({p[0]})y\\({p[1]})"'),
        st.tuples(_names("@json", "@base64", "@html", "@uri", "@csv", "@text"), inner).map(
            lambda p: f'{p[0]} "<\\({p[1]})>"'
        ),
        two.map(lambda p: f"({p[0]})[{p[1]}]"),
        three.map(lambda p: f"({p[0]})[{p[1]}:{p[2]}]"),
        inner.map("({})[]?".format),
        st.tuples(st.sampled_from(_OF_VALUE), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(st.sampled_from(_OF_STREAM), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(_names("any", "all", "IN"), inner, inner).map(lambda p: f"{p[0]}({p[1]}; {p[2]})"),
        st.tuples(_names("limit", "skip", "nth"), st.integers(0, 3), inner).map(
            lambda p: f"{p[0]}({p[1]}; {p[2]})"
        ),
        st.tuples(_paths(inner), st.sampled_from(_ASSIGNMENTS), inner).map(lambda p: f"({' '.join(p)})"),
        st.tuples(_names("del", "path", "pick"), _paths(inner)).map(lambda p: f"{p[0]}({p[1]})"),
        two.map(lambda p: f"setpath({p[0]}; {p[1]})"),
        st.tuples(st.integers(0, 3), st.integers(0, 4)).map(lambda p: f"[range({p[0]}; {p[1]})]"),
        inner.map("[range([{}] | length)]".format),
        inner.map("flatten({})".format),
        two.map(lambda p: f"(label $out | {p[0]}, break $out, {p[1]})"),
        two.map(lambda p: f"(def f: {p[0]}; def g(h; $z): h, $z; g(f; {p[1]}))"),
        two.map(lambda p: f"({p[0]} as [$x] ?// $x | [$x, {p[1]}])"),
    )


PROGRAMS = st.recursive(_LEAVES, _larger, max_leaves=6)

# ── outcomes ─────────────────────────────────────────────────────────────────────────────

compiled = lru_cache(maxsize=512)(jq.compile)

Outcome = tuple[str, str]
"""`value` with its JSON, `none`, or `error` with its message."""


def real(text: str, value: Any, context: Any) -> Outcome:
    """What the real jq gives for a program as it was written, without any of our code."""
    program = (
        f". as $in | $in.c as $context | $in.i | try [first({text}\n) | tojson]"
        ' catch (if type == "string" then . else tojson + " (not a string)" end)'
    )
    try:
        answer = compiled(program).input_text(json.dumps({"i": value, "c": context})).first()
    except ValueError as refused:
        return "refused", str(refused)
    return _outcome(answer)


def second_lane(expression: Expression, value: Any, context: Any) -> Outcome:
    """What the program that we write for the second lane gives."""
    document = msgspec.json.encode(expression.envelope(value, {"context": context}, NOW)).decode()
    return _outcome(compiled(expression.program).input_text(document).first())


def first_lane(expression: Expression, value: Any, context: Any) -> Outcome:
    """What the first lane gives."""
    try:
        return "value", _canonical(expression.evaluate(value, {"context": context}, NOW))
    except ExpressionFailed as failed:
        if failed.limit is not None:
            return "limit", failed.limit
        return ("none", "") if "gave no value" in failed.message else ("error", failed.message)


def _outcome(answer: Any) -> Outcome:
    """Read the answer of the wrapped programs."""
    if isinstance(answer, str):
        return "error", answer
    return ("value", _canonical(json.loads(answer[0]))) if answer else ("none", "")


def _canonical(value: Any) -> str:
    """JSON as Python writes it: order of members kept, 1 and 1.0 told apart, 1e16 and 10000000000000000 not."""
    return json.dumps(_whole(value))


def _whole(value: Any) -> Any:
    """Write large whole numbers in one way."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and abs(value) >= 2**53 else value
