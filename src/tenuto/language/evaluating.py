"""What expressions, templates and references of a document come to for one task.

Whatever a pure fold cannot answer (an expression that may run long, a document elsewhere) is
asked once through a command; the phase runs again when the answer is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from tenuto.engine.model import Command, Json, Perform
from tenuto.engine.model import Evaluate as EvaluateCommand
from tenuto.errors import Faulted, configuration_fault, expression_fault, validation_fault
from tenuto.language.duration import duration_seconds
from tenuto.language.expressions import Expression, ExpressionFailed
from tenuto.language.program import (
    ArrayTemplate,
    Attempt,
    Computed,
    Constant,
    ObjectTemplate,
    Task,
    Template,
    TextTemplate,
    template,
)
from tenuto.language.schemas import InvalidSchema, Schema, compile_schema
from tenuto.language.state import BODY, LEAVE, ROOT, ListFrame, TaskFrame
from tenuto.language.uri_template import expand
from tenuto.language.working import Working

# The variable through which an expression learns how this run marks its references to secrets.
NONCE: Final = "__nonce__"


class Needs(Exception):
    """A phase asks something that a pure fold cannot answer; it runs again with the answer.

    It never leaves the fold: the fold turns it into a command and the frame waits.
    """

    def __init__(self, command: Callable[[int], Command]) -> None:
        super().__init__()
        self.command = command


class Evaluating(Working):
    """A working copy that can evaluate."""

    def ask(self, frame: TaskFrame, command: Callable[[int], Command]) -> Json:
        """Return what the phase was told about its next question, or ask it."""
        position = self.cursor
        self.cursor += 1
        if position < len(frame.answers):
            return frame.answers[position]
        raise Needs(command)

    def evaluate(
        self, frame: TaskFrame, expression: Expression, value: Json, extra: Mapping[str, Json] | None = None
    ) -> Json:
        """Evaluate an expression for a task on `value`, with `extra` variables besides its own."""
        variables = self._variables(frame, expression, extra)
        if expression.inline:
            return expression.evaluate(value, variables, self.now)
        return self.ask(
            frame, lambda id: EvaluateCommand(id, expression.text, value, dict(variables), self.now)
        )

    def fill(
        self, frame: TaskFrame, compiled: Template, value: Json, extra: Mapping[str, Json] | None = None
    ) -> Json:
        """Evaluate all expressions of a template on `value`."""
        if isinstance(compiled, Constant):
            return compiled.value
        if isinstance(compiled, Computed):
            return self.evaluate(frame, compiled.expression, value, extra)
        if isinstance(compiled, ObjectTemplate):
            return {name: self.fill(frame, member, value, extra) for name, member in compiled.members}
        if isinstance(compiled, ArrayTemplate):
            return [self.fill(frame, item, value, extra) for item in compiled.items]
        if isinstance(compiled, Attempt):
            try:
                return self.fill(frame, compiled.template, value, extra)
            except (Faulted, ExpressionFailed):
                return compiled.text
        return self._join(frame, compiled, value, extra)

    def _join(
        self, frame: TaskFrame, compiled: TextTemplate, value: Json, extra: Mapping[str, Json] | None
    ) -> str:
        texts = []
        for part in compiled.parts:
            item = part if isinstance(part, str) else self.evaluate(frame, part, value, extra)
            texts.append(item if isinstance(item, str) else msgspec.json.encode(item).decode())
        return "".join(texts)

    def test(
        self,
        frame: TaskFrame,
        task: Task,
        key: str,
        condition: str | bool,
        value: Json,
        extra: Mapping[str, Json] | None = None,
    ) -> bool:
        """Evaluate a condition as jq does: only null and false do not hold."""
        if isinstance(condition, bool):
            return condition
        result = self.fill(frame, task.formula(key, condition), value, extra)
        return result is not None and result is not False

    def _variables(
        self, frame: TaskFrame, expression: Expression, extra: Mapping[str, Json] | None
    ) -> dict[str, Json]:
        names = expression.variables
        found: dict[str, Json] = {NONCE: self.state.nonce} if expression.secrets else {}
        for name in names:
            if extra is not None and name in extra:
                found[name] = extra[name]
            elif name in frame.scope:
                found[name] = frame.scope[name]
            else:
                found[name] = self._argument(frame, name)
        return found

    def _argument(self, frame: TaskFrame, name: str) -> Json:
        known = _arguments(frame)
        if name not in known:
            names = ", ".join(f"${each}" for each in (*known, *sorted(frame.scope)))
            raise expression_fault(f"${name} is not available here. Known here: {names}")
        match name:
            case "context":
                return self.context(frame)
            case "input":
                return frame.input
            case "task":
                return self._describe_task(frame)
            case "workflow":
                return self._describe_workflow()
            case "authorization":
                # The credential itself is never kept, so its parameter cannot be shown.
                return {"scheme": frame.scheme, "parameter": "***"} if frame.scheme else None
        return {"name": "Tenuto", "version": self.state.runtime, "metadata": {}}

    def _describe_task(self, frame: TaskFrame) -> dict[str, Json]:
        frame = self._meant(frame)
        task = self.outline.task(frame.node)
        return {
            **task.definition,
            "name": task.name,
            "reference": frame.path,
            "definition": task.definition,
            "input": frame.raw,
            "output": frame.output,
            "startedAt": describe_time(frame.started),
        }

    def _meant(self, frame: TaskFrame) -> TaskFrame:
        """Return the frame that `$task` describes: the task's own, in an extension the extended task's."""
        while not frame.extended:
            walk = self.frames[frame.parent]
            assert isinstance(walk, ListFrame)
            owner = self.frames[walk.owner]
            assert isinstance(owner, TaskFrame)
            frame = owner
        return frame

    def _describe_workflow(self) -> dict[str, Json]:
        return {
            "id": self.state.run,
            "definition": self.outline.document,
            "input": self.state.input,
            "startedAt": describe_time(self.state.started),
        }

    def check_schema(self, frame: TaskFrame, schema: dict[str, Json], value: Json, what: str) -> None:
        """Validate a value against a schema of the document.

        Raises:
            Faulted: A validation fault that says where the value does not fit.
        """
        document = schema.get("document")
        if document is None:
            document = self.read(frame, schema["resource"], "json")
        try:
            mistake = _compiled(msgspec.json.encode(document)).check(value)
        except InvalidSchema as error:
            raise configuration_fault(f"the schema for {what} is not one: {error.message}") from None
        if mistake:
            raise validation_fault(f"{what} does not fit its schema: {mistake}")

    def read(self, frame: TaskFrame, resource: dict[str, Json], parse_as: str) -> Json:
        """Return the content of an external resource of the document."""
        return self.fetch(frame, self.located(frame, resource["endpoint"]), parse_as)

    def fetch(self, frame: TaskFrame, endpoint: Json, parse_as: str) -> Json:
        """Return what is at an endpoint, fetched once and then recorded."""
        answer = self.ask(
            frame,
            lambda id: Perform(
                id,
                frame.path,
                "resource.read",
                {"endpoint": endpoint, "parse": parse_as},
                f"{frame.key}/resource/{self.cursor}",
                frame.attempt,
                nonce=self.state.nonce,
            ),
        )
        return answer["content"]

    def located(self, frame: TaskFrame, written: Json) -> Json:
        """Return an endpoint of the document, its expressions and templates filled from the task's input."""
        data = frame.input if frame.phase >= BODY else frame.raw
        return self.endpoint(frame, self._filled(frame, written, data), written, data)

    def _filled(self, frame: TaskFrame, written: Json, data: Json) -> Json:
        return self.fill(frame, template(written, loose=self.outline.loose), data)

    def endpoint(self, frame: TaskFrame, value: Json, written: Json, data: Json) -> Json:
        """Return an endpoint with its URI template expanded from `data` and its authentication resolved.

        `value` is what became of `written` when its expressions were evaluated. Only text that stands
        in the document is a template: the result of an expression is data.
        """
        if not isinstance(value, dict):
            return uri_of(value, written, data)
        inner = written if isinstance(written, dict) else {}
        result = dict(value)
        for name in ("uri", "endpoint"):
            if name in result:
                result[name] = self.endpoint(frame, result[name], inner.get(name), data)
        if "authentication" in result:
            given = inner.get("authentication")
            result["authentication"] = self.authentication(frame, result["authentication"], given, data)
        return result

    def authentication(self, frame: TaskFrame, value: Json, written: Json, data: Json) -> Json:
        """Resolve a name or `use: name` to the policy of that name, `basic: {use: secret}` to its secret."""
        if not isinstance(value, dict) and value != written:
            return value
        name = _used(value, written) if isinstance(value, dict) else value
        if isinstance(name, str):
            policies = self.outline.use.get("authentications") or {}
            if name not in policies:
                raise configuration_fault(f"use.authentications has no {name!r}")
            policy = policies[name]
            return self.authentication(frame, self._filled(frame, policy, data), policy, data)
        inner = written if isinstance(written, dict) else {}
        return {scheme: self._scheme(policy, inner.get(scheme), data) for scheme, policy in value.items()}

    def _scheme(self, policy: Json, written: Json, data: Json) -> Json:
        if not isinstance(policy, dict):
            return policy
        secret = _used(policy, written)
        if secret is not None:
            return f"\x01{self.state.nonce}:{secret}\x01"
        inner = written if isinstance(written, dict) else {}
        result = dict(policy)
        if "authority" in result:
            result["authority"] = uri_of(result["authority"], inner.get("authority"), data)
        if isinstance(result.get("endpoints"), dict):
            paths = inner.get("endpoints") or {}
            result["endpoints"] = {
                name: uri_of(path, paths.get(name), data) for name, path in result["endpoints"].items()
            }
        return result

    def timeout_seconds(self, frame: TaskFrame, task: Task) -> float | None:
        """Return the task's timeout, None if it has none."""
        timeout = task.timeout
        if isinstance(timeout, str):
            named = self.outline.use.get("timeouts") or {}
            if timeout not in named:
                raise configuration_fault(f"use.timeouts has no {timeout!r}")
            timeout = named[timeout]
        return None if timeout is None else self.seconds(frame, task, "timeout", timeout["after"], frame.raw)

    def seconds(
        self,
        frame: TaskFrame,
        task: Task,
        key: str,
        duration: Json,
        value: Json,
        extra: Mapping[str, Json] | None = None,
    ) -> float:
        """Return a duration of the document in seconds, its expressions evaluated."""
        filled = self.fill(frame, task.template(key, duration), value, extra)
        try:
            return duration_seconds(filled)
        except ValueError as error:
            raise configuration_fault(f"{key}: {error}") from None


