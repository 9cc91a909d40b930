"""Plays one seed: several lives of a process on one disk, clients, a world; then the evidence, and what it says.

life 1 ── killed ──▶ life 2 ── the store fails ──▶ life 3 ── nothing happens, until every run is over
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import msgspec

from tenuto.authoring import asking
from tenuto.authoring.declare import Workflow
from tenuto.authoring.failures import exception_of
from tenuto.authoring.program import PythonProgram
from tenuto.engine.advance import Program, Run, advance
from tenuto.engine.model import SIGNAL, TERMINAL, Arrived, Entry, Json
from tenuto.engine.ports import DocumentRow, RunRow
from tenuto.errors import Conflict, Fault, RunCancelled, StorageFailed
from tenuto.language.interpret import Interpreter
from tests.reliability.checker import Case, Told, check_case, performs
from tests.reliability.evidence import Evidence, Replay, Violation
from tests.reliability.reading import folded_twice
from tests.reliability.simulation.clients import Book, Client
from tests.reliability.simulation.disk import FAILS_SOON, Disk
from tests.reliability.simulation.disk import Fault as DiskFault
from tests.reliability.simulation.documents import document
from tests.reliability.simulation.flows import HEARD, WORKFLOWS
from tests.reliability.simulation.loop import Crash, Idle, Loop
from tests.reliability.simulation.plan import Life, Plan, Wish
from tests.reliability.simulation.process import Clock, Process, parsed
from tests.reliability.simulation.world import CANARY, Here, World

START: Final = 1_700_000_000.0
CALLBACKS_MAX: Final = 400_000
"""More of them in one life mean that something goes round and round."""

TELLING_SECONDS: Final = 0.25
"""By then whoever asks has heard that the store has failed."""

TIMER_SECONDS: Final = 0.5
"""A timer that is due fires by then. What fired just before a crash may be lost with it, and fires again: this for each life."""

_ASKERS: Final = 4
_ASKERS_COME_WITHIN_SECONDS: Final = 0.003

_ROUNDS: Final = 26
_FIRST_ROUND_SECONDS: Final = 4.0
_ROUND_GROWS: Final = 1.5
_CODE: Final[Mapping[tuple[str, str, str], Workflow[..., Any]]] = {
    (each.namespace, each.name, each.version): each for each in WORKFLOWS
}


@dataclass(slots=True)
class Played:
    """How a seed went. `trace` are lines, if they were asked for; `counts` say what was covered."""

    seed: int
    violations: list[Violation]
    evidence: Evidence
    counts: Counter[str]
    trace: list[str] = field(default_factory=list)


def play(seed: int, *, traced: bool = False) -> Played:
    """Play a seed."""
    plan = Plan(seed)
    with plan.limits():
        return _Play(plan, traced=traced).go()


def let_go() -> None:
    """Collect what killed processes left: the code of their workflows ends where it reaches nobody.

    Whoever plays many seeds turns the collector off, and calls this now and then.
    """
    token = asking._current.set(asking.Gone())
    try:
        gc.collect()
    finally:
        asking._current.reset(token)


class _Play:
    def __init__(self, plan: Plan, *, traced: bool) -> None:
        self.plan = plan
        self.trace: list[str] = []
        self.tell: Callable[[str], None] = self._trace if traced else lambda line: None
        self.disk = Disk(lambda seen: self._violate("I3", f"it was written twice: {seen}"))
        self.clock = Clock()
        self.book = Book()
        self.world = World(plan.chance("world"), plan.trouble, plan.world_seconds, self.tell)
        self.loop = Loop(plan.chance("loop/0"), START)
        self.life = 0
        self.seen: dict[tuple[str, int], bytes] = {}  # what each entry was when it was shown durable
        self.seen_at: dict[tuple[str, int], float] = {}
        self.counts: Counter[str] = Counter()
        self.found: list[Violation] = []
        self.documents = tuple(document(number) for number in _with_those_they_run(plan.documents))
        self.chance = plan.chance("play")
        self.clients = [self._client(wishes) for wishes in plan.clients]
        self.process: Process | None = None
        self.intruder: Process | None = None
        self.target: str | None = None
        self.hits = 0
        self.failed_at: float | None = None
        self.gone_at: float | None = None
        self.away_seconds = 0.0  # in which nobody was there who could fire a timer
        self.askers: dict[Client, asyncio.Task[None]] = {}

    def _trace(self, line: str) -> None:
        self.trace.append(f"{self._now() - START:.6f} life {self.life}: {line}")

    def _client(self, wishes: list[Wish]) -> Client:
        return Client(self.book, wishes, self._now, self.tell, self._shown, self._anybody)

    def _anybody(self) -> str:
        return self.chance.choice(list(self.disk.numbers) or ["r1"])

    def _now(self) -> float:
        return self.loop.time()

    # ── lives ─────────────────────────────────────────────────────────────────────────

    def go(self) -> Played:
        """Play all lives."""
        Here.world = self.world
        collects = gc.isenabled()
        gc.disable()
        try:
            for number, life in enumerate(self.plan.lives, 1):
                self._live(number, life)
                if life.ending is not None and (self.plan.checked_at_crashes or self._is_suspicious()):
                    self._check(settled=False)
            evidence = self._check(settled=True)
        finally:
            if collects:
                let_go()
                gc.enable()
        self._cover(evidence)
        return Played(self.plan.seed, self.found, evidence, self.counts, self.trace)

    def _live(self, number: int, life: Life) -> None:
        loop = self.loop = Loop(self.plan.chance(f"loop/{number}"), self._now() + 1)
        self.life = self.world.life = number
        self.world.loop = self.clock.loop = loop
        self.world.broken = life.broken
        over: asyncio.Future[None] = loop.create_future()
        process = self.process = self._process(
            life.faults, self._everything_is_seen, lambda: self._store_has_failed(over)
        )
        self.tell(f"begins; it ends by: {life.ending}")
        self.target, self.hits = life.target, life.after
        self.failed_at = None
        self.askers = {}
        if life.ending == "kill":
            loop.crash_at = 40 + life.after
        main = loop.create_task(self._main(process, life, over))
        try:
            loop.run(lambda: main.done() or loop.steps > CALLBACKS_MAX)
            if not main.done():
                self._violate("I1", f"life {number} goes round and round: {loop.steps} callbacks")
            elif main.exception() is not None and not (
                isinstance(main.exception(), StorageFailed) and self._failed_on_purpose()
            ):
                self._violate("promise", f"life {number} ended with {main.exception()!r}")
        except Crash:
            self.counts["crash"] += 1
            self.tell("is killed")
            self._check_told()
            self._has_gone()
        except Idle:
            self._violate("I1", f"life {number} hangs: nothing is ready, and nobody is done")
        self._bury(process)

    def _failed_on_purpose(self) -> bool:
        store = self.process.store if self.process is not None else None
        return store is not None and store.failed_on_purpose

    def _process(
        self, faults: Mapping[int, DiskFault], holds: Callable[[], None], failed: Callable[[], None]
    ) -> Process:
        return Process(
            self.life,
            self.plan,
            self.disk,
            self.clock,
            self.loop,
            self.world,
            faults=dict(faults),
            documents=self.documents,
            holds=holds,
            seen=self._seen,
            failed=failed,
            told=self._hear,
        )

    def _intrude(self) -> None:
        """Somebody starts a second process on the same database: it must not get in while the first is there."""
        self.counts["second process"] += 1
        self.intruder = self._process({}, self._intruder_is_in, self._intruder_has_failed)
        self.loop.create_task(self._try_to_open(self.intruder))

    async def _try_to_open(self, intruder: Process) -> None:
        try:
            async with intruder:
                await asyncio.sleep(60)
        except Conflict:
            self.counts["second process was refused"] += 1
        except Exception as error:
            self._violate("promise", f"a second process ended with {error!r}")

    def _intruder_is_in(self) -> None:
        if self.process is not None and self.process.has_disk:
            self._violate("I3", "a second process got in while the first had the database")
        self._everything_is_seen()

    def _intruder_has_failed(self) -> None:
        self._violate("promise", "the store of a second process failed, and no fault was planned")

    def _bury(self, process: Process) -> None:
        if self.intruder is not None:
            self.intruder.kill()
            self.intruder = None
        if process.kill():
            self.counts["crash in a transaction that got through"] += 1
        for client in self.clients:
            client.widowed()
        for complaint in self.loop.complaints:
            if self.world.broken and "cannot be taken up" in str(complaint.get("message")):
                continue  # It is kept until its code is mended.
            text = f"{complaint.get('message')}: {complaint.get('exception')!r}"
            self._violate("promise", f"the process complained: {text}")
        self.counts["callbacks"] += self.loop.steps

    async def _main(self, process: Process, life: Life, over: asyncio.Future[None]) -> None:
        loop = self.loop
        for seconds, offset in life.jumps:
            loop.call_later(seconds, self._set_clock, offset)
        if life.intruder is not None:
            loop.call_later(life.intruder, self._intrude)
        async with process as app:
            self._is_back()
            tasks = [asyncio.create_task(self._serve(client, app)) for client in self.clients]
            if life.ending is None:
                for task in tasks:
                    await task
                await self._settle(app)
            else:
                if life.ending == "close":
                    loop.call_later(life.after / 100, self._give_up, over)
                # Should the fault never come: this life ends anyway.
                loop.call_later(120, self._give_up, over)
                await over
                self._check_told()
                tasks += self.askers.values()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        # The program goes on without it: nothing of it may be left.
        await asyncio.sleep(2)

    async def _serve(self, client: Client, app: Process) -> None:
        try:
            await client.live(app)
        except asyncio.CancelledError:
            client.widowed()
            raise
        except Exception as error:
            client.widowed()
            self._violate("promise", f"a client that asked for something was given {error!r}")

    def _set_clock(self, offset: float) -> None:
        self.clock.offset = offset
        self.counts["clock set"] += 1
        self.tell(f"the clock is wrong by {offset:.3f}")

    def _store_has_failed(self, over: asyncio.Future[None]) -> None:
        """Somebody restarts it, or kills it, a while after."""
        self.counts["store failed"] += 1
        self.failed_at = self._now()
        self._has_gone()
        if not self._failed_on_purpose():
            self._violate("promise", "the store failed, and no fault was planned")
        chance = self.plan.chance(f"failed/{self.life}")
        if chance.random() < 0.5:
            self.loop.call_later(chance.random() * 2, self.loop.crash)
        else:
            self.loop.call_later(chance.random() * 2, self._give_up, over)

    def _come_and_ask(self, process: Process) -> None:
        """The store is about to fail: some ask for a run just then, of those that have to be read first if there are."""
        chance = self.plan.chance(f"askers/{self.life}/{len(self.askers)}")
        open_runs = [row.id for row in self.disk.runs.values() if row.ended is None]
        cold = [run for run in open_runs if not process.remembers(run)]
        for _ in range(_ASKERS):
            seconds = chance.random() * _ASKERS_COME_WITHIN_SECONDS
            wish = Wish(
                seconds, chance.choice(["result", "settle"]), chance.choice(cold or [self._anybody()])
            )
            client = self._client([wish])
            self.askers[client] = self.loop.create_task(self._serve(client, process))

    def _check_told(self) -> None:
        """Nobody waits for an answer of an App whose store has failed, whatever was asked, before or since."""
        if self.failed_at is None:
            return
        for client in (*self.clients, *self.askers):
            if client.asking is None:
                continue
            wish, since = client.asking
            if self._now() - max(since, self.failed_at) > TELLING_SECONDS:
                self._violate(
                    "promise", f"who asked for {wish.verb} was not told that the store failed", wish.run or ""
                )

    def _has_gone(self) -> None:
        self.gone_at = self._now() if self.gone_at is None else self.gone_at

    def _is_back(self) -> None:
        self.away_seconds, self.gone_at = self._away(), None

    def _away(self) -> float:
        """Return for how long nobody was there: also since the last went, as who comes back fires before it is ready."""
        return self.away_seconds + (0.0 if self.gone_at is None else self._now() - self.gone_at)

    def _give_up(self, over: asyncio.Future[None]) -> None:
        self._has_gone()
        if not over.done():
            over.set_result(None)

    async def _settle(self, app: Process) -> None:
        """Faults have stopped: bring what runs wait for, until all are over."""
        helper = self._client([])
        self._set_clock(0.0)
        seconds = _FIRST_ROUND_SECONDS
        for _ in range(_ROUNDS):
            await asyncio.sleep(seconds)
            seconds *= _ROUND_GROWS
            waiting = [row for row in self.disk.runs.values() if row.status not in TERMINAL]
            if not waiting:
                break
            for row in waiting:
                await self._bring(app, helper, row)
            await helper.ask(app, Wish(0, "emit", None, 0))
            await helper.ask(app, Wish(0, "emit", None, 1))

    async def _bring(self, app: Process, helper: Client, row: RunRow) -> None:
        if row.status == "suspended":
            await helper.ask(app, Wish(0, "resume", row.id))
        elif row.status == "waiting" and not row.name.startswith("d"):
            await helper.ask(app, Wish(0, "signal", row.id, 0))
            await helper.ask(app, Wish(0, "signal", row.id, 1))

    # ── what is seen ──────────────────────────────────────────────────────────────────

    def _seen(self, run: str, seq: int, entry: Entry) -> None:
        """An entry is shown as durable: the disk has just that by now, and has it for good."""
        self.seen_at[run, seq] = self._now()
        data = self._stored(run, seq)
        if data is None:
            self._violate("promise", f"entry {seq} was shown as durable, and was not on the disk", run)
        elif msgspec.json.decode(data, type=Entry) != entry:
            self._violate("promise", f"entry {seq} was shown as {entry!r}, and on the disk is {data!r}", run)
        else:
            self._keep(run, seq, data)
        if self.target is not None and self.target in _said(entry):
            self.hits -= 1
            if self.hits == 0:
                self.loop.crash()
        self.tell(f"durable {run} {seq} {entry.event!r}")

    def _stored(self, run: str, seq: int) -> bytes | None:
        return self.disk.entries.get(self.disk.numbers.get(run, 0), {}).get(seq)

    def _keep(self, run: str, seq: int, data: bytes) -> None:
        if self.seen.setdefault((run, seq), data) != data:
            self._violate("promise", f"entry {seq} was shown as durable, and later as {data!r}", run)

    def _everything_is_seen(self) -> None:
        """Somebody looks at the disk before a process does."""
        for row in self.disk.runs.values():
            for seq, data in self.disk.entries.get(row.number, {}).items():
                self.seen_at.setdefault((row.id, seq), self._now())
                self._keep(row.id, seq, data)

    def _check_kept(self) -> None:
        """The promise: what was shown as durable is still what it was, byte for byte."""
        for (run, seq), data in self.seen.items():
            now = self._stored(run, seq)
            if now != data:
                self._violate("promise", f"entry {seq} was shown as durable as {data!r}, and is {now!r}", run)

    def _hear(self, what: str) -> None:
        self.tell(f"the store: {what}")
        if what == FAILS_SOON and self.process is not None and self.process.is_open():
            self._come_and_ask(self.process)
        self.counts[f"store: {what}" if not what.startswith("durable") else "transactions"] += 1

    def _shown(self, run: str, value: Json) -> None:
        """A client was shown where a run is: the disk has to say so too, now or not long ago."""
        self.counts["queries"] += 1
        number = self.disk.numbers.get(run, 0)
        # Code that could not go on has been somewhere that mended code comes to later.
        if not self.world.broken and value not in self._places(number):
            self._violate("promise", f"a query showed {value}, which is not on the disk", run)

    def _places(self, number: int) -> list[Json]:
        """Return what a run's code said of its place after each entry that is on the disk."""
        row = self.disk.runs.get(number)
        if row is None:
            return []
        program = build(self.disk.documents[row.definition])
        run: Run | None = None
        places: list[Json] = []
        for _, data in self.disk.journal(number):
            entry = msgspec.json.decode(data, type=Entry)
            run, _ = advance(program, run, entry.event, entry.notes)
            if run.state is None:
                continue  # It says so far only that it begins again, with another's history.
            with suppress(KeyError):
                places.append(program.query(run.state, "place"))
        if run is not None and run.state is not None:
            program.forget(run.state)
        return places

    def _violate(self, invariant: str, seen: str, run: str = "") -> None:
        self.found.append(Violation(invariant, run, seen))
        self.tell(f"{invariant} violated by {run}: {seen}")

    # ── the evidence ──────────────────────────────────────────────────────────────────

    def _check(self, *, settled: bool) -> Evidence:
        evidence = self._evidence(settled=settled)
        self.case = Case(evidence)
        for violation in check_case(self.case):
            self._violate(violation.invariant, violation.seen, violation.run)
        for run, told in self.case.runs.items():
            self._check_code_heard(run, told)
            self._check_effects(run, told)
        self._check_kept()
        for run, answer in self.book.answers:
            row = evidence.journals[run][0] if run in evidence.journals else None
            if row is None or row.ended is None or _given(row) != repr(answer):
                ended = row and (row.status, row.outcome)
                self._violate("promise", f"a client was given {answer!r}, and on the disk it is {ended}", run)
        return evidence

    def _is_suspicious(self) -> bool:
        """Whether a child is over and its parent's journal says nothing of that."""
        for row in self.disk.runs.values():
            parent = self.disk.runs.get(self.disk.numbers.get(row.parent or "", 0))
            if row.ended is None or row.parent_command is None or parent is None or parent.ended is not None:
                continue
            answers = [b'[["answered",', b'[["failed",']
            if not any(
                data.startswith(tuple(answers)) and b",%d," % row.parent_command in data
                for _, data in self.disk.journal(parent.number)
            ):
                return True
        return False

    def _check_code_heard(self, run: str, told: Told) -> None:
        """I7 goes on in the code: it is given signals of a name in the order of the journal, each once."""
        places: dict[str, tuple[str, int]] = {}
        last: dict[str, int] = {}
        for seq, entry in told.entries:
            event = entry.event
            if isinstance(event, Arrived) and event.event.get("type") == SIGNAL:
                places[str(event.event.get("data"))] = (
                    str(event.event.get("subject")),
                    seq,
                )
            for note in entry.notes:
                if note.what == "logged" and str(note.data).startswith(HEARD):
                    name, place = places[str(note.data).removeprefix(HEARD)]
                    if place <= last.get(name, 0):
                        self._violate(
                            "I7",
                            f"its code was given {note.data} after a later signal",
                            run,
                        )
                    last[name] = place

    def _check_effects(self, run: str, told: Told) -> None:
        """I4, to the moment: nothing is done before the entry that asks for it is on the disk, and seen to be.

        The checker has only the time at which an entry was made, and not even that where clocks are set.
        """
        asked = performs(told)
        for effect in self.case.effects.get(run, ()):
            commands = asked.get((effect.key, effect.attempt), ())
            seen = [self.seen_at.get((run, told.asked[command.id].seq), inf) for command in commands]
            if seen and effect.at < min(seen):
                self._violate(
                    "I4",
                    f"{effect.task} ran before the entry that asks for it was durable",
                    run,
                )

    def _evidence(self, *, settled: bool) -> Evidence:
        disk = self.disk
        self.world.broken = False  # it is with mended code that journals are read
        journals = {row.id: (row, disk.journal(row.number)) for _, row in sorted(disk.runs.items())}
        replays: dict[str, tuple[Replay, Replay]] = {}
        for run, (row, entries) in journals.items():
            lines = [data for _, data in entries]
            snapshot = disk.snapshots.get(row.number)
            try:
                replays[run] = folded_twice(lines, snapshot, disk.documents[row.definition], build)
            except Exception as error:
                self._violate("I10", f"it cannot be folded: {error!r}", run)
        log = "\n".join(repr(each) for each in self.loop.complaints)
        snapshots = b"".join(snapshot.state for snapshot in disk.snapshots.values())
        return Evidence(
            calls=self._calls(journals),
            journals=journals,
            effects=list(self.world.ledger),
            acked_entries=frozenset(self.seen_at),
            settled=settled,
            replays=replays,
            canaries=[CANARY.encode()],
            texts={"the log": log.encode(), "snapshots": snapshots},
            seen_at=dict(self.seen_at),
            timer_bound_seconds=self.life * TIMER_SECONDS + self._away(),
            clocks_agree=not any(life.jumps for life in self.plan.lives),
            code_was_changed=any(life.broken for life in self.plan.lives),
        )

    def _calls(self, journals: Mapping[str, tuple[RunRow, list[tuple[int, bytes]]]]) -> list[Any]:
        """Return the calls; a run without an id of its own, whose start nobody knows the end of, is known by its tag."""
        unknown = {
            call.value["input"]["tag"] for call in self.book.calls if call.verb == "start" and not call.run
        }
        if not unknown:
            return list(self.book.calls)
        ids: dict[str, str] = {}
        for run, (row, entries) in journals.items():
            if row.parent is None and row.origin is None:
                started = msgspec.json.decode(entries[0][1], type=Entry).event
                tag = str(getattr(started, "input", {}).get("tag"))
                if tag in unknown and ids.setdefault(tag, run) != run:
                    self._violate("I2", f"one start made two runs, {ids[tag]} and this one", run)
        return [
            msgspec.structs.replace(call, run=ids.get(call.value["input"]["tag"], ""))
            if call.verb == "start" and not call.run
            else call
            for call in self.book.calls
        ]

    def _cover(self, evidence: Evidence) -> None:
        """Count what was covered."""
        counts = self.counts
        counts["lives"] += self.life
        counts["runs"] += len(self.case.runs)
        counts["effects"] += len(evidence.effects)
        counts["snapshots"] += len(self.disk.snapshots)
        for fate, number in self.world.counts.items():
            counts[f"call: {fate}"] += number
        for call, end in self.case.calls:
            counts[f"client: {call.verb} {end}"] += 1
        for told in self.case.runs.values():
            counts["entries"] += len(told.entries)
            counts[f"end: {told.row.status}"] += 1
            for _, entry in told.entries:
                counts[f"event: {type(entry.event).__name__}"] += 1
            for asked in told.asked.values():
                counts[f"command: {type(asked.command).__name__}"] += 1
        for life in self.plan.lives:
            counts[f"life ends: {life.ending}"] += 1


