"""The laws of the one door, for any program behind it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.engine.advance import Run, accepts, advance
from tenuto.engine.model import (
    Answered,
    CancelRequested,
    Command,
    Drop,
    Event,
    Failed,
    Finish,
    Perform,
    Restarted,
    Resumed,
    Started,
    Suspended,
    Wake,
)
from tenuto.engine.rules import MAX_RETRY_DELAY_SECONDS, fraction, retry_delay
from tenuto.engine.table import Table
from tenuto.errors import Fault

START = Started(0.0, "r", "d", None, "n")
FAULT = Fault("https://x.test", 500)


class Countdown:
    """A program that performs one action after the other, `count` times, each with a timeout."""

    def __init__(self, count: int) -> None:
        self.count = count

    def begin(
        self, started: Started, restarted: Restarted | None, recorded: object = None
    ) -> tuple[Any, list[Command]]:
        """Ask for the first action."""
        return self._next(self.count, 0)

    def step(self, state: Any, event: Event, recorded: object = None) -> tuple[Any, list[Command]]:
        """Ask for the next action, or end."""
        left, id = state
        match event:
            case CancelRequested():
                return state, [Drop(id), Drop(id + 1), Finish("cancelled")]
            case Failed():
                return state, [Finish("faulted", None, event.fault)]
            case Answered() if event.id == id:
                after, commands = self._next(left - 1, id + 2)
                return after, [Drop(id + 1), *commands]
            case Answered():
                return state, [Finish("faulted", None, FAULT)]
        return state, []

    def _next(self, left: int, id: int) -> tuple[Any, list[Command]]:
        if left == 0:
            return (0, id), [Finish("completed", "done")]
        return (left, id), [Perform(id, "/t", "f", {}, f"k{id}"), Wake(id + 1, 9.0)]

    def encode(self, state: Any) -> bytes:
        """Encode the state."""
        return repr(state).encode()

    def decode(self, data: bytes) -> Any:
        """Decode the state."""
        return tuple(int(part) for part in data.decode().strip("()").split(","))


EVENTS = st.one_of(
    st.builds(Answered, st.just(1.0), st.integers(0, 12)),
    st.builds(Failed, st.just(1.0), st.integers(0, 12), st.just(FAULT)),
    st.just(Suspended(1.0)),
    st.just(Resumed(1.0)),
    st.just(CancelRequested(1.0)),
)


def fold(events: list[Event], count: int = 5) -> tuple[Run, list[Command]]:
    """Fold what a run accepts of these events; answer it and all its commands."""
    program = Countdown(count)
    run, first = advance(program, None, START)
    commands = list(first)
    for event in events:
        if accepts(run, event):
            run, more = advance(program, run, event)
            commands += more
    return run, commands


@given(st.lists(EVENTS, max_size=40))
def test_no_command_is_asked_for_while_suspended_or_after_the_end(events: list[Event]) -> None:
    """Only what takes commands back, and the end after a cancellation."""
    program = Countdown(5)
    run, _ = advance(program, None, START)
    for event in events:
        if not accepts(run, event):
            continue
        over_before, suspended_before = run.over, run.status == "suspended"
        run, commands = advance(program, run, event)

        assert not over_before
        if suspended_before and not isinstance(event, Resumed | CancelRequested):
            assert all(isinstance(command, Drop | Finish) for command in commands)


@given(st.lists(EVENTS, max_size=40))
def test_an_answer_counts_once_and_only_for_an_open_command(events: list[Event]) -> None:
    """Doubling every event changes nothing."""
    doubled = [event for event in events for _ in range(2) if isinstance(event, Answered | Failed)]
    once = [event for event in events if isinstance(event, Answered | Failed)]

    assert fold(once)[0] == fold(doubled)[0]


@given(st.lists(EVENTS, max_size=40))
def test_the_same_events_give_the_same_run_and_commands(events: list[Event]) -> None:
    """The fold is a function."""
    assert fold(events) == fold(events)


def test_resuming_asks_for_everything_that_is_open() -> None:
    """What came while suspended, and what was under way before."""
    program = Countdown(3)
    run, _ = advance(program, None, START)
    run, _ = advance(program, run, Suspended(1.0))
    run, held = advance(program, run, Answered(1.0, 0))
    run, commands = advance(program, run, Resumed(1.0))

    assert [type(c) for c in held] == [Drop]
    assert sorted(c.id for c in commands if isinstance(c, Perform | Wake)) == [2, 3]


def test_after_the_end_nothing_is_accepted() -> None:
    """A terminal status is final."""
    run, _ = fold([CancelRequested(1.0)])

    assert run.status == "cancelled"
    assert not any(
        accepts(run, event)
        for event in (
            Answered(1.0, 0),
            Suspended(1.0),
            Resumed(1.0),
            CancelRequested(1.0),
            Restarted(1.0, "n", "/t"),
        )
    )


def test_a_run_that_only_timers_can_move_is_waiting() -> None:
    """Actions make it run."""
    program = Countdown(2)
    run, _ = advance(program, None, START)
    paused = Run("suspended", run.state, Table.of({1: Wake(1, 9.0)}))
    again, _ = advance(program, paused, Resumed(1.0))

    assert run.status == "running"
    assert again.status == "waiting"


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [("constant", [3.0, 3.0, 3.0]), ("linear", [3.0, 6.0, 9.0]), ("exponential", [3.0, 6.0, 12.0])],
)
def test_retry_delays_grow_as_named(backoff: Any, expected: list[float]) -> None:
    """Without jitter the numbers are exact."""
    assert [retry_delay(3.0, backoff, n, None, "") for n in (1, 2, 3)] == expected


@given(st.floats(0, 1e6), st.integers(1, 10_000), st.floats(0, 100), st.floats(0, 100), st.text())
def test_retry_delays_are_bounded_and_repeat(
    base: float, retry: int, low: float, high: float, seed: str
) -> None:
    """Never negative, never over a day, and equal for equal seeds."""
    delays = {retry_delay(base, "exponential", retry, (low, high), seed) for _ in range(3)}

    assert len(delays) == 1
    assert 0.0 <= delays.pop() <= MAX_RETRY_DELAY_SECONDS


@given(st.text())
def test_fractions_lie_in_their_interval(seed: str) -> None:
    """From zero up to, not including, one."""
    assert 0.0 <= fraction(seed) < 1.0
