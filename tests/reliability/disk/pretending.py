"""Stores that do what they are asked and say that they have failed, in this process: thousands of lives in no time."""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

from tenuto.errors import StorageFailed, Unavailable
from tenuto.storage.sqlite import SqliteReader, SqliteWriter
from tests.reliability.checker import check
from tests.reliability.disk import life as living
from tests.reliability.disk.lives import Heard, overheard
from tests.reliability.evidence import Violation

LIVES_MAX: Final = 200
LIFE_SECONDS_MAX: Final = 20.0


class Unsure:
    """Lets calls of the store fail: before they are done, or after; each with the same probability."""

    def __init__(self, random: Random, share: float) -> None:
        self._random = random
        self.share = share
        self.counts: Counter[str] = Counter()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Be in between."""
        write, fetch = SqliteWriter.write, SqliteReader.fetch

        def unsure_write(writer: SqliteWriter, steps: Any) -> None:
            self._fail("writes that failed and were not done")
            write(writer, steps)
            self._fail("writes that were done and reported as failed")

        def unsure_fetch(reader: SqliteReader, *given: Any) -> Any:
            self._fail("reads that failed")
            return fetch(reader, *given)

        with (
            mock.patch.object(SqliteWriter, "write", unsure_write),
            mock.patch.object(SqliteReader, "fetch", unsure_fetch),
        ):
            yield

    def _fail(self, how: str) -> None:
        if self._random.random() < self.share:
            self.counts[how] += 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR  # as SQLite's own have it
            raise error


async def pretended(folder: Path, seed: int) -> tuple[list[Violation], Counter[str]]:
    """Let lives end by such failures, one after the other, until one gets to its end; check everything."""
    os.makedirs(folder)
    random = Random(seed)
    unsure = Unsure(random, random.uniform(0.02, 0.1))
    database, heard = folder / "t.db", Heard()
    wrong: list[str] = []
    with overheard() as lines, unsure():
        for number in range(1, LIVES_MAX):
            unsure.counts["lives"] += 1
            # Faults stop at last: what is left has to come to its end.
            unsure.share = 0.0 if number > LIVES_MAX // 4 else unsure.share
            options = argparse.Namespace(database=database, runs=4 if number == 1 else 1, clients=2)
            with mock.patch.object(living, "life", number):
                try:
                    async with asyncio.timeout(LIFE_SECONDS_MAX):
                        await living.live(options)
                except (StorageFailed, Unavailable) as error:
                    if not error.hint:
                        wrong.append(f"a failure without a hint: {error}")
                except TimeoutError:
                    wrong.append(f"life {number} did nothing any more")
            heard.take(lines)
            over = bool(heard.over)
            lines.clear()
            wrong += [f"life {number} said after the failure: {line!r}" for line in heard.after_failure[:3]]
            if over or wrong:
                break
    violations = [Violation("promise", "", text) for text in wrong]
    return [*violations, *check(heard.evidence(database, settled=not wrong))], unsure.counts
