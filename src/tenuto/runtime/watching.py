"""Who looks on while runs are driven."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from tenuto.engine.model import Entry

Watcher: TypeAlias = Callable[[str, int, Entry], None]


class Watchers:
    """Tells all who look on; one that fails keeps nobody else, and no run, from going on."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []

    def add(self, watcher: Watcher) -> Callable[[], None]:
        """Let somebody look on; answer the end of it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def tell(self, run: str, seq: int, entry: Entry) -> None:
        """Tell of an entry that is durable."""
        if not self._watchers:
            return
        for watcher in tuple(self._watchers):
            try:
                watcher(run, seq, entry)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a watcher of runs failed", "exception": error}
                )
