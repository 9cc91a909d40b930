"""Workflows in Python on a real store: killed, put aside, changed under their runs, stuck, mended."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tenuto import (
    App,
    Concurrency,
    Handle,
    Query,
    Retry,
    RunCancelled,
    Signal,
    Step,
    Workflow,
    child,
    continue_as_new,
    current_step,
    each,
    gather,
    log,
    patched,
    run_document,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from tenuto.engine.model import Entry, Progressed, Suspended
from tenuto.errors import Conflict, Faulted, InvalidInput, NotFound, StorageFailed
from tenuto.runtime.recording import read_entry

CALLS: list[tuple[str, Any]] = []
HELD: dict[str, asyncio.Event] = {}
go = Signal("go", int)
stage = Query("stage", str)


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    CALLS.clear()
    HELD.clear()


@step
async def mark(name: str, value: int = 0) -> int:
    """Remember that this was done."""
    CALLS.append((name, value))
    if name in HELD:
        await HELD[name].wait()
    return value + 1


@step
def unmark(name: str, result: int) -> None:
    """Take `mark_undoable` back."""
    CALLS.append(("undo " + name, result))


@step(undo=unmark)
def mark_undoable(name: str) -> int:
    """Remember that this was done, in a thread."""
    CALLS.append((name, 0))
    return 1


@contextlib.asynccontextmanager
async def app(path: Path, *workflows: Workflow[..., Any], **options: Any) -> AsyncIterator[App]:
    """Open an App over the database in `path`."""
    async with App(workflows=workflows, database=path / "tenuto.db", **options) as opened:
        yield opened


async def kill(opened: App) -> None:
    """Lose everything in memory."""
    opened.desk.runner.fail(RuntimeError("killed"))  # type: ignore[attr-defined]


async def entries(opened: App, run: str) -> list[Entry]:
    """A run's journal."""
    row = await opened.desk.journal.run(run)
    assert row is not None
    return [read_entry(data) for _, data in await opened.desk.journal.history(row.number)]


async def waiting(opened: App, handle: Handle[Any]) -> None:
    """Return when a run waits for time or for events from outside."""
    changed = asyncio.Event()
    unwatch = opened.desk.runner.watch(lambda run, seq, entry: changed.set())
    while await handle.status() != "waiting":
        await changed.wait()
        changed.clear()
    unwatch()


@workflow
async def wide(n: int) -> list[int]:
    """Uses everything once."""
    first = await mark("first", n)
    stage.set("branches")
    second, third = await gather(mark("second", first), mark_undoable("third"))
    await sleep(0.001)
    log("half way")
    grown = await child(small, second)
    listed = await each(mark_all, [1, 2, 3], at_once=2)
    return [first, second, third, grown, *listed]


@workflow
async def small(n: int) -> int:
    """A child of two steps."""
    return await mark("small2", await mark("small1", n))


async def mark_all(n: int) -> int:
    """Work on one item."""
    return await mark(f"item{n}", n)


EXPECTED = [2, 3, 1, 5, 2, 3, 4]


async def play(path: Path, crash_after: int) -> tuple[Any, int]:
    """Run `wide`; die after so many entries, and go on. Answer its result and how many entries there were."""
    count = 0
    dead = False

    def watch(run: str, seq: int, entry: Entry) -> None:
        nonlocal count, dead
        count += 1
        if count == crash_after:
            dead = True
            opened.desk.runner.fail(RuntimeError("killed"))  # type: ignore[attr-defined]

    async with app(path, wide, small) as opened:
        opened.desk.runner.watch(watch)
        with contextlib.suppress(StorageFailed):
            handle = await opened.start(wide, 1, id="main")
            return await handle.result(), count
    assert dead
    async with app(path, wide, small) as opened:
        handle = await opened.start(wide, 1, id="main")
        return await handle.result(), count


