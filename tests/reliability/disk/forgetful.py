"""A disk that forgets: from what a process wrote and synced, all that may be there after the power failed.

    disk.create("a"); disk.write("a", 0, b"new")
    disk.draw(...)                      the file may not be there, be empty, or hold any of its sectors
    disk.sync("a"); disk.sync("")       now it is there for certain, whole

Sectors of 512 bytes are written whole or not at all, each at any time after its write and in any order, up to a
sync of its file. A name (made, removed) counts once the folder is synced. After a sync that failed nobody
knows what is there, and no later sync writes it again unless the page has been written to meanwhile: that is
what kernels do.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

SECTOR: Final = 512
PAGE: Final = 4096
_PER_PAGE: Final = PAGE // SECTOR


class File:
    """A file's content as it is read now, and what the disk may hold instead."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self._old: dict[int, list[bytes]] = {}  # what else a sector may hold
        self._dirty: set[int] = set()  # of these, those that the next sync writes
        self._sizes: list[int] = []  # from before it grew
        self._tails: list[
            tuple[int, bytes, dict[int, list[bytes]]]
        ] = []  # what was cut off: from where, its `_old`

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes; they may reach the disk now, later, or in part."""
        end = offset + len(data)
        first, last = offset // SECTOR, (end - 1) // SECTOR
        for sector in range(first, last + 1):
            held = bytes(self.content[sector * SECTOR : (sector + 1) * SECTOR])
            self._old.setdefault(sector, []).append(held.ljust(SECTOR, b"\0"))
            self._dirty.add(sector)
        self._grow(end)
        self.content[offset:end] = data
        if self._old.keys() - self._dirty:
            # Whoever writes to a page that a failed sync has left behind makes the whole page dirty again.
            pages = range(first - first % _PER_PAGE, last - last % _PER_PAGE + _PER_PAGE)
            self._dirty.update(self._old.keys() & set(pages))

    def resize(self, size: int) -> None:
        """Cut the file, which happens whole or not at all, or make it longer with zeros."""
        if size < len(self.content):
            gone = [sector for sector in self._old if sector * SECTOR >= size]
            self._tails.append(
                (size, bytes(self.content[size:]), {sector: self._old.pop(sector) for sector in gone})
            )
            self._dirty.difference_update(gone)
            del self.content[size:]
        self._grow(size)

    def _grow(self, size: int) -> None:
        if size > len(self.content):
            self._sizes.append(len(self.content))
            self.content.extend(bytes(size - len(self.content)))

    def sync(self, *, worked: bool) -> None:
        """Make everything durable; if that fails, nobody knows what is."""
        if worked:
            self._sizes.clear()
            self._tails.clear()
            for sector in self._dirty:
                del self._old[sector]
        self._dirty.clear()

    def draw(self, chance: Random, kept: float, kept_behind: float) -> bytes:
        """Return what may be there.

        `kept` is how probable it is that something not synced has got there, `kept_behind` that something has
        which a failed sync has left behind.
        """
        content, old = bytearray(self.content), self._old
        if self._tails and chance.random() >= kept:
            start, tail, versions = chance.choice(self._tails)
            content[start:] = tail
            old = {sector: held for sector, held in old.items() if sector * SECTOR < start} | versions
        elif self._sizes and chance.random() >= kept:
            del content[chance.choice(self._sizes) :]
        for sector, held in old.items():
            place = sector * SECTOR
            likely = kept if sector in self._dirty else kept_behind
            if place < len(content) and chance.random() >= likely:
                size = min(SECTOR, len(content) - place)
                content[place : place + size] = chance.choice(held)[:size]
        return bytes(content)


class Disk:
    """Files and folders, by path from a folder that is there for certain and is called ""."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        """`files` are there for certain."""
        there = (files or {}).items()
        self._there: dict[str, File | None] = {
            name: File(content) for name, content in there
        }  # None: a folder
        self._former: dict[str, list[File | None]] = {}  # what a name may stand for instead; None: nothing

    def create(self, name: str) -> None:
        """Make a file, if it is not there."""
        if name not in self._there:
            self._former.setdefault(name, []).append(None)
            self._there[name] = File()

    def make_folder(self, name: str) -> None:
        """Make a folder."""
        self._former.setdefault(name, []).append(None)
        self._there[name] = None

    def remove(self, name: str) -> None:
        """Remove a file's name, if it is there."""
        if name in self._there:
            self._former.setdefault(name, []).append(self._there.pop(name))

    def write(self, name: str, offset: int | None, data: bytes) -> None:
        """Write to a file; at its end if the offset is None."""
        file = self._file(name)
        file.write(len(file.content) if offset is None else offset, data)

    def resize(self, name: str, size: int) -> None:
        """Cut a file or make it longer."""
        self._file(name).resize(size)

    def sync(self, name: str, *, worked: bool = True) -> None:
        """Make a file's content durable, not its name; of a folder, which names there are in it."""
        if name and self._there[name] is not None:
            self._file(name).sync(worked=worked)
        elif worked:
            for inside in [each for each in self._former if _parent(each) == name]:
                del self._former[inside]

    def _file(self, name: str) -> File:
        file = self._there[name]
        assert file is not None
        return file

    def draw(self, chance: Random, kept: float) -> dict[str, bytes]:
        """Return the files that may be there; with `kept` 1.0, those that are read now."""
        drawn: dict[str, bytes] = {}
        missing: set[str] = set()
        kept_behind = kept if kept == 1.0 else chance.choice((0.0, 0.5, 1.0))
        for name in sorted(self._there.keys() | self._former.keys()):
            there, file = name in self._there, self._there.get(name)
            if name in self._former and chance.random() >= kept:
                file = chance.choice(self._former[name])
                there = file is not None
            if not there or _parent(name) in missing:
                missing.add(name)
            elif file is not None:
                drawn[name] = file.draw(chance, kept, kept_behind)
        return drawn


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
