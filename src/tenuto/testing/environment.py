"""Where workflows are tested: a real worker on a journal in memory, with the test's own time and answers.

    async with Environment() as env:
        env.replace("http.request", {"status": 200})
        assert await env.run("order.yaml", {"id": 7}) == {"paid": True}
        assert env.calls("http.request")[0].arguments["endpoint"] == "https://example.com/orders/7"

It opens itself when it is first used, in the event loop of the test; `run_sync` brings a loop of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from tenuto.application import Handle
from tenuto.authoring.asking import ChildCall
from tenuto.authoring.data import Codec
from tenuto.authoring.declare import Step, Workflow
from tenuto.engine.model import Entry, Json
from tenuto.engine.ports import DocumentRow, RunRow
from tenuto.errors import InvalidInput
from tenuto.operations.runs import start_run
from tenuto.runtime.recording import read_entry
from tenuto.settings import Secrets
from tenuto.testing.answers import seconds_of
from tenuto.testing.clock import START_TIME, VirtualClock
from tenuto.testing.documents import Document, document_row
from tenuto.testing.doubles import Doubles, Recorded, UnexpectedCall, name_of
from tenuto.testing.driving import DrivenWorker
from tenuto.testing.passing import STALLED_SECONDS, Passing
from tenuto.testing.stage import Stage, installed

T = TypeVar("T")

_ALL_RUNS: Final = 1_000_000
_ANY: Final[Codec[Any]] = Codec(Any, "data without a type")


class Environment:
    """A place to test workflows in; see the module's text."""

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any]] = (),
        *,
        steps: Iterable[Step[..., Any]] = (),
        documents: Iterable[Document | DocumentRow] = (),
        secrets: Mapping[str, Any] | None = None,
        start_time: datetime = START_TIME,
        auto_advance: bool = True,
        allow: Iterable[str] = (),
        database: str | Path | None = None,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        """Take what the test needs; nothing is opened yet.

        Args:
            workflows: Workflows in Python that others call by name; those that the test starts are
                known anyway.
            steps: Steps that YAML documents call.
            documents: YAML documents that others call: paths, texts or dicts.
            secrets: Values by name, for `$secrets` and `secret(...)`.
            start_time: When the test begins.
            auto_advance: Whether time jumps to the next timer while a result is awaited and nothing
                is under way. Otherwise only `pass_time` moves it.
            allow: Functions that may reach outside: `"files.read"`, `"http.*"`.
            database: A SQLite file, made if need be, in place of the store in memory.
            stalled_seconds: After how many real seconds a test is told that it awaits in vain.
        """
        self.clock = VirtualClock(start_time)
        self._passing = Passing(
            self.clock, self._waits_for, auto_advance=auto_advance, stalled_seconds=stalled_seconds
        )
        self._doubles = Doubles(self._passing, allow, self._refuse)
        self._workflows = list(workflows)
        self._steps = list(steps)
        self._documents = [document_row(document) for document in documents]
        self._secrets = Secrets(dict(secrets or {}))
        self._stage: Stage | None = None
        self._database = None if database is None else Path(database)
        self._watchers: list[Callable[[DrivenWorker, str, int, Entry], None]] = []
        self._refusals: list[UnexpectedCall] = []
        self._runner: asyncio.Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # ── what stands for the world ─────────────────────────────────────────────────────

    def replace(self, what: str | Step[..., Any], answer: Any) -> None:
        """Answer the calls of a step or a connector's function in place of it.

        Args:
            what: The step, its name, or a function's name as in `http.request`.
            answer: A value; a function, sync or async, of the call's arguments; an exception or an
                `Error`; an `After`; or a list of these, one for each call.

        Raises:
            NotFound: No connector has such a function.
        """
        self._doubles.replace(what, answer, installed())

    def calls(self, what: str | Step[..., Any] | None = None) -> list[Recorded]:
        """Return the calls that workflows made, in order: of one step or function, or all."""
        if what is None:
            return list(self._doubles.calls)
        name = name_of(what, installed())
        return [call for call in self._doubles.calls if call.function == name]

    def add(self, *more: Workflow[..., Any] | Step[..., Any] | Document) -> None:
        """Make workflows, steps and documents known that others call by name; before the first run."""
        for each in more:
            if isinstance(each, Workflow):
                self._know(each)
            elif isinstance(each, Step):
                self._require_unopened("steps")
                self._steps.append(each)
            else:
                self._require_unopened("documents")
                self._documents.append(document_row(each))

    def _require_unopened(self, what: str) -> None:
        if self._stage is not None:
            raise InvalidInput(f"{what} are added before the first run", hint="move `add` up")

    def _know(self, workflow: Workflow[..., Any]) -> None:
        if not any(each is workflow for each in self._workflows):
            self._workflows.append(workflow)
            if self._stage is not None:
                self._stage.know(workflow)

    # ── time ──────────────────────────────────────────────────────────────────────────

    def now(self) -> datetime:
        """Return the present (virtual) time, UTC."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    async def pass_time(self, duration: timedelta | float) -> None:
        """Let time pass (a timedelta, or seconds); return when everything that came due is done."""
        await self._opened()
        await self._passing.pass_seconds(seconds_of(duration) or 0.0)
        self._check()

    async def rest(self) -> None:
        """Return when nothing is under way any more: all runs are over, or wait."""
        await self._opened()
        await self._passing.rest()
        self._check()

    async def sleep(self, duration: timedelta | float) -> None:
        """Wait for virtual time to pass: in replacements, and in tests beside an awaited result."""
        await self._opened()
        await self._passing.sleep(seconds_of(duration))

    # ── runs ──────────────────────────────────────────────────────────────────────────

    async def start(self, workflow: Any, *args: Any, id: str | None = None, **kwargs: Any) -> Handle[Any]:
        """Start a run and return its handle.

        Args:
            workflow: A workflow in Python, a call of one, or a YAML document: a path, its text, a dict.
            args: The workflow's arguments; of a document, its input ({} without it).
            id: The run's id; without it a new one.
            kwargs: The workflow's arguments by name.
        """
        stage = await self._opened()
        if isinstance(workflow, Workflow):
            workflow = workflow(*args, **kwargs)
        if isinstance(workflow, ChildCall):
            self._know(workflow.workflow)
            return await stage.start(workflow, id=id)
        if kwargs or len(args) > 1:
            raise InvalidInput(
                "a document has one input", hint='give it as one value: env.run(doc, {"a": 1})'
            )
        return await self.start_row(document_row(workflow), args[0] if args else {}, id=id)

    async def start_row(self, row: DocumentRow, data: Json, *, id: str | None = None) -> Handle[Any]:
        """Start a run of a document that is checked already."""
        stage = await self._opened()
        await stage.desk.journal.put_documents([row])
        return Handle(stage, await start_run(stage.desk, row, _ANY.encode(data), run=id), _ANY)

    async def run(self, workflow: Any, *args: Any, id: str | None = None, **kwargs: Any) -> Any:
        """Start a run, wait for its end and return its result; see `start`. Raises what it fails with."""
        handle = await self.start(workflow, *args, id=id, **kwargs)
        return await handle.result()

    async def settle(self, handle: Handle[Any]) -> RunRow:
        """Return a run's row once it is over, suspended, or waits for what only the test can give."""
        return await (await self._opened()).settle(handle)

    async def emit(self, event: str | Mapping[str, Any], data: Json = None, /, **attributes: str) -> None:
        """Publish a CloudEvent to all runs that listen: by its type and data, or whole as a dict."""
        stage = await self._opened()
        await self._passing.rest()
        if isinstance(event, Mapping):
            rest = {name: value for name, value in event.items() if name not in {"type", "data"}}
            if "type" not in event:
                raise InvalidInput("an event has a `type`", hint='env.emit({"type": "order.paid", ...})')
            await stage.emit(event["type"], event.get("data", data), **{**rest, **attributes})
        else:
            await stage.emit(event, data, **attributes)

    async def history(self, handle: Handle[Any]) -> list[Entry]:
        """Return a run's journal, entry by entry."""
        journal = (await self._opened()).desk.journal
        row = await handle.row()
        entries: list[Entry] = []
        while page := await journal.history(row.number, after=len(entries)):
            entries += [read_entry(data) for _, data in page]
        return entries

    async def runs(self) -> list[RunRow]:
        """Return the rows of all runs, the first one first; of children too."""
        journal = (await self._opened()).desk.journal
        return (await journal.runs(limit=_ALL_RUNS))[::-1]

    def handle(self, id: str) -> Handle[Any]:
        """Return the handle of a run that is there."""
        if self._stage is None:
            raise InvalidInput(f"there is no run {id!r} yet", hint="start one first")
        return self._stage.handle(id)

    def watch(self, watcher: Callable[[DrivenWorker, str, int, Entry], None]) -> None:
        """Call `watcher` with worker, run, number and entry for each durable entry; before the first run."""
        self._require_unopened("watchers")
        self._watchers.append(watcher)

    async def crash(self) -> None:
        """Kill the worker, as `kill -9` would, and begin again on what the store has.

        What was under way is lost, and begun again. Handles stay good.
        """
        await (await self._opened()).crash()

    def run_sync(self, workflow: Any, *args: Any, id: str | None = None, **kwargs: Any) -> Any:
        """Do what `run` does, in a test that is not async."""
        return self.wait(self.run(workflow, *args, id=id, **kwargs))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do anything async here, in a test that is not: `env.wait(env.start(order_flow, order))`."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(work)

    # ── opening and closing ───────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.aclose()
        if kind is None:
            self._check()

    async def _opened(self) -> Stage:
        loop = asyncio.get_running_loop()
        if self._stage is not None and self._loop is not loop:
            raise InvalidInput(
                "this environment was opened in another event loop",
                hint="use one for each test: the fixture `tenuto_env`, or `async with Environment() as env:`",
            )
        if self._stage is None:
            stage = Stage(
                self._workflows,
                self._steps,
                self._secrets,
                self._passing,
                self._doubles,
                self._check,
                self._database,
            )
            stage.watchers = self._watchers
            await stage.__aenter__()
            self._stage, self._loop = stage, loop
            await stage.desk.journal.put_documents(self._documents)
        return self._stage

    async def aclose(self) -> None:
        """Stop everything; runs that are not over are forgotten."""
        stage, self._stage = self._stage, None
        if stage is not None:
            await stage.__aexit__()

    def close(self) -> None:
        """Do what `aclose` does, from outside of the event loop; then complain of calls not expected."""
        loop = self._loop
        if self._runner is not None:
            with self._runner as runner:
                runner.run(self.aclose())
        elif loop is not None and not loop.is_closed() and not loop.is_running():
            loop.run_until_complete(self.aclose())
        elif self._stage is not None:
            self._stage.abandon()
        self._check()

    # ── what goes wrong ───────────────────────────────────────────────────────────────

    def _refuse(self, error: UnexpectedCall) -> None:
        if not self._passing.fail(error):
            self._refusals.append(error)

    def _check(self) -> None:
        refusals, self._refusals = self._refusals, []
        for refusal in refusals:
            raise refusal

    def _waits_for(self, run: str) -> str:
        return self._stage.waits_for(run) if self._stage is not None else f"the run {run} is not here"
