"""The words of the engine: what a run is told, what it wants, and what is kept of it.

All values are frozen, and none can be part of a cycle, so the garbage collector need not look at them.
Events are facts from outside and the only truth; commands are wishes that follow from them and are
never stored; notes say what happened to which task, so that a run's history can be read without
folding it again.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from tenuto.errors import Fault

Json: TypeAlias = Any  # null, bool, int, float, str, list, dict: as JSON has them

JOURNAL_VERSION: Final = 1
"""The newest format of journals that this version reads; each run's `Started` has that it was begun with."""

Status = Literal["pending", "running", "waiting", "suspended", "cancelled", "faulted", "completed"]
TERMINAL: Final[frozenset[str]] = frozenset({"cancelled", "faulted", "completed"})


# ── events: what a run is told ───────────────────────────────────────────────────────────


class Started(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="started"):
    """The run exists. `time` is in seconds since the epoch, UTC, here and in every event.

    `nonce` marks references to secrets inside this run, so that outside data cannot forge one.
    `undo` maps each called function that can be undone to the function that undoes it;
    `runtime` is the version of Tenuto that started the run, `version` the journal's format.
    """

    time: float
    run: str
    definition: str
    input: Json
    nonce: str
    undo: dict[str, str] = {}
    runtime: str = ""
    version: int = JOURNAL_VERSION


class Answered(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="answered"):
    """The command `id` ended well: an action's output, an expression's value, a timer (null).

    `scheme` names the kind of credential that the action used, if it used one.
    """

    time: float
    id: int
    output: Json = None
    scheme: str | None = None


class Failed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="failed"):
    """The command `id` ended with a fault."""

    time: float
    id: int
    fault: Fault


class Arrived(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="arrived"):
    """A CloudEvent that this run may listen for."""

    time: float
    event: dict[str, Json]


class CancelRequested(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="cancel"):
    """Somebody asked the run to stop for good."""

    time: float
    reason: str | None = None


class Suspended(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="suspended"):
    """The run was paused: facts are still recorded, no new command is carried out.

    `reason` is there if nobody asked for it: the code does not fit the run's history, for instance.
    """

    time: float
    reason: str | None = None


class Resumed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="resumed"):
    """The pause is over; every open command is carried out."""

    time: float


class Progressed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="progressed"):
    """The action of command `id` tells how far it is; its next start, after a crash too, is given that."""

    time: float
    id: int
    progress: Json


class Restarted(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="restarted"):
    """This run took over another's history and goes on by starting `task` again.

    `input` replaces the task's raw input when `replace` is true.
    """

    time: float
    run: str
    task: str
    replace: bool = False
    input: Json = None


Event: TypeAlias = (
    Started | Answered | Failed | Arrived | CancelRequested | Suspended | Resumed | Progressed | Restarted
)


# ── commands: what a run wants ───────────────────────────────────────────────────────────


class Perform(msgspec.Struct, frozen=True, gc=False, tag="perform"):
    """Call `function` of the catalog with `arguments`; answered with its result.

    `key` is the idempotency key, equal across attempts. Nothing waits for a `detached` action,
    not even the end of the run. An `undoing` action is given only those arguments that its
    function knows. `nonce` marks the references to secrets in `arguments`, as in `Started`.
    `progress` is what the action last told of itself.
    """

    id: int
    task: str
    function: str
    arguments: dict[str, Json]
    key: str
    attempt: int = 1
    detached: bool = False
    undoing: bool = False
    nonce: str = ""
    progress: Json = None


class Evaluate(msgspec.Struct, frozen=True, gc=False, tag="evaluate"):
    """Evaluate an expression of the second lane in a child process; answered with its value."""

    id: int
    expression: str
    value: Json
    variables: dict[str, Json]
    now: float


class Wake(msgspec.Struct, frozen=True, gc=False, tag="wake"):
    """Answer at the time `at`, never before."""

    id: int
    at: float


class Listen(msgspec.Struct, frozen=True, gc=False, tag="listen"):
    """Tell the run of CloudEvents of these types (None: of all) from now on."""

    id: int
    types: tuple[str, ...] | None


class Emit(msgspec.Struct, frozen=True, gc=False, tag="emit"):
    """Publish a CloudEvent; answered when every listener has it recorded."""

    id: int
    event: dict[str, Json]


class StartRun(msgspec.Struct, frozen=True, gc=False, tag="start"):
    """Start another run; answered with its output, or at once when `wait` is false."""

    id: int
    task: str
    namespace: str
    name: str
    version: str
    input: Json
    wait: bool = True


class Drop(msgspec.Struct, frozen=True, gc=False, tag="drop"):
    """Forget the open command `id`: stop its action, timer or child."""

    id: int


class Note(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Something happened to a task; kept beside the event so that history reads without a fold.

    `what` is `started`, `completed`, `faulted`, `cancelled`, `skipped`, `retried`, `waiting`,
    `suspended`, `resumed`, `correlation-started` or `correlation-completed`; of workflows in Python
    also `progressed`, `logged`, `patched`, `continued` and `stuck` (see `STUCK`). `data` is the fault
    of a faulted task, the correlation keys, the progress, what was logged, or why the run is stuck;
    None otherwise.
    """

    task: str
    what: str
    kind: str = ""
    attempt: int = 1
    data: Json = None


CONTINUED: Final = "continued"
"""Of a note: the program began anew with another input. What came before need not be folded again."""

STUCK: Final = "stuck"
"""Of a note: the program could not take the event. The run is suspended; a resumed run tries again."""

SIGNAL: Final = "io.tenuto.signal.v1"
"""The type of the event that brings a signal; its `subject` is the signal's name, its `data` the value."""


class Finish(msgspec.Struct, frozen=True, gc=False, tag="finish"):
    """The run is over."""

    status: Literal["completed", "faulted", "cancelled"]
    output: Json = None
    fault: Fault | None = None


Command: TypeAlias = Perform | Evaluate | Wake | Listen | Emit | StartRun | Drop | Note | Finish
Open: TypeAlias = Perform | Evaluate | Wake | Listen | Emit | StartRun


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One line of a journal: the event, and the notes that its fold gave."""

    event: Event
    notes: tuple[Note, ...] = ()
