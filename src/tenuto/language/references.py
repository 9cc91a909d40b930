"""What the parts of a document mean to each other: names, functions, expressions, schemas."""

from __future__ import annotations

import re
from functools import reduce
from typing import Final, Literal, Protocol, TypeAlias

from tenuto.engine.model import Json
from tenuto.language.expressions import ExpressionSyntax, parse
from tenuto.language.grammar.calls import CALLS
from tenuto.language.grammar.walk import At, Expression, Noted, Walk, listed, meant, nearest, shown
from tenuto.language.schemas import InvalidSchema, compile_schema

SUPPORTED_DSL: Final = re.compile(r"1\.0\.[0-9]+(?:[-+].*)?")
# What every expression may use, and what loops and `catch` bind unless they say otherwise.
VARIABLES: Final = frozenset(
    ("context", "input", "output", "secrets", "secret", "authorization", "task", "workflow", "runtime")
) | frozenset(("item", "index", "error"))
LANGUAGES: Final = ("js", "python")

_CATALOGED: Final = re.compile(r"([^:@\s]+):([^:@\s]+)@([^:@\s]+)")
_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")
_SECTIONS: Final = {
    "authentications": ("authentication policy", "unknown-authentication"),
    "errors": ("error", "unknown-error"),
    "retries": ("retry policy", "unknown-retry"),
    "secrets": ("secret", "unknown-secret"),
    "timeouts": ("timeout", "unknown-timeout"),
}


# The names that each section of `use` defines.
_Defined: TypeAlias = dict[str, dict[str, None]]


class Known(Protocol):
    """The runtime's own catalog: what can be called as `name:version@default`."""

    def function(self, name: str) -> bool:
        """Return whether there is a function of that name, as in `ldap.add_entry:1.0.0`."""

    def functions(self) -> list[str]:
        """Return the names of all functions, spelled the same way."""

    def arguments(self, name: str) -> dict[str, bool] | None:
        """Return a function's arguments and whether each is required; None if that is not known."""


def check_references(walk: Walk, known: Known | None) -> None:
    """Look up every name, function, expression and schema that the walk has noted."""
    use = walk.source.data.get("use") if isinstance(walk.source.data, dict) else None
    defined = {section: _names(content) for section, content in use.items()} if isinstance(use, dict) else {}
    for reference in walk.references:
        if walk.is_full():
            break
        walk.anchor = reference.anchor
        _check_name(walk, defined, reference.at, reference.section, reference.name)
    for noted in walk.noted:
        if walk.is_full():
            break
        walk.anchor = noted.anchor
        _check_noted(walk, noted, defined, known)
    secrets = defined.get("secrets", {})
    for expression in walk.expressions:
        if walk.is_full():
            break
        walk.anchor = expression.anchor
        _check_expression(walk, expression, secrets)


def _names(content: Json) -> dict[str, None]:
    return (
        dict.fromkeys(name for name in content if isinstance(name, str))
        if isinstance(content, dict | list)
        else {}
    )


def _misspelt(walk: Walk, defined: _Defined, section: str) -> bool:
    """Return whether the section may be there under a wrong name, which was reported already."""
    return section not in defined and (("use",) in walk.damaged or (not defined and () in walk.damaged))


def _check_name(walk: Walk, defined: _Defined, at: At, section: str, name: str) -> None:
    names = defined.get(section, {})
    if name in names or _misspelt(walk, defined, section):
        return
    what, code = _SECTIONS[section]
    message = f"There is no {what} `{name}` under `use.{section}`."
    hint = meant(name, names) or f"Define it under `use.{section}`."
    walk.error(code, at, message, hint)


def _check_noted(walk: Walk, noted: Noted, defined: _Defined, known: Known | None) -> None:
    match noted.how:
        case "call":
            _check_call(walk, noted, defined, known)
        case "schema":
            _check_schema(walk, noted)
        case "dsl" if not SUPPORTED_DSL.fullmatch(noted.value):
            message = f"Version {noted.value} of the language is not supported; the versions 1.0.x are."
            walk.error("unsupported-dsl", noted.at, message, "Write `dsl: '1.0.3'`.")
        case "expression-language" if noted.value != "jq":
            message = f"Expressions are written in jq here, not in {noted.value}."
            walk.error("unsupported-language", noted.at, message, "Remove the line, or write `language: jq`.")
        case "script-language" if noted.value not in LANGUAGES:
            message = f"Scripts are run in {listed(LANGUAGES)}, not in {shown(noted.value)}."
            walk.error("unsupported-language", noted.at, message, meant(noted.value, LANGUAGES))


# ── calls ────────────────────────────────────────────────────────────────────────────────


