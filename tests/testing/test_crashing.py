"""`crash_everywhere` finds what a crash would change, and nothing in what is sound."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tenuto import Retry, Signal, child, current_step, each, gather, sleep, step, workflow
from tenuto.storage.sqlite import DatabaseJournal
from tenuto.testing import After, CrashReport, Driver, Environment, Error, crash_everywhere

go = Signal("go", int)
SEEN: list[str] = []


@step(retry=Retry(attempts=2, delay_seconds=5.0, jitter=0.0))
async def charge(cents: int) -> int:
    """Work for real."""
    return cents + current_step().attempt


@step
def ship(place: str) -> str:
    """Work in a thread."""
    return place.upper()


@step
def refund(cents: int, result: int) -> None:
    """Take a charge back."""


@step(undo=refund)
def pay(cents: int) -> int:
    """Can be taken back."""
    return cents


@workflow
async def inner(cents: int) -> int:
    """A child."""
    await sleep(timedelta(days=1))
    return await charge(cents)


@workflow
async def order(cents: int) -> list[Any]:
    """Uses much."""
    paid, sent = await gather(charge(cents), ship("here"))
    later = await child(inner, cents)
    return [paid, sent, later, await each(ship, ["a", "b"], at_once=1)]


@workflow
async def approved(cents: int) -> int:
    """Waits for somebody."""
    first = await charge(cents)
    return first + await go.receive() + await go.receive()


@workflow
async def taken_back(cents: int) -> int:
    """Fails, and takes back."""
    await pay(cents)
    await pay(cents + 1)
    raise ValueError("not today")


FLOW = """
document: {dsl: '1.0.3', namespace: test, name: flow, version: '1.0.0'}
do:
  - f:
      fork:
        branches:
          - a: {call: http, with: {method: get, endpoint: 'https://example.com/a'}}
          - b: {call: http, with: {method: get, endpoint: 'https://example.com/b'}}
  - w: {wait: P1D}
  - t:
      try: [{c: {call: http, with: {method: post, endpoint: 'https://example.com/c'}}}]
      catch: {errors: {with: {status: 503}}, retry: {delay: PT5M, limit: {attempt: {count: 3}}}}
"""


@pytest.mark.slow
async def test_a_sound_workflow_passes() -> None:
    """Branches, children, retries, timers, threads; the report says how much was tried."""

    def setup(env: Environment) -> None:
        # Under way still when `ship` has answered: a crash then finds something to begin again.
        env.replace(charge, [After(1.0, ConnectionError("down")), 5, ConnectionError("again"), 7])

    report = await crash_everywhere(order, 100, setup=setup, workflows=[inner])

    assert isinstance(report, CrashReport)
    assert report.entries > 8
    assert report.crashes >= report.entries
    assert report.repeated > 0


@pytest.mark.slow
async def test_documents_pass_too() -> None:
    """With answers that depend on the attempt."""

    def setup(env: Environment) -> None:
        answers: dict[str, Any] = {"a": {"n": 1}, "b": {"n": 2}}

        def answer(endpoint: str) -> Any:
            return answers[endpoint[-1]]

        env.replace("http.request", answer)

    part = FLOW.partition("  - t:")[0]
    report = await crash_everywhere(part, setup=setup)

    assert report.crashes >= report.entries > 3


@pytest.mark.slow
async def test_what_the_run_waits_for_is_sent_once() -> None:
    """The driver outlives the crashes."""

    async def drive(run: Driver) -> None:
        await run.signal(go, 10)
        await run.pass_time(timedelta(hours=1))
        await run.signal("go", 20)

    await crash_everywhere(approved, 1, drive=drive)


@pytest.mark.slow
async def test_runs_that_fail_are_compared_too() -> None:
    """What was done is taken back in every play, once each."""
    report = await crash_everywhere(taken_back, 5)

    assert report.entries >= 5


# ── negative controls ────────────────────────────────────────────────────────────────────


@workflow
async def forgetful(cents: int) -> int:
    """Keeps state where no journal sees it."""
    SEEN.append("run")
    first = await charge(cents)
    await charge(cents)
    return first + len(SEEN)


async def test_state_outside_of_the_journal_is_noticed() -> None:
    """A result that depends on how often the code was run."""
    with pytest.raises(AssertionError, match=r"(?s)after a crash at entry 1 of .*ended otherwise.*output"):
        await crash_everywhere(forgetful, 1, setup=lambda env: SEEN.clear())


async def test_a_store_that_forgets_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last entry is lost in a crash: what it recorded is done again."""
    load_many = DatabaseJournal.load_many

    async def forget(self: Any, numbers: Any) -> Any:
        loaded = await load_many(self, numbers)
        return {
            number: (shot, entries[:-1] if len(entries) > 1 else entries)
            for number, (shot, entries) in loaded.items()
        }

    monkeypatch.setattr(DatabaseJournal, "load_many", forget)
    with pytest.raises(AssertionError, match=r"crash at entry 2 of"):
        await crash_everywhere(order, 100, workflows=[inner])


async def test_a_result_that_is_not_recorded_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that says it has kept what it has not: what seemed recorded is done again."""
    commit = DatabaseJournal.commit

    def lie(self: Any, batch: Any, done: Any) -> None:
        if [append.seq for append in batch.appends] == [2]:
            asyncio.get_running_loop().call_soon(done)
        else:
            commit(self, batch, done)

    monkeypatch.setattr(DatabaseJournal, "commit", lie)
    with pytest.raises(AssertionError, match=r"at entry 2 .*\n.*done again: python\.charge \(task /charge, "):
        await crash_everywhere(forgetless, 1)


@workflow
async def forgetless(cents: int) -> int:
    """One step after the other."""
    return await charge(await charge(cents))


async def test_another_answer_after_the_crash_is_noticed() -> None:
    """Other arguments under the same key are another effect."""
    count = 0

    def setup(env: Environment) -> None:
        def answer(cents: int) -> int:
            nonlocal count
            count += 1
            return count

        env.replace(charge, answer)

    with pytest.raises(AssertionError, match=r"(?s)other calls were made.*arguments|ended otherwise"):
        await crash_everywhere(forgetless, 1, setup=setup)


async def test_errors_are_answers_like_others() -> None:
    """An attempt that is made again after a crash gets the answer that it got before."""

    def setup(env: Environment) -> None:
        env.replace(charge, [Error(503), 2, 3])

    report = await crash_everywhere(forgetless, 1, setup=setup)

    assert report.crashes > 0
