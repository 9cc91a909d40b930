"""What users do with documents: check them, and make them ready to be run and stored."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tenuto.engine.ports import DocumentRow
from tenuto.errors import InvalidDocument, Problem
from tenuto.language.load import Source, digest, load
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


def check(file: str, content: bytes, known: Callable[[str], bool] | None = None) -> Checked:
    """Return everything that is wrong with a document; `known` tells which functions exist."""
    try:
        source = load(content, file)
    except InvalidDocument as error:
        return Checked(file, content.decode(errors="replace"), None, error.problems)
    return Checked(file, source.text, source, tuple(validate(source, known)))


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
