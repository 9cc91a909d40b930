"""The entry point: settings become wired parts, and those a door. The one file that imports late."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tenuto.cli.commands import COMMANDS
from tenuto.cli.root import Root, complain, run_command_line, status_of
from tenuto.cli.wiring import Wiring
from tenuto.errors import TenutoError
from tenuto.settings import SECRET_PREFIX, Settings, read_settings

if TYPE_CHECKING:
    from tenuto.engine.ports import Journal
    from tenuto.language.references import Known
    from tenuto.operations.desk import Desk


def main() -> NoReturn:
    """Run the command line."""
    try:
        settings = read_settings(os.environ)
    except TenutoError as error:
        complain(error)
        sys.exit(status_of(error))
    run_command_line(Root(load_command), wired(settings))


def wired(settings: Settings) -> Wiring:
    """Return everything that the commands may ask for; nothing of it is loaded yet."""
    return Wiring(settings=settings, work=opened, read=reading, ask=asked, connectors=connectors, known=known)


def load_command(name: str) -> click.Command:
    """Import one command."""
    from importlib import import_module

    command: click.Command = getattr(import_module(COMMANDS[name].module), name)
    return command


def connectors() -> list[Any]:
    """Return all connectors that are installed."""
    from tenuto.runtime.catalog import Catalog

    return list(Catalog.discover().connectors())


def known(folders: Iterable[Path]) -> Known:
    """Return what answers which functions there are: installed, or as files in these folders."""
    from tenuto.language.program import UNDO
    from tenuto.runtime.catalog import Catalog

    class Installed:
        """The catalog as documents are checked against it; a connector is loaded when it is named."""

        def __init__(self) -> None:
            self._catalog = Catalog.discover()
            self._folders = [folder if folder.is_dir() else folder.parent for folder in folders]

        def function(self, name: str) -> bool:
            path, _, version = name.partition(":")
            if "." in path:
                return self._catalog.knows(name)
            place = Path("functions", path, version, "function.yaml")
            return path == UNDO or any((folder / place).is_file() for folder in self._folders)

        def arguments(self, name: str) -> dict[str, bool] | None:
            if "." not in name.partition(":")[0]:
                return None
            try:
                parameters = self._catalog.find(name).parameters
            except TenutoError:
                return None
            return {parameter.name: parameter.required for parameter in parameters}

        def functions(self) -> list[str]:
            return [
                f"{function.name}:{function.version}"
                for connector in self._catalog.connectors()
                for function in connector.functions
            ]

    return Installed()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Desk]:
    """Open the database for writing, with a worker that drives its runs."""
    from tenuto.runtime.system import collect_seldom
    from tenuto.wiring import Parts
    from tenuto.wiring import opened as open_parts

    if settings.secrets:
        from tenuto.runtime.privacy import hide_secrets

        hide_secrets(os.environ, SECRET_PREFIX)
    collect_seldom()
    async with open_parts(settings, Parts(), " ".join(["tenuto", *sys.argv[1:2]])) as desk:
        yield desk


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Journal]:
    """Open the database for reading, also while another process works on it."""
    from tenuto.storage.sqlite import open_reader

    journal: Any = await open_reader(settings.database)
    try:
        yield journal
    finally:
        await journal.close()


async def asked(settings: Settings, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the process that works on the database to do something."""
    from tenuto.runtime.control import ask

    return await ask(settings.database, request)
