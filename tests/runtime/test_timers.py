"""Timers: never early, never lost, and those that are taken back leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tenuto.runtime.timers import DEAD_TIMERS_KEPT, Timers
from tests.runtime.bench import TestClock

Fired = list[tuple[str, int]]


@pytest.fixture
async def timers() -> AsyncIterator[tuple[Timers, TestClock, Fired]]:
    """Timers on a clock that the test sets, and what fired."""
    clock, fired = TestClock(), list[tuple[str, int]]()
    made = Timers(clock, lambda run, command, now: fired.append((run, command)))
    yield made, clock, fired
    made.stop()


async def test_timers_fire_once_when_due_and_in_order(timers: tuple[Timers, TestClock, Fired]) -> None:
    """Those of the same time too, whichever was set first."""
    made, clock, fired = timers
    start = clock.time
    for command, delay in enumerate((3.0, 1.0, 2.0, 1.0)):
        made.add("r", command, start + delay)
    made.check()
    clock.time = start + 1.5
    made.check()
    early = list(fired)
    clock.time = start + 10.0
    made.check()
    made.check()

    assert early == [("r", 1), ("r", 3)]
    assert fired == [("r", 1), ("r", 3), ("r", 2), ("r", 0)]


async def test_a_clock_that_is_set_back_fires_nothing_early(timers: tuple[Timers, TestClock, Fired]) -> None:
    """And nothing is lost by it."""
    made, clock, fired = timers
    made.add("r", 1, clock.time + 10.0)
    clock.time -= 86_400.0
    made.check()
    before = list(fired)
    clock.time += 86_411.0
    made.check()

    assert (before, fired) == ([], [("r", 1)])


async def test_timers_that_are_taken_back_do_not_pile_up(timers: tuple[Timers, TestClock, Fired]) -> None:
    """A hundred thousand timeouts of an hour, of actions that take no time."""
    made, clock, fired = timers
    made.add("kept", 0, clock.time + 3600.0)
    for command in range(100_000):
        made.add("r", command, clock.time + 3600.0)
        made.remove("r", command)
    size = len(made._heap)
    clock.time += 3601.0
    made.check()

    assert size <= DEAD_TIMERS_KEPT + 4
    assert fired == [("kept", 0)]


async def test_a_timer_has_fired_when_it_was_seen_to_be_due(
    timers: tuple[Timers, TestClock, Fired], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is set back between two looks must not make what is recorded of it early."""
    made, clock, _ = timers
    start, fired = clock.time, list[float]()
    made._fire = lambda run, command, now: fired.append(now)
    made.add("r", 1, start + 10.0)
    times = iter([start + 11.0, start])
    monkeypatch.setattr(clock, "now", lambda: next(times, start))
    made.check()

    assert fired == [start + 11.0]
