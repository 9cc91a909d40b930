"""What workflow code asks for, told purely: steps, branches, timers, events, cancelling, undoing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenuto import (
    Cancelled,
    HistoryMismatch,
    Query,
    Retry,
    Signal,
    StepFailed,
    call,
    child,
    continue_as_new,
    each,
    emit,
    gather,
    log,
    now,
    patched,
    race,
    random,
    run_document,
    secret,
    sleep,
    sleep_until,
    step,
    uuid,
    wait_for_event,
    workflow,
)
from tenuto.authoring.program import PythonProgram
from tenuto.engine.model import Drop, Emit, Entry, Listen, Note, StartRun, Wake
from tenuto.errors import Invalid, communication_fault, timeout_fault
from tests.authoring.playing import START, Play, again

go = Signal("go", int)
stage = Query("stage", str)


@step
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


@step
def release(a: int, result: int) -> None:
    """Take `hold` back."""


@step(undo=release)
def hold(a: int) -> int:
    """Hold something."""
    return a


@step(retry=Retry(attempts=3, delay_seconds=10, jitter=0))
def shaky(a: int) -> int:
    """Fail sometimes."""
    return a


# ── steps ────────────────────────────────────────────────────────────────────────────────


@workflow
async def three(a: int) -> int:
    """One after the other."""
    a = await add(a)
    a = await add(a, b=2)
    return await add(a)


def test_steps_are_asked_for_one_after_the_other() -> None:
    """Each with its arguments by name, defaults filled in, and a key of its own."""
    play = Play(three, {"a": 1})
    seen = []
    while play.performs:
        command = play.performs[0]
        seen.append((command.task, command.function, command.arguments, command.key))
        play.answer(command.arguments["a"] + command.arguments["b"])

    assert seen == [
        ("/add", "python.add", {"a": 1, "b": 1}, "run-0/add"),
        ("/add#2", "python.add", {"a": 2, "b": 2}, "run-0/add#2"),
        ("/add#3", "python.add", {"a": 4, "b": 1}, "run-0/add#3"),
    ]
    assert play.output == 5
    assert play.told == [
        "started /add",
        "completed /add",
        "started /add#2",
        "completed /add#2",
        "started /add#3",
        "completed /add#3",
    ]


def test_a_transient_failure_is_tried_again_with_the_same_key() -> None:
    """After ten seconds, then twenty; the third failure is raised."""

    @workflow
    async def flow() -> int:
        return await shaky(1)

    broken = communication_fault("away", transient=True).fault
    play = Play(flow)
    key = play.performs[0].key
    waited = []
    for attempt in (2, 3):
        play.fail(broken)
        waited.append(play.open(Wake)[0].at - play.time)
        play.wake()
        assert (play.performs[0].attempt, play.performs[0].key) == (attempt, key)
    play.fail(broken)

    assert waited == [10.0, 20.0]
    assert play.status == "faulted"
    assert play.fault.instance == "/shaky"


def test_a_lasting_failure_is_raised_at_once() -> None:
    """No attempt follows when the function says that trying again does not help."""

    @workflow
    async def flow() -> str:
        try:
            await shaky(1)
        except StepFailed as error:
            return error.fault.detail or ""
        return "fine"

    play = Play(flow)
    play.fail()

    assert play.output == "broken"


# ── branches ─────────────────────────────────────────────────────────────────────────────


def test_gather_answers_in_the_order_of_its_arguments() -> None:
    """Whoever ends first."""

    async def twice(a: int) -> int:
        return await add(await add(a))

    @workflow
    async def flow() -> list[int]:
        return list(await gather(add(1), twice(10), add(3)))

    play = Play(flow)
    assert play.asked == ["/add", "/add#2", "/add#3"]
    play.answer(4, "/add#2")
    play.answer(11, "/add#3")
    play.answer(2, "/add")
    play.answer(12, "/add#4")

    assert play.output == [2, 12, 4]


def test_a_failure_in_a_branch_stops_the_others() -> None:
    """They may clean up; then the failure is raised."""
    cleaned: list[str] = []

    async def branch() -> None:
        try:
            await sleep(1000)
        finally:
            cleaned.append("started")
            await add(7)
            cleaned.append("done")

    @workflow
    async def flow() -> str:
        try:
            await gather(add(1), branch(), add(2))
        except StepFailed:
            return "caught"
        return "no"

    play = Play(flow)
    play.fail(task="/add")
    assert play.asked == ["/add#3"]
    assert play.open(Wake) == []
    play.answer(8)

    assert cleaned == ["started", "done"]
    assert play.output == "caught"


def test_gather_may_keep_exceptions() -> None:
    """As results like others."""

    @workflow
    async def flow() -> list[str]:
        results = await gather(add(1), add(2), return_exceptions=True)
        return [type(result).__name__ for result in results]

    play = Play(flow)
    play.fail(task="/add")
    play.answer(3)

    assert play.output == ["StepFailed", "int"]


def test_the_first_of_a_race_wins_and_the_others_are_dropped() -> None:
    """A timer is dropped when the step was quicker, and the other way round."""

    @workflow
    async def flow() -> list[Any]:
        return [await race(add(1), sleep(60)), await race(add(2), sleep(60))]

    play = Play(flow)
    play.answer(2)
    assert len(play.open(Wake)) == 1
    play.wake()

    assert play.output == [2, None]
    assert "cancelled /add#2" in play.told


def test_nothing_to_gather_is_an_empty_list_and_nothing_to_race_is_refused() -> None:
    """Neither waits for ever."""

    @workflow
    async def flow() -> list[Any]:
        return list(await gather(*[]))

    assert Play(flow).output == []
    with pytest.raises(Invalid, match="a race of nothing"):
        race()


def test_each_has_only_so_many_under_way_and_keeps_the_order() -> None:
    """Three at once; the results come in the items' order whoever ends first."""

    @workflow
    async def flow() -> list[int]:
        return [result async for result in each(add, range(8), at_once=3)]

    play = Play(flow)
    most = 0
    while play.performs:
        most = max(most, len(play.performs))
        last = play.performs[-1]
        play.answer(last.arguments["a"] * 10, last.task)

    assert most == 3
    assert play.output == [0, 10, 20, 30, 40, 50, 60, 70]


