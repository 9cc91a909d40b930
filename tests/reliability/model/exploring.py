"""Explores a model exhaustively, breadth first: every state, the shortest way to a wrong one, and to a dead end.

A model is a first state and its moves. A state is any hashable value. It is *wrong* if a law does not hold in it,
and a *dead end* if no calm moves (no fault, nothing that somebody may as well leave undone) lead to a goal any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

State: TypeAlias = Hashable
What: TypeAlias = tuple[Any, ...]
Move: TypeAlias = tuple[bool, What, State, str | None]
"""Whether it is calm, what happens, the state after it, and the law that this very move breaks."""

DEAD_END = "liveness"


class Model(Protocol):
    """What can be explored."""

    def first(self) -> State:
        """Return the state in which everything begins."""

    def say(self, what: What) -> str:
        """Return in words what happens."""

    def moves(self, state: State) -> Iterable[Move]:
        """Return everything that can happen next."""

    def broken(self, state: State) -> str | None:
        """Return the first law that does not hold in a state, as `I1: what is wrong`."""

    def is_goal(self, state: State) -> bool:
        """Whether everything is done."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The shortest way to where a law is broken: what happens, one after the other."""

    law: str
    trace: tuple[str, ...]

    @property
    def invariant(self) -> str:
        """Return the law's name."""
        return self.law.partition(":")[0]

    def __str__(self) -> str:
        steps = (f"{number:4}  {step}" for number, step in enumerate(self.trace, 1))
        return "\n".join([*steps, f"   => {self.law}"])


@dataclass(frozen=True, slots=True)
class Explored:
    """What an exploration saw; `found` is the first counterexample, `whole` says that nothing was left out."""

    states: int
    moves: int
    depth: int
    found: Counterexample | None
    whole: bool = True


class Space:
    """The states of a model by number, in the order of their distance from the first."""

    def __init__(self, model: Model, states_max: int) -> None:
        self.model = model
        self.states: list[State] = [model.first()]
        self.moves = 0
        self.whole = True
        self.found: Counterexample | None = None
        self._numbers: dict[State, int] = {self.states[0]: 0}
        self._from: list[tuple[int, What]] = [(-1, ())]
        self._calmly_from: list[list[int]] = [[]]
        self._explore(states_max)
        if self.found is None and self.whole:
            self._find_dead_end()

    def _explore(self, states_max: int) -> None:
        at = 0
        while at < len(self.states):
            for calm, what, state, broken in self.model.moves(self.states[at]):
                self.moves += 1
                number, law = self._numbers.get(state), broken
                if number is None:
                    if len(self.states) >= states_max:
                        self.whole = False
                        return
                    number = self._numbers[state] = len(self.states)
                    self.states.append(state)
                    self._from.append((at, what))
                    self._calmly_from.append([])
                    law = law or self.model.broken(state)
                if calm:
                    self._calmly_from[number].append(at)
                if law is not None:
                    self.found = Counterexample(law, self._said([*self.way(at), what]))
                    return
            at += 1

    def _find_dead_end(self) -> None:
        """Go back from the goals over calm moves; where that does not get is a dead end."""
        alive = bytearray(len(self.states))
        work = deque(number for number, state in enumerate(self.states) if self.model.is_goal(state))
        for number in work:
            alive[number] = 1
        while work:
            for before in self._calmly_from[work.popleft()]:
                if not alive[before]:
                    alive[before] = 1
                    work.append(before)
        dead = alive.find(0)
        if dead >= 0:
            law = f"{DEAD_END}: from here no run that was acknowledged can get to its end"
            self.found = Counterexample(law, self._said(self.way(dead)))

    def _said(self, way: Iterable[What]) -> tuple[str, ...]:
        return tuple(map(self.model.say, way))

    def way(self, number: int) -> list[What]:
        """Return what happens on the shortest way to a state."""
        return list(self._way(number))[::-1]

    def _way(self, number: int) -> Iterator[What]:
        while number > 0:
            number, what = self._from[number]
            yield what

    def depth(self) -> int:
        """Return how far the last state is from the first."""
        return len(self.way(len(self.states) - 1))


def explore(model: Model, states_max: int = 10_000_000) -> Explored:
    """Explore all states of a model, or as many as are allowed, up to the first counterexample."""
    space = Space(model, states_max)
    return Explored(len(space.states), space.moves, space.depth(), space.found, space.whole)
