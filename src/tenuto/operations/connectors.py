"""The reference page of all connectors, written from what they declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec

from tenuto.plugin import FunctionFacts


class DescribedParameter(Protocol):
    """One argument, as the catalog describes it."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def type(self) -> str:
        """Return its type in words."""

    @property
    def required(self) -> bool:
        """Return whether it has to be given."""

    @property
    def default(self) -> Any:
        """Return what it is if it is not given."""

    @property
    def description(self) -> str:
        """Return what it means."""

    @property
    def members(self) -> Sequence[DescribedParameter]:
        """Return the members of an object."""


class DescribedFunction(Protocol):
    """One function, as the catalog describes it."""

    @property
    def name(self) -> str:
        """Return its name, with the connector's."""

    @property
    def facts(self) -> FunctionFacts:
        """Return what it declares about itself."""

    @property
    def summary(self) -> str:
        """Return what it does, in one sentence."""

    @property
    def details(self) -> str:
        """Return what else there is to say."""

    @property
    def parameters(self) -> Sequence[DescribedParameter]:
        """Return its arguments."""


class DescribedConnector(Protocol):
    """One connector, as the catalog describes it."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def version(self) -> str:
        """Return its version."""

    @property
    def summary(self) -> str:
        """Return what it does, in one sentence."""

    @property
    def details(self) -> str:
        """Return what else there is to say."""

    @property
    def functions(self) -> Sequence[DescribedFunction]:
        """Return its functions."""


_BEFORE: Final = """\
# Connectors

What workflows can call besides the calls of the language. A function is called by its name,
with as much of its version as shall be fixed:

```yaml
- greet:
    call: core.log:1.0.0@default
    with:
      message: Hello
```

Each function says whether it *reads* or *writes*, whether it is *idempotent* (repeating it
changes nothing more), and which function undoes it. A fault is `transient` when another attempt
may work: `catch.when: ${ $error.transient }`. Arguments marked *secret* never show in faults.

This page is written from the connectors' own signatures and docstrings. To write a connector of
your own, see [Write a connector](../how-to/write-a-connector.md).
"""


def catalog_markdown(connectors: Iterable[DescribedConnector]) -> str:
    """Return the page `docs/reference/connectors.md` for these connectors."""
    parts = [_BEFORE]
    for connector in connectors:
        parts.append(f"## {connector.name} {connector.version}\n\n{_paragraphs(connector)}")
        parts.extend(_function(function) for function in connector.functions)
    return "\n".join(parts)


def _paragraphs(described: DescribedConnector | DescribedFunction) -> str:
    return "\n\n".join(text for text in (described.summary, described.details) if text) + "\n"


def _function(function: DescribedFunction) -> str:
    lines = [f"### {function.name}", "", f"*{_facts(function)}*", "", _paragraphs(function)]
    if function.parameters:
        lines += ["| argument | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [row for parameter in function.parameters for row in _rows(parameter, "")]
        lines.append("")
    return "\n".join(lines)


def _facts(function: DescribedFunction) -> str:
    facts = function.facts
    words = ["reads" if facts.effect == "read" else "writes"]
    if facts.effect == "write":
        words.append("idempotent" if facts.idempotent else "not idempotent")
    if facts.undo is not None:
        connector = function.name.partition(".")[0]
        words.append(f"undone by `{connector}.{facts.undo}`")
    return ", ".join(words)


def _rows(parameter: DescribedParameter, prefix: str) -> Iterator[str]:
    default = "required" if parameter.required else f"`{msgspec.json.encode(parameter.default).decode()}`"
    kind = "object" if parameter.members and parameter.type.startswith("object") else parameter.type
    cells = [f"`{prefix}{parameter.name}`", kind, default, parameter.description]
    yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    inside = f"{prefix}{parameter.name}{'[]' if parameter.type.startswith('array') else ''}."
    for member in parameter.members:
        yield from _rows(member, inside)