def test_each_stops_the_others_at_a_failure() -> None:
    """And the failure is raised where its result would have been."""

    @workflow
    async def flow() -> list[int]:
        seen = []
        try:
            async for result in each(add, range(10), at_once=4):
                seen.append(result)  # noqa: PERF401  # what came before the failure counts
        except StepFailed:
            return seen
        return [-1]

    play = Play(flow)
    play.answer(1, "/add")
    play.fail(task="/add#2")

    assert play.output == [1]
    assert play.performs == []


def test_each_takes_functions_of_the_workflow_too() -> None:
    """An async function of several steps is one item's work."""

    async def work(a: int) -> int:
        return await add(await add(a))

    @workflow
    async def flow() -> list[int]:
        return await each(work, [1, 10], at_once=2)

    play = Play(flow)
    play.play({"add": lambda a, b: a + b})

    assert play.output == [3, 12]


# ── time and chance ──────────────────────────────────────────────────────────────────────


def test_time_is_that_of_the_event() -> None:
    """The same whenever the code is run again."""

    @workflow
    async def flow() -> list[datetime]:
        first = now()
        await sleep(timedelta(days=30))
        await sleep_until(first + timedelta(days=60))
        return [first, now()]

    play = Play(flow)
    play.wake()
    play.wake()

    start = datetime.fromtimestamp(START, UTC)
    assert [datetime.fromisoformat(text) for text in play.output] == [start, start + timedelta(days=60)]


def test_chance_is_another_for_each_run_and_the_same_for_each_replay() -> None:
    """Numbers, choices and UUIDs."""

    @workflow
    async def flow() -> list[Any]:
        items = [1, 2, 3, 4, 5]
        random.shuffle(items)
        found = [random(), random.randint(1, 100), random.choice("abc"), str(uuid()), str(uuid()), items]
        await add(1)
        return [*found, random(), str(uuid())]

    play = Play(flow)
    play.answer(2)
    replayed, _ = again(flow, play.entries)

    assert replayed.finish is not None
    assert replayed.finish.output == play.output
    assert len({play.output[3], play.output[4], play.output[7]}) == 3


# ── other runs, connectors, events ───────────────────────────────────────────────────────


def test_children_documents_and_functions_are_asked_for_by_name() -> None:
    """With their arguments, and answered with values of their types."""

    @workflow
    async def flow() -> list[Any]:
        one = await child(three, 1)
        two = await three(2)
        doc = await run_document("hello", {"n": 1}, namespace="examples", version="1.0.0", returns=int)
        page = await call("http.request", {"method": "get", "key": secret("api.key")}, returns=dict[str, int])
        return [one, two, doc, page]

    play = Play(flow)
    starts = []
    for output in (11, 12, 13):
        command = play.open(StartRun)[0]
        starts.append((command.task, command.namespace, command.name, command.version, command.input))
        play.child_ends(output)
    command = play.performs[0]
    play.answer({"status": 200})

    assert starts == [
        ("/three", "default", "three", "1.0.0", {"a": 1}),
        ("/three#2", "default", "three", "1.0.0", {"a": 2}),
        ("/hello", "examples", "hello", "1.0.0", {"n": 1}),
    ]
    assert (command.function, command.arguments["key"], command.nonce) == (
        "http.request",
        "\x01nonce:api.key\x01",
        "nonce",
    )
    assert play.output == [11, 12, 13, {"status": 200}]


