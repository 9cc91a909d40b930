"""Finds inputs that reach new lines of our code: these are good to be changed further."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import tenuto

POOL_MAX: Final = 500
"""How many inputs are kept for a parser, the newest ones."""

_OURS: Final = str(Path(tenuto.__file__).parent)


class Guide:
    """Remembers which lines were reached, and the inputs that reached them first."""

    def __init__(self) -> None:
        self.pool: list[bytes] = []
        self._lines: set[tuple[CodeType, int, int]] = set()
        self._new = False
        self._before = 0

    def __len__(self) -> int:
        return len(self._lines)

    @contextmanager
    def watching(self, data: bytes) -> Iterator[None]:
        """Watch which lines an input reaches, and from which."""
        self._new = False
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(None)
        if self._new:
            self.pool.append(data)
            del self.pool[:-POOL_MAX]

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        self._before = 0
        return self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            step = (frame.f_code, self._before, frame.f_lineno)
            self._before = frame.f_lineno
            if step not in self._lines:
                self._lines.add(step)
                self._new = True
        return self._line
