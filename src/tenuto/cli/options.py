"""Options that several commands share, and the settings that they make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tenuto.cli.files import read_secrets
from tenuto.cli.wiring import Wiring
from tenuto.engine.ports import RunRow
from tenuto.errors import TenutoError
from tenuto.operations.history import list_runs
from tenuto.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

COMPLETED_AT_ONCE = 50


def database_option(command: _Command) -> _Command:
    """Add `--db`."""
    return click.option(
        "--db",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The database file; TENUTO_DB, or .tenuto/tenuto.db in this folder.",
    )(command)


def with_option(command: _Command) -> _Command:
    """Add `--with`."""
    return click.option(
        "--with",
        "known",
        multiple=True,
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="Make what is in a file, folder or Python module known: workflows, functions (repeatable).",
    )(command)


def working_options(command: _Command) -> _Command:
    """Add the options of every command that may carry out tasks."""
    for option in (
        database_option,
        with_option,
        click.option(
            "--resolve",
            multiple=True,
            metavar="HOST:PORT=ADDR:PORT",
            help="Send calls for a host and port elsewhere; the TLS name stays (repeatable; TENUTO_RESOLVE).",
        ),
        click.option(
            "--secrets",
            metavar="FILE",
            type=click.Path(),
            help="Secrets, as YAML or JSON of names and values; also TENUTO_SECRET_NAME.",
        ),
    ):
        command = option(command)
    return command


def settings_of(wiring: Wiring, options: Mapping[str, Any]) -> Settings:
    """Return the settings of this process, with what the options of a command change."""
    settings = wiring.settings
    if options.get("db"):
        settings = replace(settings, database=options["db"])
    if options.get("resolve"):
        settings = replace(settings, resolve=(*settings.resolve, *options["resolve"]))
    if options.get("known"):
        settings = replace(settings, known=options["known"])
    if options.get("secrets"):
        settings = replace(settings, secrets=settings.secrets.with_values(read_secrets(options["secrets"])))
    return settings


def complete_run(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids of the newest runs."""
    wiring = ctx.find_root().obj
    if wiring is None:
        return []
    settings = settings_of(wiring, ctx.params)

    async def fetch() -> list[RunRow]:
        async with wiring.read(settings) as journal:
            return await list_runs(journal, limit=COMPLETED_AT_ONCE)

    try:
        rows = asyncio.run(fetch())
    except TenutoError:
        return []
    return [
        CompletionItem(row.id, help=f"{row.status} {row.name}")
        for row in rows
        if row.id.startswith(incomplete)
    ]
