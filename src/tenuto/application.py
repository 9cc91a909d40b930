"""Tenuto inside your own program: an `App` runs workflows, a `Handle` stands for one run.

    async with App(workflows=[order_flow], database="shop.db") as app:
        handle = await app.start(order_flow, order, id="order-4711")
        receipt = await handle.result()

An App owns its database while it is open, and takes up all runs in it that are not over. Nothing is
global: two Apps in one process share nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, TypeVarTuple, Unpack, overload

import msgspec

from tenuto.authoring.asking import ChildCall
from tenuto.authoring.data import Codec
from tenuto.authoring.declare import Step, Workflow
from tenuto.authoring.failures import exception_of
from tenuto.authoring.verbs import Query, Signal
from tenuto.engine.model import Json
from tenuto.engine.ports import Chance, Clock, DocumentRow, RunRow
from tenuto.errors import Fault, Invalid, NotFound, RunCancelled, StorageFailed, Unavailable
from tenuto.operations.desk import Desk
from tenuto.operations.documents import check, definition
from tenuto.operations.runs import (
    emit_event,
    end_run,
    find_run,
    query_run,
    request_cancel,
    resume_run,
    settle_run,
    signal_run,
    start_run,
    suspend_run,
)
from tenuto.settings import Secrets, Settings, read_settings
from tenuto.wiring import Parts, opened

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_ANY: Codec[Any] = Codec(Any, "data without a type")


class Handle(Generic[R]):
    """One run: wait for its result, send it signals, ask it, stop it."""

    def __init__(self, app: App, id: str, result: Codec[R]) -> None:
        self.id = id
        self._app = app
        self._result = result

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    async def result(self) -> R:
        """Wait until the run is over and return what it answered.

        Raises:
            RunCancelled: It was cancelled.
            Conflict: Its code cannot go on until it is mended; the run is kept.
            Unavailable: The App was closed before; the run is kept.
            Exception: It failed: its own exception if that can be made here, or a `StepFailed`.
        """
        row = await self._app._until(end_run, self.id)
        if row.ended is None:
            raise _left_open(self.id)
        outcome = row.outcome or {}
        if row.status == "completed":
            result: R = self._result.decode(outcome.get("output"))
            return result
        if row.status == "cancelled":
            raise RunCancelled(f"the run {self.id} was cancelled")
        raise exception_of(msgspec.convert(outcome["error"], Fault))

    async def status(self) -> str:
        """Return the run's status: pending, running, waiting, suspended, cancelled, faulted, completed."""
        return (await self.row()).status

    async def row(self) -> RunRow:
        """Return what is known of the run without reading its history."""
        return await find_run(self._app.desk, self.id)

    async def cancel(self, reason: str | None = None) -> None:
        """Ask the run to stop; returns when that is recorded.

        Its code may clean up, and what its steps did is taken back.
        """
        await request_cancel(self._app.desk, self.id, reason)

    async def suspend(self) -> None:
        """Pause the run."""
        await suspend_run(self._app.desk, self.id)

    async def resume(self) -> None:
        """End a pause."""
        await resume_run(self._app.desk, self.id)

    @overload
    async def signal(self, signal: Signal[T], value: T) -> None: ...
    @overload
    async def signal(self, signal: str, value: Json = ...) -> None: ...
    async def signal(self, signal: Signal[Any] | str, value: Any = None) -> None:
        """Send the run a signal; returns when it is recorded."""
        if isinstance(signal, str):
            await signal_run(self._app.desk, self.id, signal, _ANY.encode(value))
        else:
            await signal_run(self._app.desk, self.id, signal.name, signal.codec.encode(value))

    @overload
    async def query(self, query: Query[T]) -> T: ...
    @overload
    async def query(self, query: str) -> Any: ...
    async def query(self, query: Query[Any] | str) -> Any:
        """Return what the run says of itself; raises `NotFound` if it has not said anything yet."""
        if isinstance(query, str):
            return await query_run(self._app.desk, self.id, query)
        return query.codec.decode(await query_run(self._app.desk, self.id, query.name))


