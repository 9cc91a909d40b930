"""The workflow of the model of the protocol: stages of commands, folded in the model and by the real engine alike.

    (("act",), ("wait", "hear"))     an action; then a timer and a signal, both awaited at once

A journal of the model is a tuple of words: `start`, `answer C`, `lost C` (an attempt), `signal`, `cancel`, `pause`,
`resume`. `Staged` is the same workflow behind the engine's door: it turns events into these words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from tenuto.engine.advance import Run, recalled
from tenuto.engine.model import (
    SIGNAL,
    Answered,
    Arrived,
    CancelRequested,
    Command,
    Drop,
    Entry,
    Event,
    Failed,
    Finish,
    Json,
    Listen,
    Note,
    Open,
    Perform,
    Restarted,
    Resumed,
    Started,
    StartRun,
    Suspended,
    Wake,
)
from tenuto.engine.rules import derived_id

Kind: TypeAlias = Literal["act", "child", "wait", "hear"]
Stages: TypeAlias = tuple[tuple[Kind, ...], ...]
"""What a run does: one stage after the other, all commands of one at the same time; commands count from 0."""
Journal: TypeAlias = tuple[str, ...]

NAMESPACE: Final = "model"
FUNCTION: Final = "probe.act:1.0.0"
DUE: Final = 2_000_000_000.0
"""When the timers are due."""

_ATTEMPT: Final = 100


class Folded(NamedTuple):
    """What a journal says: the run's status, its open commands with their attempts, and all that it ever wanted."""

    status: Literal["none", "open", "paused", "over"]
    open: tuple[tuple[int, int], ...] = ()
    ever: frozenset[int] = frozenset()


@cache
def kinds(stages: Stages) -> tuple[Kind, ...]:
    """Return the kind of each command."""
    return tuple(kind for stage in stages for kind in stage)


@cache
def fold(stages: Stages, journal: Journal) -> Folded:
    """Fold a journal."""
    if not journal:
        return Folded("none")
    before, event = fold(stages, journal[:-1]), journal[-1]
    word, _, number = event.partition(" ")
    if word == "start":
        return _entered(stages, journal, 0, frozenset())
    if word == "cancel":
        return Folded("over", (), before.ever)
    if word in {"pause", "resume"}:
        return before._replace(status="paused" if word == "pause" else "open")
    if word == "lost":
        tried = ((c, n + 1) if c == int(number) else (c, n) for c, n in before.open)
        return before._replace(open=tuple(tried))
    heard = {c for c, _ in before.open if kinds(stages)[c] == "hear"}
    ended = heard if word == "signal" else {int(number)}
    left = tuple(item for item in before.open if item[0] not in ended)
    if left or not before.open:
        return before._replace(open=left)
    ends = (sum(map(len, stages[:n])) for n in range(1, len(stages) + 1))
    after = _entered(stages, journal, sum(len(before.ever) >= end for end in ends), before.ever)
    return after._replace(status="paused") if before.status == "paused" != after.status == "open" else after


def _entered(stages: Stages, journal: Journal, stage: int, ever: frozenset[int]) -> Folded:
    """Go into a stage: a signal that came before anybody heard is heard at once."""
    if stage == len(stages):
        return Folded("over", (), ever)
    first = sum(map(len, stages[:stage]))
    numbers = range(first, first + len(stages[stage]))
    wanted = tuple((c, 1) for c in numbers if kinds(stages)[c] != "hear" or "signal" not in journal)
    if not wanted:
        return _entered(stages, journal, stage + 1, ever.union(numbers))
    return Folded("open", wanted, ever.union(numbers))


def accepts(folded: Folded, event: str) -> bool:
    """Whether an event means anything: `engine.advance.accepts`."""
    word, _, number = event.partition(" ")
    if word == "start":
        return folded.status == "none"
    if folded.status in {"none", "over"}:
        return False
    if word in {"answer", "lost"}:
        return any(c == int(number) for c, _ in folded.open)
    if word in {"pause", "resume"}:
        return (folded.status == "paused") == (word == "resume")
    return True


# ── the same behind the engine's door ─────────────────────────────────────────────────────


def id_of(command: int, attempt: int) -> int:
    """Return the engine's number for an attempt of a command."""
    return command + 1 + _ATTEMPT * (attempt - 1)


def number_of(id: int) -> tuple[int, int]:
    """Return command and attempt of one of the engine's numbers."""
    attempt, command = divmod(id, _ATTEMPT)
    return command - 1, attempt + 1


def word_of(event: Event) -> str:
    """Return the model's word for an event."""
    match event:
        case Answered():
            return f"answer {number_of(event.id)[0]}"
        case Failed():
            return f"lost {number_of(event.id)[0]}"
        case Arrived():
            return "signal"
    return {Started: "start", CancelRequested: "cancel", Suspended: "pause", Resumed: "resume"}[type(event)]


class Staged:
    """A workflow of stages as a program of the engine; its state is the run's id and its journal in words."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages

    def begin(
        self, started: Started, restarted: Restarted | None, recorded: Sequence[Note] | None = None
    ) -> tuple[Any, list[Command]]:
        """Begin."""
        return self._told((started.run, ()), started)

    def step(
        self, state: Any, event: Event, recorded: Sequence[Note] | None = None
    ) -> tuple[Any, list[Command]]:
        """Go on."""
        return self._told(state, event)

    def _told(self, state: Any, event: Event) -> tuple[Any, list[Command]]:
        run, journal = state
        before = fold(self.stages, journal)
        journal = (*journal, word_of(event))
        after = fold(self.stages, journal)
        commands: list[Command] = []
        if isinstance(event, Arrived):
            commands += [Drop(id_of(*c)) for c in before.open if c not in after.open]
        if after.status == "over":
            commands = [Finish("cancelled" if isinstance(event, CancelRequested) else "completed")]
        else:
            commands += [self._wish(run, *c) for c in after.open if c not in before.open]
        return (run, journal), commands

    def _wish(self, run: str, command: int, attempt: int) -> Open:
        id, kind = id_of(command, attempt), kinds(self.stages)[command]
        if kind == "wait":
            return Wake(id, DUE)
        if kind == "hear":
            return Listen(id, (SIGNAL,))
        if kind == "child":
            return StartRun(id, f"/{command}", NAMESPACE, "child", "1.0.0", None)
        key = derived_id(run, str(command))
        return Perform(id, f"/{command}", FUNCTION, {"command": command}, key, attempt)

    def recall(self, run: Run | None, entries: Sequence[Entry]) -> Run | None:
        """Fold a history."""
        return recalled(self, run, entries)

    def query(self, state: Any, name: str) -> Json:
        """Return the journal in words, whatever is asked."""
        return list(state[1])

    def encode(self, state: Any) -> None:
        """Give no snapshots."""

    def decode(self, data: bytes) -> Any:
        """There are no snapshots."""
        raise AssertionError(data)

    def stale(self, state: Any) -> bool:
        """A state stays good."""
        return False

    def forget(self, state: Any) -> None:
        """A state holds nothing."""