def test_an_event_is_taken_by_who_waits_for_it() -> None:
    """Others pass by; after the time is over there is a TimeoutError."""

    @workflow
    async def flow() -> list[Any]:
        first = await wait_for_event("paid", where={"subject": "4711", "data.ok": True}, timeout=60)
        try:
            await wait_for_event("paid", where=lambda event: event["data"] > 3, timeout=60)
        except TimeoutError as error:
            return [first["data"]["amount"], str(error)]
        return []

    play = Play(flow)
    assert play.status == "waiting"
    assert play.listening == [("paid",)]
    play.arrive("paid", {"ok": True}, subject="1")
    play.arrive("sent", {"ok": True}, subject="4711")
    play.arrive("paid", {"ok": False}, subject="4711")
    play.arrive("paid", {"ok": True, "amount": 5}, subject="4711")
    play.arrive("paid", 1)
    play.wake()

    assert play.output == [5, "no paid came within 60 s"]
    assert play.open(Listen) == []


def test_signals_are_kept_in_their_order_until_they_are_asked_for() -> None:
    """By name: others do not come between."""

    @workflow
    async def flow() -> list[int]:
        await add(1)
        return [await go.receive(), await go.receive(), await go.receive()]

    play = Play(flow)
    play.arrive("io.tenuto.signal.v1", 1, subject="go")
    play.arrive("io.tenuto.signal.v1", 99, subject="other")
    play.arrive("io.tenuto.signal.v1", 2, subject="go")
    play.answer(2)
    assert play.status == "waiting"
    play.arrive("io.tenuto.signal.v1", 3, subject="go")

    assert play.output == [1, 2, 3]


def test_an_event_is_published_with_an_id_that_stays_the_same() -> None:
    """And with the workflow as its source."""

    @workflow
    async def flow() -> None:
        await emit("done", {"n": 1}, subject="x")

    play = Play(flow)
    event = play.open(Emit)[0].event
    replayed, _ = again(flow, play.entries)
    play.sent()

    assert {**event, "id": "", "time": ""} == {
        "specversion": "1.0",
        "id": "",
        "source": "/default/flow/1.0.0",
        "time": "",
        "type": "done",
        "subject": "x",
        "data": {"n": 1},
    }
    assert next(iter(replayed.open.values())).event == event  # type: ignore[union-attr]
    assert play.status == "completed"


def test_what_a_run_says_of_itself_can_be_read() -> None:
    """Also while it waits, and what it logs is in its history once."""

    @workflow
    async def flow() -> None:
        stage.set("begun")
        log("hello", level="warning")
        await add(1)
        stage.set("over")

    play = Play(flow)
    assert play.run is not None
    before = play.program.query(play.run.state, "stage")
    play.answer(1)
    replayed, program = again(flow, play.entries)

    assert before == "begun"
    assert program.query(replayed.state, "stage") == "over"
    assert [(note.kind, note.data) for note in play.entries[0].notes if note.what == "logged"] == [
        ("warning", "hello")
    ]
    with pytest.raises(KeyError):
        program.query(replayed.state, "nothing")


# ── the end ──────────────────────────────────────────────────────────────────────────────


def test_an_exception_ends_the_run_with_what_it_said() -> None:
    """Its class and arguments are kept, so that whoever waits is told the same."""

    @workflow
    async def flow() -> None:
        await add(1)
        raise KeyError("no such", 7)

    play = Play(flow)
    play.answer(2)

    assert play.status == "faulted"
    assert play.fault.title == "KeyError"
    assert play.fault.exception is not None
    assert (play.fault.exception.type, play.fault.exception.arguments) == (
        "builtins.KeyError",
        ["no such", 7],
    )


def test_what_was_done_is_taken_back_in_reverse_order() -> None:
    """One after the other, each with the arguments it knows and the result; then the run ends."""

    @workflow
    async def flow() -> None:
        await hold(1)
        await add(5)
        await gather(hold(2), hold(3))
        raise ValueError("no")

    play = Play(flow)
    play.answer(10)
    play.answer(6)
    play.answer(30, "/hold#3")
    play.answer(20, "/hold#2")
    undone = []
    while play.performs:
        assert len(play.performs) == 1
        undone.append((play.performs[0].function, play.performs[0].arguments, play.performs[0].key))
        play.answer(None)

    assert undone == [
        ("python.release", {"a": 2, "result": 20}, "run-0/hold#2/undo"),
        ("python.release", {"a": 3, "result": 30}, "run-0/hold#3/undo"),
        ("python.release", {"a": 1, "result": 10}, "run-0/hold/undo"),
    ]
    assert (play.status, play.fault.detail) == ("faulted", "no")


