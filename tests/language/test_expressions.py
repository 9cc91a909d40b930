"""Expressions: what is admitted, in which lane, what is refused and how the refusal reads."""

from __future__ import annotations

import jq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tenuto.errors import TenutoError
from tenuto.language.expressions import ExpressionFailed, ExpressionSyntax, is_expression, parse
from tenuto.language.expressions.calls import SEVERAL, SINGLE
from tenuto.language.expressions.failures import NESTING_LIMIT, TEXT_LIMIT
from tenuto.language.expressions.functions import FIRST_LANE, REFUSED, SECOND_LANE


def refusal(text: str) -> ExpressionSyntax:
    """Parse what must be refused."""
    with pytest.raises(ExpressionSyntax) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        ("${ .a }", True),
        (" ${.a} \n", True),
        ("${\n .a |\n .b }", True),
        (".a", False),
        ("Hello ${ .a }", False),
        ("${ .a } there", False),
        ("", False),
        (None, False),
        ({"a": "${ .a }"}, False),
    ],
)
def test_only_a_whole_string_is_an_expression(value: object, whole: bool) -> None:
    """`${ ... }` from end to end; text around it makes it a plain string."""
    assert whole is is_expression(value)


def test_with_and_without_the_sign_is_the_same() -> None:
    """`${ .a }` and `.a` are the same program."""
    assert parse("${ .a.b }").text == parse(".a.b").text == ".a.b"


def test_parsing_is_remembered() -> None:
    """The same text gives the same object."""
    assert parse("${ .once }") is parse("${ .once }")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (".a", set()),
        ("$context.x + $item", {"context", "item"}),
        ("$a as $b | $b + $c", {"a", "c"}),
        (". as [$x, {y: $z}] | $x + $z + $w", {"w"}),
        ("reduce .[] as $x ($start; . + $x)", {"start"}),
        ("foreach .[] as $x (0; . + $x; [$x, $y])", {"y"}),
        ("def f($a; g): $a + $b; f(1; $c)", {"b", "c"}),
        ('{$context, "x": "\\($deep)"}', {"context", "deep"}),
        (". as {($key): $v} | $v", {"key"}),
        ("$secrets.a.b", set()),
    ],
)
def test_variables_are_those_that_must_be_given(text: str, names: set[str]) -> None:
    """What an expression binds itself is not asked for."""
    assert frozenset(names) == parse(text).variables


@pytest.mark.parametrize(
    ("text", "inline"),
    [
        (".a.b[0].c?", True),
        ('map(select(.price > 10) | .name) | join(", ")', True),
        ("[range(10000)]", True),
        ("[range(10001)]", False),
        ("[range(.n)]", False),
        ("[range(.items | length)]", True),
        (".a |= . + 1 | del(.b[0])", True),
        ("reduce .[] as $x (0; . + $x)", True),
        ("now | todate", True),
        ("first(.[] | select(.ok))", True),
        ('test("^a")', False),
        ('gsub("a"; "b")', False),
        ("walk(.)", False),
        ("until(. > 3; . + 1)", False),
        ("recurse(.children[])", False),
        ("def f: 1; f", False),
        ("label $x | break $x", False),
        (". as [$a] ?// $a | $a", False),
        ("fromjson", False),
        ("@urid", False),
        ('has("a", "b")', False),
        ('getpath(["a"]) = 1', False),
    ],
)
def test_the_lane_follows_from_the_text(text: str, inline: bool) -> None:
    """What is total and bounded by its data runs in process; regular expressions, recursion and the like do not."""
    assert inline is parse(text).inline


