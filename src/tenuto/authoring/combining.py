"""Several at once: all of them, the first of them, or one after the other with so many under way.

Branches never outlive what began them: when one fails, or is first in a race, the others are stopped,
and what they do to clean up is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from tenuto.authoring.asking import Ask, Asker, Wait
from tenuto.authoring.failures import Cancelled
from tenuto.engine.model import Json
from tenuto.engine.stuck import Stuck
from tenuto.errors import Fault, Invalid, InvalidInput

if TYPE_CHECKING:
    from tenuto.authoring.execution import Execution

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

AT_ONCE: Final = 100
"""How many items `each` has under way at once unless it is told otherwise."""


class _Branches:
    """Waits that were begun together; they have no command of their own."""

    def answered(self, output: Json) -> None:
        """Branches are told, not this."""

    def failed(self, fault: Fault) -> None:
        """Branches are told, not this."""

    def abandon(self) -> None:
        """Branches are abandoned one by one."""


class Member:
    """One branch."""

    __slots__ = ("done", "error", "tell", "value", "wait")

    def __init__(self, tell: Callable[[Member], None]) -> None:
        self.tell = tell
        self.wait: Wait | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False

    def resume(self, value: Any) -> None:
        """It has an answer."""
        self.value, self.done, self.wait = value, True, None
        self.tell(self)

    def fail(self, error: BaseException) -> None:
        """It failed."""
        self.error, self.done, self.wait = error, True, None
        self.tell(self)

    def begin(self, execution: Execution, awaitable: Any) -> None:
        """Begin what it stands for."""
        try:
            wait = execution.spawn(awaitable, self)
        except InvalidInput:
            raise
        except Exception as error:
            self.fail(error)
            return
        if not self.done:
            self.wait = wait

    def stop(self) -> None:
        """Stop it, if it goes on."""
        if self.wait is not None:
            self.wait.stop()


class Gather(Ask[R_co]):
    """All of these, at once; their answers in the order of the calls."""

    __slots__ = ("awaitables", "keep_errors")

    def __init__(self, awaitables: Sequence[Any], keep_errors: bool) -> None:
        self.awaitables = awaitables
        self.keep_errors = keep_errors

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Begin all."""
        group = _All(asker, len(self.awaitables), self.keep_errors)
        return group.begin(execution, self.awaitables)

    def close(self) -> None:
        """Let go of all."""
        _close(self.awaitables)


