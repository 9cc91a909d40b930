"""Reading arguments that a workflow's author wrote, with faults that name what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from tenuto.numbers import whole_number
from tenuto.plugin import configuration_fault

NAMES_SHOWN: Final = 20


def text_of(properties: Mapping[str, Any], name: str, where: str) -> str:
    """Return a required, non-empty string property, or raise a `configuration` fault naming it."""
    value = properties.get(name)
    if not isinstance(value, str) or not value:
        raise configuration_fault(f"`{where}.{name}` must be a non-empty string")
    return value


def texts_of(properties: Mapping[str, Any], name: str, where: str) -> list[str]:
    """Return an optional array of strings, or raise a `configuration` fault naming it."""
    value = properties.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise configuration_fault(f"`{where}.{name}` must be an array of strings")
    return value


def object_of(properties: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """Return an optional object property (empty if absent), or raise a `configuration` fault naming it."""
    value = properties.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise configuration_fault(f"`{where}.{name}` must be an object")
    return value


def endpoint_of(endpoint: Any, where: str = "endpoint") -> tuple[str, Mapping[str, Any] | None]:
    """Return the URI and the authentication of an endpoint, which is a string or an object."""
    if isinstance(endpoint, str):
        return endpoint, None
    if isinstance(endpoint, Mapping) and isinstance(endpoint.get("uri"), str):
        authentication = endpoint.get("authentication")
        if authentication is None or isinstance(authentication, Mapping):
            return endpoint["uri"], authentication
        raise configuration_fault(f"`{where}.authentication` must be an object")
    raise configuration_fault(f"`{where}` must be a URI or an object with `uri`")


def is_place(name: str, items: Sequence[Any]) -> bool:
    """Tell whether a step of a JSON pointer is the place of an item of an array."""
    return whole_number(name, len(items) - 1) is not None


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a hint for an unknown name: the known one that is most like it, or else the first of them."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    shown = ", ".join(known[:NAMES_SHOWN]) or "none"
    return f"there are: {shown}{' and more' if len(known) > NAMES_SHOWN else ''}"
