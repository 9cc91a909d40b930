"""Sees calls through `sys.monitoring` (PEP 669), which Python has from 3.12 on.

Code that slices run is *watched* from then on, for good: each call in it is told before it is made, with
what is called. That is how more code comes to be watched before it runs: a slice begins in code that is
watched, and what this calls, if it is written in Python, is watched too.

Some code is entered without such a call: properties, operators, callbacks of C functions as in
`sorted(key=...)`, what our own code calls; before Python 3.12.3 also `function(*arguments)`. Where a function
starts is told for these too; but to be told each time would slow down the whole process. So it is asked for
once a function:

| it starts first | then |
|---|---|
| in a slice | it is watched |
| elsewhere | it is watched if it names something forbidden, as `datetime.now`, or an alias of it |

What stays unseen is a forbidden C function that is called by a name of its own (`self.clock()`), in a
function that ran elsewhere before it ran in a slice, and is entered without a call.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import Callable
from functools import _lru_cache_wrapper, cache, partial
from pathlib import Path
from sys import _getframe
from threading import get_ident
from types import (
    BuiltinMethodType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

from tenuto.runtime.forbidden import OWN, Judge, Tables, forbidden_calls

assert sys.version_info >= (3, 12)
monitoring = sys.monitoring  # Python 3.11 has none

TOOLS: Final = (4, 3, 5)
"""Which of Python's places for tools may be ours: not those meant for debuggers, coverage and profilers."""

_CALL: Final = monitoring.events.CALL
_START: Final = monitoring.events.PY_START
_events_of: Final = monitoring.get_local_events

_MADE_IN_PYTHON: Final = 1 << 9
"""The flag of classes that are not built in (`Py_TPFLAGS_HEAPTYPE`)."""

_UNWATCHED: Final = (f"{OWN}authoring{os.sep}", f"{OWN}runtime{os.sep}guard.py", __file__)
"""What need not be watched: what workflows mostly call is pure, and the guard is no part of a slice."""

_MACHINERY: Final = (OWN, f"{Path(asyncio.__file__).parent}{os.sep}")
"""What names clocks and sockets and has to stay fast; slices enter it through calls only."""


@cache
def the_monitor() -> Monitor | None:
    """Return the process's monitor, made at the first call; None if Python's places for tools are taken.

    There is one for all guards, since there are few places; it stays, as code stays watched.
    """
    for tool in TOOLS:
        if monitoring.get_tool(tool) is None:
            monitoring.use_tool_id(tool, "tenuto")
            return Monitor(tool, forbidden_calls())
    return None


class Monitor:
    """Has forbidden calls judged that are made in slices, by the judge of their thread's slice."""

    def __init__(self, tool: int, tables: Tables) -> None:
        self.inside: dict[int, Judge] = {}
        """Which threads are in a slice."""
        self._tool = tool
        self._tables = tables
        for event, callback in ((_CALL, self._make_on_call()), (_START, self._on_start)):
            monitoring.register_callback(tool, event, callback)
            # When Python ends it empties modules, this one too, before the last functions start.
            atexit.register(monitoring.register_callback, tool, event, None)
        monitoring.set_events(tool, _START)

    def follow(self, code: Any) -> None:
        """Watch what a slice goes on with: a coroutine with all that it awaits, or something to call.

        What a coroutine was in the middle of may never have been seen: replayed slices are none of ours.
        """
        while type(code) is CoroutineType:
            self._watch(code.cr_code)
            code = code.cr_await
        while type(code) is GeneratorType:
            self._watch(code.gi_code)
            code = code.gi_yieldfrom
        if code is not None:
            self._watch_called(code)

    def _watch(self, code: CodeType) -> None:
        """Have all calls told that are made in this code, from its next one on."""
        if not _events_of(self._tool, code) and not code.co_filename.startswith(_UNWATCHED):
            monitoring.set_local_events(self._tool, code, _CALL)

    def _watch_called(self, called: Any) -> None:
        """Watch the code, written in Python, that a call of this will run."""
        kind = type(called)
        functions: tuple[object, ...] = ()
        if kind is type:
            if called.__flags__ & _MADE_IN_PYTHON:
                functions = called.__init__, called.__new__
        elif kind is FunctionType:
            functions = (called,)
        elif kind is MethodType:
            functions = (called.__func__,)
        elif issubclass(kind, type):
            functions = kind.__call__, called.__init__, called.__new__
        elif issubclass(kind, partial):
            self._watch_called(called.func)
        elif kind is _lru_cache_wrapper:
            self._watch_called(called.__wrapped__)
        else:
            functions = (getattr(kind, "__call__", None),)  # noqa: B004  # it may be no function
        for function in functions:
            if type(function) is FunctionType:
                self._watch(function.__code__)

    def _make_on_call(self) -> Callable[[CodeType, int, Any, Any], None]:
        inside, tool, tables = self.inside, self._tool, self._tables
        functions, methods, kinds = tables.functions, tables.methods, tables.kinds

        # This runs for each call in code that is watched, wherever that runs, so the first tests are cheap.
        def on_call(_code: CodeType, _place: int, called: Any, first: Any) -> None:
            if not inside:
                return
            judge = inside.get(get_ident())
            if judge is None:
                return
            kind = type(called)
            if kind is FunctionType:
                if not _events_of(tool, called.__code__):
                    self._watch(called.__code__)
                return
            if kind is MethodDescriptorType:
                if type(first) not in kinds or not isinstance(first, called.__objclass__):
                    return
                called = called.__get__(first, type(first))
            elif kind is not BuiltinMethodType:
                self._watch_called(called)
                return
            found = functions.get(called)
            if found is None and type(called.__self__) is not ModuleType:
                found = methods.get(type(called.__self__), {}).get(called.__name__)
            if found is not None:
                judge(_getframe(1), found)

        return on_call

    def _on_start(self, code: CodeType, _place: int) -> object:
        """Look at a function that starts, and look no more; only at forbidden ones each time."""
        judge = self.inside.get(get_ident())
        if code.co_name in self._tables.names_of_codes:
            found = self._tables.codes.get(code)
            if found is not None:
                if judge is not None:
                    judge(_getframe(1), found)
                return None
        if judge is not None or self._names_forbidden(code, _getframe(1).f_globals):
            self._watch(code)
        return monitoring.DISABLE

    def _names_forbidden(self, code: CodeType, variables: dict[str, Any]) -> bool:
        """Whether code names a forbidden C function, or a variable of its module that holds one."""
        if code.co_filename.startswith(_MACHINERY):
            return False
        names = code.co_names
        if not self._tables.names_of_functions.isdisjoint(names):
            return True
        values = map(variables.get, names)
        return any(type(value) is BuiltinMethodType and value in self._tables.functions for value in values)
