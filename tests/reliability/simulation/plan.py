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
from tests.reliability.simulation.flows import THEMES, Growing, Tree

Ending = str  # of a life: one of FAULTS, "kill", "kill at", "close"

_ASKED: Final = (
    "signal", "signal", "signal", "emit", "emit", "cancel", "suspend", "resume", "query", "result", "retry", "settle"
)  # fmt: skip

ANYBODY: Final = "*"
"""In place of a run's id: any run that is there by then, children too."""

_TARGETS: Final = (
    "started emit", "started run", "started step", "started call", "started wait", "started listen",
    "started signal", "started undo", "completed step", "completed undo", "completed run", "completed wait",
    "completed emit", "faulted step", "faulted run", "retried", "cancelled", "continued", "stuck", "progressed",
    "Answered", "Failed", "Arrived", "CancelRequested", "Suspended", "Resumed", "Started", "Restarted",
)  # fmt: skip

_OF_THEMES: Final = {
    "messages": (
        "started emit",
        "completed emit",
        "Arrived",
        "started signal",
        "started listen",
    ),
    "families": (
        "started run",
        "completed run",
        "faulted run",
        "CancelRequested",
        "Started",
    ),
    "time": ("started wait", "retried", "completed wait"),
    "undo": ("started undo", "completed undo", "completed step", "Failed"),
    "deployments": ("stuck", "Suspended", "Resumed", "completed step", "started run"),
    "crowds": ("completed step", "Failed", "retried"),
}

_VERBS: Final = (
    "signal", "event", "emit", "child", "document", "race", "each", "each-left", "raise", "trusted", "swallow", "sleep"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Life:
    """One life of the process: how it ends, after how much of what, and when its clock is set.

    `target` names what an entry says after which it is killed: `started emit`, `Failed`, `continued`, the `after`th
    time. `broken` is the code of workflows that were deployed with it. `intruder` is after how many seconds somebody tries to start a second process on its database.
    """

    ending: Ending | None
    after: int
    jumps: tuple[tuple[float, float], ...]
    faults: dict[int, Fault]
    intruder: float | None
    target: str | None
    broken: bool


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
        self.theme: str | None = chance.choice([None, None, None, *THEMES])
        self.trouble: float = chance.choice([0.0, 0.05, 0.3])
        self.fsync_seconds: float = chance.choice([0.0005, 0.004, 0.004, 0.2])
        self.world_seconds: float = chance.choice([0.0001, 0.02, 0.02, 1.0])
        if self.theme == "crowds":
            self.world_seconds = max(self.world_seconds, 0.02)  # so that they are crowds
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
            Life(None, 0, self._jumps(chance) if clocks else (), {}, self._intruder(chance), None, False)
        )
        self.clients = self._clients(chance)

    def chance(self, name: str) -> Random:
        """Return a source of chance of its own for a part of the simulation."""
        return Random(f"{self.seed}/{name}")

    def _life(self, chance: Random, clocks: bool) -> Life:
        ending: Any = chance.choice([*FAULTS, *["kill"] * 3, *["kill at"] * 4, "close"])
        if self.theme == "crowds" and chance.random() < 0.5:
            ending = "close"  # which is when those who wait for their turn must not get it
        after = 10 ** chance.uniform(0, {"kill": 3.5, "close": 3.5, "kill at": 0.8}.get(ending, 2))
        target = chance.choice(_TARGETS) if ending == "kill at" else None
        if target is not None and self.theme is not None and chance.random() < 0.7:
            target = chance.choice(_OF_THEMES[self.theme])
        faults = {int(after): ending} if ending in FAULTS else {}
        jumps = self._jumps(chance) if clocks else ()
        broken = self.theme == "deployments" and chance.random() < 0.5
        return Life(ending, int(after), jumps, faults, self._intruder(chance), target, broken)

    def _intruder(self, chance: Random) -> float | None:
        return chance.random() * 5 if chance.random() < 0.04 else None

    def _jumps(self, chance: Random) -> tuple[tuple[float, float], ...]:
        """Return when the clock is set, in seconds from the beginning, and by how much it is wrong then."""
        return tuple(
            (
                chance.random() * 30,
                chance.choice([-4_000, -60, -1, 0, 1, 60, 4_000]) * chance.random(),
            )
            for _ in range(chance.randint(0, 3))
        )

    # ── the work ──────────────────────────────────────────────────────────────────────

    def _clients(self, chance: Random) -> list[list[Wish]]:
        forbidden = frozenset(verb for verb in _VERBS if chance.random() < 0.3)
        names = tuple(f"d{number}" for number in self.documents)
        growing = Growing(chance, self.theme, forbidden, names)
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
                    Wish(
                        chance.random() * quick,
                        "start",
                        run,
                        self._work(chance, growing, number),
                    )
                )
            clients.append(wishes)
        starts = [wish for wishes in clients for wish in wishes if wish.run is not None]
        known = [wish.run for wish in starts] or ["r1"]
        messages = 20 if self.theme == "messages" else 8
        for wishes in clients:
            for _ in range(chance.randint(0, messages)):
                verb = self._verb(chance, pauses=pauses, cancels=cancels)
                run = chance.choice(known) if chance.random() < 0.8 else ANYBODY
                wish = Wish(chance.random() * quick, verb, run, chance.randint(0, 1))
                wishes.insert(chance.randint(1, len(wishes)), wish)
                if verb == "suspend" and chance.random() < 0.7:
                    wishes.append(Wish(chance.random() * quick, "resume", wish.run))
            if starts and chance.random() < 0.3:
                wishes.append(self._started_again(chance, chance.choice(starts), quick))
        return clients

    def _started_again(self, chance: Random, start: Wish, quick: float) -> Wish:
        """Return another start of the same id: the same, or another that has to be refused."""
        given = start.value["input"]
        if chance.random() < 0.3:
            given = {**given, "tag": given["tag"] + " again"}
        return Wish(chance.random() * quick, "start", start.run, {**start.value, "input": given})

    def _verb(self, chance: Random, *, pauses: bool, cancels: bool) -> str:
        more = ("signal", "signal", "signal", "emit") if self.theme == "messages" else ()
        while True:
            verb: str = chance.choice((*_ASKED, *more))
            if (pauses or verb not in ("suspend", "resume")) and (cancels or verb != "cancel"):
                return verb

    def _work(self, chance: Random, growing: Growing, number: int) -> dict[str, Any]:
        """Return what is started, and its input: `tag` is of this start alone."""
        tag = f"start {number}"
        if self.documents and chance.random() < 0.5:
            return {
                "workflow": f"d{chance.choice(self.documents)}",
                "input": {"tag": tag, "n": number},
            }
        tree: Tree = growing.tree(chance.randint(1, 12))
        return {
            "workflow": "flow",
            "input": {
                "tree": tree,
                "rounds": chance.choice([0, 0, 0, 1, 3]),
                "tag": tag,
            },
        }

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
