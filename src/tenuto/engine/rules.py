"""Small laws with numbers in them: backoff, jitter, durable ids."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

MAX_RETRY_DELAY_SECONDS: Final = 86_400.0
_MAX_DOUBLINGS: Final = 64

# How deep the data of one event, or the output of a run, may nest.
DATA_DEPTH_MAX: Final = 256
# How many values the output of a run may have: parts that are shared count as often as they appear.
DATA_VALUES_MAX: Final = 10_000_000

Backoff = Literal["constant", "linear", "exponential"]


def retry_delay(
    base_seconds: float, backoff: Backoff, retry: int, jitter: tuple[float, float] | None, seed: str
) -> float:
    """Return the seconds to wait before retry number `retry` (from 1), at most a day.

    Constant waits `base` each time, linear `base * retry`, exponential `base * 2**(retry-1)`.
    Jitter adds a part of its range that follows from `seed`, so that a replay waits the same.

    >>> [retry_delay(3, "exponential", n, None, "") for n in (1, 2, 3)]
    [3.0, 6.0, 12.0]
    """
    factor = {
        "constant": 1,
        "linear": retry,
        "exponential": 2 ** min(retry - 1, _MAX_DOUBLINGS),
    }[backoff]
    delay = base_seconds * factor
    if jitter is not None:
        low, high = min(jitter), max(jitter)
        delay += low + (high - low) * fraction(f"{seed}/{retry}")
    return float(min(delay, MAX_RETRY_DELAY_SECONDS))


def fraction(seed: str) -> float:
    """Return a number in [0, 1) that follows from the seed and looks like chance."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest()) / 2**64


def derived_id(*parts: str) -> str:
    """Return an id (32 hexadecimal digits) that always follows from the same parts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def passed_limit(value: Any) -> str | None:
    """Return which limit data passes, with its value, or None: `DATA_DEPTH_MAX` or `DATA_VALUES_MAX`.

    >>> passed_limit({"a": [1, 2]}) is None
    True
    """
    layer, count, depth = [value], 1, -1
    while layer:
        depth += 1
        if depth > DATA_DEPTH_MAX:
            return f"DATA_DEPTH_MAX, {DATA_DEPTH_MAX} levels"
        inner: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
            if count + len(inner) > DATA_VALUES_MAX:
                return f"DATA_VALUES_MAX, {DATA_VALUES_MAX} values"
        count += len(inner)
        layer = [item for item in inner if isinstance(item, dict | list)]
    return None
