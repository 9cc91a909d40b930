"""JSON Schemas as documents use them: compiled once, checked without a network, answered in one sentence."""

from __future__ import annotations

from typing import Any, Final

import jsonschema_rs

from tenuto.engine.model import Json
from tenuto.language.load import pointer_of

# A pattern that backtracks more often than this does not match.
MAXIMUM_BACKTRACKS: Final = 100_000
MAXIMUM_MESSAGE: Final = 300

TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")


class InvalidSchema(ValueError):
    """A schema is none; `message` says why, `steps` lead to the part of it that is wrong."""

    def __init__(self, message: str, steps: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.message = message
        self.steps = steps


class Schema:
    """A compiled JSON Schema."""

    __slots__ = ("_validator",)

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def check(self, value: Json) -> str | None:
        """Return None if the value fits; otherwise where it does not, and what was expected.

        >>> compile_schema({"properties": {"age": {"type": "integer"}}}).check({"age": "x"})
        '/age: "x" is not of type "integer"'
        """
        try:
            errors = list(self._validator.iter_errors(value))
        except ValueError as error:
            return f"it cannot be checked: {error}"
        if not errors:
            return None
        first = errors[0]
        message = first.message
        if len(message) > MAXIMUM_MESSAGE:
            message = "…" + message[-MAXIMUM_MESSAGE:]
        path = pointer_of(first.instance_path)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return f"{path}: {message}{more}" if path else f"{message}{more}"


def compile_schema(document: Json) -> Schema:
    """Compile a JSON Schema, of the draft that `$schema` names, 2020-12 otherwise.

    `format` is an annotation, as that draft has it. References lead into the schema itself;
    nothing is fetched.

    Raises:
        InvalidSchema: It is not a JSON Schema.
    """
    if isinstance(document, str):
        # The library would read it as JSON.
        raise InvalidSchema(f'{document[:40]!r} is not of types "boolean", "object"', ())
    try:
        validator = jsonschema_rs.validator_for(
            document,
            offline=True,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=MAXIMUM_BACKTRACKS),
        )
    except jsonschema_rs.ValidationError as error:
        raise _invalid(document, error) from None
    except ValueError as error:
        raise InvalidSchema(str(error).split("\n", 1)[0], ()) from None
    return Schema(validator)


def _invalid(document: Json, error: Any) -> InvalidSchema:
    steps: tuple[str | int, ...] = tuple(error.instance_path)
    message = error.message
    if steps and steps[-1] == "type" and "anyOf" in message:
        message = f"{_part(document, steps)!r} is not a JSON type; those are {', '.join(TYPES)}"
    return InvalidSchema(message, steps)


def _part(document: Json, steps: tuple[str | int, ...]) -> Json:
    """Return a part of a schema; for steps inside what it refers to, None."""
    for step in steps:
        if not (isinstance(document, dict) and step in document):
            return None
        document = document[step]
    return document
