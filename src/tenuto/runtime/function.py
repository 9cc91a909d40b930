"""One function of a connector: read from its signature and docstring, called with checked data."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NotRequired, Required, TypedDict, get_type_hints

import msgspec

from tenuto.engine.model import Json
from tenuto.errors import Fault, Faulted, communication_fault, runtime_fault, validation_fault
from tenuto.plugin import Call, FunctionFacts

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_COMPLAINT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(?P<name>.*)`$")
_USER_INFORMATION: Final = re.compile(r"://[^/@\s]+@")


class Parameter(msgspec.Struct, frozen=True):
    """One argument of a function; `type` is written for people, as in `array of string`.

    `members` are those of an argument that is an object with known members.
    """

    name: str
    type: str
    required: bool
    default: Json
    description: str
    members: tuple[Parameter, ...] = ()


class Function:
    """One function of a connector: what it declares, and the way to call it."""

    __slots__ = (
        "_implementation",
        "_input",
        "_names",
        "_output",
        "_renamed",
        "details",
        "facts",
        "name",
        "parameters",
        "summary",
        "version",
    )

    def __init__(
        self, connector: str, version: str, implementation: Callable[..., Any], facts: FunctionFacts
    ) -> None:
        """Read signature and docstring; raise TypeError for types that JSON cannot carry."""
        hints = get_type_hints(implementation, include_extras=True)
        signature = inspect.signature(implementation)
        fields = {
            _public(parameter.name): (parameter.name, hints[parameter.name], parameter.default)
            for parameter in list(signature.parameters.values())[1:]
        }
        self.name = f"{connector}.{_public(implementation.__name__)}"
        self.version = version
        self.facts = facts
        self.summary, self.details, described = _read_docstring(implementation)
        self._implementation = implementation
        self._names = frozenset(fields)
        self._renamed = {public: name for public, (name, _, _) in fields.items() if public != name}
        self._output = hints.get("return", Any)
        self._input: Any = TypedDict(  # type: ignore[misc]  # made from the signature
            f"{self.name} arguments",
            {
                public: Required[kind] if default is inspect.Parameter.empty else NotRequired[kind]
                for public, (_, kind, default) in fields.items()
            },
        )
        schema = _schema(self._input)
        types, definitions = schema["properties"], schema.get("$defs", {})
        self.parameters = tuple(
            Parameter(
                public,
                _type_text(types[public], definitions),
                default is inspect.Parameter.empty,
                None if default is inspect.Parameter.empty else msgspec.to_builtins(default),
                described.get(name, ""),
                _members(types[public], definitions),
            )
            for public, (name, _, default) in fields.items()
        )

    def __repr__(self) -> str:
        return f"<Function {self.name}:{self.version}>"

    def input_schema(self) -> dict[str, Json]:
        """Return the JSON Schema of the arguments, with descriptions and defaults."""
        schema = _schema(self._input)
        schema["additionalProperties"] = False
        for parameter in self.parameters:
            named = schema["properties"][parameter.name]
            if parameter.description:
                named["description"] = parameter.description
            if not parameter.required:
                named["default"] = parameter.default
        return schema

    def output_schema(self) -> dict[str, Json]:
        """Return the JSON Schema of the result."""
        return _schema(self._output)

    def answered_by(self, implementation: Callable[..., Any]) -> Function:
        """Return this function with another implementation: the same arguments, checked as ever."""
        twin = copy.copy(self)
        twin._implementation = implementation
        return twin

    def accepts(self, name: str) -> bool:
        """Tell whether the function has an argument of that name."""
        return name in self._names

    async def invoke(self, call: Call, arguments: dict[str, Json]) -> Json:
        """Call the function with plain JSON and return plain JSON.

        Raises `Faulted` and nothing else, except for cancellation: a validation fault for
        arguments that do not fit, a transient communication fault (503) for the exceptions that
        the function declares as transient, a runtime fault for any other.
        """
        if not arguments.keys() <= self._names:
            raise self._unknown(arguments)
        try:
            given = msgspec.convert(arguments, self._input)
        except msgspec.ValidationError as error:
            raise self._unfit(str(error)) from None
        if self._renamed:
            given = {self._renamed.get(name, name): value for name, value in given.items()}
        try:
            result = await self._implementation(call, **given)
        except Faulted as error:
            raise self._told(error.fault, error.fault.transient, error.__cause__, arguments) from None
        except Exception as error:
            raise self._failed(error, arguments) from None
        if type(result) in _SCALARS:
            return result
        try:
            # There and back: msgspec.to_builtins would leave tuples, NaN and lone surrogates in it.
            return msgspec.json.decode(msgspec.json.encode(result))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise runtime_fault(f"{self.name} returned what JSON cannot carry: {error}") from None

    def _unknown(self, arguments: dict[str, Json]) -> Faulted:
        name = next(name for name in arguments if name not in self._names)
        known = [parameter.name for parameter in self.parameters]
        return validation_fault(
            f"{self.name} has no argument `{name}`: {nearest(str(name), known, 'arguments')}"
        )

    def _unfit(self, complaint: str) -> Faulted:
        parts = _COMPLAINT.match(complaint)
        what, path = (parts["what"], parts["path"]) if parts else (complaint, None)
        by_name = {parameter.name: parameter for parameter in self.parameters}
        missing = _MISSING.match(what)
        if missing and not path:
            parameter = by_name[missing["name"]]
            about = f": {parameter.description}" if parameter.description else ""
            return validation_fault(
                f"{self.name} needs the argument `{parameter.name}` ({parameter.type}){about}"
            )
        where = (path or "").lstrip(".")
        top = by_name.get(re.split(r"[.\[]", where)[0])
        kind = f" (the argument is: {top.type})" if top else ""
        return validation_fault(f"{self.name}, argument `{where}`: {what}{kind}")

    def _failed(self, error: Exception, arguments: dict[str, Json]) -> Faulted:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, self.facts.transient):
            fault = communication_fault(f"{self.name}: {text}", 503, transient=True).fault
        else:
            fault = runtime_fault(f"{self.name}: {text}").fault
        return self._told(fault, fault.transient, None, arguments)

    def _told(
        self, fault: Fault, transient: bool, cause: BaseException | None, arguments: dict[str, Json]
    ) -> Faulted:
        """Return the fault as workflows may see it: with no secret in it, transient if its cause is."""
        detail = fault.detail
        if detail is not None:
            for secret in sorted(_secrets(arguments, _schema(self._input)), key=len, reverse=True):
                detail = detail.replace(secret, "***")
            detail = _USER_INFORMATION.sub("://***@", detail)
        known = cause is not None and isinstance(cause, self.facts.transient)
        return Faulted(msgspec.structs.replace(fault, detail=detail, transient=transient or known))


def _public(name: str) -> str:
    """Return the name that workflows use: `from_` in Python is `from`."""
    return name.removesuffix("_")


def nearest(name: str, known: Sequence[str], what: str, prefix: str = "") -> str:
    """Return a hint: the known name that is most like this one, or else all; `prefix` stands before each."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return (
        f"did you mean `{prefix}{close[0]}`?"
        if close
        else f"the {what} are: {', '.join(prefix + each for each in known) or 'none'}"
    )


