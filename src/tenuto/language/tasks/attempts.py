"""The try task: which errors it catches, when it tries again, what it does when it gives up.

While the retry policy grants another attempt, a caught error leads to that attempt; `catch.do`
runs once, when none is left. A caught error without `do` and `then` is swallowed if no retry
was asked for, and climbs if retrying did not help.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tenuto.engine.model import Json
from tenuto.engine.rules import Backoff, retry_delay
from tenuto.errors import Fault, configuration_fault, timeout_fault
from tenuto.language.fold import Fold, Kind
from tenuto.language.program import Task
from tenuto.language.state import ListFrame, TaskFrame, TryData

# Both families of URIs name the same standard errors, and so do both spellings of the path.
_STANDARD_TYPE: Final = re.compile(
    r"https://(?:serverlessworkflow\.io|open-workflow-specification\.org)"
    r"/(?:spec/[0-9.]+/errors|dsl/errors/types)/([a-z-]+)"
)


def same_type(one: str, other: str) -> bool:
    """Whether two error types mean the same.

    >>> same_type("https://serverlessworkflow.io/dsl/errors/types/timeout",
    ...           "https://open-workflow-specification.org/spec/1.0.0/errors/timeout")
    True
    """
    if one == other:
        return True
    first, second = _STANDARD_TYPE.fullmatch(one), _STANDARD_TYPE.fullmatch(other)
    return bool(first and second and first[1] == second[1])


class Try(Kind):
    """Run tasks and handle their errors; see the module's text."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Start the tasks, or decide about an error."""
        data = frame.data
        if data is None:
            data = frame.data = TryData(since=fold.now)
        assert isinstance(data, TryData)
        if data.stage == "start":
            self._attempt(fold, frame, task, data)
        elif data.stage == "caught":
            self._decide(fold, frame, task, data)

    def _attempt(self, fold: Fold, frame: TaskFrame, task: Task, data: TryData) -> None:
        policy = _policy(fold, task)
        limit = ((policy or {}).get("limit") or {}).get("attempt") or {}
        if "duration" in limit:
            seconds = fold.seconds(frame, task, "limit.attempt.duration", limit["duration"], frame.input)
            data.allowed = seconds
            data.timer = fold.wake(frame, fold.now + seconds)
        data.stage = "body"
        fold.forget_answers(frame)
        attempt = frame.attempt if policy is None else data.retries + 1
        fold.start_list(frame, task.node + "/try", frame.path + "/try", frame.input, attempt=attempt)

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """Time is up: for the delay before an attempt, or for the attempt itself."""
        data = frame.data
        assert isinstance(data, TryData)
        data.timer = 0
        if data.stage == "delay":
            data.stage = "start"
            fold.note(frame, "retried", attempt=data.retries + 1)
            fold.schedule(frame)
        else:
            fold.cancel_below(frame)
            fault = timeout_fault("the attempt took longer than limit.attempt.duration").fault
            self._caught(fold, frame, data, fault.at(frame.path))

    def listed(self, fold: Fold, frame: TaskFrame, ended: ListFrame, output: Json, exited: bool) -> None:
        """The tasks, or the handler's, are done."""
        data = frame.data
        assert isinstance(data, TryData)
        self._stop_timer(fold, data)
        task = fold.outline.task(frame.node)
        then = task.definition["catch"].get("then") if ended.role == "handler" else None
        fold.complete(frame, output, then)

    def list_faulted(self, fold: Fold, frame: TaskFrame, ended: ListFrame, fault: Fault) -> None:
        """A task has faulted: see whether the error is one to catch. A handler's own is not."""
        data = frame.data
        assert isinstance(data, TryData)
        self._stop_timer(fold, data)
        if ended.role == "handler":
            fold.fault(frame, fault)
        else:
            self._caught(fold, frame, data, fault)

    def _caught(self, fold: Fold, frame: TaskFrame, data: TryData, fault: Fault) -> None:
        data.stage = "caught"
        data.fault = fault
        fold.forget_answers(frame)
        fold.schedule(frame)

    def _stop_timer(self, fold: Fold, data: TryData) -> None:
        fold.drop(data.timer)
        data.timer = 0

    def _decide(self, fold: Fold, frame: TaskFrame, task: Task, data: TryData) -> None:
        catch = task.definition["catch"]
        fault = data.fault
        assert fault is not None
        error = fault.to_json()
        visible = {catch.get("as", "error"): error}
        if not self._matches(fold, frame, task, catch, error, visible):
            fold.fault(frame, fault)
            return
        policy = _policy(fold, task)
        delay = self._delay(fold, frame, task, data, policy, visible) if policy is not None else None
        fold.forget_answers(frame)
        if delay is not None:
            data.stage = "delay"
            data.retries += 1
            data.timer = fold.wake(frame, fold.now + delay)
        elif catch.get("do"):
            data.stage = "handler"
            fold.start_list(
                frame,
                task.node + "/catch/do",
                frame.path + "/catch/do",
                frame.input,
                role="handler",
                scope={**frame.scope, **visible},
            )
        elif policy is None or "then" in catch:
            fold.complete(frame, frame.input, catch.get("then"))
        else:
            fold.fault(frame, fault)

    def _matches(
        self,
        fold: Fold,
        frame: TaskFrame,
        task: Task,
        catch: dict[str, Json],
        error: dict[str, Json],
        visible: dict[str, Json],
    ) -> bool:
        wanted = fold.fill(
            frame,
            task.template("catch.errors", (catch.get("errors") or {}).get("with") or {}),
            frame.input,
            visible,
        )
        for name, value in wanted.items():
            found = error.get(name)
            if name == "type" and isinstance(found, str) and isinstance(value, str):
                if not same_type(value, found):
                    return False
            elif found != value and str(found) != str(value):
                return False
        if "when" in catch and not fold.test(frame, task, "catch.when", catch["when"], frame.input, visible):
            return False
        return "exceptWhen" not in catch or not fold.test(
            frame, task, "catch.exceptWhen", catch["exceptWhen"], frame.input, visible
        )

    def _delay(
        self,
        fold: Fold,
        frame: TaskFrame,
        task: Task,
        data: TryData,
        policy: dict[str, Json],
        visible: dict[str, Json],
    ) -> float | None:
        """Return the seconds to wait before another attempt, None if there shall be none."""

        def seconds(key: str, value: Json) -> float:
            return fold.seconds(frame, task, f"retry.{key}", value, frame.input, visible)

        if "when" in policy and not fold.test(
            frame, task, "retry.when", policy["when"], frame.input, visible
        ):
            return None
        if "exceptWhen" in policy and fold.test(
            frame, task, "retry.exceptWhen", policy["exceptWhen"], frame.input, visible
        ):
            return None
        limit = policy.get("limit") or {}
        count = (limit.get("attempt") or {}).get("count")
        if count is not None and data.retries >= count:
            return None
        backoff: Any = next(iter(policy.get("backoff") or {"constant": {}}))
        jitter = policy.get("jitter")
        kind: Backoff = backoff
        delay = retry_delay(
            seconds("delay", policy["delay"]) if "delay" in policy else 0.0,
            kind,
            data.retries + 1,
            (seconds("jitter.from", jitter["from"]), seconds("jitter.to", jitter["to"])) if jitter else None,
            frame.key,
        )
        if "duration" in limit:
            until = data.since + seconds("limit.duration", limit["duration"])
            if fold.now + delay > until:
                return None
        return delay


def _policy(fold: Fold, task: Task) -> dict[str, Json] | None:
    policy = task.definition["catch"].get("retry")
    if isinstance(policy, str):
        known = fold.outline.use.get("retries") or {}
        if policy not in known:
            raise configuration_fault(f"use.retries has no {policy!r}")
        policy = known[policy]
    return policy if isinstance(policy, dict) else None
