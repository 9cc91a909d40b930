"""A document made ready to run: its task lists, templates and expressions, compiled on first use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec

from tenuto.engine.model import Json
from tenuto.language.expressions import Expression, ExpressionSyntax, is_expression, parse

KINDS: Final = ("call", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait", "do")
UNDO: Final = "undo"  # the catalog function that the interpreter itself performs
_PLAIN_TYPE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/:@#~ ")


class Constant(msgspec.Struct, frozen=True):
    """A template without anything to evaluate in it."""

    value: Json


class Computed(msgspec.Struct, frozen=True):
    """A template that is one expression."""

    expression: Expression


class ObjectTemplate(msgspec.Struct, frozen=True):
    """An object, some of whose members have to be evaluated."""

    members: tuple[tuple[str, Any], ...]


class ArrayTemplate(msgspec.Struct, frozen=True):
    """An array, some of whose items have to be evaluated."""

    items: tuple[Any, ...]


class TextTemplate(msgspec.Struct, frozen=True):
    """Text with `${ ... }` inside it, which only the loose mode evaluates."""

    parts: tuple[str | Expression, ...]


class Attempt(msgspec.Struct, frozen=True):
    """What the loose mode tries to evaluate; where that fails, the text itself is the value."""

    template: Computed | TextTemplate
    text: str


Template: TypeAlias = Constant | Computed | ObjectTemplate | ArrayTemplate | TextTemplate | Attempt


def template(value: Json, *, loose: bool = False) -> Template:
    """Compile a value in which each string that as a whole is `${ ... }` is an expression.

    In the loose mode every string is tried: as an expression, or for each `${ ... }` in it.
    """
    if isinstance(value, str):
        if loose:
            return _attempt(value)
        return Computed(parse(value)) if is_expression(value) else Constant(value)
    if isinstance(value, dict):
        members = tuple((name, template(member, loose=loose)) for name, member in value.items())
        return (
            Constant(value) if all(isinstance(m, Constant) for _, m in members) else ObjectTemplate(members)
        )
    if isinstance(value, list):
        items = tuple(template(item, loose=loose) for item in value)
        return Constant(value) if all(isinstance(i, Constant) for i in items) else ArrayTemplate(items)
    return Constant(value)


def formula(value: Json, *, loose: bool = False) -> Template:
    """Compile a field that is an expression by its type: `${ ... }` around it is optional."""
    return Computed(parse(value)) if isinstance(value, str) else template(value, loose=loose)


def _attempt(text: str) -> Template:
    try:
        if "${" in text and not is_expression(text):
            return Attempt(TextTemplate(tuple(_split(text))), text)
        expression = parse(text)
        if not expression.inline:
            # What fails in the second lane fails as a command: the expression itself has to catch it.
            instead = msgspec.json.encode(text).decode()
            expression = parse(f"first((try ({expression.text}\n) catch {instead}), {instead})")
    except ExpressionSyntax:
        return Constant(text)
    return Attempt(Computed(expression), text)


def _split(text: str) -> Iterator[str | Expression]:
    """Cut text at each `${ ... }`, whose end is the brace that closes it."""
    start = 0
    while (opening := text.find("${", start)) >= 0:
        depth, end, quoted = 0, opening + 1, False
        for end in range(opening + 1, len(text)):
            character = text[end]
            if character == '"' and text[end - 1] != "\\":
                quoted = not quoted
            elif not quoted:
                depth += (character == "{") - (character == "}")
                if depth == 0:
                    break
        if depth:
            break
        if opening > start:
            yield text[start:opening]
        yield parse(text[opening : end + 1])
        start = end + 1
    if start < len(text):
        yield text[start:]


class Task:
    """One task of a document, with what was compiled of it so far."""

    __slots__ = (
        "_compiled",
        "condition",
        "definition",
        "export",
        "input",
        "kind",
        "loose",
        "name",
        "node",
        "output",
        "plain",
        "then",
        "timeout",
    )

    def __init__(self, node: str, name: str, definition: dict[str, Json], loose: bool) -> None:
        self.node = node
        self.name = name
        self.definition = definition
        self.loose = loose
        self.kind = next((kind for kind in KINDS if kind in definition), "workflow" if not node else "set")
        self.condition = definition.get("if")
        self.input: dict[str, Json] = definition.get("input") or {}
        self.output: dict[str, Json] = definition.get("output") or {}
        self.export: dict[str, Json] = definition.get("export") or {}
        self.timeout: Json = definition.get("timeout")
        self.then: str | None = definition.get("then")
        self._compiled: dict[str, Template] = {}

    def template(self, key: str, value: Json) -> Template:
        """Return the compiled template of `value`, remembered under `key`."""
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = template(value, loose=self.loose)
        return compiled

    def data(self, key: str, value: Json) -> Template:
        """Return the compiled formula of `value`, which the loose mode admits to fail."""
        return (self.template if self.loose else self.formula)(key, value)

    def formula(self, key: str, value: Json) -> Template:
        """Return the compiled formula of `value`, remembered under `key`."""
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = formula(value, loose=self.loose)
        return compiled


def escape(name: str) -> str:
    """Write a name as one token of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


