"""What users do with documents: check them, and make them ready to be run and stored."""

from __future__ import annotations

import msgspec

from tenuto.engine.model import Json
from tenuto.engine.ports import DocumentRow
from tenuto.errors import Invalid, InvalidDocument, InvalidInput, Problem
from tenuto.language.load import Source, digest, load, steps_of
from tenuto.language.references import Known
from tenuto.language.schemas import compile_schema
from tenuto.language.validate import validate


class Checked(msgspec.Struct, frozen=True):
    """What was found in one document; `source` is None if it cannot even be read."""

    file: str
    text: str
    source: Source | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What makes the document unusable."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is legal, but probably not meant."""
        return tuple(problem for problem in self.problems if problem.severity != "error")


def check(file: str, content: bytes, known: Known | None = None) -> Checked:
    """Return everything that is wrong with a document; `known` tells which functions exist."""
    try:
        source = load(content, file)
    except InvalidDocument as error:
        return Checked(file, content.decode(errors="replace"), None, error.problems)
    problems = [_explained(problem, source, known) for problem in validate(source, known)]
    return Checked(file, source.text, source, tuple(problems))


def _explained(problem: Problem, source: Source, known: Known | None) -> Problem:
    """Say of a function that is unknown because its connector cannot be loaded why it cannot be."""
    if known is None or problem.code != "unknown-function":
        return problem
    name: Json = source.data
    for step in steps_of(problem.path):
        name = name[int(step)] if isinstance(name, list) else name[step]
    try:
        known.arguments(name.removesuffix("@default"))
    except Invalid as error:
        message = f"The function cannot be called: {error.message}."
        return msgspec.structs.replace(problem, message=message, hint=error.hint)
    return problem


def definition(checked: Checked, origin: str | None = None) -> DocumentRow:
    """Return a checked document as it is stored; raises `InvalidDocument` if it has errors."""
    if checked.source is None or checked.errors:
        raise InvalidDocument(checked.file, checked.errors)
    head = checked.source.data["document"]
    return DocumentRow(
        digest=digest(checked.source.text),
        namespace=head["namespace"],
        name=head["name"],
        version=head["version"],
        source=checked.source.text,
        origin=origin,
    )


def is_workflow(checked: Checked) -> bool:
    """Tell whether a file seems to be meant as a workflow: it has `document` or `do`, or is unreadable."""
    if checked.source is None:
        return True
    data = checked.source.data
    return isinstance(data, dict) and ("document" in data or "do" in data)


def check_input(checked: Checked, data: Json) -> None:
    """Refuse input that does not fit the schema that a valid document holds for it.

    Raises:
        InvalidInput: It does not fit.
    """
    assert checked.source is not None
    schema = ((checked.source.data.get("input") or {}).get("schema") or {}).get("document")
    if schema is None:
        return
    complaint = compile_schema(schema).check(data)
    if complaint is not None:
        line, column = checked.source.position("/input/schema/document")
        raise InvalidInput(
            f"the input does not fit: {complaint}",
            hint=f"its schema stands in {checked.file}:{line}:{column}",
        )
