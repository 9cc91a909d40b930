"""Who waits for a run to be over, suspended, or stuck until something comes from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tenuto.engine.ports import RunRow


class Settling:
    """Wakes those who wait as soon as `settled` holds for their run."""

    def __init__(self, settled: Callable[[str], bool]) -> None:
        self._settled = settled
        self._waiting: dict[str, list[asyncio.Future[RunRow | None]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, run: str) -> bool:
        return run in self._waiting

    async def wait(self, run: str) -> RunRow | None:
        """Return when a run has settled; its row, if that is at hand."""
        if self._settled(run):
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
        """Wake everybody: nothing more will happen here."""
        for run in list(self._waiting):
            for future in self._waiting.pop(run):
                if not future.done() and error is not None:
                    future.set_exception(error)
                elif not future.done():
                    future.set_result(None)