async def test_a_crash_after_any_entry_changes_nothing(tmp_path: Path) -> None:
    """The same result, and no step whose result is recorded runs again."""
    result, count = await play(tmp_path / "whole", 0)
    assert (result, len(CALLS)) == (EXPECTED, 8)
    for number in range(1, count):
        CALLS.clear()
        result, _ = await play(tmp_path / str(number), number)

        assert result == EXPECTED, number
        # At most what was under way at the moment of the crash ran twice.
        assert len(CALLS) <= 8 + 2, (number, CALLS)


async def test_runs_that_wait_are_put_aside_and_come_back(tmp_path: Path) -> None:
    """With more runs than memory holds; each gets its own signal."""

    @workflow
    async def patient(n: int) -> int:
        first = await mark("w", n)
        return first + await go.receive()

    async with app(tmp_path, patient) as opened:
        runner: Any = opened.desk.runner
        runner._memory._limit = runner._memory._crowded_at = 10
        handles = [await opened.start(patient, n) for n in range(40)]
        for handle in handles:
            assert (await opened.settle(handle)).status == "waiting"
        handles += [await opened.start(patient, 40)]
        in_memory = len(runner._memory.runs)
        for number, handle in enumerate(handles):
            await handle.signal(go, 100 * number)
        results = [await handle.result() for handle in handles]

    assert in_memory < 20
    assert results == [n + 1 + 100 * n for n in range(41)]
    assert len(CALLS) == 41


async def test_starting_an_id_twice_gives_the_same_run(tmp_path: Path) -> None:
    """With other arguments it is refused."""
    async with app(tmp_path, small) as opened:
        first, second = await asyncio.gather(
            opened.start(small, 1, id="one"), opened.start(small, 1, id="one")
        )
        results = await first.result(), await second.result()
        with pytest.raises(Conflict, match="already a run"):
            await opened.start(small, 2, id="one")

    assert results == (3, 3)
    assert len(CALLS) == 2


async def test_a_failing_workflow_raises_its_own_exception(tmp_path: Path) -> None:
    """With its arguments; what was done is taken back."""

    @workflow
    async def failing() -> None:
        await mark_undoable("a")
        raise KeyError("no such thing")

    async with app(tmp_path, failing) as opened:
        handle = await opened.start(failing)
        with pytest.raises(KeyError, match="no such thing"):
            await handle.result()
        status = await handle.status()

    assert status == "faulted"
    assert CALLS == [("a", 0), ("undo a", 1)]


async def test_a_cancelled_run_cleans_up_and_says_so(tmp_path: Path) -> None:
    """Whoever waits for the result is told."""

    @workflow
    async def patient() -> None:
        await mark_undoable("a")
        try:
            await sleep(1000)
        finally:
            await mark("cleaned")

    async with app(tmp_path, patient) as opened:
        handle = await opened.start(patient)
        await waiting(opened, handle)
        await handle.cancel("enough")
        with pytest.raises(RunCancelled):
            await handle.result()
        with pytest.raises(Conflict, match="is over"):
            await handle.cancel()

    assert [name for name, _ in CALLS] == ["a", "cleaned", "undo a"]


async def test_yaml_and_python_call_each_other(tmp_path: Path) -> None:
    """A document runs a Python workflow and a step; Python runs the document."""
    (tmp_path / "outer.yaml").write_text("""
document: {dsl: '1.0.3', namespace: shop, name: outer, version: '1.0.0'}
do:
  - child: {run: {workflow: {namespace: default, name: small, version: '1.0.0', input: {n: '${ .n }'}}}}
  - step: {call: 'python.mark:1.0.0@default', with: {name: yaml, value: '${ . }'}}
""")

    @workflow
    async def outer(n: int) -> int:
        return await run_document("outer", {"n": n}, namespace="shop", returns=int)

    async with app(tmp_path, small, outer, steps=[mark], documents=[tmp_path / "outer.yaml"]) as opened:
        result = await (await opened.start(outer, 5)).result()
        document = await (await opened.start_document("outer", {"n": 1}, namespace="shop")).result()

    assert (result, document) == (8, 4)


