"""The interpreter's state: a flat table of frames, small enough to be stored at any moment.

A *task frame* is one execution of one task; the frame with id 1 is the workflow itself. A
*list frame* walks a task list (a `do`, a branch, one round of a loop) on behalf of the task
frame that owns it. Frames refer to each other by id, so that the state is a plain value: the
fold copies the table, and each frame before its first change, and leaves the old ones alone.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tenuto.engine.model import Json
from tenuto.engine.table import Table
from tenuto.errors import Fault

ROOT: Final = 1

# Phases of a task frame, in the order of the specification's data flow.
ENTER: Final = 0  # `if`, which extensions apply
BEFORE: Final = 1  # extensions' `before` lists
INPUT: Final = 2  # input.schema, input.from
BODY: Final = 3  # the task itself
LEAVE: Final = 4  # output.as, output.schema, export.as, export.schema
AFTER: Final = 5  # extensions' `after` lists


class ForData(msgspec.Struct, tag="for"):
    """A loop: what is iterated, where it stands, the data that the rounds hand on."""

    items: list[Json]
    index: int
    current: Json


class ForkData(msgspec.Struct, tag="fork"):
    """Branches: outputs and contexts by branch, and how many are still running."""

    running: int
    outputs: dict[int, Json] = {}
    contexts: dict[int, Json] = {}
    faults: dict[int, Fault] = {}


class TryData(msgspec.Struct, tag="try"):
    """A try: which part runs, how often it was retried, since when, the caught fault.

    `stage` is `start`, `body`, `caught`, `delay` or `handler`; `allowed` how many seconds an
    attempt may take, if that is limited.
    """

    since: float
    stage: str = "start"
    retries: int = 0
    fault: Fault | None = None
    timer: int = 0
    allowed: float = 0.0


class ListenData(msgspec.Struct, tag="listen"):
    """A subscription: events waiting to be looked at, and what was consumed so far.

    `matched` and `until_matched` hold the filters already satisfied, `expect` the correlation
    values fixed so far, `outputs` the consumed items as the task will give them.
    """

    inbox: list[Json] = []
    values: list[Json] = []
    outputs: list[Json] = []
    matched: list[int] = []
    until_matched: list[int] = []
    expect: dict[str, Json] = {}
    handled: int = 0
    closed: bool = False
    item: Json = None
    stage: str = "consume"


class SubscribeData(msgspec.Struct, tag="subscribe"):
    """An AsyncAPI subscription that polls: messages waiting, consumed and handled so far."""

    inbox: list[Json] = []
    values: list[Json] = []
    outputs: list[Json] = []
    handled: int = 0
    closed: bool = False
    item: Json = None
    deadline: float | None = None
    timer: int = 0
    stage: str = "consume"


class UndoData(msgspec.Struct, tag="undo"):
    """Taking back: the entry at work, and what could not be taken back."""

    undone: int = 0
    current: int = 0
    failures: list[str] = []


class WaitData(msgspec.Struct, tag="wait"):
    """What was asked for is under way: nothing is left but to wait for its end."""


KindData = ForData | ForkData | TryData | ListenData | SubscribeData | UndoData | WaitData


class TaskFrame(msgspec.Struct, tag="task", omit_defaults=True):
    """One execution of one task.

    `node` is the task's place in the document, `path` the same with the rounds of loops.
    `key` tells this execution from an earlier one at the same place. `context` is the list
    frame that holds `$context`, 0 for the run's own. `answers` are what this phase was
    already told about questions that it could not answer purely.
    """

    id: int
    parent: int
    node: str
    path: str
    key: str
    phase: int = ENTER
    raw: Json = None
    input: Json = None
    output: Json = None
    then: str | None = None
    scope: dict[str, Json] = {}
    context: int = 0
    started: float = 0.0
    attempt: int = 1
    timer: int = 0
    timeout: float = 0.0
    extended: bool = True
    extensions: list[int] = []
    extensions_done: int = 0
    answers: list[Json] = []
    asking: int = 0
    scheme: str | None = None
    announced: bool = False
    data: KindData | None = None


class ListFrame(msgspec.Struct, tag="list", omit_defaults=True):
    """A walk through a task list for the task frame `owner`.

    `role` tells the owner which of its lists this is (`body`, `handler`, `branch`, ...) and
    `slot` which one of several. `only` confines the walk to one task (a fork's branch).
    """

    id: int
    owner: int
    node: str
    path: str
    role: str
    slot: int = 0
    index: int = 0
    only: bool = False
    scope: dict[str, Json] = {}
    context: int = 0
    own_context: Json = None
    attempt: int = 1
    extended: bool = True
    furthest: int = -1
    visits: dict[int, int] = {}  # of tasks that were gone back to


Frame = TaskFrame | ListFrame


class FrameTable(Table[Frame]):
    """Frames by id."""

    __slots__ = ()


class WaitTable(Table[int]):
    """The frame that waits for each open command."""

    __slots__ = ()


class Undoable(msgspec.Struct, frozen=True, array_like=True):
    """An action that took effect and can be taken back.

    By `function`, the one that its connector declares, with the same arguments; or, if `node` is
    set, as that task's own `metadata.undo` says, filled with what the task saw.
    """

    path: str
    function: str
    arguments: dict[str, Json]
    key: str
    output: Json = None
    node: str = ""
    input: Json = None
    scope: dict[str, Json] = {}


class State(msgspec.Struct):
    """Everything a run of a document knows; see the module's text."""

    run: str
    nonce: str
    runtime: str
    input: Json
    started: float
    frames: FrameTable
    next: int
    waits: WaitTable
    context: Json = None
    agenda: list[int] = []  # frames to go on with after a tick
    inbox: list[Json] = []  # events that nobody has taken yet
    undo: dict[str, str] = {}
    undoable: list[Undoable] = []
    in_flight: dict[int, Undoable] = {}  # undoable actions under way; none of them is dropped
    resources: dict[str, Json] = {}  # function definitions fetched, by node prefix
    restart: tuple[str, bool, Json] | None = None
    tick: int = 0
    suspended: list[int] = []  # task frames that were under way when a pause began
