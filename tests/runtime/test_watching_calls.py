"""What the guard sees of code that was not first run by it, in each way that this Python has to see calls."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from time import perf_counter as ticks
from types import coroutine
from typing import Any

import pydantic
import pytest

from tenuto.authoring.failures import Nondeterministic
from tenuto.runtime import watching_calls
from tenuto.runtime.guard import Guard

MONITORED = sys.version_info >= (3, 12)


def caught_in(code: Callable[[], object]) -> bool:
    """Whether a guard catches something in some code."""
    try:
        Guard().run(code)
    except Nondeterministic:
        return True
    return False


def call(function: Callable[..., object], *arguments: object) -> object:
    """Call something that is given."""
    return function(*arguments)


def key(number: object) -> str:
    """Read the clock where a C function asks for something else."""
    return str(time.time())


def helper() -> float:
    """Read the clock."""
    return time.time()


def two_numbers() -> Iterator[float]:
    """Read the clock the second time only."""
    yield 1
    yield time.time()


@contextlib.contextmanager
def measured() -> Iterator[float]:
    """Read the clock in a `with`."""
    yield time.time()


@functools.cache
def remembered(number: int, clock: Callable[[], float] = time.time) -> float:
    """Read a clock that has another name here, once for each number."""
    return number + clock()


class Counting(type):
    """A metaclass that makes instances itself."""

    def __call__(cls, *args: Any) -> Any:
        """Make one."""
        return super().__call__(*args)


class Counted(metaclass=Counting):
    """Reads the clock when it is made."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.made = clock()


@dataclasses.dataclass
class Order:
    """Reads clocks and chance, wherever code can be entered."""

    at: float = dataclasses.field(default_factory=time.time)


class Customer(pydantic.BaseModel):
    """Reads the clock in a function that compiled code calls."""

    since: float = pydantic.Field(default_factory=lambda: time.time())


class Thing:
    """Reads clocks wherever code can be entered."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock

    def method(self) -> float:
        """Read the clock that it was given."""
        return self.clock()

    __call__ = method

    @property
    def age(self) -> object:
        """Read the clock."""
        return datetime.datetime.now()

    @property
    def ticks(self) -> float:
        """Read a clock by an alias."""
        return ticks()

    @property
    def indirect(self) -> float:
        """Have the clock read."""
        return helper()

    @property
    def id(self) -> uuid.UUID:
        """Have chance asked by the standard library."""
        return uuid.uuid4()

    @property
    def text(self) -> str:
        """Have a file read by the standard library."""
        return Path(__file__).read_text("utf-8")

    @functools.cached_property
    def cached(self) -> float:
        """Read the clock once."""
        return time.time()

    @property
    def of_its_own(self) -> float:
        """Read the clock that it was given."""
        return self.clock()

    def __add__(self, other: object) -> float:
        return time.time()

    def __getitem__(self, name: str) -> float:
        return time.monotonic()

    def __getattr__(self, name: str) -> float:
        return random.random()

    def __format__(self, how: str) -> str:
        return str(time.time())

    def __iter__(self) -> Iterator[float]:
        yield time.time()

    def __enter__(self) -> float:
        return time.time()

    def __exit__(self, *error: object) -> None:
        pass


def enter(thing: Any) -> None:
    """Enter a `with`."""
    with thing:
        pass


THING = Thing()
NUMBERS = iter(range(10**6))
SEEN_BEFORE: dict[str, Callable[[], object]] = {
    "a function": lambda: helper(),
    "a method": lambda: THING.method(),
    "an object that can be called": lambda: THING(),
    "a bound method that is handed on": lambda: call(THING.method),
    "a C function that is handed on": lambda: call(time.time),
    "a partial function": lambda: functools.partial(call, time.time)(),
    "a cached function": lambda: remembered(next(NUMBERS)),
    "a class": lambda: Order(),
    "a class of a metaclass": lambda: Counted(),
    "a property": lambda: THING.age,
    "a property with an alias": lambda: THING.ticks,
    "a property that has it read": lambda: THING.indirect,
    "a property that asks the standard library": lambda: THING.id,
    "a property that reads a file": lambda: THING.text,
    "a cached property": lambda: Thing().cached,
    "an operator": lambda: THING + 1,
    "an index": lambda: THING["a"],
    "an attribute that is not there": lambda: THING.nothing,
    "a text with it in": lambda: f"{THING}",
    "an iterator": lambda: list(THING),
    "a with": lambda: enter(THING),
    "a with of a generator": lambda: enter(measured()),
    "a generator": lambda: list(two_numbers()),
    "a key to sort by": lambda: sorted([2, 1], key=key),
    "a key to sort by, of one line": lambda: sorted([2, 1], key=lambda number: (uuid.uuid4(), number)),
    "a mapped function": lambda: list(map(key, [1])),
    "a default of compiled code": lambda: Customer(),
}


@pytest.mark.parametrize("code", SEEN_BEFORE.values(), ids=SEEN_BEFORE)
def test_what_ran_elsewhere_before_is_seen_in_a_slice(code: Callable[[], object]) -> None:
    """A step may have called it before a workflow does."""
    Guard()
    for _ in range(2):
        code()

    assert caught_in(code)


@pytest.mark.parametrize("code", SEEN_BEFORE.values(), ids=SEEN_BEFORE)
def test_what_was_caught_is_caught_again(code: Callable[[], object]) -> None:
    """To be watched is for good: what is caught does not depend on what was seen already."""
    guard = Guard()
    for _ in range(3):
        with pytest.raises(Nondeterministic):
            guard.run(code)


def test_a_clock_of_its_own_in_a_property_is_seen_the_first_time_only() -> None:
    """From 3.12 on, what is entered without a call is looked at when it first runs: see `monitored_calls`."""

    def with_property_of(clock: Callable[[], float]) -> Callable[[], object]:
        names: dict[str, Any] = {}
        exec("class Fresh:\n  @property\n  def age(self): return self.clock()\n", names)
        thing = names["Fresh"]()
        thing.clock = clock
        return lambda: thing.age

    Guard()
    first, ran_elsewhere = with_property_of(time.time), with_property_of(time.time)
    ran_elsewhere()

    assert caught_in(first)
    assert caught_in(ran_elsewhere) != MONITORED


@coroutine
def pause() -> Generator[None, None, None]:
    """Wait for nothing."""
    yield


async def read_after_a_pause(clock: Callable[[], float]) -> float:
    """Read a clock that has another name here, late."""
    await pause()
    return clock()


async def deep(clock: Callable[[], float]) -> float:
    """Have the clock read further in."""
    return await read_after_a_pause(clock)


async def several() -> AsyncIterator[float]:
    """Read the clock late."""
    yield 1
    await pause()
    yield time.time()


async def loop() -> list[float]:
    """Go through all."""
    return [number async for number in several()]


@pytest.mark.parametrize("begin", [lambda: deep(time.time), loop], ids=["coroutines", "async generators"])
def test_what_was_replayed_to_its_middle_is_seen_from_there(begin: Callable[[], Any]) -> None:
    """A run that is folded again is not watched; when it goes on live, all that it is in the middle of is."""
    Guard()
    body = begin()
    body.send(None)

    with pytest.raises(Nondeterministic):
        Guard().resume(body, None, None)


def test_what_is_no_function_fails_as_ever() -> None:
    """Watching a call that cannot be made changes nothing about its error."""
    for wrong in (None, 5, "text", THING.cached):
        with pytest.raises(TypeError, match="object is not callable"):
            Guard().run(lambda wrong=wrong: wrong())  # type: ignore[misc]


def test_guards_of_several_threads_do_not_disturb_each_other() -> None:
    """Each catches what its own thread does, also in code that others watch at the same time."""
    rounds, threads = 200, 4
    start = threading.Barrier(threads)
    caught: dict[int, int] = {}
    passed: dict[int, int] = {}

    def work(number: int) -> None:
        guard = Guard()
        start.wait()
        caught[number] = passed[number] = 0
        for _ in range(rounds):
            passed[number] += guard.run(lambda: call(len, "a"))  # type: ignore[operator]
            passed[number] += call(time.time) is not None
            with contextlib.suppress(Nondeterministic):
                guard.run(lambda: call(time.time))
            caught[number] += guard.caught is not None

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert dict.fromkeys(range(threads), rounds) == caught
    assert dict.fromkeys(range(threads), 2 * rounds) == passed


def test_one_guard_serves_any_thread_in_turn() -> None:
    """The thread that runs a slice is the one that is watched."""
    guard = Guard()
    found: list[object] = []

    def work() -> None:
        with contextlib.suppress(Nondeterministic):
            guard.run(helper)
        found.append(guard.caught)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        work()

    assert len(found) == 4
    assert None not in found


def test_a_slice_in_a_slice_is_part_of_it() -> None:
    """What the inner one does the outer guard catches, and goes on to watch when it is over."""
    outer, inner = Guard(), Guard()

    with pytest.raises(Nondeterministic):
        outer.run(lambda: inner.run(helper))
    assert outer.caught is not None
    with pytest.raises(Nondeterministic):
        outer.run(lambda: (inner.run(int), helper()))


def test_after_the_first_catch_the_rest_is_let_be() -> None:
    """Code that cleans up meets no second error, and the first is the one that is kept."""
    cleaned: list[float] = []

    def body() -> None:
        try:
            time.time()
        finally:
            cleaned.append(time.monotonic())

    guard = Guard()
    with pytest.raises(Nondeterministic):
        guard.run(body)

    assert len(cleaned) == 1
    assert guard.caught is not None
    assert "time.time" in guard.caught.message


AT_EXIT = """
import os, sys, types

class Last:
    def __del__(self, write=os.write):
        write(1, b"ended")

# Modules that somebody holds are emptied in turn, the last imported first.
sys.modules["first"] = first = types.ModuleType("first")
from tenuto.runtime.guard import Guard

first.kept = Last()
os.register_at_fork(before=list(sys.modules.values()).clear)
Guard().run(int)
"""


@pytest.mark.slow
def test_nothing_is_said_when_python_ends() -> None:
    """Functions that start when modules are emptied already are let be."""
    ended = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, check=True)

    assert ("ended", "") == (ended.stdout, ended.stderr)


if sys.version_info >= (3, 12):
    from tenuto.runtime import monitored_calls

    def test_without_a_place_for_tools_there_is_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
        """Other tools may have taken all places; the guard sees no less then, but is slower."""
        monitored_calls.the_monitor()
        taken = [tool for tool in monitored_calls.TOOLS if sys.monitoring.get_tool(tool) is None]
        for tool in taken:
            sys.monitoring.use_tool_id(tool, "a test")
        try:
            monitor = monitored_calls.the_monitor.__wrapped__()
        finally:
            for tool in taken:
                sys.monitoring.free_tool_id(tool)
        monkeypatch.setattr(watching_calls, "the_monitor", lambda: monitor)

        assert monitor is None
        assert caught_in(helper)
        assert caught_in(lambda: sys.getprofile() is not None and time.time())
