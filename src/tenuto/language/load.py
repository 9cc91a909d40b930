"""Reads a workflow document: YAML 1.2 (JSON included) in, plain values with positions out.

The text is read through libyaml's event stream, scalars are resolved here by the core schema of
YAML 1.2 (`on`, `no` and `1.0.0` are text), and whatever makes a document mean something else
than it seems to say is refused: anchors, aliases, merge keys, duplicate keys, custom tags.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from tenuto.engine.model import Json
from tenuto.errors import InvalidDocument, Problem

MAXIMUM_BYTES: Final = 1024 * 1024
MAXIMUM_DEPTH: Final = 64

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REFERENCE: Final = "See docs/reference/documents.md#{}."

# (line, column, children): children maps a key to (key line, key column, mark of its value),
# or lists the marks of a sequence's items. Lines and columns count from 0, as libyaml has them.
_Mark: TypeAlias = tuple[int, int, Any]


class Source(msgspec.Struct, frozen=True, eq=False):
    """A document as it was read: its name, its text, its plain JSON value, and where each part stands.

    >>> load("do: []").position("/do")
    (1, 5)
    """

    name: str
    text: str
    data: Json
    marks: Any

    def position(self, pointer: str, *, key: bool = False) -> tuple[int, int]:
        """Return (line, column), from 1, of the value at an RFC 6901 pointer, or of its key.

        A pointer to something that is not there gives the nearest enclosing value that is.
        """
        return self.position_at(steps_of(pointer), key=key)

    def position_at(self, steps: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Return what `position` gives, for a pointer that is already taken apart."""
        line, column, children = self.marks
        for index, step in enumerate(steps):
            if isinstance(children, dict) and str(step) in children:
                key_line, key_column, (line, column, children) = children[str(step)]
                if key and index == len(steps) - 1:
                    line, column = key_line, key_column
            elif isinstance(children, list) and str(step).isdecimal() and int(step) < len(children):
                line, column, children = children[int(step)]
            else:
                break
        return line + 1, column + 1