@pytest.mark.parametrize(
    ("text", "word", "reason"),
    [
        ("env.PATH", "env", "environment"),
        ("$ENV.PATH", "$ENV", "environment"),
        ("input", "input", "no further input"),
        ("[inputs]", "inputs", "no further input"),
        ("debug", "debug", "terminal"),
        ("debug(1)", "debug", "terminal"),
        ("stderr", "stderr", "terminal"),
        ("input_filename", "input_filename", "no further input"),
        ("input_line_number", "input_line_number", "no further input"),
        ("halt", "halt", "end the process"),
        ("halt_error", "halt_error", "end the process"),
        ("get_search_list", "get_search_list", "files"),
        ("modulemeta", "modulemeta", "files"),
        ('import "a" as a; 1', "import", "files"),
        ('include "a"; 1', "include", "files"),
        ("$__loc__", "$__loc__", "internal"),
        ("$__prog_args", "$__prog_args", "internal"),
        ("$__nonce__", "$__nonce__", "internal"),
        ("builtins", "builtins", "jq program"),
        ("@sh", "@sh", "shell"),
        ('@sh "a\\(.)"', "@sh", "shell"),
        ('format("sh")', "format", "@json"),
        ("m::f", "m::f", ""),
        ("$m::f", "$m::f", "internal"),
        ("_plus(1; 2)", "_plus", ""),
    ],
)
def test_what_reaches_outside_is_refused_with_a_reason(text: str, word: str, reason: str) -> None:
    """Environment, files, input, output, modules and jq's own insides."""
    error = refusal(text)

    assert word in error.message
    assert reason in (error.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "''.__class__.__mro__",
        "{{ 7 * 7 }}",
        ".constructor.constructor('return process')()",
        "__import__('os').system('id')",
        "f'{open(\"/etc/passwd\").read()}'",
        "().__class__.__bases__[0].__subclasses__()",
        "lambda: 1",
        "eval('1')",
        'exec("import os")',
        "T(java.lang.Runtime).getRuntime().exec('id')",
        "${T(java.lang.Runtime)}",
        "#{7*7}",
        "<%= 7 * 7 %>",
        '[].constructor.constructor("return this")()',
        "(() => 1)()",
        "`id`",
        "$(id)",
        "os.environ",
        "request|attr('__class__')",
        "x := 1",
    ],
)
def test_escapes_of_other_languages_are_syntax_errors(text: str) -> None:
    """Published sandbox escapes mean nothing here."""
    refusal(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [(".__class__", "__class__"), (".constructor", "constructor"), ('.["__proto__"]', "__proto__")],
)
def test_names_of_other_languages_are_just_keys(text: str, key: str) -> None:
    """An expression reaches members of JSON objects and nothing of the host language."""
    assert parse(text).evaluate({}, {}, 0) is None
    assert parse(text).evaluate({key: 1}, {}, 0) == 1


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        (".a | lenght", 5, "unknown function lenght", "did you mean length?"),
        ("${ .a | map_value(.) }", 8, "unknown function map_value", "did you mean map_values?"),
        ("split(1; 2; 3)", 0, "split takes 1 or 2 arguments, not 3", "separated by ;"),
        ("map", 0, "map takes 1 argument, not 0", ""),
        ("@bas64", 0, "unknown format @bas64", "did you mean @base64?"),
        (".a |", 4, "expected a value, found the end of the expression", ""),
        (".a )", 3, "unexpected )", ""),
        ("(.a", 3, "expected ) to close the bracket, found the end of the expression", ""),
        ("[1, 2", 5, "expected ] to close the array, found the end of the expression", ""),
        ('"abc', 0, "the string is not closed", 'close it with "'),
        ('"a\\qb"', 2, "invalid escape \\q", "escapes are"),
        ('"\\ud83d"', 1, "half of a surrogate pair", ""),
        ("if . then 1", 11, "expected end to close the if, found the end of the expression", ""),
        (".a == 1 == 2", 8, "== cannot follow another one of its kind", "brackets"),
        ("${ .a } and ${ .b }", 6, "unexpected }", "only one ${ }"),
        (".a . b", 5, "expected a name, a string or [ after the dot, found b", ""),
        ("'a'", 0, 'unexpected character "\'"', 'strings are written with "'),
        (".a && .b", 3, "unexpected character '&'", ""),
        (". a", 2, "expected no space between the dot and the name, found a", ""),
        ("{1: 2}", 1, "expected a key; write a computed one in brackets, found 1", ""),
        ("", 0, "an expression is expected here", "write ."),
        ("${ }", 3, "an expression is expected here", "write ."),
        ("break $x", 0, "there is no label $x here", "label $x"),
        ("1e999", 0, "out of the range of a double", ""),
        ("def map(f): 1; 2", 4, "the function map exists already", "another name"),
        (". as $__x | 1", 5, "the name $__x is reserved", "another name"),
        ("leaf_paths", 0, "unknown function leaf_paths", "paths(scalars)"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, offset: int, message: str, hint: str) -> None:
    """The offset counts from the start of the text as given; hints name the nearest word."""
    error = refusal(text)

    assert (offset, "expression-syntax") == (error.offset, error.code)
    assert message in error.message
    assert hint in (error.hint or "")
    assert isinstance(error, TenutoError | ValueError)


