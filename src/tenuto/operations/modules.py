"""Finds the workflows and steps in Python modules that the user names, as `python -m` would find these.

    load_module("shop.orders", folder)        a module that can be imported in that folder
    load_module("shop/orders.py", folder)     the same, named by its file

What goes wrong while a module is imported is one error, with the user's own line.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final

import msgspec

from tenuto.authoring.declare import STEP_VERSION, Step, Workflow
from tenuto.engine.model import Json
from tenuto.engine.ports import DocumentRow
from tenuto.errors import Invalid, InvalidInput, NotFound, Problem, TenutoError

_HERE: Final = str(Path(__file__).parents[1])
_SOURCES: Final = "src"  # the folder that many projects keep their packages in
_LIBRARIES: Final = tuple(
    {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {site.getusersitepackages()}
)
_Declared = Workflow[..., Any] | Step[..., Any]


class BrokenModule(Invalid):
    """A module cannot be imported; `file` and `line` are the user's, as far as they are known."""

    def __init__(self, file: str, line: int, what: str, *, hint: str | None = None) -> None:
        super().__init__(f"{file}:{line}: {what}" if line else f"{file}: {what}", hint=hint)
        self.file = file
        self.line = line
        self.what = what


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the user's: its workflows and steps by variable, also those that it imports.

    `shown` is how the user named it, `name` how Python calls it, `origin` under what it is found again.
    """

    shown: str
    name: str
    origin: str
    workflows: Mapping[str, Workflow[..., Any]]
    steps: Mapping[str, Step[..., Any]]

    def to_json(self) -> dict[str, Any]:
        """Return what it declares, as scripts get it."""
        return {
            "workflows": [
                {
                    "variable": variable,
                    "namespace": each.namespace,
                    "name": each.name,
                    "version": each.version,
                    "signature": signature_of(each),
                }
                for variable, each in self.workflows.items()
            ],
            "steps": [
                {
                    "variable": variable,
                    "name": each.name,
                    "call": f"{each.called}:{STEP_VERSION}@default",
                    "signature": signature_of(each),
                }
                for variable, each in self.steps.items()
            ],
        }

    @property
    def own(self) -> dict[str, Workflow[..., Any]]:
        """Its workflows that are defined in it; if there are none, those that it imports."""
        listed: dict[str, Workflow[..., Any]] = {}
        for variable, workflow in self.workflows.items():
            if not any(each is workflow for each in listed.values()):
                listed[variable] = workflow
        own = {name: each for name, each in listed.items() if each.function.__module__ == self.name}
        return own or listed

    def workflow(self, wanted: str | None) -> Workflow[..., Any]:
        """Return a workflow by its variable or its name; without one, the only one there is.

        Raises:
            NotFound: There is none of that name, or none at all.
            InvalidInput: There are several.
        """
        own = self.own
        if wanted is None:
            if len(own) == 1:
                return next(iter(own.values()))
            if own:
                names = ", ".join(f"{self.shown}:{name}" for name in own)
                raise InvalidInput(f"{self.shown} has several workflows", hint=f"name one: {names}")
            raise NotFound(f"{self.shown} has no workflow", hint="put @workflow over an `async def`")
        named = {each.name: each for each in self.workflows.values()}
        found = self.workflows.get(wanted) or named.get(wanted)
        if found is not None:
            return found
        if wanted in self.steps:
            raise NotFound(
                f"`{wanted}` of {self.shown} is a step, not a workflow", hint=_others(self.shown, own)
            )
        near = get_close_matches(wanted, [*self.workflows, *named], n=1)
        hint = f"did you mean `{self.shown}:{near[0]}`?" if near else _others(self.shown, own)
        raise NotFound(f"{self.shown} has no workflow `{wanted}`", hint=hint)


@dataclass(frozen=True, slots=True)
class CheckedModule:
    """What was found in one module; `module` is None if it has a mistake, and that is the problem."""

    file: str
    module: Module | None
    problem: Problem | None

    def to_json(self) -> dict[str, Any]:
        """Return it as scripts get it: as a checked document, and what it declares."""
        errors = [] if self.problem is None else [msgspec.to_builtins(self.problem)]
        declared = {} if self.module is None else self.module.to_json()
        return {"file": self.file, "errors": errors, "warnings": [], **declared}


@dataclass(frozen=True, slots=True)
class Modules:
    """Everything that a command was given as Python code."""

    all: Sequence[Module] = field(default=())

    @property
    def workflows(self) -> list[Workflow[..., Any]]:
        """All workflows, each once."""
        found = {id(each): each for module in self.all for each in module.workflows.values()}
        return list(found.values())

    @property
    def steps(self) -> list[Step[..., Any]]:
        """All steps, each once."""
        found = {id(each): each for module in self.all for each in module.steps.values()}
        return list(found.values())

    def start(self, wanted: str | None, data: Json) -> tuple[DocumentRow, Json]:
        """Return a workflow of the first module as it is stored, and its input as its run records it.

        Raises:
            NotFound: There is none of that name.
            InvalidInput: The input does not fit.
        """
        workflow = self.all[0].workflow(wanted)
        return workflow.document(), fit_input(workflow, data)

    @property
    def functions(self) -> dict[str, dict[str, bool]]:
        """The steps as functions for documents: by name and version, with what they need."""
        found = {}
        for step in self.steps:
            schema = step.parameters.schema()
            needs = {name: name in schema["required"] for name in schema["properties"]}
            found[f"{step.called}:{STEP_VERSION}"] = needs
        return found

    def require_names(self, folder: Path) -> None:
        """Raise `BrokenModule` if two workflows, or two steps, have one name."""
        named: dict[str, _Declared] = {}
        declared: list[_Declared] = [*self.workflows, *self.steps]
        for each in declared:
            if named.setdefault(repr(each), each) is not each:
                code = each.function.__code__
                kind = type(each).__name__.lower()
                raise BrokenModule(
                    _short(code.co_filename, folder),
                    code.co_firstlineno,
                    f"there is another {kind} `{each.name}`",
                    hint=f'give it another name: @{kind}(name="...")',
                )

    @property
    def origins(self) -> dict[str, str]:
        """Under what the modules are found again, by their names."""
        return {module.name: module.origin for module in self.all}


def load_modules(names: Iterable[str], folder: Path) -> Modules:
    """Import modules by name or file; see `load_module`."""
    return Modules([load_module(name, folder) for name in names])


def check_module(named: str, folder: Path) -> CheckedModule:
    """Import a module and return what it declares, or its first mistake; raises `NotFound`."""
    try:
        module = load_module(named, folder)
        Modules([module]).require_names(folder)
    except BrokenModule as error:
        problem = Problem("broken-module", error.line, 1, "", error.what, error.hint)
        return CheckedModule(error.file, None, problem)
    except Invalid as error:
        return CheckedModule(named, None, Problem("broken-module", 1, 1, "", error.message, error.hint))
    return CheckedModule(named, module, None)


def load_module(named: str, folder: Path) -> Module:
    """Import a module by its name, or by its file, from a folder that becomes importable.

    Raises:
        NotFound: There is no such module or file.
        BrokenModule: It cannot be imported.
    """
    importlib.invalidate_caches()
    _make_importable(folder)
    if named.endswith(".py") or "/" in named:
        module, origin = _load_file(named, folder)
    else:
        if _spec(named) is None:
            raise _no_module(named, folder)
        module, origin = _imported(named, folder), named
    members = vars(module).items()
    return Module(
        named,
        module.__name__,
        origin,
        {name: value for name, value in members if isinstance(value, Workflow)},
        {name: value for name, value in members if isinstance(value, Step)},
    )


def find_module(named: str, folder: Path) -> bool:
    """Tell whether a module of that name could be imported; imports nothing but packages around it."""
    importlib.invalidate_caches()
    _make_importable(folder)
    return _spec(named) is not None


def signature_of(declared: _Declared) -> str:
    """Return what a workflow or step takes and answers, as it is written: `(order: Order) -> Receipt`."""
    signature = inspect.signature(declared.function)
    parameters = [each.replace(annotation=_Plain(each.annotation)) for each in signature.parameters.values()]
    answer = signature.return_annotation
    return str(signature.replace(parameters=parameters, return_annotation=_Plain(answer))).replace(
        " -> <nothing>", ""
    )


def fit_input(workflow: Workflow[..., Any], data: Json) -> Json:
    """Return input as a run records it: checked, with defaults. Raises `InvalidInput`."""
    try:
        return workflow.parameters.encode(*workflow.parameters.decode(data))
    except InvalidInput as error:
        takes = f"{workflow.name}{signature_of(workflow)}"
        raise InvalidInput(
            error.message, hint=f"the input has a member for each parameter of {takes}"
        ) from None


class _Plain:
    """An annotation as it is shown: a text without quotes, a class by its name."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    def __repr__(self) -> str:
        if self._annotation is inspect.Parameter.empty:
            return "<nothing>"
        if isinstance(self._annotation, str):
            return self._annotation
        return inspect.formatannotation(self._annotation).rpartition(".")[2]


