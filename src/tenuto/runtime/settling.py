"""Who waits for a run to be over, suspended, or stuck until something comes from outside, and what for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from tenuto.engine.ports import RunRow


class Settling:
    """Wakes those who wait as soon as `settled` holds for their run."""

    def __init__(self, settled: Callable[[str], bool]) -> None:
        self._settled = settled
        self._waiting: dict[str, list[asyncio.Future[RunRow | None]]] = {}
        self._ended = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, run: str) -> bool:
        return run in self._waiting

    async def wait(self, run: str) -> RunRow | None:
        """Return when a run has settled; its row, if that is at hand."""
        if self._error is not None:
            raise self._error
        if self._ended or self._settled(run):
            return None
        future: asyncio.Future[RunRow | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run, []).append(future)
        try:
            return await future
        except asyncio.CancelledError:
            # Who asks again and again for a run that waits for a month must not fill the memory.
            self._forget(run, future)
            raise

    def _forget(self, run: str, future: asyncio.Future[RunRow | None]) -> None:
        futures = self._waiting.get(run, [])
        if future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[run]

    def look(self) -> None:
        """Look whether some run has settled, once the tasks that end in this turn are gone."""
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        for run in [run for run in self._waiting if self._settled(run)]:
            self.settle(run)

    def settle(self, run: str, row: RunRow | None = None) -> None:
        """Wake all who wait for a run."""
        for future in self._waiting.pop(run, ()):
            if not future.done():
                future.set_result(row)

    def fail(self, run: str, error: BaseException) -> None:
        """Tell all who wait for a run that it does not get there."""
        for future in self._waiting.pop(run, ()):
            if not future.done():
                future.set_exception(error)

    def end(self, error: BaseException | None = None) -> None:
        """Wake everybody, also whoever begins to wait later: nothing more will happen here."""
        self._ended, self._error = True, self._error or error
        for run in list(self._waiting):
            for future in self._waiting.pop(run):
                if not future.done() and error is not None:
                    future.set_exception(error)
                elif not future.done():
                    future.set_result(None)


class Offspring:
    """The runs that other runs have started without waiting for them, and that are not over yet."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, None]] = {}
        self._whose: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, parent: str, run: str) -> None:
        """A run has started another."""
        self._of.setdefault(parent, {})[run] = None
        self._whose[run] = parent

    def take(self, run: str) -> Iterable[str]:
        """Return what a run has started and is not over, once: whoever settles the run settles these too."""
        started = self._of.pop(run, {})
        for each in started:
            del self._whose[each]
        return started

    def remove(self, run: str) -> None:
        """A run is over: what it has started counts for the one that has started it."""
        parent = self._whose.pop(run, None)
        if parent is None:
            return
        started = self._of.pop(run, {})
        siblings = self._of[parent]
        del siblings[run]
        for each in started:
            siblings[each] = None
            self._whose[each] = parent
        if not siblings:
            del self._of[parent]
