"""Pydantic models, known by what they can do: pydantic itself is neither needed nor imported."""

from __future__ import annotations

from typing import Any

import msgspec

from tenuto.authoring.forms.form import EVERY_KIND, Definitions, Form, Unfit, reference, wrong_type
from tenuto.authoring.forms.untyped import copy_json, order_key
from tenuto.engine.model import Json

_TELLS = ("__pydantic_core_schema__", "model_validate_json", "model_dump", "model_json_schema")


def is_model(kind: object) -> bool:
    """Whether a type is a pydantic model, version 2."""
    return isinstance(kind, type) and all(hasattr(kind, tell) for tell in _TELLS)


def model_form(kind: Any, name: str) -> Form:
    """Return the form of a pydantic model: its own JSON, if it comes back as the same value.

    Every value is read back when it is written, since serializers, validators, excluded and
    private fields may change it. Which fields were set explicitly (`model_fields_set`) is not kept.
    """
    has_sets = any(word in repr(kind.__pydantic_core_schema__) for word in ("'set'", "'frozenset'"))

    def write(value: Any) -> Json:
        if type(value) is not kind:
            raise wrong_type(name, value, kind)
        try:
            dumped = value.model_dump(mode="json", by_alias=True, round_trip=True, warnings="error")
            if has_sets:
                dumped = _sorted_sets(dumped, value.model_dump(by_alias=True, round_trip=True))
        except Exception as error:  # an author's serializer may raise whatever it likes
            if isinstance(error, RecursionError) or "Circular reference" in str(error):
                raise RecursionError from error
            raise Unfit(
                f"`{name}` could not be dumped as JSON: {_summary(error)}",
                "let its fields hold what they declare; bytes that are no text need ser_json_bytes and "
                'val_json_bytes="base64" in its model_config',
            ) from error
        written = copy_json(dumped)
        try:
            again = kind.model_validate_json(msgspec.json.encode(written))
        except Exception as error:
            raise _lossy(name, f"it is refused: {_summary(error)}") from error
        if again != value:
            raise _lossy(name, "it is another value")
        return written

    def read(data: Json) -> Any:
        try:
            return kind.model_validate_json(msgspec.json.encode(data))
        except Exception as error:
            raise Unfit(f"expected `{name}`: {_summary(error)}") from error

    def schema(definitions: Definitions) -> dict[str, Json]:
        if name not in definitions:
            template = reference(name)["$ref"] + ".{model}"
            members = kind.model_json_schema(ref_template=template)
            for inner, definition in members.pop("$defs", {}).items():
                definitions[f"{name}.{inner}"] = definition
            definitions[name] = members
        return reference(name)

    hashable = kind.__hash__ is not None
    if not hasattr(kind, "__pydantic_root_model__") or kind.__pydantic_root_model__:
        return Form(name, write, read, frozenset({kind}), EVERY_KIND, schema, hashable)
    return Form(name, write, read, frozenset({kind}), frozenset({"object"}), schema, hashable)


def _lossy(name: str, what: str) -> Unfit:
    return Unfit(
        f"`{name}` does not survive its own JSON: read back, {what}",
        "its serializers, aliases, private or excluded fields, fields typed Any or values of undeclared "
        "subclasses lose something: declare what the fields hold",
    )


def _summary(error: Exception) -> str:
    """Say in one line what pydantic found, without the value, which may be a secret."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return type(error).__name__
    problems = errors(include_url=False, include_context=False, include_input=False)
    if not problems:
        return type(error).__name__
    place = ".".join(str(step) for step in problems[0]["loc"])
    return f"at `{place}`: {problems[0]['msg']}" if place else str(problems[0]["msg"])


def _sorted_sets(dumped: Any, value: Any) -> Any:
    """Return the dump with everything in one order that is a set in the model."""
    if isinstance(value, set | frozenset) and isinstance(dumped, list):
        return sorted(dumped, key=order_key)
    if isinstance(value, dict) and isinstance(dumped, dict):
        pairs = zip(dumped.items(), value.values(), strict=True)
        return {name: _sorted_sets(item, held) for (name, item), held in pairs}
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_sorted_sets(item, held) for item, held in zip(dumped, value, strict=True)]
    return dumped
