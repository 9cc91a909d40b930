"""What a seed stands for: which faults, which limits, which work. Each seed leaves some kinds of each out.

Limits are made so small that short runs meet them: how many runs are kept in memory, how often snapshots are taken,
how much is read or done at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tenuto.language import fold
from tenuto.runtime import feeding, jobs, memory, snapshots
from tests.reliability.simulation.disk import FAULTS, Fault
from tests.reliability.simulation.flows import Growing, Tree

Ending = str  # of a life: one of FAULTS, "kill", "kill at", "close"

_TARGETS: Final = (
    "started emit", "started run", "started step", "started call", "started wait", "started listen",
    "started signal", "started undo", "completed step", "completed undo", "completed run", "completed wait",
    "completed emit", "faulted step", "faulted run", "retried", "cancelled", "continued", "stuck", "progressed",
    "Answered", "Failed", "Arrived", "CancelRequested", "Suspended", "Resumed", "Started", "Restarted",
)  # fmt: skip

_VERBS: Final = (
    "signal", "event", "emit", "child", "document", "race", "each", "each-left", "raise", "trusted", "swallow", "sleep"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Life:
    """One life of the process: how it ends, after how much of what, and when its clock is set.

    `target` names what an entry says after which it is killed: `started emit`, `Failed`, `continued`, the `after`th
    time. `intruder` is after how many seconds somebody tries to start a second process on its database.
    """

    ending: Ending | None
    after: int
    jumps: tuple[tuple[float, float], ...]
    faults: dict[int, Fault]
    intruder: float | None
    target: str | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client does after a while."""

    after_seconds: float
    verb: str
    run: str | None
    value: Any = None


class Plan:
    """Everything that a seed decides beforehand."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        chance = self.chance("plan")
        self.trouble: float = chance.choice([0.0, 0.05, 0.3])
        self.fsync_seconds: float = chance.choice([0.0005, 0.004, 0.004, 0.2])
        self.world_seconds: float = chance.choice([0.0001, 0.02, 0.02, 1.0])
        self.hot_runs: int = chance.choice([1, 3, 10_000])
        self.queue_bytes_max: int = chance.choice([200, 4_000, 1 << 30])
        self.entries_at_once: int = chance.choice([3, 1_000])
        self.page: int = chance.choice([3, 5_000])
        self.recovery_chunk: int = chance.choice([1, 2, 500])
        self.actions_at_once: int = chance.choice([1, 2, 1_000])
        self.heard_per_turn: int = chance.choice([1, 1_000])
        self.entries_per_snapshot: int = chance.choice([1, 3, 200])
        self.steps_per_event: int = chance.choice([3, 1_000])
        self.guarded = chance.random() < 0.05
        self.checked_at_crashes = chance.random() < 0.1
        self.documents: tuple[int, ...] = (
            tuple(sorted(chance.sample(range(512), chance.randint(1, 3)))) if chance.random() < 0.6 else ()
        )
        clocks = chance.random() < 0.25
        self.lives = [self._life(chance, clocks) for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 5]))]
        self.lives.append(
            Life(None, 0, self._jumps(chance) if clocks else (), {}, self._intruder(chance), None)
        )
        self.clients = self._clients(chance)

    def chance(self, name: str) -> Random:
        """Return a source of chance of its own for a part of the simulation."""
        return Random(f"{self.seed}/{name}")

    def _life(self, chance: Random, clocks: bool) -> Life:
        ending: Any = chance.choice(
            [*FAULTS, "kill", "kill", "kill", "kill at", "kill at", "kill at", "close"]
        )
        after = 10 ** chance.uniform(0, {"kill": 3.5, "close": 3.5, "kill at": 0.8}.get(ending, 2))
        target = chance.choice(_TARGETS) if ending == "kill at" else None
        faults = {int(after): ending} if ending in FAULTS else {}
        jumps = self._jumps(chance) if clocks else ()
        return Life(ending, int(after), jumps, faults, self._intruder(chance), target)

    def _intruder(self, chance: Random) -> float | None:
        return chance.random() * 5 if chance.random() < 0.04 else None

    def _jumps(self, chance: Random) -> tuple[tuple[float, float], ...]:
        """Return when the clock is set, in seconds from the beginning, and by how much it is wrong then."""
        return tuple(
            (chance.random() * 30, chance.choice([-4_000, -60, -1, 0, 1, 60, 4_000]) * chance.random())
            for _ in range(chance.randint(0, 3))
        )

    # ── the work ──────────────────────────────────────────────────────────────────────

    def _clients(self, chance: Random) -> list[list[Wish]]:
        forbidden = frozenset(verb for verb in _VERBS if chance.random() < 0.3)
        names = tuple(f"d{number}" for number in self.documents)
        growing = Growing(chance, forbidden, names)
        quick = chance.choice([0.05, 1.0, 5.0])
        pauses = chance.random() < 0.5
        cancels = chance.random() < 0.5
        numbers = iter(range(1, 100))
        clients: list[list[Wish]] = []
        for _ in range(chance.randint(1, 3)):
            wishes: list[Wish] = []
            for _ in range(chance.randint(1, 3)):
                number = next(numbers)
                run = f"r{number}" if chance.random() < 0.8 else None
                wishes.append(
                    Wish(chance.random() * quick, "start", run, self._work(chance, growing, number))
                )
            clients.append(wishes)
        known = [wish.run for wishes in clients for wish in wishes if wish.run is not None] or ["r1"]
        for wishes in clients:
            for _ in range(chance.randint(0, 8)):
                verb = self._verb(chance, pauses=pauses, cancels=cancels)
                wish = Wish(chance.random() * quick, verb, chance.choice(known), chance.randint(0, 1))
                wishes.insert(chance.randint(1, len(wishes)), wish)
                if verb == "suspend" and chance.random() < 0.7:
                    wishes.append(Wish(chance.random() * quick, "resume", wish.run))
        return clients

    def _verb(self, chance: Random, *, pauses: bool, cancels: bool) -> str:
        while True:
            verb = chance.choice(
                [
                    "signal",
                    "signal",
                    "signal",
                    "emit",
                    "emit",
                    "cancel",
                    "suspend",
                    "resume",
                    "query",
                    "result",
                    "retry",
                ]
            )
            if (pauses or verb not in ("suspend", "resume")) and (cancels or verb != "cancel"):
                return verb

    def _work(self, chance: Random, growing: Growing, number: int) -> tuple[str, Tree, int]:
        """Return what is started: a document with an input, or a tree and how often it is carried out again."""
        if self.documents and chance.random() < 0.5:
            return f"d{chance.choice(self.documents)}", number, 0
        return "flow", growing.tree(chance.randint(1, 12)), chance.choice([0, 0, 0, 1, 3])

    @contextmanager
    def limits(self) -> Iterator[None]:
        """Make the limits as small as the plan says."""
        wanted: list[tuple[Any, str, int]] = [
            (snapshots, "ENTRIES_PER_SNAPSHOT", self.entries_per_snapshot),
            (memory, "ENTRIES_AT_ONCE", self.entries_at_once),
            (memory, "PAGE", self.page),
            (memory, "RECOVERY_CHUNK", self.recovery_chunk),
            (jobs, "ACTIONS_AT_ONCE", self.actions_at_once),
            (feeding, "HEARD_PER_TURN", self.heard_per_turn),
            (fold, "STEPS_PER_EVENT", self.steps_per_event),
        ]
        before = [(module, name, getattr(module, name)) for module, name, _ in wanted]
        try:
            for module, name, value in wanted:
                setattr(module, name, value)
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)
