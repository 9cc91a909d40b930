"""Our table of the language and the standard's JSON Schema say the same, but for the listed differences.

Where they differ on purpose (each is explained in docs/reference/documents.md):

- stricter: a misspelt property, two authentication schemes, or an event without attributes
  where the schema admits anything; loop variables that no expression could name;
- more lenient: expressions over several lines; `filter`, `while` and `until` of AsyncAPI
  subscriptions without `${ }`; arguments of scripts as a mapping; query parameters and headers that are
  no texts, the input of a workflow that is no object, and the name of a policy as the authentication
  of a call, as the standard's text has them.

What goes beyond any schema (names, expressions, lengths of time) is not compared.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenuto.errors import InvalidDocument, Problem
from tenuto.language.load import load
from tenuto.language.validate import validate

COMPLETE = load((Path(__file__).parent / "documents" / "complete.yaml").read_bytes()).data

SHAPE = frozenset(
    (
        "unknown-property",
        "missing-property",
        "exclusive-properties",
        "wrong-type",
        "not-one-of",
        "out-of-range",
        "empty-value",
        "one-name-per-item",
        "several-kinds",
        "no-kind",
        "bad-version",
        "bad-name",
        "bad-uri",
        "bad-time",
        "bad-pointer",
        "bad-duration",
    )
)
# Where the schema admits properties that it does not know.
OPEN = re.compile(
    r"|.*/catch/errors|.*/catch/errors/with|.*/emit/event|.*/correlate/[^/]+|.*/endpoints|.*/request"
    r"|.*/with|.*/transport|.*/transport/(http|stdio)|.*/client|/use/authentications/[^/]+"
)


@pytest.fixture(scope="module")
def schema(standard: Path) -> jsonschema_rs.Validator:
    """Return the standard's schema; the format of URI templates is left to its pattern."""
    document = load((standard / "schema" / "workflow.yaml").read_bytes()).data
    return jsonschema_rs.Draft202012Validator(
        document,
        validate_formats=True,
        formats={"uri-template": lambda _: True, "uri-reference": lambda _: True},
    )


def is_stricter(problem: Problem) -> bool:
    """Return whether a problem is one that the schema does not have, on purpose."""
    parent = problem.path.rpartition("/")[0]
    match problem.code:
        case "unknown-property":
            return bool(OPEN.fullmatch(parent))
        case "exclusive-properties":
            return bool(re.fullmatch(r"/use/authentications/[^/]+", parent))
        case "missing-property":
            return problem.path.endswith("/emit/event")
        case "bad-name":
            return problem.path.rpartition("/")[2] in {"each", "at", "item", "as"}
    return False


def is_second_scheme(problem: Problem, refused: list[Problem]) -> bool:
    """Return whether a problem lies in a second scheme of a policy, into which the schema does not look."""
    return any(
        other.code == "exclusive-properties"
        and is_stricter(other)
        and (problem.path + "/").startswith(other.path + "/")
        for other in refused
    )


def values(data: Any) -> Iterator[Any]:
    """Yield a value and everything inside it."""
    yield data
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from values(part)


def is_lenient(data: Any, found: list[Problem]) -> bool:
    """Return whether a document has something that only we accept, on purpose."""
    if any(problem.code == "bare-expression" for problem in found):
        return True
    for value in values(data):
        if isinstance(value, str) and re.fullmatch(r"\s*\$\{.*\n.*\}\s*", value, re.DOTALL):
            return True
        if isinstance(value, dict):
            script = value.get("script")
            if isinstance(script, dict) and isinstance(script.get("arguments"), dict):
                return True
            called = value.get("with") if value.get("call") == "http" else None
            given = called if isinstance(called, dict) else {}
            maps = [given[name] for name in ("query", "headers") if isinstance(given.get(name), dict)]
            if any(not isinstance(part, str) for one in maps for part in one.values()):
                return True
            called = value.get("with") if value.get("call") in ("openapi", "grpc", "asyncapi") else None
            given = called if isinstance(called, dict) else {}
            if any(
                isinstance(one.get("authentication"), str)
                for one in (given, given.get("service"))
                if isinstance(one, dict)
            ):
                return True
            workflow = value.get("workflow")
            if isinstance(workflow, dict) and not isinstance(workflow.get("input", {}), dict):
                return True
    return False


def disagreement(data: Any, schema: jsonschema_rs.Validator) -> str | None:
    """Return what the two say of a document, unless they agree or differ on purpose."""
    try:
        found = validate(load(json.dumps(data, indent=1)))
    except InvalidDocument:
        return None
    refused = [problem for problem in found if problem.severity == "error" and problem.code in SHAPE]
    valid = schema.is_valid(data)
    if valid and not all(is_stricter(each) or is_second_scheme(each, refused) for each in refused):
        return f"only we refuse it: {refused[0]}"
    if not valid and not refused and not is_lenient(data, found):
        return f"only the schema refuses it: {next(schema.iter_errors(data)).message[:300]}"
    return None


