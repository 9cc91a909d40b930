"""Tasks that ask somebody else: call (services and functions) and run (processes and workflows).

Everything is resolved here: expressions, templates, reusable authentications. What is asked for
is a function of the catalog by name and plain arguments; secrets are still references.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from tenuto.engine.model import Json, Listen, StartRun
from tenuto.engine.rules import derived_id
from tenuto.errors import Fault, InvalidDocument, configuration_fault
from tenuto.language.fold import Fold, Kind
from tenuto.language.load import load
from tenuto.language.program import UNDO, Task, escape, subscribed_types
from tenuto.language.state import ListFrame, SubscribeData, TaskFrame, UndoData, WaitData
from tenuto.language.tasks.endpoints import STANDARD_CALLS, resolve_endpoints
from tenuto.language.tasks.subscribing import Subscribe
from tenuto.language.tasks.undoing import Undo
from tenuto.language.validate import validate

_CATALOGED: Final = re.compile(r"(?P<name>[^@\s]+):(?P<version>[^@:\s]+)@(?P<catalog>[A-Za-z0-9-]+)")


class Call(Kind):
    """A call: of a service by a standard protocol, or of a function."""

    def __init__(self) -> None:
        self._undo = Undo()
        self._subscribe = Subscribe()

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Find out what is called and call it."""
        if isinstance(frame.data, UndoData):
            self._undo.step(fold, frame, task)
        elif isinstance(frame.data, SubscribeData):
            self._subscribe.step(fold, frame, task)
        else:
            self._begin(fold, frame, task)

    def _begin(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        name: str = task.definition["call"]
        if name in STANDARD_CALLS:
            self._call_service(fold, frame, task, name)
        elif name in (fold.outline.use.get("functions") or {}):
            self._call_function(fold, frame, task, "/use/functions/" + escape(name))
        elif name.partition(":")[0] == UNDO and _of_default_catalog(fold, name):
            frame.data = UndoData()
            self._undo.step(fold, frame, task)
        elif "." in name.partition(":")[0] and _of_default_catalog(fold, name):
            arguments = self._arguments(fold, frame, task)
            frame.data = WaitData()
            fold.perform(frame, name.removesuffix("@default"), arguments)
        else:
            self._call_function(fold, frame, task, self._fetch_function(fold, frame, name))

    def _arguments(self, fold: Fold, frame: TaskFrame, task: Task) -> dict[str, Json]:
        arguments = fold.fill(frame, task.template("with", task.definition.get("with") or {}), frame.input)
        if not isinstance(arguments, dict):
            raise configuration_fault("`with` must give an object of arguments")
        return arguments

    def _call_service(self, fold: Fold, frame: TaskFrame, task: Task, name: str) -> None:
        definition = task.definition.get("with") or {}
        if name == "asyncapi" and "subscription" in definition:
            frame.data = SubscribeData()
            self._subscribe.step(fold, frame, task)
            return
        arguments = resolve_endpoints(
            fold, frame, self._arguments(fold, frame, task), definition, frame.input
        )
        frame.data = WaitData()
        fold.perform(frame, STANDARD_CALLS[name], arguments)

    def _call_function(self, fold: Fold, frame: TaskFrame, task: Task, node: str) -> None:
        value = self._arguments(fold, frame, task) if "with" in task.definition else frame.input
        frame.data = WaitData()
        fold.start_list(frame, node, frame.path, value, role="function")

    def _fetch_function(self, fold: Fold, frame: TaskFrame, name: str) -> str:
        """Fetch and check a function's definition; answer the node under which it is now known."""
        definition = fold.fetch(frame, _function_endpoint(fold, frame, name), "text")
        text = definition if isinstance(definition, str) else str(definition)
        node = "@" + derived_id(name, text)
        if node not in fold.state.resources:
            function = read_function(text, name)
            fold.state.resources = {**fold.state.resources, node: [name, function]}
            fold.outline.add_function(node, name, function)
            types = subscribed_types(function)
            if types != ():
                fold.open(lambda id: Listen(id, types), 0)
        return node

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """Take a result; a subscription or an undo goes on with it."""
        if isinstance(frame.data, UndoData):
            self._undo.answered(fold, frame, command, output)
        elif isinstance(frame.data, SubscribeData):
            self._subscribe.answered(fold, frame, command, output)
        else:
            fold.complete(frame, output)

    def failed(self, fold: Fold, frame: TaskFrame, command: int, fault: Fault) -> None:
        """Take a fault; an undo goes on all the same."""
        if isinstance(frame.data, UndoData):
            self._undo.failed(fold, frame, command, fault)
        else:
            fold.fault(frame, fault)

    def listed(self, fold: Fold, frame: TaskFrame, ended: ListFrame, output: Json, exited: bool) -> None:
        """Take a function's output, or an item's of a subscription."""
        if isinstance(frame.data, SubscribeData):
            self._subscribe.listed(fold, frame, ended, output, exited)
        else:
            fold.complete(frame, output)


def _of_default_catalog(fold: Fold, name: str) -> bool:
    """Whether a function is one of the runtime's own catalog; a document may put its own in that place."""
    return name.endswith("@default") and "default" not in (fold.outline.use.get("catalogs") or {})


def _function_endpoint(fold: Fold, frame: TaskFrame, name: str) -> Json:
    """Return where a function's definition is: in a catalog, or at a URL.

    In the default catalog, names with a dot are connectors' functions; others are files in one of
    the folders that were made known, laid out as a catalog is.
    """
    match = _CATALOGED.fullmatch(name)
    if match and "://" not in name:
        if _of_default_catalog(fold, name):
            return f"functions/{match['name']}/{match['version']}/function.yaml"
        catalogs = fold.outline.use.get("catalogs") or {}
        if match["catalog"] not in catalogs:
            raise configuration_fault(f"use.catalogs has no {match['catalog']!r}")
        endpoint = fold.located(frame, catalogs[match["catalog"]]["endpoint"])
        base: Any = endpoint["uri"] if isinstance(endpoint, dict) else endpoint
        uri = f"{base.rstrip('/')}/functions/{match['name']}/{match['version']}/function.yaml"
        return {**endpoint, "uri": uri} if isinstance(endpoint, dict) else uri
    if "://" not in name:
        raise configuration_fault(
            f"there is no function {name!r}: neither in use.functions, nor as name:version@catalog, nor a URL"
        )
    if name.endswith((".yaml", ".yml", ".json")):
        return name
    return re.sub(r"@([^/@]+)$", r"/\1", name) + "/function.yaml"


def read_function(text: str, name: str) -> dict[str, Json]:
    """Read a function's definition: one task, as a catalog's function.yaml holds it.

    Raises:
        Faulted: A configuration fault that names the first mistake.
    """
    try:
        definition = load(text, name).data
        if not isinstance(definition, dict):
            raise configuration_fault(f"the function {name} is not an object")
        problems = [p for p in validate(load(_as_document(definition), name)) if p.severity == "error"]
    except InvalidDocument as error:
        raise configuration_fault(f"the function {name} cannot be read: {error.message}") from None
    if problems:
        raise configuration_fault(f"the function {name} is not valid: {problems[0].message}")
    return definition


def _as_document(definition: dict[str, Json]) -> bytes:
    """Wrap a function in a document, so that the rules for documents apply to it."""
    document = {"dsl": "1.0.3", "namespace": "function", "name": "function", "version": "1.0.0"}
    return msgspec.json.encode({"document": document, "do": [{"function": definition}]})


class Run(Kind):
    """A process, or another workflow."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Start the process or the workflow."""
        definition = task.definition["run"]
        wait: bool = definition.get("await", True)
        frame.data = WaitData()
        if "workflow" in definition:
            self._start_workflow(fold, frame, task, definition["workflow"], wait)
        else:
            self._start_process(fold, frame, task, definition, wait)

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """Take the output; if nothing waits for it, the input goes on."""
        wait = fold.outline.task(frame.node).definition["run"].get("await", True)
        fold.complete(frame, output if wait else frame.input)

    def _start_workflow(
        self, fold: Fold, frame: TaskFrame, task: Task, definition: dict[str, Json], wait: bool
    ) -> None:
        filled = fold.fill(frame, task.template("run", definition), frame.input)
        fold.open(
            lambda id: StartRun(
                id,
                frame.path,
                filled["namespace"],
                filled["name"],
                filled.get("version", "latest"),
                filled.get("input", frame.input),
                wait,
            ),
            frame.id,
        )

    def _start_process(
        self, fold: Fold, frame: TaskFrame, task: Task, definition: dict[str, Json], wait: bool
    ) -> None:
        kind = next(name for name in ("shell", "script", "container") if name in definition)
        process = definition[kind]
        source = fold.read(frame, process["source"], "text") if "source" in process else None
        arguments = dict(fold.fill(frame, task.template("run", process), frame.input))
        arguments.pop("source", None)
        if source is not None:
            arguments["code"] = source
        arguments["output"] = definition.get("return", "stdout")
        fold.perform(frame, f"process.{kind}", arguments, detached=not wait)
        if not wait:
            fold.complete(frame, frame.input)