def pointer_of(steps: Sequence[str | int]) -> str:
    """Return the RFC 6901 pointer: `("do", 0, "a/b")` gives `/do/0/a~1b`."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def steps_of(pointer: str) -> list[str]:
    """Return the unescaped steps of an RFC 6901 pointer; the empty pointer has none."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def digest(text: str) -> str:
    """Return the SHA-256 of a document's text (UTF-8) as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def load(text: str | bytes, name: str = "<document>") -> Source:
    """Read a document.

    Raises:
        InvalidDocument: with one problem, the first that was met.
    """
    decoded = _decoded(text, name)
    readable = _json_escapes_as_yaml(decoded)
    reader = _Reader(name)
    try:
        data, marks = reader.read(yaml.parse(readable, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        _refuse(name, "syntax", *_human(error, decoded))
    except yaml.YAMLError as error:
        _refuse(name, "syntax", (0, 0), f"This is not YAML: {error}", "Check the file's content.")
    return Source(name, decoded, data, marks)


def _refuse(
    name: str, code: str, at: tuple[int, int], message: str, hint: str, *, path: str = ""
) -> NoReturn:
    problem = Problem(code, at[0] + 1, at[1] + 1, path, message, f"{hint} {_REFERENCE.format(code)}")
    raise InvalidDocument(name, [problem])


# ── text ─────────────────────────────────────────────────────────────────────────────────

# What YAML does not allow in a stream, byte order marks inside it included.
_FORBIDDEN: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_ESCAPE: Final = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)")


def _decoded(text: str | bytes, name: str) -> str:
    if isinstance(text, str):
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError as error:
            at = _place(text, error.start)
            _refuse(name, "not-utf-8", at, "Half of a surrogate pair stands here.", "Remove the character.")
    else:
        raw = text
    if len(raw) > MAXIMUM_BYTES:
        _refuse(
            name,
            "too-large",
            (0, 0),
            f"The document has {len(raw)} bytes; at most {MAXIMUM_BYTES} (1 MiB) are read.",
            "Split it: workflows can run other workflows and read external resources.",
        )
    try:
        decoded = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The place is counted behind a byte order mark, if there is one.
        raw = raw.removeprefix(codecs.BOM_UTF8)
        at = _place(raw[: error.start].decode("utf-8"), None)
        _refuse(
            name,
            "not-utf-8",
            at,
            f"The byte 0x{raw[error.start]:02x} is not part of UTF-8 text.",
            "Save the file as UTF-8.",
        )
    forbidden = _FORBIDDEN.search(decoded)
    if forbidden:
        _refuse(
            name,
            "control-character",
            _place(decoded, forbidden.start()),
            f"The character U+{ord(forbidden[0]):04X} cannot stand in a document.",
            'Remove it, or write it as an escape inside double quotes, as in "\\u0007".',
        )
    return decoded


def _place(text: str, offset: int | None) -> tuple[int, int]:
    before = text if offset is None else text[:offset]
    return before.count("\n"), len(before) - (before.rfind("\n") + 1)


def _json_escapes_as_yaml(text: str) -> str:
    """Return JSON text with its surrogate pairs in the one spelling that libyaml can read."""
    if "\\u" not in text or not text.lstrip().startswith("{"):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _ESCAPE.sub(_joined, text)


def _joined(match: re.Match[str]) -> str:
    if not match[1]:
        return match[0]
    code = 0x10000 + ((int(match[1], 16) - 0xD800) << 10) + (int(match[2], 16) - 0xDC00)
    return f"\\U{code:08X}"


# ── events ───────────────────────────────────────────────────────────────────────────────


class _Open:
    """A mapping or sequence whose end has not come yet."""

    __slots__ = ("children", "key", "key_mark", "mark", "value")

    def __init__(self, value: Any, mark: tuple[int, int]) -> None:
        self.value = value
        self.mark = mark
        self.children: Any = {} if isinstance(value, dict) else []
        self.key: str | None = None
        self.key_mark = mark


class _Reader:
    """Builds plain values from parser events, without recursion."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[_Open] = []
        self.root: Json = None
        self.marks: _Mark | None = None
        self.documents = 0

    def read(self, events: Iterator[Event]) -> tuple[Json, _Mark]:
        for event in events:
            self._take(event)
        if self.marks is None or self.root is None:
            self._refuse(
                "empty-document", (0, 0), "The document is empty.", "Begin with `document:` and `do:`."
            )
        return self.root, self.marks

    def _refuse(self, code: str, at: tuple[int, int], message: str, hint: str) -> NoReturn:
        steps = [len(level.children) if level.key is None else level.key for level in self.stack]
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            steps.pop()
        _refuse(self.name, code, at, message, hint, path=pointer_of(steps))

    def _take(self, event: Event) -> None:
        if isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._begin(event)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            done = self.stack.pop()
            self._place(done.value, (*done.mark, done.children))
        elif isinstance(event, AliasEvent):
            self._refuse(
                "alias",
                _at(event),
                f"`*{event.anchor}` is an alias; aliases are not read.",
                "Repeat the value, or define it once under `use` and refer to it by name.",
            )
        elif isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._refuse(
                    "several-documents",
                    _at(event),
                    "A second document begins here; a file holds one.",
                    "Put each workflow into a file of its own.",
                )

    def _begin(self, event: Any) -> None:
        mapping = isinstance(event, MappingStartEvent)
        self._check_properties(event, "tag:yaml.org,2002:map" if mapping else "tag:yaml.org,2002:seq")
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            self._refuse(
                "key-not-text",
                _at(event),
                f"A {'mapping' if mapping else 'list'} stands where a key is expected.",
                "Quote the text if it begins with `{` or `[`; expressions are written '${ ... }'.",
            )
        if len(self.stack) >= MAXIMUM_DEPTH:
            self._refuse(
                "too-deep",
                _at(event),
                f"This is nested more than {MAXIMUM_DEPTH} levels deep.",
                "Move inner tasks into `use.functions` or into a workflow of their own.",
            )
        self.stack.append(_Open({} if mapping else [], _at(event)))

    def _scalar(self, event: ScalarEvent) -> None:
        self._check_properties(event, None)
        value = self._resolved(event)
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            self._key(event, value)
        else:
            self._place(value, (*_at(event), None))

    def _key(self, event: ScalarEvent, value: Json) -> None:
        if event.implicit[0] and value == "<<":
            self._refuse(
                "merge-key",
                _at(event),
                "`<<` merges another mapping into this one; merge keys are not read.",
                "Write the properties out.",
            )
        if not isinstance(value, str):
            kind = {bool: "a boolean", int: "a number", float: "a number"}.get(type(value), "empty")
            self._refuse(
                "key-not-text",
                _at(event),
                f"The key `{event.value}` is {kind}; keys are text.",
                f'Write it in quotes: "{event.value}".',
            )
        top = self.stack[-1]
        if value in top.value:
            line = top.children[value][0] + 1
            self._refuse(
                "duplicate-key",
                _at(event),
                f"The key `{value}` is already in this mapping, in line {line}.",
                "Remove one of the two, or check the indentation.",
            )
        top.key, top.key_mark = value, _at(event)

    def _place(self, value: Json, mark: _Mark) -> None:
        if not self.stack:
            self.root, self.marks = value, mark
            return
        top = self.stack[-1]
        if top.key is None:
            top.value.append(value)
            top.children.append(mark)
        else:
            top.value[top.key] = value
            top.children[top.key] = (*top.key_mark, mark)
            top.key = None

    def _check_properties(self, event: Any, natural: str | None) -> None:
        if event.anchor is not None:
            self._refuse(
                "anchor",
                _at(event),
                f"`&{event.anchor}` is an anchor; anchors are not read.",
                "Remove it; define what is used twice under `use` and refer to it by name.",
            )
        if event.tag is not None and event.tag not in (natural, "!", "tag:yaml.org,2002:str"):
            self._refuse(
                "custom-tag", _at(event), f"The tag `{_short(event.tag)}` is not read.", "Remove it."
            )
        if natural is not None and event.tag == "tag:yaml.org,2002:str":
            self._refuse(
                "custom-tag", _at(event), "`!!str` stands before something that is not text.", "Remove it."
            )

    def _resolved(self, event: ScalarEvent) -> Json:
        if not event.implicit[0] or event.tag == "!":
            return event.value
        try:
            return plain_value(event.value)
        except ValueError as error:
            self._refuse(
                "number", _at(event), str(error), f'If text is meant, quote it: "{event.value[:40]}".'
            )


