"""The environment of tests: virtual time, answers in place of the world, calls that are recorded."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tenuto import (
    Query,
    Retry,
    RunCancelled,
    Signal,
    StepFailed,
    call,
    child,
    current_step,
    now,
    race,
    secret,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from tenuto.errors import DatabaseHeld, Faulted, InvalidDocument, InvalidInput, NotFound
from tenuto.testing import (
    NEVER,
    START_TIME,
    After,
    Environment,
    Error,
    Recorded,
    Stalled,
    UnexpectedCall,
)

HEAD = "document: {dsl: '1.0.3', namespace: test, name: %s, version: '1.0.0'}\n"
WAITING = HEAD % "waiting" + "do:\n  - w: {wait: P30D}\n  - s: {set: {done: true}}\n"
FETCHING = HEAD % "fetching" + (
    "do:\n  - f: {call: http, with: {method: get, endpoint: 'https://example.com/orders/{id}'}}\n"
)
LISTENING = HEAD % "listening" + (
    "do:\n  - l: {listen: {to: {one: {with: {type: paid}}}}}\n  - s: {set: {got: '${ .[0] }'}}\n"
)
go = Signal("go", int)
stage = Query("stage", str)


@dataclass
class Receipt:
    """What a charge gives."""

    id: str
    cents: int


class Declined(Exception):
    """The card was refused."""


@step(retry=Retry(attempts=3, delay_seconds=60.0, jitter=0.0, never=(Declined,)))
async def charge(order: int, cents: int = 100) -> Receipt:
    """Charge for real."""
    return Receipt(f"real-{order}", cents)


@workflow
async def buy(order: int) -> Receipt:
    """One step."""
    return await charge(order)


@workflow
async def patient(days: int) -> datetime:
    """Sleeps."""
    await sleep(timedelta(days=days))
    return now()


@workflow
async def asking() -> int:
    """Waits for a signal, three days at most."""
    stage.set("asked")
    answer = await race(go.receive(), sleep(timedelta(days=3)))
    stage.set("over")
    return -1 if answer is None else answer


# ── time ─────────────────────────────────────────────────────────────────────────────────


async def test_thirty_days_take_no_time(tenuto_env: Environment) -> None:
    """In Python and in YAML, and the workflow sees them pass."""
    begun = time.perf_counter()
    woken = await tenuto_env.run(patient, 30)
    result = await tenuto_env.run(WAITING)

    assert START_TIME + timedelta(days=30) == woken
    assert {"done": True} == result
    assert START_TIME + timedelta(days=60) == tenuto_env.now()
    assert time.perf_counter() - begun < 5.0


async def test_time_stands_still_until_a_result_is_awaited(tenuto_env: Environment) -> None:
    """So that a test can send a signal before the timeout, without a race."""
    handle = await tenuto_env.start(asking)
    await tenuto_env.rest()
    assert await handle.status() == "waiting"
    await handle.signal(go, 7)

    assert 7 == await handle.result()
    assert START_TIME == tenuto_env.now()


async def test_the_timeout_comes_if_nobody_signals(tenuto_env: Environment) -> None:
    """The other way of the same race."""
    assert -1 == await tenuto_env.run(asking)
    assert START_TIME + timedelta(days=3) == tenuto_env.now()


async def test_time_can_be_passed_by_hand() -> None:
    """In the manual mode only `pass_time` moves it; each timer fires at its own time."""
    async with Environment(auto_advance=False, start_time=datetime(2030, 5, 1, tzinfo=UTC)) as env:
        first, second = await env.start(patient, 1), await env.start(patient, 2)
        await env.pass_time(timedelta(days=1) - timedelta(seconds=1))
        assert ("waiting", "waiting") == (await first.status(), await second.status())
        await env.pass_time(1)
        assert ("completed", "waiting") == (await first.status(), await second.status())
        await env.pass_time(timedelta(days=5))

        assert datetime(2030, 5, 3, tzinfo=UTC) == await second.result()
        assert datetime(2030, 5, 7, tzinfo=UTC) == env.now()


async def test_an_awaited_sleep_of_the_test_lets_time_pass(tenuto_env: Environment) -> None:
    """A test can wait in virtual time beside its runs."""
    handle = await tenuto_env.start(patient, 2)
    await tenuto_env.sleep(timedelta(days=1))
    assert await handle.status() == "waiting"
    await tenuto_env.sleep(timedelta(days=1.5))

    assert await handle.status() == "completed"


async def test_a_start_time_needs_its_zone_and_time_goes_forward() -> None:
    """One clear error each."""
    with pytest.raises(InvalidInput, match="no time zone"):
        Environment(start_time=datetime(2030, 1, 1))
    async with Environment() as env:
        with pytest.raises(InvalidInput, match="no time that can pass"):
            await env.pass_time(-1)


# ── what is awaited in vain ──────────────────────────────────────────────────────────────


async def test_a_result_that_cannot_come_is_told() -> None:
    """With what the run waits for, and what the test could do."""
    async with Environment(stalled_seconds=0.01) as env:
        with pytest.raises(Stalled, match=r"(?s)events of type paid.*env\.emit"):
            await env.run(LISTENING)
    async with Environment(stalled_seconds=0.01, auto_advance=False) as env:
        with pytest.raises(Stalled, match=r"(?s)2025-01-02T00:00:00.*env\.pass_time"):
            await env.run(patient, 1)
    async with Environment(stalled_seconds=0.01) as env:

        @workflow
        async def asked() -> int:
            return await go.receive()

        with pytest.raises(Stalled, match=r"(?s)waits for a signal\n.*handle\.signal"):
            await env.run(asked)
        handle = await env.start(LISTENING)
        await handle.suspend()
        with pytest.raises(Stalled, match=r"(?s)suspended.*handle\.resume"):
            await handle.result()


async def test_a_paused_run_that_ends_all_the_same_has_a_result(tenuto_env: Environment) -> None:
    """Its timer is recorded while it is paused; who awaits it is told, whenever that began."""
    handle = await tenuto_env.start(patient, 1)
    await handle.suspend()

    assert START_TIME + timedelta(days=1) == await handle.result()


async def test_settling_ends_where_only_the_test_can_go_on(tenuto_env: Environment) -> None:
    """The row says that the run waits; then the event comes."""
    handle = await tenuto_env.start(LISTENING)
    row = await tenuto_env.settle(handle)
    assert row.status == "waiting"
    await tenuto_env.emit("paid", {"cents": 5})

    assert {"got": {"cents": 5}} == await handle.result()


async def test_events_come_by_type_or_whole(tenuto_env: Environment) -> None:
    """Attributes pass; an event without a type is refused."""
    handle = await tenuto_env.start(hearing)
    await tenuto_env.emit("paid", 1, subject="other")
    await tenuto_env.emit({"type": "paid", "subject": "mine", "data": 2})

    assert 2 == await handle.result()
    with pytest.raises(InvalidInput, match="`type`"):
        await tenuto_env.emit({"data": 1})


@workflow
async def hearing() -> Any:
    """Waits for its own event."""
    return (await wait_for_event("paid", where={"subject": "mine"}))["data"]


async def test_handles_query_and_cancel(tenuto_env: Environment) -> None:
    """They are the App's own."""
    handle = await tenuto_env.start(asking, id="mine")
    assert handle.id == "mine"
    await tenuto_env.rest()
    assert await handle.query(stage) == "asked"
    await handle.cancel("enough")
    with pytest.raises(RunCancelled):
        await handle.result()


