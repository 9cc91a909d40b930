"""Events on their way from one run to all that listen: they are recorded with everybody at once.

Who listened before this process began may not have been read from the disk yet; until everybody
has, events are held back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from tenuto.engine.model import Emit
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
            self._spawn(hot, command.id, lambda: self._load_and_emit(hot, command, runs))

    async def _load_and_emit(self, hot: Hot, command: Emit, runs: Iterable[str]) -> None:
        listeners: list[Hot] = []
        try:
            for run in runs:
                other = await self._load(run)
                if other is not None:
                    other.held += 1
                    listeners.append(other)
            self._record(hot, command, listeners)
        finally:
            for other in listeners:
                other.held -= 1
