"""The coroutines of a run: its workflow's body, and branches of it; and what watches them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tenuto.authoring.asking import Asker, Wait
from tenuto.authoring.failures import Nondeterministic
from tenuto.engine.model import Json
from tenuto.errors import Fault

if TYPE_CHECKING:
    from tenuto.authoring.execution import Execution

T = TypeVar("T")


class Guard(Protocol):
    """Watches that workflow code does nothing that would differ when it is run again."""

    @property
    def caught(self) -> Nondeterministic | None:
        """What the code did last time that it must not do; also if it swallowed the exception."""

    def resume(self, coroutine: Coroutine[Any, Any, Any], value: Any, error: BaseException | None) -> Any:
        """Let a coroutine go on, and watch it; raises `Nondeterministic` where it does what it must not."""

    def run(self, code: Callable[[], T]) -> T:
        """Run other code of the workflow, watched in the same way."""


class Task:
    """A coroutine of the workflow: its body, or a branch of it."""

    __slots__ = ("asker", "coroutine", "execution", "stopping", "wait")

    def __init__(self, execution: Execution, coroutine: Coroutine[Any, Any, Any], asker: Asker) -> None:
        self.execution = execution
        self.coroutine = coroutine
        self.asker = asker
        self.wait: Wait | None = None
        self.stopping = False

    def resume(self, value: Any) -> None:
        """Go on with an answer, soon."""
        self.wait = None
        self.execution.ready.append((self, value, None))

    def fail(self, error: BaseException) -> None:
        """Go on with an exception, soon."""
        self.wait = None
        self.execution.ready.append((self, None, error))

    def stop(self) -> None:
        """Raise `Cancelled` where the coroutine waits, now or next."""
        if self.wait is not None:
            self.wait.stop()
        else:
            self.stopping = True

    def abandon(self) -> None:
        """The execution closes it."""

    def answered(self, output: Json) -> None:
        """Tasks have no commands of their own."""

    def failed(self, fault: Fault) -> None:
        """Tasks have no commands of their own."""


def is_new(coroutine: Any) -> bool:
    """Whether nothing of a coroutine has run yet."""
    return getattr(coroutine, "cr_frame", None) is not None and not coroutine.cr_suspended


def ended() -> Coroutine[Any, Any, None]:
    """Return a coroutine that has ended."""

    async def nothing() -> None:
        """Do nothing."""

    coroutine = nothing()
    coroutine.close()
    return coroutine


def place_of(coroutine: Any) -> tuple[str, int]:
    """Return file and line of the innermost coroutine of a chain that wait for one another."""
    file, line = "", 0
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is None:
            break
        file, line = frame.f_code.co_filename, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return file.rpartition("/")[2], line
