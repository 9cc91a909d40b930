"""How OpenAPI writes parameters: the styles of 3.x and the collection formats of Swagger 2.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from tenuto.connectors.content import scalar_text
from tenuto.plugin import configuration_fault, validation_fault

_DEFAULT_STYLES: Final = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_STYLES: Final = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_DELIMITERS: Final = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "tabDelimited": "%09"}
_COLLECTION_FORMATS: Final = {
    "csv": (None, False),
    "ssv": ("spaceDelimited", False),
    "tsv": ("tabDelimited", False),
    "pipes": ("pipeDelimited", False),
    "multi": ("form", True),
}
_RESERVED: Final = ":/?#[]@!$&'()*+,;="


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """How one parameter is written: its place, style, and whether its parts are spread out."""

    name: str
    place: str
    style: str
    explode: bool
    reserved: bool = False
    as_json: bool = False

    def quote(self, value: Any) -> str:
        """Return a scalar, percent-encoded as its place demands; headers are not encoded."""
        text = "" if value is None else scalar_text(value)
        if self.place == "header":
            return text
        return quote(text, safe=_RESERVED if self.reserved else "")


def style_of(parameter: Mapping[str, Any]) -> Style:
    """Return how a parameter object of either version says that it is to be written."""
    name, place = str(parameter.get("name")), str(parameter.get("in"))
    if "content" in parameter:
        return Style(name=name, place=place, style=_DEFAULT_STYLES[place], explode=False, as_json=True)
    if "collectionFormat" in parameter:
        kind = parameter["collectionFormat"]
        if kind not in _COLLECTION_FORMATS:
            raise configuration_fault(f"the parameter `{name}` has the unknown collection format {kind!r}")
        style, explode = _COLLECTION_FORMATS[kind]
        if place in ("path", "header"):
            style = None if kind == "csv" else style
        return Style(name=name, place=place, style=style or _DEFAULT_STYLES[place], explode=explode)
    style = parameter.get("style") or _DEFAULT_STYLES[place]
    if style not in _STYLES[place]:
        raise configuration_fault(
            f"the parameter `{name}` has the style {style!r}, which a {place} parameter cannot have"
        )
    # Swagger 2.0 arrays without a collection format are comma separated; it has no `schema` here.
    spread = style == "form" and ("schema" in parameter or "type" not in parameter)
    return Style(
        name=name,
        place=place,
        style=style,
        explode=bool(parameter.get("explode", spread)),
        reserved=bool(parameter.get("allowReserved")),
    )


def in_path(style: Style, value: Any) -> str:
    """Return the text that takes the place of `{name}` in a path.

    >>> in_path(Style(name="id", place="path", style="matrix", explode=True), [3, 4])
    ';id=3;id=4'
    """
    text = _path_text(style, value)
    if text in (".", "..") or (text == "" and style.style == "simple"):
        raise validation_fault(f"the path parameter `{style.name}` must not be {text or 'empty'!r}")
    return text


def _path_text(style: Style, value: Any) -> str:
    if style.style == "label":
        return "." + _joined(style, value, "." if style.explode else ",")
    if style.style != "matrix":
        return _joined(style, value, _DELIMITERS.get(style.style, ","))
    name = quote(style.name, safe="")
    if isinstance(value, Mapping) and style.explode:
        return "".join(f";{quote(key, safe='')}={style.quote(item)}" for key, item in value.items())
    if isinstance(value, list) and style.explode:
        return "".join(f";{name}={style.quote(item)}" for item in value)
    text = _joined(style, value, ",")
    return f";{name}={text}" if text else f";{name}"


def in_header(style: Style, value: Any) -> str:
    """Return the value of a header parameter."""
    delimiter = {"spaceDelimited": " ", "pipeDelimited": "|", "tabDelimited": "\t"}.get(style.style, ",")
    return _joined(style, value, delimiter)


def in_query(style: Style, value: Any) -> list[str]:
    """Return the `name=value` pieces of a query or cookie parameter, already encoded.

    >>> in_query(Style(name="ids", place="query", style="pipeDelimited", explode=False), ["a", "b c"])
    ['ids=a%7Cb%20c']
    """
    name = quote(style.name, safe="")
    if style.as_json:
        return [f"{name}={style.quote(msgspec.json.encode(value).decode())}"]
    if style.style == "deepObject":
        if not isinstance(value, Mapping):
            raise validation_fault(f"the parameter `{style.name}` must be an object")
        return [f"{key}={style.quote(item)}" for key, item in _deep(name, value)]
    if isinstance(value, list) and style.explode:
        return [f"{name}={style.quote(item)}" for item in value]
    if isinstance(value, Mapping) and style.explode:
        return [f"{quote(key, safe='')}={style.quote(item)}" for key, item in value.items()]
    return [f"{name}={_joined(style, value, _DELIMITERS.get(style.style, ','))}"]


def _deep(name: str, value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, item in value.items():
        inner = f"{name}%5B{quote(key, safe='')}%5D"
        if isinstance(item, Mapping):
            pairs.extend(_deep(inner, item))
        elif isinstance(item, list):
            pairs.extend((inner, member) for member in item)
        else:
            pairs.append((inner, item))
    return pairs


def _joined(style: Style, value: Any, delimiter: str) -> str:
    if style.as_json:
        return style.quote(msgspec.json.encode(value).decode())
    if isinstance(value, Mapping):
        between = "=" if style.explode else delimiter
        keep = style.place == "header"
        return delimiter.join(
            f"{key if keep else quote(key, safe='')}{between}{style.quote(item)}"
            for key, item in value.items()
        )
    if isinstance(value, list):
        return delimiter.join(style.quote(item) for item in value)
    return style.quote(value)
