"""JSON Schemas: compiled without a network, answered in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.language.schemas import InvalidSchema, compile_schema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ({"name": "x", "age": 3}, None),
        ({"age": 3}, '"name" is a required property'),
        ({"name": "x", "age": "3"}, '/age: "3" is not of type "integer"'),
        ({"name": 1, "age": -1}, '/name: 1 is not of type "string" (and 1 more)'),
        ([], '[] is not of type "object"'),
    ],
)
def test_a_value_fits_or_is_told_where_it_does_not(value: Any, answer: str | None) -> None:
    """The path is a JSON pointer; further mistakes are counted."""
    told = compile_schema(PERSON).check(value)

    assert answer == told


@pytest.mark.parametrize(
    ("schema", "message", "steps"),
    [
        ({"type": "strin"}, "'strin' is not a JSON type", ("type",)),
        ({"properties": {"a": {"minimum": "x"}}}, 'is not of type "number"', ("properties", "a", "minimum")),
        ({"pattern": "("}, 'is not a "regex"', ("pattern",)),
        ({"$ref": "#/$defs/absent"}, "does not exist", ()),
        ({"$ref": "https://example.com/other.json"}, "Retrieval is disabled", ()),
        ({"$schema": "https://example.com/draft"}, "Unknown meta-schema", ()),
        (5, "is not of type", ()),
        ("x", "", ()),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, message: str, steps: tuple[str | int, ...]) -> None:
    """The place leads into the schema; nothing is fetched."""
    with pytest.raises(InvalidSchema) as refused:
        compile_schema(schema)

    assert message in refused.value.message
    assert steps == refused.value.steps


def test_older_drafts_are_read_as_such() -> None:
    """`$schema` names the draft: in draft 4 `exclusiveMinimum` is a flag."""
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "minimum": 1,
        "exclusiveMinimum": True,
    }

    assert compile_schema(schema).check(1) is not None
    assert compile_schema(schema).check(2) is None


def test_formats_are_annotations() -> None:
    """As draft 2020-12 has it by default."""
    assert compile_schema({"format": "email"}).check("nobody") is None


def test_a_long_value_is_not_repeated_whole() -> None:
    """Messages stay readable."""
    told = compile_schema({"type": "integer"}).check("x" * 10_000) or ""

    assert 0 < len(told) < 400
    assert told.endswith('is not of type "integer"')


def test_a_pattern_that_backtracks_without_end_does_not_match() -> None:
    """The effort is bounded, so that no document can stop the engine."""
    assert compile_schema({"pattern": "^(?=a)(a|a)+$"}).check("a" * 60 + "b") is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-10, 10) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "properties", "$ref", "$id", "$defs", "items", "enum", "pattern", "not", "x"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_any_value_is_compiled_or_refused(document: Any) -> None:
    """Nothing else is raised."""
    try:
        compile_schema(document).check(document)
    except InvalidSchema as error:
        told = error.message
    else:
        told = "compiled"

    assert told
