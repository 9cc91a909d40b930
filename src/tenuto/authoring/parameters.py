"""The parameters of a function: its arguments as one JSON object, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from tenuto.authoring.data import Codec
from tenuto.authoring.forms.form import Definitions, did_you_mean, found, listed
from tenuto.authoring.forms.hints import hints_of
from tenuto.authoring.forms.untyped import copy_json
from tenuto.engine.model import Json
from tenuto.errors import Invalid, InvalidInput

_REQUIRED: Final[Any] = inspect.Parameter.empty
_Kinds = inspect._ParameterKind


class Parameters:
    """Writes the arguments of calls of one function as JSON objects and reads them back.

    Defaults are written too, so that a later change of a default changes no recorded call.
    """

    __slots__ = (
        "_codecs",
        "_defaults",
        "_keyword_only",
        "_members",
        "_positional",
        "_positional_only",
        "names",
        "where",
    )

    names: tuple[str, ...]

    def __init__(self, function: Callable[..., Any], where: str, skip: int = 0) -> None:
        """Read the signature, without its first `skip` parameters; raise Invalid for what cannot pass."""
        hints = hints_of(function, where)
        declared = list(inspect.signature(function).parameters.values())[skip:]
        for parameter in declared:
            if parameter.kind in {_Kinds.VAR_POSITIONAL, _Kinds.VAR_KEYWORD}:
                stars = "*" if parameter.kind is _Kinds.VAR_POSITIONAL else "**"
                raise Invalid(
                    f"{where}: `{stars}{parameter.name}` has no one name under which it could be recorded",
                    hint="declare each parameter, or one that is a list or a dict",
                )
        self.where = where
        self.names = tuple(parameter.name for parameter in declared)
        self._codecs: dict[str, Codec[Any]] = {}
        self._defaults: dict[str, Json] = {}
        for parameter in declared:
            of_parameter = f"parameter `{parameter.name}` of {where}"
            codec: Codec[Any] = Codec(hints.get(parameter.name, _REQUIRED), of_parameter)
            self._codecs[parameter.name] = codec
            if parameter.default is not _REQUIRED:
                self._defaults[parameter.name] = _default(codec, parameter.default)
        self._members = tuple((name, codec.encode) for name, codec in self._codecs.items())
        self._keyword_only = frozenset(p.name for p in declared if p.kind is _Kinds.KEYWORD_ONLY)
        self._positional = tuple(name for name in self.names if name not in self._keyword_only)
        only = [p.name for p in declared if p.kind is _Kinds.POSITIONAL_ONLY]
        self._positional_only = frozenset(only)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Json]:
        """Return a call's arguments by name; raise InvalidInput for wrong, missing or unfit ones."""
        given = len(args)
        if given > len(self._positional):
            raise InvalidInput(
                f"{self.where} takes at most {len(self._positional)} arguments by position, found {given}",
                hint=f"its parameters are {self._listed()}",
            )
        data: dict[str, Json] = {}
        named = 0
        for index, (name, encode) in enumerate(self._members):
            if index < given:
                data[name] = encode(args[index])
            elif name in kwargs and name not in self._positional_only:
                named += 1
                data[name] = encode(kwargs[name])
            elif name in self._defaults:
                data[name] = copy_json(self._defaults[name])
            else:
                raise self._missing(name, kwargs)
        if named != len(kwargs):
            raise self._unexpected(kwargs, given)
        return data

    def decode(self, data: Json) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments to call the function with; raise InvalidInput if the object does not fit."""
        if type(data) is not dict:
            raise InvalidInput(
                f"{self.where}: expected an object with one member for each parameter, found {found(data)}",
                hint=f"its parameters are {self._listed()}",
            )
        values: dict[str, Any] = {}
        for name, codec in self._codecs.items():
            if name in data:
                values[name] = codec.decode(data[name])
            elif name in self._defaults:
                values[name] = codec.decode(self._defaults[name])
            else:
                raise self._missing(name, data)
        if not data.keys() <= self._codecs.keys():
            raise self._unexpected(data, 0)
        if not self._keyword_only:
            return tuple(values.values()), {}
        args = tuple(values[name] for name in self._positional)
        return args, {name: values[name] for name in self.names if name in self._keyword_only}

    def schema(self) -> dict[str, Json]:
        """Return the JSON Schema of what `encode` gives; members with a default need not be given."""
        definitions: Definitions = {}
        properties: dict[str, Json] = {}
        for name, codec in self._codecs.items():
            properties[name] = codec.define(definitions)
            if name in self._defaults:
                properties[name] = properties[name] | {"default": copy_json(self._defaults[name])}
        schema: dict[str, Json] = {
            "type": "object",
            "properties": properties,
            "required": [name for name in self.names if name not in self._defaults],
            "additionalProperties": False,
        }
        return schema | {"$defs": definitions} if definitions else schema

    def _listed(self) -> str:
        return listed(self.names) or "none"

    def _missing(self, name: str, given: dict[str, Any]) -> InvalidInput:
        unknown = [other for other in given if other not in self._codecs]
        if unknown or name in given:  # given by name, where only the position counts
            return self._unexpected(given, 0)
        return InvalidInput(
            f"{self.where}: the argument `{name}` is missing", hint=f"its parameters are {self._listed()}"
        )

    def _unexpected(self, given: dict[str, Any], positional: int) -> InvalidInput:
        hint = f"its parameters are {self._listed()}"
        unknown = next((name for name in given if name not in self._codecs), None)
        if unknown is not None:
            missing = [name for name in self.names if name not in given]
            return InvalidInput(
                f"{self.where} has no parameter `{unknown}`{did_you_mean(unknown, missing)}", hint=hint
            )
        by_position = next((name for name in given if name in self._positional_only), None)
        if by_position is not None:
            return InvalidInput(
                f"{self.where}: the argument `{by_position}` can be given by position only", hint=hint
            )
        twice = next(name for name in self._positional[:positional] if name in given)
        return InvalidInput(f"{self.where}: the argument `{twice}` is given twice", hint=hint)


def _default(codec: Codec[Any], value: Any) -> Json:
    try:
        return codec.encode(value)
    except InvalidInput as error:
        hint = "annotate it with `| None`" if value is None else error.hint
        raise Invalid(f"the default of {error.message}", hint=hint) from None
