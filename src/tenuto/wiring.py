"""Puts the parts together that run workflows: the one place where store, gate and worker meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tenuto import __version__
from tenuto.authoring.declare import Step, Workflow
from tenuto.engine.ports import Chance, Clock
from tenuto.operations.desk import Desk
from tenuto.operations.requests import answer
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.code import Code
from tenuto.runtime.control import answering
from tenuto.runtime.definitions import builder
from tenuto.runtime.evaluation import Evaluator
from tenuto.runtime.guard import Guard
from tenuto.runtime.network import SystemNetwork, parse_resolve
from tenuto.runtime.steps import Functions, Steps
from tenuto.runtime.system import SystemChance, SystemClock
from tenuto.runtime.watchdog import Watchdog
from tenuto.runtime.worker import Worker
from tenuto.settings import Settings
from tenuto.storage.sqlite import open_journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a process brings besides its settings: code, and in tests time and chance."""

    workflows: tuple[Workflow[..., Any], ...] = ()
    steps: tuple[Step[..., Any], ...] = ()
    clock: Clock | None = None
    chance: Chance | None = None


@asynccontextmanager
async def opened(settings: Settings, parts: Parts, command: str) -> AsyncIterator[Desk]:
    """Open the database for writing, with a worker that drives its runs.

    `command` is how the holder of the database is called, when another process asks for it.
    """
    catalog, clock = Catalog.discover(), parts.clock or SystemClock()
    folders = (*(path if path.is_dir() else path.parent for path in settings.known), Path.cwd())
    workers: list[Worker] = []

    def failed(error: BaseException) -> None:
        for worker in workers:
            worker.fail(error)

    journal = await open_journal(settings.database, failed=failed, command=command)
    steps = Steps()
    try:
        for step in parts.steps:
            steps.know(step)
        evaluator = Evaluator(
            time_limit_seconds=settings.expression_ms / 1000,
            memory_limit_bytes=settings.expression_memory_mib * 1024 * 1024,
        )
        gate = Gate(Functions(steps, catalog), network(settings), settings.secrets)
        with watching(bool(parts.workflows)) as guard:
            code = Code(parts.workflows, steps.know, guard)
            build = builder(catalog, folders, code.build)
            chance = parts.chance or SystemChance()
            worker = Worker(journal, gate, evaluator, build, clock, chance, __version__)
            workers.append(worker)
            desk = Desk(journal=journal, runner=worker, clock=clock, chance=chance)
            try:
                # Runs of other workflows start these by name.
                await journal.put_documents(code.documents())
                async with answering(settings.database, partial(answer, desk)):
                    yield desk
            finally:
                await worker.close()
                await evaluator.close()
    finally:
        await steps.close()
        await journal.close()


@contextmanager
def watching(wanted: bool) -> Iterator[Guard | None]:
    """Watch workflow code while the context is open, if there is any."""
    if not wanted:
        yield None
        return
    guard = Guard()
    watchdog = Watchdog(guard)
    watchdog.start()
    try:
        yield guard
    finally:
        watchdog.stop()


def network(settings: Settings) -> SystemNetwork:
    """Return how connectors reach other machines."""
    mapping: dict[tuple[str, int], tuple[str, int]] = {}
    for rules in settings.resolve:
        mapping.update(parse_resolve(rules))
    file, folder = settings.certificates_file, settings.certificates_folder
    return SystemNetwork(
        mapping,
        trust_file=None if file is None else str(file),
        trust_folder=None if folder is None else str(folder),
    )
