"""Which notes a replay compares with those that are recorded, and which it passes over."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from tenuto.engine.model import Note

STARTED: Final = "started"
"""Its data is a digest of the arguments, where it is recorded: it is compared too."""

LOGGED: Final = "logged"
PATCHED: Final = "patched"

MAY_BE_GONE: Final = frozenset({LOGGED, PATCHED})
"""A log line is no part of the plan, and a patch that is everywhere by now need not be asked for."""


def past(notes: Sequence[Note], place: int, kinds: Container[str]) -> int:
    """Return the next place where a note of another kind stands, or the end."""
    while place < len(notes) and notes[place].what in kinds:
        place += 1
    return place
