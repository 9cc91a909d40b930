"""A workbench for worker tests: a real store on disk, functions that count, time that jumps."""

from __future__ import annotations

import asyncio
import contextlib
import textwrap
import types
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tenuto.engine.ports import DocumentRow, Journal, RunRow
from tenuto.errors import communication_fault
from tenuto.language.load import digest
from tenuto.plugin import Call, function
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.definitions import builder
from tenuto.runtime.evaluation import Evaluator
from tenuto.runtime.memory import HOT_RUNS
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.worker import Worker
from tenuto.storage.sqlite import open_journal


class TestClock:
    """A clock that the test sets."""

    __test__ = False

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        """Return the time that the test has set."""
        return self.time


class Counter:
    """Tokens that can be told apart and repeat from run to run."""

    def __init__(self) -> None:
        self.count = 0

    def token(self) -> str:
        """Return the next token."""
        self.count += 1
        return f"{self.count:032x}"


class Probe:
    """A connector that remembers its calls and can be held or made to fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.keys: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.reached: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()

    def hold(self, name: str) -> asyncio.Event:
        """Let calls of this name wait until the event is set; answer an event that says one is there."""
        self.held[name] = asyncio.Event()
        self.reached[name] = asyncio.Event()
        return self.reached[name]

    def module(self) -> types.ModuleType:
        """Return the connector as a module."""
        probe = self
        module = types.ModuleType("probe")
        module.__doc__ = "A connector for tests."
        module.VERSION = "1.0.0"  # type: ignore[attr-defined]

        @function(effect="write", undo="unmark")
        async def mark(call: Call, *, name: str, value: Any = None) -> Any:
            """Remember a call."""
            probe.calls.append((name, value))
            probe.keys.append(call.idempotency_key)
            if name in probe.held:
                probe.reached[name].set()
                await probe.held[name].wait()
            if name in probe.failing:
                raise communication_fault(f"{name} fails on purpose", 503, transient=True)
            return {"name": name, "value": value}

        @function(effect="write")
        async def unmark(call: Call, *, name: str) -> None:
            """Take a call back."""
            probe.calls.append(("undo " + name, None))

        for item in (mark, unmark):
            item.__module__ = "probe"
            setattr(module, item.__name__, item)
        return module


class Bench:
    """One process's worth of Tenuto over a database file."""

    def __init__(
        self, path: Path, probe: Probe, clock: Any, secrets: Mapping[str, Any], hot_runs: int = HOT_RUNS
    ) -> None:
        self.path = path
        self.probe = probe
        self.clock = clock
        self.secrets = secrets
        self.hot_runs = hot_runs
        self.chance = Counter()
        self.journal: Journal
        self.worker: Worker
        self.evaluator: Evaluator
        self.documents: dict[str, DocumentRow] = {}

    async def open(self) -> None:
        """Open the store and start a worker."""
        self.journal = await open_journal(self.path, failed=lambda error: self.worker.fail(error))
        self.evaluator = Evaluator()
        gate = Gate(Catalog({"probe": self.probe.module()}), SystemNetwork(), self.secrets)
        self.worker = Worker(
            self.journal,
            gate,
            self.evaluator,
            builder(Catalog({"probe": self.probe.module()})),
            self.clock,
            self.chance,
            "0.1.0",
            hot_runs=self.hot_runs,
        )

    async def close(self) -> None:
        """Stop the worker and close the store."""
        await self.worker.close()
        await self.evaluator.close()
        await self.journal.close()

    async def crash(self) -> None:
        """Lose everything in memory, as a kill would, and start again on what the disk has."""
        self.worker.fail(RuntimeError("killed"))
        await self.evaluator.close()
        await self.journal.close()
        await self.open()

    async def start(self, body: str, data: Any = None, run: str | None = None, name: str = "flow") -> str:
        """Start a run of a document, whose header is written here."""
        return await self.worker.start(document(body, name), data, run=run)

    async def run(self, body: str, data: Any = None) -> RunRow:
        """Run a document to where it settles."""
        return await self.worker.settle(await self.start(body, data))


def document(body: str, name: str = "flow", version: str = "1.0.0") -> DocumentRow:
    """Return a document's row."""
    head = f"document: {{dsl: '1.0.3', namespace: test, name: {name}, version: '{version}'}}\n"
    source = head + textwrap.dedent(body)
    return DocumentRow(digest=digest(source), namespace="test", name=name, version=version, source=source)


@contextlib.asynccontextmanager
async def bench(
    path: Path, *, clock: Any = None, secrets: Mapping[str, Any] | None = None, hot_runs: int = HOT_RUNS
) -> AsyncIterator[Bench]:
    """Give a workbench over a new database in `path`."""
    made = Bench(path / "tenuto.db", Probe(), clock or TestClock(), secrets or {}, hot_runs)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
