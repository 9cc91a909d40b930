"""One walk through a document: the mistakes met, and what has to be looked up when it is over."""

from __future__ import annotations

import difflib
import json
from collections.abc import Container, Iterable
from functools import cached_property
from itertools import islice
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from tenuto.engine.model import Json
from tenuto.errors import Problem
from tenuto.language.load import Source, pointer_of

MAXIMUM_PROBLEMS: Final = 100

At: TypeAlias = tuple[str | int, ...]

MAXIMUM_MESSAGE: Final = 500

_SHOWN_LENGTH: Final = 60
# Longer words and further candidates are not compared: it would take long and help nobody.
_COMPARED_LENGTH: Final = 60
_COMPARED_WORDS: Final = 1000
_LISTED_WORDS: Final = 20


class Shape(Protocol):
    """What a value has to look like."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Tell the walk what is wrong with the value at a place, and what to look up later."""


class Expression(msgspec.Struct, frozen=True):
    """A jq expression met in a document, as the whole text of a scalar."""

    at: At
    text: str
    anchor: str
    data: bool = False  # the loose mode admits that it is none


class Reference(msgspec.Struct, frozen=True):
    """A name that has to be defined in a section of `use`."""

    at: At
    section: str
    name: str
    anchor: str


class TaskList(msgspec.Struct, frozen=True):
    """A list of tasks; `parallel` when its tasks are the branches of a fork."""

    at: At
    items: list[Json]
    parallel: bool


class Noted(msgspec.Struct, frozen=True):
    """A value whose meaning is checked after the walk; `how` says what to check it for."""

    at: At
    how: str
    value: Json
    anchor: str


class Walk:
    """Collects problems and facts while the shapes of the grammar go through a document.

    `task` is the shape of every task, to which lists of tasks come back.

    `anchor` is the heading of the language reference that explains the part being looked at.
    `outer` are the property names of the mappings around it. `damaged` are the places where a
    property was not recognised: what seems to be missing there may only be misspelt, so
    nothing is said about it twice. `variables` are the names that the document binds; `loose`
    is the mode in which expressions inside longer text are evaluated too. `page` is where the
    anchors stand.
    """

    page = "docs/reference/language.md"

    def __init__(self, source: Source, task: Shape) -> None:
        self.source = source
        self.task = task
        self.anchor = "document"
        self.outer: list[Container[str]] = []
        self._problems: dict[str, dict[Problem, None]] = {"error": {}, "warning": {}}
        self.damaged: set[At] = set()
        self.loose = _is_loose(source.data)
        self.variables: set[str] = set()
        self.expressions: list[Expression] = []
        self.references: list[Reference] = []
        self.lists: list[TaskList] = []
        self.noted: list[Noted] = []

    def error(self, code: str, at: At, message: str, hint: str = "", *, key: bool = False) -> None:
        """Record a mistake at a value, or at its key."""
        line, column = self.source.position_at(at, key=key)
        self.report(code, (line, column), at, message, hint)

    def warn(self, code: str, at: At, message: str, hint: str = "", *, key: bool = False) -> None:
        """Record something that is allowed but hardly meant."""
        line, column = self.source.position_at(at, key=key)
        self.report(code, (line, column), at, message, hint, severity="warning")

    def report(
        self,
        code: str,
        position: tuple[int, int],
        at: At,
        message: str,
        hint: str,
        *,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Record a problem at a known line and column, unless that was said already."""
        if self.is_full(severity):
            return
        told = f"{hint} See {self.page}#{self.anchor}.".lstrip()
        if len(message) > MAXIMUM_MESSAGE:
            message = message[: MAXIMUM_MESSAGE - 1] + "…"
        problem = Problem(code, *position, pointer_of(at), message, told, severity)
        self._problems[severity][problem] = None

    def is_full(self, severity: Literal["error", "warning"] = "error") -> bool:
        """Return whether no more problems of that severity are taken."""
        return len(self._problems[severity]) >= MAXIMUM_PROBLEMS

    def count(self) -> int:
        """Return how many problems there are."""
        return sum(len(found) for found in self._problems.values())

    def problems(self) -> list[Problem]:
        """Return the problems in the order of the text; warnings only as far as errors leave room."""
        kept = [*self._problems["error"], *self._problems["warning"]][:MAXIMUM_PROBLEMS]
        return sorted(kept, key=lambda problem: (problem.line, problem.column))

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the document's text."""
        return self.source.text.split("\n")

    def note(self, at: At, how: str, value: Json, anchor: str | None = None) -> None:
        """Keep a value for a check after the walk."""
        self.noted.append(Noted(at, how, value, anchor or self.anchor))

    def wrong_type(self, at: At, expected: str, value: Json, hint: str = "") -> None:
        """Record that a value is not of the kind that belongs here."""
        self.error("wrong-type", at, f"{label(at)} must be {expected}, but it is {shown(value)}.", hint)


def _is_loose(data: Json) -> bool:
    evaluate = data.get("evaluate") if isinstance(data, dict) else None
    return isinstance(evaluate, dict) and evaluate.get("mode") == "loose"


def label(at: At) -> str:
    """Return how a place is called in messages: its key, or its position in a list."""
    if not at:
        return "The document"
    last = at[-1]
    if isinstance(last, str):
        return f"`{last}`"
    owner = next((step for step in reversed(at) if isinstance(step, str)), None)
    return f"Item {last + 1} of `{owner}`" if owner else f"Item {last + 1}"


def shown(value: Json) -> str:
    """Return a value as messages show it, shortened."""
    match value:
        case None:
            return "empty"
        case bool():
            return f"`{json.dumps(value)}`"
        case int() | float():
            return f"the number {json.dumps(value)}"
        case str():
            text = value if len(value) <= _SHOWN_LENGTH else value[: _SHOWN_LENGTH - 1] + "…"
            return f"the text {json.dumps(text, ensure_ascii=False)}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def nearest(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the word that was probably meant, if any is close; of two that are, the first.

    >>> nearest("metod", ["method", "endpoint"]), nearest("fi", ["in", "if"])
    ('method', 'if')
    """
    plain = _plain(word)
    best, found = cutoff, None
    if len(word) > _COMPARED_LENGTH:
        return None
    matcher = difflib.SequenceMatcher(b=plain)
    for candidate in islice(words, _COMPARED_WORDS):
        other = _plain(candidate)
        matcher.set_seq1(other)
        if matcher.real_quick_ratio() < best or matcher.quick_ratio() < best:
            continue
        swapped = len(other) == len(plain) and sorted(other) == sorted(plain)
        ratio = 0.9 if swapped and other != plain else matcher.ratio()
        if ratio >= best and (found is None or ratio > best):
            best, found = ratio, candidate
    return found


def _plain(word: str) -> str:
    return word.casefold().replace("-", "").replace("_", "")


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """Return words as a sentence has them: `a`, `b` or `c`."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {conjunction} {quoted[-1]}"


def meant(word: str, words: Iterable[str]) -> str:
    """Return a hint: the nearest of the words if one is close, all of them otherwise."""
    known = list(islice(words, _COMPARED_WORDS))
    guess = nearest(word, known)
    if guess is not None:
        return f"Did you mean `{guess}`?"
    return f"Known are {listed(known[:_LISTED_WORDS], 'and')}." if known else ""
