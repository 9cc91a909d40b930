"""The work under way in this process: a bounded number of actions, and all other tasks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

# How many actions are under way at once; more wait their turn.
ACTIONS_AT_ONCE: Final = 1_000


class Jobs:
    """Starts tasks, knows which are under way, and stops them all."""

    def __init__(self, idle: Callable[[], object]) -> None:
        """Begin with nothing; `idle` is called whenever the last task has ended."""
        self._idle = idle
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[Callable[[], object]] = deque()
        self._acting = 0
        self._beginning = False
        self._stopped = False
        self._detached: dict[str, set[asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._tasks) + len(self._queue)

    def start(
        self, work: Coroutine[Any, Any, None], then: Callable[[], object] | None = None
    ) -> asyncio.Task[None]:
        """Start a task; at its end, however it ends, `then` is called."""
        task = asyncio.create_task(work)
        if self._stopped:
            task.cancel()
        self._tasks.add(task)
        # Not in the task itself: one that is stopped before its first moment runs nothing of its own. And one
        # callback, not two: each costs a turn of the loop.
        task.add_done_callback(self._ended if then is None else partial(self._ended, then=then))
        return task

    def _ended(self, task: asyncio.Task[None], then: Callable[[], object] | None = None) -> None:
        try:
            if then is not None:
                then()
        finally:
            self._tasks.discard(task)
            if not self._tasks and not self._queue:
                self._idle()

    def act(self, begin: Callable[[], object]) -> None:
        """Begin an action now, or when others have ended; each calls `acted` at its end."""
        if self._stopped:
            return  # An action that ends as it is stopped must not make room for the next.
        if self._acting >= ACTIONS_AT_ONCE:
            self._queue.append(begin)
        else:
            self._acting += 1
            begin()

    def acted(self) -> None:
        """An action has ended or was not needed any more: the next may begin."""
        self._acting -= 1
        if self._beginning or not self._queue:
            return
        # Thousands may wait here that nobody needs any more: each of them only makes room for the next.
        self._beginning = True
        try:
            while self._queue and self._acting < ACTIONS_AT_ONCE:
                self._acting += 1
                self._queue.popleft()()
        finally:
            self._beginning = False

    def detach(self, run: str, task: asyncio.Task[None]) -> None:
        """Let a task go on after the end of its run."""
        detached = self._detached.setdefault(run, set())
        detached.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            detached.discard(task)
            if not detached:
                self._detached.pop(run, None)

        task.add_done_callback(ended)

    def detached(self, run: str) -> set[asyncio.Task[None]]:
        """Return the tasks that go on after the end of a run."""
        return self._detached.get(run, set())

    def stop(self) -> list[asyncio.Task[None]]:
        """Cancel everything, and return what has to end; nothing begins any more."""
        self._stopped = True
        self._queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks
