"""The entry point: settings become wired parts, and those a door. The one file that imports late."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tenuto.cli.commands import COMMANDS
from tenuto.cli.root import Root, complain, run_command_line, status_of
from tenuto.cli.wiring import Wiring
from tenuto.errors import CodeMissing, NotFound, TenutoError
from tenuto.settings import SECRET_PREFIX, Settings, read_settings

if TYPE_CHECKING:
    from tenuto.engine.ports import Journal
    from tenuto.language.references import Known
    from tenuto.opening import Front
    from tenuto.operations.desk import Desk
    from tenuto.operations.modules import CheckedModule, Modules
    from tenuto.runtime.actions import Functions


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
    return Wiring(
        settings=settings,
        work=opened,
        read=reading,
        ask=asked,
        connectors=connectors,
        known=known,
        load=load,
        check=checked,
        found=found,
        kit=kit,
    )


def load_command(name: str) -> click.Command:
    """Import one command."""
    from importlib import import_module

    command: click.Command = getattr(import_module(COMMANDS[name].module), name.replace("-", "_"))
    return command


def connectors() -> list[Any]:
    """Return all connectors that are installed."""
    from tenuto.runtime.catalog import Catalog

    return list(Catalog.discover().connectors())


def load(names: Iterable[str]) -> Modules:
    """Import the Python modules that a command names; the current folder is importable."""
    from tenuto.operations.modules import load_modules

    return load_modules(names, Path.cwd())


def checked(name: str) -> CheckedModule:
    """Import a Python module that is to be checked."""
    from tenuto.operations.modules import check_module

    return check_module(name, Path.cwd())


def found(name: str) -> bool:
    """Tell whether there is a Python module of that name."""
    from tenuto.operations.modules import find_module

    return find_module(name, Path.cwd())


def kit() -> ModuleType:
    """Return what tests workflows."""
    from importlib import import_module

    return import_module("tenuto.testing.kit")


def known(folders: Iterable[Path], modules: Modules | None = None) -> Known:
    """Return what answers which functions there are: installed, as files in these folders, as steps."""
    from tenuto.language.program import UNDO
    from tenuto.runtime.catalog import Catalog

    steps = {} if modules is None else modules.functions

    class Installed:
        """The catalog as documents are checked against it; a connector is loaded when it is named."""

        def __init__(self) -> None:
            self._catalog = Catalog.discover()
            self._folders = [folder if folder.is_dir() else folder.parent for folder in folders]

        def function(self, name: str) -> bool:
            path, _, version = name.partition(":")
            if name in steps:
                return True
            if "." in path:
                return self._catalog.knows(name)
            place = Path("functions", path, version, "function.yaml")
            return path == UNDO or any((folder / place).is_file() for folder in self._folders)

        def arguments(self, name: str) -> dict[str, bool] | None:
            if name in steps:
                return steps[name]
            if "." not in name.partition(":")[0]:
                return None
            try:
                parameters = self._catalog.find(name).parameters
            except NotFound:
                return None
            return {parameter.name: parameter.required for parameter in parameters}

        def functions(self) -> list[str]:
            installed = [
                f"{function.name}:{function.version}"
                for connector in self._catalog.connectors()
                for function in connector.functions
            ]
            return [*installed, *steps]

    return Installed()


@asynccontextmanager
async def opened(
    settings: Settings, modules: Modules | None = None, *, records_only: bool = False
) -> AsyncIterator[Desk]:
    """Open the database for writing, with a worker that drives its runs."""
    from tenuto.opening import opened as open_database
    from tenuto.runtime.system import collect_seldom

    if settings.secrets:
        from tenuto.runtime.privacy import hide_secrets

        hide_secrets(os.environ, SECRET_PREFIX)
    collect_seldom()

    def python(catalog: Functions) -> Front:
        from tenuto.runtime.python import Python

        if modules is None:
            return Python((), (), catalog, seek=seek)
        return Python(modules.workflows, modules.steps, catalog, origins=modules.origins, seek=seek)

    command = " ".join(["tenuto", *sys.argv[1:2]])
    at_once = modules is not None
    async with open_database(settings, command, python, at_once=at_once, records_only=records_only) as desk:
        yield desk


def seek(origin: str) -> tuple[list[Any], list[Any]]:
    """Return the workflows and steps of the module that a stored workflow came from."""
    from tenuto.operations.modules import BrokenModule

    try:
        modules = load([origin])
    except BrokenModule as error:
        raise CodeMissing(error.message, hint=error.hint or "mend it, then `tenuto resume`") from error
    except TenutoError as error:
        raise CodeMissing(
            f"the code of this run is not at hand: {error.message}",
            hint="go to the folder that the run was started in, or name its code: --with shop/orders.py",
        ) from None
    return modules.workflows, modules.steps


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
