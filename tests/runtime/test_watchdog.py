"""The watchdog: workflow code that keeps the thread to itself is broken off, and nothing else is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Event, Thread

import pytest

from tenuto.authoring.failures import Nondeterministic
from tenuto.runtime.guard import Guard
from tenuto.runtime.watchdog import LOOKS, Watchdog


def never_ends() -> None:
    """Keep the thread."""
    while True:
        pass


def count_to(number: int) -> int:
    """Keep the thread for a while."""
    total = 0
    for i in range(number):
        total += i
    return total


def in_another_thread(code: Callable[[], object]) -> Thread:
    """Start code in a thread of its own."""
    thread = Thread(target=code)
    thread.start()
    return thread


def test_an_endless_loop_is_broken_off() -> None:
    """The error names the line that the code was at, and says what to do."""
    guard = Guard()
    watchdog = Watchdog(guard, seconds=0.02)
    watchdog.start()
    try:
        with pytest.raises(Nondeterministic) as caught:
            guard.run(never_ends)
    finally:
        watchdog.stop()
    first = never_ends.__code__.co_firstlineno

    assert __file__ == caught.value.file
    assert caught.value.line in {first + 2, first + 3}
    assert f"{__file__}:{caught.value.line}: the workflow's body has run for 0.02 s" in caught.value.message
    assert "do long work in a `@step`" in caught.value.hint
    assert guard.caught is not None


def test_a_slice_is_broken_off_only_after_all_looks() -> None:
    """Looks at the same slice are counted, so a process that was stopped for long loses nothing."""
    guard = Guard()
    watchdog = Watchdog(guard)
    looked: list[bool] = []
    entered = Event()

    def look() -> None:
        entered.wait()
        looked.extend(watchdog.look() for _ in range(LOOKS + 1))

    def body() -> None:
        entered.set()
        never_ends()

    thread = in_another_thread(look)
    with pytest.raises(Nondeterministic):
        guard.run(body)
    thread.join()

    assert [False] * LOOKS + [True] == looked


def test_slices_that_end_are_never_broken_off() -> None:
    """Any number of looks at different slices, or between slices, does nothing (negative control)."""
    guard = Guard()
    watchdog = Watchdog(guard)
    looked = []
    for _ in range(3 * LOOKS):
        looked.append(watchdog.look())
        guard.run(lambda: looked.append(watchdog.look()))

    assert not any(looked)
    assert guard.caught is None


def test_an_import_is_not_broken_off() -> None:
    """A module that takes long to import stays whole."""
    guard = Guard()
    entered, go_on = Event(), []
    body = compile("while not go_on: pass", "slow_module.py", "exec")
    names = {"__name__": "importlib.of_a_module", "go_on": go_on}

    def look() -> None:
        entered.wait()
        looked.extend(Watchdog.look(watchdog) for _ in range(2 * LOOKS))
        go_on.append(True)

    watchdog, looked = Watchdog(guard), []
    thread = in_another_thread(look)

    def slow() -> str:
        entered.set()
        exec(body, names)
        return "whole"

    assert "whole" == guard.run(slow)
    thread.join()
    assert not any(looked)


def test_nothing_comes_after_the_slice() -> None:
    """However close the end of a slice is to the watchdog's strike, the exception comes in it or not at all."""
    guard = Guard()
    stopped: list[bool] = []
    struck = outside = 0

    def strike() -> None:
        while not stopped:
            if (now := guard.slice) % 2:
                guard.break_off(now, "too long", "end it")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = in_another_thread(strike)
    try:
        for number in range(400):
            try:
                guard.run(lambda number=number: count_to(number * 5))  # type: ignore[misc]
            except Nondeterministic:
                struck += 1
            try:
                count_to(200)
                assert sys.getprofile() is None
            except Nondeterministic:
                outside += 1
    finally:
        stopped.append(True)
        sys.setswitchinterval(interval)
        thread.join()

    assert struck > 0
    assert outside == 0
