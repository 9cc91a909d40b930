"""The App behind an environment: everything is real but time, chance, the store and what is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from tenuto import __version__
from tenuto.application import App
from tenuto.authoring.declare import Step, Workflow
from tenuto.engine.model import SIGNAL, Entry, Listen, Perform, StartRun, Wake
from tenuto.engine.ports import Journal, RunRow
from tenuto.operations.desk import Desk
from tenuto.operations.history import timestamp
from tenuto.operations.runs import find_run
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.definitions import builder
from tenuto.runtime.evaluation import Evaluator
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.python import Python
from tenuto.settings import Secrets, Settings
from tenuto.storage.memory import MemoryJournal
from tenuto.storage.sqlite import open_journal
from tenuto.testing.clock import CountingChance
from tenuto.testing.doubles import Doubles
from tenuto.testing.driving import DrivenWorker
from tenuto.testing.passing import Passing


@cache
def installed() -> Catalog:
    """Return the connectors that are installed; finding them takes longer than a test."""
    return Catalog.discover()


class Stage(App):
    """Runs the workflows of one test; `complain` raises what the test has to know."""

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any]],
        steps: Iterable[Step[..., Any]],
        secrets: Secrets,
        passing: Passing,
        doubles: Doubles,
        complain: Callable[[], None],
        database: Path | None,
    ) -> None:
        super().__init__(workflows, steps=steps, settings=Settings(secrets=secrets))
        self._secrets = secrets
        self._passing = passing
        self._doubles = doubles
        self._complain = complain
        self._database = database
        self._chance = CountingChance()
        self._kept: MemoryJournal | None = None
        self.watchers: list[Callable[[DrivenWorker, str, int, Entry], None]] = []
        self._python: Python | None = None
        self._worker: DrivenWorker | None = None

    def know(self, workflow: Workflow[..., Any]) -> None:
        """Know one more workflow."""
        self._parts = replace(self._parts, workflows=(*self._parts.workflows, workflow))
        if self._python is not None:
            self._python.add(workflow)

    @asynccontextmanager
    async def _staged(self) -> AsyncIterator[Desk]:
        catalog, clock, chance = installed(), self._passing.clock, self._chance
        async with AsyncExitStack() as stack:
            journal = await self._open_journal()
            if journal is not self._kept:
                stack.push_async_callback(journal.close)
            python = self._python = Python(self._parts.workflows, self._parts.steps, catalog)
            stack.push_async_callback(python.close)
            self._doubles.stand_before(python)
            evaluator = Evaluator()
            stack.push_async_callback(evaluator.close)
            worker = self._worker = DrivenWorker(
                journal,
                Gate(self._doubles, SystemNetwork(), self._secrets),
                evaluator,
                builder(catalog, (Path.cwd(),), python.build),
                clock,
                chance,
                __version__,
                rests=self._passing.look,
            )
            stack.push_async_callback(worker.close)
            for watcher in self.watchers:
                worker.watch(partial(watcher, worker))
            self._passing.drive(worker)
            stack.callback(self._passing.drive, None)
            await journal.put_documents(python.documents())
            yield Desk(journal=journal, runner=worker, clock=clock, chance=chance)

    async def _open_journal(self) -> Journal:
        """Open the store; one in memory outlives the worker."""
        if self._database is not None:
            return await open_journal(self._database, failed=self._fail, command="a test")
        if self._kept is None:
            self._kept = MemoryJournal(failed=self._fail)
        return self._kept

    async def crash(self) -> None:
        """Lose the worker and everything in its memory; begin again on what the store has."""
        self._fail(RuntimeError("killed by the test"))
        await self.__aexit__()
        await self.__aenter__()

    def _fail(self, error: BaseException) -> None:
        if self._worker is not None:
            self._worker.fail(error)

    def _opened(self) -> AbstractAsyncContextManager[Desk]:
        return self._staged()

    def abandon(self) -> None:
        """Let go of everything where the event loop is gone already."""
        with suppress(RuntimeError):
            self._fail(RuntimeError("the test is over"))

    async def _until(self, wait: Callable[[Desk, str], Awaitable[RunRow]], run: str) -> RunRow:
        """Wait for a run while time passes; fail if that is in vain."""
        self._complain()
        await find_run(self.desk, run)
        waiting = asyncio.ensure_future(super()._until(wait, run))
        with self._passing.awaiting(run) as vain:
            both: set[asyncio.Future[Any]] = {waiting, vain}
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if vain.done():
                    vain.result()
            finally:
                if not waiting.done():
                    waiting.cancel()
                    with suppress(asyncio.CancelledError):
                        await waiting
        self._complain()
        return waiting.result()

    def waits_for(self, run: str) -> str:
        """Say what a run waits for that nothing will bring."""
        status, commands = self._worker.waits_for(run) if self._worker is not None else ("unknown", [])
        wanted = "; ".join(filter(None, map(_wish, commands))) or "nothing that is known"
        timers = any(isinstance(command, Wake) for command in commands)
        if status == "suspended":
            hint = "await handle.resume() before its result"
        elif timers and not self._passing.auto_advance:
            hint = "await env.pass_time(...): the time of this environment does not pass by itself"
        else:
            hint = "env.emit(...) or handle.signal(...) before its result; env.settle(handle) waits till here"
        return f"the run {run} is {status} and nothing can move it: it waits for {wanted}\nhint: {hint}"


def _wish(command: object) -> str:
    match command:
        case Wake():
            return f"the time {timestamp(command.at)}"
        case Listen(types=(kind,)) if kind == SIGNAL:
            return "a signal"
        case Listen():
            return f"events of type {', '.join(command.types)}" if command.types else "any event"
        case Perform():
            return f"`{command.function}` (attempt {command.attempt})"
        case StartRun():
            return f"the workflow {command.namespace}/{command.name}"
        case _:
            return ""
