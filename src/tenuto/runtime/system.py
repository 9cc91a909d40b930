"""The machine's own clock and chance, and how this process uses its memory."""

from __future__ import annotations

import gc
import secrets
import time
from typing import Final

# A fold makes many small values that live until the next one. Looking for cycles among them every
# 700 allocations, as Python does unless told otherwise, costs a fifth of all steps.
ALLOCATIONS_PER_COLLECTION: Final = 50_000


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""
        return time.time()


class SystemChance:
    """The kernel's random numbers."""

    def token(self) -> str:
        """Return 128 random bits as 32 hexadecimal digits."""
        return secrets.token_hex(16)


def collect_seldom() -> None:
    """Let the garbage collector pass over what is there now, and look at the rest less often."""
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION, 20, 20)
