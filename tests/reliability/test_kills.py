"""The layer `kills` at the size of CI: nothing is lost, and what is wrong on purpose is noticed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tenuto.cli.exits import INTERRUPTED
from tenuto.engine.ports import RunRow
from tests.reliability import kills
from tests.reliability.commands import ended_by
from tests.reliability.evidence import Call, Evidence, digest_of
from tests.reliability.house.driver import Client, House, lost
from tests.reliability.house.ledger import Ledger, Trouble
from tests.reliability.house.lives import Life, Nursery, descendants, kill_child
from tests.reliability.kills import LAYER, VISIBLE, Played, catch, recovered
from tests.reliability.programme import Budget

PATIENCE_SECONDS = 30.0


async def test_only_a_process_that_was_alive_was_killed(tmp_path: Path) -> None:
    """One that has closed, or was killed before, does not count again."""
    async with Ledger(tmp_path / "ledger.jsonl") as ledger, House(tmp_path, ledger) as house:
        first = await house.start()
        await house.stop()
        assert not await house.kill()
        assert first.killed is None
        await house.start()
        assert await house.kill()
        assert not await house.kill()


def test_a_dead_child_is_not_killed_again() -> None:
    """Buried or not."""
    child = subprocess.Popen(["sleep", "60"])
    assert kill_child(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not kill_child(child.pid)
    child.wait()
    assert not kill_child(child.pid)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (-signal.SIGKILL, "kills of commands"),
        (-signal.SIGTERM, "commands that were asked to end"),
        (INTERRUPTED, "commands that were asked to end"),
        (0, "commands that ended by themselves"),
    ],
)
def test_only_what_sigkill_ended_is_a_kill_of_a_command(status: int, expected: str) -> None:
    """A command that was over before its signal, or was asked to end, was not killed."""
    assert ended_by(status) == expected


def test_what_is_gone_is_counted_once_each() -> None:
    """An entry that is missing, one that is another now, and a start without a run; not what is there."""
    row = RunRow(
        number=1,
        id="here",
        definition="",
        namespace="default",
        name="chain",
        version="1",
        status="running",
        started=0.0,
        updated=0.0,
    )
    calls = [
        Call(client=1, number=number, what="ok", verb="start", run=run, at=0.0)
        for number, run in enumerate(["here", "gone"])
    ]
    evidence = Evidence(
        calls=calls,
        journals={"here": (row, [(1, b"a"), (2, b"b"), (3, b"c")])},
        acked_entries=frozenset({("here", 1), ("here", 2), ("here", 3), ("here", 4)}),
        acked_digests={("here", 1): digest_of(b"a"), ("here", 2): digest_of(b"other")},
    )

    assert lost(evidence) == ["entry 2 of here", "entry 4 of here", "start of gone"]
    assert lost(Evidence(calls=calls[:1], journals=evidence.journals)) == []


def test_recovery_is_measured_only_where_nothing_disturbs_it() -> None:
    """Of starts that were to be killed, only the quick ones get ready."""

    def life(number: int, ready: float | None) -> Life:
        made = Life(number, lambda entries, now: None, lambda: None)
        made.ready, made.first_entry, made.killed = ready, ready, 10.0 * number
        return made

    lives = [life(1, 1.0), life(2, 10.5), life(3, 20.01)]

    assert recovered(lives, {2}) == ([0.5], [0.5])
    lives[0].killed = None
    assert recovered(lives, {2}) == ([], [])


async def test_a_hunt_for_which_time_is_over_is_neither_noticed_nor_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says after how many kills; one that played all its episodes went unnoticed."""

    async def nothing(*_: object) -> Played:
        return Played(counts=Counter(kills=6))

    monkeypatch.setattr(kills, "_short", nothing)
    with Nursery() as nursery:
        late, _ = await catch(Budget(tmp_path, deadline=0.0), nursery, VISIBLE[0])
        whole, _ = await catch(Budget(tmp_path), nursery, VISIBLE[0])

    assert (late.cases, late.broken_off_after) == (None, 6)
    assert (whole.cases, whole.broken_off_after) == (None, None)


@pytest.mark.slow
def test_the_promise_holds(tmp_path: Path) -> None:
    """No violation, and every control is caught."""
    record = LAYER.play(Budget(tmp_path))

    assert record.violations == (), record.failing
    assert {caught.bug for caught in record.caught if caught.cases} == set(VISIBLE)
    assert record.cases > 0, record.not_played


@pytest.mark.slow
async def test_a_step_that_stands_still_dies_with_its_process(tmp_path: Path) -> None:
    """Else it would go on once it gets a processor again, after its outcome was recorded elsewhere."""
    slow = Trouble(slow=1.0, slow_seconds=0.5)
    async with Ledger(tmp_path / "ledger.jsonl", slow) as ledger, House(tmp_path, ledger) as house:
        life = await house.start()
        await house.call(Client(), "start", "r1", {"workflow": "computing", "input": 1})
        await asyncio.wait_for(ledger.asked.wait(), PATIENCE_SECONDS)
        for pid, told in descendants(life.pid).items():
            if "spawn_main" in told:
                os.kill(pid, signal.SIGSTOP)
        await house.kill()
        await house.start()
        await house.settle()
        await house.stop()

        assert house.violations() == []
