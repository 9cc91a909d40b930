"""The guard: what a replay could not repeat is stopped, named and explained; all else passes."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextvars
import copy
import cProfile
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
import hashlib
import importlib
import io
import json
import linecache
import logging
import os
import pathlib
import pdb
import platform
import queue
import random
import re
import secrets
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import uuid
import warnings
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pydantic
import pytest

from tenuto.authoring.failures import Nondeterministic
from tenuto.runtime import watching_calls
from tenuto.runtime.forbidden import FORBIDDEN, forbidden_calls
from tenuto.runtime.guard import Guard

HERE = __file__
NOW = "use `tenuto.now()`"
RANDOM = "use `tenuto.random"
STEP = "do it in a `@step`"
SLEEP = "use `await tenuto.sleep(seconds)`"
LOG = "use `tenuto.log(...)`"
TASKS = "call the function as a `@step`"
VERBS = "use `tenuto.gather`"
INPUT = "hand the value in as an argument"

FILE = open(os.devnull, "r+b", buffering=0)  # noqa: SIM115  # closed by `things`
TEXT = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # closed by `things`
DATABASE = sqlite3.connect(":memory:", check_same_thread=False)
POOL = concurrent.futures.ThreadPoolExecutor(1)
LOG_OF_A_USER = logging.getLogger("tests.guard")


@pytest.fixture(scope="module", autouse=True)
def things() -> Iterator[None]:
    """Close what the cases share."""
    yield
    FILE.close()
    TEXT.close()
    DATABASE.close()
    POOL.shutdown()


BY_HOOK, BY_MONITOR = "by a profile hook", "by monitoring"
EYES = [BY_HOOK, BY_MONITOR] if sys.version_info >= (3, 12) else [BY_HOOK]


@pytest.fixture(autouse=True, params=EYES)
def eyes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have guards see calls in each way that this Python has: a hook is what remains without a monitor."""
    if request.param == BY_HOOK and BY_MONITOR in EYES:
        monkeypatch.setattr(watching_calls, "the_monitor", lambda: None)
    return str(request.param)


CAUGHT: list[tuple[Callable[[], object], str, str]] = [
    (lambda: time.time(), "time.time", NOW),
    (lambda: time.time_ns(), "time.time_ns", NOW),
    (lambda: time.monotonic(), "time.monotonic", NOW),
    (lambda: time.perf_counter(), "time.perf_counter", NOW),
    (lambda: time.localtime(), "time.localtime", NOW),
    (lambda: time.gmtime(), "time.gmtime", NOW),
    (lambda: time.ctime(), "time.ctime", NOW),
    (lambda: time.strftime("%Y"), "time.strftime", NOW),
    (lambda: datetime.datetime.now(), "datetime.datetime.now", NOW),
    (lambda: datetime.datetime.now(datetime.UTC), "datetime.datetime.now", NOW),
    (lambda: datetime.datetime.today(), "datetime.datetime.today", NOW),
    (lambda: datetime.date.today(), "datetime.date.today", NOW),
    (lambda: [read() for read in [time.time]], "time.time", NOW),
    (lambda: uuid.uuid4(), "uuid.uuid4", "use `tenuto.uuid()`, without `await`"),
    (lambda: uuid.uuid1(), "uuid.uuid1", "use `tenuto.uuid()`, without `await`"),
    (lambda: random.random(), "random.random", "use `tenuto.random()`"),
    (lambda: random.choice([1, 2]), "random.choice", "use `tenuto.random.choice(...)`"),
    (lambda: random.randint(1, 2), "random.randint", "use `tenuto.random.randint(...)`"),
    (lambda: random.shuffle([1, 2]), "random.shuffle", "use `tenuto.random.shuffle(...)`"),
    (lambda: random.uniform(1, 2), "random.uniform", "use `tenuto.random.uniform(...)`"),
    (lambda: random.sample([1, 2], 1), "random.sample", "use `tenuto.random.sample(...)`"),
    (lambda: random.getrandbits(3), "random.getrandbits", RANDOM),
    (lambda: random.gauss(), "random.gauss", RANDOM),
    (lambda: random.seed(1), "random.seed", RANDOM),
    (lambda: random.Random(), "random.Random", RANDOM),
    (lambda: random.SystemRandom().random(), "random.SystemRandom.random", RANDOM),
    (lambda: os.urandom(2), "os.urandom", RANDOM),
    (
        lambda: secrets.token_hex(),
        "secrets.token_hex",
        "a secret must not be in the history: make it in a `@step`",
    ),
    (lambda: time.sleep(0), "time.sleep", SLEEP),
    (lambda: asyncio.sleep(1).send(None), "asyncio.sleep", SLEEP),
    (lambda: asyncio.get_running_loop(), "asyncio.get_running_loop", VERBS),
    (lambda: asyncio.Lock(), "asyncio.Lock", VERBS),
    (lambda: asyncio.Event(), "asyncio.Event", VERBS),
    (lambda: asyncio.Queue(), "asyncio.Queue", VERBS),
    (lambda: asyncio.gather(), "asyncio.gather", VERBS),
    (lambda: asyncio.ensure_future(None), "asyncio.ensure_future", VERBS),  # type: ignore[call-overload]
    (lambda: asyncio.create_task(None), "asyncio.create_task", VERBS),  # type: ignore[arg-type]
    (lambda: asyncio.timeout(1), "asyncio.timeout", VERBS),
    (lambda: asyncio.to_thread(print).send(None), "asyncio.to_thread", TASKS),
    (lambda: threading.Thread(target=int).start(), "threading.Thread.start", TASKS),
    (lambda: POOL.submit(int), "concurrent.futures.thread.ThreadPoolExecutor.submit", TASKS),
    (lambda: threading.Event().wait(), "threading.Event.wait", STEP),
    (lambda: queue.Queue[int]().get(), "queue.Queue.get", STEP),
    (lambda: queue.SimpleQueue[int]().get(), "queue.SimpleQueue.get", STEP),
    (lambda: select.select([], [], [], 0), "select.select", STEP),
    (lambda: input(), "input", STEP),
    (lambda: print("hello"), "print", LOG),
    (lambda: TEXT.write("hello"), "TextIOWrapper.write", LOG),
    (lambda: LOG_OF_A_USER.warning("hello"), "logging.Logger.warning", LOG),
    (lambda: os.environ["PATH"], "os.environ", INPUT),
    (lambda: os.environ.get("PATH"), "os.environ", INPUT),
    (lambda: os.getenv("PATH"), "os.getenv", INPUT),
    (lambda: os.getcwd(), "os.getcwd", INPUT),
    (lambda: os.getpid(), "os.getpid", INPUT),
    (lambda: socket.gethostname(), "socket.gethostname", STEP),
    (lambda: open(os.devnull).close(), "open", STEP),
    (lambda: FILE.read(1), "FileIO.read", STEP),
    (lambda: pathlib.Path("x").read_text(), "pathlib.Path.read_text", STEP),
    (lambda: pathlib.Path("x").mkdir(), "pathlib.Path.mkdir", STEP),
    (lambda: os.path.exists("x"), "os.path.exists", STEP),
    (lambda: os.listdir(), "os.listdir", STEP),
    (lambda: os.remove("no such file"), "os.remove", STEP),
    (lambda: shutil.copyfile("no", "such"), "shutil.copyfile", STEP),
    (lambda: tempfile.mkdtemp(), "tempfile.mkdtemp", STEP),
    (lambda: os.system("true"), "os.system", STEP),
    (lambda: subprocess.run(["true"], check=False), "subprocess.run", STEP),
    (lambda: socket.socket(), "socket.socket", STEP),
    (lambda: socket.create_connection(("127.0.0.1", 1)), "socket.create_connection", STEP),
    (lambda: socket.getaddrinfo("localhost", 1), "socket.getaddrinfo", STEP),
    (lambda: urllib.request.urlopen("http://127.0.0.1:1"), "urllib.request.urlopen", STEP),
    (lambda: sqlite3.connect(":memory:"), "sqlite3.connect", STEP),
    (lambda: DATABASE.execute("select 1"), "sqlite3.Connection.execute", STEP),
]


class Colour(enum.Enum):
    """An enumeration to be made use of."""

    RED = 1


@dataclasses.dataclass
class Order:
    """A dataclass, whose constructor is generated code."""

    number: int
    lines: list[str] = dataclasses.field(default_factory=list)


class Customer(pydantic.BaseModel):
    """A pydantic model."""

    name: str
    since: datetime.datetime


class Item(msgspec.Struct):
    """A msgspec struct."""

    name: str


@functools.lru_cache
def cached(number: int) -> int:
    """Return the same number."""
    return number


@functools.singledispatch
def dispatched(value: object) -> str:
    """Return the kind of value."""
    return type(value).__name__


def warn() -> None:
    """Warn, and make the warning's text, for which its line of code is read."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    linecache.clearcache()
    warnings.formatwarning("careful", UserWarning, HERE, 1)


def format_an_error() -> str:
    """Return a traceback, for which lines of code are read."""
    linecache.clearcache()
    try:
        return str(1 // 0)
    except ZeroDivisionError:
        return traceback.format_exc()


def use_a_lock() -> None:
    """Take a lock that nobody else has."""
    lock, other = threading.RLock(), threading.Lock()
    with lock, other:
        lock.acquire()
        lock.release()


MOMENT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PASSING: dict[str, Callable[[], object]] = {
    "a seeded generator": lambda: random.Random(42).choice([1, 2]),
    "a seeded generator's state": lambda: random.Random(42).getstate(),
    "a moment": lambda: datetime.datetime(2026, 1, 1),
    "a moment from text": lambda: datetime.datetime.fromisoformat("2026-01-01T00:00:00Z"),
    "a moment from a number": lambda: datetime.datetime.fromtimestamp(5, datetime.UTC),
    "arithmetic of time": lambda: MOMENT.astimezone(datetime.UTC) + datetime.timedelta(1),
    "time from text": lambda: time.strptime("2026", "%Y"),
    "datetime from text": lambda: datetime.datetime.strptime("2026", "%Y"),
    "datetime to text": lambda: MOMENT.strftime("%Y"),
    "a given time taken apart": lambda: (time.gmtime(5), time.localtime(5), time.ctime(5)),
    "a given time as text": lambda: time.strftime("%Y", time.gmtime(5)),
    "a time zone": lambda: MOMENT.astimezone(zoneinfo.ZoneInfo.no_cache("UTC")),
    "a uuid from text": lambda: uuid.UUID("12345678123456781234567812345678"),
    "a uuid from a name": lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "a"),
    "a dataclass": lambda: dataclasses.replace(Order(1), number=2),
    "a new dataclass": lambda: dataclasses.make_dataclass("Made", ["a"])(1),
    "pydantic": lambda: Customer.model_validate({"name": "a", "since": MOMENT}).model_dump_json(),
    "a new pydantic model": lambda: pydantic.create_model("Made", a=(int, 1))(),
    "msgspec": lambda: msgspec.json.decode(msgspec.json.encode(Item("a")), type=Item),
    "json": lambda: json.loads(json.dumps({"a": [1, 2.5, None]})),
    "re": lambda: re.sub("x{3,7}y*", "b", "xxxyy"),
    "decimal": lambda: decimal.Decimal("1.1").quantize(decimal.Decimal(1)),
    "hashlib": lambda: hashlib.sha256(b"a").hexdigest(),
    "an enumeration": lambda: (Colour(1), Colour["RED"], enum.Enum("Made", "A B")),
    "copy": lambda: copy.deepcopy({"a": [Order(1)]}),
    "caches": lambda: (cached(1), cached(1), dispatched(1)),
    "collections": lambda: collections.Counter({*"abc"}).most_common(),
    "named tuples": lambda: collections.namedtuple("Made", "a b")(1, 2),
    "context variables": lambda: contextvars.copy_context().run(int),
    "a warning": warn,
    "a traceback": format_an_error,
    "a lock that is free": use_a_lock,
    "the platform's name": lambda: sys.platform,
    "a silent log record": lambda: LOG_OF_A_USER.debug("nobody listens"),
    "collecting garbage": lambda: gc.collect(),
    "text in memory": lambda: io.StringIO().write("a"),
}


def watched(code: Callable[[], object]) -> Nondeterministic | None:
    """Return what the guard caught in some code."""
    try:
        Guard().run(code)
    except Nondeterministic as error:
        return error
    return None


@pytest.mark.parametrize(("code", "what", "hint"), CAUGHT, ids=[what for _, what, _ in CAUGHT])
def test_what_a_replay_cannot_repeat_is_caught(code: Callable[[], object], what: str, hint: str) -> None:
    """The error names the user's file and line, what that line called, and what to use instead."""
    error = watched(code)

    assert error is not None
    assert (HERE, code.__code__.co_firstlineno) == (error.file, error.line)
    assert error.message.startswith(f"{HERE}:{error.line}: `{what}`")
    assert error.hint.startswith(hint)


@pytest.mark.parametrize("code", PASSING.values(), ids=PASSING)
def test_what_gives_the_same_again_passes(code: Callable[[], object]) -> None:
    """Nothing is caught where the answer depends on nothing but the code and its arguments."""
    gc.collect()  # what other tests left behind is not this code's doing

    assert watched(code) is None


def test_other_peoples_garbage_is_not_collected_meanwhile() -> None:
    """What its finalizers do is not the workflow's doing; afterwards all is as before."""
    guard, found = Guard(), []
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        found += [guard.run(gc.isenabled), gc.isenabled()]
    gc.enable()

    assert found == [False, True, False, False]


def test_without_a_guard_nothing_is_caught() -> None:
    """The guard watches slices, and nothing else (negative control)."""
    guard = Guard()
    before = time.time()
    guard.run(int)

    assert time.time() >= before
    assert guard.caught is None


def test_an_import_passes_with_all_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module may be imported for the first time inside a slice, whatever its top level does."""
    (tmp_path / "guarded_module.py").write_text("import os, time\nSTARTED, HERE = time.time(), os.getcwd()\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert watched(lambda: importlib.import_module("guarded_module")) is None
    assert sys.modules.pop("guarded_module").STARTED > 0


def test_clean_up_of_others_passes() -> None:
    """An object that dies during a slice is not the workflow's doing."""

    class Dying:
        def __del__(self) -> None:
            died.append(time.time())

    died: list[float] = []
    kept = [Dying()]

    assert watched(kept.clear) is None
    assert len(died) == 1


class Counter:
    """Counts what the garbage collector says, and when."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def count(self, phase: str, info: dict[str, int]) -> None:
        """Take what `gc.callbacks` are given."""
        self.times.append(time.perf_counter())

    __call__ = count


@pytest.mark.parametrize("bound", [True, False], ids=["a method", "an object"])
def test_what_is_called_at_garbage_collections_passes(bound: bool) -> None:
    """Libraries that measure them read the clock at any moment; that is not the workflow's doing."""
    counter = Counter()
    callback = counter.count if bound else counter
    gc.callbacks.append(callback)
    try:
        caught = watched(gc.collect)
    finally:
        gc.callbacks.remove(callback)

    assert caught is None
    assert len(counter.times) >= 2


def helper() -> float:
    """Stand for a function of the user's own, that reads the clock."""
    return time.time()


def test_a_helper_is_named_by_its_own_line() -> None:
    """The innermost line of the user's own is to blame, not the workflow that called it."""
    error = watched(lambda: helper())

    assert error is not None
    assert helper.__code__.co_firstlineno + 2 == error.line


def _installed(tmp_path: Path, text: str) -> dict[str, Any]:
    """Return the names of a module that seems to be installed."""
    path = tmp_path / "site-packages" / "clever.py"
    names: dict[str, Any] = {"__name__": "clever"}
    exec(compile(text, str(path), "exec"), names)
    return names


def test_a_library_is_blamed_at_the_line_that_calls_it(tmp_path: Path) -> None:
    """What an installed package does inside is told, and that the package's function belongs in a step."""
    module = _installed(
        tmp_path, "import time\ndef ask():\n    return inner()\ndef inner(): return time.time()\n"
    )
    error = watched(lambda: module["ask"]())

    assert error is not None
    assert error.message.startswith(f"{HERE}:{error.line}: `clever.ask`, by `time.time`, reads the clock")
    assert "call it in a `@step`, and `await` the step" == error.hint


def test_an_installed_workflow_is_blamed_itself(tmp_path: Path) -> None:
    """Where all the code is installed, its outermost line is named."""
    module = _installed(tmp_path, "import time\ndef body():\n    return time.time()\n")
    guard = Guard()

    with pytest.raises(Nondeterministic) as caught:
        guard.run(module["body"])

    assert (str(tmp_path / "site-packages" / "clever.py"), 3) == (caught.value.file, caught.value.line)


def test_what_runs_around_a_slice_is_not_blamed(tmp_path: Path) -> None:
    """The search for the user's line ends where the slice began."""
    guard = Guard()

    assert time.time() > 0
    with pytest.raises(Nondeterministic) as caught:
        guard.run(_installed(tmp_path, "import time\ndef body(): time.sleep(0)\n")["body"])
    assert "clever.py" in caught.value.file


def test_a_swallowed_error_is_kept() -> None:
    """Code that catches everything is found out by `caught`; the next slice starts anew."""
    guard = Guard()

    def swallow() -> str:
        try:
            return str(time.time())
        except BaseException:
            return "nothing happened"

    assert "nothing happened" == guard.run(swallow)
    assert guard.caught is not None
    assert guard.run(int) == 0
    assert guard.caught is None


def test_exception_handlers_do_not_swallow_it() -> None:
    """`except Exception` lets it through."""

    def careless() -> None:
        try:
            time.time()
        except Exception:
            return

    assert watched(careless) is not None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_errors_leave_the_guard_in_order(error: type[BaseException]) -> None:
    """After any exception the thread is as it was, and the guard works again."""
    guard = Guard()

    def fail() -> None:
        raise error

    for _ in range(2):
        with pytest.raises(error):
            guard.run(fail)
        assert sys.getprofile() is None
    with pytest.raises(Nondeterministic):
        guard.run(helper)
    assert sys.getprofile() is None
    assert time.time() > 0


def test_a_profiler_is_left_alone(eyes: str) -> None:
    """A thread that is being profiled keeps its profiler; a hook steps aside, as there is room for one only."""
    seen: list[str] = []

    def profiler(frame: FrameType, event: str, arg: object) -> None:
        seen.append(event)

    guard = Guard()
    sys.setprofile(profiler)
    try:
        during = guard.run(sys.getprofile)
        caught = watched(lambda: time.time())
        after = sys.getprofile()
    finally:
        sys.setprofile(None)

    assert (profiler, profiler) == (during, after)
    assert (eyes == BY_MONITOR) == (caught is not None)
    assert "c_call" in seen


def test_a_profiler_of_the_standard_library_sees_what_it_always_sees() -> None:
    """`cProfile` counts the calls of watched code; from 3.12 on it is no hook, so that nobody steps aside."""
    profile = cProfile.Profile()
    with profile:
        caught = watched(lambda: helper())
    called = {entry.code.co_name for entry in profile.getstats() if not isinstance(entry.code, str)}

    assert "helper" in called
    assert (sys.version_info >= (3, 12)) == (caught is not None)


def test_a_tracer_sees_what_it_always_sees() -> None:
    """A debugger or a coverage tool that traces lines goes on, and what it does itself is not caught."""
    seen: list[tuple[str, float]] = []

    def tracer(frame: FrameType, event: str, arg: object) -> Any:
        seen.append((frame.f_code.co_name, time.time()))
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        passed, caught = watched(lambda: Order(1)), watched(lambda: helper())
    finally:
        sys.settrace(before)

    assert passed is None
    assert caught is not None
    assert {"helper", "__init__"} <= {name for name, _ in seen}


def test_a_debugger_may_be_called() -> None:
    """`breakpoint()` works in a workflow: what the debugger reads and writes is not the workflow's doing."""
    typed, shown = io.StringIO("p 6 * 7\ncontinue\n"), io.StringIO()
    before = sys.gettrace()

    def body() -> float:
        pdb.Pdb(stdin=typed, stdout=shown, nosigint=True).set_trace()
        return time.time()

    try:
        caught = watched(body)
    finally:
        sys.settrace(before)

    assert "42" in shown.getvalue()
    assert caught is not None


def test_other_threads_are_not_watched() -> None:
    """A guard watches the thread that entered it, no other."""
    guard = Guard()
    ready, done, answers = threading.Event(), threading.Event(), []

    def other() -> None:
        ready.wait()
        answers.append(time.time())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def slice_of_this_thread() -> None:
        ready.set()
        while not answers:
            pass

    guard.run(slice_of_this_thread)
    done.wait()
    thread.join()

    assert len(answers) == 1


def test_the_platform_is_asked_once_and_caught() -> None:
    """What a library remembers of the machine depends on it all the same, when it has to ask."""
    platform.uname.cache_clear() if hasattr(platform.uname, "cache_clear") else None
    platform._uname_cache = None  # type: ignore[attr-defined]
    error = watched(lambda: platform.node())

    assert error is not None
    assert "platform.node" in error.message
    assert error.hint.startswith(INPUT)


OF_SOME_VERSIONS = {"_thread.start_joinable_thread", "_asyncio._get_event_loop"}


def test_every_name_in_the_table_exists() -> None:
    """A misspelt name would forbid nothing."""
    assert set(forbidden_calls().missing) <= OF_SOME_VERSIONS


def test_no_name_is_forbidden_twice() -> None:
    """Each call has one reason and one hint."""
    names = [name for _, _, text in FORBIDDEN for name in text.split()]

    assert [] == [name for name, count in collections.Counter(names).items() if count > 1]
