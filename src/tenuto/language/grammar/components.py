"""What several tasks share: endpoints, schemas, data flow, errors, retries, events, task lists."""

from __future__ import annotations

from typing import Final

import msgspec

from tenuto.engine.model import Json
from tenuto.language.grammar.forms import (
    DATA,
    DIRECTIVE,
    FORMULA,
    FREE,
    LITERAL,
    POINTER,
    TEXT,
    TIME,
    URI,
    VARIABLE,
    WORD,
    Duration,
)
from tenuto.language.grammar.security import AUTHENTICATION
from tenuto.language.grammar.shapes import (
    AnyTask,
    Choice,
    Fields,
    Free,
    Items,
    Kind,
    Map,
    Named,
    Text,
    Whole,
    Word,
)
from tenuto.language.grammar.walk import At, Shape, Walk, shown

ENDPOINT: Final = Kind(
    expected="a URI, one whole expression, or a mapping with `uri`",
    text=Text(URI),
    mapping=Fields(
        title="an endpoint",
        anchor="endpoint",
        shapes={"uri": Text(URI), "authentication": AUTHENTICATION},
        required=("uri",),
        synonyms={"url": "uri", "auth": "authentication", "href": "uri"},
    ),
)
RESOURCE: Final = Fields(
    title="an external resource",
    anchor="external-resource",
    shapes={"name": WORD, "endpoint": ENDPOINT},
    required=("endpoint",),
    synonyms={"uri": "endpoint", "url": "endpoint"},
)
CATALOG: Final = Fields(
    title="a catalog", anchor="catalog", shapes={"endpoint": ENDPOINT}, required=("endpoint",)
)
SCHEMA: Final = Fields(
    title="a schema",
    anchor="schema",
    shapes={"format": WORD, "document": Free(literal=True), "resource": RESOURCE},
    choices=(Choice(("document", "resource")),),
)


class SchemaShape(msgspec.Struct, frozen=True):
    """A schema, in the one format that there is; its document is compiled after the walk."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check the properties and note the document."""
        SCHEMA.check(value, at, walk)
        written = value.get("format", "json") if isinstance(value, dict) else None
        if not isinstance(written, str):
            return
        if written.split(":")[0] != "json":
            message = f"Schemas are written in JSON Schema (`json`) here, not in {shown(written)}."
            walk.error("unsupported-language", (*at, "format"), message, "Write `format: json`.")
        elif "document" in value:
            walk.note((*at, "document"), "schema", value["document"], "schema")


def _data_flow(title: str, verb: str) -> Fields:
    return Fields(title=f"`{title}`", anchor=title, shapes={"schema": SchemaShape(), verb: DATA})


INPUT: Final = _data_flow("input", "from")
OUTPUT: Final = _data_flow("output", "as")
EXPORT: Final = _data_flow("export", "as")
TIMEOUT: Final = Fields(
    title="a timeout", anchor="timeout", shapes={"after": Duration("warning")}, required=("after",)
)
TIMEOUT_OR_NAME: Final = Kind(
    expected="the name of a timeout, or a mapping with `after`",
    text=Word(section="timeouts"),
    mapping=TIMEOUT,
)
ERROR: Final = Fields(
    title="an error",
    anchor="error",
    shapes={"type": Text(URI), "status": Whole(), "instance": Text(POINTER), "title": TEXT, "detail": TEXT},
    required=("type", "status"),
    synonyms={"details": "detail", "message": "detail", "code": "status"},
)
ERROR_FILTER: Final = Fields(
    title="an error filter",
    anchor="try",
    shapes={"type": WORD, "status": Whole(), "instance": WORD, "title": WORD, "detail": WORD},
    open=True,
    at_least=1,
)
_BACKOFFS: Final = ("constant", "exponential", "linear")
RETRY: Final = Fields(
    title="a retry policy",
    anchor="retry",
    shapes={
        "when": FORMULA,
        "exceptWhen": FORMULA,
        "delay": Duration(),
        "backoff": Fields(
            title="a backoff",
            anchor="retry",
            shapes=dict.fromkeys(_BACKOFFS, LITERAL),
            choices=(Choice(_BACKOFFS),),
        ),
        "limit": Fields(
            title="a retry limit",
            anchor="retry",
            shapes={
                "attempt": Fields(
                    title="a limit of attempts",
                    anchor="retry",
                    shapes={"count": Whole(), "duration": Duration()},
                ),
                "duration": Duration(),
            },
        ),
        "jitter": Fields(
            title="a jitter",
            anchor="retry",
            shapes={"from": Duration(), "to": Duration()},
            required=("from", "to"),
        ),
    },
)