# ── by name, by file ─────────────────────────────────────────────────────────────────────


def _make_importable(folder: Path) -> None:
    """Let modules be found in a folder first, and in its `src`."""
    for place in (folder / _SOURCES, folder):
        if str(place) not in sys.path and place.is_dir():
            sys.path.insert(0, str(place))


def _load_file(named: str, folder: Path) -> tuple[ModuleType, str]:
    """Import a file under the name that it has from here, or else from the top of its package."""
    file = (folder / named).resolve()
    if not file.is_file():
        raise NotFound(f"there is no file {named!r}", hint=_siblings(file))
    root = _root(file, folder)
    parts = file.relative_to(root).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
    wrong = next((part for part in parts if not part.isidentifier()), None)
    if wrong is not None:
        raise Invalid(
            f"{named} cannot be imported: {wrong!r} is no name in Python",
            hint="use letters, digits and _ in the names of the file and its folders",
        )
    name = ".".join(parts)
    here = root in (folder, folder / _SOURCES)
    if not here:
        _make_importable(root)
    module = _imported(name, folder)
    found = Path(module.__file__ or "")
    if found.resolve() != file:
        raise Invalid(
            f"{named} cannot be imported: {name} is {found} already", hint="give the file another name"
        )
    return module, name if here else str(file)


