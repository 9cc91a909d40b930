"""`tenuto connectors`: what workflows can call."""

from __future__ import annotations

import textwrap
from difflib import get_close_matches
from typing import Any

import click
import msgspec
from click.shell_completion import CompletionItem

from tenuto.cli.output import FORMATS, table, write
from tenuto.cli.wiring import Wiring
from tenuto.errors import NotFound

_WIDTH = 96


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    wiring = ctx.find_root().obj
    return [
        CompletionItem(connector.name, help=connector.summary)
        for connector in (wiring.connectors() if wiring else ())
        if connector.name.startswith(incomplete)
    ]


@click.command(short_help="List what workflows can call, with parameters.")
@click.argument("name", required=False, shell_complete=_complete)
@click.option(
    "--output",
    "-o",
    "format",
    type=click.Choice(["text", *FORMATS[1:]]),
    default="text",
    show_default=True,
    help="Text for people, JSON or YAML for programs.",
)
@click.pass_obj
def connectors(wiring: Wiring, /, name: str | None, format: str) -> None:
    """List the connectors that are installed, or all about the one called NAME.

    NAME may also be a function: `connectors ldap.add_entry`.

    \b
    Examples:
      tenuto connectors
      tenuto connectors sql
      tenuto connectors sql --output json
    """
    found = wiring.connectors()
    if name is not None:
        connector, _, function = name.partition(".")
        chosen = [each for each in found if each.name == connector]
        if not chosen:
            near = get_close_matches(connector, [each.name for each in found], n=1)
            hint = f"did you mean `{near[0]}`?" if near else "`tenuto connectors` lists them"
            raise NotFound(f"there is no connector {connector!r}", hint=hint)
        functions = [each for each in chosen[0].functions if not function or each.name == name]
        if function and not functions:
            near = get_close_matches(name, [each.name for each in chosen[0].functions], n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"`tenuto connectors {connector}` lists them"
            raise NotFound(f"connector {connector!r} has no function {function!r}", hint=hint)
        if format == "text":
            click.echo(_described(chosen[0], functions))
        else:
            write({**_summary(chosen[0]), "functions": [_function(each) for each in functions]}, format)
    elif format == "text":
        rows = [
            [click.style(each.name, bold=True), each.version, str(len(each.functions)), _about(each)]
            for each in found
        ]
        click.echo(table(["CONNECTOR", "VERSION", "FUNCTIONS", "ABOUT"], rows))
    else:
        write(
            [
                {**_summary(each), "functions": [function.name for function in each.functions]}
                for each in found
            ],
            format,
        )


def _about(connector: Any) -> str:
    return connector.problem or textwrap.shorten(connector.summary, 90, placeholder=" …")


def _summary(connector: Any) -> dict[str, Any]:
    return {
        "name": connector.name,
        "version": connector.version,
        "summary": connector.summary,
        "problem": connector.problem,
    }


def _function(function: Any) -> dict[str, Any]:
    return {
        "name": function.name,
        "call": f"{function.name}:{function.version}@default",
        "summary": function.summary,
        "effect": function.facts.effect,
        "idempotent": function.facts.idempotent,
        "undo": function.facts.undo,
        "parameters": [msgspec.to_builtins(parameter) for parameter in function.parameters],
    }


def _described(connector: Any, functions: list[Any]) -> str:
    lines = [
        f"{click.style(connector.name, bold=True)} {connector.version}",
        *_wrapped(connector.summary, ""),
    ]
    if connector.problem:
        lines += ["", f"{click.style('not usable:', fg='yellow')} {connector.problem}"]
    for function in functions:
        facts = function.facts
        traits = [facts.effect + "s"]
        traits += ["idempotent"] if facts.idempotent and facts.effect == "write" else []
        traits += [f"undone by {facts.undo}"] if facts.undo else []
        lines += [
            "",
            click.style(f"call: {function.name}:{function.version}@default", fg="cyan")
            + click.style(f"  # {', '.join(traits)}", dim=True),
            *_wrapped(" ".join(filter(None, [function.summary, function.details])), "  "),
        ]
        for parameter in function.parameters:
            need = (
                "required"
                if parameter.required
                else f"default {msgspec.json.encode(parameter.default).decode()}"
            )
            lines.append(
                f"    {click.style(parameter.name, bold=True)}: {parameter.type}"
                + click.style(f" ({need})", dim=True)
            )
            lines += _wrapped(parameter.description, "      ")
    return "\n".join(lines)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