async def test_a_document_takes_back_what_a_step_did(tmp_path: Path) -> None:
    """`call: undo` finds the step that was declared as `undo`."""
    (tmp_path / "undoing.yaml").write_text("""
document: {dsl: '1.0.3', namespace: shop, name: undoing, version: '1.0.0'}
do:
  - all:
      try:
        - hold: {call: 'python.mark_undoable:1.0.0@default', with: {name: held}}
        - fail: {raise: {error: {type: 'https://example.com/no', status: 500}}}
      catch:
        do:
          - back: {call: 'undo:1.0.0@default'}
""")

    async with app(tmp_path, steps=[mark_undoable], documents=[tmp_path / "undoing.yaml"]) as opened:
        result = await (await opened.start_document("undoing", namespace="shop")).result()

    assert result == {"undone": 1}
    assert CALLS == [("held", 0), ("undo held", 1)]


async def test_events_reach_runs_from_outside(tmp_path: Path) -> None:
    """Everybody who listens, also one that was put aside."""

    @workflow
    async def listener(name: str) -> int:
        event = await wait_for_event("paid", where={"subject": name})
        data: int = event["data"]
        return data

    async with app(tmp_path, listener) as opened:
        handles = [await opened.start(listener, name) for name in ("a", "b")]
        for handle in handles:
            await opened.settle(handle)
        await opened.emit("paid", 1, subject="b")
        await opened.emit("paid", 2, subject="a")
        results = [await handle.result() for handle in handles]

    assert results == [2, 1]


async def test_queries_are_answered_while_a_run_waits_and_after_its_end(
    tmp_path: Path,
) -> None:
    """From another process too, later."""

    @workflow
    async def telling() -> None:
        stage.set("waiting")
        await go.receive()
        stage.set("over")

    async with app(tmp_path, telling) as opened:
        handle = await opened.start(telling, id="t")
        before = await handle.query(stage)
        await handle.signal("go", 1)
        await handle.result()
    async with app(tmp_path, telling) as opened:
        after = await opened.handle("t").query(stage)
        with pytest.raises(NotFound, match="answers no query"):
            await opened.handle("t").query("nothing")

    assert (before, after) == ("waiting", "over")


async def test_nothing_begins_while_an_app_is_closed(tmp_path: Path) -> None:
    """What is stopped makes room for what waits for it: that begins in the next App, not in one that is gone."""

    @step(concurrency=Concurrency(1))
    async def alone(n: int) -> int:
        CALLS.append(("alone", n))
        begun.set()
        await HELD["alone"].wait()
        return n

    @workflow
    async def two() -> list[int]:
        return list(await gather(alone(1), alone(2)))

    HELD["alone"], begun = asyncio.Event(), asyncio.Event()
    async with app(tmp_path, two) as opened:
        await opened.start(two, id="t")
        await begun.wait()
    called = list(CALLS)
    HELD["alone"].set()
    async with app(tmp_path, two) as opened:
        result = await opened.handle("t", two).result()

    assert called == [("alone", 1)]
    assert result == [1, 2]


async def test_a_run_for_ever_keeps_its_id_and_loses_its_past(tmp_path: Path) -> None:
    """After a restart it goes on from where it began anew, not from the start."""

    @workflow
    async def rounds(n: int) -> int:
        value = await mark("round", n)
        if n < 50:
            continue_as_new(value)
        return await go.receive() + value

    async with app(tmp_path, rounds) as opened:
        handle = await opened.start(rounds, 0, id="r")
        await waiting(opened, handle)
        row = await opened.desk.journal.run("r")
        assert row is not None
        snapshot, tail = await opened.desk.journal.load(row.number)
        await kill(opened)
    async with app(tmp_path, rounds) as opened:
        handle = opened.handle("r", rounds)
        await handle.signal(go, 1000)
        result = await handle.result()

    assert snapshot is not None
    assert len(tail) < 5
    assert result == 1051
    assert len(CALLS) == 51