# ── changing documents ───────────────────────────────────────────────────────────────────

SCALARS: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2.0, 2.5, "", "x", "a b", "${ .a }", "${", "PT1S", "P1Y", "http", "end", "1.0.0", "/a",
    [], {}, ["a"], [1], [{"a": {}}], {"a": 1}, {"a": "b"}, {"use": "x"}, "2020-01-01T00:00:00Z", "${ .a\n}",
)  # fmt: skip


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key or index) of everything inside a value."""
    for key, part in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, key
        if isinstance(part, dict | list):
            yield from places(part)


PARTS = [(key, container[key]) for container, key in places(COMPLETE)]
NAMES = sorted({key for key, _ in PARTS if isinstance(key, str)})


def change(data: Any, chance: Random) -> None:
    """Change a document in one place: remove, replace, add or rename something."""
    container, key = chance.choice(list(places(data)))
    part = container[key]
    match chance.choice(("remove", "scalar", "graft", "add", "add graft", "rename", "typo")):
        case "remove":
            del container[key]
        case "scalar":
            container[key] = copy.deepcopy(chance.choice(SCALARS))
        case "graft":
            container[key] = copy.deepcopy(chance.choice(PARTS)[1])
        case "add" if isinstance(part, dict):
            part[chance.choice(NAMES)] = copy.deepcopy(chance.choice(SCALARS))
        case "add graft" if isinstance(part, dict):
            name, other = chance.choice(PARTS)
            part[str(name)] = copy.deepcopy(other)
        case "rename" if isinstance(container, dict):
            container[chance.choice(NAMES)] = container.pop(key)
        case "typo" if isinstance(container, dict) and len(key) > 1:
            at = chance.randrange(len(key))
            container[key[:at] + key[at + 1 :]] = container.pop(key)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 3))
def test_our_verdict_is_that_of_the_schema(schema: jsonschema_rs.Validator, seed: int, changes: int) -> None:
    """However a document with every property is changed, both accept it or both refuse it."""
    chance = Random(seed)
    data = copy.deepcopy(COMPLETE)
    for _ in range(changes):
        change(data, chance)

    assert disagreement(data, schema) is None


def test_every_example_of_the_standard_changed_gets_the_same_verdict(
    standard: Path, schema: jsonschema_rs.Validator
) -> None:
    """The same holds for the standard's own documents."""
    for number, file in enumerate(sorted((standard / "examples").glob("*.yaml"))):
        for seed in range(4):
            data = load(file.read_bytes()).data
            change(data, Random(number * 1000 + seed))

            assert disagreement(data, schema) is None, file.name


def test_a_part_that_is_left_out_of_the_table_would_be_noticed(schema: jsonschema_rs.Validator) -> None:
    """The comparison sees a difference: here one of the schema's making."""
    document = copy.deepcopy(COMPLETE)
    narrower = jsonschema_rs.Draft202012Validator({"properties": {"schedule": False}})

    assert disagreement(document, schema) is None
    assert "only the schema refuses it" in (disagreement(document, narrower) or "")
    document["do"] = 1
    assert "only we refuse it" in (disagreement(document, narrower_without_schedule()) or "")


def narrower_without_schedule() -> jsonschema_rs.Validator:
    """Return a schema that admits anything."""
    return jsonschema_rs.Draft202012Validator(True)


DIFFERENCES: dict[str, tuple[dict[str, Any], bool]] = {
    "a misspelt property of an open object": ({"do": [], "outputs": {}}, False),
    "any other property of an open object": ({"do": [], "x-owner": "me"}, True),
    "an event without attributes": ({"do": [{"a": {"emit": {"event": {}}}}]}, False),
    "a variable that cannot be named": (
        {"do": [{"a": {"for": {"in": ".", "each": "a-b"}, "do": []}}]},
        False,
    ),
    "an expression over several lines": (
        {"do": [{"a": {"call": "http", "with": {"method": "get", "endpoint": "${ .a |\n .b }"}}}]},
        True,
    ),
    "arguments of a script as a mapping": (
        {"do": [{"a": {"run": {"script": {"language": "python", "code": "1", "arguments": {"a": 1}}}}}]},
        True,
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_differences_are_as_listed(name: str, schema: jsonschema_rs.Validator) -> None:
    """Each listed difference is there; what only looks alike is not one."""
    body, accepted = DIFFERENCES[name]
    data = {"document": COMPLETE["document"], **body}
    errors = [problem for problem in validate(load(json.dumps(data))) if problem.severity == "error"]

    assert accepted is (not errors)
    assert disagreement(data, schema) is None