class App:
    """Runs workflows: open it with `async with`."""

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any]] = (),
        *,
        steps: Iterable[Step[..., Any]] = (),
        documents: Iterable[str | Path] = (),
        database: str | Path | None = None,
        secrets: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        """Take what can be run; nothing is opened yet.

        Args:
            workflows: The workflows in Python, all versions that have runs.
            steps: Steps that YAML documents call: `call: python.charge:1.0.0@default`.
            documents: Files of workflows in YAML.
            database: The SQLite file; without it that of the settings, `.tenuto/tenuto.db`.
            secrets: Values by name, besides those of the environment (`TENUTO_SECRET_<NAME>`).
            settings: Everything else; without them those of the environment.
            clock: Where time comes from, for tests.
            chance: Where ids come from, for tests.
        """
        if not isinstance(workflows, Iterable):
            raise Invalid(f"workflows={workflows!r} is no list", hint="write App(workflows=[...])")
        settings = read_settings(os.environ) if settings is None else settings
        if database is not None:
            settings = replace(settings, database=Path(database))
        if secrets:
            settings = replace(settings, secrets=Secrets(dict(settings.secrets)).with_values(secrets))
        self._settings = settings
        self._parts = Parts(workflows=tuple(workflows), steps=tuple(steps), clock=clock, chance=chance)
        self._documents = [_document(Path(path)) for path in documents]
        self._stack: AsyncExitStack | None = None
        self._desk: Desk | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise Invalid("this App is open already", hint="make another App for another database")
        stack = self._stack = AsyncExitStack()
        try:
            desk = await stack.enter_async_context(self._opened())
            if self._documents:
                await desk.journal.put_documents(self._documents)
            await desk.runner.recover()
        except BaseException:
            await self._close(stack)
            raise
        self._desk, self._loop = desk, asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._desk = None
        if self._stack is not None:
            await self._close(self._stack)

    async def _close(self, stack: AsyncExitStack) -> None:
        try:
            await stack.aclose()
        finally:
            self._stack = None

    def _opened(self) -> AbstractAsyncContextManager[Desk]:
        """Open what the App works with."""
        return opened(self._settings, self._parts, "an App")

    @property
    def desk(self) -> Desk:
        """What the operations work with; raises `Invalid` if the App is not open in this event loop."""
        if self._desk is None:
            raise Invalid("the App is not open", hint="use it inside `async with App(...) as app:`")
        if asyncio.get_running_loop() is not self._loop:
            raise Invalid(
                "this App was opened in another event loop",
                hint="hand the call over: asyncio.run_coroutine_threadsafe(app.start(...), its_loop)",
            )
        return self._desk

    @overload
    async def start(self, workflow: ChildCall[R], /, *, id: str | None = ...) -> Handle[R]: ...
    @overload
    async def start(
        self,
        workflow: Callable[[Unpack[Ts]], Awaitable[R]],
        /,
        *args: *Ts,
        id: str | None = ...,
    ) -> Handle[R]: ...
    # mypy cannot see that `*args: Any` takes what a variadic type variable stands for.
    async def start(self, workflow: Any, /, *args: Any, id: str | None = None) -> Handle[Any]:  # type: ignore[misc]
        """Start a run and return its handle; it is recorded by then.

            handle = await app.start(order_flow, order, id="order-4711")
            handle = await app.start(order_flow(order, express=True))      # with names

        Starting an id again with the same arguments gives the run that is there, never a second one.

        Raises:
            InvalidInput: The arguments do not fit.
            Conflict: There is a run of that id, of another workflow or with other arguments.
        """
        call = workflow(*args) if isinstance(workflow, Workflow) else workflow
        if not isinstance(call, ChildCall):
            raise Invalid(f"{workflow!r} is no workflow", hint="put @workflow over its `async def`")
        declared = call.workflow
        if declared not in self._parts.workflows:
            raise Invalid(f"{declared!r} is not known to this App", hint="add it: App(workflows=[...])")
        data = declared.parameters.encode(call.args, call.kwargs)
        run = await start_run(self.desk, declared.document(), data, run=id)
        return Handle(self, run, declared.result)

    async def start_document(
        self,
        name: str,
        input: Json = None,
        *,
        namespace: str = "default",
        version: str = "latest",
        id: str | None = None,
    ) -> Handle[Any]:
        """Start a run of a workflow by its name: a YAML document of this App, or one in the database."""
        row = await self.desk.journal.find_document(namespace, name, version)
        if row is None:
            raise NotFound(
                f"there is no workflow {namespace}/{name}:{version}",
                hint="add its file: App(documents=[...])",
            )
        run = await start_run(self.desk, row, _ANY.encode({} if input is None else input), run=id)
        return Handle(self, run, _ANY)

    @overload
    def handle(self, id: str, workflow: Workflow[..., R]) -> Handle[R]: ...
    @overload
    def handle(self, id: str) -> Handle[Any]: ...
    def handle(self, id: str, workflow: Workflow[..., Any] | None = None) -> Handle[Any]:
        """Return the handle of a run that is there; `workflow` gives the type of its result."""
        return Handle(self, id, _ANY if workflow is None else workflow.result)

    async def emit(self, type: str, data: Json = None, /, **attributes: str) -> None:
        """Publish a CloudEvent to all runs that listen; returns when they have it recorded."""
        await emit_event(self.desk, type, _ANY.encode(data), attributes)

    async def settle(self, handle: Handle[Any]) -> RunRow:
        """Return a run's row once it is over, suspended, or waits for what nothing here will give."""
        return await self._until(settle_run, handle.id)

    async def _until(self, wait: Callable[[Desk, str], Awaitable[RunRow]], run: str) -> RunRow:
        """Wait for a run; say so if the App is closed meanwhile."""
        desk = self.desk
        try:
            return await wait(desk, run)
        except StorageFailed:
            if self._desk is desk:
                raise
            raise _left_open(run) from None


def _left_open(run: str) -> Unavailable:
    return Unavailable(
        f"the App was closed before the run {run} was over",
        hint="the run is kept: the next App that is opened on its database goes on with it",
    )


def _document(path: Path) -> DocumentRow:
    return definition(check(str(path), path.read_bytes()), str(path.resolve()))
