"""Standard output and standard error that nobody reads, or that cannot be written."""

from __future__ import annotations

import os
from typing import TextIO


def abandon(stream: TextIO) -> None:
    """Drop what a stream still holds and all that follows; otherwise Python would fail on it at the exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