_ATTRIBUTES: Final[dict[str, Shape]] = {
    "id": TEXT,
    "source": Text(URI),
    "type": TEXT,
    "time": Text(TIME),
    "subject": TEXT,
    "datacontenttype": TEXT,
    "dataschema": Text(URI),
    "data": FREE,
}
EMITTED: Final = Fields(title="an event", anchor="emit", shapes=_ATTRIBUTES, required=("type",), extra=FREE)
EVENT_FILTER: Final = Fields(
    title="an event filter",
    anchor="event-filter",
    shapes={
        "with": Fields(
            title="the attributes of an event filter",
            anchor="event-filter",
            shapes=_ATTRIBUTES,
            extra=FREE,
            at_least=1,
        ),
        "correlate": Map(
            Fields(
                title="a correlation",
                anchor="event-filter",
                shapes={"from": FORMULA, "expect": TEXT},
                required=("from",),
                open=True,
            )
        ),
    },
    required=("with",),
)
_ALTERNATIVES: Final[dict[str, Shape]] = {
    "all": Items(EVENT_FILTER),
    "any": Items(EVENT_FILTER),
    "one": EVENT_FILTER,
}
_UNTIL: Final = Kind(
    expected="an expression, or the events to wait for",
    text=FORMULA,
    mapping=Fields(
        title="the events of `until`",
        anchor="listen",
        shapes=_ALTERNATIVES,
        choices=(Choice(tuple(_ALTERNATIVES)),),
    ),
)
EVENTS: Final = Fields(
    title="the events to consume",
    anchor="listen",
    shapes={**_ALTERNATIVES, "until": _UNTIL},
    choices=(Choice(tuple(_ALTERNATIVES)),),
    needs={"until": "any"},
)
TASK_WORDS: Final = (
    "call", "do", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait",
)  # fmt: skip
TASKS: Final = Named(
    what="task", anchor="flow", values=AnyTask(), words=frozenset(TASK_WORDS), tasks="sequence"
)
ITERATOR: Final = Fields(
    title="`foreach`",
    anchor="listen",
    shapes={
        "item": Word(VARIABLE, binds=True),
        "at": Word(VARIABLE, binds=True),
        "do": TASKS,
        "output": OUTPUT,
        "export": EXPORT,
    },
)

BASE: Final[dict[str, Shape]] = {
    "if": FORMULA,
    "input": INPUT,
    "output": OUTPUT,
    "export": EXPORT,
    "timeout": TIMEOUT_OR_NAME,
    "then": DIRECTIVE,
    "metadata": LITERAL,
}
TASK_SYNONYMS: Final = {"when": "if", "next": "then", "goto": "then"}


def task_shape(kind: str, shapes: dict[str, Shape], *required: str, anchor: str = "") -> Fields:
    """Return the shape of a task: the properties of its kind, and those of every task."""
    return Fields(
        title=f"a `{kind}` task",
        anchor=anchor or kind,
        shapes={**shapes, **BASE},
        required=required or (kind,),
        synonyms={**TASK_SYNONYMS, "for": "for"} if kind == "do" else TASK_SYNONYMS,
    )
