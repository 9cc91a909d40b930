"""The functions that workflows can call: found by name, loaded when first called, called with checked data.

    find("ldap.add_entry:1.0")  ->  Function
    await function.invoke(call, {"dn": "uid=ada,dc=example", ...})  ->  JSON, or Faulted

Connectors are found through entry points (group `tenuto.connectors`); nothing of a connector is
imported before one of its functions is asked for.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import msgspec

from tenuto.errors import Invalid, NotFound
from tenuto.plugin import ENTRY_POINT_GROUP, FunctionFacts, facts_of
from tenuto.runtime.function import Function, nearest

Loader: TypeAlias = Callable[[], ModuleType]

_OWN: Final = "tenuto.connectors."
DEFAULT_CONNECTOR: Final = "core"  # where a name without a connector is looked up: `log` is `core.log`


class Connector(msgspec.Struct, frozen=True):
    """A connector with all its functions, in order of name; `problem` says why there are none."""

    name: str
    version: str
    summary: str
    functions: tuple[Function, ...]
    problem: str | None = None
    details: str = ""


class Catalog:
    """All connectors that are installed here."""

    def __init__(self, modules: Mapping[str, ModuleType | Loader]) -> None:
        """Offer these modules under these names; a function in place of a module loads it when needed."""
        self._modules = dict(modules)
        self._connectors: dict[str, Connector] = {}
        self._found: dict[str, Function] = {}

    @classmethod
    def discover(cls) -> Catalog:
        """Return the catalog of all installed distributions, with nothing imported yet."""
        return cls({name: partial(importlib.import_module, module) for name, module in _entry_points()})

    @classmethod
    def built_in(cls) -> Catalog:
        """Return the catalog of the connectors that come with Tenuto, for their reference page."""
        return cls(
            {
                name: partial(importlib.import_module, module)
                for name, module in _entry_points()
                if module.startswith(_OWN)
            }
        )

    def find(self, name: str) -> Function:
        """Return a function by `connector.function`, optionally `:` and a version or its first parts.

        Raises `NotFound` for an unknown name or version, and for a connector whose libraries
        are not installed; `Invalid` for a connector that does not keep the rules of `plugin.py`.
        """
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._look_up(name)
        return found

    def knows(self, name: str) -> bool:
        """Tell whether `find` can give the function, or could if its libraries were installed."""
        try:
            self.find(name)
        except NotFound as error:
            return isinstance(error, _NotInstalled)
        except Invalid:
            return False
        return True

    def undo_of(self, name: str) -> str | None:
        """Return the function that undoes this one, asked for at the same version; None if there is none."""
        function = self.find(name)
        if function.facts.undo is None:
            return None
        connector = function.name.partition(".")[0]
        _, colon, version = name.partition(":")
        return f"{connector}.{function.facts.undo.removesuffix('_')}{colon}{version}"

    def connectors(self) -> list[Connector]:
        """Return every connector, in order of name; one that cannot be loaded says why."""
        return [self._described(name) for name in sorted(self._modules)]

    def _described(self, name: str) -> Connector:
        try:
            return self._connector(name)
        except (NotFound, Invalid) as error:
            hint = f"; {error.hint}" if error.hint else ""
            return Connector(name, "", "", (), f"{error.message}{hint}")

    def _look_up(self, name: str) -> Function:
        path, _, version = name.partition(":")
        if "." not in path:
            path = f"{DEFAULT_CONNECTOR}.{path}"
        connector_name = path.partition(".")[0]
        if connector_name not in self._modules:
            raise NotFound(
                f"no connector `{connector_name}` is installed, so there is no function `{path}`",
                hint=nearest(connector_name, sorted(self._modules), "connectors"),
            )
        connector = self._connector(connector_name)
        for function in connector.functions:
            if function.name == path:
                if version and not _is_prefix(version, function.version):
                    raise NotFound(
                        f"`{path}` is installed in version {function.version}, not {version}",
                        hint=f"write `{path}:{function.version}`, or install a version that fits",
                    )
                return function
        asked = path.partition(".")[2]
        names = [function.name.partition(".")[2] for function in connector.functions]
        raise NotFound(
            f"connector `{connector_name}` has no function `{asked}`",
            hint=nearest(asked, names, "functions", f"{connector_name}."),
        )

    def _connector(self, name: str) -> Connector:
        connector = self._connectors.get(name)
        if connector is None:
            connector = self._connectors[name] = _read_connector(name, self._load(name))
        return connector

    def _load(self, name: str) -> ModuleType:
        module = self._modules[name]
        if isinstance(module, ModuleType):
            return module
        try:
            return module()
        except Invalid:
            raise
        except ImportError as error:
            built_in = isinstance(module, partial) and str(module.args[0]).startswith(_OWN)
            raise _NotInstalled(
                f"connector `{name}` cannot be loaded: {error}",
                hint=f'install what it needs: pip install "tenuto[{name}]"'
                if built_in
                else f"install what the distribution of connector `{name}` needs",
            ) from error
        except Exception as error:
            raise Invalid(
                f"connector `{name}` cannot be loaded: {type(error).__name__}: {error}",
                hint="mend the module, or uninstall its distribution",
            ) from error


class _NotInstalled(NotFound):
    """The connector is known, but something that it imports is not there."""


def _is_prefix(asked: str, version: str) -> bool:
    wanted = asked.split(".")
    return version.split(".")[: len(wanted)] == wanted


# ── finding connectors ───────────────────────────────────────────────────────────────────


def _entry_points() -> Iterator[tuple[str, str]]:
    """Yield name and module of every connector that is installed in a folder of `sys.path`.

    importlib.metadata gives the same, but importing it takes longer (25 ms) than everything
    that a one-step workflow does.
    """
    distributions: set[str] = set()
    owners: dict[str, str] = {}
    for entry in sys.path:
        folder = Path(entry or ".")
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob("*.dist-info/entry_points.txt")):
            distribution = re.sub(r"[-_.]+", "_", path.parent.name.split("-")[0]).lower()
            if distribution in distributions:
                continue
            distributions.add(distribution)
            for name, module in _read_entry_points(path.read_text(encoding="utf-8")):
                if name in owners:
                    raise Invalid(
                        f"two distributions offer a connector `{name}`: {owners[name]} and {distribution}",
                        hint="uninstall one of them",
                    )
                owners[name] = distribution
                yield name, module


def _read_entry_points(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section == ENTRY_POINT_GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, module = line.partition("=")
            yield name.strip(), module.strip()


# ── reading a connector ──────────────────────────────────────────────────────────────────


def _read_connector(name: str, module: ModuleType) -> Connector:
    where = f"connector `{name}` (module {module.__name__})"
    version = getattr(module, "VERSION", None)
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise Invalid(f"{where} has no usable version", hint='add to it a line such as VERSION = "1.0.0"')
    if not (module.__doc__ or "").strip():
        raise Invalid(f"{where} has no docstring", hint="say in its first line what the connector does")
    marked = {
        attribute: facts
        for attribute, value in vars(module).items()
        if (facts := facts_of(value)) is not None and value.__module__ == module.__name__
    }
    if not marked:
        raise Invalid(f"{where} has no function", hint="mark its async functions with @function(effect=...)")
    functions = []
    for attribute, facts in sorted(marked.items()):
        implementation = getattr(module, attribute)
        problem = _problem(implementation, facts, marked)
        if problem is not None:
            raise Invalid(f"{where}, function `{attribute}`: {problem[0]}", hint=problem[1])
        try:
            functions.append(Function(name, version, implementation, facts))
        except (TypeError, NameError) as error:
            raise Invalid(
                f"{where}, function `{attribute}`: its annotations cannot become a schema: {error}",
                hint="use types that JSON can carry: str, int, float, bool, list, dict, dataclasses, Structs",
            ) from error
    summary, _, details = inspect.cleandoc(module.__doc__ or "").partition("\n\n")
    return Connector(name, version, summary.replace("\n", " "), tuple(functions), None, details.strip())


def _problem(
    implementation: Callable[..., Any], facts: FunctionFacts, marked: Mapping[str, FunctionFacts]
) -> tuple[str, str] | None:
    """Return what is wrong with a marked function and how to mend it."""
    if not inspect.iscoroutinefunction(implementation):
        return "it is not async", "write `async def`; put blocking work into asyncio.to_thread"
    if not (implementation.__doc__ or "").strip():
        return "it has no docstring", "say in its first line what the function does"
    parameters = list(inspect.signature(implementation).parameters.values())
    if not parameters or parameters[0].name != "call" or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        return "its first parameter is not `call`", "begin the parameters with `call: Call, *`"
    for parameter in parameters[1:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            return f"parameter `{parameter.name}` is not keyword-only", "put a `*` after `call: Call`"
        if parameter.annotation is inspect.Parameter.empty:
            return f"parameter `{parameter.name}` has no type", f"annotate it, as in `{parameter.name}: str`"
    if facts.undo is not None and facts.undo not in marked:
        return (
            f"its undo function `{facts.undo}` is not there",
            nearest(facts.undo, sorted(marked), "functions of this module"),
        )
    return None
