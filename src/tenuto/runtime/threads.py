"""The threads in which steps run that are plain functions.

Not `ThreadPoolExecutor`: a process waits for its threads when it ends, for ever if one of them hangs. A
step that is broken off with its process is tried again, so these threads may end with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from tenuto.engine.model import Json
from tenuto.runtime.attempts import Attempt

THREADS: Final = 32
"""How many steps that are plain functions run at once; more wait their turn."""

THREADS_LEFT_MAX: Final = 256
"""How many threads are replaced whose step goes on although nobody waits for it; it holds a thread each."""


class _Job:
    """A function to be called in a thread, for somebody who may not wait for it any more."""

    __slots__ = ("attempt", "context", "function", "future", "left")

    def __init__(
        self, attempt: Attempt, context: Context, function: Callable[[], Json], future: asyncio.Future[Json]
    ) -> None:
        self.attempt = attempt
        self.context = context
        self.function = function
        self.future = future
        self.left = False


class Threads:
    """Calls functions in threads, of which there are as many as are needed; belongs to one event loop."""

    def __init__(self, size: int = THREADS) -> None:
        self._size = size
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._left = 0
        self._numbers = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """Return how many threads there are."""
        return self._threads

    async def run(self, attempt: Attempt, context: Context, function: Callable[[], Json]) -> Json:
        """Call a function in a thread and return its result; when cancelled it goes on, and nobody hears."""
        self._loop = asyncio.get_running_loop()
        job = _Job(attempt, context, function, self._loop.create_future())
        self._busy += 1
        self._grow()
        self._queue.put(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            if attempt.begun and not job.left:
                self._leave(job)
            raise

    def close(self) -> None:
        """End the threads that do nothing; the others end with their step, or with the process."""
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = 0

    def _grow(self) -> None:
        if self._threads < min(self._busy, self._size + self._left):
            self._threads += 1
            self._numbers += 1
            Thread(target=self._work, name=f"tenuto-step-{self._numbers}", daemon=True).start()

    def _leave(self, job: _Job) -> None:
        """Nobody waits for a job under way: another thread may take the place of its own."""
        if job.future.done() and not job.future.cancelled():
            return
        if self._left < THREADS_LEFT_MAX:
            job.left = True
            self._left += 1
            self._grow()

    def _ended(self, job: _Job, output: Json, error: BaseException | None) -> None:
        self._busy -= 1
        if job.left:
            self._left -= 1
            if self._threads > self._size + self._left:
                self._threads -= 1
                self._queue.put(None)
        if job.future.done():
            return
        if error is None:
            job.future.set_result(output)
        else:
            job.future.set_exception(error)

    def _work(self) -> None:
        """Call one function after the other, in a thread."""
        while (job := self._queue.get()) is not None:
            output: Any = None
            error: BaseException | None = None
            if not job.attempt.gone:
                job.attempt.begin()
                try:
                    output = job.context.run(job.function)
                except BaseException as raised:
                    error = raised
            try:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._ended, job, output, error)
            except RuntimeError:
                return  # The loop is closed, and nobody waits.
            del job, output, error
