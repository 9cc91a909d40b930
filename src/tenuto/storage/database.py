"""What a store needs from a database: four verbs, all of which block and are called from threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from tenuto.errors import StorageFailed, TenutoError
from tenuto.storage.queries import Query

Row: TypeAlias = tuple[Any, ...]
Step: TypeAlias = tuple[Query, list[Any]]
"""A query with a repeated row, and the values of all rows one after the other."""


class Reading(Protocol):
    """The reading half; used by one thread at a time."""

    def fetch(self, query: Query, values: Mapping[str, Any]) -> list[Row]:
        """Return all rows of a query with named placeholders, as of now."""

    def explain(self, error: BaseException) -> TenutoError:
        """Return the error to raise for one of a read: `StorageFailed` unless it is that call's alone."""

    def close(self) -> None:
        """Let go of the database."""


class Writing(Protocol):
    """The writing half; used by one thread at a time, beside the reading half."""

    def write(self, steps: Sequence[Step]) -> None:
        """Carry out all steps in one transaction, durable on return; on an error none of them."""

    def explain(self, error: BaseException) -> StorageFailed:
        """Return the error to raise for one that this database gave, with a hint."""

    def close(self) -> None:
        """Let go of the database."""
