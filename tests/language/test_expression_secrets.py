"""Secrets in expressions: references may be passed on and joined, never looked at."""

from __future__ import annotations

import jq
import msgspec
import pytest

from tenuto.governance import secrets as governance
from tenuto.language.expressions import REFERENCE, ExpressionSyntax, parse, reference, references

VARIABLES = {"__nonce__": "n1", "context": {"a": 1}}
TOKEN = "\x01n1:api.token\x01"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$secrets.api.token", TOKEN),
        ("$secret.api.token", TOKEN),
        ('$secrets["api"]["token"]', TOKEN),
        ('"Bearer \\($secrets.api.token)"', f"Bearer {TOKEN}"),
        ('@text "\\($secrets.api.token)"', TOKEN),
        ('"Bearer " + $secrets.api.token', f"Bearer {TOKEN}"),
        ("{headers: {auth: $secrets.api.token}}", {"headers": {"auth": TOKEN}}),
        ("[$secrets.api.token, 1]", [TOKEN, 1]),
        (". + {auth: $secrets.api.token}", {"x": [1], "auth": TOKEN}),
        ("if .x then $secrets.api.token else null end", TOKEN),
        (".y // $secrets.api.token", TOKEN),
        ('$secrets.api.token // "none"', TOKEN),
        (".x | $secrets.api.token", TOKEN),
        (".x as $x | [$x, $secrets.api.token]", [[1], TOKEN]),
        (".x | map({n: ., t: $secrets.api.token})", [{"n": 1, "t": TOKEN}]),
        (".auth = $secrets.api.token", {"x": [1], "auth": TOKEN}),
        ("$secrets.api.token?", TOKEN),
        ("$secrets.list[0]", "\x01n1:list.0\x01"),
        ('$secrets["a.b c"].d', "\x01n1:a%2Eb%20c.d\x01"),
    ],
)
def test_a_secret_is_passed_on_as_a_reference(text: str, value: object) -> None:
    """Both lanes give the reference where the secret would stand."""
    expression = parse(text)
    document = msgspec.json.encode(expression.envelope({"x": [1]}, VARIABLES, 0)).decode()

    assert expression.uses_secrets
    assert value == expression.evaluate({"x": [1]}, VARIABLES, 0)
    assert [value] == [
        msgspec.json.decode(text) for text in jq.compile(expression.program).input_text(document).first()
    ]


@pytest.mark.parametrize(
    "text",
    [
        "$secrets",
        "$secrets[.x]",
        '$secrets["a\\(.x)"]',
        "$secrets[]",
        "$secrets[1:2]",
        "$secrets | keys",
        "{$secrets}",
        "$secrets.a | length",
        "$secrets.a | @base64",
        '@base64 "\\($secrets.a)"',
        '@json "\\($secrets.a)"',
        '$secrets.a == "x"',
        '"x" | . == $secrets.a',
        "if $secrets.a then 1 else 2 end",
        "$secrets.a and true",
        "$secrets.a as $x | $x",
        "reduce $secrets.a as $x (0; 1)",
        "[$secrets.a] | length",
        "{a: $secrets.a}.a",
        "{($secrets.a): 1}",
        ".[$secrets.a]",
        "$secrets.a * 2",
        "-$secrets.a",
        "startswith($secrets.a)",
        "error($secrets.a)",
        "select($secrets.a)",
        "def f: $secrets.a; f",
        ".x -= $secrets.a",
        "[$secrets.a][]",
        "test($secrets.a)",
        "$secrets as $x | $x",
        "1 as $secrets | 1",
    ],
)
def test_a_secret_cannot_be_looked_at(text: str) -> None:
    """Whatever could tell something about its value, or lead it somewhere unseen, is refused when parsed."""
    with pytest.raises(ExpressionSyntax) as caught:
        parse(text)

    assert any(word in caught.value.message for word in ("secret", "reserved"))


def test_the_misplaced_secret_is_pointed_at() -> None:
    """The offset is that of the secret, the hint shows how it may be used."""
    with pytest.raises(ExpressionSyntax) as caught:
        parse("${ .a + ($secrets.b | length) }")

    assert caught.value.offset == len("${ .a + (")
    assert caught.value.message == "a secret can only be joined into a string or passed on"
    assert "$secrets.name.field" in str(caught.value.hint)


def test_the_paths_are_known_before_a_run() -> None:
    """So that a missing secret can be told before the first task."""
    parsed = parse('{a: $secrets.api.token, b: "\\($secret.db.password)"}')

    assert frozenset({("api", "token"), ("db", "password")}) == parsed.secrets
    assert parse(".secrets.a").secrets == frozenset()


def test_both_sides_agree_on_what_a_reference_is() -> None:
    """Expressions write references, governance reads them; neither may import the other."""
    written = reference("n-1_x", ["a.b", "ü/~", "0"])

    assert (REFERENCE.pattern, REFERENCE.flags) == (governance.REFERENCE.pattern, governance.REFERENCE.flags)
    assert REFERENCE.fullmatch(written) is not None
    assert governance.resolve(written, "n-1_x", {"a.b.ü/~.0": 5}.__getitem__) == 5
    assert references(f"x{written}y{reference('z', ['other'])}") == {"a.b", "other"}
