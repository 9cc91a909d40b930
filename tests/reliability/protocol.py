"""L0: all states of the protocol's model, its seeded mistakes, and ways through it on the real worker.

`python -m tests.reliability.protocol` prints the shortest way to where each mistake breaks a law.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

from tenuto.runtime.worker import Worker
from tests.reliability.evidence import Violation
from tests.reliability.model.exploring import Explored, explore
from tests.reliability.model.protocol import NIGHTLY, SCENARIOS, SEEDED, Protocol, Scenario
from tests.reliability.model.walking import Walks
from tests.reliability.programme import Budget, Caught, Layer, Record
from tests.reliability.zoo import BUGS

WALKS: Final = 100
"""How many ways through each scenario CI plays."""

BOUND: Final = "not as the model"
"""What is violated where the worker does something else than the model."""


def explored(name: str, mistake: str = "", faults: int = 2) -> Explored:
    """Explore a scenario by its name."""
    return explore(Protocol(_scenario(name), faults, mistake))


def _scenario(name: str) -> Scenario:
    (scenario,) = (each for each in (*SCENARIOS, *NIGHTLY) if each.name == name)
    return scenario


MISTAKEN: Final[dict[str, tuple[str, Callable[[], AbstractContextManager[Any]]]]] = {
    "acknowledged before it is durable": (
        "steps",
        lambda: mock.patch.object(Worker, "_flushed", mock.AsyncMock()),
    ),
    "begun although it is not wanted": (
        "steps with a pause",
        lambda: mock.patch("tenuto.runtime.acting.wanted", return_value=True),
    ),
    "a gap in seq": ("steps with a pause", BUGS["a gap in seq"]),
    "another key after a restart": ("steps", BUGS["another key after a restart"]),
    "answers taken twice": ("steps", BUGS["answers taken twice"]),
    "a pause that does not pause": ("waits", BUGS["a pause that does not pause"]),
    "timers forgotten on restart": ("waits", BUGS["timers forgotten on restart"]),
    "a child ends in its own transaction": ("family", BUGS["a child ends in its own transaction"]),
    "a cancellation that is not durable": ("family", BUGS["a cancellation that is not durable"]),
}
"""Mistakes of the real worker that make it another than the model: the scenario that shows each, and what makes it."""


# ── the layer ─────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Explore everything with two faults, at night more of it with three; then every seeded mistake; then walk."""
    began = time.monotonic()
    by_night = budget.scale > 1
    counts: dict[str, int] = {}
    violations: list[Violation] = []
    not_played: list[str] = []
    scenarios = [(each, 2) for each in SCENARIOS]
    if by_night:
        scenarios += [(each, 3) for each in SCENARIOS] + [(each, 2) for each in NIGHTLY]
    for scenario, faults in scenarios:
        name = f"{scenario.name}, {faults} faults"
        if counts and budget.over():
            not_played.append(f"all states of {name}: no time left")
            continue
        seen = explore(Protocol(scenario, faults))
        counts[f"states of {name}"] = seen.states
        counts["states"] = counts.get("states", 0) + seen.states
        counts["moves"] = counts.get("moves", 0) + seen.moves
        if seen.found is not None:
            violations.append(Violation(seen.found.invariant, name, str(seen.found)))
    walked = [_walk(each, budget, counts) for each in (*SCENARIOS, *(NIGHTLY if by_night else ()))]
    violations += [violation for each in walked for violation in each]
    caught = [_caught(mistake, name) for mistake, name in SEEDED.items()]
    caught += [_caught_walking(mistake, budget.seed) for mistake in MISTAKEN]
    return Record(
        layer=LAYER.name,
        cases=counts["states"],
        seconds=time.monotonic() - began,
        counts=counts,
        violations=tuple(violations),
        failing=tuple(violation.run for violation in violations),
        caught=tuple(caught),
        not_played=tuple(not_played),
    )


def _walk(scenario: Scenario, budget: Budget, counts: dict[str, int]) -> list[Violation]:
    """Play ways through a scenario on the real worker."""
    walks = Walks(scenario, budget.seed)
    violations = []
    for number in range(budget.cases(WALKS)):
        if number and budget.over():
            break
        seed = walks.seed
        walk = walks.play()
        counts["walks"] = counts.get("walks", 0) + 1
        counts["steps of walks"] = counts.get("steps of walks", 0) + len(walk.steps)
        if walk.differences:
            told = walk.told(Protocol(scenario))
            violations.append(Violation(BOUND, f"{scenario.name}, walk {seed} from {budget.seed}", told))
    return violations


def _caught(mistake: str, name: str) -> Caught:
    """Explore with a mistake; `cases` are the states that it took."""
    began = time.monotonic()
    seen = explored(name, mistake)
    cases, by = (seen.states, (seen.found.invariant,)) if seen.found else (None, ())
    return Caught(bug=mistake, cases=cases, by=by, seconds=time.monotonic() - began)


def _caught_walking(mistake: str, seed: int) -> Caught:
    """Walk with a worker that makes a mistake; `cases` are the walks that it took."""
    began = time.monotonic()
    name, made = MISTAKEN[mistake]
    walks, cases = Walks(_scenario(name), seed), None
    with made():
        for number in range(1, WALKS + 1):
            if walks.play().differences:
                cases = number
                break
    by = (BOUND,) if cases else ()
    return Caught(bug=mistake, cases=cases, by=by, seconds=time.monotonic() - began)


LAYER: Final = Layer(
    "L0", "model of the protocol: all states, and walks through it on the real worker", play, 50.0
)


if __name__ == "__main__":
    for mistake, name in SEEDED.items():
        print(f"{mistake}:\n{explored(name, mistake).found}\n")
