"""The words of the fault programme: a layer is given a budget, plays faults, and answers a record."""

from __future__ import annotations

import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from tests.reliability.evidence import Violation

INTERRUPTED: Final = threading.Event()
"""Set once somebody wants the whole programme to end."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a layer may spend: whichever ends first, `cases` or the `deadline` (of `time.monotonic`).

    `scale` is 1.0 for the sizes of CI and larger for those of the night; `seed` is the first seed. At least one
    case is played whatever the deadline says. `folder` is empty, on a real disk, and thrown away afterwards.
    """

    folder: Path
    seed: int = 1
    scale: float = 1.0
    deadline: float = float("inf")

    def cases(self, ci: int) -> int:
        """Return how many cases to play where CI plays `ci`."""
        return max(1, round(ci * self.scale))

    def share(self, part: float) -> Budget:
        """Return a budget that is over after this part of the time that is left."""
        now = time.monotonic()
        return replace(self, deadline=now + max(0.0, self.deadline - now) * part)

    def over(self) -> bool:
        """Whether time is up, or somebody wants this to end."""
        return INTERRUPTED.is_set() or time.monotonic() >= self.deadline


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """A seeded bug, or a setting known to be weak, and whether the layer noticed it.

    `cases` is how many cases (seeds, kills, power cuts) it took to notice, None if it was not noticed within the
    budget; `by` are the invariants that it violated. `broken_off_after` is how many cases there were in vain when the
    time was over, of a hunt that would have gone on: it has noticed nothing, and says nothing.
    """

    bug: str
    cases: int | None
    by: tuple[str, ...] = ()
    seconds: float = 0.0
    broken_off_after: int | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a layer did and found.

    `counts` are numbers to print: faults of each kind, runs, entries, states, examples. `failing` names the cases
    (seeds) that violated something, so that each can be played again. `not_played` says what this machine
    could not do, and why.
    """

    layer: str
    cases: int
    seconds: float
    counts: Mapping[str, int] = {}
    violations: tuple[Violation, ...] = ()
    failing: tuple[str, ...] = ()
    caught: tuple[Caught, ...] = ()
    figures: Mapping[str, str] = {}
    not_played: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of the programme; `nightly` is the scale that the reliability notes ask for at night.

    `controls` are the seeded bugs that its record has to have in `caught`.
    """

    name: str
    title: str
    play: Callable[[Budget], Record]
    nightly: float
    controls: tuple[str, ...] = ()


def fewer(what: str, played: int, wanted: int) -> list[str]:
    """Say of a part of a layer that it had less than it should, if it did."""
    return [f"{what}: only {played:,} of {wanted:,}, for want of time"] if played < wanted else []


def broken(what: str, error: BaseException) -> Violation:
    """Return what is to be said of a play that did not get to its end."""
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return Violation("played", "", f"{what} broke off: {' | '.join(line.strip() for line in lines[-6:])}")


@contextmanager
def at_once(most: int) -> Iterator[ThreadPoolExecutor]:
    """Play cases beside each other; what has not begun is left out if this is interrupted."""
    pool = ThreadPoolExecutor(most)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: syncing many small states is what would take the time."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="faults-", dir=place if place.is_dir() else None) as folder:
        yield Path(folder)
