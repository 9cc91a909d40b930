"""The real worker over a store that a test moves by hand: ways through the model of the protocol are played on it.

Everything is real but the clock, the disk and the outside world. What happens by itself in life happens here when
`do` is told so: that a transaction is written, is synced, is heard of; that an action begins, is answered; that the
process or the machine dies. After each move `differences` says where the worker and the model are not the same.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

from tenuto.engine.model import (
    SIGNAL,
    Arrived,
    CancelRequested,
    Event,
    Json,
    Listen,
    Perform,
    Resumed,
    StartRun,
    Suspended,
)
from tenuto.engine.ports import Batch, DocumentRow
from tenuto.errors import Conflict, StorageFailed, communication_fault
from tenuto.plugin import Call, function
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.hot import Definition
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.recording import read_entry
from tenuto.runtime.timers import Timers
from tenuto.runtime.worker import Worker
from tenuto.storage.memory import MemoryJournal
from tests.reliability.model.protocol import Process, Protocol, Scenario, World
from tests.reliability.model.staged import DUE, NAMESPACE, Journal, Staged, id_of, number_of, word_of

RUN: Final = "main"
START: Final = DUE - 1.0


class Disk:
    """What survives a process: transactions in order, and how many of them survive the machine too."""

    def __init__(self) -> None:
        self.log: list[list[Batch]] = []
        self.synced = 0

    def journals(self, runs: int, transactions: int) -> tuple[Journal, ...]:
        """Return the runs' journals after so many transactions, in the model's words."""
        return _words(runs, (batch for works in self.log[:transactions] for batch in works))


class SteppedJournal(MemoryJournal):
    """The port `Journal` over such a disk: `write`, `sync` and `hear` do what a store does by itself."""

    def __init__(
        self, disk: Disk, documents: list[DocumentRow], failed: Callable[[BaseException], None]
    ) -> None:
        super().__init__(failed=failed)
        self._disk = disk
        self.queue: list[tuple[Batch, Callable[[], None]]] = []
        self._taken: list[tuple[Batch, Callable[[], None]]] = []
        self.finding = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        for document in documents:
            self._documents[document.digest] = document
        for works in disk.log:
            for batch in works:
                super().commit(batch, lambda: None)
        disk.synced = len(disk.log)

    def commit(self, batch: Batch, done: Callable[[], None]) -> None:
        """Take a batch over."""
        self._check_open()
        self.queue.append((batch, done))

    async def flush(self) -> None:
        """Return when everything so far was heard of."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.commit(Batch(), lambda: waiter.done() or waiter.set_result(None))
        await waiter

    async def find_document(self, namespace: str, name: str, version: str) -> DocumentRow | None:
        """Find a document, once the test lets that happen."""
        await self.finding.wait()
        return await super().find_document(namespace, name, version)

    def write(self) -> None:
        """Write what is queued, in one transaction."""
        self._taken, self.queue = self.queue, []
        self._disk.log.append([batch for batch, _ in self._taken])
        for batch, _ in self._taken:
            super().commit(batch, lambda: None)

    def sync(self) -> None:
        """Make what is written durable."""
        self._disk.synced = len(self._disk.log)

    def hear(self) -> None:
        """Call back for all that is durable."""
        taken, self._taken = self._taken, []
        for _, done in taken:
            done()

    def pass_empty(self) -> None:
        """A transaction with nothing in it need not be written."""
        if not self._taken and not any(batch.appends for batch, _ in self.queue):
            self._taken, self.queue = self.queue, []
            self.hear()

    def fail(self) -> None:
        """Refuse everything, and tell all who wait."""
        self._refusal = StorageFailed("the disk is full")
        self._failed(self._refusal)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(StorageFailed("the disk is full"))


class HandTimers(Timers):
    """Timers that look at the clock when the test says so."""

    def _arm(self) -> None:
        pass


