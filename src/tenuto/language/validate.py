"""Says what is wrong with a workflow document: each mistake once, where it is, and how to mend it."""

from __future__ import annotations

from tenuto.errors import Problem
from tenuto.language.flow import check_flow
from tenuto.language.grammar.document import DOCUMENT, TASK
from tenuto.language.grammar.walk import Walk
from tenuto.language.load import Source
from tenuto.language.references import Known, check_references

__all__ = ["Known", "validate"]


def validate(source: Source, known: Known | None = None) -> list[Problem]:
    """Return every problem of a document in the order of its text, warnings included.

    At most `walk.MAXIMUM_PROBLEMS` are returned, errors before warnings. With `known`,
    functions of the default catalog are looked up too.
    """
    walk = Walk(source, TASK)
    DOCUMENT.check(source.data, (), walk)
    check_references(walk, known)
    check_flow(walk)
    return walk.problems()
