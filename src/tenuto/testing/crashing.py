"""Kills the worker after every single entry of a run, and looks whether anybody could tell.

    report = await crash_everywhere(order_flow, order, setup=lambda env: env.replace(charge, receipt))

The run is played once without a crash. Then, for each entry of its journal, it is played anew on an
empty SQLite database and killed as soon as that entry is durable; another worker goes on. At last it
is played by workers that live for two entries each. Every time it has to end as it did at first, with
the same calls; and no call whose outcome was recorded before a crash may be made again after it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from tenuto.application import Handle
from tenuto.authoring.declare import Step, Workflow
from tenuto.authoring.verbs import Signal
from tenuto.engine.model import Arrived, Entry, Json
from tenuto.engine.ports import RunRow
from tenuto.errors import Conflict, InvalidInput, StorageFailed, Unavailable
from tenuto.runtime.recording import reason_of
from tenuto.testing.answers import seconds_of
from tenuto.testing.differences import difference
from tenuto.testing.documents import Document
from tenuto.testing.doubles import Recorded
from tenuto.testing.driving import DrivenWorker
from tenuto.testing.environment import Environment

T = TypeVar("T")
Attempt: TypeAlias = tuple[str, str, int]  # function, idempotency key, number

RUN: Final = "crash-everywhere"
"""The id of the run that is killed."""

ENTRIES_EACH: Final = 2
"""How many entries a worker lives for when it is killed again and again."""


@dataclass(frozen=True, slots=True)
class CrashReport:
    """What `crash_everywhere` saw, all plays together.

    `entries` are those of one play; `crashes` how often a worker was killed; `repeated` how many attempts
    were begun again because their outcome was not recorded when it was.
    """

    entries: int
    crashes: int
    repeated: int


@dataclass(slots=True)
class _Played:
    """How one play went."""

    entries: int = 0
    crashes: int = 0
    outcomes: list[dict[str, Json]] = field(default_factory=list)
    calls: list[Recorded] = field(default_factory=list)
    done_again: list[str] = field(default_factory=list)

    def effects(self) -> dict[str, list[Json]]:
        """Return what was called under each idempotency key, each attempt once."""
        effects: dict[str, list[Json]] = {}
        for call in sorted(self.calls, key=lambda call: (call.idempotency_key, call.attempt)):
            made = [call.function, call.arguments, call.attempt]
            known = effects.setdefault(call.idempotency_key, [])
            if made not in known:
                known.append(made)
        return effects

    def repeated(self) -> int:
        """Return how many attempts were begun more than once."""
        return len(self.calls) - len(set(map(_attempt, self.calls)))


async def crash_everywhere(
    workflow: Any,
    *args: Any,
    setup: Callable[[Environment], object] = lambda env: None,
    drive: Callable[[Driver], Awaitable[object]] | None = None,
    workflows: Iterable[Workflow[..., Any]] = (),
    steps: Iterable[Step[..., Any]] = (),
    documents: Iterable[Document] = (),
    secrets: Mapping[str, Any] | None = None,
    allow: Iterable[str] = (),
) -> CrashReport:
    """Kill a workflow's worker after every entry of its journal; see the module's text.

    Args:
        workflow: A workflow in Python, a call of one, or a YAML document: a path, its text, a dict.
        args: Its arguments, or the input of a document.
        setup: Makes the replacements, for each play anew. What is not replaced is called for real, and
            again after a crash if its outcome was not recorded.
        drive: Sends what the workflow waits for; it outlives the crashes.
        workflows: As for `Environment`, as are `steps`, `documents`, `secrets` and `allow`.

    Raises:
        AssertionError: A crash made a difference; the message says after which entry, and which.
    """
    options: dict[str, Any] = {
        "workflows": tuple(workflows),
        "steps": tuple(steps),
        "documents": tuple(documents),
        "secrets": secrets,
        "allow": tuple(allow),
    }

    async def played_with(name: str, dies: Callable[[int], bool]) -> _Played:
        with tempfile.TemporaryDirectory(prefix="tenuto-crash-") as folder:
            env = Environment(database=Path(folder, "tenuto.db"), **options)
            setup(env)
            play = _Play(env, dies, name)
            async with env:
                return await play.go(workflow, args, drive)

    whole = await played_with("without a crash", lambda entry: False)
    if whole.entries < 1:
        raise InvalidInput("the workflow recorded nothing", hint="give one that starts")
    crashes = repeated = 0
    for crash_after in range(1, whole.entries + 1):
        name = f"after a crash at entry {crash_after} of {whole.entries}"
        played = await played_with(name, crash_after.__eq__)
        _compare(whole, played, name)
        crashes, repeated = crashes + played.crashes, repeated + played.repeated()
    name = f"with a crash after every {ENTRIES_EACH} entries"
    played = await played_with(name, lambda entry: entry % ENTRIES_EACH == 0)
    _compare(whole, played, name)
    return CrashReport(whole.entries, crashes + played.crashes, repeated + played.repeated())


class Driver:
    """What a test does to a run while its worker may be killed at any time: each thing once."""

    def __init__(self, play: _Play, handle: Handle[Any]) -> None:
        self._play = play
        self._handle = handle

    async def signal(self, signal: Signal[Any] | str, value: Any = None) -> None:
        """Send the run a signal, once it has come to wait."""
        await self.rest()
        await self._once(lambda: self._handle.signal(signal, value))

    async def emit(self, event: str | Mapping[str, Any], data: Json = None, /, **attributes: str) -> None:
        """Publish a CloudEvent, once all runs have come to wait."""
        await self.rest()
        await self._once(lambda: self._play.env.emit(event, data, **attributes))

    async def pass_time(self, duration: timedelta | float) -> None:
        """Let time pass."""
        env = self._play.env
        until = env.clock.now() + (seconds_of(duration) or 0.0)
        await self._play.survive(lambda: env.pass_time(max(0.0, until - env.clock.now())))

    async def rest(self) -> None:
        """Return when nothing is under way."""
        await self._play.survive(self._play.env.rest)

    async def _once(self, send: Callable[[], Awaitable[None]]) -> None:
        """Send something, again if the worker died before it was recorded."""
        before = await self._play.survive(self._heard)

        async def unless_heard() -> None:
            if await self._heard() == before:
                await send()

        await self._play.survive(unless_heard)

    async def _heard(self) -> int:
        entries = await self._play.env.history(self._handle)
        return sum(isinstance(entry.event, Arrived) for entry in entries)


class _Play:
    """One play of a run whose worker is killed where `dies` says so."""

    def __init__(self, env: Environment, dies: Callable[[int], bool], name: str) -> None:
        self.env = env
        self._dies = dies
        self._name = name
        self._dead = False
        self._played = _Played()
        self._recorded: set[Attempt] = set()
        self._restarts: list[tuple[int, frozenset[Attempt]]] = []
        env.watch(self._watch)

    def _watch(self, worker: DrivenWorker, run: str, seq: int, entry: Entry) -> None:
        """See an entry that is durable; kill the worker if it is time."""
        if self._dead:
            return
        self._played.entries += 1
        action = worker.action_of(run, entry.event)
        if action is not None:
            self._recorded.add((action.function.partition(":")[0], action.key, action.attempt))
        if self._dies(self._played.entries):
            self._dead = True
            worker.fail(RuntimeError("killed by crash_everywhere"))

    async def go(
        self, workflow: Any, args: tuple[Any, ...], drive: Callable[[Driver], Awaitable[object]] | None
    ) -> _Played:
        """Play the run to its end."""
        handle = await self.survive(lambda: self.env.start(workflow, *args, id=RUN))
        if drive is not None:
            await drive(Driver(self, handle))
        await self.survive(lambda: self.env.settle(handle))
        await self.survive(self._settle_others)
        played = self._played
        played.calls = self.env.calls()
        played.done_again = list(self._done_again())
        played.outcomes = await self._outcomes()
        return played

    async def survive(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something; if the worker was killed meanwhile, begin another one and do it again."""
        while True:
            try:
                if self._dead:
                    await self._restart()
                result = await work()
                if not self._dead:
                    return result
            except (StorageFailed, Unavailable, Conflict) as error:
                if not self._dead:
                    raise AssertionError(f"{self._name}: the runtime gave up: {error}") from error

    async def _restart(self) -> None:
        """Let another worker go on; nothing of what is recorded by now may be done again from here."""
        self._played.crashes += 1
        self._restarts.append((len(self.env.calls()), frozenset(self._recorded)))
        self._dead = False
        await self.env.crash()

    async def _settle_others(self) -> None:
        for row in await self.env.runs():
            if row.ended is None:
                await self.env.settle(self.env.handle(row.id))

    async def _outcomes(self) -> list[dict[str, Json]]:
        shown = [await self._shown(row) for row in await self.env.runs()]
        return sorted(shown, key=msgspec.json.encode)

    async def _shown(self, row: RunRow) -> dict[str, Json]:
        entries = await self.env.history(self.env.handle(row.id))
        shown = {"workflow": f"{row.namespace}/{row.name}:{row.version}", "status": row.status}
        reason = next(filter(None, map(reason_of, reversed(entries))), None)
        if row.ended is None and reason is not None:
            shown["reason"] = reason
        return {**shown, **(row.outcome or {})}

    def _done_again(self) -> Iterator[str]:
        """Yield the calls that were made although their outcome was recorded."""
        for made, recorded in self._restarts:
            for call in self.env.calls()[made:]:
                if _attempt(call) in recorded:
                    yield f"{call.function} (task {call.task}, attempt {call.attempt})"


def _attempt(call: Recorded) -> Attempt:
    return call.function.partition(":")[0], call.idempotency_key, call.attempt


def _compare(whole: _Played, played: _Played, name: str) -> None:
    """Raise AssertionError if a play with crashes went another way than the one without."""
    found = []
    if again := list(dict.fromkeys(played.done_again)):
        found.append("what was recorded before the crash was done again: " + ", ".join(again))
    if whole.outcomes != played.outcomes:
        found.append("the runs ended otherwise:\n" + difference(whole.outcomes, played.outcomes))
    if whole.effects() != played.effects():
        found.append("other calls were made:\n" + difference(whole.effects(), played.effects()))
    if found:
        raise AssertionError("\n".join([f"{name}:", *found]))
