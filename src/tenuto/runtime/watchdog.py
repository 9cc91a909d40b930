"""Breaks off workflow code that never gives control back, such as `while True: pass`.

One thread looks a few times in `BLOCKED_SECONDS` whether the guard still counts the same slice; the
watched thread pays nothing for it. Looks are counted, not clocks read, so that a process which was
stopped and continued is not mistaken for a blocked one.
"""

from __future__ import annotations

from threading import Event, Thread
from typing import Final

from tenuto.runtime.guard import Guard

BLOCKED_SECONDS: Final = 2.0
"""How long a workflow's body may run between two waits."""

LOOKS: Final = 4
"""How often the watchdog looks in that time."""

HINT: Final = "do long work in a `@step`, and `await` the step; see that every loop ends"


class Watchdog:
    """Breaks off the slices of one guard that last longer than `seconds`, up to a quarter more."""

    def __init__(self, guard: Guard, seconds: float = BLOCKED_SECONDS) -> None:
        self._guard = guard
        self._seconds = seconds
        self._slice = 0
        self._looks = 0
        self._stopped = Event()
        self._thread = Thread(target=self._watch, name="tenuto-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look; once."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer, and wait for the thread to end."""
        self._stopped.set()
        self._thread.join()

    def look(self) -> bool:
        """Look once; answer whether a slice was broken off."""
        now = self._guard.slice
        if now % 2 == 0 or now != self._slice:
            self._slice, self._looks = now, 0
            return False
        self._looks += 1
        if self._looks < LOOKS:
            return False
        return self._guard.break_off(
            now,
            f"the workflow's body has run for {self._seconds:g} s without waiting for anything,"
            " which holds up every other run",
            HINT,
        )

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds / LOOKS):
            self.look()