def _read_docstring(implementation: Callable[..., Any]) -> tuple[str, str, dict[str, str]]:
    """Return a Google-style docstring's summary, what follows it, and its `Args:` by name."""
    text = inspect.cleandoc(implementation.__doc__ or "")
    before, _, arguments = text.partition("Args:\n")
    arguments = re.split(r"^\S", arguments, maxsplit=1, flags=re.MULTILINE)[0]
    summary, _, details = before.strip().partition("\n\n")
    described: dict[str, str] = {}
    name = ""
    for line in arguments.splitlines():
        start = re.match(r"^ {4}(\w+)(?: \([^)]*\))?: (.*)$", line)
        if start:
            name = start[1]
            described[name] = start[2].strip()
        elif name and line.strip():
            described[name] += f" {line.strip()}"
    return summary.replace("\n", " "), details.strip(), described


# ── schemas ──────────────────────────────────────────────────────────────────────────────


def _schema(kind: Any) -> dict[str, Json]:
    """Return one self-contained JSON Schema for a type."""
    (schema,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    reference = schema.get("$ref")
    if reference is not None:
        schema = definitions.pop(reference.removeprefix("#/$defs/"))
    schema.pop("title", None)
    return {**schema, "$defs": definitions} if definitions else schema


def _type_text(schema: Mapping[str, Json], definitions: Mapping[str, Json]) -> str:
    """Return a schema's type in words: `string`, `array of string`, `object {dn, password}`."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    if schema.get("writeOnly"):
        return f"secret {schema['type']}"
    if "anyOf" in schema:
        return " or ".join(_type_text(choice, definitions) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(msgspec.json.encode(value).decode() for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array" and schema.get("items"):
        return f"array of {_grouped(_type_text(schema['items'], definitions))}"
    if kind == "object" and schema.get("properties"):
        return f"object {{{', '.join(schema['properties'])}}}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        values = _type_text(schema["additionalProperties"], definitions)
        return "object" if values == "any" else f"object of {_grouped(values)}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _grouped(text: str) -> str:
    return f"({text})" if " or " in text else text


def _members(schema: Mapping[str, Json], definitions: Mapping[str, Json]) -> tuple[Parameter, ...]:
    """Return the members of an object, also of one that may be null or stands in a list."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    for inner in (*schema.get("anyOf", ()), schema.get("items")):
        found = _members(inner, definitions) if inner else ()
        if found:
            return found
    required = schema.get("required", ())
    return tuple(
        Parameter(
            name,
            _type_text(member, definitions),
            name in required,
            member.get("default"),
            member.get("description", ""),
        )
        for name, member in schema.get("properties", {}).items()
    )


def _secrets(value: Json, schema: Mapping[str, Json]) -> set[str]:
    """Return the strings in a value that its schema marks as secret (`writeOnly`)."""
    definitions = schema.get("$defs", {})
    found: set[str] = set()

    def walk(value: Json, schema: Mapping[str, Json]) -> None:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
        if schema.get("writeOnly") and isinstance(value, str) and value:
            found.add(value)
        for choice in schema.get("anyOf", ()):
            walk(value, choice)
        if isinstance(value, dict):
            properties = schema.get("properties", {})
            for name, member in value.items():
                walk(member, properties.get(name) or schema.get("additionalProperties") or {})
        elif isinstance(value, list):
            for item in value:
                walk(item, schema.get("items") or {})

    walk(value, schema)
    return found
