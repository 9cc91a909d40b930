"""Documents are read as YAML 1.2, keep their positions, and are refused when they mislead."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import InvalidDocument, Problem
from tenuto.language.load import MAXIMUM_BYTES, MAXIMUM_DEPTH, digest, load, pointer_of, steps_of


def problem_of(text: str | bytes) -> Problem:
    """Return the one problem for which a document is refused."""
    with pytest.raises(InvalidDocument) as refused:
        load(text, "flow.yaml")
    assert len(refused.value.problems) == 1
    return refused.value.problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("1.0.0", "1.0.0"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("-", None),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1e3", -1000.0),
        ("18446744073709551615", 2**64 - 1),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("=", "="),
    ],
)
def test_scalars_mean_what_the_core_schema_of_yaml_1_2_says(text: str, value: Any) -> None:
    """Only null, booleans and numbers are not text."""
    data = load(f"a: {text}\nb: 1").data if text != "-" else load("a:\n  -\nb: 1").data

    expected = [None] if text == "-" else value
    assert (expected, type(expected)) == (data["a"], type(data["a"]))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=80), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_json_is_read_as_json(value: Any) -> None:
    """What a JSON parser reads from JSON text, `load` reads too."""
    text = json.dumps({"value": value})

    assert json.loads(text) == load(text).data


TEXT = """\
document:
  name: x
do:
  - first:
      set: {a/b: 1, "c~d": [2, 3]}
  - "second": |
      text
