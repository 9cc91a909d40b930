"""Steps of Python workflows: found, called with checked data, watched, and never a burden to the worker."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tenuto.authoring.declare import Retry, Step, step
from tenuto.authoring.failures import exception_of
from tenuto.authoring.step_context import PROGRESS_BYTES_MAX, StepContext, current_step, inside_step
from tenuto.engine.model import Perform
from tenuto.errors import Fault, Faulted, Invalid, InvalidInput, LimitExceeded, NotFound, Unfit, runtime_fault
from tenuto.plugin import Call
from tenuto.runtime import calling
from tenuto.runtime.actions import Gate
from tenuto.runtime.attempts import PROGRESS_EVERY_SECONDS, Attempt
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.steps import Functions, Steps
from tests.runtime import process_steps
from tests.runtime.stepping import Time, perform


@pytest.fixture
async def steps() -> AsyncIterator[Steps]:
    """The steps of one App."""
    steps = Steps(threads=2, processes=1)
    yield steps
    await steps.close()


@step
def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@step
async def greet(name: str) -> str:
    """Greet."""
    return f"hello {name}"


# ── finding ──────────────────────────────────────────────────────────────────────────────


async def test_a_step_is_found_by_the_names_of_both_languages(steps: Steps) -> None:
    """Python code calls it without a version, documents with one or its first parts."""
    assert steps.find("python.double") is None

    steps.know(double)
    steps.know(double)

    found = steps.find("python.double")
    assert found is not None
    assert found is steps.find("python.double:1.0.0")
    assert found is steps.find("python.double:1")
    assert steps.find("python.double:2.0.0") is None
    assert found.accepts("number")
    assert not found.accepts("name")
    assert ["double"] == steps.names()


async def test_an_unknown_step_is_answered_with_the_nearest(steps: Steps) -> None:
    """Whoever misspells a step reads how it is spelt, and when steps are known at all."""
    functions = Functions(steps, Catalog({}))
    steps.know(double)

    with pytest.raises(NotFound) as refusal:
        functions.find("python.duble")
    assert "no step `duble`; did you mean `double`?" == refusal.value.message
    assert "once a workflow has called them, or when they are given to App(steps=[...])" in (
        refusal.value.hint or ""
    )
    with pytest.raises(NotFound, match=r"has version 1\.0\.0, not 2\.0\.0"):
        functions.find("python.double:2.0.0")
    with pytest.raises(NotFound, match="no connector `sql` is installed"):
        functions.find("sql.query")


async def test_two_steps_of_one_name_are_refused_with_both_places(steps: Steps) -> None:
    """A run that names a step must mean one function."""

    @step(name="double")
    def other(number: int) -> int:
        return number

    steps.know(double)

    with pytest.raises(Invalid) as refusal:
        steps.know(other)
    assert 2 == refusal.value.message.count("test_steps.py:")
    assert "@step(name=" in (refusal.value.hint or "")


async def test_the_same_code_made_again_is_the_same_step(steps: Steps) -> None:
    """A step declared in a function is another object at each call of it; the newest counts."""

    def make(factor: int) -> Step[..., Any]:
        @step
        def times(number: int) -> int:
            return factor * number

        return times

    steps.know(make(2))

    assert 21 == await perform(steps, make(3), number=7)


async def test_the_undo_of_a_step_is_known_with_it(steps: Steps) -> None:
    """A document that calls the step calls its undo by name."""
    steps.know(step(undo=double)(greet_undone))

    assert ["double", "greet_undone"] == steps.names()


def greet_undone(number: int) -> int:
    """Be undone by `double`."""
    return number


# ── calling ──────────────────────────────────────────────────────────────────────────────


async def test_functions_of_both_colours_are_called(steps: Steps) -> None:
    """An async one on the loop, a plain one in a named thread."""
    assert "hello Ada" == await perform(steps, greet, name="Ada")
    assert 42 == await perform(steps, double, number=21)


async def test_a_plain_function_runs_in_a_thread_with_the_context_of_its_caller(steps: Steps) -> None:
    """Context variables, of tracing for instance, are seen; the loop is not held up."""
    tracing = contextvars.ContextVar("tracing", default="none")

    @step
    def look() -> list[str]:
        return [threading.current_thread().name.rpartition("-")[0], tracing.get(), current_step().task]

    tracing.set("trace-1")

    assert ["tenuto-step", "trace-1", "/task"] == await perform(steps, look)


async def test_arguments_that_do_not_fit_are_a_validation_fault(steps: Steps) -> None:
    """A document's call is checked before the function sees it."""
    fault = await perform(steps, double, number="seven")

    assert 400 == fault.status
    assert "number" in fault.detail


async def test_a_result_that_does_not_fit_its_type_goes_through_the_gate_as_unfit(steps: Steps) -> None:
    """The run can be kept: mend the step, and resume."""

    @step
    def lie() -> int:
        return "seven"  # type: ignore[return-value]

    @step
    async def lie_async() -> int:
        return "seven"  # type: ignore[return-value]

    for liar in (lie, lie_async):
        with pytest.raises(Unfit) as refusal:
            await perform(steps, liar)
        assert f"step `{liar.name}` returned what cannot be recorded" in refusal.value.message
        assert "int" in refusal.value.message
        assert "annotate the step's result" in (refusal.value.hint or "")
        assert "return a reference" in (refusal.value.hint or "")


@pytest.mark.parametrize("size", [99, 100])
async def test_a_result_larger_than_the_limit_is_unfit(
    steps: Steps, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named limit counts bytes of JSON."""
    monkeypatch.setattr(calling, "RESULT_BYTES_MAX", 101)

    @step
    def fill(size: int) -> str:
        return "x" * size

    if size == 99:
        assert "x" * size == await perform(steps, fill, size=size)
    else:
        with pytest.raises(Unfit, match=r"returned 102 bytes \(a str\).* RESULT_BYTES_MAX, 101") as refusal:
            await perform(steps, fill, size=size)
        assert "return a reference" in (refusal.value.hint or "")


async def test_no_secret_comes_back_in_what_goes_wrong(steps: Steps) -> None:
    """Neither in an exception's arguments, nor in what does not fit, nor in a progress."""
    reported: list[Any] = []

    @step
    async def leak(token: str) -> None:
        current_step().heartbeat({"with": token})
        raise ValueError(f"bad {token}")

    reference = "\x01n:token\x01"
    fault = await perform(
        steps, leak, report=reported.append, secrets={"token": "canary-4711"}, token=reference
    )

    assert "bad ***" == fault.detail
    assert ["bad ***"] == fault.exception.arguments
    assert [{"with": "***"}] == reported


# ── failing ──────────────────────────────────────────────────────────────────────────────


@step(retry=Retry(on=(OSError, LookupError), never=(FileNotFoundError,)))
def fetch(what: str) -> str:
    """Fail as told."""
    raise {"os": OSError("no net"), "file": FileNotFoundError("gone"), "value": ValueError("bad")}[what]


async def test_an_exception_is_a_fault_and_transient_as_the_retry_says(steps: Steps) -> None:
    """`on` without `never`; the exception's class and arguments are kept, to be raised in the workflow."""
    outcomes = {what: await perform(steps, fetch, what=what) for what in ("os", "file", "value", "none")}

    assert {"os": True, "file": False, "value": False, "none": True} == {
        what: fault.transient for what, fault in outcomes.items()
    }
    assert "builtins.OSError" == outcomes["os"].exception.type
    assert ["no net"] == outcomes["os"].exception.arguments
    assert ("OSError", "no net") == (outcomes["os"].title, outcomes["os"].detail)


async def test_a_step_without_retry_fails_for_good(steps: Steps) -> None:
    """Unless it raises a fault that says otherwise itself, which documents can catch."""

    @step
    async def fail(transient: bool) -> None:
        if transient:
            raise Faulted(Fault("urn:busy", 503, transient=True))
        raise runtime_fault("no")

    assert not (await perform(steps, fail, transient=False)).transient
    assert (await perform(steps, fail, transient=True)).transient


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), asyncio.CancelledError()])
async def test_no_exception_of_a_function_ends_more_than_the_attempt(
    steps: Steps, error: BaseException
) -> None:
    """`sys.exit()` in a step ends no program, and what asyncio gives a meaning has none here."""

    @step
    def leave() -> None:
        raise error

    @step
    async def leave_async() -> None:
        raise error

    for leaver in (leave, leave_async):
        fault = await perform(steps, leaver)

        assert isinstance(fault, Fault)
        assert not fault.transient


# ── time ─────────────────────────────────────────────────────────────────────────────────


async def test_an_async_attempt_that_takes_too_long_is_stopped(steps: Steps) -> None:
    """It can clean up; the fault names step and seconds, and is transient if a TimeoutError would be."""
    cleaned: list[str] = []

    def make(retry: Retry | None) -> Step[..., Any]:
        @step(timeout_seconds=0, retry=retry)
        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append("up")

        return wait

    faults = [
        await perform(steps, make(retry))
        for retry in (None, Retry(), Retry(on=(LookupError,)), Retry(never=(TimeoutError,)))
    ]

    assert [408] * 4 == [fault.status for fault in faults]
    assert TimeoutError is type(exception_of(faults[0]))
    assert "attempt 2 of step `wait` took longer than 0 s (timeout_seconds)" == faults[0].detail
    assert [False, True, False, False] == [fault.transient for fault in faults]
    assert ["up"] * 4 == cleaned


async def test_the_functions_own_timeout_is_its_own_fault(steps: Steps) -> None:
    """A TimeoutError that it raises is an exception like any other."""

    @step(timeout_seconds=3600)
    async def ask() -> None:
        raise TimeoutError("the server was slow")

    fault = await perform(steps, ask)

    assert (500, "the server was slow") == (fault.status, fault.detail)


async def test_an_attempt_in_a_thread_that_takes_too_long_is_left_behind(steps: Steps) -> None:
    """It learns that nobody waits; its late result is ignored, its place is taken by another thread."""
    proceed, over = threading.Event(), threading.Event()
    seen: list[bool] = []

    @step(timeout_seconds=0)
    def wait() -> str:
        me = current_step()
        proceed.wait()
        seen.append(me.cancelled)
        me.heartbeat("too late")
        over.set()
        return "late"

    reported: list[Any] = []
    late = [perform(steps, wait, report=reported.append) for _ in range(2)]
    faults = await asyncio.gather(*late)

    # Both threads are held, and all the same there is one for this.
    assert 42 == await perform(steps, double, number=21)
    proceed.set()
    assert over.wait(10)
    assert [408, 408] == [fault.status for fault in faults]
    assert 42 == await perform(steps, double, number=21)
    assert True in seen
    assert [] == reported


async def test_a_cancelled_call_stops_an_async_function_and_waits_for_no_thread(steps: Steps) -> None:
    """The run was cancelled, or does not need it any more."""
    begun, stopped = asyncio.Event(), asyncio.Event()
    in_thread, proceed = threading.Event(), threading.Event()
    seen: list[bool] = []
    over = threading.Event()

    @step
    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    @step
    def block() -> None:
        in_thread.set()
        proceed.wait()
        seen.append(current_step().cancelled)
        over.set()

    first, second = perform(steps, wait), perform(steps, block)
    await begun.wait()
    await asyncio.to_thread(in_thread.wait)
    first.cancel()
    second.cancel()
    await asyncio.wait((first, second))

    assert first.cancelled()
    assert second.cancelled()
    assert stopped.is_set()
    proceed.set()
    assert over.wait(10)
    assert [True] == seen


async def test_what_was_cancelled_before_a_thread_was_free_never_runs(steps: Steps) -> None:
    """A call in the queue costs nothing once it is not wanted."""
    proceed, held = threading.Event(), threading.Semaphore(0)
    ran: list[int] = []

    @step
    def hold() -> None:
        held.release()
        proceed.wait()

    @step
    def run(number: int) -> None:
        ran.append(number)

    holding = [perform(steps, hold) for _ in range(2)]
    for _ in holding:
        await asyncio.to_thread(held.acquire)
    waiting = perform(steps, run, number=1)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    proceed.set()
    await asyncio.gather(*holding)
    await perform(steps, run, number=2)

    assert [2] == ran


# ── signs of life ────────────────────────────────────────────────────────────────────────


async def test_a_step_knows_its_attempt(steps: Steps) -> None:
    """Also the progress that was recorded before a crash, and what it told since."""

    @step
    async def tell() -> list[Any]:
        me = current_step()
        before = me.progress
        me.heartbeat(8)
        me.heartbeat()
        return [me.run, me.task, me.attempt, me.idempotency_key, me.cancelled, before, me.progress]

    assert ["run", "/task", 2, "key", False, 7, 8] == await perform(steps, tell, progress=7)


async def test_a_step_alone_has_no_attempt_unless_a_test_gives_it_one() -> None:
    """The refusal says how."""
    with pytest.raises(Invalid) as refusal:
        current_step()

    assert "inside_step" in (refusal.value.hint or "")
    told: list[Any] = []
    with inside_step(StepContext("run", "/task", 1, "key", tell=told.append)):
        current_step().heartbeat({"done": 3})
    assert [{"done": 3}] == told


async def test_a_progress_that_cannot_be_recorded_is_refused_where_it_is_told() -> None:
    """Something else than data, or more of it than a history should have."""
    me = StepContext("run", "/task", 1, "key")

    with pytest.raises(InvalidInput):
        me.heartbeat(object())
    with pytest.raises(LimitExceeded, match="PROGRESS_BYTES_MAX"):
        me.heartbeat("x" * PROGRESS_BYTES_MAX)
    assert me.progress is None


def attempt(declared: Step[..., Any], time: Time, report: Callable[[Any], None]) -> Attempt:
    """Return an attempt whose time tests turn."""
    call = Call(
        run="run", task="/task", attempt=1, idempotency_key="key", network=SystemNetwork(), report=report
    )
    return Attempt(declared, call, time)


async def test_progress_is_recorded_at_once_and_then_once_a_second_the_latest() -> None:
    """A step may tell as often as it likes."""
    time, reported = Time(), []
    under_way = attempt(double, time, lambda progress: reported.append((time.now, progress)))

    for number in range(35):
        under_way.beat(number)
        time.turn(0.1)

    expected = [0, *(round(n * PROGRESS_EVERY_SECONDS / 0.1) for n in (1, 2, 3))]
    assert len(expected) == len(reported)
    assert 0 == reported[0][1]
    assert all(late[0] - early[0] >= PROGRESS_EVERY_SECONDS for early, late in pairwise(reported))
    time.turn(1)
    assert 34 == reported[-1][1]
    under_way.end(failed=False)
    assert 0 == time.waiting()


@pytest.mark.parametrize(("failed", "expected"), [(True, [1, 3]), (False, [1])])
async def test_what_was_told_last_is_recorded_when_an_attempt_fails(
    failed: bool, expected: list[int]
) -> None:
    """The next attempt goes on there; after a success nobody needs it."""
    time, reported = Time(), []
    under_way = attempt(double, time, reported.append)

    for number in (1, 2, 3):
        under_way.beat(number)
    under_way.end(failed=failed)
    under_way.beat(4)
    time.turn(10)

    assert expected == reported


async def test_heartbeats_in_a_thread_are_recorded_on_the_loop(steps: Steps) -> None:
    """`report` belongs to the thread of the event loop."""
    here, reported = threading.get_ident(), []

    @step
    def copy() -> int:
        for number in range(100):
            current_step().heartbeat(number)
        raise ValueError("broken off")

    await perform(steps, copy, report=lambda progress: reported.append((threading.get_ident(), progress)))

    assert {here} == {ident for ident, _ in reported}
    assert 99 == reported[-1][1]
    assert len(reported) <= 2


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_an_attempt_that_gives_no_sign_of_life_has_failed(steps: Steps, asynchronous: bool) -> None:
    """In a thread it goes on unheard; the fault says what was missing."""
    proceed = threading.Event()

    @step(heartbeat_seconds=0, retry=Retry())
    async def wait() -> None:
        await asyncio.Event().wait()

    @step(heartbeat_seconds=0, retry=Retry())
    def block() -> None:
        proceed.wait()

    declared: Step[..., Any] = wait if asynchronous else block
    fault = await perform(steps, declared)
    proceed.set()

    assert 408 == fault.status
    assert fault.transient
    assert (
        f"attempt 2 of step `{declared.name}` gave no sign of life for 0 s (heartbeat_seconds)"
        == fault.detail
    )


async def test_each_heartbeat_gives_the_attempt_its_whole_time_again() -> None:
    """Only silence ends it."""

    @step(heartbeat_seconds=10)
    async def wait() -> None:
        """Wait."""

    time = Time()
    under_way = attempt(wait, time, lambda progress: None)
    silent: list[float] = []

    async def live() -> None:
        async with under_way.limit:
            under_way.begin()
            for _ in range(5):
                time.turn(9)
                under_way.beat(None)
                silent.append(under_way.silent)
            time.turn(10)
            silent.append(under_way.silent)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await live()

    assert [False] * 5 + [True] == silent


# ── processes ────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
async def test_a_step_in_a_process_is_called_and_known_there(steps: Steps) -> None:
    """Elsewhere, with the same knowledge of its attempt; results and failures are as in a thread."""
    process, *known = await perform(steps, process_steps.number_of_process, text="a", progress=[5])
    reported: list[Any] = []
    refusal = await perform(steps, process_steps.refuse, report=reported.append, key="k")

    assert os.getpid() != process
    assert ["a", "run", "/task", 2, "key", [5]] == known
    assert "builtins.KeyError" == refusal.exception.type
    assert refusal.transient
    assert 99 == reported[-1]
    with pytest.raises(Unfit, match="step `unfit` returned what cannot be recorded"):
        await perform(steps, process_steps.unfit)


@pytest.mark.slow
async def test_a_process_that_dies_fails_its_attempt_and_is_replaced(steps: Steps) -> None:
    """What waited for it runs in a new one."""
    reported: list[Any] = []
    dying = perform(steps, process_steps.die, report=reported.append)
    waiting = perform(steps, process_steps.number_of_process, text="b")
    fault = await dying

    assert "Process Lost" == fault.title
    assert "step `die`" in fault.detail
    assert fault.transient
    assert ["alive"] == reported
    assert "b" == (await waiting)[1]


@pytest.mark.slow
async def test_a_step_in_a_process_tells_its_progress_and_learns_that_nobody_waits(
    steps: Steps, tmp_path: Path
) -> None:
    """As in a thread."""
    told = asyncio.Event()
    path = tmp_path / "stopped"

    working = perform(
        steps, process_steps.work_until_cancelled, report=lambda progress: told.set(), path=str(path)
    )
    await told.wait()
    working.cancel()
    await asyncio.wait((working,))

    assert working.cancelled()
    # The one process is free again.
    assert "c" == (await perform(steps, process_steps.number_of_process, text="c"))[1]
    assert "stopped" == path.read_text()


@pytest.mark.slow
async def test_a_message_that_cannot_be_read_is_complained_of_and_the_next_are_heard(steps: Steps) -> None:
    """One that is no message ends nothing."""
    complaints: list[str] = []
    reported: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    told = asyncio.Event()

    def hear(progress: Any) -> None:
        reported.append(progress)
        told.set()

    working = perform(steps, process_steps.babble, report=hear)
    async with asyncio.timeout(20):
        await told.wait()
    working.cancel()
    await asyncio.wait((working,))
    loop.set_exception_handler(None)

    assert ["a message of a step's process cannot be read"] * 4 == complaints
    assert ["after"] == reported


@pytest.mark.slow
async def test_closing_waits_for_no_step() -> None:
    """A process that hangs is ended with the App."""
    steps = Steps(processes=1)
    told = asyncio.Event()
    hanging = perform(steps, process_steps.hang, report=lambda progress: told.set())
    await told.wait()
    before = len(active_children())
    await steps.close()
    hanging.cancel()
    await asyncio.wait((hanging,))

    assert (1, 0) == (before, len(active_children()))


async def test_a_step_that_no_process_can_find_says_so_at_its_first_call(steps: Steps) -> None:
    """A closure, another name, a program without a file: each with the way out."""

    @step(pool="process")
    def inner() -> None:
        """Be unreachable."""

    session = ModuleType("__main__")
    exec("from tenuto.authoring.declare import step\n\ndef typed() -> None: ...\n", session.__dict__)
    session.__dict__["typed"].__module__ = "__main__"
    typed = step(pool="process")(session.__dict__["typed"])

    with pytest.raises(Unfit, match="it is declared in a function") as refusal:
        await perform(steps, inner)
    assert "top level of a module" in (refusal.value.hint or "")
    with pytest.raises(Unfit, match="under that name there is <function"):
        await perform(steps, process_steps.renamed)
    main = sys.modules["__main__"]
    sys.modules["__main__"] = session
    try:
        with pytest.raises(Unfit, match="the program has no file"):
            await perform(steps, typed)
    finally:
        sys.modules["__main__"] = main


# ── the gate ─────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_step_is_a_configuration_fault() -> None:
    """A document that names one is told the nearest."""
    gate = Gate(Functions(Steps(), Catalog({})), SystemNetwork(), {})

    outcome = await gate.perform("run", Perform(1, "/task", "python.nobody", {}, "key"), ())

    assert isinstance(outcome, Fault)
    assert 400 == outcome.status
    assert "no step `nobody`" in (outcome.detail or "")
