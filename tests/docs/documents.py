"""Blocks that are data: what is wrong with them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from tenuto.app import known
from tenuto.errors import InvalidDocument, Problem
from tenuto.language.expressions import ExpressionSyntax, parse
from tenuto.language.load import Source, load
from tenuto.language.references import Known
from tenuto.language.validate import validate
from tests.docs.pages import Block

HEADER: Final = "document: {dsl: '1.0.3', namespace: docs, name: fragment, version: '1.0.0'}\n"
STEP: Final = (
    "no function `python."  # Steps are known to the program beside the document, which the page runs.
)
MEMBERS: Final = frozenset(("input", "use", "do", "timeout", "output", "schedule", "evaluate"))


@cache
def _known() -> Known:
    return known(())


def wrong_in_yaml(block: Block) -> list[str]:
    """Say what is wrong with YAML: a document or a part of one must be valid, everything else readable."""
    try:
        source = load(block.text)
        problems = [problem for problem in _problems(source) if STEP not in problem.message]
    except InvalidDocument as error:
        problems = list(error.problems)
    if block.marker == "invalid":
        codes = [problem.code for problem in problems]
        return [] if codes == [block.reason] else [f"is to give exactly {block.reason!r}, and gives {codes}"]
    return [f"{problem.message} [{problem.code}]" for problem in problems]


def _problems(source: Source) -> list[Problem]:
    data: Any = source.data
    if isinstance(data, dict) and "document" in data and isinstance(data["document"], dict):
        return validate(source, _known())
    if isinstance(data, list) and data and all(isinstance(item, dict) and len(item) == 1 for item in data):
        indented = "".join(f"  {line}\n" for line in source.text.splitlines())
        return validate(load(f"{HEADER}do:\n{indented}"), _known())
    if isinstance(data, dict) and data and data.keys() <= MEMBERS:
        rest = "" if "do" in data else "\ndo:\n  - nothing: {set: {a: 1}}\n"
        return validate(load(HEADER + source.text + rest), _known())
    return []


def _json(text: str) -> None:
    json.loads(text)


def _toml(text: str) -> None:
    tomllib.loads(text)


def _jq(text: str) -> None:
    parse(text.strip())


def _python(text: str) -> None:
    compile(text, "block", "exec")


READERS: Final[dict[str, Callable[[str], None]]] = {
    "json": _json,
    "toml": _toml,
    "jq": _jq,
    "python": _python,
}


def wrong_in_data(block: Block) -> list[str]:
    """Say why a block of another language cannot be read."""
    try:
        READERS[block.language](block.text)
    except (ValueError, SyntaxError, ExpressionSyntax) as error:
        return [f"is not {block.language}: {error}"]
    return []
