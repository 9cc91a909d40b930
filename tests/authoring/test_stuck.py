"""Code that does not fit what was recorded, or asks for what it must not: the run is kept until it is mended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tenuto import (
    HistoryMismatch,
    Rate,
    Retry,
    Signal,
    Step,
    Workflow,
    continue_as_new,
    each,
    gather,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from tenuto.authoring.program import PythonProgram
from tenuto.engine.advance import advance
from tenuto.engine.model import Answered, Entry, Note
from tenuto.errors import Invalid, InvalidInput
from tenuto.runtime.guard import Guard
from tests.authoring.playing import Play, again

go = Signal("go", int)


@step
def one(a: int) -> int:
    """Do one thing."""
    return a


@step
def two(a: int) -> int:
    """Do another."""
    return a


@workflow(name="flow")
async def recorded() -> int:
    """As it was when the history was made."""
    first = await one(1)
    second, third = await gather(two(first), one(first))
    await sleep(5)
    return second + third


def history() -> list[Entry]:
    """A whole run of `recorded`."""
    play = Play(recorded)
    play.play({"one": lambda a: a + 1, "two": lambda a: a + 2})
    assert play.output == 7
    return play.entries


def renamed() -> Workflow[..., Any]:
    """Asks for another step first."""

    @workflow(name="flow")
    async def flow() -> int:
        return await two(1)

    return flow


def reordered() -> Workflow[..., Any]:
    """Asks for the branches the other way round."""

    @workflow(name="flow")
    async def flow() -> int:
        first = await one(1)
        second, third = await gather(one(first), two(first))
        await sleep(5)
        return second + third

    return flow


def shortened() -> Workflow[..., Any]:
    """Ends before the branches."""

    @workflow(name="flow")
    async def flow() -> int:
        return await one(1)

    return flow


def lengthened() -> Workflow[..., Any]:
    """Does more at once."""

    @workflow(name="flow")
    async def flow() -> int:
        first, _ = await gather(one(1), two(1))
        return first

    return flow


@pytest.mark.parametrize(
    ("changed", "diff"),
    [
        (renamed, "- started /one (step)\n+ started /two (step)   test_stuck.py:"),
        (
            reordered,
            "  completed /one (step)\n- started /two (step)\n- started /one#2 (step)\n"
            "+ started /one#2 (step)   test_stuck.py:",
        ),
        (
            shortened,
            "  completed /one (step)\n- started /two (step)\n- started /one#2 (step)\n+ nothing more",
        ),
        (lengthened, "  started /one (step)\n- nothing more\n+ started /two (step)   test_stuck.py:"),
    ],
)
def test_a_history_that_does_not_fit_gives_a_diff(changed: Any, diff: str) -> None:
    """What was recorded, what the code asks for now, and where."""
    with pytest.raises(HistoryMismatch) as caught:
        again(changed(), history())

    assert diff in caught.value.message
    assert "patched" in caught.value.hint


def test_the_same_code_fits_its_own_history() -> None:
    """The control: nothing is found where nothing was changed."""
    run, _ = again(recorded, history())

    assert run.finish is not None
    assert run.finish.output == 7


def test_every_prefix_of_a_history_gives_the_same_next_commands() -> None:
    """A crash anywhere changes nothing: the folded run wants what the live one wanted."""
    play = Play(recorded)
    wanted = [dict(play.run.open)] if play.run else []
    functions = {"one": lambda a: a + 1, "two": lambda a: a + 2}
    while play.run is not None and not play.run.over:
        if play.performs:
            command = play.performs[0]
            play.answer(functions[command.task.partition("#")[0].lstrip("/")](**command.arguments))
        else:
            play.wake()
        wanted.append(dict(play.run.open))

    assert [
        dict(again(recorded, play.entries[:count])[0].open) for count in range(1, len(wanted) + 1)
    ] == wanted


# ── what workflow code must not do ───────────────────────────────────────────────────────

broken = True


@workflow
async def clocked() -> float:
    """Asks for the clock until it is mended."""
    first = await one(1)
    value = time.time() if broken else 5.0
    return await two(first) + value


@workflow
async def foreign() -> None:
    """Awaits what is not Tenuto's."""
    await one(1)
    await _Foreign()


class _Foreign:
    def __await__(self) -> Iterator[None]:
        yield None


@workflow
async def sneaky() -> str:
    """Swallows whatever happens."""
    try:
        await asyncio.sleep(1)
    except:  # noqa: E722  # the point of the test
        return "swallowed"
    return "slept"


def test_the_clock_in_a_workflow_keeps_the_run_and_names_the_line() -> None:
    """The answer is recorded; the run is suspended, with the reason in its history."""
    play = Play(clocked, guard=Guard())
    play.answer(1)

    assert play.status == "suspended"
    assert "test_stuck.py:" in play.reason
    assert "`tenuto.now()`" in play.reason


def test_what_a_workflow_swallows_is_noticed_all_the_same() -> None:
    """It does not complete with what it must not know."""
    play = Play(sneaky, guard=Guard())

    assert play.status == "suspended"
    assert "await tenuto.sleep" in play.reason


def test_awaiting_what_is_not_ours_names_the_line() -> None:
    """Without a guard too."""
    play = Play(foreign)
    play.answer(1)

    assert play.status == "suspended"
    assert "test_stuck.py:" in play.reason
    assert "put everything else into a @step" in play.reason


def test_a_mended_run_goes_on_from_what_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came meanwhile is kept, and taken when the run is resumed; nothing is asked for twice."""
    play = Play(clocked, guard=Guard())
    play.answer(1)
    play.arrive("something")
    monkeypatch.setattr("tests.authoring.test_stuck.broken", False)
    run, program = again(clocked, play.entries, Guard())
    assert run.status == "suspended"
    play.run, play.program = run, program
    play.resume()
    assert play.asked == ["/two"]
    play.answer(10)

    assert play.output == 15.0
    replayed, _ = again(clocked, play.entries)
    assert replayed.finish is not None
    assert replayed.finish.output == 15.0


def test_a_run_that_is_stuck_again_is_kept_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it takes."""
    play = Play(clocked, guard=Guard())
    play.answer(1)
    for _ in range(2):
        play.run, play.program = again(clocked, play.entries, Guard())
        play.resume()
        assert play.status == "suspended"
    monkeypatch.setattr("tests.authoring.test_stuck.broken", False)
    play.run, play.program = again(clocked, play.entries, Guard())
    play.resume()
    play.answer(10)

    assert play.output == 15.0


def test_a_stuck_run_can_be_cancelled() -> None:
    """Its code is not asked any more."""
    play = Play(clocked, guard=Guard())
    play.answer(1)
    play.cancel()

    assert play.status == "cancelled"


def test_a_state_that_was_left_behind_says_so() -> None:
    """An undone transaction leaves a coroutine ahead of its state: it is folded again, never driven on."""
    play = Play(recorded)
    assert play.run is not None
    before = play.run
    play.answer(2)
    assert play.run is not None

    assert play.program.stale(before.state)
    assert not play.program.stale(play.run.state)


# ── values that cannot pass ──────────────────────────────────────────────────────────────


@workflow
async def lossy() -> int:
    """Gives a step what it does not take."""
    return await one("three")  # type: ignore[arg-type]


@workflow
async def wrong_result() -> int:
    """Answers what its type does not say."""
    return "three"  # type: ignore[return-value]


@workflow
async def wrong_in_each() -> list[int]:
    """Finds it out late, while an answer is taken."""
    return await each(one, [1, "x", 3], at_once=1)  # type: ignore[arg-type]


def test_arguments_that_do_not_fit_keep_the_run() -> None:
    """Nothing has happened yet: the call can be mended."""
    play = Play(lossy)

    assert play.status == "suspended"
    assert "test_stuck.py:" in play.reason
    assert "`a`" in play.reason


def test_a_result_that_does_not_fit_keeps_the_run() -> None:
    """What the steps did is not taken back for a mistake in a type."""
    play = Play(wrong_result)

    assert play.status == "suspended"
    assert "wrong-result" in play.reason


def test_arguments_that_do_not_fit_are_noticed_whenever_they_come() -> None:
    """Also where no code of the workflow runs."""
    play = Play(wrong_in_each)
    play.answer(1)

    assert play.status == "suspended"


def test_an_answer_that_fits_no_more_keeps_the_run() -> None:
    """A step's type was changed under a running run."""
    play = Play(recorded)
    play.tell(Answered(play.tick(), play.performs[0].id, {"not": "a number"}))

    assert play.status == "suspended"
    assert "/one answered" in play.reason


# ── declarations ─────────────────────────────────────────────────────────────────────────


def test_a_lambda_is_no_step() -> None:
    """It has no name that a history could keep."""
    with pytest.raises(Invalid, match="a lambda cannot be a step") as caught:
        step(lambda a: a)

    assert "`def`" in str(caught.value.hint)


def test_a_call_says_what_it_is_for() -> None:
    """It is seen where `await` is missing, or asyncio is handed one."""

    @workflow(name="hello")
    async def greet(name: str) -> str:
        """Greet somebody, whose name is no business of messages."""
        return name

    assert repr(greet("Ada")) == (
        "<call of <workflow default/hello:1.0.0>, to be awaited in a workflow or given to App.start>"
    )
    assert repr(step(greet.function)("Ada")) == "<call of <step greet>, to be awaited in a workflow>"


def test_a_method_is_no_step() -> None:
    """Its object would not be there after a crash; a static function in a class is one."""

    class Till:
        @staticmethod
        @step
        def count(coins: int) -> int:
            """Belong to nobody."""
            return coins

    with pytest.raises(Invalid, match=r"the method `Drawer\.count` cannot be a step") as caught:

        class Drawer:
            @step
            def count(self) -> int:
                """Belong to a drawer."""
                return 1

    assert "hand in what it needs" in str(caught.value.hint)
    assert Till.count.name == "count"


def test_a_workflow_is_async() -> None:
    """And says so."""
    with pytest.raises(Invalid, match="workflow `flow` is not async"):

        @workflow  # type: ignore[arg-type]
        def flow() -> None:
            """Not async."""


def test_an_undo_is_checked_when_it_is_declared() -> None:
    """Not when it is needed."""

    @step
    def back(a: int, b: str) -> None:
        """Take back."""

    with pytest.raises(Invalid, match="has a parameter `b` that nobody can give"):

        @step(undo=back)
        def there(a: int) -> int:
            """Do."""
            return a


def test_verbs_are_for_workflow_code() -> None:
    """Elsewhere they say so at once."""
    with pytest.raises(Invalid, match="no workflow runs here"):
        go.receive().__await__().send(None)


def test_a_step_outside_of_workflows_is_its_function() -> None:
    """Awaited, sync or not."""

    async def use() -> int:
        return await one(41) + 1

    assert asyncio.run(use()) == 42


def test_recorded_notes_are_compared_not_trusted() -> None:
    """A note too many is as wrong as one too few."""
    entries = history()
    first = entries[0]
    entries[0] = Entry(first.event, (*first.notes, Note("/ghost", "started", "step")))
    program = PythonProgram(recorded, lambda step: None)

    with pytest.raises(HistoryMismatch):
        advance(program, None, entries[0].event, entries[0].notes)


# ── other arguments, calls that nobody awaits ────────────────────────────────────────────


def paying(people: list[int]) -> Workflow[..., Any]:
    """Pays people, in this order."""

    @workflow(name="payroll")
    async def payroll() -> list[int]:
        return [await one(person) for person in people]

    return payroll


def test_another_argument_than_recorded_does_not_fit() -> None:
    """Who was paid is not paid again because a set has another order today."""
    play = Play(paying([1, 2, 3]))
    play.answer(1)
    play.answer(2)

    with pytest.raises(HistoryMismatch) as caught:
        again(paying([1, 3, 2]), play.entries)

    assert "- started /one#2 (step)\n+ started /one#2 (step), with other arguments" in caught.value.message
    assert again(paying([1, 2, 3]), play.entries)[0].status == "running"


def test_a_history_without_digests_is_compared_without_them() -> None:
    """An exported one, for instance, in which data is masked."""
    play = Play(paying([1, 2]))
    play.answer(1)
    masked = [
        Entry(entry.event, tuple(Note(n.task, n.what, n.kind, n.attempt) for n in entry.notes))
        for entry in play.entries
    ]

    assert again(paying([1, 9]), masked)[0].status == "running"


@workflow
async def forgetful() -> None:
    """Calls a step, and that was all."""
    await one(1)
    two(2)


@workflow
async def confused() -> int:
    """Uses a call for its result."""
    first: Any = one(1)
    return first + 1  # type: ignore[no-any-return]


def test_a_call_that_nobody_awaited_keeps_the_run() -> None:
    """Alone it would do nothing, silently."""
    play = Play(forgetful)
    play.answer(1)

    assert play.status == "suspended"
    assert "forgetful called `two` and never awaited that" in play.reason
    assert "called `one` and never awaited" in Play(confused).reason


def test_a_signal_of_another_type_is_passed_over() -> None:
    """A slip of whoever sent it does not end the run; its history says so, also if it came too early."""

    @workflow
    async def hearing() -> int:
        await one(1)
        return await go.receive() + await go.receive()

    play = Play(hearing)
    play.arrive("io.tenuto.signal.v1", "early", subject="go")
    play.arrive("io.tenuto.signal.v1", 5, subject="go")
    play.answer(1)
    play.arrive("io.tenuto.signal.v1", "late", subject="go")
    play.arrive("io.tenuto.signal.v1", 6, subject="go")
    replayed, _ = again(hearing, play.entries)

    assert play.output == 11
    assert play.told.count("logged ") == 2
    assert replayed.finish is not None
    assert replayed.finish.output == 11


@workflow
async def going_round(n: int) -> int:
    """Forgets an await, and begins anew."""
    two(n)
    continue_as_new(n + 1)


def test_a_forgotten_await_is_found_before_the_run_begins_anew() -> None:
    """A run for ever never returns, so its end would be too late."""
    assert "called `two` and never awaited" in Play(going_round, {"n": 1}).reason


@pytest.mark.parametrize("length", [float("nan"), float("inf"), -1.0, timedelta(seconds=-1)])
def test_what_is_no_duration_is_refused(length: Any) -> None:
    """A timer for no time at all would stand in the way of those of all other runs."""
    with pytest.raises(InvalidInput, match="is no duration"):
        sleep(length)
    with pytest.raises(InvalidInput, match="is no duration"):
        wait_for_event("paid", timeout=length)
    with pytest.raises(InvalidInput, match="is no duration"):
        go.receive(timeout=length)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_what_is_no_number_of_seconds_is_refused_when_it_is_declared(number: float) -> None:
    """In a retry, a rate, a time limit; what is a number passes."""
    refused: list[Callable[[], object]] = [
        lambda: Retry(delay_seconds=number),
        lambda: Retry(delay_seconds_max=number),
        lambda: Retry(jitter=number),
        lambda: Rate(1, per_seconds=number),
        lambda: Step(one.function, timeout_seconds=number),
        lambda: Step(one.function, heartbeat_seconds=number),
    ]
    for declare in refused:
        with pytest.raises(Invalid):
            declare()

    assert Step(one.function, timeout_seconds=0.5, heartbeat_seconds=0).timeout_seconds == 0.5
