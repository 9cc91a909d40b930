"""What workflow code may do besides calling steps: wait, hear, tell, branch, ask for time and chance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableSequence, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Literal, NoReturn, ParamSpec, TypeVar, overload
from urllib.parse import quote
from uuid import UUID

from tenuto.authoring.asking import (
    Ask,
    ChildCall,
    DocumentCall,
    Emission,
    EventWait,
    FunctionCall,
    Sleep,
    execution,
)
from tenuto.authoring.combining import AT_ONCE, Each, Gather, Race
from tenuto.authoring.data import Codec
from tenuto.authoring.declare import Retry, Workflow
from tenuto.authoring.failures import ContinueAsNew
from tenuto.engine.model import SIGNAL, Json
from tenuto.engine.rules import derived_id
from tenuto.errors import Invalid, InvalidInput

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")

SECRET_PATH_MAX: Final = 1_024
"""The longest path of a secret, percent-encoded; the gate reads no longer ones."""

Level = Literal["debug", "info", "warning", "error"]

_ANY: Final[Codec[Any]] = Codec(Any, "data without a type")


# ── time, chance ─────────────────────────────────────────────────────────────────────────


def now() -> datetime:
    """Return the time of the event that the code goes on from: the same whenever it is run again. UTC."""
    return datetime.fromtimestamp(execution().time, UTC)


def sleep(duration: float | timedelta) -> Ask[None]:
    """Wait for so many seconds; a month costs a row in the database, not memory."""
    return Sleep(_length(duration, "sleep of "))


def sleep_until(time: datetime) -> Ask[None]:
    """Wait until a time, which knows its time zone."""
    if time.tzinfo is None:
        raise InvalidInput(
            f"sleep_until({time}) has no time zone", hint="write datetime(..., tzinfo=UTC), or add to now()"
        )
    return Sleep(None, time.timestamp())


def uuid() -> UUID:
    """Return a new UUID: another one for each call, the same whenever the code is run again."""
    run = execution()
    return UUID(hex=derived_id(run.nonce, run.run, str(run.epoch), str(run.next_uuid())), version=4)


class Chance:
    """Chance for workflow code: `random()`, and the commonest verbs of the module `random`."""

    def __call__(self) -> float:
        """Return a number from 0 up to, not including, 1."""
        return execution().random().random()

    def uniform(self, low: float, high: float) -> float:
        """Return a number between two."""
        return execution().random().uniform(low, high)

    def randint(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return execution().random().randint(low, high)

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return execution().random().choice(items)

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Return so many of the items, each at most once."""
        return execution().random().sample(items, count)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Bring a list into another order."""
        execution().random().shuffle(items)


random: Final = Chance()


# ── several at once ──────────────────────────────────────────────────────────────────────


@overload
def gather(a: Awaitable[T1], b: Awaitable[T2], /) -> Ask[tuple[T1, T2]]: ...
@overload
def gather(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /) -> Ask[tuple[T1, T2, T3]]: ...
@overload
def gather(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], /
) -> Ask[tuple[T1, T2, T3, T4]]: ...
@overload
def gather(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], /
) -> Ask[tuple[T1, T2, T3, T4, T5]]: ...
@overload
def gather(*awaitables: Awaitable[T]) -> Ask[tuple[T, ...]]: ...
@overload
def gather(*awaitables: Awaitable[T], return_exceptions: Literal[True]) -> Ask[tuple[T | Exception, ...]]: ...
def gather(*awaitables: Any, return_exceptions: bool = False) -> Ask[Any]:
    """Do all of these at once; answer a tuple of their results, in the order of the arguments.

    When one fails the others are stopped, and its exception is raised; with `return_exceptions`
    exceptions are results like others.
    """
    return Gather(awaitables, return_exceptions)


@overload
def race(a: Awaitable[T1], b: Awaitable[T2], /) -> Ask[T1 | T2]: ...
@overload
def race(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /) -> Ask[T1 | T2 | T3]: ...
@overload
def race(*awaitables: Awaitable[T]) -> Ask[T]: ...
def race(*awaitables: Any) -> Ask[Any]:
    """Answer the result of the first of these to end, or raise its exception; the others are stopped.

    decision = await race(approval.receive(), sleep(timedelta(days=3)))   # None after three days
    """
    return Race(awaitables)


def each(function: Callable[[T], Awaitable[R]], items: Iterable[T], *, at_once: int = AT_ONCE) -> Each[T, R]:
    """Call a step, a workflow or an async function for each item, at most `at_once` at a time.

    Await it for a list of all results, or take them one by one, in the items' order and without
    holding all in memory: `async for result in each(...)`.
    """
    return Each(function, items, at_once)


# ── other workflows, connectors ──────────────────────────────────────────────────────────


def child(workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> ChildCall[R]:
    """Run another workflow, as a run of its own, and answer its result."""
    return workflow(*args, **kwargs)


@overload
def run_document(
    name: str, input: Json = ..., *, namespace: str = ..., version: str = ..., returns: type[T]
) -> Ask[T]: ...
@overload
def run_document(name: str, input: Json = ..., *, namespace: str = ..., version: str = ...) -> Ask[Any]: ...
def run_document(
    name: str,
    input: Json = None,
    *,
    namespace: str = "default",
    version: str = "latest",
    returns: Any = Any,
) -> Ask[Any]:
    """Run a workflow by its name, a YAML document for instance, and answer its output."""
    data = _ANY.encode({} if input is None else input)
    return DocumentCall(namespace, name, version, data, Codec(returns, f"the output of {name}"))


@overload
def call(
    function: str,
    arguments: Mapping[str, Json] | None = ...,
    /,
    *,
    returns: type[T],
    retry: Retry | None = ...,
    undo: str | None = ...,
) -> Ask[T]: ...
@overload
def call(
    function: str,
    arguments: Mapping[str, Json] | None = ...,
    /,
    *,
    retry: Retry | None = ...,
    undo: str | None = ...,
) -> Ask[Any]: ...
def call(
    function: str,
    arguments: Mapping[str, Json] | None = None,
    /,
    *,
    returns: Any = Any,
    retry: Retry | None = None,
    undo: str | None = None,
) -> Ask[Any]:
    """Call a function of a connector, as `tenuto connectors` lists them, and answer its result.

        page = await call("http.request", {"method": "get", "endpoint": "https://example.com"})

    `undo` names a function of the same connector that takes the effect back when the workflow fails.
    """
    name = function.removesuffix("@default")
    if retry is not None and (retry.on, retry.never) != (Retry().on, Retry().never):
        raise Invalid(
            f"call({name!r}): `on` and `never` of Retry are for exceptions of steps",
            hint="the function itself says after which failures trying again may work; leave both out",
        )
    where = f"an argument of {name}"
    codec: Codec[dict[str, Json]] = Codec(dict[str, Any], where)
    given: dict[str, Json] = codec.encode(dict(arguments or {}))
    return FunctionCall(name, given, Codec(returns, f"the result of {name}"), retry, undo)


def secret(path: str) -> str:
    """Return a reference to a secret, or to a field of it, for the arguments of steps and functions.

        secret("token")   secret("database.password")

    Its value is put in when the function is called; histories and logs only see the reference.
    """
    steps = [quote(step, safe="").replace("~", "%7E") for step in path.split(".")]
    encoded = ".".join(steps)
    if not all(steps) or len(encoded) > SECRET_PATH_MAX:
        raise InvalidInput(
            f"secret({path!r}) names no secret",
            hint=f"give its name, and with dots its fields; at most SECRET_PATH_MAX, {SECRET_PATH_MAX}, long",
        )
    return f"\x01{execution().nonce}:{encoded}\x01"


# ── events and signals ───────────────────────────────────────────────────────────────────


def emit(type: str, data: Json = None, /, **attributes: str) -> Ask[None]:
    """Publish a CloudEvent; it is with everybody who listens when this is done."""
    event: dict[str, Json] = {"type": type, **attributes}
    if data is not None:
        event["data"] = _ANY.encode(data)
    return Emission(event)


def wait_for_event(
    type: str,
    *,
    where: Mapping[str, Json] | Callable[[dict[str, Json]], bool] | None = None,
    timeout: float | timedelta | None = None,
) -> Ask[dict[str, Json]]:
    """Wait for the next CloudEvent of a type, from now on, and answer it.

    `where` says which: attributes that it must have (`{"subject": "4711", "data.paid": True}`), or a
    function of the event. After `timeout` (seconds) a `TimeoutError` is raised.
    """
    accepts: Callable[[dict[str, Json]], bool]
    if where is None:
        accepts = _everything
    elif callable(where):
        accepts = where
    else:
        accepts = _having(where)
    return EventWait(type, type, accepts, _as_it_is, _seconds(timeout))


def _everything(_: dict[str, Json]) -> bool:
    return True


def _as_it_is(event: dict[str, Json]) -> dict[str, Json]:
    return event


def _having(wanted: Mapping[str, Json]) -> Callable[[dict[str, Json]], bool]:
    def accepts(event: dict[str, Json]) -> bool:
        for path, value in wanted.items():
            found: Json = event
            for step in path.split("."):
                if not isinstance(found, dict) or step not in found:
                    return False
                found = found[step]
            if found != value:
                return False
        return True

    return accepts


class Signal(Generic[T]):
    """A message for one run, by name: declare it once, receive it in workflow code, send it with a handle.

        approval = Signal("approval", bool)
        ...
        if await approval.receive(timeout=3600): ...      # in the workflow
        await handle.signal(approval, True)               # from outside

    Signals that come before the code asks are kept for it, in their order.
    """

    @overload
    def __init__(self, name: str, type: type[T]) -> None: ...
    @overload
    def __init__(self: Signal[Any], name: str, type: Any = ...) -> None: ...
    def __init__(self, name: str, type: Any = Any) -> None:
        self.name = name
        self.codec: Codec[T] = Codec(type, f"the signal `{name}`")

    def receive(self, *, timeout: float | timedelta | None = None) -> Ask[T]:
        """Wait for the next one and answer its value; after `timeout` (seconds) raise `TimeoutError`."""
        return EventWait(self.name, SIGNAL, _everything, self._read, _seconds(timeout))

    def _read(self, event: dict[str, Json]) -> T:
        return self.codec.decode(event.get("data"))


class Query(Generic[T_co]):
    """What a run tells of itself: set in workflow code, read from outside at any time, also after its end.

    progress = Query("progress", int)
    ...
    progress.set(40)                       # in the workflow
    await handle.query(progress)           # from outside
    """

    @overload
    def __init__(self, name: str, type: type[T_co]) -> None: ...
    @overload
    def __init__(self: Query[Any], name: str, type: Any = ...) -> None: ...
    def __init__(self, name: str, type: Any = Any) -> None:
        self.name = name
        self.codec: Codec[T_co] = Codec(type, f"the query `{name}`")

    # Covariant against the rule, for `print(await handle.query(it))`: the context there is `object`.
    def set(self, value: T_co) -> None:  # type: ignore[misc]
        """Answer this from now on."""
        execution().published[self.name] = self.codec.encode(value)


# ── the run itself ───────────────────────────────────────────────────────────────────────


def log(message: str, *, level: Level = "info") -> None:
    """Write a line into the run's history: once, however often the code is run again."""
    execution().note("", "logged", level, 1, str(message).encode(errors="replace").decode())


def patched(id: str) -> bool:
    """Tell whether the run takes a changed way: False if it has passed here before the change was made.

    if patched("check-stock-first"):
        await check_stock(order)
    """
    if not id:
        raise Invalid("patched() needs an id", hint='name the change: patched("check-stock-first")')
    return execution().patched(id)


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """Begin the workflow anew with other arguments, under the same run: for what goes on for ever.

    The history stays readable, but what came before need not be run again to go on. What was done
    is not undone any more.
    """
    raise ContinueAsNew(execution().workflow.parameters.encode(args, kwargs))


def _seconds(timeout: float | timedelta | None) -> float | None:
    return None if timeout is None else _length(timeout, "timeout of ")


def _length(duration: float | timedelta, what: str) -> float:
    """Return a duration in seconds; refuse what is none: no timer of any run could be set beside it."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= seconds < float("inf"):
        raise InvalidInput(
            f"{what}{duration!r} is no duration", hint="give seconds, 0 or more, or a timedelta"
        )
    return seconds
