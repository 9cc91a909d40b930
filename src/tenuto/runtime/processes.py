"""The child processes in which steps run that compute: `@step(pool="process")`.

    parent                                     child
    submit(task)      ── executor ──▶          find the step, call it
    attempt.beat()    ◀── pipe ──              begun, signs of life, progress
    flags[n] = 1      ── shared memory ──▶     StepContext.cancelled
    lifeline closed   ── pipe ──▶              the child ends at once

A child that dies takes the whole pool with it: the attempts that had begun have failed, the others go
into a new pool. Children never outlive the parent, however it ends.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.sharedctypes import RawArray
from threading import Thread
from typing import Any, Final

import msgspec

from tenuto.authoring.declare import Step
from tenuto.engine.model import Json
from tenuto.errors import Faulted, Unfit
from tenuto.plugin import Call
from tenuto.runtime.attempts import Attempt
from tenuto.runtime.calling import died
from tenuto.runtime.step_child import Outcome, Task, Where, begin, carry_out

BEGINNINGS_MAX: Final = 3
"""How often an attempt is put into a new pool because its pool broke before it had begun."""

FLAGS: Final = 4_096
"""How many attempts in processes can be told that nobody waits for them; the others never are."""

CLOSE_SECONDS_MAX: Final = 5.0
"""How long `close` waits for processes to end."""

_encoder: Final = msgspec.msgpack.Encoder()


class Processes:
    """Calls steps in child processes, which are started when they are needed; belongs to one event loop."""

    def __init__(self, size: int | None = None) -> None:
        """Use so many processes; without a number as many as there are processors."""
        self._size = size or os.cpu_count() or 1
        self._pool: _Pool | None = None

    async def run(
        self, attempt: Attempt, step: Step[..., Any], where: Where, call: Call, arguments: dict[str, Json]
    ) -> Json:
        """Call a step in a child; raises `Faulted` or `Unfit`. When this is cancelled the child goes on."""
        for _ in range(BEGINNINGS_MAX):
            if self._pool is None:
                self._pool = _Pool(self._size)
            pool = self._pool
            try:
                return await pool.run(attempt, where, call, arguments)
            except BrokenProcessPool as error:
                if self._pool is pool:
                    self._pool = None
                    pool.abandon()
                await pool.drained()
                if attempt.begun:
                    raise died(step, error) from None
                broken = error
        raise died(step, broken)

    async def close(self) -> None:
        """End all processes, also those that work."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()


class _Pool:
    """One generation of processes."""

    def __init__(self, size: int) -> None:
        context = get_context("spawn")
        self._messages, self._theirs = context.Pipe(duplex=False)
        self._their_lifeline, self._lifeline = context.Pipe(duplex=False)
        self._flags: Any = RawArray("b", FLAGS)
        self._free = deque(range(FLAGS))
        self._attempts: dict[int, Attempt] = {}
        self._numbers = 0
        self._drained = asyncio.Event()
        self._executor = ProcessPoolExecutor(
            size, context, begin, (self._theirs, context.Lock(), self._flags, self._their_lifeline)
        )
        loop = asyncio.get_running_loop()
        reader = Thread(target=self._read, args=(loop,), name="tenuto-step-messages", daemon=True)
        reader.start()

    async def run(self, attempt: Attempt, where: Where, call: Call, arguments: dict[str, Json]) -> Json:
        """Call a step in a child; raises `BrokenProcessPool` if a child has died."""
        self._numbers += 1
        number = self._numbers
        flag = self._free.popleft() if self._free else -1
        task = Task(
            number,
            flag,
            where,
            arguments,
            call.run,
            call.task,
            call.attempt,
            call.idempotency_key,
            call.progress,
        )
        self._attempts[number] = attempt
        if flag >= 0:
            self._flags[flag] = 0
        try:
            future = self._executor.submit(carry_out, _encoder.encode(task))
        except BaseException:
            self._ended(number, flag, None)
            raise
        future.add_done_callback(lambda future: self._ended(number, flag, future))
        try:
            answer = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.done() and flag >= 0:
                self._flags[flag] = 1
            raise
        return _told(answer, attempt)

    def _ended(self, number: int, flag: int, future: Future[bytes] | None) -> None:
        """An attempt has really ended; called in any thread."""
        if future is None or future.cancelled() or future.exception() is None:
            # Of one whose process died, what it said is still on the way.
            self._attempts.pop(number, None)
        if flag >= 0:
            self._free.append(flag)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give attempts what their processes say, in a thread, until no process is left to say anything."""
        decoder = msgspec.msgpack.Decoder(list[Any])
        try:
            while True:
                message = self._messages.recv_bytes()
                try:
                    number, *progress = decoder.decode(message)
                    attempt = self._attempts.get(number)
                except (msgspec.DecodeError, RecursionError, TypeError, ValueError) as error:
                    told = {"message": "a message of a step's process cannot be read", "exception": error}
                    _call(loop, loop.call_exception_handler, told)
                    continue
                if attempt is None:
                    continue
                if attempt.begun:
                    attempt.beat(progress[0] if progress else None)
                else:
                    attempt.begin()
        except (EOFError, OSError):
            self._messages.close()
        _call(loop, self._drained.set)

    async def drained(self) -> None:
        """Wait until everything is heard that the processes of a broken pool have said."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), CLOSE_SECONDS_MAX)

    def abandon(self) -> None:
        """Let go of a broken pool, without waiting."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._hang_up()

    async def close(self) -> None:
        """End all processes, and wait for them a little."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def wait() -> None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            _call(loop, over.set)

        Thread(target=wait, name="tenuto-step-close", daemon=True).start()
        self._hang_up()
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), CLOSE_SECONDS_MAX)
        await self.drained()

    def _hang_up(self) -> None:
        """Close what the children hold the other ends of: they end, and then the thread that reads."""
        for end in (self._lifeline, self._their_lifeline, self._theirs):
            if not end.closed:
                end.close()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
    """Call something on an event loop from another thread, unless the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


def _told(answer: bytes, attempt: Attempt) -> Json:
    """Return the output of an attempt, or raise what it ended with."""
    outcome = msgspec.msgpack.decode(answer, type=Outcome)
    attempt.beat(outcome.progress)  # The messages come another way, perhaps later.
    if outcome.fault is not None:
        raise Faulted(outcome.fault)
    if outcome.unfit is not None:
        message, hint = outcome.unfit
        raise Unfit(message, hint=hint)
    return outcome.output
