"""Where many things come together: what is stopped, left, taken back, stuck or awaited twice."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import msgspec
import pytest

from tenuto import (
    Retry,
    Signal,
    Step,
    continue_as_new,
    each,
    gather,
    race,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from tenuto.authoring.program import PythonProgram
from tenuto.engine.advance import advance
from tenuto.engine.model import Note, Perform, Restarted, Resumed, Started
from tenuto.engine.stuck import HistoryMismatch, Stuck
from tenuto.errors import Invalid, timeout_fault
from tenuto.runtime.guard import Guard
from tests.authoring.playing import Play, again

go = Signal("go", int)
broken = True


@step
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


@step
def release(a: int, result: int | None) -> None:
    """Take `hold` back."""


@step(undo=release)
def hold(a: int) -> int:
    """Hold something."""
    return a


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What Python could not raise anywhere, once all garbage is collected."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: found.append(what.exc_value))
    yield found
    gc.collect()


# ── stuck with more than one event ───────────────────────────────────────────────────────


@workflow
async def picky() -> int:
    """Gives a step what it does not take, until it is mended."""
    first = await race(add(1), add(2))
    if broken:
        await add("one")  # type: ignore[arg-type]
    return await add(first)


def test_an_answer_that_mended_code_needs_no_more_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It came while the run was stuck; the code, once mended, has stopped what it answers."""
    play = Play(picky)
    play.answer(1, "/add")
    play.answer(2, "/add#2")
    monkeypatch.setattr("tests.authoring.test_corners.broken", False)
    play.run, play.program = again(picky, play.entries)
    play.resume()
    assert play.asked == ["/add#3"]
    play.answer(5)
    replayed, _ = again(picky, play.entries)

    assert play.output == 5
    assert replayed.finish == play.run.finish


def test_what_came_while_a_run_was_stuck_means_nothing_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is over; nobody is told that it is stuck."""

    @workflow
    async def short() -> int:
        first = await race(add(1), add(2))
        if broken:
            await add("one")  # type: ignore[arg-type]
        return first

    play = Play(short)
    play.answer(1, "/add")
    play.answer(2, "/add#2")
    monkeypatch.setattr("tests.authoring.test_corners.broken", False)
    play.run, play.program = again(short, play.entries)
    play.resume()

    assert play.output == 1
    assert not any(isinstance(c, Note) and c.what == "stuck" for c in play.commands)


def test_arguments_that_fit_no_more_keep_the_run_however_it_is_folded() -> None:
    """One by one, or a row of answers in one go."""

    @workflow(name="flow")
    async def flow() -> int:
        return await add(await add(1))

    @step(name="add")
    def changed(a: str) -> int:
        return int(a)

    @workflow(name="flow")
    async def new() -> int:
        return await changed(await add(1))  # type: ignore[arg-type]

    play = Play(flow)
    play.answer(1)

    with pytest.raises(Stuck, match="`a`"):
        again(new, play.entries)
    with pytest.raises(Stuck, match="`a`"):
        PythonProgram(new, lambda step: None).recall(None, play.entries)


# ── tried again from a task, with another input ──────────────────────────────────────────


@workflow
async def two_steps() -> int:
    """One after the other."""
    first = await add(1)
    if broken:
        await add("one")  # type: ignore[arg-type]
    return await add(first)


def test_the_first_task_can_be_given_another_input() -> None:
    """As every other one."""
    program = PythonProgram(two_steps, lambda step: None)
    run, _ = advance(program, None, Restarted(1.0, "again", "/add", True, {"a": 9, "b": 9}))
    _, commands = advance(program, run, Started(1.0, "run", "digest", {}, "nonce"))

    assert [(c.key, c.arguments) for c in commands if isinstance(c, Perform)] == [
        ("again-0/add", {"a": 9, "b": 9})
    ]


def test_a_task_that_began_when_its_run_was_mended_can_be_given_another_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And has a key of its own: it is not answered with what was done then."""
    play = Play(two_steps)
    play.answer(1)
    monkeypatch.setattr("tests.authoring.test_corners.broken", False)
    run, program = again(two_steps, play.entries)
    run, _ = advance(program, run, Restarted(1.0, "again", "/add#2", True, {"a": 9, "b": 9}))
    _, commands = advance(program, run, Resumed(2.0))

    assert [(c.key, c.arguments) for c in commands if isinstance(c, Perform)] == [
        ("again-0/add#2", {"a": 9, "b": 9})
    ]