def _check_call(walk: Walk, noted: Noted, defined: _Defined, known: Known | None) -> None:
    name: str = noted.value
    functions = defined.get("functions", {})
    if name in functions or _URL.fullmatch(name):
        return
    cataloged = _CATALOGED.fullmatch(name)
    if cataloged:
        _check_cataloged(walk, noted.at, cataloged, defined, known)
        return
    if _misspelt(walk, defined, "functions"):
        return
    words = [*functions, *CALLS]
    versions = [f"{function}@default" for function in known.functions()] if known else []
    wanted, _, _ = name.partition(":")
    whole = [function for function in versions if function.partition(":")[0] == wanted]
    guess = whole[-1] if whole else nearest(name, words)
    message = f"There is nothing to call by the name `{name}`."
    if name.startswith("${"):
        hint = "An expression cannot stand here; a `switch` can choose between calls."
    elif guess is not None:
        hint = f"Did you mean `{guess}`?"
    else:
        hint = f"Call {listed(CALLS)}, a function under `use.functions`, `name:version@catalog`, or a URL."
    walk.error("unknown-function", noted.at, message, hint)


def _check_cataloged(
    walk: Walk, at: At, cataloged: re.Match[str], defined: _Defined, known: Known | None
) -> None:
    name, version, catalog = cataloged.groups()
    catalogs = defined.get("catalogs", {})
    if catalog not in catalogs and catalog != "default":
        if not _misspelt(walk, defined, "catalogs"):
            message = f"There is no catalog `{catalog}` under `use.catalogs`."
            walk.error("unknown-catalog", at, message, meant(catalog, [*catalogs, "default"]))
        return
    function = f"{name}:{version}"
    if catalog in catalogs or known is None:
        return
    if known.function(function):
        _check_arguments(walk, at[:-1], function, known.arguments(function))
        return
    functions = known.functions()
    versions = [other for other in functions if other.partition(":")[0] == name]
    guess = versions[-1] if versions else nearest(function, functions)
    hint = f"Did you mean `{guess}@default`?" if guess else "`tenuto connectors` lists what there is."
    if name.startswith("python.") and not any(other.startswith("python.") for other in functions):
        hint = "Name the Python module that the step is in: --with shop/orders.py."
    walk.error("unknown-function", at, f"The default catalog has no function `{function}`.", hint)


def _check_arguments(walk: Walk, task: At, function: str, arguments: dict[str, bool] | None) -> None:
    """Compare the arguments that a call names with those that the function has."""
    definition = reduce(lambda value, step: value[step], task, walk.source.data)
    given = definition.get("with", {})
    if arguments is None or not isinstance(given, dict):
        return
    unknown = [name for name in given if name not in arguments]
    for name in unknown:
        message = f"`{function}` has no argument `{name}`."
        walk.error("unknown-argument", (*task, "with", name), message, meant(name, arguments), key=True)
    missing = [name for name, required in arguments.items() if required and name not in given]
    if missing and not unknown:
        place = (*task, "with") if "with" in definition else (*task, "call")
        message = f"`{function}` needs {' and '.join(f'`{name}`' for name in missing)}."
        walk.error("missing-argument", place, message, "`tenuto connectors` says what for.", key=True)


# ── expressions and schemas ──────────────────────────────────────────────────────────────


def _check_expression(walk: Walk, expression: Expression, secrets: dict[str, None]) -> None:
    severity: Literal["error", "warning"] = "warning" if walk.loose and expression.data else "error"
    try:
        parsed = parse(expression.text)
    except ExpressionSyntax as error:
        position = _inside(walk, expression, error.offset)
        message = f"The expression cannot be read: {error.message.rstrip('.')}."
        hint = (error.hint or "").rstrip(".").capitalize()
        advice = f"{hint}." if hint else ""
        walk.report("bad-expression", position, expression.at, message, advice, severity=severity)
        return
    for name in sorted(parsed.variables - walk.variables - VARIABLES):
        position = _inside(walk, expression, max(0, expression.text.find(f"${name}")))
        hint = meant(name, sorted(VARIABLES | walk.variables))
        message = f"There is no variable `${name}`."
        walk.report("unknown-variable", position, expression.at, message, hint, severity=severity)
    for name in sorted({path[0] for path in parsed.secrets if path} - set(secrets)):
        position = _inside(walk, expression, max(0, expression.text.find("$secret")))
        message = f"The secret `{name}` is not declared under `use.secrets`."
        hint = meant(name, secrets) or "Declare it there."
        walk.report("undeclared-secret", position, expression.at, message, hint, severity="warning")


def _inside(walk: Walk, expression: Expression, offset: int) -> tuple[int, int]:
    """Return the position of a character of an expression, or its start where the text is folded."""
    line, column = walk.source.position_at(expression.at)
    rest = walk.lines[line - 1][column - 1 :] if line <= len(walk.lines) else ""
    for quote in ("", "'", '"'):
        if rest.startswith(quote + expression.text):
            return line, column + len(quote) + min(offset, len(expression.text))
    return line, column


def _check_schema(walk: Walk, noted: Noted) -> None:
    try:
        compile_schema(noted.value)
    except InvalidSchema as error:
        at = (*noted.at, *error.steps)
        hint = "The schema's document has to be a JSON Schema; nothing outside it is fetched."
        walk.error("bad-schema", at, f"This is not a JSON Schema: {error.message}.", hint)
