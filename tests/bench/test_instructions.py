"""A step takes no more instructions than it did: counted, so that a busy machine changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from bench.instructions import GROWTH_MAX, MODES, count, grown, recorded
from tests.servers.plugin import start_or_tell

BURNT = 480  # makes a step of a workflow in Python take about 15 % more


@dataclass(frozen=True)
class Counted:
    """What was recorded, what is counted now, and what with a step that does more than it should."""

    then: Mapping[str, float]
    now: Mapping[str, float]
    slower: float


@contextmanager
def _counted() -> Iterator[Counted]:
    then = recorded()
    with ThreadPoolExecutor(2) as pool:
        now = {mode: pool.submit(count, mode) for mode in MODES}
        slower = pool.submit(count, "code", BURNT)
        yield Counted(then, {mode: found.result() for mode, found in now.items()}, slower.result())


@pytest.fixture(scope="module")
def counted(request: pytest.FixtureRequest) -> Iterator[Counted]:
    """Count once for all tests of this file."""
    yield from start_or_tell(request, "instructions of a step", _counted())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_step_takes_hardly_more_instructions_than_recorded(counted: Counted, mode: str) -> None:
    """At most `GROWTH_MAX` more; otherwise the message says what to do."""
    assert grown(counted.then[mode], counted.now[mode]) is None


@pytest.mark.slow
def test_a_step_that_takes_a_seventh_more_is_found(counted: Counted) -> None:
    """The control: a step that really does more, counted in the same way."""
    growth = counted.slower / counted.now["code"] - 1
    told = grown(counted.now["code"], counted.slower)

    assert 0.11 < growth < 0.20
    assert told is not None
    assert "--record" in told


def test_growth_is_told_from_its_bound_on() -> None:
    """Shrinking is never wrong."""
    assert grown(1000.0, 1000.0 * (1 + GROWTH_MAX)) is None
    assert grown(1000.0, 500.0) is None
    assert grown(1000.0, 1101.0) is not None