def test_an_undo_that_fails_does_not_stop_the_others() -> None:
    """The run's fault says so."""

    @workflow
    async def flow() -> None:
        await hold(1)
        await hold(2)
        raise ValueError("no")

    play = Play(flow)
    play.answer(1)
    play.answer(2)
    play.fail()
    play.answer(None)

    assert play.fault.detail == "no; not undone: broken"


def test_an_action_under_way_that_can_be_undone_may_end_first() -> None:
    """Only then is it known whether there is something to take back."""

    @workflow
    async def flow() -> None:
        await gather(hold(1), add(1))

    play = Play(flow)
    play.fail(task="/add")
    assert play.asked == ["/hold"]
    assert play.status == "running"
    play.answer(5)
    assert [(c.task, c.arguments) for c in play.performs] == [("/release", {"a": 1, "result": 5})]
    play.answer(None)

    assert play.status == "faulted"


def test_a_timeout_leaves_it_open_whether_something_was_done() -> None:
    """The undo is called if it can do without a result."""

    @step
    def forget(a: int, result: int | None) -> None:
        """Take it back, whatever came of it."""

    @step(undo=forget)
    def remember(a: int) -> int:
        """Do it."""
        return a

    @workflow
    async def flow() -> None:
        await hold(1)
        await remember(2)

    play = Play(flow)
    play.answer(1)
    play.fail(timeout_fault("too late").fault)
    undone = []
    while play.performs:
        undone.append((play.performs[0].function, play.performs[0].arguments))
        play.answer(None)

    assert undone == [
        ("python.forget", {"a": 2, "result": None}),
        ("python.release", {"a": 1, "result": 1}),
    ]


def test_a_cancelled_run_may_clean_up_and_is_undone() -> None:
    """Steps in `finally` are done; then what was done is taken back."""

    @workflow
    async def flow() -> None:
        await hold(1)
        try:
            await sleep(1000)
        finally:
            await add(9)

    play = Play(flow)
    play.answer(1)
    play.cancel()
    assert play.asked == ["/add"]
    play.answer(10)
    assert play.asked == ["/release"]
    play.answer(None)

    assert play.status == "cancelled"


def test_cancelling_twice_gives_up_on_the_cleaning_up() -> None:
    """What was done is taken back all the same."""

    @workflow
    async def flow() -> None:
        await hold(1)
        try:
            await sleep(1000)
        finally:
            await add(9)

    play = Play(flow)
    play.answer(1)
    play.cancel()
    play.cancel()
    assert play.asked == ["/release"]
    play.answer(None)

    assert play.status == "cancelled"


def test_a_run_that_catches_its_cancelling_completes() -> None:
    """To catch and return is to decide so."""

    @workflow
    async def flow() -> str:
        try:
            await sleep(1000)
        except Cancelled:
            return "stopped in order"
        return "slept"

    play = Play(flow)
    play.cancel()

    assert play.output == "stopped in order"


def test_branches_left_behind_are_dropped_at_the_end() -> None:
    """The calls that `each` had under way when the loop was left."""

    @workflow
    async def flow() -> int:
        async for result in each(add, range(10), at_once=3):
            return result
        return -1

    play = Play(flow)
    play.answer(1)

    assert play.output == 1
    assert len([c for c in play.commands if isinstance(c, Drop)]) == 3


# ── beginning anew, patches ──────────────────────────────────────────────────────────────


@workflow
async def rounds(n: int, seen: list[int]) -> list[int]:
    """Go round three times."""
    seen = [*seen, await add(n)]
    if n < 3:
        continue_as_new(n + 1, seen)
    return seen


def test_continue_as_new_begins_the_code_again_under_the_same_run() -> None:
    """With new arguments, and keys that do not repeat."""
    play = Play(rounds, {"n": 1, "seen": []})
    keys = []
    while play.performs:
        keys.append(play.performs[0].key)
        play.answer(play.performs[0].arguments["a"] * 10)

    assert keys == ["run-0/add", "run-1/add", "run-2/add"]
    assert play.output == [10, 20, 30]
    assert play.told.count("continued ") == 2


