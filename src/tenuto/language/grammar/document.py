"""The kinds of tasks, and the document as a whole."""

from __future__ import annotations

from typing import Final

import msgspec

from tenuto.engine.model import Json
from tenuto.language.grammar.calls import CALLS, FUNCTION_CALL
from tenuto.language.grammar.components import (
    BASE,
    CATALOG,
    EMITTED,
    ERROR,
    ERROR_FILTER,
    EVENTS,
    INPUT,
    ITERATOR,
    OUTPUT,
    RESOURCE,
    RETRY,
    TASK_WORDS,
    TASKS,
    TIMEOUT,
    TIMEOUT_OR_NAME,
    task_shape,
)
from tenuto.language.grammar.forms import (
    DIRECTIVE,
    FORMULA,
    FREE,
    LITERAL,
    NAME,
    READ,
    TEXT,
    VARIABLE,
    VERSION,
    WORD,
    Cron,
    Duration,
)
from tenuto.language.grammar.security import DEFINED_AUTHENTICATION
from tenuto.language.grammar.shapes import (
    Choice,
    Enumeration,
    Fields,
    Flag,
    Items,
    Kind,
    Map,
    Named,
    Text,
    Word,
)
from tenuto.language.grammar.walk import At, Shape, Walk, label, listed, nearest


class Lifetime(msgspec.Struct, frozen=True):
    """What happens to a container afterwards: `after` belongs to `eventually`, and only to it."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check the properties, then that they fit together."""
        _LIFETIME.check(value, at, walk)
        if not isinstance(value, dict) or at in walk.damaged:
            return
        eventually = value.get("cleanup") == "eventually"
        if eventually and "after" not in value:
            message = "`cleanup: eventually` needs `after`."
            walk.error(
                "missing-property", (*at, "cleanup"), message, "Add `after:` with a duration.", key=True
            )
        elif "after" in value and value.get("cleanup") in ("always", "never"):
            message = f"`after` has no meaning with `cleanup: {value['cleanup']}`."
            hint = "Remove it, or write `cleanup: eventually`."
            walk.error("exclusive-properties", (*at, "after"), message, hint, key=True)


_LIFETIME: Final = Fields(
    title="the lifetime",
    anchor="run-container",
    shapes={"cleanup": Enumeration(("always", "never", "eventually")), "after": Duration()},
    required=("cleanup",),
)
_RUNS: Final[dict[str, Shape]] = {
    "container": Fields(
        title="a container",
        anchor="run-container",
        shapes={
            "image": TEXT,
            "name": TEXT,
            "command": Text(shell_text=True),
            "ports": Map(),
            "volumes": Map(),
            "environment": Map(),
            "stdin": TEXT,
            "arguments": Items(TEXT),
            "lifetime": Lifetime(),
            "pullPolicy": Enumeration(("ifNotPresent", "always", "never")),
        },
        required=("image",),
        synonyms={"env": "environment", "args": "arguments"},
    ),
    "script": Fields(
        title="a script",
        anchor="run-script",
        shapes={
            "language": Word(note="script-language"),
            "code": Text(shell_text=True),
            "source": RESOURCE,
            "stdin": TEXT,
            "arguments": Kind(expected="a list of texts, or a mapping", items=Items(TEXT), mapping=Map()),
            "environment": Map(),
        },
        required=("language",),
        choices=(Choice(("code", "source")),),
        synonyms={"env": "environment", "args": "arguments", "lang": "language"},
    ),
    "shell": Fields(
        title="a shell command",
        anchor="run-shell",
        shapes={
            "command": Text(shell_text=True),
            "stdin": TEXT,
            "arguments": Items(TEXT),
            "environment": Map(),
        },
        required=("command",),
        synonyms={"env": "environment", "args": "arguments", "cmd": "command"},
    ),
    "workflow": Fields(
        title="a workflow to run",
        anchor="run-workflow",
        shapes={"namespace": TEXT, "name": TEXT, "version": TEXT, "input": FREE},
        required=("namespace", "name", "version"),
    ),
}

