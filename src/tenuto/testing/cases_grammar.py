"""What a test file may look like, written with the shapes of the language's own grammar."""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from tenuto.engine.model import Json, Status
from tenuto.language.duration import duration_seconds
from tenuto.language.grammar.forms import NOT_EMPTY, TIME
from tenuto.language.grammar.shapes import (
    Choice,
    Enumeration,
    Fields,
    Flag,
    Free,
    Map,
    Whole,
    Word,
)
from tenuto.language.grammar.walk import At, Shape, Walk, label, shown

DATA: Final = Free(literal=True)


class CaseWalk(Walk):
    """A walk through a test file; what is wrong is explained on the page about these."""

    page = "docs/reference/test-files.md"


class Listed(msgspec.Struct, frozen=True):
    """A list of things of one shape."""

    items: Shape
    what: str
    at_least: int = 0

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check each item."""
        if not isinstance(value, list):
            walk.wrong_type(at, f"a list of {self.what}", value, "Begin each item with `- `.")
            return
        if len(value) < self.at_least:
            walk.error("empty-value", at, f"{label(at)} must not be empty.", f"Add {self.what}.", key=True)
        for index, item in enumerate(value):
            self.items.check(item, (*at, index), walk)


class Span(msgspec.Struct, frozen=True):
    """A length of time."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check that it is one."""
        try:
            duration_seconds(value)
        except (ValueError, TypeError) as error:
            message = f"{label(at)} must be a length of time, but it is {shown(value)}: {error}."
            walk.error("bad-duration", at, message, "Write `P30D`, `PT10M` or `minutes: 10`.")


NAME: Final = Word(NOT_EMPTY)
FAULT: Final = Fields(
    title="an error",
    anchor="stubs",
    shapes={
        "status": Whole(100, 599),
        "type": NAME,
        "title": Word(),
        "detail": Word(),
        "transient": Flag(),
    },
    at_least=1,
    synonyms={"code": "status", "message": "detail"},
)
STUB: Final = Fields(
    title="a stub",
    anchor="stubs",
    shapes={
        "call": NAME,
        "with": DATA,
        "returns": DATA,
        "fails": FAULT,
        "takes": Span(),
        "hangs": Flag(),
        "times": Whole(1, None),
    },
    required=("call",),
    choices=(Choice(("returns", "fails", "hangs")),),
    synonyms={
        "function": "call",
        "arguments": "with",
        "args": "with",
        "return": "returns",
        "output": "returns",
        "result": "returns",
        "raises": "fails",
        "error": "fails",
        "delay": "takes",
    },
)
EVENT: Final = Fields(
    title="an event",
    anchor="events",
    shapes={"type": NAME, "data": DATA, "after": Span(), "subject": Word(), "source": Word(), "id": Word()},
    required=("type",),
    extra=Word(),
)
CALLED: Final = Fields(
    title="an expected call",
    anchor="calls",
    shapes={"call": NAME, "with": DATA},
    required=("call",),
    synonyms={"function": "call", "arguments": "with", "args": "with"},
)
ELAPSED: Final = Fields(
    title="the time that passed",
    anchor="expectations",
    shapes={"atLeast": Span(), "atMost": Span()},
    at_least=1,
    synonyms={"min": "atLeast", "max": "atMost", "at least": "atLeast", "at most": "atMost"},
)
EXPECTED: Final = Fields(
    title="an expectation",
    anchor="expectations",
    shapes={
        "output": DATA,
        "contains": DATA,
        "status": Enumeration(get_args(Status)),
        "error": msgspec.structs.replace(FAULT, anchor="expectations"),
        "calls": Listed(CALLED, "calls"),
        "elapsed": ELAPSED,
    },
    choices=(Choice(("output", "contains", "error"), required=False),),
    at_least=1,
    synonyms={"result": "output", "returns": "output", "fails": "error", "duration": "elapsed"},
)
CASE: Final = Fields(
    title="a case",
    anchor="cases",
    shapes={
        "name": NAME,
        "input": DATA,
        "secrets": Map(DATA),
        "stubs": Listed(STUB, "stubs"),
        "events": Listed(EVENT, "events"),
        "expect": EXPECTED,
    },
    required=("name", "expect"),
    synonyms={"title": "name", "with": "input", "given": "input", "mocks": "stubs", "then": "expect"},
)
TEST_FILE: Final = Fields(
    title="a test file",
    anchor="the-file",
    shapes={
        "workflow": NAME,
        "with": Listed(NAME, "paths"),
        "start": Word(TIME),
        "secrets": Map(DATA),
        "stubs": Listed(STUB, "stubs"),
        "allow": Listed(NAME, "functions"),
        "cases": Listed(CASE, "cases", 1),
    },
    required=("workflow", "cases"),
    synonyms={"document": "workflow", "file": "workflow", "tests": "cases"},
)