# ── code that changes under its runs ─────────────────────────────────────────────────────


def version(body: Any, **options: Any) -> Workflow[..., Any]:
    """A workflow called `changing`, with this body."""
    return workflow(name="changing", **options)(body)


async def begin(path: Path, declared: Workflow[..., Any]) -> None:
    """Start a run and leave it in the middle, waiting."""
    async with app(path, declared) as opened:
        handle = await opened.start(declared, id="c")
        assert (await opened.settle(handle)).status == "waiting"


async def old() -> int:
    """As it was."""
    first = await mark("old")
    return first + await go.receive()


async def new() -> int:
    """Changed in place without a patch."""
    first = await mark("new")
    second = await mark("more", first)
    return second + await go.receive()


async def test_code_that_does_not_fit_suspends_the_run_and_the_old_code_goes_on(
    tmp_path: Path,
) -> None:
    """Nothing is lost: the diff is in its history, and with fitting code it goes on."""
    await begin(tmp_path, version(old))

    async def with_another_step() -> int:
        first = await mark_undoable("other")
        return first + await go.receive()

    async with app(tmp_path, version(with_another_step)) as opened:
        handle = opened.handle("c")
        status = await handle.status()
        with pytest.raises(Conflict, match="- started /mark"):
            await handle.signal("go", 5)
        told = await entries(opened, "c")
    async with app(tmp_path, version(old)) as opened:
        handle = opened.handle("c")
        await handle.resume()
        await handle.signal("go", 5)
        result = await handle.result()

    assert status == "suspended"
    assert isinstance(told[-1].event, Suspended)
    assert "+ started /mark_undoable" in str(told[-1].event.reason)
    assert (result, CALLS) == (6, [("old", 0)])


async def test_other_runs_go_on_beside_one_that_does_not_fit(tmp_path: Path) -> None:
    """One bad run does not keep the App from opening."""
    await begin(tmp_path, version(old))

    async def other() -> int:
        return await mark_undoable("other")

    async with app(tmp_path, version(other), small) as opened:
        result = await (await opened.start(small, 1)).result()

    assert result == 3


async def test_a_patched_change_fits_old_and_new_runs(tmp_path: Path) -> None:
    """The run that passed there goes on as before; a new one takes the new way."""
    await begin(tmp_path, version(old))

    async def mended() -> int:
        first = await mark("old")
        if patched("twice"):
            first = await mark("twice", first)
        return first + await go.receive()

    declared = version(mended)
    async with app(tmp_path, declared) as opened:
        handles = [opened.handle("c", declared), await opened.start(declared, id="d")]
        for handle in handles:
            await handle.signal("go", 10)
        results = [await handle.result() for handle in handles]

    assert results == [11, 12]


async def test_runs_keep_to_their_version(tmp_path: Path) -> None:
    """Both versions side by side; with the old one gone the run is kept, and says what to do."""
    first, second = version(old, version="1.0.0"), version(new, version="2.0.0")
    await begin(tmp_path, first)
    async with app(tmp_path, second) as opened:
        with pytest.raises(NotFound, match=r"only 2\.0\.0") as caught:
            await opened.handle("c").signal("go", 1)
        status = await opened.handle("c").status()
    async with app(tmp_path, second, first) as opened:
        await opened.handle("c").signal("go", 1)
        result = await opened.handle("c").result()
        other = await opened.start(second, id="d")
        await other.signal("go", 1)
        newer = await other.result()

    assert "keep the old version" in str(caught.value.hint)
    assert (status, result, newer) == ("waiting", 2, 3)


async def test_a_renamed_workflow_keeps_its_runs(tmp_path: Path) -> None:
    """The error names the new name, and how to keep the old."""
    await begin(tmp_path, version(old))
    renamed = workflow(name="changed")(old)
    async with app(tmp_path, renamed) as opened:
        with pytest.raises(NotFound, match=r"no workflow default/changing:1\.0\.0") as caught:
            await opened.handle("c").resume()
        status = await opened.handle("c").status()

    assert '@workflow(name="changing")' in str(caught.value.hint)
    assert status == "waiting"


