"""Clients of a process: each asks one thing at a time, and writes down what it asked and what it was told.

They live on when the process dies. What was asked then, nobody knows the end of: the client goes on under another
number, and asks again where that does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import msgspec

from tenuto.application import App
from tenuto.engine.model import Json
from tenuto.errors import Conflict, NotFound, StorageFailed, Unavailable
from tenuto.operations.runs import retry_run
from tests.reliability.evidence import Call
from tests.reliability.simulation.flows import EVENTS, SIGNALS, flow
from tests.reliability.simulation.plan import ANYBODY, Wish

RECORDED: Final = frozenset({"start", "signal", "emit", "cancel", "suspend", "resume"})
_RESULT_SECONDS: Final = 20.0
_REFUSED: Final = (Conflict, NotFound, StorageFailed, Unavailable)
"""What an App says that cannot do what it is asked for: anything else is a mistake of its own."""


class Book:
    """What all clients wrote down. `answers` are (run, how it ended): its output, or the exception it gave them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: list[tuple[str, Json | Exception]] = []
        self._clients = 0
        self._messages = 0

    def client(self) -> int:
        """Return the number of a new client."""
        self._clients += 1
        return self._clients

    def message(self) -> str:
        """Return data that no other message has."""
        self._messages += 1
        return f"m{self._messages}"


class Client:
    """One client; `now` is a clock that no fault touches.

    `shown` hears of what a run says of its place, `anybody` returns the id of any run that is there.
    """

    def __init__(
        self,
        book: Book,
        wishes: list[Wish],
        now: Callable[[], float],
        told: Callable[[str], None],
        shown: Callable[[str, Json], None],
        anybody: Callable[[], str],
    ) -> None:
        self._book = book
        self._wishes = wishes
        self._now = now
        self._told = told
        self._shown = shown
        self._anybody = anybody
        self._number = 0
        self._client = book.client()
        self._pending: tuple[Call, Wish] | None = None
        self.asking: tuple[Wish, float] | None = None
        """What it asked and was not answered yet, and when."""

    @property
    def done(self) -> bool:
        """Whether it has asked everything that it wanted."""
        return not self._wishes

    async def live(self, app: App) -> None:
        """Ask one thing after the other, until nobody answers any more."""
        while self._wishes:
            await asyncio.sleep(self._wishes[0].after_seconds)
            if not await self.ask(app, self._wishes.pop(0)):
                return

    def widowed(self) -> None:
        """The process has died: what was asked last, nobody knows the end of."""
        if self._pending is not None:
            call, wish = self._pending
            self._end(call, "info", wish)

    async def ask(self, app: App, wish: Wish) -> bool:
        """Ask one thing, and write down how it ended; return whether there is somebody to ask again."""
        self.asking = wish, self._now()
        try:
            return await self._ask(app, wish)
        finally:
            self.asking = None

    async def _ask(self, app: App, wish: Wish) -> bool:
        if wish.run == ANYBODY:
            wish = replace(wish, run=self._anybody())
        if wish.verb not in RECORDED:
            await self._look(app, wish)
            return True
        wish = self._made(wish)
        self._number += 1
        call = Call(
            client=self._client,
            number=self._number,
            what="invoke",
            verb=wish.verb,
            run=wish.run or "",
            at=self._now(),
            value=wish.value,
        )
        self._book.calls.append(call)
        self._told(f"client {call.client} asks {call.number}: {call.verb} {call.run}")
        self._pending = (call, wish)
        try:
            run = await self._perform(app, wish)
        except (Conflict, NotFound):
            self._end(call, "fail", wish)
        except (StorageFailed, Unavailable):
            self._end(call, "info", wish)
        else:
            self._end(msgspec.structs.replace(call, run=run), "ok", wish)
        return self._number > 0

    def _end(self, call: Call, what: Any, wish: Wish) -> None:
        self._pending = None
        self._told(f"client {call.client} hears {call.number}: {what}")
        self._book.calls.append(msgspec.structs.replace(call, what=what, at=self._now()))
        if what == "ok" and wish.run is None:
            # Only now its id is known.
            self._book.calls = [
                msgspec.structs.replace(each, run=call.run)
                if (each.client, each.number) == (call.client, call.number)
                else each
                for each in self._book.calls
            ]
        if what == "info":
            self._client, self._number = self._book.client(), 0
            if wish.verb == "start" and wish.run is not None:
                self._wishes.insert(0, replace(wish, after_seconds=0.01))

    def _made(self, wish: Wish) -> Wish:
        """Return a wish with data that no other has."""
        if wish.verb == "signal":
            return replace(wish, value={"name": SIGNALS[wish.value], "data": self._book.message()})
        if wish.verb == "emit":
            return replace(
                wish,
                run="",
                value={"type": EVENTS[wish.value], "data": self._book.message()},
            )
        if wish.verb == "cancel":
            return replace(wish, value=None)
        return wish

    async def _perform(self, app: App, wish: Wish) -> str:
        """Ask the App; return the run's id."""
        value, run = wish.value, wish.run or ""
        match wish.verb:
            case "start":
                given = value["input"]
                if value["workflow"] == "flow":
                    handle = await app.start(flow, given["tree"], given["rounds"], given["tag"], id=wish.run)
                else:
                    handle = await app.start_document(value["workflow"], given, id=wish.run)
                return handle.id
            case "signal":
                await app.handle(run).signal(value["name"], value["data"])
            case "emit":
                await app.emit(value["type"], value["data"])
            case "cancel":
                await app.handle(run).cancel()
            case "suspend":
                await app.handle(run).suspend()
            case "resume":
                await app.handle(run).resume()
        return run

    async def _look(self, app: App, wish: Wish) -> None:
        """Ask what changes nothing that is checked by itself: a query, a result, another try of a run."""
        run = wish.run or ""
        try:
            match wish.verb:
                case "query":
                    self._shown(run, await app.handle(run).query("place"))
                case "result":
                    await self._wait_for_result(app, run)
                case "settle":
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_RESULT_SECONDS):
                            await app.settle(app.handle(run))
                case "retry":
                    await retry_run(app.desk, run, "/book")
        except _REFUSED as error:
            self._told(f"{wish.verb} {run}: {error}")

    async def _wait_for_result(self, app: App, run: str) -> None:
        """Wait for how a run ends, for a while. Whatever it raises has to be what the run ended with."""
        answer: Json | Exception
        try:
            async with asyncio.timeout(_RESULT_SECONDS) as limit:
                answer = await app.handle(run).result()
        except _REFUSED:
            raise
        except Exception as error:
            if limit.expired():
                return
            answer = error
        self._book.answers.append((run, answer))
