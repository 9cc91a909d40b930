"""`call: asyncapi` with a subscription: poll, filter, handle each message, until it is enough."""

from __future__ import annotations

from typing import Final

from tenuto.engine.model import Json
from tenuto.errors import configuration_fault
from tenuto.language.fold import Fold, Kind
from tenuto.language.program import Task
from tenuto.language.state import ListFrame, SubscribeData, TaskFrame
from tenuto.language.tasks.endpoints import resolve_endpoints
from tenuto.language.tasks.iterating import handle_items, take_item

# How long to wait before asking again when a poll gave nothing.
POLL_PAUSE_SECONDS: Final = 1.0


class Subscribe(Kind):
    """A subscription; see the module's text."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Look at the messages that wait, handle them, and ask for more if need be."""
        data = frame.data
        assert isinstance(data, SubscribeData)
        subscription = task.definition["with"]["subscription"]
        consume = subscription["consume"]
        if data.deadline is None and "for" in consume:
            data.deadline = fold.now + fold.seconds(frame, task, "consume.for", consume["for"], frame.input)
            fold.forget_answers(frame)
        foreach, node = subscription.get("foreach"), task.node + "/with/subscription/foreach/do"

        def enough() -> bool:
            return _is_enough(fold, frame, task, data)

        done = handle_items(fold, frame, task, data, foreach, node, enough)
        while data.stage == "consume" and data.inbox and not data.closed:
            self._look_at(fold, frame, task, data, data.inbox[0])
            data.inbox = data.inbox[1:]
            fold.forget_answers(frame)
            done = handle_items(fold, frame, task, data, foreach, node, enough)
        if data.deadline is not None and fold.now >= data.deadline and data.handled == len(data.values):
            done = True
        if done:
            fold.drop(data.timer)
            fold.complete(frame, data.outputs)
        elif data.stage == "consume" and not data.closed and not data.timer:
            self._poll(fold, frame, task, data)

    def _look_at(self, fold: Fold, frame: TaskFrame, task: Task, data: SubscribeData, message: Json) -> None:
        subscription = task.definition["with"]["subscription"]
        if "filter" not in subscription or fold.test(
            frame, task, "subscription.filter", subscription["filter"], message
        ):
            data.values = [*data.values, message]

    def _poll(self, fold: Fold, frame: TaskFrame, task: Task, data: SubscribeData) -> None:
        definition = {k: v for k, v in task.definition["with"].items() if k != "subscription"}
        arguments = fold.fill(frame, task.template("subscribe", definition), frame.input)
        if not isinstance(arguments, dict):
            raise configuration_fault("`with` must give an object of arguments")
        arguments = resolve_endpoints(fold, frame, arguments, definition, frame.input)
        data.stage = "poll"
        fold.perform(frame, "asyncapi.receive", arguments, suffix=f"/poll/{fold.state.next}")

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """Take what a poll gave; after an empty one, pause before the next."""
        data = frame.data
        assert isinstance(data, SubscribeData)
        if command == data.timer:
            data.timer = 0
        elif output:
            data.inbox = [*data.inbox, *(output if isinstance(output, list) else [output])]
            data.stage = "consume"
        else:
            at = fold.now + POLL_PAUSE_SECONDS
            data.timer = fold.wake(frame, at if data.deadline is None else min(at, data.deadline))
            data.stage = "consume"
        fold.schedule(frame)

    def listed(self, fold: Fold, frame: TaskFrame, ended: ListFrame, output: Json, exited: bool) -> None:
        """A message's tasks are done."""
        take_item(fold, frame, output, exited)


def _is_enough(fold: Fold, frame: TaskFrame, task: Task, data: SubscribeData) -> bool:
    """Whether the newest message, which has been handled, is the last one."""
    consume = task.definition["with"]["subscription"]["consume"]
    message = data.values[-1]
    if "amount" in consume:
        return len(data.values) >= int(consume["amount"])
    if "while" in consume:
        return not fold.test(frame, task, "consume.while", consume["while"], message)
    return fold.test(frame, task, "consume.until", consume["until"], message)
