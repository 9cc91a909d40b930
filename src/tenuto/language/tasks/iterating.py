"""What `listen` and subscriptions share: each consumed item in turn, first come first served."""

from __future__ import annotations

from collections.abc import Callable

from tenuto.engine.model import Json
from tenuto.language.fold import Fold
from tenuto.language.program import Task
from tenuto.language.state import ListenData, SubscribeData, TaskFrame


def handle_items(
    fold: Fold,
    frame: TaskFrame,
    task: Task,
    data: ListenData | SubscribeData,
    foreach: dict[str, Json] | None,
    node: str,
    enough: Callable[[], bool] | None = None,
) -> bool:
    """Handle consumed items as far as possible; say whether the task is done.

    An item's tasks end before the next item's begin: meanwhile the stage is `item`, `shape` when
    their output waits to be shaped, and `judge` when it waits to be asked whether that was `enough`.
    """
    while True:
        if data.stage == "item":
            return False
        if data.stage == "judge":
            data.closed = data.closed or (enough is not None and enough())
            data.stage = "consume"
            fold.forget_answers(frame)
        if data.handled >= len(data.values):
            return data.closed
        item, index = data.values[data.handled], data.handled
        if foreach is None:
            result = item
        elif data.stage == "consume" and foreach.get("do"):
            data.stage = "item"
            scope = {**frame.scope, foreach.get("item", "item"): item, foreach.get("at", "index"): index}
            path = f"{frame.path}/foreach/{index}/do"
            fold.start_list(frame, node, path, frame.input, role="item", slot=index, scope=scope)
            return False
        else:
            inner = data.item if data.stage == "shape" else item
            result = fold.shape_item(frame, task, foreach, item, inner, index)
        data.outputs = [*data.outputs, result]
        data.handled += 1
        data.item = None
        data.stage = "judge"
        fold.forget_answers(frame)


def take_item(fold: Fold, frame: TaskFrame, output: Json, exited: bool) -> None:
    """An item's tasks are done; `exit` in them ends the subscription."""
    data = frame.data
    assert isinstance(data, ListenData | SubscribeData)
    data.item = output
    data.stage = "shape"
    data.closed = data.closed or exited
    fold.schedule(frame)