_CATCH: Final = Fields(
    title="`catch`",
    anchor="try",
    shapes={
        "errors": Fields(title="`errors`", anchor="try", shapes={"with": ERROR_FILTER}, open=True),
        "as": Word(VARIABLE, binds=True),
        "when": FORMULA,
        "exceptWhen": FORMULA,
        "retry": Kind(
            expected="the name of a retry policy, or a mapping", text=Word(section="retries"), mapping=RETRY
        ),
        "do": TASKS,
        "then": DIRECTIVE,
    },
)
_FOR: Final = Fields(
    title="`for`",
    anchor="for",
    shapes={
        "each": Word(VARIABLE, binds=True),
        "in": Kind(
            expected="an expression, or a list of mappings",
            text=FORMULA,
            items=Items(Map()),
        ),
        "at": Word(VARIABLE, binds=True),
    },
    required=("in",),
)
_CASE: Final = Fields(
    title="a case", anchor="switch", shapes={"when": FORMULA, "then": DIRECTIVE}, required=("then",)
)
_EMIT: Final = Fields(
    title="`emit`",
    anchor="emit",
    shapes={
        "event": Fields(
            title="the event to emit", anchor="emit", shapes={"with": EMITTED}, required=("with",), open=True
        )
    },
    required=("event",),
)
KINDS: Final[dict[str, Fields]] = {
    "call": FUNCTION_CALL,
    "do": task_shape("do", {"do": TASKS}),
    "emit": task_shape("emit", {"emit": _EMIT}),
    "for": task_shape("for", {"for": _FOR, "while": FORMULA, "do": TASKS}, "for", "do"),
    "fork": task_shape(
        "fork",
        {
            "fork": Fields(
                title="`fork`",
                anchor="fork",
                shapes={"branches": msgspec.structs.replace(TASKS, tasks="parallel"), "compete": Flag()},
                required=("branches",),
            )
        },
    ),
    "listen": task_shape(
        "listen",
        {
            "listen": Fields(
                title="`listen`", anchor="listen", shapes={"to": EVENTS, "read": READ}, required=("to",)
            ),
            "foreach": ITERATOR,
        },
    ),
    "raise": task_shape(
        "raise",
        {
            "raise": Fields(
                title="`raise`",
                anchor="raise",
                shapes={
                    "error": Kind(
                        expected="the name of an error, or a mapping",
                        text=Word(section="errors"),
                        mapping=ERROR,
                    )
                },
                required=("error",),
            )
        },
    ),
    "run": task_shape(
        "run",
        {
            "run": Fields(
                title="`run`",
                anchor="run",
                shapes={
                    **_RUNS,
                    "await": Flag(),
                    "return": Enumeration(("stdout", "stderr", "code", "all", "none")),
                },
                choices=(Choice(tuple(_RUNS)),),
            )
        },
    ),
    "set": task_shape(
        "set", {"set": Kind(expected="a mapping, or an expression", text=TEXT, mapping=Map(at_least=1))}
    ),
    "switch": task_shape(
        "switch",
        {
            "switch": Named(
                what="case", anchor="switch", values=_CASE, words=frozenset(("when", "then")), at_least=1
            )
        },
    ),
    "try": task_shape("try", {"try": TASKS, "catch": _CATCH}, "try", "catch"),
    "wait": task_shape("wait", {"wait": Duration("warning")}),
}
_TELLTALES: Final = {"with": "call", "catch": "try", "foreach": "listen", "while": "for"}


class Task(msgspec.Struct, frozen=True):
    """A task: its kind is found first, then it is checked as that kind only."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Find the kind, then check the task's properties."""
        before, walk.anchor = walk.anchor, "flow"
        if not isinstance(value, dict):
            hint = f"Indent its kind, one of {listed(TASK_WORDS)}, below the name."
            walk.wrong_type(at, "a task", value, hint)
        else:
            self._check(value, at, walk)
        walk.anchor = before

    def _check(self, value: dict[str, Json], at: At, walk: Walk) -> None:
        kinds = [name for name in value if name in KINDS and not (name == "do" and "for" in value)]
        if len(kinds) > 1:
            message = f"A task does one thing, but {label(at)} has {listed(kinds, 'and')}."
            hint = "Make a task of each, or check the indentation."
            walk.error("several-kinds", (*at, kinds[1]), message, hint, key=True)
            value = {name: part for name, part in value.items() if name == kinds[0] or name not in kinds}
        kind = kinds[0] if kinds else self._guessed(value)
        if kind == "do" and "while" in value:
            kind = "for"
        if kind is None:
            message = f"{label(at)} does not say what kind of task it is."
            walk.error("no-kind", at, message, f"Add one of {listed(TASK_WORDS)}.", key=True)
            return
        shape = KINDS[kind]
        called = value.get("call")
        if kind == "call" and isinstance(called, str):
            shape = CALLS.get(called, FUNCTION_CALL)
        shape.check(value, at, walk)

    def _guessed(self, value: dict[str, Json]) -> str | None:
        for name in value:
            if name not in BASE and (guess := nearest(name, TASK_WORDS)):
                return guess
        return next((kind for name, kind in _TELLTALES.items() if name in value), None)


TASK: Final = Task()

EXTENDED: Final = (
    "call",
    "composite",
    "emit",
    "for",
    "listen",
    "raise",
    "run",
    "set",
    "switch",
    "try",
    "wait",
    "all",
)
USE: Final = Fields(
    title="`use`",
    anchor="document",
    shapes={
        "authentications": Map(DEFINED_AUTHENTICATION),
        "errors": Map(ERROR),
        "extensions": Named(
            what="extension",
            anchor="extension",
            values=Fields(
                title="an extension",
                anchor="extension",
                shapes={"extend": Enumeration(EXTENDED), "when": FORMULA, "before": TASKS, "after": TASKS},
                required=("extend",),
            ),
            words=frozenset(("extend", "when", "before", "after")),
        ),
        "functions": Map(TASK),
        "retries": Map(RETRY),
        "secrets": Items(WORD),
        "timeouts": Map(TIMEOUT),
        "catalogs": Map(CATALOG),
    },
)
DOCUMENT: Final = Fields(
    title="a workflow",
    anchor="document",
    shapes={
        "document": Fields(
            title="`document`",
            anchor="document",
            shapes={
                "dsl": Word(VERSION, note="dsl"),
                "namespace": Word(NAME),
                "name": Word(NAME),
                "version": Word(VERSION),
                "title": WORD,
                "summary": WORD,
                "tags": LITERAL,
                "metadata": LITERAL,
            },
            required=("dsl", "namespace", "name", "version"),
        ),
        "input": INPUT,
        "use": USE,
        "do": TASKS,
        "timeout": TIMEOUT_OR_NAME,
        "output": OUTPUT,
        "schedule": Fields(
            title="`schedule`",
            anchor="document",
            shapes={
                "every": Duration("error"),
                "cron": Cron(),
                "after": Duration(),
                "on": EVENTS,
                "read": READ,
            },
            needs={"read": "on"},
        ),
        "evaluate": Fields(
            title="`evaluate`",
            anchor="document",
            shapes={"language": Word(note="expression-language"), "mode": Enumeration(("strict", "loose"))},
        ),
    },
    required=("document", "do"),
    open=True,
)