# ── answers ──────────────────────────────────────────────────────────────────────────────


async def test_a_step_runs_for_real_unless_it_is_replaced(tenuto_env: Environment) -> None:
    """By the step itself or by its name; by a value or a function, sync or async."""
    assert Receipt("real-1", 100) == await tenuto_env.run(buy, 1)
    tenuto_env.replace(charge, Receipt("r", 1))
    assert Receipt("r", 1) == await tenuto_env.run(buy, 1)
    tenuto_env.replace("charge", lambda order, cents: Receipt(f"f{order}", cents))
    assert Receipt("f2", 100) == await tenuto_env.run(buy, 2)

    async def later(order: int, cents: int) -> Receipt:
        await tenuto_env.sleep(5)
        return Receipt(current_step().idempotency_key, cents)

    tenuto_env.replace(charge, later)
    receipt = await tenuto_env.run(buy, 3, id="third")
    assert Receipt("third-0/charge", 100) == receipt
    assert START_TIME + timedelta(seconds=5) == tenuto_env.now()


async def test_answers_of_a_list_come_one_by_one_and_errors_are_tried_again(tenuto_env: Environment) -> None:
    """With the step's own policy: the pauses pass in virtual time, all attempts have one key."""
    tenuto_env.replace(charge, [ConnectionError("down"), TimeoutError, Receipt("third", 1)])
    result = await tenuto_env.run(buy, 1)

    assert Receipt("third", 1) == result
    assert [1, 2, 3] == [made.attempt for made in tenuto_env.calls(charge)]
    assert 1 == len({made.idempotency_key for made in tenuto_env.calls("charge")})
    assert START_TIME + timedelta(seconds=180) == tenuto_env.now()


