"""The page about documents names every problem code, with a message that is really given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenuto.errors import InvalidDocument, Problem
from tenuto.language.grammar.calls import CALLS
from tenuto.language.grammar.document import DOCUMENT, KINDS, TASK
from tenuto.language.grammar.walk import Walk
from tenuto.language.load import load
from tenuto.language.validate import validate

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE = ROOT / "src" / "tenuto" / "language"
PAGE = (ROOT / "docs" / "reference" / "documents.md").read_text()
HEADER = "document: {dsl: '1.0.3', namespace: examples, name: shop, version: '1.0.0'}\n"

SECTION = re.compile(
    r"^### (?P<code>\S+)\n\n(?P<meaning>.+?)\n\n(?:```yaml\n(?P<yaml>.*?)```\n\n)?"
    r"```text\n(?P<line>\d+):(?P<column>\d+): (?P<message>.*?)\n```\n\n\*\*Mend:\*\* (?P<mend>.+?)\n",
    re.MULTILINE | re.DOTALL,
)
SECTIONS = {match["code"]: match for match in SECTION.finditer(PAGE)}


def codes_in(source: str) -> Iterator[str]:
    """Yield every problem code that a module's text can report."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if name in {"error", "warn", "report", "_refuse"} and texts:
                yield texts[0]
            if name == "Form":
                yield texts[1]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^unknown-[a-z]+$", node.value)


def all_codes() -> set[str]:
    """Return every problem code of the language."""
    files = [
        LANGUAGE / "load.py",
        LANGUAGE / "references.py",
        LANGUAGE / "flow.py",
        *LANGUAGE.glob("grammar/*.py"),
    ]
    return {code for file in files for code in codes_in(file.read_text())}


def test_every_code_is_on_the_page_and_no_other() -> None:
    """Whoever gets a code finds it explained; nothing outlived is explained."""
    assert all_codes() == set(SECTIONS)


def test_a_code_that_is_new_would_be_noticed() -> None:
    """The search sees each way in which a code is reported."""
    source = """
walk.error("a-b", at, "message")
walk.warn("c-d", at, "message")
self._refuse("e-f", (0, 0), "message", "hint")
_refuse(name, "g-h", (0, 0), "message", "hint")
F = Form("a name", re.compile("x"), "i-j")
S = {"x": ("x", "unknown-x")}
"""

    assert {"a-b", "c-d", "e-f", "g-h", "i-j", "unknown-x"} == set(codes_in(source))


class Installed:
    """The two functions that the page names."""

    def function(self, name: str) -> bool:
        """Return whether it is there."""
        return name in self.functions()

    def functions(self) -> list[str]:
        """Return the names."""
        return ["core.noop:1.0.0", "files.read:1.0.0"]

    def arguments(self, name: str) -> dict[str, bool] | None:
        """Return the arguments, and which are required."""
        return {"value": False} if name.startswith("core") else {"path": True, "encoding": False}


def problems_of(text: str) -> list[Problem]:
    """Return what is told of a text."""
    try:
        return validate(load(text), Installed())
    except InvalidDocument as error:
        return list(error.problems)


@pytest.mark.parametrize("code", [code for code in SECTIONS if SECTIONS[code]["yaml"]])
def test_the_examples_of_the_page_are_true(code: str) -> None:
    """Each example gives exactly its problem, with that message at that place."""
    section = SECTIONS[code]
    text: str = section["yaml"]
    reading = PAGE.index("## Problems in reading") < section.start() < PAGE.index("## Problems in the shape")
    whole = reading or text.startswith("document:")
    (problem,) = problems_of(text if whole else HEADER + text)
    line = problem.line if whole else problem.line - 1

    assert (code, section["message"]) == (problem.code, problem.message)
    assert (section["line"], section["column"]) == (str(line), str(problem.column))
    assert problem.severity == ("warning" if section["meaning"].startswith("*Warning.*") else "error")


def test_what_is_said_is_said_in_sentences() -> None:
    """Messages and hints end as sentences do, and each says where to read on."""
    told = [
        problem
        for section in SECTIONS.values()
        if section["yaml"]
        for text in (section["yaml"], HEADER + section["yaml"])
        for problem in problems_of(text)
    ]

    assert [] == [problem.message for problem in told if not problem.message.endswith((".", ".)", "?"))]
    assert [] == [problem for problem in told if ".md#" not in (problem.hint or "")]
    assert [] == [
        problem for problem in told if ".. " in (problem.hint or "") or "  " in (problem.hint or "")
    ]


def test_every_heading_that_hints_point_to_is_in_the_reference() -> None:
    """Pointers into the language reference lead somewhere."""
    reference = (ROOT / "docs" / "reference" / "language.md").read_text()
    headings = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", reference, re.MULTILINE)
    }

    assert set() == anchors() - headings


def anchors() -> set[str]:
    """Return every heading of the reference that a hint can point to."""
    walk = Walk(load("{}"), TASK)
    found = {"flow", "switch", walk.anchor}
    waiting: list[object] = [DOCUMENT, KINDS, CALLS]
    seen: set[int] = set()
    while waiting:
        shape = waiting.pop()
        if id(shape) in seen:
            continue
        seen.add(id(shape))
        if isinstance(shape, dict):
            waiting.extend(shape.values())
        elif hasattr(shape, "__struct_fields__"):
            found.add(getattr(shape, "anchor", "flow"))
            waiting.extend(getattr(shape, field) for field in shape.__struct_fields__)
    return found
