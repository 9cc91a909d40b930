"""Keeps the secrets of this process from the programs that its workflows start.

The kernel shows every process's first environment and its memory to all programs of the same
user (`/proc/PID/environ`, `/proc/PID/mem`, core dumps), whatever their own environment holds.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

# Their places in what follows the program's name in /proc/self/stat; see proc(5), fields 50 and 51.
_ENVIRONMENT_START: Final = 47
_ENVIRONMENT_END: Final = 48
_PR_SET_DUMPABLE: Final = 4


def hide_secrets(environment: MutableMapping[str, str], prefix: str) -> None:
    """Forget the variables that begin with a prefix, and let nobody but root look into this process.

    Where there is no /proc to look through, forgetting is all that is done.
    """
    for name in [name for name in environment if name.startswith(prefix)]:
        del environment[name]
    if sys.platform != "linux":
        return
    facts = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(facts[_ENVIRONMENT_START]), int(facts[_ENVIRONMENT_END])
    if start:
        shown = ctypes.string_at(start, end - start)
        for variable in re.finditer(rb"(?:^|\x00)(%s[^\x00]*)" % re.escape(prefix.encode()), shown):
            ctypes.memset(start + variable.start(1), 0, len(variable[1]))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
