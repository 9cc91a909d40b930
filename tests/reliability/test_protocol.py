"""The protocol's model keeps every law, each seeded mistake breaks one, and the real worker does what the model does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenuto.errors import Conflict
from tests.reliability.model.exploring import DEAD_END, explore
from tests.reliability.model.protocol import SCENARIOS, SEEDED, Protocol
from tests.reliability.model.stand import Stand
from tests.reliability.programme import Budget
from tests.reliability.protocol import BOUND, MISTAKEN, WALKS, play

LAWS = {
    "ack before commit": "I1",
    "act before commit": "I4",
    "no lock": "I5",
    "parent and child in two transactions": "one transaction",
    "fresh key per attempt": "I4",
    "answer recorded without checking that it is open": "I5",
    "restart drops timers": DEAD_END,
    "timer fires early": "I6",
    "commit without fsync": "I1",
    "open without fsync": "I1",
    "go on after the store failed": "I1",
    "refuse before commit": "I7",
    "start a child anew after a restart": "I4",
    "repeat a signal that may have arrived": "I7",
}
"""The law that each mistake breaks first."""


@pytest.mark.slow
def test_the_layer_finds_nothing_wrong_and_every_mistake(tmp_path: Path) -> None:
    """All states of all scenarios. Each seeded mistake breaks the law that it should, not some other by accident."""
    record = play(Budget(tmp_path))
    laws = {each.bug: each.by for each in record.caught}

    assert () == record.violations
    assert {mistake: (law,) for mistake, law in LAWS.items()} == {
        mistake: laws[mistake] for mistake in SEEDED
    }
    assert dict.fromkeys(MISTAKEN, (BOUND,)) == {mistake: laws[mistake] for mistake in MISTAKEN}
    assert record.counts["states"] > 30_000
    assert record.counts["walks"] == len(SCENARIOS) * WALKS


def test_a_model_without_faults_gets_to_its_end() -> None:
    """Control: what the explorer calls a dead end has to do with faults and mistakes only."""
    for scenario in SCENARIOS:
        seen = explore(Protocol(scenario, faults=0))

        assert seen.found is None, str(seen.found)
        assert seen.whole


TO_ITS_LAST_ANSWER = [
    ("open", 0),
    ("start", 0),
    *[("write", 0), ("sync", 0), ("done", 0), ("act", 0, 0, 0, 1), ("answer", 0, 0, 0, 1)],
    *[("write", 0), ("sync", 0), ("done", 0), ("act", 0, 0, 1, 1), ("answer", 0, 0, 1, 1)],
    *[("act", 0, 0, 2, 1), ("answer", 0, 0, 2, 1)],
]


async def test_nobody_is_told_of_an_end_that_a_crash_could_take_back() -> None:
    """A cancel that comes between the last step and the disk is refused once the end is on the disk, not before."""
    stand = Stand(SCENARIOS[0])
    try:
        for what in (*TO_ITS_LAST_ANSWER, ("refuse", 0, "cancel")):
            await stand.do(what)
        early = stand.unanswered()
        for what in (("write", 0), ("sync", 0), ("done", 0)):
            await stand.do(what)
        refused = stand.answer_of("cancel")
        late = stand.unanswered()
    finally:
        await stand.close()

    assert ["cancel"] == early
    assert [] == late
    assert isinstance(refused, Conflict)
