"""Whatever a document holds, checking it ends with a list of problems, soon."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenuto.errors import InvalidDocument
from tenuto.language.grammar.walk import MAXIMUM_PROBLEMS
from tenuto.language.load import load
from tenuto.language.validate import validate
from tests.language.test_validate_schema import COMPLETE, NAMES, SCALARS, change

TEXT = (Path(__file__).parent / "documents" / "complete.yaml").read_text()
HEADER = "document: {dsl: '1.0.3', namespace: test, name: x, version: '1.0.0'}\n"

_names = st.sampled_from(NAMES) | st.text(max_size=8)
_values = st.recursive(
    st.sampled_from([copy.deepcopy(value) for value in SCALARS]) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=20,
)


def problems_of(text: str) -> int:
    """Return how many problems a text has."""
    try:
        return len(validate(load(text)))
    except InvalidDocument as error:
        return len(error.problems)


@settings(deadline=None)
@given(_values)
def test_no_structure_makes_it_fail(value: Any) -> None:
    """Words of the language in any order, anywhere."""
    assert problems_of(json.dumps(value)) <= MAXIMUM_PROBLEMS


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), changes=st.integers(3, 30))
def test_no_change_makes_it_fail(seed: int, changes: int) -> None:
    """A whole document, changed beyond recognition."""
    chance = Random(seed)
    data = copy.deepcopy(COMPLETE)
    for _ in range(changes):
        if data:
            change(data, chance)

    assert problems_of(json.dumps(data)) <= MAXIMUM_PROBLEMS


@settings(deadline=None)
@given(start=st.integers(0, len(TEXT)), length=st.integers(0, 40), piece=st.text(max_size=5))
def test_no_slip_of_the_keyboard_makes_it_fail(start: int, length: int, piece: str) -> None:
    """Characters removed and others put in their place."""
    assert problems_of(TEXT[:start] + piece + TEXT[start + length :]) <= MAXIMUM_PROBLEMS


LARGE = {
    "targets": "do:\n" + "".join(f"- t{n}: {{set: {{x: 1}}, then: u{n}}}\n" for n in range(4000)),
    "kinds": "do:\n" + "".join(f"- t{n}: {{sett: {{x: 1}}}}\n" for n in range(2000)),
    "names": "use:\n  timeouts:\n"
    + "".join(f"    t{n}: {{after: PT1S}}\n" for n in range(4000))
    + "do:\n"
    + "".join(f"- t{n}: {{set: {{x: 1}}, timeout: u{n}}}\n" for n in range(3000)),
    "one long key": "do:\n- a:\n    ? " + "k" * 900_000 + "\n    : 1\n",
    "one long text": "do:\n- a: {wait: " + "k" * 900_000 + "}\n",
    "one long expression": "do:\n- a: {if: " + "(" * 900_000 + ", set: {a: 1}}\n",
    "one long list of minutes": "schedule: {cron: '" + "1," * 400_000 + " * * * *'}\ndo: []\n",
    "one long address": "do:\n- a: {call: http, with: {method: get, endpoint: '"
    + "a:/?#" * 150_000
    + " '}}\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_documents_are_answered_soon(name: str) -> None:
    """Nothing grows faster than the text; a mistake in a large document is told shortly."""
    problems = validate(load(HEADER + LARGE[name]))

    assert 1 <= len(problems) <= MAXIMUM_PROBLEMS
    assert all(len(problem.message) <= 500 for problem in problems)
