"""OpenAPI's parameter styles, against the table of the specification (values as in RFC 6570)."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.connectors.serialization import in_header, in_path, in_query, style_of
from tenuto.errors import ERROR_BASE, Faulted

COLOR: Any = "blue"
COLORS: Any = ["blue", "black", "brown"]
MIX: Any = {"R": 100, "G": 200, "B": 150}


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        ("simple", False, COLOR, "blue"),
        ("simple", False, COLORS, "blue,black,brown"),
        ("simple", True, COLORS, "blue,black,brown"),
        ("simple", False, MIX, "R,100,G,200,B,150"),
        ("simple", True, MIX, "R=100,G=200,B=150"),
        ("label", False, COLOR, ".blue"),
        ("label", False, COLORS, ".blue,black,brown"),
        ("label", True, COLORS, ".blue.black.brown"),
        ("label", False, MIX, ".R,100,G,200,B,150"),
        ("label", True, MIX, ".R=100.G=200.B=150"),
        ("matrix", False, "", ";color"),
        ("matrix", False, COLOR, ";color=blue"),
        ("matrix", False, COLORS, ";color=blue,black,brown"),
        ("matrix", True, COLORS, ";color=blue;color=black;color=brown"),
        ("matrix", False, MIX, ";color=R,100,G,200,B,150"),
        ("matrix", True, MIX, ";R=100;G=200;B=150"),
        ("simple", False, "a/b c,d", "a%2Fb%20c%2Cd"),
    ],
)
def test_path_styles(style: str, explode: bool, value: Any, expected: str) -> None:
    """Each path style writes scalars, arrays and objects as the specification's table shows."""
    parameter = {"name": "color", "in": "path", "style": style, "explode": explode, "schema": {}}

    assert expected == in_path(style_of(parameter), value)


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        (None, None, COLOR, ["color=blue"]),
        (None, None, COLORS, ["color=blue", "color=black", "color=brown"]),
        ("form", False, COLORS, ["color=blue,black,brown"]),
        ("form", False, MIX, ["color=R,100,G,200,B,150"]),
        ("form", True, MIX, ["R=100", "G=200", "B=150"]),
        ("spaceDelimited", False, COLORS, ["color=blue%20black%20brown"]),
        ("pipeDelimited", False, COLORS, ["color=blue%7Cblack%7Cbrown"]),
        ("pipeDelimited", False, MIX, ["color=R%7C100%7CG%7C200%7CB%7C150"]),
        ("deepObject", True, MIX, ["color%5BR%5D=100", "color%5BG%5D=200", "color%5BB%5D=150"]),
        ("deepObject", True, {"a": {"b": [1, 2]}}, ["color%5Ba%5D%5Bb%5D=1", "color%5Ba%5D%5Bb%5D=2"]),
        ("form", True, "a&b=c d", ["color=a%26b%3Dc%20d"]),
        ("form", True, True, ["color=true"]),
    ],
)
def test_query_styles(style: str | None, explode: bool | None, value: Any, expected: list[str]) -> None:
    """Each query style writes scalars, arrays and objects as the specification's table shows."""
    given = {"style": style, "explode": explode}
    parameter = {
        "name": "color",
        "in": "query",
        "schema": {},
        **{k: v for k, v in given.items() if v is not None},
    }

    assert expected == in_query(style_of(parameter), value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (None, ["color=blue,black,brown"]),
        ("csv", ["color=blue,black,brown"]),
        ("ssv", ["color=blue%20black%20brown"]),
        ("tsv", ["color=blue%09black%09brown"]),
        ("pipes", ["color=blue%7Cblack%7Cbrown"]),
        ("multi", ["color=blue", "color=black", "color=brown"]),
    ],
)
def test_collection_formats_of_swagger(kind: str | None, expected: list[str]) -> None:
    """Swagger 2.0 names its separators otherwise; without one, arrays are comma separated."""
    named = {"collectionFormat": kind} if kind else {}

    assert expected == in_query(style_of({"name": "color", "in": "query", "type": "array", **named}), COLORS)


def test_headers_and_json_parameters() -> None:
    """Headers are not percent-encoded; a parameter with `content` is JSON."""
    header = {"name": "X-C", "in": "header", "schema": {}}
    json = {"name": "q", "in": "query", "content": {"application/json": {}}}
    reserved = {"name": "q", "in": "query", "schema": {}, "allowReserved": True}

    assert "a b,c/d" == in_header(style_of(header), ["a b", "c/d"])
    assert "R=100,G=200,B=150" == in_header(style_of({**header, "explode": True}), MIX)
    assert ["q=%7B%22a%22%3A1%7D"] == in_query(style_of(json), {"a": 1})
    assert ["q=a/b:c"] == in_query(style_of(reserved), "a/b:c")


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_path_parameter_cannot_climb(value: str) -> None:
    """An empty value or a step of dots would call another path than the document's."""
    with pytest.raises(Faulted, match="must not be") as caught:
        in_path(style_of({"name": "id", "in": "path", "schema": {}}), value)

    assert ERROR_BASE + "validation" == caught.value.fault.type


@pytest.mark.parametrize(
    "parameter",
    [
        {"name": "a", "in": "path", "style": "form"},
        {"name": "a", "in": "header", "style": "deepObject"},
        {"name": "a", "in": "query", "collectionFormat": "commas"},
    ],
)
def test_a_style_out_of_place_is_named(parameter: dict[str, Any]) -> None:
    """A document that asks for a style where it cannot be is a configuration fault."""
    with pytest.raises(Faulted, match="`a`") as caught:
        style_of(parameter)

    assert ERROR_BASE + "configuration" == caught.value.fault.type