async def test_exceptions_are_those_that_the_real_step_would_raise(tenuto_env: Environment) -> None:
    """Also for the test that awaits the result; the step's `never` counts."""
    tenuto_env.replace(charge, Declined("no money"))
    with pytest.raises(Declined, match="no money"):
        await tenuto_env.run(buy, 1)
    assert 1 == len(tenuto_env.calls())

    tenuto_env.replace(charge, Error(404, type="https://example.com/gone"))
    with pytest.raises(StepFailed) as failed:
        await tenuto_env.run(buy, 1)
    assert ("https://example.com/gone", 404) == (failed.value.fault.type, failed.value.fault.status)


async def test_a_wrong_answer_is_refused_as_the_real_one_would_be(tenuto_env: Environment) -> None:
    """A value that does not fit the step's result type."""
    tenuto_env.replace(charge, {"nope": 1})
    handle = await tenuto_env.start(buy, 1)
    with pytest.raises(Exception, match="charge"):
        await handle.result()


async def test_functions_of_connectors_are_replaced_by_name(tenuto_env: Environment) -> None:
    """The arguments are checked as ever; a function takes those that it names."""
    tenuto_env.replace("http.request", lambda endpoint: {"seen": endpoint})
    result = await tenuto_env.run(FETCHING, {"id": 7})

    assert {"seen": "https://example.com/orders/7"} == result
    made = tenuto_env.calls("http.request")[0]
    assert isinstance(made, Recorded)
    assert ("get", 1) == (made.arguments["method"], made.attempt)


async def test_the_real_arguments_are_checked(tenuto_env: Environment) -> None:
    """A call with an argument that the real function does not have fails in the test, too."""
    tenuto_env.replace("http.request", {})
    with pytest.raises(Faulted, match="no argument `metod`"):
        await tenuto_env.run(calling, {"metod": "get", "endpoint": "https://example.com"})


@workflow
async def calling(arguments: dict[str, Any]) -> Any:
    """Calls a connector's function."""
    return await call("http.request", arguments)


async def test_errors_of_functions_reach_catch(tenuto_env: Environment) -> None:
    """An `Error` is what `catch` filters."""
    tenuto_env.replace("http.request", [Error(503, transient=True), {"ok": True}])
    result = await tenuto_env.run(
        HEAD % "trying"
        + """
do:
  - t:
      try: [{f: {call: http, with: {method: get, endpoint: 'https://example.com'}}}]
      catch: {errors: {with: {status: 503}}, retry: {delay: PT10M, limit: {attempt: {count: 2}}}}
"""
    )

    assert {"ok": True} == result
    assert START_TIME + timedelta(minutes=10) == tenuto_env.now()


async def test_answers_that_never_come_run_into_timeouts(tenuto_env: Environment) -> None:
    """A slow answer takes virtual time; a timeout of the document or of the step ends it."""
    tenuto_env.replace("http.request", After(timedelta(minutes=2), {"late": True}))
    assert {"late": True} == await tenuto_env.run(FETCHING, {"id": 1})
    tenuto_env.replace("http.request", NEVER)
    limited = FETCHING + "timeout: {after: PT30S}\n"
    with pytest.raises(StepFailed) as failed:
        await tenuto_env.run(limited, {"id": 1})
    assert 408 == failed.value.fault.status

    tenuto_env.replace(quick, NEVER)
    with pytest.raises(TimeoutError, match=r"took longer than 5 s"):
        await tenuto_env.run(hurried)
    assert START_TIME + timedelta(seconds=120 + 30 + 5) == tenuto_env.now()


