"""The entry point: settings become wired parts, and those a door. The one file that imports late."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tenuto.cli.commands import COMMANDS
from tenuto.cli.root import Root, run_command_line
from tenuto.cli.wiring import Wiring
from tenuto.settings import Settings, read_settings

if TYPE_CHECKING:
    from tenuto.engine.ports import Journal
    from tenuto.operations.desk import Desk


def main() -> NoReturn:
    """Run the command line."""
    run_command_line(Root(load_command), wired(read_settings(os.environ)))


def wired(settings: Settings) -> Wiring:
    """Return everything that the commands may ask for; nothing of it is loaded yet."""
    return Wiring(settings=settings, work=opened, read=reading, connectors=connectors, knows=knows)


def load_command(name: str) -> click.Command:
    """Import one command."""
    from importlib import import_module

    command: click.Command = getattr(import_module(COMMANDS[name].module), name)
    return command


def connectors() -> list[Any]:
    """Return all connectors that are installed."""
    from tenuto.runtime.catalog import Catalog

    return Catalog.discover().connectors()


def knows(function: str) -> bool:
    """Tell whether a function of that name is installed; `ldap.search:1.0.0` or less of it."""
    from tenuto.runtime.catalog import Catalog

    return Catalog.discover().knows(function)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Desk]:
    """Open the database for writing, with a worker that drives its runs."""
    raise AssertionError
    yield


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Journal]:
    """Open the database for reading, also while another process works on it."""
    raise AssertionError
    yield
