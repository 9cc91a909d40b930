"""Prints results: as pretty JSON, one line of JSON, or YAML; and tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec
import yaml

from tenuto.cli.text import cells

_Command = TypeVar("_Command", bound=Callable[..., Any])

FORMATS: Final = ("pretty", "json", "yaml")

_TOKEN: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>\b(?:true|false|null)\b)'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
)
_COLORS: Final = {"key": "blue", "text": "green", "word": "magenta", "number": "cyan"}


def format_option(default: str = "pretty") -> Callable[[_Command], _Command]:
    """Return the `--output` option; a default that is none of the formats is one more choice."""
    return click.option(
        "--output",
        "-o",
        "format",
        type=click.Choice(FORMATS if default in FORMATS else [default, *FORMATS]),
        default=default,
        show_default=True,
        help="How it is written: pretty (indented JSON), json (one line) or yaml"
        + ("." if default in FORMATS else f"; {default} is for people."),
    )


def write(value: Any, format: str) -> None:
    """Print a JSON value on standard output."""
    click.echo(written(value, format))


def written(value: Any, format: str) -> str:
    """Return a JSON value as text; `pretty` holds terminal colours, which `click.echo` strips."""
    match format:
        case "json":
            return msgspec.json.encode(value).decode()
        case "yaml":
            text: str = yaml.dump(
                msgspec.to_builtins(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
            )
            return text.removesuffix("\n").removesuffix("\n...")
        case _:
            return _TOKEN.sub(_colored, msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _colored(match: re.Match[str]) -> str:
    return click.style(match[0], fg=_COLORS[match.lastgroup or "word"])


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, and lists indented under their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists like everything else."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out: our own reader refuses aliases."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns under an underlined header.

    >>> print(click.unstyle(table(["A", "B"], [["1", "2"]])))
    A  B
    1  2
    """
    widths = [max(cells(click.unstyle(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = [[click.style(name, bold=True) for name in header], *rows]
    return "\n".join(
        "  ".join(
            cell + " " * (width - cells(click.unstyle(cell)))
            for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )
