"""What nobody foresaw: strange results, functions that break, watchers that fail. No run hangs, no store dies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenuto.engine.model import Answered, CancelRequested, Entry
from tenuto.engine.ports import RunRow
from tenuto.engine.rules import DATA_DEPTH_MAX
from tenuto.errors import InvalidInput, LimitExceeded
from tenuto.runtime.recording import read_entry, written
from tenuto.storage import journal as journal_module
from tests.runtime.bench import Bench, bench
from tests.runtime.test_worker import THREE, called

ONE = "do: [{a: {call: 'probe.mark:1.0.0@default', with: {name: a}}}]"


async def settled(made: Bench, run: str) -> RunRow:
    """Settle a run, or fail if that hangs."""
    async with asyncio.timeout(10.0):
        return await made.worker.settle(run)


def nested(levels: int) -> Any:
    """Arrays in each other."""
    value: Any = None
    for _ in range(levels):
        value = [value]
    return value


def give(made: Bench, value: Any) -> None:
    """Let the gate answer any action with this, or raise it."""

    async def perform(*_: Any) -> tuple[Any, None]:
        if isinstance(value, BaseException):
            raise value
        return value, None

    made.worker._acting._gate.perform = perform  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "value",
    [
        "half \ud800",
        {"half \udfff": 1},
        {None: 1},
        object(),
        nested(DATA_DEPTH_MAX + 10),
        nested(5_000),
        KeyError("x"),
        RecursionError(),
        asyncio.CancelledError(),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_cannot_be_recorded_is_the_actions_fault(tmp_path: Path, value: Any) -> None:
    """The run is told, `catch` sees it, and the store lives."""
    async with bench(tmp_path) as made:
        perform = made.worker._acting._gate.perform
        give(made, value)
        row = await settled(made, await made.start(ONE))
        caught = await settled(
            made,
            await made.start(f"do: [{{t: {{try: {ONE[4:]}, catch: {{do: [{{s: {{set: {{c: 1}}}}}}]}}}}}}]"),
        )
        made.worker._acting._gate.perform = perform  # type: ignore[method-assign]
        after = await settled(made, await made.start(THREE))

    assert row.outcome is not None
    assert row.outcome["error"]["instance"] == "/do/0/a"
    assert (row.outcome["error"]["status"], row.status) == (500, "faulted")
    assert caught.outcome == {"output": {"c": 1}}
    assert after.status == "completed"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(float("nan"), None), (float("inf"), None), ({1: 2}, {"1": 2}), (10**30, 10**30), (-0.0, -0.0)],
)
async def test_a_live_run_sees_what_a_replay_will_see(tmp_path: Path, value: Any, expected: Any) -> None:
    """A result is as JSON carries it from the first moment on."""
    body = ONE[:-1] + ", {s: {set: {seen: '${ . }', empty: '${ . == null }'}}}]"
    async with bench(tmp_path) as made:
        give(made, value)
        row = await settled(made, await made.start(body))

    assert row.outcome == {"output": {"seen": expected, "empty": expected is None}}


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(json)
def test_what_is_folded_is_what_will_be_read(value: Any) -> None:
    """Writing an event and reading it again changes nothing more."""
    try:
        told, data = written(Answered(1.0, 3, value))
    except InvalidInput:
        return

    assert told == read_entry(b"[" + data + b",[]]").event
    assert written(told) == (told, data)


def test_an_event_with_members_of_the_wrong_kind_is_refused() -> None:
    """Else its journal could be written and never read again."""
    with pytest.raises(InvalidInput):
        written(CancelRequested(1.0, {"not": "text"}))  # type: ignore[arg-type]
    with pytest.raises(LimitExceeded):
        written(Answered(1.0, 3, nested(300)))


async def test_an_input_that_cannot_be_recorded_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """Its id is free."""
    async with bench(tmp_path) as made:
        with pytest.raises(InvalidInput):
            await made.start(THREE, "\ud800", run="mine")
        run = await made.start(THREE, "fine", run="mine")
        row = await settled(made, run)

    assert row.status == "completed"


@pytest.mark.parametrize("data", [10, 100_000])
async def test_an_output_that_nests_or_grows_without_end_is_a_fault(tmp_path: Path, data: int) -> None:
    """Also when no single step is at fault; the store never sees it."""
    grow = "{x: '${ . }'}" if data == 100_000 else "{x: '${ . }', y: '${ . }'}"
    rounds = 500 if data == 100_000 else 60
    async with bench(tmp_path) as made:
        run = await made.start(
            f"do: [{{l: {{for: {{in: '[range({rounds})]'}}, do: [{{s: {{set: {grow}}}}}]}}}}]"
        )
        row = await settled(made, run)
        after = await settled(made, await made.start(THREE))

    assert row.outcome is not None
    assert row.outcome["error"]["title"] == "Limit Exceeded"
    assert after.status == "completed"


async def test_a_watcher_that_fails_stops_nothing(tmp_path: Path) -> None:
    """Others are told, and the run goes on."""
    seen: list[int] = []
    complaints: list[str] = []

    def broken(run: str, seq: int, entry: Entry) -> None:
        raise BrokenPipeError

    async with bench(tmp_path) as made:
        made.worker.watch(broken)
        made.worker.watch(lambda run, seq, entry: seen.append(seq))
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        row = await settled(made, await made.start(THREE))
        loop.set_exception_handler(None)

    assert row.status == "completed"
    assert seen == [1, 2, 3, 4]
    assert len(complaints) == 4


async def test_runs_that_hear_each_others_lifecycle_without_end_leave_room_for_others(tmp_path: Path) -> None:
    """Two runs that start a task for each task that the other starts."""
    kind = "io.serverlessworkflow.task.started.v1"
    body = f"""
        do:
          - l:
              listen: {{to: {{any: [{{with: {{type: {kind}}}}}], until: 'false'}}}}
              foreach: {{do: [{{s: {{set: {{x: 1}}}}}}]}}
    """
    async with bench(tmp_path) as made:
        chatting = [await made.start(body, name=name) for name in ("a", "b")]
        async with asyncio.timeout(10.0):
            await made.start(ONE)
            while not called(made):
                await made.journal.flush()
            for run in chatting:
                await made.worker.tell(run, CancelRequested(made.clock.now()))

    assert called(made) == ["a"]


async def test_a_store_under_pressure_is_given_time(tmp_path: Path) -> None:
    """Starts and answers wait until it wants more."""
    async with bench(tmp_path) as made:
        waited: list[str] = []
        journal = type(made.journal)
        drained = made.journal.drained

        async def wait() -> None:
            waited.append("waited")
            await drained()

        made.journal.drained = wait  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "pressure", property(lambda self: len(waited) % 2 == 0))
            row = await settled(made, await made.start(THREE))

    assert row.status == "completed"
    assert waited


async def test_a_result_that_is_too_large_for_the_store_is_the_actions_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of that action only; what is just small enough is recorded."""
    monkeypatch.setattr(journal_module, "ENTRY_BYTES_MAX", 10_000)
    async with bench(tmp_path) as made:
        perform = made.worker._acting._gate.perform
        give(made, "x" * 20_000)
        large = await settled(made, await made.start(ONE))
        give(made, "x" * 9_000)
        small = await settled(made, await made.start(ONE))
        made.worker._acting._gate.perform = perform  # type: ignore[method-assign]
        after = await settled(made, await made.start(THREE))

    assert large.outcome is not None
    assert "ENTRY_BYTES_MAX" in large.outcome["error"]["detail"]
    assert (small.status, after.status) == ("completed", "completed")


async def test_an_event_that_cannot_be_recorded_is_its_senders_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who listen are as they were, and hear the next."""
    monkeypatch.setattr(journal_module, "ENTRY_BYTES_MAX", 10_000)
    listener = "do: [{l: {listen: {to: {one: {with: {type: t}}}}}}]"
    speaker = "do: [{e: {emit: {event: {with: {type: t, data: '${ \"x\" * . }'}}}}}]"
    async with bench(tmp_path) as made:
        listening = await made.start(listener, name="listener")
        loud = await settled(made, await made.start(speaker, 20_000, name="speaker"))
        waiting = await settled(made, listening)
        await settled(made, await made.start(speaker, 5, name="speaker"))
        heard = await settled(made, listening)

    assert (loud.status, waiting.status) == ("faulted", "waiting")
    assert heard.outcome == {"output": ["xxxxx"]}
