"""The engine with every bound so small that the ways behind it are gone all the time.

Chunks of two, blobs of a few hundred bytes, a log that starts over every few pages, two runs in memory: what
otherwise takes a million runs to meet happens in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final
from unittest import mock

from tenuto.runtime.worker import Worker

BOUNDS: Final = {
    "tenuto.storage.journal.INLINE_BYTES_MAX": 300,
    "tenuto.storage.journal.QUEUE_BYTES_MAX": 3_000,
    "tenuto.storage.journal.ENTRIES_AT_ONCE": 2,
    "tenuto.runtime.memory.ENTRIES_AT_ONCE": 2,
    "tenuto.runtime.memory.PAGE": 3,
    "tenuto.runtime.memory.RECOVERY_CHUNK": 2,
    "tenuto.runtime.snapshots.ENTRIES_PER_SNAPSHOT": 3,
    "tenuto.runtime.jobs.ACTIONS_AT_ONCE": 2,
    "tenuto.runtime.feeding.HEARD_PER_TURN": 1,
    "tenuto.runtime.attempts.PROGRESS_EVERY_SECONDS": 0.001,
    "tenuto.storage.sqlite.CHECKPOINT_PAGES": 5,
    "tenuto.storage.sqlite.LOG_BYTES_MAX": 300_000,
}


@contextmanager
def squeezed() -> Iterator[None]:
    """Make all bounds small; each has to be there."""
    with ExitStack() as stack:
        for name, bound in BOUNDS.items():
            stack.enter_context(mock.patch(name, bound))
        stack.enter_context(mock.patch.dict(Worker.__init__.__kwdefaults__, hot_runs=2))
        yield
