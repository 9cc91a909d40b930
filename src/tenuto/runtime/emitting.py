"""Events on their way from one run to all that listen: they are recorded with everybody at once.

Who listened before this process began may not have been read from the disk yet; until everybody
has, events are held back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from tenuto.engine.model import Emit
from tenuto.errors import Conflict, NotFound
from tenuto.runtime.hot import Hot, wanted
from tenuto.runtime.listeners import Listeners


class Emitting:
    """Finds the listeners of an event, takes them up from the disk if need be, and has it recorded."""

    def __init__(
        self,
        runs: Mapping[str, Hot],
        listeners: Listeners,
        *,
        load: Callable[[str], Awaitable[Hot | None]],
        spawn: Callable[[Hot, int, Callable[[], Coroutine[Any, Any, None]]], object],
        record: Callable[[Hot, Emit, list[Hot]], None],
    ) -> None:
        self._runs = runs
        self._listeners = listeners
        self._load = load
        self._spawn = spawn
        self._record = record
        self._reviving = 0
        self._held: list[tuple[Hot, Emit]] = []

    @property
    def reviving(self) -> bool:
        """Whether runs are being taken up from the disk, so that events are held back."""
        return self._reviving > 0

    def revive(self) -> None:
        """Runs are being taken up; each call is ended by one of `revived`."""
        self._reviving += 1

    def revived(self) -> bool:
        """They are; return whether all are, so that events go out again."""
        self._reviving -= 1
        if self._reviving:
            return False
        held, self._held = self._held, []
        for hot, command in held:
            if hot.run is not None and wanted(hot.run, command):
                self.emit(hot, command)
            else:
                hot.active.pop(command.id, None)
        return True

    def emit(self, hot: Hot, command: Emit) -> None:
        """Send an event, now if everybody who listens is in memory."""
        if self._reviving:
            self._held.append((hot, command))
            return
        runs = self._listeners.all(command.event["type"])
        if all(run in self._runs for run in runs):
            self._record(hot, command, [self._runs[run] for run in runs])
        else:
            self._spawn(hot, command.id, lambda: self._load_and_emit(hot, command))

    async def _load_and_emit(self, hot: Hot, command: Emit) -> None:
        await self.with_listeners(
            command.event["type"], lambda listeners: self._record(hot, command, listeners)
        )

    async def with_listeners(self, kind: str, record: Callable[[list[Hot]], None]) -> None:
        """Call `record` with all runs that listen for a type, taken up from the disk if need be.

        None of them is put aside before that. One that cannot be taken up hears nothing, until it can be.
        """
        runs = dict.fromkeys(self._listeners.all(kind))
        held: dict[str, Hot] = {}
        try:
            # While one is taken up, another may have to be folded anew.
            while missing := [run for run in runs if self._runs.get(run) is not held.get(run, self)]:
                for run in missing:
                    if run in held:
                        held.pop(run).held -= 1
                    found = await self._find(run)
                    if found is None:
                        del runs[run]
                    else:
                        found.held += 1
                        held[run] = found
            record(list(held.values()))
        finally:
            for found in held.values():
                found.held -= 1

    async def _find(self, run: str) -> Hot | None:
        try:
            return await self._load(run)
        except (Conflict, NotFound):
            # Its code is to be mended first: what others tell each other does not wait for that.
            self._listeners.remove(run)
            return None
