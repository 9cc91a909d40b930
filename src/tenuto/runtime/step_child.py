"""What a child process does for a step: find it, call its function, tell how it is doing.

A message to the parent is MessagePack: `[attempt]` when the function begins and for each sign of life,
`[attempt, progress]` if it tells a progress. The outcome goes back as the answer of the call.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Thread
from types import ModuleType
from typing import Any, Final, Protocol

import msgspec

from tenuto.authoring.declare import Step
from tenuto.authoring.step_context import StepContext
from tenuto.engine.model import Json
from tenuto.errors import Fault, Faulted, Unfit
from tenuto.runtime.calling import call

LEFT_BEHIND: Final = 3  # the exit status of a child whose parent is gone
_PR_SET_PDEATHSIG: Final = 1  # from linux/prctl.h
_encoder: Final = msgspec.msgpack.Encoder()


class Where(msgspec.Struct, frozen=True, array_like=True):
    """Where a step is found: in this module, under this name; `file` is the module's, if it has one."""

    module: str
    qualname: str
    file: str | None


class Task(msgspec.Struct, frozen=True, array_like=True):
    """One attempt for a child; `number` names it in messages, `flag` is its place among the flags."""

    number: int
    flag: int
    where: Where
    arguments: dict[str, Json]
    run: str
    task: str
    attempt: int
    key: str
    progress: Json


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """How an attempt ended: with an output, a fault, or what does not fit (message and hint).

    `progress` is what a failed attempt told last.
    """

    output: Json = None
    fault: Fault | None = None
    unfit: tuple[str, str | None] | None = None
    progress: Json = None


class Lock(Protocol):
    """One writer at a time, across processes."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *error: Any) -> None: ...


class Child:
    """This process's side of the pool."""

    def __init__(self, messages: Connection, lock: Lock, flags: Any) -> None:
        self._messages = messages
        self._lock = lock
        self._flags = flags

    def tell(self, *message: Json) -> None:
        """Send the parent a message; nothing if it is gone."""
        try:
            with self._lock:
                self._messages.send_bytes(_encoder.encode(message))
        except OSError:
            return

    def gone(self, flag: int) -> bool:
        """Tell whether the parent does not wait for the attempt any more."""
        return flag >= 0 and bool(self._flags[flag])

    def carry_out(self, task: Task) -> Outcome:
        """Call the step's function; whatever happens comes back as an outcome."""
        if self.gone(task.flag):
            return Outcome()
        self.tell(task.number)
        last: Json = None

        def tell(progress: Json) -> None:
            nonlocal last
            last = last if progress is None else progress
            if not self.gone(task.flag):
                self.tell(task.number, *(() if progress is None else (progress,)))

        try:
            step = find(task.where)
            context = StepContext(
                task.run,
                task.task,
                task.attempt,
                task.key,
                task.progress,
                tell,
                lambda: self.gone(task.flag),
            )
            return Outcome(call(step, context, task.arguments))
        except Faulted as error:
            return Outcome(fault=error.fault, progress=last)
        except Unfit as error:
            return Outcome(unfit=(error.message, error.hint), progress=last)


_child: list[Child] = []  # of this process; `begin` is the only way in that a process pool offers


def begin(messages: Connection, lock: Lock, flags: Any, lifeline: Connection) -> None:
    """Prepare a new child process; it ends when the other end of the lifeline is closed."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent decides what an interrupt means.
    _child[:] = [Child(messages, lock, flags)]
    Thread(target=_hold, args=(lifeline,), name="tenuto-lifeline", daemon=True).start()


def _die_with_parent() -> None:
    """Have the kernel end this process the moment its parent ends, where it can.

    The lifeline tells it everywhere, but to a thread of ours: in a process that stands still or gets no
    processor, a step could go on long after another process took its run up and recorded its outcome.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            os._exit(LEFT_BEHIND)  # It ended before the kernel knew.


def _hold(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(LEFT_BEHIND)


def carry_out(task: bytes) -> bytes:
    """Carry out an encoded `Task` and return its encoded `Outcome`."""
    return _encoder.encode(_child[0].carry_out(msgspec.msgpack.decode(task, type=Task)))


# ── finding steps ────────────────────────────────────────────────────────────────────────


def find(where: Where) -> Step[..., Any]:
    """Return a step by where it is declared; raises `Unfit` if it is not there."""
    try:
        found: Any = _module(where)
        for name in where.qualname.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise unreachable(where, f"{type(error).__name__}: {error}") from None
    if not isinstance(found, Step):
        raise unreachable(where, f"there is a {type(found).__name__} of that name")
    return found


def unreachable(where: Where, why: str) -> Unfit:
    """Return the error of a step that a child process cannot find."""
    return Unfit(
        f"the step {where.module}.{where.qualname} has pool='process', but no new process can find it: {why}",
        hint="declare it with @step at the top level of a module that can be imported, not in a function or"
        " an interactive session; or leave out pool='process'",
    )


def _module(where: Where) -> ModuleType:
    there = sys.modules.get(where.module)
    if there is not None:
        return there
    try:
        return importlib.import_module(where.module)
    except ModuleNotFoundError:
        if where.file is None:
            raise
    specification = importlib.util.spec_from_file_location(where.module, where.file)
    if specification is None or specification.loader is None:
        raise ModuleNotFoundError(f"no module named {where.module!r}, and {where.file} cannot be loaded")
    module = importlib.util.module_from_spec(specification)
    execute: Callable[[ModuleType], None] = specification.loader.exec_module
    sys.modules[where.module] = module
    try:
        execute(module)
    except BaseException:
        del sys.modules[where.module]
        raise
    return module


def place_of(step: Step[..., Any]) -> Where:
    """Return where a step is found by a new process; raises `Unfit` if it cannot be found."""
    function = step.function
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    where = Where(function.__module__, function.__qualname__, file)
    if "<locals>" in where.qualname:
        raise unreachable(where, "it is declared in a function")
    if where.module == "__main__" and file is None and getattr(module, "__spec__", None) is None:
        raise unreachable(where, "the program has no file")
    found: Any = module
    for name in where.qualname.split("."):
        found = getattr(found, name, None)
    if found is not step:
        text = "nothing" if found is None else repr(found)
        raise unreachable(where, f"under that name there is {text}")
    return where