@step(timeout_seconds=5.0)
def quick() -> int:
    """Has a time limit."""
    return 1


@workflow
async def hurried() -> int:
    """Calls it."""
    return await quick()


# ── what must not be ─────────────────────────────────────────────────────────────────────


async def test_what_would_reach_outside_is_refused(tenuto_env: Environment) -> None:
    """Even if the workflow catches every error, the test hears of it, with the way to replace it."""
    swallowing = (
        HEAD % "swallowing"
        + """
do:
  - t:
      try: [{f: {call: http, with: {method: get, endpoint: 'https://example.com'}}}]
      catch: {do: [{s: {set: {caught: true}}}]}
"""
    )
    with pytest.raises(UnexpectedCall, match=r'(?s)`http\.request`.*env\.replace\("http\.request"'):
        await tenuto_env.run(swallowing)
    # Also if nobody awaits a result just then.
    await tenuto_env.start(swallowing)
    with pytest.raises(UnexpectedCall):
        await tenuto_env.rest()


async def test_harmless_functions_pass_and_others_can_be_let(tmp_path: Path) -> None:
    """The log, and what the test allows."""
    document = tmp_path / "writing.yaml"
    document.write_text(
        HEAD % "writing"
        + """
do:
  - l: {call: 'core.log:1.0.0@default', with: {message: hello}}
  - w: {call: 'files.write:1.0.0@default', with: {path: made.txt, content: x}}
"""
    )
    async with Environment(allow=["files.*"]) as env:
        await env.run(document)
        assert ["core.log", "files.write"] == [made.function for made in env.calls()]
    assert "x" == (tmp_path / "made.txt").read_text()


async def test_one_call_too_many_is_told(tenuto_env: Environment) -> None:
    """A list has an answer for each call, no more."""
    tenuto_env.replace(charge, [Receipt("one", 1)])
    await tenuto_env.run(buy, 1)
    with pytest.raises(UnexpectedCall, match="2nd time, and there are answers for 1"):
        await tenuto_env.run(buy, 1)


async def test_mistakes_of_the_test_get_one_clear_error(tenuto_env: Environment) -> None:
    """Names that are not there, documents that are none, arguments that do not fit."""
    with pytest.raises(NotFound) as missing:
        tenuto_env.replace("http.requst", {})
    assert "did you mean `http.request`?" == missing.value.hint
    with pytest.raises(InvalidInput, match="neither a step nor"):
        tenuto_env.replace(lambda: 1, 2)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="there is no file"):
        await tenuto_env.run("missing.yaml")
    with pytest.raises(InvalidInput, match="no workflow"):
        await tenuto_env.run(42)
    with pytest.raises(InvalidDocument, match="sett"):
        await tenuto_env.run(HEAD % "wrong" + "do: [{a: {sett: {}}}]\n")
    with pytest.raises(InvalidInput, match="one input"):
        await tenuto_env.run(WAITING, 1, 2)
    with pytest.raises(InvalidInput, match="order"):
        await tenuto_env.run(buy, "seven")


# ── the rest of the world ────────────────────────────────────────────────────────────────


async def test_secrets_are_given_as_a_dict() -> None:
    """They reach the call, and the history holds a reference."""
    async with Environment(secrets={"token": "s3cr3t-value"}) as env:
        env.replace("http.request", {"ok": True})
        handle = await env.start(signed)
        assert await handle.result() == {"ok": True}
        headers = env.calls("http.request")[0].arguments["headers"]
        history = await env.history(handle)

    assert {"Authorization": "Bearer s3cr3t-value"} == headers
    assert "s3cr3t-value" not in repr(history)


@workflow
async def signed() -> Any:
    """Uses a secret."""
    headers = {"Authorization": "Bearer " + secret("token")}
    return await call(
        "http.request", {"method": "get", "endpoint": "https://example.com", "headers": headers}
    )


@workflow
async def strange(path: str) -> Any:
    """Uses a secret of this name."""
    return await call("http.request", {"method": "get", "endpoint": secret(path)})


