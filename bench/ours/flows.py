"""The workflows that are measured, in Python and as documents, and how either is opened and started."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from bench.measuring import STEPS, asked, sqlite_durability
from tenuto import App, Handle, Signal, each, sleep_until, step, workflow
from tenuto.engine.ports import Chance, Clock

AT_ONCE: Final = 200
"""Calls of one `each` under way."""

STARTS_AT_ONCE: Final = 500
"""Runs being started at the same time where many are."""

go = Signal("go", float)


class Noted:
    """What steps tell the measurement: they run in this process."""

    def __init__(self) -> None:
        self.lags_seconds: list[float] = []
        self.hold: asyncio.Event | None = None
        self.first_step = 0.0
        self.wanted = 0
        self.all_done: asyncio.Event | None = None

    def step(self) -> None:
        """Note a step that is done."""
        self.wanted -= 1
        if not self.first_step:
            self.first_step = time.time()
        if not self.wanted and self.all_done is not None:
            self.all_done.set()


noted = Noted()


@step
async def plus_one(number: int) -> int:
    """Do as good as nothing."""
    return number + 1


@step
async def echo(text: str) -> str:
    """Answer what is given."""
    return text


@step
async def woken(since: float) -> None:
    """Note how long ago it should have run."""
    noted.lags_seconds.append(time.time() - since)
    noted.step()


@step
async def gated(number: int) -> int:
    """Never come back in a process that is to be killed; do as good as nothing in the next."""
    if noted.hold is not None:
        await noted.hold.wait()
    noted.step()
    return number + 1


@workflow
async def ten(number: int) -> int:
    """Ten steps, one after the other."""
    for _ in range(STEPS):
        number = await plus_one(number)
    return number


@workflow
async def ten_texts(text: str) -> str:
    """Ten steps, one after the other, with much to carry."""
    for _ in range(STEPS):
        text = await echo(text)
    return text


@workflow
async def ten_gated(number: int) -> int:
    """Ten steps that may hang."""
    for _ in range(STEPS):
        number = await gated(number)
    return number


@workflow
async def many(count: int) -> int:
    """Very many steps, one after the other."""
    number = 0
    while number < count:
        number = await plus_one(number)
    return number


@workflow
async def listed(count: int) -> int:
    """A step for each item, side by side."""
    total = 0
    async for result in each(plus_one, range(count), at_once=AT_ONCE):
        total += result
    return total


@workflow
async def sleeper(due: float) -> None:
    """Wait for a time, then do a step."""
    await sleep_until(datetime.fromtimestamp(due, UTC))
    await woken(due)


@workflow
async def receiver() -> None:
    """Wait for a signal, then do a step."""
    await woken(await go.receive())


@workflow
async def stopped(count: int) -> int:
    """Many steps, one after the other; then wait, so that it is there to be taken up."""
    number = 0
    for _ in range(count):
        number = await plus_one(number)
    await go.receive()
    return number


WORKFLOWS: Final = (ten, ten_texts, ten_gated, many, listed, sleeper, receiver, stopped)
BY_NAME: Final = {one.name: one for one in WORKFLOWS}


STEPS_OF_DOCUMENTS: Final = (woken, gated)


def _ten(call: str) -> str:
    return "".join(f"  - step{number}: {call}\n" for number in range(STEPS))


_NOOP: Final = "{call: 'core.noop:1.0.0@default', with: {value: '${ . + 1 }'}}"
_WOKEN: Final = "{call: 'python.woken:1.0.0@default', with: {since: '${ . }'}}"

DOCUMENTS: Final = {
    "ten": _ten(_NOOP),
    "ten-texts": _ten("{call: 'core.noop:1.0.0@default', with: {value: '${ . }'}}"),
    "ten-gated": _ten("{call: 'python.gated:1.0.0@default', with: {number: '${ . }'}}"),
    "many": "  - begin: {set: '${ 0 }'}\n"
    + f"  - work: {_NOOP}\n  - more: {{switch: [{{again: {{when: '. < $workflow.input', then: work}}}}]}}\n",
    "sleeper": "  - until: {wait: '${ {milliseconds: ([. - now, 0] | max * 1000)} }'}\n"
    + f"  - step: {_WOKEN}\n",
    "receiver": "  - hear: {listen: {to: {one: {with: {type: go}}}}, output: {as: '.[0]'}}\n"
    + f"  - step: {_WOKEN}\n",
}
"""Tasks by name; a step of `ten` is a call, as in Python."""


def _write_documents(folder: Path) -> list[Path]:
    paths = []
    for name, tasks in DOCUMENTS.items():
        path = folder / f"{name}.yaml"
        header = f"document: {{dsl: '1.0.3', namespace: bench, name: {name}, version: '1.0.0'}}"
        path.write_text(f"{header}\ndo:\n{tasks}", encoding="utf-8")
        paths.append(path)
    return paths


class Connections:
    """Every SQLite connection that is opened meanwhile, so that its settings can be asked.

    No audit hook: it would be called in every step, and could not be taken away again.
    """

    def __init__(self) -> None:
        self._opened: list[sqlite3.Connection] = []
        self._connect = sqlite3.connect

    def __enter__(self) -> Self:
        sqlite3.connect = self._note
        return self

    def __exit__(self, *_: object) -> None:
        sqlite3.connect = self._connect

    def _note(self, *args: Any, **options: Any) -> sqlite3.Connection:
        connection = self._connect(*args, **options)
        self._opened.append(connection)
        return connection

    def durability(self) -> str:
        """Say what those that are open answer, and refuse what would not sync each commit."""
        seen = []
        for connection in self._opened:
            with suppress(sqlite3.ProgrammingError):  # it is closed
                seen.append(asked(connection))
        return sqlite_durability(seen)


@dataclass(slots=True)
class Opened:
    """An open App, and how its runs are started."""

    app: App
    mode: str
    folder: Path
    connections: Connections

    async def start(self, name: str, given: Any) -> Handle[Any]:
        """Start a run: of a workflow in Python, or of the document of that name."""
        if self.mode == "code":
            workflow = BY_NAME[name]
            return await (self.app.start(workflow) if given is None else self.app.start(workflow, given))
        return await self.app.start_document(name, given, namespace="bench")

    async def run(self, name: str, given: Any) -> Any:
        """Start a run and wait for its result."""
        handle = await self.start(name, given)
        return await handle.result()

    async def together(self, name: str, given: Iterable[Any]) -> list[Any]:
        """Run so many at once; answer their results."""
        return await asyncio.gather(*(self.run(name, one) for one in given))

    async def start_all(self, name: str, given: Iterable[Any]) -> list[str]:
        """Start very many runs, `STARTS_AT_ONCE` at a time; answer their ids."""
        ids, left = [], iter(given)
        while some := list(islice(left, STARTS_AT_ONCE)):
            ids += [handle.id for handle in await asyncio.gather(*(self.start(name, one) for one in some))]
        return ids


@asynccontextmanager
async def opened(
    folder: Path,
    mode: str,
    *,
    clock: Clock | None = None,
    chance: Chance | None = None,
) -> AsyncIterator[Opened]:
    """Open an App as the reference says, on a database in a folder."""
    documents = [] if mode == "code" else _write_documents(folder)
    workflows, steps = (WORKFLOWS, ()) if mode == "code" else ((), STEPS_OF_DOCUMENTS)
    app = App(
        workflows=workflows,
        steps=steps,
        documents=documents,
        database=folder / "tenuto.db",
        clock=clock,
        chance=chance,
    )
    async with AsyncExitStack() as stack:
        with Connections() as connections:
            await stack.enter_async_context(app)
        yield Opened(app, mode, folder, connections)


@contextmanager
def kept_open(folder: Path, mode: str) -> Iterator[tuple[asyncio.Runner, Opened]]:
    """Keep an App open on an event loop that runs while something is waited for, as the other systems in a process are."""
    with asyncio.Runner() as loop:
        stack = AsyncExitStack()
        try:
            yield loop, loop.run(stack.enter_async_context(opened(folder, mode)))
        finally:
            loop.run(stack.aclose())
