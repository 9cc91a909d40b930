"""The layer L2 at the size of CI: seeds of the simulation, the zoo, and what simulations rest on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tenuto.application import Handle
from tenuto.engine.model import Wake
from tenuto.errors import StorageFailed
from tests.reliability.cases import Case
from tests.reliability.checker import check
from tests.reliability.programme import Budget, Record
from tests.reliability.simulation.disk import Disk, Store
from tests.reliability.simulation.layer import LAYER, RARE, SEEDS_OF_BUGS, chunks, hunt
from tests.reliability.simulation.loop import Crash, Idle, Loop
from tests.reliability.simulation.play import play
from tests.reliability.simulation.process import Process
from tests.reliability.zoo import BUGS, CAUGHT_BY, ELSEWHERE, NOT_YET, TOLD

SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The layer, played once."""
    return LAYER.play(Budget(tmp_path_factory.mktemp("simulation"), deadline=time.monotonic() + SECONDS))


@pytest.mark.slow
def test_no_seed_violates_anything(record: Record) -> None:
    """Each that does is named, to be played again: `python -m tests.reliability.simulation --seed N --trace`."""
    assert (record.failing, record.violations) == ((), ())
    assert record.cases > 0


@pytest.mark.slow
def test_every_bug_of_the_zoo_is_caught(record: Record) -> None:
    """Otherwise a clean record says nothing. Those that take more seeds are hunted by the long play."""
    assert [caught.bug for caught in record.caught if caught.cases is None] == []
    assert {caught.bug for caught in record.caught} == BUGS.keys() - RARE.keys()
    assert all(CAUGHT_BY[caught.bug] >= set(caught.by) for caught in record.caught)


@pytest.mark.slow
def test_nothing_is_caught_where_there_is_no_bug(record: Record) -> None:
    """As many seeds as each bug is given, with everything that bugs replace replaced by itself."""
    assert record.violations == ()
    assert record.counts["seeds with nothing in place of a bug"] >= SEEDS_OF_BUGS


def test_a_hunt_whose_time_is_over_says_so() -> None:
    """It is not as if all its seeds had shown nothing."""
    over = hunt("a run that is read while it begins", 1, 3, deadline=0.0)
    whole = hunt("a run that is read while it begins", 1, 1, deadline=0.0)

    assert (over.cases, over.broken_off_after) == (None, 1)
    assert (whole.cases, whole.broken_off_after) == (None, None)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_controls_are_a_share(scale: float) -> None:
    """However long the play is: the other seeds are played with nothing in the way of the engine."""
    played = list(chunks(Budget(Path(), scale=scale)))

    assert sum(count for _, count, _, control in played if control) == SEEDS_OF_BUGS
    assert sum(count for _, count, _, control in played if not control) == 1_000 * scale - SEEDS_OF_BUGS


def test_each_bug_is_told_and_each_that_is_missing_has_a_reason() -> None:
    """The page prints them."""
    assert TOLD.keys() == BUGS.keys() == CAUGHT_BY.keys()
    assert all([*TOLD.values(), *NOT_YET.values(), *ELSEWHERE.values()])


@pytest.mark.slow
def test_a_seed_is_the_same_everywhere() -> None:
    """Byte for byte, in processes whose sets and dictionaries of texts have another order."""
    command = [sys.executable, "-m", "tests.reliability.simulation", "--seed", "1", "--seeds", "6", "--trace"]
    told = [
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "77")
    ]

    assert told[0] == told[1]
    assert told[0].count(b"\n") > 200


def test_seeds_are_played_on_their_own() -> None:
    """What was played before leaves nothing behind."""
    first = play(3, traced=True).trace
    play(4)

    assert play(3, traced=True).trace == first


# ── what it sees for itself ──────────────────────────────────────────────────────────────


def sees(text: str, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, wrong: Any) -> bool:
    """Whether a violation that says this is found by few seeds with something put in the place of a part."""
    monkeypatch.setattr(owner, name, wrong)
    return any(text in violation.seen for seed in range(1, 9) for violation in play(seed).violations)


def test_an_entry_that_becomes_another_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is still there, and what was shown of it is not."""
    apply = Disk.apply

    def forging(self: Disk, works: Any) -> None:
        apply(self, works)
        if self.transactions == 30:
            entries = next(entries for entries in self.entries.values() if len(entries) > 1)
            entries[1] = entries[1].replace(b"tag", b"tug")

    assert sees("entry 1 was shown as durable", monkeypatch, Disk, "apply", forging)


def test_a_store_that_fails_of_itself_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A life may only end so if the plan has a fault for it."""
    write = Store._write

    def failing(self: Store, works: Any) -> bool:
        if self._transactions == 5:
            raise StorageFailed("for no reason")
        return write(self, works)

    assert sees("no fault was planned", monkeypatch, Store, "_write", failing)