class Outline:
    """A document's task lists by their place; fetched functions stand beside it, by digest."""

    def __init__(self, document: dict[str, Json]) -> None:
        self.document = document
        self.use: dict[str, Json] = document.get("use") or {}
        self.loose = (document.get("evaluate") or {}).get("mode") == "loose"
        self.root = Task("", document["document"]["name"], document, self.loose)
        self.extensions: list[tuple[str, dict[str, Json]]] = [
            next(iter(item.items())) for item in self.use.get("extensions") or []
        ]
        self.undoes = calls_undo(document)
        self._lists: dict[str, tuple[Task, ...]] = {}
        self._tasks: dict[str, Task] = {"": self.root}

    def tasks(self, node: str) -> tuple[Task, ...]:
        """Return the tasks of the list at `node`."""
        found = self._lists.get(node)
        if found is None:
            found = self._read(node, self._resolve(node))
        return found

    def task(self, node: str) -> Task:
        """Return the task at `node`."""
        found = self._tasks.get(node)
        if found is None:
            a_function = node.startswith("/use/functions/") and node.count("/") == 3
            self.tasks(node if a_function else node.rsplit("/", 2)[0])
            found = self._tasks[node]
        return found

    def add_function(self, node: str, name: str, definition: dict[str, Json]) -> None:
        """Make a function's definition known as a list of one task at `node`."""
        if node not in self._lists:
            task = Task(node, name, definition, self.loose)
            self._lists[node] = (task,)
            self._tasks[node] = task

    def _read(self, node: str, items: Json) -> tuple[Task, ...]:
        if isinstance(items, dict):
            self.add_function(node, node.rsplit("/", 1)[1], items)
            return self._lists[node]
        tasks = []
        for index, item in enumerate(items or ()):
            name, definition = next(iter(item.items()))
            task = Task(f"{node}/{index}/{escape(name)}", name, definition, self.loose)
            tasks.append(task)
            self._tasks[task.node] = task
        self._lists[node] = tuple(tasks)
        return self._lists[node]

    def _resolve(self, node: str) -> Json:
        prefix, _, pointer = node.partition("/")
        value: Json = self._tasks[prefix].definition
        for token in pointer.split("/") if pointer else ():
            key = token.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value


def subscribed_types(definition: Json) -> tuple[str, ...] | None:
    """Return the event types that the `listen` tasks in a definition can take; None for any.

    >>> subscribed_types({"do": [{"a": {"listen": {"to": {"one": {"with": {"type": "x"}}}}}}]})
    ('x',)
    """
    types: set[str] = set()
    for strategy in _strategies(definition):
        filters = strategy.get("all", strategy.get("any"))
        if filters is None:
            filters = [strategy["one"]] if "one" in strategy else []
        elif not filters:
            return None
        for event_filter in filters:
            kind = (event_filter.get("with") or {}).get("type")
            if not isinstance(kind, str) or not set(kind) <= _PLAIN_TYPE:
                return None
            types.add(kind)
    return tuple(sorted(types))


def _strategies(value: Json) -> Iterator[dict[str, Json]]:
    for task in walk(value):
        listen = task.get("listen")
        if isinstance(listen, dict) and isinstance(listen.get("to"), dict):
            yield listen["to"]
            if isinstance(listen["to"].get("until"), dict):
                yield listen["to"]["until"]


def walk(value: Json) -> Iterator[dict[str, Json]]:
    """Yield every object in a value, the outer before the inner."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            yield current
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def calls_undo(document: dict[str, Json]) -> bool:
    """Return whether a document ever calls `undo`: only then does a run have to remember what it did."""
    calls = (task.get("call") for task in walk(document))
    return any(isinstance(call, str) and call.partition(":")[0] == UNDO for call in calls)


def undoable_functions(document: dict[str, Json]) -> tuple[str, ...]:
    """Return the connectors' functions that a document calls, if it ever calls `undo`; else nothing."""
    if not calls_undo(document):
        return ()
    calls = {task["call"] for task in walk(document) if isinstance(task.get("call"), str)}
    functions = {call.removesuffix("@default") for call in calls if call.endswith("@default")}
    return tuple(sorted(name for name in functions if name.partition(":")[0] != UNDO))