def _arguments(frame: TaskFrame) -> tuple[str, ...]:
    """Return the arguments that the standard's table gives an expression; `$output` comes with `export`."""
    if frame.id == ROOT:
        return ("context", "workflow", "runtime") if frame.phase >= LEAVE else ("workflow", "runtime")
    if frame.phase < BODY:
        return ("context", "task", "workflow", "runtime")
    return ("context", "input", "task", "workflow", "runtime", "authorization")


def _used(value: dict[str, Json], written: Json) -> str | None:
    """Return what `use` names. Only the document may name a policy or a secret: data must not reach them."""
    name = value.get("use")
    if name is not None and not (isinstance(written, dict) and written.get("use") == name):
        raise configuration_fault("the `use` of an authentication has to stand in the document itself")
    return name


def uri_of(value: Json, written: Json, data: Json) -> Json:
    """Return a URI with its template expanded, if it is text that stands so in the document."""
    return expand(value, data) if isinstance(value, str) and value == written and "{" in value else value


@lru_cache(maxsize=256)
def _compiled(schema: bytes) -> Schema:
    """Compile a schema, given as JSON, once for all who use it."""
    return compile_schema(msgspec.json.decode(schema))


def describe_time(time: float) -> dict[str, Json]:
    """Return a time as the standard's date-time descriptor."""
    milliseconds = round(time * 1000)
    return {
        "iso8601": iso_time(time),
        "epoch": {"seconds": milliseconds // 1000, "milliseconds": milliseconds},
    }


def iso_time(time: float) -> str:
    """Return a time in ISO 8601, UTC, with milliseconds.

    >>> iso_time(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