def test_an_entry_that_is_written_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the disk that the second is refused."""
    apply = Disk.apply

    def repeating(self: Disk, works: Any) -> None:
        apply(self, works)
        if self.transactions > 20 and any(batch.appends for batch, *_ in works):
            apply(self, works)

    assert sees("it was written twice", monkeypatch, Disk, "apply", repeating)


@pytest.mark.parametrize("name", ["emit", "settle"])
def test_a_mistake_that_a_client_is_given_is_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What an App may refuse is known; all else is its own mistake."""

    async def mistaken(self: Process, *_: Any) -> None:
        raise AttributeError("no such part")

    assert sees("no such part", monkeypatch, Process, name, mistaken)


def test_a_result_that_the_disk_does_not_have_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is an exception."""

    async def failed(self: Handle[Any]) -> None:
        raise RuntimeError("it failed, or so")

    assert sees("it failed, or so", monkeypatch, Handle, "result", failed)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(334, id="its run was paused"),
        pytest.param(1_106, id="the entry that asks for it was long on its way to the disk"),
        pytest.param(1_730, id="its history was taken over when it was due already"),
    ],
)
def test_a_timer_may_be_late_for_a_reason(seed: int) -> None:
    """Its time counts from when it could fire."""
    played = play(seed)
    late = max(
        outcome.event.time - asked.command.at
        for told in Case(played.evidence).runs.values()
        for asked in told.asked.values()
        if isinstance(asked.command, Wake)
        for outcome in told.outcomes.get(asked.command.id, ())
        if outcome.seq > told.shared
    )

    assert played.evidence.clocks_agree
    assert late > (played.evidence.timer_bound_seconds or late)
    assert played.violations == []


def test_a_timer_may_fire_before_its_process_is_ready() -> None:
    """And the process may end before it ever is: until then nobody was there."""
    assert play(5_424).violations == []


def test_where_clocks_are_set_no_timer_is_late() -> None:
    """It says nothing then how late one is by its own clock."""
    strict = replace(play(231).evidence, timer_bound_seconds=-1.0)

    assert {violation.invariant for violation in check(strict)} == {"I6"}
    assert check(replace(strict, clocks_agree=False)) == []


# ── the loop ─────────────────────────────────────────────────────────────────────────────


def ran(work: Any, loop: Loop | None = None) -> Any:
    """Run a coroutine on a simulated loop."""
    loop = loop or Loop(Random(1), 0.0)
    task = loop.create_task(work)
    loop.run(task.done)
    return task.result()


def test_what_is_ready_first_runs_first() -> None:
    """As asyncio promises, whatever the seed is."""

    async def order() -> list[int]:
        seen: list[int] = []
        for number in range(20):
            asyncio.get_running_loop().call_soon(seen.append, number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return seen

    assert ran(order()) == list(range(20))


def test_time_jumps_to_the_next_timer() -> None:
    """A day costs nothing, and nothing is early."""
    loop = Loop(Random(1), 0.0)

    async def sleep() -> float:
        async with asyncio.timeout(100_000):
            await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    began = time.monotonic()

    assert 86_400 <= ran(sleep(), loop) < 86_401
    assert time.monotonic() - began < 1


def test_timers_of_the_same_time_come_in_any_order() -> None:
    """Which order is the seed's to choose."""

    async def order() -> tuple[int, ...]:
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(4):
            loop.call_at(5.0, seen.append, number)
        await asyncio.sleep(6)
        return tuple(seen)

    orders = {ran(order(), Loop(Random(seed), 0.0)) for seed in range(20)}

    assert len(orders) > 5
    assert ran(order()) == ran(order())


def test_who_waits_for_nothing_is_found_out() -> None:
    """A hang is not waited for."""

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Idle):
        ran(hang())


def test_a_crash_runs_nothing_more() -> None:
    """No clean-up of a coroutine gets anything done."""
    done: list[str] = []
    loop = Loop(Random(1), 0.0)

    async def work() -> None:
        try:
            loop.call_soon(loop.crash)
            await asyncio.sleep(1)
        finally:
            loop.call_soon(done.append, "after")

    with pytest.raises(Crash):
        ran(work(), loop)
    loop.kill()

    assert done == []