class Stand:
    """The world of the model, with a real worker in it."""

    def __init__(self, scenario: Scenario) -> None:
        self.disk = Disk()
        self.time = START
        self.effects: list[tuple[int, int]] = []
        self.keys: dict[tuple[int, int], set[str]] = {}
        self._scenario = scenario
        self._protocol = Protocol(scenario)
        self._seen = 0
        self._stages = dict(zip((RUN, "child"), scenario.runs, strict=False))
        self._documents = [
            DocumentRow(digest=name, namespace=NAMESPACE, name=name, version="1.0.0", source="")
            for name in self._stages
        ]
        self._tokens = 0
        self._numbers: dict[str, int] = {RUN: 0}
        self._starting: asyncio.Task[Any] | None = None
        self._telling: dict[str, asyncio.Task[Any]] = {}
        self._begin: dict[tuple[int, int], Callable[[], None]] = {}
        self._under_way: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._journal: SteppedJournal | None = None
        self._worker: Worker | None = None

    def now(self) -> float:
        """Return the time."""
        return self.time

    def token(self) -> str:
        """Return an id that is new."""
        self._tokens += 1
        return f"{self._tokens:032x}"

    # ── moving ────────────────────────────────────────────────────────────────────────

    async def do(self, what: tuple[Any, ...]) -> None:
        """Let one thing happen, and everything that follows from it at once."""
        name, *about = what
        match name:
            case "time passes":
                self.time = DUE
            case "open":
                await self._open()
            case "kill" | "power" | "power, all kept":
                self._lose()
                if name == "power":
                    del self.disk.log[self.disk.synced :]
                elif name == "power, all kept":
                    self.disk.synced = len(self.disk.log)
            case "start":
                assert self._worker is not None
                self._starting = asyncio.create_task(self._worker.start(self._documents[0], None, run=RUN))
            case "tell" | "refuse":
                assert self._worker is not None
                told = self._worker.tell(RUN, self._event(about[1]))
                self._telling[about[1]] = asyncio.create_task(told)
            case "act" | "turn away":
                _, run, command, attempt = about
                self._begin.pop((run, id_of(command, attempt)))()
            case "answer" | "lose":
                _, run, command, attempt = about
                under_way = self._under_way.pop((run, command))
                if not under_way.done() and name == "answer":
                    under_way.set_result(None)
                elif not under_way.done():
                    under_way.set_exception(communication_fault("the answer was lost"))
            case "fire":
                assert self._worker is not None
                self._worker._timers.check()
            case "child":
                assert self._journal is not None
                self._journal.finding.set()
            case "write" | "sync" | "done" | "fail" | "fail late":
                self._store(name)
            case "seen" | "again":
                self._telling.pop(about[1], None)  # That is between a client and itself.
            case _:
                raise AssertionError(name)
        await self._settle()

    def _store(self, name: str) -> None:
        journal = self._journal
        assert journal is not None
        if name in {"write", "fail late"}:
            journal.write()
        if name in {"sync", "fail late"}:
            journal.sync()
        if name == "done":
            journal.hear()
        if name in {"fail", "fail late"}:
            journal.fail()
            self._lose()

    async def _settle(self) -> None:
        """Let the loop go on until it has nothing to do."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while True:
            if self._journal is not None:
                self._journal.pass_empty()
            await asyncio.sleep(0)
            if not ready and (self._journal is None or not self._journal.queue or self._is_busy()):
                return

    def _is_busy(self) -> bool:
        journal = self._journal
        return journal is not None and (
            bool(journal._taken) or any(batch.appends for batch, _ in journal.queue)
        )

    async def _open(self) -> None:
        self._journal = SteppedJournal(self.disk, self._documents, lambda error: self._fail(error))
        gate = Gate(Catalog({"probe": self._probe()}), SystemNetwork(), {})
        self._worker = Worker(
            self._journal,
            gate,
            None,  # type: ignore[arg-type]  # nothing is evaluated
            lambda row: Definition(row, Staged(self._stages[row.name]), {}),
            self,
            self,
            "0.1.0",
            admit=self._admit,
        )
        self._worker._timers = HandTimers(self, self._worker._fire)
        recovering = asyncio.create_task(self._worker.recover())
        await self._settle()
        recovering.result()

    def _fail(self, error: BaseException) -> None:
        if self._worker is not None:
            self._worker.fail(error)

    def _lose(self) -> None:
        """The process is gone, with everything that it had in memory; its clients hear nothing."""
        self._fail(RuntimeError("killed"))
        for task in (self._starting, *self._telling.values()):
            if task is not None and not task.done():
                task.cancel()
        if self._starting is not None and (self._starting.cancelled() or not _is_well(self._starting)):
            self._starting = None
        self._worker = self._journal = None
        self._begin.clear()
        self._under_way.clear()

    # ── the world outside ─────────────────────────────────────────────────────────────

    def _probe(self) -> types.ModuleType:
        """Return the connector whose action is what the model calls one."""
        module = types.ModuleType("probe")
        module.__doc__ = "Does one thing to the world, and waits until it is let go."
        module.VERSION = "1.0.0"  # type: ignore[attr-defined]

        @function(effect="write")
        async def act(call: Call, *, command: int) -> Json:
            """Act."""
            place = (self._number(call.run), command)
            self.effects.append(place)
            self.keys.setdefault(place, set()).add(call.idempotency_key)
            self._under_way[place] = asyncio.get_running_loop().create_future()
            await self._under_way[place]

        act.__module__ = "probe"
        module.act = act  # type: ignore[attr-defined]
        return module

    def _admit(
        self, called: str, arguments: dict[str, Json], begin: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Keep what begins an action until the test lets it."""
        worker = self._worker
        assert worker is not None
        for run, hot in worker._hot.items():
            for id, task in hot.active.items():
                place = (self._number(run), id)
                wish = hot.run.open.get(id) if hot.run else None
                asks = isinstance(wish, Perform) and wish.arguments is arguments
                if asks and task is None and place not in self._begin:
                    self._begin[place] = begin
                    return lambda: None
        raise AssertionError("nobody asked for this action")

    def _number(self, run: str) -> int:
        return self._numbers.setdefault(run, 1)

    def _event(self, verb: str) -> Event:
        if verb == "signal":
            return Arrived(self.time, {"type": SIGNAL, "id": self.token(), "subject": "s"})
        return {"cancel": CancelRequested, "pause": Suspended, "resume": Resumed}[verb](self.time)

    # ── comparing ─────────────────────────────────────────────────────────────────────

    def differences(self, world: World) -> Iterator[str]:
        """Yield what is not as in the model."""
        runs = len(self._scenario.runs)
        yield from _unlike("cache", world.cache, self.disk.journals(runs, len(self.disk.log)))
        yield from _unlike("disk", world.disk, self.disk.journals(runs, self.disk.synced))
        yield from self._torn()
        yield from _unlike("effects", {(run, c) for run, c, _ in world.effects}, set(self.effects))
        yield from _unlike("keys", 1, max(map(len, self.keys.values()), default=1))
        yield from self._clients(world)
        process = world.processes[0]
        yield from _unlike("a process is up", process is not None, self._worker is not None)
        if process is not None and self._worker is not None:
            yield from self._process(process, self._worker)

    def _torn(self) -> Iterator[str]:
        """A transaction may end behind every batch: no law may be broken in between."""
        batches = [batch for works in self.disk.log for batch in works]
        if self._journal is not None:
            batches += [batch for batch, _ in self._journal.queue]
        batches = [batch for batch in batches if batch.appends]
        for size in range(min(self._seen, len(batches)), len(batches)):
            law = self._protocol.broken_journals(_words(len(self._scenario.runs), batches[: size + 1]))
            if law is not None:
                yield f"after batch {size + 1}: {law}"
        self._seen = len(batches)

    def _process(self, process: Process, worker: Worker) -> Iterator[str]:
        assert self._journal is not None
        batches = [batch for works in self.disk.log for batch in works] + [b for b, _ in self._journal.queue]
        memory = _words(len(process.memory), batches)
        yield from _unlike("memory", process.memory, memory)
        active, acting = set(), set()
        for run, hot in worker._hot.items():
            for id, wish in hot.run.open.items() if hot.run else ():
                this = (self._number(run), *number_of(id))
                if id in hot.active and not isinstance(wish, Listen | StartRun):
                    active.add(this)
                if this[:2] in self._under_way and not self._under_way[this[:2]].cancelled():
                    acting.add(this)
        children = {(0, c, n) for r, c, n in process.active if r == 0 and self._is_child(c)}
        yield from _unlike("active", {*process.active} - children, active)
        yield from _unlike("acting", {*process.acting} & {*process.active}, acting)

    def _is_child(self, command: int) -> bool:
        return [kind for stage in self._scenario.runs[0] for kind in stage][command] == "child"

    def _clients(self, world: World) -> Iterator[str]:
        """A client may learn of it later than in the model, never earlier, and nothing else."""
        clients = {"start": (world.starting, self._starting)}
        for verb, client in zip(self._scenario.verbs, world.telling, strict=True):
            clients[verb] = (client, self._telling.get(verb))
        for verb, (client, task) in clients.items():
            if task is None or not task.done() or task.cancelled():
                continue
            error = task.exception()
            refused = isinstance(error, Conflict)
            lost = isinstance(error, StorageFailed) and client in {"unknown", "new"}
            expected = {"refused"} if refused else {"ok"}
            if client not in expected and not lost:
                yield f"{verb} was answered {error or 'well'}, and in the model it is {client}"

    def unanswered(self) -> list[str]:
        """Return the verbs of clients that still wait."""
        tasks = {"start": self._starting, **self._telling}
        return [verb for verb, task in tasks.items() if task is not None and not task.done()]

    def answer_of(self, verb: str) -> BaseException | None:
        """Return what a client was refused with; None if all went well."""
        return self._telling[verb].exception()

    async def close(self) -> None:
        """Leave nothing behind."""
        self._lose()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _is_well(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _words(runs: int, batches: Any) -> tuple[Journal, ...]:
    """Return the journals that batches make, in the model's words; the first run made is the parent."""
    journals: list[list[str]] = [[] for _ in range(runs)]
    for batch in batches:
        for append in batch.appends:
            journals[append.number - 1].append(word_of(read_entry(append.entry).event))
    return tuple(map(tuple, journals))


def _unlike(what: str, expected: object, actual: object) -> Iterator[str]:
    if expected != actual:
        yield f"{what}: in the model {expected}, here {actual}"