@pytest.mark.parametrize(
    ("seq", "change", "said"),
    [
        (
            1,
            lambda data: data.replace(b'"0.1.0",1]', b'"9.9.9",2]'),
            "its format is 2, known here is 1",
        ),
        (2, lambda data: data.replace(b'["answered"', b'["foretold"'), "foretold"),
    ],
)
async def test_a_history_of_a_newer_version_is_kept_as_it_is(
    tmp_path: Path, seq: int, change: Callable[[bytes], bytes], said: str
) -> None:
    """One clear error; the other runs go on, and the version that wrote it can too."""
    await begin(tmp_path, version(old))
    path = tmp_path / "tenuto.db"

    def rewrite(make: Callable[[bytes], bytes]) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            (data,) = connection.execute("SELECT entry FROM journal WHERE seq = ?", (seq,)).fetchone()
            assert make(data) != data
            connection.execute("UPDATE journal SET entry = ? WHERE seq = ?", (make(data), seq))

    with contextlib.closing(sqlite3.connect(path)) as connection:
        (original,) = connection.execute("SELECT entry FROM journal WHERE seq = ?", (seq,)).fetchone()
    rewrite(change)
    async with app(tmp_path, version(old), small) as opened:
        with pytest.raises(Conflict, match=said) as caught:
            await opened.handle("c").signal("go", 1)
        result = await (await opened.start(small, 1)).result()
    rewrite(lambda data: original)
    async with app(tmp_path, version(old)) as opened:
        await opened.handle("c").signal("go", 5)
        later = await opened.handle("c").result()

    assert "newer version" in str(caught.value.hint)
    assert (result, later) == (3, 6)


# ── code that must be mended ─────────────────────────────────────────────────────────────

clock_is_read = True


@workflow
async def clocked() -> float:
    """Reads the clock until it is mended."""
    first = await mark("before")
    return (time.time() if clock_is_read else 1.0) + first


async def test_a_stuck_run_goes_on_in_the_same_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is folded again; its steps do not run again."""
    async with app(tmp_path, clocked) as opened:
        handle = await opened.start(clocked)
        with pytest.raises(Conflict, match=r"time\.time"):
            await handle.result()
        status = await handle.status()
        monkeypatch.setattr("tests.runtime.test_python_runs.clock_is_read", False)
        await handle.resume()
        result = await handle.result()

    assert (status, result, CALLS) == ("suspended", 2.0, [("before", 0)])


@step
async def liar() -> int:
    """Answer what its type does not say."""
    CALLS.append(("liar", 0))
    return "text" if clock_is_read else 7  # type: ignore[return-value]


@step
async def huge() -> str:
    """Answer far too much."""
    return "x" * 50_000_000


@pytest.mark.parametrize("lie", [liar, huge])
async def test_a_result_that_cannot_be_recorded_keeps_the_run(tmp_path: Path, lie: Step[..., Any]) -> None:
    """With one error that says the way out."""

    @workflow
    async def lied_to() -> Any:
        return await lie()

    async with app(tmp_path, lied_to) as opened:
        handle = await opened.start(lied_to)
        with pytest.raises(Conflict, match=f"step `{lie.name}`"):
            await handle.result()

        assert await handle.status() == "suspended"


async def test_a_step_that_is_mended_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the run is resumed."""

    @workflow
    async def lied_to() -> int:
        return await liar()

    async with app(tmp_path, lied_to) as opened:
        handle = await opened.start(lied_to)
        with pytest.raises(Conflict):
            await handle.result()
        monkeypatch.setattr("tests.runtime.test_python_runs.clock_is_read", False)
        await handle.resume()
        result = await handle.result()

    assert (result, len(CALLS)) == (7, 2)