def _given(row: RunRow) -> str:
    """Return what a client is given of a run that has ended so, as `repr` shows it."""
    outcome = row.outcome or {}
    if row.status == "cancelled":
        return repr(RunCancelled(f"the run {row.id} was cancelled"))
    if "error" not in outcome:
        return repr(outcome.get("output"))
    return repr(exception_of(msgspec.convert(outcome["error"], Fault)))


def _said(entry: Entry) -> set[str]:
    """Return what an entry says, as the targets of a plan are called."""
    said = {type(entry.event).__name__}
    for note in entry.notes:
        said |= {note.what, f"{note.what} {note.kind}"}
    return said


def build(row: DocumentRow) -> Program:
    """Return a fresh program."""
    if row.kind == "document":
        return Interpreter(parsed(row.source))
    return PythonProgram(_CODE[row.namespace, row.name, row.version], lambda step: None)


def _with_those_they_run(numbers: tuple[int, ...]) -> list[int]:
    """Return these documents, and those of lower numbers that they may run, one by one."""
    found: dict[int, None] = {}
    agenda = list(numbers)
    while agenda:
        number = agenda.pop()
        if number in found:
            continue
        found[number] = None
        source = document(number).source
        agenda += [other for other in range(number) if f'"name":"d{other}"' in source]
    return sorted(found)