def test_every_function_of_jq_is_admitted_or_refused() -> None:
    """The tables name exactly the functions that the jq package has, each once."""
    real = set(jq.first("builtins", None))
    known = FIRST_LANE | SECOND_LANE

    assert FIRST_LANE & SECOND_LANE == set()
    assert {key for key in real if key.rpartition("/")[0] not in REFUSED} == known
    assert set(SINGLE) | set(SEVERAL) | {"range/3"} == FIRST_LANE


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(
        alphabet=st.one_of(st.sampled_from(list('.|,()[]{}$@"\\?:;=<>+-*/%#as if1e\n')), st.characters()),
        max_size=40,
    )
)
@example("\0")
@example('"\\u')
@example('"\\')
@example("#")
@example("\ud800")
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Nothing but `ExpressionSyntax` comes out of the parser, with an offset inside the text."""
    offset = 0
    try:
        parse(text)
    except ExpressionSyntax as error:
        offset = error.offset

    assert 0 <= offset <= len(text)


WORDS = [
    ".",
    ".a",
    "..",
    "|",
    ",",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    ";",
    '"',
    "\\(",
    "$x",
    "as",
    "if",
    "then",
    "elif",
    "else",
    "end",
    "try",
    "catch",
    "reduce",
    "foreach",
    "def",
    "f:",
    "label",
    "break",
    "and",
    "or",
    "not",
    "//",
    "?//",
    "?",
    "=",
    "|=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "<",
    "1",
    "0.5",
    "null",
    "true",
    "map(",
    "range(",
    "@json",
    '"a"',
    "$secrets.a",
]


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(WORDS), max_size=15).map(" ".join))
def test_what_is_admitted_jq_admits(text: str) -> None:
    """Whatever our parser takes, the program written from it compiles in jq."""
    try:
        expression = parse(text)
    except ExpressionSyntax:
        return
    jq.compile(expression.program)


NESTS = [
    "(",
    "[",
    "{a:",
    "-",
    ".[",
    '"\\(',
    "if ",
    "1 as $x | ",
    "try ",
    ". as [",
    "reduce ",
    "def f: ",
    "1 // ",
]


@pytest.mark.parametrize("opening", NESTS)
@pytest.mark.parametrize("depth", [NESTING_LIMIT // 4, NESTING_LIMIT * 2, 3000])
def test_deep_nesting_is_refused_not_followed(opening: str, depth: int) -> None:
    """Brackets, strings, bindings: past the limit it is a syntax error, never a RecursionError."""
    with pytest.raises(ExpressionSyntax):
        parse(opening * depth)


@pytest.mark.parametrize("text", ["1" + "+1" * 150, ".a" * 150, "." + "[0]" * 150, "-" * 10 + "1"])
def test_long_chains_are_fine(text: str) -> None:
    """What is long but flat is no nesting; the program of it compiles too."""
    jq.compile(parse(text).program)


@pytest.mark.parametrize("text", ["1" + "+1" * 3000, ".a" * 3000, "." + "?" * 3000, "-" * 3000 + "1"])
def test_endless_chains_are_refused(text: str) -> None:
    """Even flat chains have a limit, since the parts made of them nest."""
    assert "expression-nesting" in refusal(text).message


def test_long_text_is_refused() -> None:
    """The text limit is named."""
    parse('"' + "a" * (TEXT_LIMIT - 2) + '"')

    assert "expression-text" in refusal('"' + "a" * TEXT_LIMIT + '"').message


def test_no_value_is_a_failure() -> None:
    """`empty` gives nothing to go on with."""
    with pytest.raises(ExpressionFailed, match="gave no value"):
        parse("empty").evaluate(None, {}, 0)


def test_the_first_value_counts() -> None:
    """Later values are never computed."""
    assert parse('1, error("never")').evaluate(None, {}, 0) == 1


def test_a_missing_variable_is_a_failure() -> None:
    """The interpreter gives what `variables` names; a hole is told by name."""
    with pytest.raises(ExpressionFailed, match=r"\$context is not defined"):
        parse("$context.a").evaluate(None, {}, 0)


def test_now_is_the_recorded_time() -> None:
    """The clock is an argument."""
    assert parse("now").evaluate(None, {}, 12.5) == 12.5
    assert parse("now | todate").evaluate(None, {}, 1700000000.9) == "2023-11-14T22:13:20Z"


def test_the_input_is_never_changed() -> None:
    """Assignments copy what they change, and only that."""
    value = {"a": [1, {"b": 2}], "c": {"d": [3]}}

    changed = parse(".a[1].b = 5 | .a += [6] | del(.a[0]) | .c.d[0] |= . + 1").evaluate(value, {}, 0)

    assert changed == {"a": [{"b": 5}, 6], "c": {"d": [4]}}
    assert value == {"a": [1, {"b": 2}], "c": {"d": [3]}}


def test_the_second_lane_is_not_evaluated_here() -> None:
    """Asking for it in process is told, not done."""
    with pytest.raises(ExpressionFailed, match="second lane"):
        parse('test("a")').evaluate("a", {}, 0)
