"""The exit statuses of every command: what a script can rely on."""

from __future__ import annotations

from typing import Final

COMPLETED: Final = 0
FAULTED: Final = 1
INVALID: Final = 2
WAITING: Final = 3
OUT_OF_ORDER: Final = 4
INTERRUPTED: Final = 130

BY_STATUS: Final[dict[str, int]] = {
    "completed": COMPLETED,
    "faulted": FAULTED,
    "pending": WAITING,
    "running": WAITING,
    "waiting": WAITING,
    "suspended": WAITING,
    "cancelled": INTERRUPTED,
}
