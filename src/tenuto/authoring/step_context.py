"""What a step can know of its own attempt, and how it tells that it is alive.

@step(heartbeat_seconds=30)
def copy(files: list[str]) -> int:
    me = current_step()
    for number in range(me.progress or 0, len(files)):      # goes on where a crash broke it off
        upload(files[number], idempotency_key=f"{me.idempotency_key}/{number}")
        me.heartbeat(number + 1)
    return len(files)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Final

import msgspec

from tenuto.authoring.data import Codec
from tenuto.engine.model import Json
from tenuto.errors import Invalid, LimitExceeded

PROGRESS_BYTES_MAX: Final = 1024 * 1024
"""The largest progress that `heartbeat` takes, as JSON: it is written into the run's history."""

_PROGRESS: Final[Codec[Any]] = Codec(Any, "the progress that a heartbeat tells")
_encoder: Final = msgspec.json.Encoder()
_current: ContextVar[StepContext | None] = ContextVar("tenuto_step", default=None)


class StepContext:
    """One attempt of one call of a step, as its function sees it; get it with `current_step()`.

    `run` and `task` say who calls. `attempt` counts from 1. `idempotency_key` is equal across all
    attempts of the same call, also after a crash: hand it to systems that recognise a repetition.
    `progress` is what this call last told of itself, also in an earlier attempt or before a crash;
    None if it has not told anything.
    """

    __slots__ = ("_gone", "_tell", "attempt", "idempotency_key", "progress", "run", "task")

    def __init__(
        self,
        run: str,
        task: str,
        attempt: int,
        idempotency_key: str,
        progress: Json = None,
        tell: Callable[[Json], None] = lambda progress: None,
        gone: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take what the function may know; `tell` is called with each progress, from any thread."""
        self.run = run
        self.task = task
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.progress = progress
        self._tell = tell
        self._gone = gone

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of {self.task} in the run {self.run}>"

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more: the run was cancelled, or its time is over.

        A step in a thread or a process cannot be stopped from outside. Long work asks this now and
        then, and returns early.
        """
        return self._gone()

    def heartbeat(self, progress: Json = None) -> None:
        """Tell that the step is alive, and how far it is: anything that can be recorded.

        What is told last is recorded soon, at most once a second, and is `progress` of the next attempt.
        May be called from every thread of the step. Raises `InvalidInput` or `LimitExceeded` for a
        progress that cannot be recorded.
        """
        if progress is not None:
            progress = _PROGRESS.encode(progress)
            size = len(_encoder.encode(progress))
            if size > PROGRESS_BYTES_MAX:
                raise LimitExceeded(
                    f"the progress that {self.task} tells has {size} bytes, more than PROGRESS_BYTES_MAX,"
                    f" {PROGRESS_BYTES_MAX}",
                    hint="tell a position or a count, and store the data itself elsewhere",
                )
            self.progress = progress
        self._tell(progress)


def current_step() -> StepContext:
    """Return the attempt that this code is part of; raises `Invalid` outside of steps."""
    found = _current.get()
    if found is None:
        raise Invalid(
            "this is only for the code of a step, and no step runs here",
            hint="call it in a function under @step that a workflow has called; a thread that the step"
            " starts itself needs `contextvars.copy_context().run(...)`; a test of the step alone can say"
            ' `with inside_step(StepContext("run", "/task", 1, "key")):`',
        )
    return found


def enter_step(context: StepContext) -> Token[StepContext | None]:
    """Let the code that follows be part of an attempt; returns what `leave_step` needs."""
    return _current.set(context)


def leave_step(token: Token[StepContext | None]) -> None:
    """Go back to what was before `enter_step`."""
    _current.reset(token)


@contextmanager
def inside_step(context: StepContext) -> Iterator[None]:
    """Let code be part of an attempt: for the runtime, and for tests of a step alone."""
    token = enter_step(context)
    try:
        yield
    finally:
        leave_step(token)
