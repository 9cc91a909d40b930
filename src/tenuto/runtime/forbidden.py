"""What a workflow's body must not call, and what to use instead: the guard's tables.

`FORBIDDEN` names the calls at which the answer is made or the outside world is touched. A library that
does so somewhere deep inside is caught there too, and named by the function that the user's own line
called; `ADVICE` has better words for some of those.
"""

from __future__ import annotations

import importlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from dis import opmap
from functools import cache, cached_property, reduce
from pathlib import Path
from types import BuiltinMethodType, CodeType, FrameType, FunctionType, MethodDescriptorType
from typing import Any, Final, TypeAlias

CLOCK: Final = "reads the clock"
CHANCE: Final = "is left to chance"
WAITS: Final = "holds up every other run while it waits"
THREADS: Final = "does something at its own pace, which a replay cannot repeat"
LOOP: Final = "belongs to asyncio, which does not drive workflows"
OUTSIDE: Final = "depends on, or changes, the world outside"
OUTPUT: Final = "would say so again at every replay"

USE_NOW: Final = "use `tenuto.now()`; it is recorded, and the same on replay"
USE_UUID: Final = "use `tenuto.uuid()`, without `await`; it is the same on replay"
USE_RANDOM: Final = (
    "use `tenuto.random()` and its methods, or a generator with a seed: `random.Random(tenuto.random())`"
)
USE_SLEEP: Final = "use `await tenuto.sleep(seconds)`"
USE_LOG: Final = "use `tenuto.log(...)`; it says it once"
USE_STEP: Final = "do it in a `@step`, and `await` the step"
USE_GATHER: Final = "call the function as a `@step`; to do several at once, `await tenuto.gather(...)`"
USE_VERBS: Final = "use `tenuto.gather`, `tenuto.race`, `tenuto.sleep` or `tenuto.wait_for_event`"
USE_INPUT: Final = "hand the value in as an argument of the workflow, or read it in a `@step`"
CALL_AS_STEP: Final = "call it in a `@step`, and `await` the step"

FORBIDDEN: Final[tuple[tuple[str, str, str], ...]] = (
    # why, what to use instead, names
    (
        CLOCK,
        USE_NOW,
        """
        time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns
        time.process_time time.process_time_ns time.thread_time time.thread_time_ns time.clock_gettime
        time.clock_gettime_ns time.localtime time.gmtime time.ctime time.asctime time.strftime os.times
        datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today datetime.date.today
        """,
    ),
    (
        CHANCE,
        USE_RANDOM,
        """
        random.random random.getrandbits random.Random.seed random.Random.getstate random.Random.setstate
        os.urandom os.getrandom
        """,
    ),
    (
        CHANCE,
        USE_UUID,
        "uuid._generate_time_safe",
    ),
    (
        WAITS,
        USE_SLEEP,
        "time.sleep",
    ),
    (
        WAITS,
        USE_STEP,
        """
        threading.Condition.wait threading.Thread.join queue.SimpleQueue.get select.select select.poll
        select.epoll.poll input os.waitpid os.wait signal.sigwait signal.pause
        """,
    ),
    (
        THREADS,
        USE_GATHER,
        """
        threading.Thread.start _thread.start_new_thread _thread.start_joinable_thread
        concurrent.futures.thread.ThreadPoolExecutor.submit
        concurrent.futures.process.ProcessPoolExecutor.submit os.fork os.forkpty
        """,
    ),
    (
        LOOP,
        USE_SLEEP,
        "asyncio.sleep",
    ),
    (
        LOOP,
        USE_VERBS,
        """
        asyncio.get_running_loop asyncio._get_running_loop asyncio.get_event_loop _asyncio._get_event_loop
        asyncio.current_task asyncio.Lock.__init__ asyncio.Event.__init__ asyncio.Condition.__init__
        asyncio.Semaphore.__init__ asyncio.Queue.__init__ asyncio.Barrier.__init__ asyncio.gather
        asyncio.wait asyncio.wait_for asyncio.ensure_future asyncio.create_task asyncio.timeout
        asyncio.TaskGroup.__init__ asyncio.run
        """,
    ),
    (
        LOOP,
        USE_GATHER,
        "asyncio.to_thread",
    ),
    (
        OUTPUT,
        USE_LOG,
        """
        print _io.TextIOWrapper.write _io.TextIOWrapper.writelines
        """,
    ),
    (
        OUTSIDE,
        USE_INPUT,
        """
        os._Environ.__getitem__ os._Environ.__iter__ os._Environ.__setitem__ os._Environ.__delitem__
        os.getcwd os.getpid os.getppid os.uname os.cpu_count os.getlogin os.getloadavg socket.gethostname
        """,
    ),
    (
        OUTSIDE,
        USE_STEP,
        """
        open _io.FileIO.read _io.FileIO.readall _io.FileIO.readinto _io.FileIO.write
        _io.BufferedReader.read _io.BufferedReader.read1 _io.BufferedReader.readinto
        _io.BufferedReader.readline _io.BufferedWriter.write _io.BufferedWriter.flush
        _io.BufferedRandom.read _io.BufferedRandom.write _io.TextIOWrapper.read _io.TextIOWrapper.readline
        """,
    ),
    (
        OUTSIDE,
        USE_STEP,
        """
        os.open os.read os.write os.stat os.lstat os.fstat os.access os.listdir os.scandir os.mkdir
        os.rmdir os.remove os.unlink os.rename os.replace os.link os.symlink os.readlink os.truncate
        os.ftruncate os.chdir os.chmod os.chown os.utime os.statvfs os.fsync os.sendfile os.pipe os.kill
        os.killpg os.system os.posix_spawn os.posix_spawnp os.execv os.execve os.putenv os.unsetenv
        fcntl.flock
        """,
    ),
    (
        OUTSIDE,
        USE_STEP,
        """
        subprocess.Popen.__init__ _posixsubprocess.fork_exec
        """,
    ),
    (
        OUTSIDE,
        USE_STEP,
        """
        socket.socket.__init__ socket.socket.connect socket.socket.connect_ex socket.socket.send
        socket.socket.sendall socket.socket.sendto socket.socket.recv socket.socket.recv_into
        socket.socket.recvfrom socket.socket.bind socket.socket.listen socket.socket._accept
        socket.getaddrinfo socket.gethostbyname socket.gethostbyname_ex socket.gethostbyaddr
        socket.getnameinfo _ssl._SSLSocket.read _ssl._SSLSocket.write
        """,
    ),
    (
        OUTSIDE,
        USE_STEP,
        """
        sqlite3.connect sqlite3.Connection.execute sqlite3.Connection.executemany
        sqlite3.Connection.executescript sqlite3.Connection.commit sqlite3.Connection.rollback
        sqlite3.Connection.cursor sqlite3.Cursor.execute sqlite3.Cursor.executemany
        sqlite3.Cursor.executescript sqlite3.Cursor.fetchone sqlite3.Cursor.fetchmany
        sqlite3.Cursor.fetchall
        """,
    ),
)

ADVICE: Final[tuple[tuple[str, str], ...]] = (
    # what the user's line called (and all below it), hint; the first that fits counts
    ("uuid.getnode", USE_STEP),
    ("uuid", USE_UUID),
    ("secrets", "a secret must not be in the history: make it in a `@step` that also hands it on"),
    ("random.choice", "use `tenuto.random.choice(...)`"),
    ("random.randint", "use `tenuto.random.randint(...)`"),
    ("random.shuffle", "use `tenuto.random.shuffle(...)`"),
    ("random.uniform", "use `tenuto.random.uniform(...)`"),
    ("random.sample", "use `tenuto.random.sample(...)`"),
    ("random.random", "use `tenuto.random()`"),
    ("random", USE_RANDOM),
    ("logging", USE_LOG),
    ("asyncio.to_thread", USE_GATHER),
    ("asyncio.sleep", USE_SLEEP),
    ("asyncio.open_connection", USE_STEP),
    ("asyncio.create_subprocess_exec", USE_STEP),
    ("asyncio.create_subprocess_shell", USE_STEP),
    ("asyncio", USE_VERBS),
    ("threading.Thread", USE_GATHER),
    ("concurrent.futures", USE_GATHER),
    ("multiprocessing", USE_GATHER),
    ("os.environ", USE_INPUT),
    ("os.getenv", USE_INPUT),
    ("platform", USE_INPUT),
    ("getpass", USE_INPUT),
    ("subprocess", USE_STEP),
    ("socket", USE_STEP),
    ("urllib", USE_STEP),
    ("http", USE_STEP),
    ("pathlib", USE_STEP),
    ("shutil", USE_STEP),
    ("tempfile", USE_STEP),
)

HARMLESS: Final = frozenset(
    {
        "encodings",
        "importlib",
        "inspect",
        "linecache",
        "pkgutil",
        "traceback",
        "warnings",
        "zipimport",
        "zoneinfo",
    }
)
"""Top-level modules that read what belongs to the program itself: code, its text, time zones."""

OWN: Final = f"{Path(__file__).parent.parent}{os.sep}"
"""Where our own code lies."""

INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
"""What the paths of installed packages have in them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One forbidden call: as a user writes it, why it is forbidden, and what to use instead."""

    name: str
    reason: str
    hint: str
    applies: Callable[[FrameType], bool]

    @property
    def spoken(self) -> str:
        """The name without what is internal to Python."""
        if self.name.startswith("os._Environ."):
            return "os.environ"
        return self.name.removeprefix("_io.").removesuffix(".__init__")


Judge: TypeAlias = Callable[[FrameType, Call], None]
"""Raises for a forbidden call that is about to be made in a frame; returns if it is harmless there."""


@dataclass(frozen=True, eq=False)
class Tables:
    """The forbidden calls, keyed by what whoever sees calls is given."""

    functions: dict[Any, Call] = field(default_factory=dict)
    """By C function, or C method bound to one object."""
    methods: dict[type, dict[str, Call]] = field(default_factory=dict)
    """By class and name, for the C methods of any instance."""
    codes: dict[CodeType, Call] = field(default_factory=dict)
    """By the code of a Python function."""
    missing: list[str] = field(default_factory=list)
    """Names that this Python, on this system, does not have."""

    @cached_property
    def kinds(self) -> frozenset[type]:
        """What a forbidden C function can be bound to, by its class."""
        return frozenset(self.methods) | {type(getattr(one, "__self__", None)) for one in self.functions}

    @cached_property
    def names_of_codes(self) -> frozenset[str]:
        """What the forbidden Python functions are called."""
        return frozenset(code.co_name for code in self.codes)

    @cached_property
    def names_of_functions(self) -> frozenset[str]:
        """What the forbidden C functions are called, where text and containers have no such method too."""
        names = {function.__name__ for function in self.functions}.union(*self.methods.values())
        return frozenset(names.difference(*map(dir, (str, bytes, list, dict, set))))


@cache
def forbidden_calls() -> Tables:
    """Look up everything in `FORBIDDEN`; what this Python does not have is left out and named."""
    tables = Tables()
    for reason, hint, names in FORBIDDEN:
        for name in names.split():
            try:
                owner, found = _resolve(name)
            except (ImportError, AttributeError):
                tables.missing.append(name)
                continue
            _enter(tables, owner, found, Call(name, reason, hint, CONDITIONS.get(name, _always)))
    return tables


def _resolve(name: str) -> tuple[Any, Any]:
    """Return what a dotted name stands for, and what it was found in."""
    parts = name.split(".")
    if len(parts) == 1:
        parts.insert(0, "builtins")
    for count in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            if count == 1:
                raise
            continue
        owner = reduce(getattr, parts[count:-1], module)
        return owner, getattr(owner, parts[-1])
    raise AttributeError(name)


def _enter(tables: Tables, owner: Any, found: Any, call: Call) -> None:
    match found:
        case FunctionType():
            tables.codes[found.__code__] = call
        case MethodDescriptorType():
            tables.methods.setdefault(owner, {})[found.__name__] = call
            tables.methods.setdefault(found.__objclass__, {})[found.__name__] = call
        case BuiltinMethodType():
            tables.functions[found] = call
        case _:
            tables.missing.append(call.name)


def _always(_frame: FrameType) -> bool:
    return True


def _without_a_time(place: int) -> Callable[[FrameType], bool]:
    """Return whether a call gives fewer than `place` arguments: then the function takes the present time."""

    def applies(frame: FrameType) -> bool:
        code = frame.f_code.co_code
        return code[frame.f_lasti] in CALLS and code[frame.f_lasti + 1] < place

    return applies


def _not_by_a_library(frame: FrameType | None) -> bool:
    """Whether it is not just an installed package that looks up its own setting."""
    while frame is not None and frame.f_globals.get("__name__") in {
        "os",
        "collections.abc",
        "_collections_abc",
    }:
        frame = frame.f_back
    return frame is None or not any(part in frame.f_code.co_filename for part in INSTALLED)


def _without_a_seed(frame: FrameType) -> bool:
    """Whether a generator is seeded by chance, or the one that all modules share is seeded."""
    return frame.f_locals.get("a") is None or _is_shared(frame)


def _is_shared(frame: FrameType) -> bool:
    return frame.f_locals.get("self") is SHARED


SHARED: Final = getattr(random.random, "__self__", None)
"""The generator behind `random.random()` and its like."""

CALLS: Final = frozenset(opmap[name] for name in ("CALL", "PRECALL", "CALL_KW") if name in opmap)

CONDITIONS: Final[dict[str, Callable[[FrameType], bool]]] = {
    "time.localtime": _without_a_time(1),
    "time.gmtime": _without_a_time(1),
    "time.ctime": _without_a_time(1),
    "time.asctime": _without_a_time(1),
    "time.strftime": _without_a_time(2),
    "os._Environ.__getitem__": _not_by_a_library,
    "os._Environ.__iter__": _not_by_a_library,
    "random.Random.seed": _without_a_seed,
    "random.Random.getstate": _is_shared,
    "random.Random.setstate": _is_shared,
}
