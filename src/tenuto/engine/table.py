"""A table by number that is cheap to change and never changes: what folds keep their parts in.

Rows lie in chunks of 64. A draft copies the list of chunks and, before their first change, the
chunks that it touches, so one event costs the same whether ten or ten thousand branches are open.

    draft = table.draft()
    draft[7] = "seven"
    table = draft.done()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, Self, TypeVar

_SHIFT: Final = 6

T = TypeVar("T")
V = TypeVar("V")


class Table(Mapping[int, V], Generic[V]):
    """Rows by number; immutable."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: dict[int, dict[int, V]] | None = None) -> None:
        self._chunks = chunks or {}

    @classmethod
    def of(cls, rows: Mapping[int, V]) -> Self:
        """Return a table of these rows."""
        draft: Draft[Self, V] = Draft(cls, {})
        for id, row in rows.items():
            draft[id] = row
        return draft.done()

    def draft(self) -> Draft[Self, V]:
        """Return a copy to change."""
        return Draft(type(self), self._chunks)

    def replaced(self, gone: Iterable[int], new: Mapping[int, V]) -> Self:
        """Return a table without some rows and with others: what a draft does, in one go."""
        chunks, mine = self._chunks.copy(), set()
        for id in gone:
            key = id >> _SHIFT
            chunk = chunks.get(key)
            if chunk is None or id not in chunk:
                continue
            if len(chunk) == 1:
                del chunks[key]
                continue
            if key not in mine:
                mine.add(key)
                chunks[key] = chunk = chunk.copy()
            del chunk[id]
        for id, row in new.items():
            key = id >> _SHIFT
            chunk = chunks.get(key)
            if chunk is None or key not in mine:
                mine.add(key)
                chunks[key] = chunk = {} if chunk is None else chunk.copy()
            chunk[id] = row
        return type(self)(chunks)

    def __getitem__(self, id: int) -> V:
        return self._chunks[id >> _SHIFT][id]

    def get(self, id: int, default: Any = None) -> Any:
        """Return a row, or the default."""
        chunk = self._chunks.get(id >> _SHIFT)
        return default if chunk is None else chunk.get(id, default)

    def __contains__(self, id: object) -> bool:
        chunk = self._chunks.get(id >> _SHIFT) if isinstance(id, int) else None
        return chunk is not None and id in chunk

    def __iter__(self) -> Iterator[int]:
        for chunk in self._chunks.values():
            yield from chunk

    def __len__(self) -> int:
        return sum(map(len, self._chunks.values()))

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, like a dictionary

    def __repr__(self) -> str:
        return f"Table({dict(self)!r})"


class Draft(Generic[T, V]):
    """A table in the making; `done` ends it."""

    __slots__ = ("_chunks", "_kind", "_owned")

    def __init__(self, kind: Callable[[dict[int, dict[int, V]]], T], chunks: dict[int, dict[int, V]]) -> None:
        self._kind = kind
        self._chunks = chunks.copy()
        self._owned: set[int] = set()

    def done(self) -> T:
        """Return the table; the draft must not be changed any more."""
        return self._kind(self._chunks)

    def _own(self, key: int) -> dict[int, V]:
        chunk = self._chunks.get(key)
        if chunk is not None and key in self._owned:
            return chunk
        self._owned.add(key)
        self._chunks[key] = mine = {} if chunk is None else chunk.copy()
        return mine

    def __getitem__(self, id: int) -> V:
        return self._chunks[id >> _SHIFT][id]

    def get(self, id: int) -> V | None:
        """Return a row, or None."""
        chunk = self._chunks.get(id >> _SHIFT)
        return None if chunk is None else chunk.get(id)

    def __setitem__(self, id: int, row: V) -> None:
        self._own(id >> _SHIFT)[id] = row

    def pop(self, id: int) -> V | None:
        """Remove a row, if it is there, and return it."""
        key = id >> _SHIFT
        chunk = self._chunks.get(key)
        if chunk is None or id not in chunk:
            return None
        if len(chunk) == 1:
            return self._chunks.pop(key)[id]
        return self._own(key).pop(id)

    def items(self) -> list[tuple[int, V]]:
        """Return all rows with their numbers, the lowest first."""
        return sorted(item for chunk in self._chunks.values() for item in chunk.items())

    def values(self) -> list[V]:
        """Return all rows, the lowest number first."""
        return [row for key in sorted(self._chunks) for _, row in sorted(self._chunks[key].items())]
