"""The standard's own documents: all examples are valid, what it calls invalid is refused for what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tenuto.errors import Problem
from tenuto.language.load import load
from tenuto.operations.documents import check

EXAMPLES = 68

# By file: code, line, column, path, and the message.
REFUSED = {
    "extra-property-in-call": (
        "unknown-property",
        12,
        7,
        "/do/0/getPet/foo",
        "`foo` is not a property of a `call: http` task.",
    ),
    # Its second mistake is to be found only when the first is mended; see below.
    "listen-any-until-any-until": (
        "duplicate-key",
        7,
        1,
        "",
        "The key `do` is already in this mapping, in line 6.",
    ),
    "two-tasks-in-one-item": (
        "one-name-per-item",
        12,
        5,
        "/do/0/setMessage",
        "`setMessage` stands beside `getPet`; an item of this list holds one task.",
    ),
}


def place(problem: Problem) -> tuple[Any, ...]:
    """What a problem says, and where."""
    return problem.code, problem.line, problem.column, problem.path, problem.message


@pytest.fixture(scope="module")
def schema(standard: Path) -> jsonschema_rs.Validator:
    """The standard's own schema; what it says of URI templates is left to its patterns."""
    text = load((standard / "schema" / "workflow.yaml").read_bytes()).data
    free = {"uri-template": lambda _: True, "uri-reference": lambda _: True}
    return jsonschema_rs.Draft202012Validator(text, validate_formats=True, formats=free)


def test_every_example_is_valid(standard: Path, schema: jsonschema_rs.Validator) -> None:
    """No error and no warning in any of the 68; the standard's schema says the same."""
    files = sorted((standard / "examples").glob("*.yaml"))
    checked = [check(file.name, file.read_bytes()) for file in files]

    assert EXAMPLES == len(files)
    assert [] == [(one.file, place(problem)) for one in checked for problem in one.problems]
    assert all(one.source is not None and schema.is_valid(one.source.data) for one in checked)


def test_every_invalid_document_is_refused_once(standard: Path) -> None:
    """One mistake gives one message, at its place, with what to do about it."""
    found = {
        file.stem: check(file.name, file.read_bytes()).problems
        for file in sorted((standard / "invalid").glob("*.yaml"))
    }

    assert {name: [expected] for name, expected in REFUSED.items()} == {
        name: [place(problem) for problem in problems] for name, problems in found.items()
    }
    assert all("See docs/reference/" in (problem.hint or "") for one in found.values() for problem in one)


def test_the_mistake_that_the_file_is_named_for_is_found(standard: Path) -> None:
    """With its doubled key mended, the document is refused for `until` inside `until`, and only that."""
    text = (standard / "invalid" / "listen-any-until-any-until.yaml").read_text()
    (problem,) = check("mended.yaml", text.replace("do:\ndo:\n", "do:\n").encode()).problems

    assert ("unknown-property", 13, 13, "/do/0/callDoctor/listen/to/until/until") == place(problem)[:4]


def test_a_mended_document_is_accepted(standard: Path, schema: jsonschema_rs.Validator) -> None:
    """It is the mistake that is refused: without it the same document is valid."""
    text = (standard / "invalid" / "extra-property-in-call.yaml").read_text()
    mended = check("mended.yaml", text.replace("      foo: bar", "").encode())

    assert () == mended.problems
    assert not schema.is_valid(load(text).data)