class Race(Ask[R_co]):
    """The first of these to end; the others are stopped."""

    __slots__ = ("awaitables",)

    def __init__(self, awaitables: Sequence[Any]) -> None:
        if not awaitables:
            raise Invalid("a race of nothing never ends", hint="give race(...) something to await")
        self.awaitables = awaitables

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Begin all."""
        group = _First(asker, len(self.awaitables))
        return group.begin(execution, self.awaitables)

    def close(self) -> None:
        """Let go of all."""
        _close(self.awaitables)


class _Group(_Branches):
    """Branches of which all have to end before who asked is told."""

    def __init__(self, asker: Asker, size: int) -> None:
        self.asker = asker
        self.members = [Member(self._told) for _ in range(size)]
        self.left = size
        self.stopped: BaseException | None = None
        self.stopping = False
        self.ended = False

    def begin(self, execution: Execution, awaitables: Sequence[Any]) -> Wait | None:
        """Begin the branches; None if all of them have ended at once."""
        for number, member in enumerate(self.members):
            if self.stopping:
                self.left -= len(awaitables) - number
                _close(awaitables[number:])
                break
            try:
                member.begin(execution, awaitables[number])
            except BaseException:
                _close(awaitables[number + 1 :])
                raise
        self._look()
        return None if self.ended else self

    def _told(self, member: Member) -> None:
        self.left -= 1
        if not self.stopping and self.decided(member):
            self._stop_others()
        self._look()

    def _look(self) -> None:
        if not self.left and not self.ended:
            self.ended = True
            self.end()

    def _stop_others(self) -> None:
        self.stopping = True
        for member in self.members:
            member.stop()

    def stop(self) -> None:
        """Stop all; who asked is told once they have cleaned up."""
        self.stopped = Cancelled()
        if not self.stopping:  # else they clean up already
            self._stop_others()

    def decided(self, member: Member) -> bool:
        """Whether the others are not needed now that this one has ended."""
        return False

    def end(self) -> None:
        """All have ended: tell who asked."""


class _All(_Group):
    def __init__(self, asker: Asker, size: int, keep_errors: bool) -> None:
        super().__init__(asker, size)
        self.keep_errors = keep_errors

    def decided(self, member: Member) -> bool:
        """A failure decides."""
        if member.error is None or (self.keep_errors and isinstance(member.error, Exception)):
            return False
        self.stopped = member.error
        return True

    def end(self) -> None:
        """Tell all answers, or the first failure."""
        if self.stopped is not None:
            self.asker.fail(self.stopped)
        else:
            self.asker.resume(
                tuple(member.value if member.error is None else member.error for member in self.members)
            )


class _First(_Group):
    winner: Member | None = None

    def decided(self, member: Member) -> bool:
        """The first decides."""
        self.winner = member
        return True

    def end(self) -> None:
        """Tell how the first ended."""
        winner = self.winner
        error = self.stopped or (winner.error if winner is not None else None)
        if error is not None:
            self.asker.fail(error)
        else:
            self.asker.resume(winner.value if winner is not None else None)


class Each(Ask[list[R]], Generic[T, R]):
    """A call for each item, so many at once: await the list, or take one answer after the other.

        async for receipt in each(charge, orders, at_once=50): ...

    Only the calls under way, and their answers that were not taken yet, are in memory.
    """

    __slots__ = ("_at_once", "_function", "_items", "_members", "head")

    def __init__(self, function: Callable[[T], Awaitable[R]], items: Iterable[T], at_once: int) -> None:
        if at_once < 1:
            raise Invalid(f"each(..., at_once={at_once}) lets nothing run", hint="at_once is 1 or more")
        self._function = function
        self._items: Iterator[T] | None = iter(items)
        self._at_once = at_once
        self._members: deque[Member] = deque()
        self.head: _Head | None = None

    def __aiter__(self) -> Each[T, R]:
        return self

    def __anext__(self) -> Ask[R]:
        return _Next(self)

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Gather all answers in a list."""
        return execution.spawn(_listed(self), asker)

    def fill(self, execution: Execution) -> None:
        """Begin calls until as many are under way as may be."""
        while self._items is not None and len(self._members) < self._at_once:
            member = Member(self._told)
            try:
                call = execution.watched(self._next_call)
            except (Stuck, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._items = None
                member.error, member.done = error, True
                self._members.append(member)
                return
            if call is None:
                self._items = None
                return
            self._members.append(member)
            member.begin(execution, call)

    def _next_call(self) -> Awaitable[R] | None:
        for item in self._items or ():
            return self._function(item)
        return None

    def _told(self, member: Member) -> None:
        if self.head is not None and self._members and self._members[0].done:
            self.head.wake()

    def next(self, execution: Execution, asker: Asker) -> Wait | None:
        """Tell the next answer, now or when it is there."""
        if self.head is not None:
            asker.fail(RuntimeError("each(...) can be taken in one place at a time only"))
            return None
        self.fill(execution)
        if not self._members:
            asker.fail(StopAsyncIteration())
            return None
        head = self.head = _Head(self, execution, asker)
        if self._members[0].done:
            head.wake()
        return self.head

    def take(self) -> Member:
        """Return the oldest call, which has ended."""
        return self._members.popleft()

    def stop(self, tell: Callable[[], None]) -> None:
        """Stop the calls under way, and tell once they have cleaned up."""
        self._items = None
        members = [member for member in self._members if not member.done]
        self._members.clear()
        left = len(members)

        def told(_: Member) -> None:
            nonlocal left
            left -= 1
            if not left:
                tell()

        for member in members:
            member.tell = told
        if not members:
            tell()
        for member in members:
            member.stop()


class _Head(_Branches):
    """The wait for the next answer of `each`; after a failure, for the other calls to clean up."""

    def __init__(self, each: Each[Any, Any], execution: Execution, asker: Asker) -> None:
        self._each = each
        self._execution = execution
        self._asker = asker
        self._error: BaseException | None = None

    def wake(self) -> None:
        """It is there."""
        each, member = self._each, self._each.take()
        if member.error is not None:
            self._fail(member.error)
            return
        each.head = None
        each.fill(self._execution)
        self._asker.resume(member.value)

    def stop(self) -> None:
        """Nobody needs it, nor those after it."""
        if self._error is not None:
            self._error = Cancelled()
        else:
            self._fail(Cancelled())

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._each.stop(self._end)

    def _end(self) -> None:
        assert self._error is not None
        self._each.head = None
        self._asker.fail(self._error)


class _Next(Ask[R_co]):
    """The next answer of `each`."""

    __slots__ = ("_each",)

    def __init__(self, each: Each[Any, R_co]) -> None:
        self._each = each

    def open(self, execution: Execution, asker: Asker) -> Wait | None:
        """Wait for it."""
        return self._each.next(execution, asker)


async def _listed(each: Each[Any, R]) -> list[R]:
    return [answer async for answer in each]


def _close(awaitables: Iterable[Any]) -> None:
    """Let go of what is not begun, so that Python does not miss that somebody awaits it."""
    for awaitable in awaitables:
        if hasattr(awaitable, "close"):
            awaitable.close()
