"""One life of a process: the real App, worker, gate and programs, on a simulated disk, clock and world.

Replaced are, at their ports: the store, the clock, chance, the evaluator's child process, and the threads of steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from tenuto import __version__
from tenuto.application import App
from tenuto.authoring import asking
from tenuto.engine.model import Entry, Json
from tenuto.engine.ports import DocumentRow
from tenuto.errors import LimitExceeded, NotFound
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load
from tenuto.language.program import undoable_functions
from tenuto.operations.desk import Desk
from tenuto.plugin import Network
from tenuto.runtime.actions import Gate, Invocable
from tenuto.runtime.code import Code
from tenuto.runtime.guard import Guard
from tenuto.runtime.hot import Definition
from tenuto.runtime.limits import Limits
from tenuto.runtime.steps import Functions, Steps
from tenuto.runtime.worker import Worker
from tenuto.settings import Secrets, Settings
from tests.reliability.simulation.disk import Disk, Fault, Store
from tests.reliability.simulation.flows import WORKFLOWS
from tests.reliability.simulation.loop import Loop
from tests.reliability.simulation.plan import Plan
from tests.reliability.simulation.world import CANARY, STEPS, Threads, World

_EVALUATION_SECONDS: Final = 0.05


class Clock:
    """The machine's clock: the true time, and how far it is set wrong."""

    def __init__(self) -> None:
        self.loop: Loop | None = None
        self.offset = 0.0

    def now(self) -> float:
        """Return the time that it shows."""
        assert self.loop is not None
        return self.loop.time() + self.offset


class Chance:
    """Ids from a seed."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def token(self) -> str:
        """Return 128 bits."""
        return f"{self._chance.getrandbits(128):032x}"


class Evaluator:
    """In place of the child process: knows the one expression of the second lane that documents have."""

    def __init__(self, chance: Random, trouble: float) -> None:
        self._chance = chance
        self._trouble = trouble

    async def evaluate(self, expression: str, value: Json, variables: dict[str, Json], now: float) -> Json:
        """Answer after a while, or say that it took too long."""
        await asyncio.sleep(self._chance.random() * _EVALUATION_SECONDS)
        if self._chance.random() < self._trouble / 2:
            raise LimitExceeded("the expression took too long")
        return {"n": int(value["n"]) + 3}


class Nothing:
    """No connectors."""

    def find(self, name: str) -> Invocable:
        """Find nothing."""
        raise NotFound(f"there is no function {name}")


class Process(App):
    """An App on a simulated machine."""

    def __init__(
        self,
        life: int,
        plan: Plan,
        disk: Disk,
        clock: Clock,
        loop: Loop,
        world: World,
        *,
        faults: dict[int, Fault],
        documents: tuple[DocumentRow, ...],
        holds: Callable[[], None],
        seen: Callable[[str, int, Entry], None],
        failed: Callable[[], None],
        told: Callable[[str], None],
    ) -> None:
        """Take what it works with.

        `holds` is called once it has the disk, `seen` for each entry that becomes durable, `failed` when the
        store fails.
        """
        super().__init__(WORKFLOWS, settings=Settings(secrets=Secrets({"token": CANARY})))
        self._life = life
        self._plan = plan
        self._disk = disk
        self._clock = clock
        self._loop_of_life = loop
        self._world = world
        self._faults = faults
        self._stored = documents
        self._holds = holds
        self._seen = seen
        self._when_failed = failed
        self._told = told
        self.store: Store | None = None
        self.worker: Worker | None = None
        self.has_disk = False

    def _opened(self) -> AbstractAsyncContextManager[Desk]:
        return self._simulated()

    @asynccontextmanager
    async def _simulated(self) -> AsyncIterator[Desk]:
        plan, loop, life = self._plan, self._loop_of_life, self._life
        self._disk.hold(life)
        self.has_disk = True
        self._holds()
        store = self.store = Store(
            self._disk,
            loop,
            plan.chance(f"disk/{life}"),
            failed=self._fail,
            faults=self._faults,
            queue_bytes_max=plan.queue_bytes_max,
            entries_at_once=plan.entries_at_once,
            fsync_seconds=plan.fsync_seconds,
            told=self._told,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._unless_dead, self._let_go, store)
            steps = Steps(limits=Limits())
            steps._threads = cast(Any, Threads(loop, self._world))
            stack.push_async_callback(self._unless_dead, steps.close)
            for step in STEPS:
                steps.know(step)
            functions = Functions(steps, Nothing())
            code = Code(WORKFLOWS, steps.know, Guard() if plan.guarded else None, {})
            chance = Chance(plan.chance(f"ids/{life}"))
            worker = self.worker = Worker(
                store,
                Gate(functions, cast(Network, None), self._settings.secrets),
                Evaluator(plan.chance(f"evaluator/{life}"), plan.trouble),
                _builder(steps, code),
                self._clock,
                chance,
                __version__,
                hot_runs=plan.hot_runs,
                admit=steps.admit,
            )
            stack.push_async_callback(self._unless_dead, worker.close)
            worker.watch(self._seen)
            await store.put_documents([*code.documents(), *self._stored])
            yield Desk(journal=store, runner=worker, clock=self._clock, chance=chance)

    async def _unless_dead(self, close: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Close something in order; who is killed does not."""
        if not self._loop_of_life.is_closed():
            await close(*arguments)

    async def _let_go(self, store: Store) -> None:
        """Close the store, and with that let go of the disk."""
        try:
            await store.close()
        finally:
            self.has_disk = False

    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._desk is not None

    def remembers(self, run: str) -> bool:
        """Whether a run is in memory."""
        return self.worker is not None and run in self.worker._memory.runs

    def _fail(self, error: BaseException) -> None:
        self._told(f"failed: {error}")
        if self.worker is not None:
            self.worker.fail(error)
        self._when_failed()

    def kill(self) -> bool:
        """Let go of everything at once; return whether a transaction that was under way got to the disk."""
        torn = self.store is not None and self.store.torn()
        token = asking._current.set(
            asking.Gone()
        )  # what code of workflows does on its way out reaches nobody
        try:
            self._loop_of_life.kill()
            if self.worker is not None:
                self.worker._memory.forget_all()
        finally:
            asking._current.reset(token)
        self._disk.holder = None
        return torn


@cache
def parsed(source: str) -> dict[str, Json]:
    """Return a document's value; reading it takes longer than to run it."""
    value: dict[str, Json] = load(source).data
    return value


def _builder(steps: Steps, code: Code) -> Callable[[DocumentRow], Definition]:
    """Do what `runtime.definitions.builder` does, with documents that were read before."""

    def build(row: DocumentRow) -> Definition:
        if row.kind != "document":
            return code.build(row)
        undo = {}
        for name in undoable_functions(parsed(row.source)):
            found = steps.find(name)
            if found is not None and found.step.undo is not None:
                undo[name] = found.step.undo.called
        return Definition(row, Interpreter(parsed(row.source)), undo, (Path(),))

    return build