def _at(event: Any) -> tuple[int, int]:
    return event.start_mark.line, event.start_mark.column


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


# ── scalars ──────────────────────────────────────────────────────────────────────────────

_WORDS: Final[dict[str, Json]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_INTEGER: Final = 70


def plain_value(text: str) -> Json:
    """Return what an unquoted scalar means in the core schema of YAML 1.2.

    >>> plain_value("12"), plain_value("1.0.0"), plain_value("no")
    (12, '1.0.0', 'no')

    Raises:
        ValueError: for numbers that JSON or 64 bits cannot hold.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        number = int(text, base) if len(text) <= _LONGEST_INTEGER else 1 << 64
        if not -(1 << 63) <= number < 1 << 64:
            raise ValueError("This whole number does not fit into 64 bits.")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"`{text}` is not a number that JSON knows.")
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("This number is too large.")
        return value
    return text


# ── what libyaml says, for people ────────────────────────────────────────────────────────

_INDENTATION: Final = "Check the indentation of this line and of the line above."
_SAYINGS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "mapping values are not allowed",
        "A `:` is not expected here.",
        "Quote text that contains `: `, and check the indentation.",
    ),
    (
        "cannot start any token",
        "No value begins with this character.",
        "Use spaces, not tabs, to indent; quote text that begins with @, ` or %.",
    ),
    ("could not find expected ':'", "A key without `:` stands here or just above.", "Write `key: value`."),
    (
        "did not find expected key",
        "A `key:` is expected here.",
        f"{_INDENTATION} Look for a quote that is not closed.",
    ),
    ("did not find expected '-'", "A list item (`- `) is expected here.", _INDENTATION),
    ("unexpected end of stream", "A quoted text begins here and never ends.", "Close the quotes."),
    (
        "unexpected document indicator",
        "A quoted text begins here and is not closed before `---`.",
        "Close the quotes.",
    ),
    (
        "expected ',' or ']'",
        "A list in `[ ]` is not closed, or a comma is missing.",
        "Add `,` or `]`; quote an expression inside `[ ]`.",
    ),
    (
        "expected ',' or '}'",
        "A mapping in `{ }` is not closed, or a comma is missing.",
        "Add `,` or `}`; quote an expression inside `{ }`.",
    ),
    ("block sequence entries are not allowed", "A list item (`- `) is not expected here.", _INDENTATION),
    (
        "unknown escape character",
        "This backslash escape does not exist.",
        "Use single quotes, or write `\\\\`.",
    ),
    (
        "did not find expected hexdecimal",
        "This escape needs hexadecimal digits.",
        "Use single quotes, or write `\\\\`.",
    ),
    ("invalid Unicode character escape", "This escape is no character.", "Write the character itself."),
    ("undefined tag handle", "This tag is not read.", "Remove it."),
    (
        "did not find expected node content",
        "A value is expected here.",
        "Quote the text, or remove what is too much.",
    ),
)


def _human(error: yaml.MarkedYAMLError, text: str) -> tuple[tuple[int, int], str, str]:
    """Return where, what and how to mend, from libyaml's error."""
    saying = error.problem or error.context or "it cannot be read"
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    at = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    if at[0] < len(lines) and lines[at[0]][at[1] : at[1] + 1] == "\t":
        return at, "A tab stands here; only spaces indent.", "Replace the tab by spaces."
    message, hint = next(
        ((message, hint) for fragment, message, hint in _SAYINGS if fragment in saying),
        (f"This is not valid YAML: {saying}.", _INDENTATION),
    )
    if context and "Close the quotes" in hint:
        return (context.line, context.column), message, hint
    if context and context.line != at[0]:
        message += f" (What it belongs to begins in line {context.line + 1}.)"
    return at, message, hint