def test_a_run_that_began_anew_can_be_stored_without_its_past() -> None:
    """And goes on from there; in every other state the journal is needed."""
    play = Play(rounds, {"n": 1, "seen": []})
    assert play.run is not None
    before = play.program.encode(play.run.state)
    play.arrive("io.tenuto.signal.v1", 5, subject="go")
    play.answer(10)
    assert play.run is not None
    stored = play.program.encode(play.run.state)
    assert stored is not None
    revived = play.program.decode(stored)
    open_then = dict(play.run.open)
    play.run = type(play.run)(play.run.status, revived, play.run.open, play.run.busy)
    play.answer(20)
    after = play.program.encode(play.run.state)
    play.answer(30)

    assert before is None
    assert after is not None
    assert list(open_then) == [2]
    assert play.output == [10, 20, 30]


def test_a_patch_is_taken_by_runs_that_have_not_passed_it() -> None:
    """A run that passed there before the change goes on as it began."""

    @workflow(name="changing")
    async def old() -> list[int]:
        first = await add(1)
        return [first, await add(2)]

    @workflow(name="changing")
    async def new() -> list[int]:
        first = await add(1)
        if patched("more"):
            first = await add(100)
        return [first, await add(2)]

    passed = Play(old)
    passed.answer(2)
    replayed, _ = again(new, passed.entries)
    assert [command.arguments["a"] for command in replayed.open.values()] == [2]  # type: ignore[union-attr]

    early = Play(old)
    run, program = again(new, early.entries)
    early.run, early.program = run, program
    early.play({"add": lambda a, b: a + b})
    fresh = Play(new)
    fresh.play({"add": lambda a, b: a + b})
    replayed, _ = again(new, fresh.entries)

    assert early.output == fresh.output == [101, 3]
    assert replayed.finish is not None
    assert replayed.finish.output == [101, 3]


def test_log_lines_and_patches_may_go_and_log_lines_may_come() -> None:
    """They are no part of what the code has to ask for again."""

    @workflow(name="talking")
    async def old() -> list[int]:
        log("first")
        if patched("everywhere"):
            log("second")
        return [await add(1), await add(2)]

    @workflow(name="talking")
    async def new() -> list[int]:
        first = await add(1)
        log("between")
        return [first, await add(2)]

    @workflow(name="talking")
    async def still() -> list[int]:
        log("something else")
        assert patched("everywhere")
        return [await add(1), await add(2)]

    play = Play(old)
    play.play({"add": lambda a, b: a + b})

    for code in (new, still):
        replayed, _ = again(code, play.entries)
        recalled = PythonProgram(code, lambda step: None).recall(None, play.entries)
        assert recalled is not None
        assert replayed.finish == recalled.finish
        assert replayed.finish is not None
        assert replayed.finish.output == [2, 3]


# ── many entries at once ─────────────────────────────────────────────────────────────────


@workflow
async def busy(n: int) -> list[int]:
    """Branches, failures, retries, timers, signals, and rounds."""
    first = await gather(shaky(n), hold(n), return_exceptions=True)
    await sleep(3)
    second = await each(add, range(4), at_once=2)
    if n < 2:
        continue_as_new(n + 1)
    await race(go.receive(), sleep(100))
    return [len(first), *second]


def busy_play() -> Play:
    """A whole run of `busy`, with a pause and a failure in it."""
    play = Play(busy, {"n": 1})
    play.fail(communication_fault("away", transient=True).fault, "/shaky")
    play.suspend()
    play.answer(1, "/hold")
    play.resume()
    play.wake()
    while play.run is not None and not play.run.over:
        if play.performs:
            play.answer(play.performs[-1].arguments["a"])
        else:
            play.wake()
    return play


def test_recalling_many_entries_is_advancing_over_each() -> None:
    """For every prefix of a history: the same commands open, the same status, the same end."""
    play = busy_play()
    for count in range(1, len(play.entries) + 1):
        entries = play.entries[:count]
        run, _ = again(busy, entries)
        recalled = PythonProgram(busy, lambda step: None).recall(None, entries)

        assert recalled is not None
        assert (recalled.status, dict(recalled.open), recalled.busy, recalled.finish) == (
            run.status,
            dict(run.open),
            run.busy,
            run.finish,
        )


def test_recalling_notices_what_advancing_notices() -> None:
    """With the number of the entry."""
    play = busy_play()
    entries = list(play.entries)
    entries[5] = Entry(entries[5].event, (Note("/ghost", "started", "step"),))

    with pytest.raises(HistoryMismatch) as caught:
        PythonProgram(busy, lambda step: None).recall(None, entries)
    assert caught.value.seq == 6
