"""Watches workflow code while it runs for the first time, and stops calls that a replay could not repeat.

A thread's profile hook is told of every call, also of those deep inside libraries, before it is made. The
hook costs about 0.1 µs a call or return, so that one can afford it for a live slice; replay goes without.
"""

from __future__ import annotations

import ctypes
import gc
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from sys import _getframe, getprofile, setprofile
from threading import Lock, get_ident
from types import FrameType, ModuleType
from typing import Any, Final, TypeVar

from tenuto.authoring.failures import Nondeterministic
from tenuto.runtime.forbidden import ADVICE, CALL_AS_STEP, HARMLESS, INSTALLED, Call, Tables, forbidden_calls

OWN: Final = f"{Path(__file__).parent.parent}{os.sep}"
GENERATED: Final = ("<frozen ", "<string>", "<attrs generated ", "<__array_function__ ")
GO_BETWEENS: Final = frozenset({"_collections_abc", "collections.abc", "contextlib", "functools"})
PUBLIC: Final = {"genericpath": "os.path", "posixpath": "os.path", "ntpath": "os.path"}
DEBUGGERS: Final = frozenset({"bdb", "pdb", "pydevd", "_pydevd_bundle", "debugpy"})

Answer = TypeVar("Answer")


class Guard:
    """Stops calls whose answer a replay could not repeat; one for each thread that runs workflow code.

    `enter()` and `leave()` enclose a slice, in the same thread; they do not nest. A thread that is being
    profiled is left alone. After the first catch the rest of the slice is not watched (Python takes the
    hook away), so `caught` keeps it: code that swallowed the exception is found out all the same.

    A slice that never ends can be broken off from another thread (`break_off`, for the `Watchdog`). Its
    exception comes between any two instructions of this thread, so it might come in `leave()` itself:
    whoever uses a watchdog goes through `run()`, or calls `leave()` again if it raised.
    """

    def __init__(self, tables: Tables | None = None) -> None:
        self.caught: Nondeterministic | None = None
        """What was caught since the last `enter()`."""
        self.slice = 0
        """Counts each `enter()` and `leave()`: odd inside a slice."""
        self._tables = tables or forbidden_calls()
        self._standard = _standard_library()
        self._hook = self._make_hook()
        self._outer: FrameType | None = None
        self._thread = 0
        self._watching = False
        self._collecting = False
        self._broken_off = -1
        self._breaking = Lock()

    def run(self, code: Callable[[], Answer]) -> Answer:
        """Run one slice, watched; nothing that was meant for it comes after it."""
        try:
            try:
                self.enter()
                return code()
            finally:
                self.leave()
        except BaseException:
            self.leave()
            raise

    def resume(self, coroutine: Coroutine[Any, Any, Any], value: Any, error: BaseException | None) -> Any:
        """Let a coroutine go on with a value or an exception, watched, as `run` does."""
        try:
            try:
                self.enter()
                return coroutine.send(value) if error is None else coroutine.throw(error)
            finally:
                self.leave()
        except BaseException:
            self.leave()
            raise

    def enter(self) -> None:
        """Begin to watch this thread, unless somebody profiles it already."""
        self.caught = None
        self._thread = self._thread or get_ident()
        self._outer = _getframe(1)
        self.slice |= 1
        if getprofile() is None:
            self._watching = True
            if gc.isenabled():
                # What somebody else's objects do when they are collected is not the workflow's doing.
                self._collecting = True
                gc.disable()
            setprofile(self._hook)

    def leave(self) -> None:
        """Watch no longer; may be called again, or without `enter()`."""
        if self._watching:
            setprofile(None)
            self._watching = False
            if self._collecting:
                self._collecting = False
                gc.enable()
        self.slice += self.slice & 1
        if self._broken_off == self.slice - 1:
            # What was sent must arrive here, not later. It is not taken back: CPython 3.11 then goes on
            # looking for it for ever. It arrives at the next jump backwards at the latest.
            with self._breaking:
                pass
            for _ in range(2):
                pass
        self._outer = None

    def break_off(self, slice: int, message: str, hint: str) -> bool:
        """Raise `Nondeterministic` in the guarded thread if it still runs this slice; from another thread.

        Not while it imports a module or sits in a debugger, and at most once a slice.
        """
        with self._breaking:
            frame = sys._current_frames().get(self._thread)
            stack = list(self._stack(frame))
            place = self._place_of_blame(stack)
            if place is None or self._broken_off == slice or any(map(_is_not_to_be_disturbed, stack)):
                return False
            file, line = stack[place].f_code.co_filename, stack[place].f_lineno
            error = Nondeterministic(f"{file}:{line}: {message}", hint, file, line)
            # In this order: either `leave()` has counted, and is seen here; or it has not, and will see
            # this mark, wait for the lock, and let the exception arrive before it returns.
            self._broken_off = slice
            if self.slice != slice:
                return False
            self.caught = error
            return _raise_in(self._thread, _class_that_makes(error))

    def _make_hook(self) -> Callable[[FrameType, str, Any], object]:
        functions, methods, codes = self._tables.functions, self._tables.methods, self._tables.codes
        names = frozenset(code.co_name for code in codes)
        kinds = frozenset(methods) | {type(getattr(function, "__self__", None)) for function in functions}

        # This runs twice for every call that the code makes. Two cheap tests let nearly everything pass:
        # what a C function is bound to, and the name of a Python function (a string knows its hash; that of
        # a code object is made anew each time).
        def hook(frame: FrameType, event: str, arg: Any) -> None:
            if event == "c_call":
                kind = type(arg.__self__)
                if kind is ModuleType:
                    if arg in functions:
                        self._judge(frame, functions[arg])
                elif kind in kinds:
                    found = functions.get(arg) or methods.get(kind, {}).get(arg.__name__)
                    if found is not None:
                        self._judge(frame, found)
            elif event == "call" and frame.f_code.co_name in names:
                found = codes.get(frame.f_code)
                if found is not None:
                    self._judge(frame, found)

        return hook

    def _judge(self, frame: FrameType, call: Call) -> None:
        """Raise for a forbidden call, unless it is harmless where it stands."""
        stack = list(self._stack(frame))
        if any(map(_is_harmless, stack)) or not call.applies(frame):
            return
        place = self._place_of_blame(stack)
        if place is None:
            return
        blamed = stack[place]
        between = [frame for frame in stack[:place] if _module(frame) not in GO_BETWEENS]
        called = _spoken(between[-1]) if between else call.spoken
        self.caught = _complaint(blamed.f_code.co_filename, blamed.f_lineno, called, call)
        raise self.caught

    def _stack(self, frame: FrameType | None) -> Iterator[FrameType]:
        """Yield the frames from a call outwards, up to the one that called `enter()`."""
        while frame is not None:
            yield frame
            if frame is self._outer:
                return
            frame = frame.f_back

    def _place_of_blame(self, stack: list[FrameType]) -> int | None:
        """Return which frame to name: the innermost of the user, else the outermost that is not ours."""
        outermost = None
        for place, frame in enumerate(stack):
            file = frame.f_code.co_filename
            if not file.startswith(OWN):
                outermost = place
                if not self._is_library(file):
                    return place
        return outermost

    def _is_library(self, file: str) -> bool:
        return file.startswith((*self._standard, *GENERATED)) or any(part in file for part in INSTALLED)