def _root(file: Path, folder: Path) -> Path:
    """Return the folder from which a file is imported."""
    for place in (folder / _SOURCES, folder):
        if file.is_relative_to(place) and not (place / "__init__.py").is_file():
            return place
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    return root


def _spec(named: str) -> object | None:
    """Return what would be imported under a name; None if there is nothing."""
    package, _, _ = named.rpartition(".")
    if package and _spec(package) is None:
        return None
    try:
        return importlib.util.find_spec(named)
    except (ImportError, ValueError, AttributeError):
        # A parent that is no package, or that cannot be imported: the import itself says why.
        return None if package and _is_plain_module(package) else named


def _is_plain_module(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not hasattr(module, "__path__")


def _no_module(named: str, folder: Path) -> NotFound:
    """Say which part of a name is not there, and what is."""
    around, _, last = named.rpartition(".")
    while around and _spec(around) is None:
        around, _, last = around.rpartition(".")
    name = f"{around}.{last}" if around else last
    package = sys.modules.get(around) if around else None
    places = list(package.__path__) if package is not None and hasattr(package, "__path__") else []
    places = places if around else [str(folder), str(folder / _SOURCES)]
    there = {found.name for found in iter_modules(places)}
    # A folder with code in it is a package too, also without __init__.py.
    there |= {code.parent.name for place in places for code in Path(place).glob("*/*.py")}
    near = get_close_matches(last, there, n=1)
    if near:
        hint = f"did you mean `{around}.{near[0]}`?" if around else f"did you mean `{near[0]}`?"
    else:
        hint = "name it as from this folder: shop.orders, or shop/orders.py"
    return NotFound(f"there is no module {name!r} in {around or folder}", hint=hint)


def _siblings(file: Path) -> str:
    if not file.parent.is_dir():
        return "is the path right?"
    there = [path.name for path in sorted(file.parent.glob("*.py"))]
    near = get_close_matches(file.name, there, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"there are: {', '.join(there[:5])}" if there else "is the path right?"


def _others(shown: str, workflows: Mapping[str, object]) -> str:
    named = ", ".join(f"{shown}:{name}" for name in workflows)
    return f"there are: {named}" if named else "put @workflow over an `async def`"


# ── what goes wrong on the way ───────────────────────────────────────────────────────────


def _imported(name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SyntaxError as error:
        file, line = _short(error.filename or name, folder), error.lineno or 0
        raise BrokenModule(file, line, f"{type(error).__name__}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        file, line = _blamed(error, folder) or (name, 0)
        raise BrokenModule(file, line, _what(error), hint=_hint(error)) from error


def _what(error: BaseException) -> str:
    if isinstance(error, TenutoError):
        return error.message
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _hint(error: BaseException) -> str | None:
    if isinstance(error, TenutoError):
        return error.hint
    if isinstance(error, ModuleNotFoundError):
        return f"install it where Tenuto is ({sys.prefix}), or start from the folder that it is in"
    if isinstance(error, SystemExit) or "event loop" in str(error):
        return 'what a file does when it is started belongs under `if __name__ == "__main__":`'
    return None


def _blamed(error: BaseException, folder: Path) -> tuple[str, int] | None:
    """Return the innermost line of the user's own code in a traceback; a library's if there is none."""
    frames = [
        (frame.filename, frame.lineno or 0)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_HERE, "<"))
    ]
    own = [frame for frame in frames if not frame[0].startswith(_LIBRARIES)]
    if not frames:
        return None
    file, line = (own or frames)[-1]
    return _short(file, folder), line


def _short(file: str, folder: Path) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file
