"""What `make bench` measures, in which sizes and in which order.

Every round measures each work with every system in turn, so that all see the same machine. `CORE` works come in all rounds;
the others in the first, and again only if time is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.environments import COMPARED, SYSTEMS

SIZES: Final[Mapping[str, Sequence[int]]] = {
    "latency": (300,),
    "in-flight": (500, 50, 5000),
    "payload": (1000, 10_000, 100_000),
    "fan-out": (10_000,),
    "signals": (5000,),
    "restart": (10_000, 100_000),
    "waiting": (100_000,),
    "waiting-event": (100_000,),
    "long-run": (1_000_000,),
    "replay": (100_000,),
    "footprint": (1,),
    "store": (12,),
    "expressions": (5,),
    "resume": (1_000_000,),
}
"""Those that the issue asks for; what a system cannot do in its time it does with fewer, and says so."""

QUICK: Final[Mapping[str, Sequence[int]]] = {
    "latency": (20,),
    "in-flight": (50, 100),
    "payload": (1000,),
    "fan-out": (200,),
    "signals": (100,),
    "restart": (200,),
    "waiting": (500,),
    "waiting-event": (500,),
    "long-run": (500,),
    "replay": (1000,),
    "footprint": (1,),
    "store": (12,),
    "expressions": (1,),
    "resume": (1000,),
}
"""To see that all of it works."""

CORE: Final = COMPARED
SECONDS_MIN: Final = 4.0
SECONDS_MAX: Final = 60.0
QUICK_SECONDS: Final = 5.0
FIRST_PART: Final = 0.5
"""Measurements of the first round and of all core works get this part of the time; starting systems takes about as much again."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One work of one system in one mode and size."""

    system: str
    mode: str
    work: str
    size: int
    round: int

    def __str__(self) -> str:
        return f"round {self.round}: {self.work} {self.size:,}, {self.system} {self.mode}"


def planned(systems: Sequence[str], works: Sequence[str], rounds: int, quick: bool) -> list[Measurement]:
    """Return all measurements in their order."""
    core = [work for work in works if work in CORE]
    rest = [work for work in works if work not in CORE]
    order = [(1, core), (1, rest), *((number, core) for number in range(2, rounds + 1))]
    order += [(number, rest) for number in range(2, rounds + 1)]
    return [one for number, some in order for one in _round(systems, some, number, quick)]


def _round(systems: Sequence[str], works: Sequence[str], number: int, quick: bool) -> Iterator[Measurement]:
    for work in works:
        for size in (QUICK if quick else SIZES)[work]:
            for system in systems:
                for mode, done in SYSTEMS[system].modes.items():
                    if work in done and not (
                        tuple(done) == tuple(COMPARED) and size not in _first(work, quick)
                    ):
                        yield Measurement(system, mode, work, size, number)


def _first(work: str, quick: bool) -> Sequence[int]:
    """Return the size in which modes are compared that only have to show that they are no better than another."""
    return (QUICK if quick else SIZES)[work][:1]


def seconds_each(measurements: Sequence[Measurement], minutes: float, quick: bool) -> float:
    """Return about how long one measurement may take."""
    if quick:
        return QUICK_SECONDS
    first = sum(one.round == measurements[0].round or one.work in CORE for one in measurements)
    return min(SECONDS_MAX, max(SECONDS_MIN, minutes * 60 * FIRST_PART / max(1, first)))