def _standard_library() -> tuple[str, ...]:
    """Return where the standard library and installed packages lie."""
    paths = sysconfig.get_paths()
    names = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(f"{name}/" for name in {*names, site.getusersitepackages()})


def _is_harmless(frame: FrameType) -> bool:
    """Whether a frame belongs to what may read files or write at any time: imports, clean-up, warnings.

    Clean-up comes when the garbage collector does: what libraries let it call is not the workflow's doing.
    """
    code, module = frame.f_code, _module(frame)
    return (
        module.partition(".")[0] in HARMLESS
        or code.co_name == "__del__"
        or (module == "weakref" and code.co_name in {"__call__", "_exitfunc"})
        or any(_code_of(callback) is code for callback in gc.callbacks)
    )


def _code_of(callback: object) -> object:
    """Return the code that a call of this runs, if it is Python's."""
    return getattr(callback, "__code__", None) or getattr(type(callback).__call__, "__code__", None)


def _spoken(frame: FrameType) -> str:
    """Return a library function's name as a user writes it.

    `random.Random.choice` is `random.choice`, `asyncio.tasks.sleep` is `asyncio.sleep`, and
    `subprocess.Popen.__init__` is `subprocess.Popen`.
    """
    module = PUBLIC.get(_module(frame), _module(frame))
    name = frame.f_code.co_qualname.removesuffix(".__init__")
    root, *inner = module.split(".")
    module = root if root == "asyncio" else ".".join((root, *(part for part in inner if part[:1] != "_")))
    if module == "random":
        name = name.removeprefix("Random.")
    elif name.startswith("_Environ."):
        return "os.environ"
    return f"{module}.{name}"


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__") or ""


def _complaint(file: str, line: int, called: str, call: Call) -> Nondeterministic:
    """Return the error for a forbidden call that the user's line made, or made a library make."""
    root = called.partition(".")[0]
    by = "" if called == call.spoken else f", by `{call.spoken}`,"
    advice = (hint for what, hint in ADVICE if called == what or called.startswith(f"{what}."))
    of_python = not by or root in sys.stdlib_module_names
    message = f"{file}:{line}: `{called}`{by} {call.reason}, so it must not be called in a workflow's body"
    return Nondeterministic(message, next(advice, call.hint if of_python else CALL_AS_STEP), file, line)


def _is_not_to_be_disturbed(frame: FrameType) -> bool:
    """Whether a frame imports a module, which would stay half made, or waits for a person at a debugger."""
    return _module(frame).partition(".")[0] in {"importlib", *DEBUGGERS}


def _class_that_makes(error: Nondeterministic) -> type[Nondeterministic]:
    """Return a class whose instances say what `error` says: another thread can be sent a class only."""

    class BrokenOff(Nondeterministic):
        def __init__(self) -> None:
            super().__init__(error.message, error.hint, error.file, error.line)

    BrokenOff.__name__ = BrokenOff.__qualname__ = Nondeterministic.__name__
    return BrokenOff


def _raise_in(thread: int, kind: type[BaseException]) -> bool:
    """Have an exception raised in a thread, at the next call or jump backwards that it makes."""
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind)))
