"""What an execution waits for: actions, timers, events, other runs; each with the command behind it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from tenuto.authoring.failures import Cancelled, exception_of
from tenuto.authoring.notes import STARTED
from tenuto.authoring.undoing import TIMEOUT_STATUS, Undo
from tenuto.engine.model import SIGNAL, Emit, Json, Listen, Perform, StartRun, Wake
from tenuto.engine.rules import derived_id, fraction, retry_delay
from tenuto.engine.stuck import Stuck
from tenuto.errors import Fault, InvalidInput

if TYPE_CHECKING:
    from tenuto.authoring.asking import Asker, EventWait
    from tenuto.authoring.data import Codec
    from tenuto.authoring.declare import Retry
    from tenuto.authoring.execution import Execution


_encoder = msgspec.json.Encoder()


def digest(arguments: Json) -> int:
    """Return a short number by which a replay sees that a task is begun with something else."""
    return crc32(_encoder.encode(arguments))


class Waiting:
    """The common part: who asked, under which path it is shown, which command stands for it."""

    kind = ""
    id = 0

    def __init__(self, execution: Execution, asker: Asker, name: str) -> None:
        self.execution = execution
        self.asker = asker
        self.path = execution.path(name)

    def answered(self, output: Json) -> None:
        """Tell who asked."""
        self.execution.note(self.path, "completed", self.kind)
        self.asker.resume(output)

    def failed(self, fault: Fault) -> None:
        """Tell who asked why there is no answer."""
        fault = fault.at(self.path)
        self.execution.note(self.path, "faulted", self.kind, 1, fault.to_json())
        self.asker.fail(exception_of(fault))

    def stop(self) -> None:
        """Nobody needs it any more."""
        self.abandon()
        self.asker.fail(Cancelled())

    def abandon(self) -> None:
        """Nobody needs it any more, and who asked is gone too."""
        self.execution.drop(self.id)
        self.execution.note(self.path, "cancelled", self.kind)


class Action(Waiting):
    """A step, or a function of a connector: tried again as its `Retry` says, remembered for its undo."""

    # What most actions never set stands here: one is made for each step.
    key = ""
    attempt = 1
    progress: Json = None
    pausing = False
    left = False
    doubtful = False
    undo: Undo | None = None
    undoing = False

    def __init__(
        self,
        execution: Execution,
        asker: Asker,
        name: str,
        kind: str,
        function: str,
        arguments: dict[str, Json],
        returns: Codec[Any],
        retry: Retry | None,
    ) -> None:
        self.execution = execution
        self.asker = asker
        self.path = execution.path(name)
        self.kind = kind
        self.function = function
        self.arguments = arguments
        self.returns = returns
        self.retry = retry

    def open(self) -> None:
        """Ask for it, for the first time."""
        execution = self.execution
        execution.note(self.path, STARTED, self.kind, 1, digest(self.arguments))
        self.arguments = execution.replacement(self.path, self.arguments)
        self._ask()

    def answered(self, output: Json) -> None:
        """Take its result, or the end of the pause before the next attempt."""
        if self.pausing:
            self._again()
            return
        self.execution.note(self.path, "completed", self.kind, self.attempt)
        if self.undo is not None:
            self.execution.undoing.remember(self, output)
        if self.left:
            self.execution.undoing.ended(self.id)
            return
        try:
            value = self.returns.decode(output)
        except InvalidInput as refusal:
            hint = f"make it fit again ({refusal.hint})" if refusal.hint else "make it fit again"
            raise Stuck(f"what {self.path} answered does not fit its type: {refusal.message}", hint) from None
        self.asker.resume(value)

    def failed(self, fault: Fault) -> None:
        """Try again, or tell who asked."""
        retry = self.retry
        fault = fault.at(self.path)
        if self.undo is not None and self.undo.unknown and fault.status == TIMEOUT_STATUS:
            self.doubtful = True
        if not self.left and retry is not None and fault.transient and self.attempt < retry.attempts:
            self._pause(retry)
            return
        self.execution.note(self.path, "faulted", self.kind, self.attempt, fault.to_json())
        if self.doubtful:
            self.execution.undoing.remember(self, None)
        if self.left:
            self.execution.undoing.ended(self.id)
        else:
            self.asker.fail(exception_of(fault))

    def _pause(self, retry: Retry) -> None:
        number = self.attempt
        delay = retry_delay(retry.delay_seconds, retry.backoff, number, None, "")
        delay = min(delay, retry.delay_seconds_max) * (
            1 + retry.jitter * fraction(f"{self.idempotency_key()}/{number}")
        )
        self.attempt += 1
        self.execution.note(self.path, "retried", self.kind, self.attempt)
        if delay <= 0:
            self._again()
            return
        self.pausing = True
        at = self.execution.time + delay
        self.id = self.execution.want(lambda id: Wake(id, at), self)

    def _again(self) -> None:
        self.pausing = False
        self._ask()

    def _ask(self) -> None:
        execution = self.execution
        execution.last_id = self.id = id = execution.last_id + 1
        execution.waiting[id] = self
        # Most of what is asked for while recorded answers are folded in a row is answered by the next.
        execution.out.append(self if execution.quiet else self.perform())

    def perform(self) -> Perform:
        """Return the command that carries it out."""
        return Perform(
            self.id,
            self.path,
            self.function,
            self.arguments,
            self.idempotency_key(),
            self.attempt,
            undoing=self.undoing,
            nonce=self.execution.nonce,
            progress=self.progress,
        )

    def idempotency_key(self) -> str:
        """Return what is equal across all attempts, in this run and in every replay of it."""
        if not self.key:
            execution = self.execution
            self.key = f"{execution.run}-{execution.epoch}{self.path}"
        return self.key

    def stop(self) -> None:
        """Nobody needs it: stop it, unless it is under way and may have to be taken back."""
        if not self.leave():
            self.abandon()
        self.asker.fail(Cancelled())

    def leave(self) -> bool:
        """Let it end although nobody needs it, if it may have to be taken back; return whether it may."""
        if self.undo is None or self.pausing or self.undoing:
            return False
        if not self.left:
            self.left = True
            self.execution.undoing.leave_alone(self.id)
        return True

    def abandon(self) -> None:
        """Drop it; an attempt of it that nobody knows the end of may have to be taken back."""
        super().abandon()
        if self.doubtful:
            self.execution.undoing.remember(self, None)


class Timer(Waiting):
    """A durable timer."""

    kind = "wait"

    def __init__(self, execution: Execution, asker: Asker, at: float) -> None:
        super().__init__(execution, asker, "sleep")
        execution.note(self.path, STARTED, self.kind)
        self.id = execution.want(lambda id: Wake(id, at), self)


class Emitting(Waiting):
    """An event on its way to everybody who listens."""

    kind = "emit"

    def __init__(self, execution: Execution, asker: Asker, attributes: Mapping[str, Json]) -> None:
        super().__init__(execution, asker, "emit")
        workflow = execution.workflow
        event: dict[str, Json] = {
            "specversion": "1.0",
            "id": derived_id(execution.run, str(execution.epoch), self.path),
            "source": f"/{workflow.namespace}/{workflow.name}/{workflow.version}",
            "time": datetime.fromtimestamp(execution.time, UTC).isoformat().replace("+00:00", "Z"),
            **attributes,
        }
        execution.note(self.path, STARTED, self.kind)
        self.id = execution.want(lambda id: Emit(id, event), self)


class Child(Waiting):
    """Another run."""

    kind = "run"

    def __init__(
        self,
        execution: Execution,
        asker: Asker,
        namespace: str,
        name: str,
        version: str,
        data: Json,
        returns: Codec[Any],
    ) -> None:
        super().__init__(execution, asker, name)
        self.returns = returns
        execution.note(self.path, STARTED, self.kind, 1, digest(data))
        data = execution.replacement(self.path, data)
        self.id = execution.want(lambda id: StartRun(id, self.path, namespace, name, version, data), self)

    def answered(self, output: Json) -> None:
        """Read its output."""
        try:
            value = self.returns.decode(output)
        except InvalidInput as refusal:
            raise Stuck(
                f"what {self.path} answered does not fit its type: {refusal.message}", "make it fit again"
            ) from None
        self.execution.note(self.path, "completed", self.kind)
        self.asker.resume(value)


class EventWaiting(Waiting):
    """An event or a signal that is waited for, and perhaps a timer beside it."""

    over = False

    def __init__(self, execution: Execution, asker: Asker, ask: EventWait[Any]) -> None:
        super().__init__(execution, asker, ask.name)
        self.ask = ask
        self.kind = "signal" if ask.type == SIGNAL else "listen"
        self._timeout = 0
        execution.note(self.path, STARTED, self.kind)

    def open(self) -> None:
        """Begin to listen."""
        execution, ask = self.execution, self.ask
        self.id = execution.want(lambda id: Listen(id, (ask.type,)), self)
        execution.listening[self.id] = self
        if ask.timeout_seconds is not None:
            at = execution.time + ask.timeout_seconds
            self._timeout = execution.want(lambda id: Wake(id, at), self)

    def take(self, event: dict[str, Json]) -> None:
        """An event came: if it is the one, tell who asked."""
        ask = self.ask
        try:
            if not self.execution.watched(lambda: ask.accepts(event)):
                return
            value = ask.read(event)
        except InvalidInput as refusal:
            if ask.type == SIGNAL:
                # A slip of whoever sent it must not end the run: the next one may fit.
                self.execution.note(
                    "", "logged", "warning", 1, f"a signal was passed over: {refusal.message}"
                )
                return
            self._end("faulted")
            self.asker.fail(refusal)
            return
        except (Stuck, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._end("faulted")
            self.asker.fail(error)
            return
        self._end("completed")
        self.asker.resume(value)

    def answered(self, output: Json) -> None:
        """The time is over."""
        self._timeout = 0
        self._end("faulted")
        name, seconds = self.ask.name, self.ask.timeout_seconds
        self.asker.fail(TimeoutError(f"no {name} came within {seconds:g} s"))

    def abandon(self) -> None:
        """Nobody needs it any more, and who asked is gone too."""
        self._end("cancelled")

    def _end(self, what: str) -> None:
        self.over = True
        execution = self.execution
        execution.listening.pop(self.id, None)
        execution.drop(self.id)
        execution.drop(self._timeout)
        execution.note(self.path, what, self.kind)
