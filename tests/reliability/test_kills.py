"""The layer `kills` at the size of CI: nothing is lost, and what is wrong on purpose is noticed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.reliability.house.driver import Client, House
from tests.reliability.house.ledger import Ledger, Trouble
from tests.reliability.house.lives import descendants
from tests.reliability.kills import LAYER, VISIBLE
from tests.reliability.programme import Budget

PATIENCE_SECONDS = 30.0


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
