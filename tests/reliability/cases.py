"""Evidence, decoded once, as the checker reads it: each run as its journal tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from tenuto.engine.model import (
    Answered,
    Drop,
    Emit,
    Entry,
    Evaluate,
    Event,
    Failed,
    Finish,
    Listen,
    Open,
    Perform,
    Restarted,
    StartRun,
    Wake,
)
from tenuto.engine.ports import RunRow
from tests.reliability.evidence import Call, Effect, Evidence, Replay

_Wanted = Perform | Evaluate | Wake | Listen | Emit | StartRun | Drop | Finish
_entries = msgspec.json.Decoder(Entry)
_wanted = msgspec.json.Decoder(list[_Wanted])


@dataclass(frozen=True, slots=True)
class Asked:
    """A command, and the entry that asked for it."""

    seq: int
    command: Open


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and which entry says so."""

    seq: int
    event: Answered | Failed


@dataclass(frozen=True)
class Told:
    """One run as its journal tells it.

    `entries` are (seq, entry), the first `shared` of them those of a history that it took over; `damaged` says
    why they could not all be read. `outcomes` are all that were recorded, by command. `asked` and `finish` come from the folds: `finish` is (seq, how) of the run's end.
    """

    row: RunRow
    entries: list[tuple[int, Entry]]
    shared: int
    damaged: str | None
    outcomes: Mapping[int, list[Outcome]]
    asked: Mapping[int, Asked]
    dropped: Mapping[int, int]
    finish: list[tuple[int, Finish]]
    replay: Replay | None

    def time(self, seq: int) -> float:
        """Return the time of an entry; that of the row's last change if the entry is not there."""
        return self.entries[seq - 1][1].event.time if seq <= len(self.entries) else self.row.updated

    def own(self) -> Iterator[tuple[int, Event]]:
        """Yield seq and event of what this run recorded itself."""
        for seq, entry in self.entries:
            if seq > self.shared:
                yield seq, entry.event


class Case:
    """Evidence, with everything in it decoded once."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.runs = {
            run: _told(row, stored, next(iter(evidence.replays.get(run, ())), None))
            for run, (row, stored) in evidence.journals.items()
        }

    @cached_property
    def calls(self) -> list[tuple[Call, str]]:
        """What clients asked, in their order, each with its end: `ok`, `fail` or `info`."""
        ends = {
            (line.client, line.number): line.what for line in self.evidence.calls if line.what != "invoke"
        }
        asked = [line for line in self.evidence.calls if line.what == "invoke"]
        return [(line, ends.get((line.client, line.number), "info")) for line in asked]

    @cached_property
    def effects(self) -> Mapping[str, list[Effect]]:
        """What the world felt, by run."""
        found: dict[str, list[Effect]] = defaultdict(list)
        for effect in self.evidence.effects:
            found[effect.run].append(effect)
        return found

    def durable_at(self, run: str, seq: int, time: float) -> float | None:
        """Return when an entry was durable at the latest, by the ledger's clock; None if nobody knows."""
        seen = self.evidence.seen_at.get((run, seq))
        if seen is not None:
            return seen
        return time if self.evidence.clocks_agree else None


def _told(row: RunRow, stored: Sequence[tuple[int, bytes]], replay: Replay | None) -> Told:
    entries: list[tuple[int, Entry]] = []
    outcomes: dict[int, list[Outcome]] = {}
    damaged, shared = None, 0
    for seq, data in stored:
        try:
            entry = _entries.decode(data)
        except msgspec.DecodeError as error:
            damaged = damaged or f"entry {seq} cannot be read: {error}"
            continue
        entries.append((seq, entry))
        if isinstance(entry.event, Restarted):
            shared = seq + 1  # the event that begins the task is told again after this one
        if isinstance(entry.event, Answered | Failed):
            outcomes.setdefault(entry.event.id, []).append(Outcome(seq, entry.event))
    asked: dict[int, Asked] = {}
    dropped: dict[int, int] = {}
    finish: list[tuple[int, Finish]] = []
    for seq, data in enumerate(replay.wanted if replay else (), 1):
        for command in _wanted.decode(data) if data != b"[]" else ():
            if isinstance(command, Finish):
                finish.append((seq, command))
            elif isinstance(command, Drop):
                dropped[command.id] = seq
            else:
                asked.setdefault(command.id, Asked(seq, command))
    return Told(row, entries, shared, damaged, outcomes, asked, dropped, finish, replay)


def performs(told: Told) -> dict[tuple[str, int], list[Perform]]:
    """Return the actions that a run asked for, by key and attempt."""
    found: dict[tuple[str, int], list[Perform]] = {}
    for asked in told.asked.values():
        if isinstance(asked.command, Perform):
            found.setdefault((asked.command.key, asked.command.attempt), []).append(asked.command)
    return found
