"""URI templates: simple expansion of top-level names, nothing else."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import ERROR_BASE, Faulted
from tenuto.language.uri_template import expand


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("https://a.example/pet/{petId}", {"petId": 1}, "https://a.example/pet/1"),
        ("/x/{var}", {"var": "value"}, "/x/value"),
        ("/x/{hello}", {"hello": "Hello World!"}, "/x/Hello%20World%21"),
        ("/x/{half}", {"half": "50%"}, "/x/50%25"),
        ("O{empty}X", {"empty": ""}, "OX"),
        ("O{undef}X", {}, "OX"),
        ("O{undef}X", None, "OX"),
        ("O{none}X", {"none": None}, "OX"),
        ("{a}{b}", {"a": True, "b": False}, "truefalse"),
        ("{n}", {"n": 1.5}, "1.5"),
        ("{n}", {"n": 2.0}, "2"),
        ("{pet.id}", {"pet.id": "a", "pet": {"id": "b"}}, "a"),
        ("{path}", {"path": "../admin?x#y@z"}, "..%2Fadmin%3Fx%23y%40z"),
        ("{name}", {"name": "Zoë"}, "Zo%C3%AB"),
        ("no variables", {"a": 1}, "no variables"),
    ],
)
def test_a_name_becomes_its_value(template: str, values: object, expected: str) -> None:
    """Each `{name}` is replaced by the property of that name, percent-encoded; missing gives nothing."""
    assert expected == expand(template, values)


@pytest.mark.parametrize(("value", "word"), [([1], "array"), ({"a": 1}, "object")])
def test_arrays_and_objects_are_an_expression_error(value: object, word: str) -> None:
    """The standard admits only scalars in a URI, so anything else is an `expression` error, 400."""
    with pytest.raises(Faulted, match=word) as caught:
        expand("/x/{list}", {"list": value})

    assert (ERROR_BASE + "expression", 400) == (caught.value.fault.type, caught.value.fault.status)


def test_operators_are_refused_by_name() -> None:
    """Level 2 and higher templates are named as such instead of being sent as they stand."""
    with pytest.raises(Faulted, match="operator"):
        expand("/x{?q}", {"q": 1})


@given(st.text())
def test_any_text_comes_back_by_decoding(text: str) -> None:
    """Encoding loses nothing, and no reserved character gets through."""
    encodable = text.encode("utf-8", "ignore").decode()

    expanded = expand("{x}", {"x": encodable})

    assert encodable == unquote(expanded)
    assert not set(expanded) & set("/?#[]@!$&'()*+,;=: ")