"""


@pytest.mark.parametrize(
    ("pointer", "key", "place"),
    [
        ("", False, (1, 1)),
        ("/document", True, (1, 1)),
        ("/document", False, (2, 3)),
        ("/document/name", True, (2, 3)),
        ("/document/name", False, (2, 9)),
        ("/do", False, (4, 3)),
        ("/do/0", False, (4, 5)),
        ("/do/0/first", True, (4, 5)),
        ("/do/0/first/set/a~1b", True, (5, 13)),
        ("/do/0/first/set/a~1b", False, (5, 18)),
        ("/do/0/first/set/c~0d/1", False, (5, 32)),
        ("/do/1/second", True, (6, 5)),
        ("/do/1/second", False, (6, 15)),
        ("/do/7/absent", True, (4, 3)),
        ("/document/absent", True, (2, 3)),
    ],
)
def test_every_part_has_a_position(pointer: str, key: bool, place: tuple[int, int]) -> None:
    """A pointer gives line and column of a value or its key; of its surroundings if it is absent."""
    assert place == load(TEXT).position(pointer, key=key)


@given(st.lists(st.text(st.sampled_from("~/01a"))))
def test_pointers_are_made_and_taken_apart(steps: list[str]) -> None:
    """Escaping loses nothing."""
    assert steps == steps_of(pointer_of(steps))


REFUSED = {
    "alias": ("a: 1\nb: *x\n", (2, 4), "/b"),
    "anchor": ("a: 1\nb: &x 2\n", (2, 4), "/b"),
    "anchor of a mapping": ("a: 1\nb: &x\n  c: 1\n", (2, 4), "/b"),
    "anchor of a key": ("a: 1\n&x b: 2\n", (2, 1), ""),
    "merge-key": ("a:\n  <<: {b: 1}\n", (2, 3), "/a"),
    "duplicate-key": ("a: 1\nb: 2\na: 3\n", (3, 1), ""),
    "duplicate-key in quotes": ("a:\n  - b: 2\n    'b': 3\n", (3, 5), "/a/0"),
    "key-not-text": ("a:\n  8080: 80\n", (2, 3), "/a"),
    "key-not-text, boolean": ("true: 80\n", (1, 1), ""),
    "key-not-text, nothing": ("a: 1\n~: 80\n", (2, 1), ""),
    "key-not-text, mapping": ("? {a: 1}\n: 80\n", (1, 3), ""),
    "key-not-text, expression": ("a: {{b: 1}: 2}\n", (1, 5), "/a"),
    "custom-tag": ("a: !secret x\n", (1, 4), "/a"),
    "custom-tag of YAML": ("a: !!python/object x\n", (1, 4), "/a"),
    "custom-tag of a list": ("a: !!set [x]\n", (1, 4), "/a"),
    "custom-tag that is none": ("a: !!str [x]\n", (1, 4), "/a"),
    "too-deep": (
        "[" * (MAXIMUM_DEPTH + 1) + "]" * (MAXIMUM_DEPTH + 1),
        (1, MAXIMUM_DEPTH + 1),
        "/0" * MAXIMUM_DEPTH,
    ),
    "too-large": ("# " + "x" * MAXIMUM_BYTES, (1, 1), ""),
    "several-documents": ("a: 1\n---\nb: 1\n", (2, 1), ""),
    "empty-document": ("# nothing\n", (1, 1), ""),
    "empty-document, null": ("---\n", (1, 1), ""),
    "not-utf-8": (b"a: 1\nb: \xff\n", (2, 4), ""),
    "not-utf-8, utf-16": ("a: 1\n".encode("utf-16"), (1, 1), ""),
    "not-utf-8, half a pair": ("a: \ud800\n", (1, 4), ""),
    "control-character": ("a: 1\nb: x\x00\n", (2, 5), ""),
    "number": ("a: 1\nb: .nan\n", (2, 4), "/b"),
    "number, infinite": ("b: -.inf\n", (1, 4), "/b"),
    "number, too large": ("b: 1e999\n", (1, 4), "/b"),
    "number, too long": ("b: 18446744073709551616\n", (1, 4), "/b"),
    "number, very long": ("b: " + "9" * 10_000 + "\n", (1, 4), "/b"),
    "syntax, quote": ("a: 1\nb: 'x\nc: 2\n", (2, 4), ""),
    "syntax, tab": ("a:\n\tb: 1\n", (2, 1), ""),
    "syntax, colon": ("a: b: c\n", (1, 5), ""),
    "syntax, bracket": ("a: [1, 2\nb: 3\n", (2, 2), ""),
    "syntax, brace": ("a: {b: ${ .c }}\n", (1, 9), ""),
    "syntax, character": ("a: @b\n", (1, 4), ""),
    "syntax, list": ("- a\nb: 1\n", (2, 1), ""),
    "syntax, indentation": ("a:\n    b: 1\n  c: 1\n", (3, 3), ""),
    "syntax, escape": ('a: "\\q"\n', (1, 5), ""),
    "syntax, key": ("a: 1\nb\nc: 1\n", (3, 1), ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_misleads_is_refused(case: str) -> None:
    """One problem with a stable code, the right place, what is wrong, and how to mend it."""
    text, place, path = REFUSED[case]
    problem = problem_of(text)
    code = case.replace(",", " ").split()[0]

    assert (code, place) == (problem.code, (problem.line, problem.column))
    assert path == problem.path
    assert problem.message.endswith((".", ")"))
    assert f"See docs/reference/documents.md#{code}." in (problem.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "a: '*x'\nb: '&x'\n'<<': {c: 1}\n'1': 2\n'true': 3\n",
        "[" * MAXIMUM_DEPTH + "]" * MAXIMUM_DEPTH,
        "# " + "x" * (MAXIMUM_BYTES - 8) + "\na: 1",
        "---\na: 1\n...\n",
        "\ufeffa: 1",
        "a: {b: '${ .c }'}",
        '{\n\t"a": 1\n}',
    ],
)
def test_what_only_looks_alike_is_read(text: str) -> None:
    """The refusals are no wider than they have to be: quoted, at the limit, in JSON."""
    assert load(text).data


def test_the_error_names_the_document_and_the_place() -> None:
    """What is printed first is file, line and column."""
    with pytest.raises(InvalidDocument, match=r"^flow\.yaml:2:1: The key `a` is already"):
        load("a: 1\na: 2\n", "flow.yaml")


def test_the_pure_reader_gives_the_same(monkeypatch: pytest.MonkeyPatch, standard: Path) -> None:
    """Without libyaml the values and the positions are equal."""
    import yaml

    files = sorted((standard / "examples").glob("*.yaml"))[:12]
    fast = [load(file.read_bytes()) for file in files]
    monkeypatch.setattr("tenuto.language.load._LOADER", yaml.SafeLoader)
    pure = [load(file.read_bytes()) for file in files]

    assert [source.data for source in fast] == [source.data for source in pure]
    assert [source.marks for source in fast] == [source.marks for source in pure]


def test_a_source_is_a_frozen_value() -> None:
    """What was read cannot be exchanged."""
    source = load("a: 1", "flow.yaml")

    assert ("flow.yaml", "a: 1", {"a": 1}) == (source.name, source.text, source.data)
    with pytest.raises(AttributeError):
        source.name = "other"  # type: ignore[misc]
    assert isinstance(source, msgspec.Struct)


def test_the_digest_is_that_of_the_text() -> None:
    """Any tool can compute it."""
    assert hashlib.sha256("a: ä".encode()).hexdigest() == digest("a: ä")


def outcome(text: str | bytes) -> list[Problem]:
    """Return the problems of a text, none if it can be read."""
    try:
        load(text)
    except InvalidDocument as error:
        return list(error.problems)
    return []


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_text_makes_it_fail_otherwise(text: str | bytes) -> None:
    """Whatever the bytes are, they are read or refused with one problem."""
    assert len(outcome(text)) <= 1


@given(st.text(st.sampled_from("ab01 :-#{}[],&*!|>'\"%@`?~.\n\t\\ux<=$"), max_size=60))
def test_no_yaml_makes_it_fail_otherwise(text: str) -> None:
    """Whatever libyaml says, a person gets one problem inside the text."""
    assert all(1 <= problem.line <= text.count("\n") + 2 for problem in outcome(text))
