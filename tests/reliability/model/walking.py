"""Ways through the model of the protocol, chosen by chance, played against the real worker step by step."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.reliability.model.protocol import Protocol, Scenario, World
from tests.reliability.model.stand import Stand

STEPS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Walk:
    """A way that was played: what happened, and how the worker differed from the model after the last of it."""

    steps: tuple[tuple[Any, ...], ...]
    differences: tuple[str, ...] = ()

    def told(self, protocol: Protocol) -> str:
        """Return the way in words."""
        lines = [f"{number:4}  {protocol.say(step)}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([*lines, *(f"   => {difference}" for difference in self.differences)])


@dataclass(slots=True)
class Walks:
    """Many ways through one scenario; what has seldom happened so far is more likely to be chosen."""

    scenario: Scenario
    seed: int
    faults: int = 2
    happened: Counter[str] = field(default_factory=Counter)

    def play(self) -> Walk:
        """Play the next way, in an event loop of its own."""
        chance = random.Random(f"{self.scenario.name} {self.seed}")
        self.seed += 1
        return asyncio.run(self._play(chance))

    async def _play(self, chance: random.Random) -> Walk:
        protocol = Protocol(self.scenario, self.faults)
        world, steps = protocol.first(), []
        stand = Stand(self.scenario)
        try:
            while moves := list(protocol.moves(world)):
                weights = [self._weight(calm, what[0], len(steps)) for calm, what, _, _ in moves]
                _, what, world, _ = chance.choices(moves, weights)[0]
                steps.append(what)
                self.happened[what[0]] += 1
                try:
                    await stand.do(what)
                    differences = tuple(stand.differences(world))
                except Exception as error:
                    differences = (f"the worker cannot: {error!r}",)
                if differences:
                    return Walk(tuple(steps), differences)
                if protocol.is_goal(world) and self._is_over(world):
                    break
            unanswered = stand.unanswered()
            silent = (f"nobody answers {', '.join(unanswered)}",) if unanswered else ()
            return Walk(tuple(steps), silent)
        finally:
            await stand.close()

    def _weight(self, calm: bool, name: str, step: int) -> float:
        """Faults come seldom, so that they come at all places; after many steps, not at all."""
        weight = 1.0 / (20 + self.happened[name])
        return weight if calm else weight * (0.1 if step < STEPS_MAX else 0.0)

    def _is_over(self, world: World) -> bool:
        """Whether nothing is left to be heard of."""
        return all(
            process is None or process.durable == tuple(map(len, process.memory))
            for process in world.processes
        )
