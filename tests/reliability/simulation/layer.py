"""The layer L2 of the fault programme: seeds in several processes, and how many of them each bug of the zoo takes."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from math import inf
from multiprocessing import get_context
from typing import Final

import msgspec

from tests.reliability.evidence import Violation
from tests.reliability.programme import Budget, Caught, Layer, Record
from tests.reliability.simulation.play import Played, let_go, play
from tests.reliability.zoo import BUGS, CAUGHT_BY, nothing

SEEDS: Final = 1_000
"""How many seeds CI plays; fewer if its time is over before."""

SEEDS_OF_BUGS: Final = 150
"""How many seeds a bug is given in CI."""

RARE: Final[Mapping[str, int]] = {
    "an event in two transactions": 450,
    "events not held back": 450,
    "who asks as the store fails is not told": 500,
    "what newer entries ask for done early": 5_000,
    "a run that is read while it begins": 10_000,
}
"""Bugs that one seed of so many shows, about: too few for CI, where each has a test of its own. The long play hunts them."""

_CHUNK: Final = 50
_FAILING_KEPT: Final = 50
_BUG_SECONDS: Final = 60.0
_SHARE_OF_BUGS: Final = 2 / 3


class Chunk(msgspec.Struct, frozen=True):
    """What some seeds gave."""

    seeds: int
    counts: dict[str, int]
    violations: tuple[Violation, ...]
    failing: tuple[str, ...]


def played(seed: int, bug: str | None = None, *, traced: bool = False) -> Played:
    """Play a seed, with a bug if one is named; the engine's own failure is a violation too."""
    with BUGS[bug]() if bug is not None else nullcontext():
        return play(seed, traced=traced)


def play_chunk(first: int, count: int, deadline: float, control: bool) -> Chunk:
    """Play seeds in a row, until the deadline (of `time.monotonic`); `control` is how bugs are played, without one."""
    gc.disable()
    counts: Counter[str] = Counter()
    violations: list[Violation] = []
    failing: list[str] = []
    done = 0
    for seed in range(first, first + count):
        if time.monotonic() >= deadline:
            break
        with nothing() if control else nullcontext():
            outcome = played(seed)
        done += 1
        counts["seeds with nothing in place of a bug"] += control
        counts.update(outcome.counts)
        if outcome.violations:
            failing.append(f"seed {seed}")
            violations += outcome.violations
    let_go()
    return Chunk(done, dict(counts), tuple(violations), tuple(failing))


def hunt(bug: str, first: int, count: int, deadline: float) -> Caught:
    """Play seeds until a bug shows itself, by an invariant that it breaks."""
    gc.disable()
    began = time.monotonic()
    broken_off_after = None
    for cases, seed in enumerate(range(first, first + count), 1):
        if cases > 1 and time.monotonic() >= deadline:
            broken_off_after = cases - 1
            break
        by = {violation.invariant for violation in played(seed, bug).violations} & CAUGHT_BY[bug]
        if by:
            let_go()
            return Caught(
                bug=bug, cases=cases, by=tuple(sorted(by)), seconds=round(time.monotonic() - began, 2)
            )
    let_go()
    return Caught(
        bug=bug,
        cases=None,
        seconds=round(time.monotonic() - began, 2),
        broken_off_after=broken_off_after,
    )


def play_layer(budget: Budget) -> Record:
    """Play the layer: first the zoo, then seeds for as long as there is time."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    violations: list[Violation] = []
    failing: list[str] = []
    seeds = 0
    with ProcessPoolExecutor(_processes(), mp_context=get_context("spawn")) as pool:
        each = budget.cases(SEEDS_OF_BUGS)
        until = began + min((budget.deadline - began) * _SHARE_OF_BUGS, _BUG_SECONDS * max(1.0, budget.scale))
        hunted = [bug for bug in BUGS if RARE.get(bug, 0) < each]
        hunts = [pool.submit(hunt, bug, budget.seed, each, until) for bug in hunted]
        caught = tuple(found.result() for found in hunts)
        for chunk in pool.map(play_chunk, *zip(*chunks(budget), strict=True)):
            seeds += chunk.seeds
            counts.update(chunk.counts)
            violations += chunk.violations
            failing += chunk.failing
    if violations:
        counts["violations"] = len(violations)  # of which the record keeps the first
    seconds = time.monotonic() - began
    return Record(
        layer=LAYER.name,
        cases=seeds,
        seconds=round(seconds, 1),
        counts=dict(sorted(counts.items())),
        violations=tuple(violations[:_FAILING_KEPT]),
        failing=tuple(failing[:_FAILING_KEPT]),
        caught=caught,
        figures=_figures(counts, seeds, seconds),
    )


def chunks(budget: Budget) -> Iterator[tuple[int, int, float, bool]]:
    """Yield what `play_chunk` takes; the first seeds, as many as CI gives each bug, are the controls, the rest is plain.

    Those of CI are played to the end, as there is nothing to say without them.
    """
    cases = budget.cases(SEEDS)
    for first in range(0, cases, _CHUNK):
        control = first < SEEDS_OF_BUGS
        yield budget.seed + first, min(_CHUNK, cases - first), inf if control else budget.deadline, control


def _figures(counts: Counter[str], seeds: int, seconds: float) -> dict[str, str]:
    kinds = {name.partition(": ")[0] for name in counts}
    covered = {
        kind: ", ".join(sorted(name.partition(": ")[2] for name in counts if name.startswith(f"{kind}: ")))
        for kind in sorted(kinds)
    }
    return {
        "seeds in a second": f"{seeds / max(seconds, 0.001):.0f}",
        **{f"{kind} covered": names for kind, names in covered.items() if names},
    }


def _processes() -> int:
    return max(1, len(os.sched_getaffinity(0)))


LAYER: Final = Layer("L2", "deterministic simulation of the engine", play_layer, 500.0, tuple(BUGS))