async def test_bad_input_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    """The parameter is named."""
    async with app(tmp_path, small) as opened:
        with pytest.raises(InvalidInput, match="`n`"):
            await opened.start(small, "text")  # type: ignore[arg-type]
        runs = await opened.desk.journal.runs()

    assert runs == []


async def test_a_step_that_fails_says_where(tmp_path: Path) -> None:
    """An exception that nobody knows here comes as a StepFailed with its fault."""

    class Strange(Exception):
        """Cannot be found by its name."""

    @step
    def odd() -> None:
        raise Strange("very")

    @workflow
    async def flow() -> None:
        await odd()

    async with app(tmp_path, flow) as opened:
        handle: Handle[None] = await opened.start(flow)
        with pytest.raises(Faulted) as caught:
            await handle.result()

    assert (
        caught.value.fault.title,
        caught.value.fault.detail,
        caught.value.fault.instance,
    ) == (
        "test_a_step_that_fails_says_where.<locals>.Strange",
        "very",
        "/odd",
    )


# ── progress and limits ──────────────────────────────────────────────────────────────────


@step
async def counting(name: str) -> Any:
    """Go on from where an earlier attempt was."""
    context = current_step()
    CALLS.append((name, context.progress))
    if context.progress is None:
        context.heartbeat({"at": 5})
        await HELD[name].wait()
    return [context.progress, context.idempotency_key]


async def test_progress_is_there_after_a_crash(tmp_path: Path) -> None:
    """The next start of the step, with the same key, is told how far it was."""

    @workflow
    async def flow() -> Any:
        return await counting("c")

    HELD["c"] = asyncio.Event()
    recorded = asyncio.Event()

    def watch(run: str, seq: int, entry: Entry) -> None:
        if isinstance(entry.event, Progressed):
            recorded.set()

    async with app(tmp_path, flow) as opened:
        opened.desk.runner.watch(watch)
        await opened.start(flow, id="c")
        await recorded.wait()
        await kill(opened)
    async with app(tmp_path, flow) as opened:
        result = await opened.handle("c", flow).result()

    assert result == [{"at": 5}, "c-0/counting"]
    assert CALLS == [("c", None), ("c", {"at": 5})]


async def test_a_later_attempt_knows_the_progress_of_the_one_before(
    tmp_path: Path,
) -> None:
    """Not only after a crash: also after a failure."""

    @step(retry=Retry(attempts=2, delay_seconds=0))
    async def failing() -> Any:
        context = current_step()
        if context.progress is None:
            context.heartbeat(3)
            raise ConnectionError("gone")
        return context.progress

    @workflow
    async def flow() -> Any:
        return await failing()

    async with app(tmp_path, flow) as opened:
        assert await (await opened.start(flow)).result() == 3


async def test_no_more_calls_are_under_way_than_a_step_allows(tmp_path: Path) -> None:
    """For each key, over all runs; cancelling one that waits lets the others go on."""
    under_way: dict[str, int] = {}
    most: dict[str, int] = {}

    @step(concurrency=Concurrency(2, key=lambda who, n: who))
    async def limited(who: str, n: int) -> int:
        under_way[who] = under_way.get(who, 0) + 1
        most[who] = max(most.get(who, 0), under_way[who])
        try:
            await HELD["gate"].wait()
        finally:
            under_way[who] -= 1
        return n

    @workflow
    async def flow(who: str, n: int) -> int:
        return await limited(who, n)

    HELD["gate"] = asyncio.Event()
    async with app(tmp_path, flow) as opened:
        handles = [await opened.start(flow, who, n) for n in range(10) for who in ("a", "b")]
        await handles[-1].cancel()
        await handles[0].cancel()
        HELD["gate"].set()
        results = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
        runner: Any = opened.desk.runner
        kept = len(runner._acting._admitted)

    assert most == {"a": 2, "b": 2}
    assert [n for n, result in enumerate(results) if isinstance(result, RunCancelled)] == [0, 19]
    assert [result for result in results if isinstance(result, int)] == [n // 2 for n in range(1, 19)]
    assert kept == 0
