"""Sees the calls that workflow code makes, before they are made: the guard's eyes, one kind for each Python.

| Python | by | told of |
|---|---|---|
| 3.11 | the thread's profile hook, set for each slice | each call and return, wherever it is made |
| 3.12 and newer | `sys.monitoring`, set up once | each call in code that slices run: see `monitored_calls` |

To be told costs about 0.1 µs. From 3.12 on a profile hook is no choice: each time one is set or taken away,
all code of the process is rewritten as it runs on, which costs ten times as much as being told.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from sys import getprofile, setprofile
from types import FrameType, ModuleType
from typing import Any

from tenuto.runtime.forbidden import Judge, Tables, forbidden_calls

if sys.version_info >= (3, 12):
    from tenuto.runtime.monitored_calls import the_monitor


@dataclass(frozen=True, slots=True)
class Eyes:
    """How one guard sees the calls of its thread; all of this is called there, for each slice."""

    occupied: Callable[[], object]
    """Returns what watches the thread already; None if nothing does."""
    open: Callable[[], object]
    """Watches the thread from now on."""
    close: Callable[[], object]
    """Watches it no longer."""
    follow: Callable[[object], None] | None
    """Is told before `open` which coroutine or callable the slice goes on with; None: need not know."""


def eyes_for(thread: int, judge: Judge) -> Eyes:
    """Return the best eyes that this Python has."""
    if sys.version_info >= (3, 12):
        monitor = the_monitor()
        if monitor is not None:
            here = monitor.inside
            return Eyes(
                occupied=partial(here.get, thread),
                open=partial(here.__setitem__, thread, judge),
                close=partial(here.pop, thread, None),
                follow=monitor.follow,
            )
    hook = _hook(forbidden_calls(), judge)
    return Eyes(getprofile, partial(setprofile, hook), partial(setprofile, None), follow=None)


def _hook(tables: Tables, judge: Judge) -> Callable[[FrameType, str, Any], None]:
    functions, methods, codes = tables.functions, tables.methods, tables.codes
    names, kinds = tables.names_of_codes, tables.kinds

    # This runs twice for every call that the code makes. Two cheap tests let nearly everything pass:
    # what a C function is bound to, and the name of a Python function (a string knows its hash; that of
    # a code object is made anew each time).
    def hook(frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            kind = type(arg.__self__)
            if kind is ModuleType:
                if arg in functions:
                    judge(frame, functions[arg])
            elif kind in kinds:
                found = functions.get(arg) or methods.get(kind, {}).get(arg.__name__)
                if found is not None:
                    judge(frame, found)
        elif event == "call" and frame.f_code.co_name in names:
            found = codes.get(frame.f_code)
            if found is not None:
                judge(frame, found)

    return hook
