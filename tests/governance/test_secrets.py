"""Secrets: references become values at the last moment, values become masks on the way back."""

from __future__ import annotations

import base64
import html
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import Faulted
from tenuto.governance.secrets import MASK, redact, resolve

SECRETS: dict[str, Any] = {
    "api.token": "s3cr3t",
    "db": {"user": "u", "port": 5432},
    "port": 5432,
    "ref": "\x01n:port\x01",
}


def reference(path: str, nonce: str = "n") -> str:
    """A reference as expressions write it."""
    return f"\x01{nonce}:{path}\x01"


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        (reference("api.token"), "s3cr3t"),
        (f"Bearer {reference('api.token')}!", "Bearer s3cr3t!"),
        (reference("port"), 5432),
        (f":{reference('port')}", ":5432"),
        (reference("db"), {"user": "u", "port": 5432}),
        (f"x{reference('db')}", 'x{"user":"u","port":5432}'),
        ([{"a": [reference("api.token")]}], [{"a": ["s3cr3t"]}]),
        ({reference("api.token"): 1}, {"s3cr3t": 1}),
        (reference("api.token") + reference("port"), "s3cr3t5432"),
        (reference("api%2Etoken"), "s3cr3t"),
        (reference("ref"), "\x01n:port\x01"),
    ],
)
def test_references_become_values(value: Any, resolved: Any) -> None:
    """Alone a reference may become anything, inside a text it becomes text; a secret's own text is final."""
    assert resolved == resolve(value, "n", SECRETS.__getitem__)


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        reference("api.token", "other"),
        "\x01",
        "\x01n:api.token",
        "\x01n:\x01",
        f"a{reference('x', 'm')}b",
        5,
        None,
    ],
)
def test_only_the_runs_own_references_count(value: Any) -> None:
    """Data from outside that looks like a reference stays data."""
    assert value == resolve(value, "n", SECRETS.__getitem__)


def test_what_holds_no_reference_is_given_back_as_it_is() -> None:
    """The common case costs one encoding and no copy."""
    value = {"a": ["b", {"c": 1}]}

    assert resolve(value, "n", SECRETS.__getitem__) is value


def test_an_unknown_secret_is_a_fault() -> None:
    """The fault names the secret."""
    with pytest.raises(Faulted) as caught:
        resolve(reference("nope.field"), "n", SECRETS.__getitem__)

    assert "'nope.field'" in str(caught.value.fault.detail)


FORMS = [
    str,
    lambda secret: quote(secret, safe=""),
    quote_plus,
    lambda secret: quote(secret, safe="").replace("%2F", "%2f"),
    json.dumps,
    lambda secret: json.dumps(secret, ensure_ascii=False),
    html.escape,
    lambda secret: base64.b64encode(secret.encode()).decode(),
    lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
    lambda secret: base64.b64encode(f"x{secret}y".encode()).decode(),
    lambda secret: base64.urlsafe_b64encode(f"xy{secret}".encode()).decode(),
]


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=8, max_size=30),
    st.sampled_from(FORMS),
    st.sampled_from(["", "before ", "=&"]),
    st.sampled_from(["", " after", ">"]),
)
def test_no_form_of_a_secret_gets_through(secret: str, form: Any, before: str, after: str) -> None:
    """As it is, in percent, JSON, HTML encoding and in Base64 of longer data."""
    masked = redact({"log": [before + form(secret) + after]}, [secret])["log"][0]

    assert MASK in masked
    assert form(secret) not in masked


def test_without_its_forms_a_secret_would_get_through() -> None:
    """Negative control: masking the plain text alone leaves the encoded one readable."""
    sent = base64.b64encode(b"user:s3cr3t-value").decode()

    assert sent == sent.replace("s3cr3t-value", MASK)
    assert sent != redact(sent, ["s3cr3t-value"])


@pytest.mark.parametrize(
    ("value", "secrets", "masked"),
    [
        ("abc", ["abc"], MASK),
        ("abcd", ["abc"], "abcd"),
        ("say secret twice: secret", ["secret"], f"say {MASK} twice: {MASK}"),
        ({"secret": 1}, ["secret"], {MASK: 1}),
        ("long-secret-and-more", ["long-secret", "long-secret-and-more"], MASK),
        ("a.c", ["abc"], "a.c"),
        ("a+b*c?", ["a+b*c?"], MASK),
        ("text", ["", "other"], "text"),
        (5, ["5"], 5),
        ("text", [], "text"),
    ],
)
def test_masking_takes_texts_as_texts(value: Any, secrets: list[str], masked: Any) -> None:
    """The longest match first, short secrets only as a whole, nothing is a pattern."""
    assert masked == redact(value, secrets)
