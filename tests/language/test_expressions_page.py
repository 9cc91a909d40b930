"""The page about expressions says what the code does: functions, formats, limits, examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenuto.language import expressions
from tenuto.language.expressions import ExpressionSyntax, check, failures, functions, parse
from tenuto.runtime import evaluation

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "expressions.md").read_text()
LIMITS = {
    "expression-text": failures.TEXT_LIMIT,
    "expression-nesting": failures.NESTING_LIMIT,
    "expression-steps": failures.STEP_LIMIT,
    "expression-size": failures.SIZE_LIMIT,
    "expression-depth": failures.DEPTH_LIMIT,
    "expression-result": failures.RESULT_LIMIT // 1024 // 1024,
    "expression-input": evaluation.INPUT_LIMIT_BYTES // 1024 // 1024,
    "expression-time": int(evaluation.TIME_LIMIT_SECONDS * 1000),
    "expression-memory": evaluation.MEMORY_LIMIT_BYTES // 1024 // 1024,
    "expression-cache": expressions.CACHE_SIZE,
}


def section(title: str) -> str:
    """The text under a heading."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "table"),
    [
        ("Functions of the first lane", functions.FIRST_LANE),
        ("Functions of the second lane", functions.SECOND_LANE),
    ],
)
def test_the_lists_of_functions_are_whole(title: str, table: frozenset[str]) -> None:
    """Every function by name and number of arguments, none twice."""
    listed = section(title).partition("```text\n")[2].partition("```")[0].split()

    assert sorted(table) == sorted(listed)


def test_the_limits_are_those_of_the_code() -> None:
    """Each limit with its value; the table and the code name the same ones."""
    rows = re.findall(r"^\| `(expression-[a-z]+)` \| ([0-9,]+)", section("Limits"), re.MULTILINE)

    assert LIMITS == {name: int(value.replace(",", "")) for name, value in rows}
    assert evaluation.RESULT_LIMIT_BYTES == failures.RESULT_LIMIT
    assert f"{check.RANGE_LIMIT:,}" in PAGE


def test_what_the_page_says_is_refused_is_refused() -> None:
    """Every name in the table of refusals."""
    names = re.findall(
        r"`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", section("What is refused"), re.MULTILINE))
    )

    assert {name for name in functions.REFUSED if name.startswith(("env", "input", "halt"))} <= set(names)
    for name in names:
        with pytest.raises(ExpressionSyntax):
            parse(name)
