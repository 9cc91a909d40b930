"""The machine's own clock and chance."""

from __future__ import annotations

import secrets
import time


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