def test_an_input_that_no_task_can_take_is_refused() -> None:
    """Before anything is recorded."""
    program = PythonProgram(two_steps, lambda step: None)
    run, _ = advance(program, None, Restarted(1.0, "again", "/add", True, [1]))

    with pytest.raises(Invalid, match="an object by parameter, not list"):
        advance(program, run, Started(1.0, "run", "digest", {}, "nonce"))


# ── stopped ──────────────────────────────────────────────────────────────────────────────


def test_a_branch_that_is_not_needed_any_more_begins_nothing() -> None:
    """Its first step would be done for nothing, and perhaps never be taken back."""
    begun: list[str] = []

    async def book() -> int:
        begun.append("book")
        return await hold(1)

    async def hears() -> None:
        await wait_for_event("x")

    async def books_when_it_hears() -> None:
        await wait_for_event("x")
        await gather(hold(1), book())

    @workflow
    async def flow() -> None:
        await add(1)
        await race(book(), go.receive())
        await race(hears(), books_when_it_hears())

    play = Play(flow)
    play.arrive("io.tenuto.signal.v1", 7, subject="go")
    play.answer(1)
    play.arrive("x")

    assert begun == []
    assert "started /hold" not in play.told
    assert play.status == "completed"


def test_the_first_event_ends_a_race_of_two_that_wait_for_it_once() -> None:
    """The other one is cancelled, and nothing else."""

    @workflow
    async def flow() -> None:
        await race(wait_for_event("paid"), wait_for_event("paid"))

    play = Play(flow)
    play.arrive("paid", 1)

    assert [line for line in play.told if "paid#2" in line] == ["started /paid#2", "cancelled /paid#2"]


def test_who_cleans_up_is_not_stopped_again() -> None:
    """A branch was stopped because another failed; then the run is cancelled."""

    async def branch() -> None:
        try:
            await sleep(1000)
        finally:
            await add(7)

    @workflow
    async def flow() -> None:
        await gather(add(1), branch())

    play = Play(flow)
    play.fail(task="/add")
    play.cancel()
    assert play.asked == ["/add#2"]
    play.answer(1)

    assert play.status == "cancelled"


async def cleaned(n: int) -> int:
    """The first fails, the others clean up."""
    if n == 0:
        return await add(0)
    try:
        await sleep(1000)
    finally:
        await add(90 + n)
    return n


def test_each_waits_until_the_others_have_cleaned_up() -> None:
    """As gather does; and who waits can be cancelled meanwhile."""

    @workflow
    async def flow() -> list[int]:
        return await each(cleaned, [0, 1, 2])

    for cancelled in (False, True):
        play = Play(flow)
        play.fail(task="/add")
        assert play.asked == ["/add#2", "/add#3"]
        if cancelled:
            play.cancel()
        play.answer(1)
        assert play.status == "running"
        play.answer(1)

        assert play.status == ("cancelled" if cancelled else "faulted")


def test_each_cancelled_waits_until_all_have_cleaned_up() -> None:
    """Also in a loop."""

    @workflow
    async def flow() -> int:
        return sum([n async for n in each(cleaned, [1, 2])])

    play = Play(flow)
    play.cancel()
    assert play.asked == ["/add", "/add#2"]
    play.answer(1)
    play.answer(1)

    assert play.status == "cancelled"


def test_each_is_taken_in_one_place_at_a_time() -> None:
    """Two that wait for the next would leave one waiting for ever."""

    @workflow
    async def flow() -> None:
        calls = each(add, range(4))

        async def take() -> list[int]:
            return [result async for result in calls]

        await gather(take(), take())

    play = Play(flow)

    assert play.fault.detail == "each(...) can be taken in one place at a time only"


def test_a_cancelled_run_that_was_paused_carries_out_what_it_lets_end() -> None:
    """Nobody works on what was open when the process began; it would wait for ever."""

    @workflow
    async def flow() -> None:
        await gather(hold(1), sleep(5))

    play = Play(flow)
    play.suspend()
    play.cancel()
    assert [c.task for c in play.commands if isinstance(c, Perform)] == ["/hold"]
    play.answer(1)
    play.answer(None)

    assert play.status == "cancelled"


# ── awaited twice, never, by somebody else ───────────────────────────────────────────────


def test_a_coroutine_in_two_branches_keeps_the_run() -> None:
    """One would be given what the other waits for."""

    async def twice(a: int) -> int:
        return await add(await add(a))

    @workflow
    async def at_once() -> None:
        work = twice(1)
        await gather(work, work)

    @workflow
    async def later() -> None:
        work = twice(1)

        async def other() -> None:
            await add(5)
            await race(work, sleep(1))

        await gather(work, other())

    first, second = Play(at_once), Play(later)
    second.answer(1, "/add#2")

    assert "is awaited twice" in first.reason
    assert "is awaited twice" in second.reason


def test_a_branch_that_cannot_begin_stops_the_others() -> None:
    """They would go on without anybody."""

    def know(step: Step[..., Any]) -> None:
        if step is hold:
            raise Invalid("two steps are called `hold`")

    @workflow
    async def flow() -> None:
        await gather(add(1), hold(1))

    run, _ = advance(PythonProgram(flow, know), None, Started(1.0, "run", "digest", {}, "nonce"))

    assert run.finish is not None
    assert run.finish.fault is not None
    assert run.finish.fault.detail == "two steps are called `hold`"


class _Leaving(BaseException):
    """A user's own, that is no Exception."""


def _leave(_: Any) -> Any:
    raise _Leaving("gone")


@pytest.mark.parametrize("where", ["predicate", "items", "close"])
def test_whatever_user_code_raises_is_the_runs_own(where: str) -> None:
    """It never goes to who told the run of an event."""

    async def leaving() -> None:
        try:
            await sleep(1)
        finally:
            _leave(None)

    async def quick() -> None:
        await add(1)

    @workflow
    async def flow() -> None:
        await wait_for_event("go")
        if where == "predicate":
            await wait_for_event("go", where=_leave)
        elif where == "items":
            await each(add, map(_leave, [1]))
        else:
            async for _ in each(lambda work: work(), [quick, leaving]):
                raise _Leaving("gone")

    play = Play(flow)
    play.arrive("go")
    if where == "predicate":
        play.arrive("go")
    elif where == "close":
        play.answer(1)

    assert (play.status, play.fault.detail) == ("faulted", "gone")


# ── taken back ───────────────────────────────────────────────────────────────────────────


def test_what_was_left_alone_before_a_new_beginning_is_forgotten_there() -> None:
    """The run does not wait for its end."""

    @workflow
    async def flow(n: int) -> None:
        if n == 0:
            await race(hold(1), add(1))
            continue_as_new(1)
        await add(5)
        raise ValueError("no")

    play = Play(flow, {"n": 0})
    play.answer(1, "/add")
    play.answer(1, "/add")

    assert play.status == "faulted"


def test_calls_that_a_loop_has_left_may_end_before_all_is_taken_back() -> None:
    """Only then is it known what they did."""

    @workflow
    async def flow() -> None:
        async for _ in each(hold, range(3), at_once=3):
            raise ValueError("no")

    play = Play(flow)
    play.answer(10, "/hold")
    assert play.asked == ["/hold#2", "/hold#3"]
    play.answer(20)
    play.fail()
    undone = []
    while play.performs:
        undone.append(play.performs[0].arguments["result"])
        play.answer(None)

    assert undone == [20, 10]
    assert play.status == "faulted"


@pytest.mark.parametrize("end", ["cancelled", "faulted", "completed"])
def test_an_attempt_whose_end_nobody_knows_is_taken_back_whatever_comes_after(end: str) -> None:
    """The first attempt ran out of time; the second fails, or never comes, or does it."""

    @step(undo=release, retry=Retry(attempts=3, delay_seconds=10))
    def shaky(a: int) -> int:
        return a

    @workflow
    async def flow() -> None:
        await shaky(1)
        raise ValueError("no")

    play = Play(flow)
    play.fail(msgspec.structs.replace(timeout_fault("late").fault, transient=True))
    if end == "cancelled":
        play.cancel()
    else:
        play.wake()
        if end == "faulted":
            play.fail()
        else:
            play.answer(5)
    undone = [(c.task, c.arguments["result"]) for c in play.performs]
    play.answer(None)

    assert undone == [("/release", 5 if end == "completed" else None)]
    assert play.performs == []
    assert play.status == ("cancelled" if end == "cancelled" else "faulted")


# ── watched, and let go of ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["items", "predicate"])
def test_code_beside_the_coroutines_is_watched_too(where: str) -> None:
    """What gives `each` its items, and what says which event is the one."""

    @workflow
    async def flow() -> None:
        if where == "items":
            await each(add, (int(time.time()) for _ in range(2)))
        await wait_for_event("x", where=lambda event: time.time() > 0)

    play = Play(flow, guard=Guard())
    if where == "predicate":
        play.arrive("x")

    assert play.status == "suspended"
    assert "`time.time`" in play.reason


async def test_an_async_generator_left_early_does_nothing_outside_of_its_run() -> None:
    """The event loop would go on with it, and call its steps as plain functions."""
    done: list[str] = []

    @step
    def effect() -> None:
        done.append("effect")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield await add(1)
            yield await add(2)
        finally:
            done.append("left")
            await effect()

    @workflow
    async def flow() -> int:
        kept = numbers()
        async for _ in numbers():
            break
        async for _ in kept:
            break
        await sleep(10)
        return len([kept])

    play = Play(flow)
    play.answer(1)
    play.answer(1)
    play.wake()
    del play
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0)

    assert done == ["left", "left"]


def test_code_that_does_not_fit_is_let_go_of_in_silence(unraisable: list[Any]) -> None:
    """Its coroutines clean up nothing, wherever they are collected."""

    @workflow(name="flow")
    async def flow() -> int:
        return await add(1)

    @workflow(name="flow")
    async def other() -> int:
        async def branch() -> int:
            try:
                return await add(2)
            finally:
                await add(9)

        first, _ = await gather(branch(), branch())
        return first

    play = Play(flow)
    for fold in (lambda: again(other, play.entries), lambda: recalled(other, play)):
        with pytest.raises(HistoryMismatch):
            fold()
        gc.collect()

    assert unraisable == []


def recalled(code: Any, play: Play) -> Any:
    """Fold a whole history in one go."""
    return PythonProgram(code, lambda step: None).recall(None, play.entries)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_code_that_swallows_everything_cannot_keep_others_from_going_on(unraisable: list[Any]) -> None:
    """A bare `except` in a loop also swallows that the coroutine is let go of."""

    @workflow
    async def flow() -> None:
        while True:
            try:
                await add(1)
            except:  # noqa: E722  # the point of the test
                continue

    play = Play(flow)
    play.cancel()
    play.cancel()
    gc.collect()

    assert play.status == "cancelled"
    assert all("ignored GeneratorExit" in str(error) for error in unraisable)


name: ContextVar[str] = ContextVar("name", default="nobody")


def test_context_variables_are_the_runs_own() -> None:
    """One run does not see what another has set, and sees what it has set itself after a wait."""

    @workflow
    async def flow(who: str) -> str:
        before = name.get()
        name.set(who)
        await add(1)
        return f"{before} {name.get()}"

    plays = [Play(flow, {"who": who}) for who in ("a", "b")]
    for play in plays:
        play.answer(1)

    assert [play.output for play in plays] == ["nobody a", "nobody b"]
    assert name.get() == "nobody"
    assert recalled(flow, plays[0]).finish.output == "nobody a"


@workflow
async def anew(n: int) -> None:
    """Begin again and again."""
    continue_as_new(n + 1)


@workflow
async def on_and_on(n: int) -> None:
    """Wait for what is there already."""
    while n == 0:
        await gather()


@pytest.mark.parametrize("endless", [anew, on_and_on])
def test_code_that_never_waits_holds_up_nobody(
    endless: Any, monkeypatch: pytest.MonkeyPatch, unraisable: list[Any]
) -> None:
    """Its run is kept, until it is mended."""
    monkeypatch.setattr("tenuto.authoring.execution.RESUMED_AT_ONCE_MAX", 1_000)
    monkeypatch.setattr("tenuto.authoring.execution.BEGUN_AT_ONCE_MAX", 100)
    play = Play(endless, {"n": 0})

    assert play.status == "suspended"
    assert "without waiting" in play.reason
    assert unraisable == []
