"""Watches workflow code while it runs for the first time, and stops calls that a replay could not repeat.

`watching_calls` sees every call, also those deep inside libraries, before it is made. That costs about
0.1 µs a call, so that one can afford it for a live slice; replay goes without.
"""

from __future__ import annotations

import ctypes
import gc
import site
import sys
import sysconfig
from collections.abc import Callable, Coroutine, Iterator
from operator import call
from threading import Lock, get_ident
from types import FrameType
from typing import Any, Final, TypeVar

from tenuto.authoring.failures import Nondeterministic
from tenuto.runtime.forbidden import ADVICE, CALL_AS_STEP, HARMLESS, INSTALLED, OWN, Call
from tenuto.runtime.watching_calls import eyes_for

GENERATED: Final = ("<frozen ", "<string>", "<attrs generated ", "<__array_function__ ")
GO_BETWEENS: Final = frozenset({"_collections_abc", "collections.abc", "contextlib", "functools"})
PUBLIC: Final = {"genericpath": "os.path", "posixpath": "os.path", "ntpath": "os.path"}
DEBUGGERS: Final = frozenset({"bdb", "pdb", "pydevd", "_pydevd_bundle", "debugpy"})
_LEFT_ALONE: Final = HARMLESS | DEBUGGERS

Answer = TypeVar("Answer")


class Guard:
    """Stops calls whose answer a replay could not repeat; one for each thread that runs workflow code.

    Slices, what `run` and `resume` run, do not nest: one inside another is not told apart from it. After
    the first catch the rest of the slice is not watched, so `caught` keeps it: code that swallowed the
    exception is found out all the same.

    A slice that never ends can be broken off from another thread (`break_off`, for the `Watchdog`). Its
    exception comes between any two instructions of this thread, also in `_leave()` itself: so that is
    called again if it raised, and nothing that was meant for a slice comes after it.
    """

    def __init__(self) -> None:
        self.caught: Nondeterministic | None = None
        """What was caught in the last slice."""
        self.slice = 0
        """Counts each beginning and end of a slice: odd inside one."""
        self._standard = _standard_library()
        self._thread = get_ident()
        self._eyes = eyes_for(self._thread, self._judge)
        self._watching = False
        self._collecting = False
        self._broken_off = -1
        self._breaking = Lock()

    def run(self, code: Callable[[], Answer]) -> Answer:
        """Run one slice, watched; nothing that was meant for it comes after it."""
        answer: Answer = self._run(code, call, code)
        return answer

    def resume(self, coroutine: Coroutine[Any, Any, Any], value: Any, error: BaseException | None) -> Any:
        """Let a coroutine go on with a value or an exception, watched, as `run` does."""
        if error is None:
            return self._run(coroutine, coroutine.send, value)
        return self._run(coroutine, coroutine.throw, error)

    def _run(self, code: object, go_on: Callable[[Any], Any], given: Any) -> Any:
        try:
            try:
                thread = get_ident()
                if thread != self._thread:
                    self._thread, self._eyes = thread, eyes_for(thread, self._judge)
                eyes = self._eyes
                self.caught = None
                self.slice |= 1
                # A thread that somebody profiles already is left alone.
                if eyes.occupied() is None:
                    if eyes.follow is not None:
                        eyes.follow(code)
                    self._watching = True
                    if gc.isenabled():
                        # What somebody else's objects do when they are collected is not the workflow's doing.
                        self._collecting = True
                        gc.disable()
                    eyes.open()
                return go_on(given)
            finally:
                self._leave()
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        """Watch no longer; may be called again."""
        if self._watching:
            self._eyes.close()
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
            # In this order: either `_leave()` has counted, and is seen here; or it has not, and will see
            # this mark, wait for the lock, and let the exception arrive before it returns.
            self._broken_off = slice
            if self.slice != slice:
                return False
            self.caught = error
            return _raise_in(self._thread, _class_that_makes(error))

    def _judge(self, frame: FrameType, call: Call) -> None:
        """Raise for a forbidden call, unless it is harmless where it stands."""
        if self.caught is not None:
            return
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
        """Yield the frames from a call outwards, up to where the slice begins."""
        while frame is not None:
            yield frame
            if frame.f_code is _SLICE:
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


_SLICE: Final = Guard._run.__code__
"""Where the frames of a slice end."""


def _standard_library() -> tuple[str, ...]:
    """Return where the standard library and installed packages lie."""
    paths = sysconfig.get_paths()
    names = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(f"{name}/" for name in {*names, site.getusersitepackages()})


def _is_harmless(frame: FrameType) -> bool:
    """Whether a frame belongs to what may read files or write at any time: imports, clean-up, warnings,
    debuggers.

    Clean-up comes when the garbage collector does: what libraries let it call is not the workflow's doing.
    """
    code, module = frame.f_code, _module(frame)
    return (
        module.partition(".")[0] in _LEFT_ALONE
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