async def test_a_secret_may_have_any_name_but_none() -> None:
    """What the gate would not know as a reference must never be sent in place of a secret."""
    async with Environment(secrets={"api/token ~1": {"für": "s3cr3t-value"}, "a.b": "dotted"}) as env:
        env.replace("http.request", {"ok": True})
        await env.run(strange, "api/token ~1.für")
        await env.run(strange, "a.b")

        assert ["s3cr3t-value", "dotted"] == [call.arguments["endpoint"] for call in env.calls()]
        for wrong in ("", "token.", "t" * 1_025):
            with pytest.raises(InvalidInput, match="names no secret"):
                await env.run(strange, wrong)


@workflow
async def parent(days: int) -> datetime:
    """Has a child."""
    return await child(patient, days)


async def test_others_that_are_called_by_name_are_given() -> None:
    """Workflows, documents and steps; also added later."""
    calling_both = HEAD % "both" + (
        "do:\n  - one: {run: {workflow: {namespace: test, name: waiting, version: '1.0.0'}}}\n"
        "  - two: {call: 'python.charge:1.0.0@default', with: {order: 5}}\n"
    )
    async with Environment([patient], documents=[WAITING], steps=[charge]) as env:
        assert START_TIME + timedelta(days=2) == await env.run(parent, 2)
        assert {"id": "real-5", "cents": 100} == await env.run(calling_both)
        with pytest.raises(InvalidInput, match="before the first run"):
            env.add(WAITING)
    env = Environment()
    env.add(patient, charge, WAITING)
    async with env:
        assert START_TIME + timedelta(days=2) == await env.run(parent, 2)


async def test_a_document_is_a_path_a_text_or_a_dict(tmp_path: Path, tenuto_env: Environment) -> None:
    """All the same."""
    file = tmp_path / "setting.yaml"
    file.write_text(HEAD % "setting" + "do: [{a: {set: {x: 1}}}]\n")
    head = {"dsl": "1.0.3", "namespace": "test", "name": "setting", "version": "1.0.0"}
    as_dict = {"document": head, "do": [{"a": {"set": {"x": 1}}}]}

    assert {"x": 1} == await tenuto_env.run(file)
    assert {"x": 1} == await tenuto_env.run(str(file))
    assert {"x": 1} == await tenuto_env.run(as_dict)


def test_a_test_need_not_be_async(tenuto_env: Environment) -> None:
    """`run_sync` brings its own loop; `wait` does everything else."""
    tenuto_env.replace(charge, Receipt("sync", 1))
    assert Receipt("sync", 1) == tenuto_env.run_sync(buy, 1)
    handle = tenuto_env.wait(tenuto_env.start(patient, 30))
    tenuto_env.wait(tenuto_env.pass_time(timedelta(days=31)))

    assert "completed" == tenuto_env.wait(handle.status())


def test_what_was_left_undone_is_told_at_the_end() -> None:
    """A refusal that nobody heard of comes when the environment is closed."""
    env = Environment()

    async def start() -> None:
        await env.start(FETCHING, {"id": 1})
        while not env.calls():  # noqa: ASYNC110  # nothing tells of a call but its record
            await asyncio.sleep(0)

    env.wait(start())
    with pytest.raises(UnexpectedCall):
        env.close()


async def test_two_environments_share_nothing(tenuto_env: Environment) -> None:
    """Neither time nor answers nor ids."""
    async with Environment() as other:
        tenuto_env.replace(charge, Receipt("mine", 1))
        results = await asyncio.gather(tenuto_env.run(buy, 1), other.run(buy, 1), other.run(patient, 1))

        assert ["mine", "real-1"] == [results[0].id, results[1].id]
        assert START_TIME == tenuto_env.now()
        assert (await other.start(buy, 2)).id != (await other.start(buy, 2)).id


async def test_an_environment_that_cannot_be_opened_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a thread nor the database: what was begun is ended again."""
    file = tmp_path / "tests.db"
    async with Environment(database=file):
        before = threading.enumerate()
        with pytest.raises(DatabaseHeld):
            await Environment(database=file).start(patient, 1)

        assert before == threading.enumerate()

    async with Environment(database=file) as env:
        assert [] == await env.runs()
