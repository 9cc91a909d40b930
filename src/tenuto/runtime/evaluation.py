"""The second lane of expressions: jq itself, in child processes that are killed when they pass a limit.

Expressions arrive as text, are parsed by the language's own parser, and only the text that it writes
again reaches jq. A child has an empty environment, no files and no more than it was sent. It is used
again and again; one that passes a limit, dies or is abandoned is replaced. Expressions are pure, so one
whose child died for no fault of its own is tried once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto.engine.model import Json
from tenuto.language.expressions import ExpressionFailed, ExpressionSyntax, parse
from tenuto.language.expressions.failures import DEPTH_LIMIT

TIME_LIMIT_SECONDS: Final = 0.1
"""`expression-time`: processor time for one expression."""

MEMORY_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""`expression-memory`: what one expression may need on top of the child's own memory."""

RESULT_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""`expression-result`: the value of an expression, as JSON."""

INPUT_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""`expression-input`: the value and the variables given to an expression, as JSON."""

PATIENCE_SECONDS: Final = 10.0
"""`expression-time` on the clock: for a child that is stopped or starved; others end themselves."""

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 1.0
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_CHILD: Final = Path(__file__).with_name("evaluation_child.py")


class _Died(Exception):
    """The child ended before it answered."""


class _Child:
    """One child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls, time_limit_seconds: float, memory_limit_bytes: int, result_limit_bytes: int
    ) -> _Child:
        """Start a child; it is ready when it has read its first request."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(_CHILD),
            _jq_module(),
            str(time_limit_seconds),
            str(memory_limit_bytes),
            str(result_limit_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,
        )
        child = cls(process)
        try:
            await child.ask(b".", b"null", _START_SECONDS)
        except BaseException:
            await child.stop()
            raise
        return child

    async def ask(self, program: bytes, document: bytes, seconds: float) -> tuple[bytes, bytes]:
        """Send a request and return the answer's kind and content."""
        source, target = self.process.stdin, self.process.stdout
        assert source is not None
        assert target is not None
        try:
            async with asyncio.timeout(seconds):
                source.write(struct.pack("!II", len(program), len(document)))
                source.write(program)
                source.write(document)
                await source.drain()
                header = await target.readexactly(5)
                content = await target.readexactly(struct.unpack("!I", header[1:])[0])
        except TimeoutError:  # an OSError too, but no sign of death
            raise
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _Died from error
        return header[:1], content

    async def ended(self) -> tuple[int, bytes]:
        """Return how a process ended that closed its output, and its last words."""
        assert self.process.stderr is not None
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                words = await self.process.stderr.read()
                return await self.process.wait(), words
        except TimeoutError:
            return await self.stop(), b""

    async def stop(self) -> int:
        """Kill the process if it still runs; return how it ended."""
        if self.process.returncode is None:
            # Not Process.kill: it polls first, and would take the exit status from who waits for it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        return await self.process.wait()


def _jq_module() -> str:
    """Return the file of the jq extension module, which is never loaded in this process."""
    spec = importlib.util.find_spec("jq")
    if spec is None or spec.origin is None:
        raise ExpressionFailed("the package jq is not installed", hint="pip install jq")
    return spec.origin


class Evaluator:
    """Evaluates expressions in a pool of child processes that grows up to `size`, on demand.

    >>> evaluator = Evaluator()  # evaluate() starts the first child; close() ends them all
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
        memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
        result_limit_bytes: int = RESULT_LIMIT_BYTES,
    ) -> None:
        self.time_limit_seconds = time_limit_seconds
        self.memory_limit_bytes = memory_limit_bytes
        self.result_limit_bytes = result_limit_bytes
        self._free = asyncio.Semaphore(size or os.cpu_count() or 1)
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._closed = False

    async def evaluate(self, expression: str, value: Json, variables: Mapping[str, Json], now: float) -> Json:
        """Return the first value of an expression.

        `now` is the recorded time in seconds since the epoch; `variables` are given without `$`. Raises
        `ExpressionFailed`, whose `limit` names the limit if one was passed.
        """
        try:
            parsed = parse(expression)
        except ExpressionSyntax as error:
            raise ExpressionFailed(error.message, hint=error.hint) from error
        document = _encode(parsed.envelope(value, variables, now))
        program = parsed.program.encode()
        async with self._free:
            try:
                kind, content = await self._ask(program, document)
            except _Died:
                try:
                    kind, content = await self._ask(program, document, fresh=True)
                except _Died as error:
                    raise ExpressionFailed("the process that evaluates expressions ended twice") from error
        return self._result(kind, content)

    async def warm(self) -> None:
        """Start the first child, so that the first expression need not wait for it."""
        async with self._free:
            if self._idle or self._closed:
                return
            child = await self._start()
            if self._closed:
                await child.stop()
            else:
                self._idle.append(child)

    async def close(self) -> None:
        """End all children; evaluations under way fail."""
        self._closed = True
        self._idle.clear()
        children, self._children = self._children, set()
        for child in children:
            await child.stop()

    async def _start(self) -> _Child:
        """Start a child; one that cannot be started counts as dead."""
        try:
            child = await _Child.start(
                self.time_limit_seconds, self.memory_limit_bytes, self.result_limit_bytes
            )
        except OSError as error:  # TimeoutError included
            raise _Died from error
        self._children.add(child)
        return child

    async def _ask(self, program: bytes, document: bytes, *, fresh: bool = False) -> tuple[bytes, bytes]:
        """Have a child answer, a `fresh` one if asked; raise for a limit that ended it, else `_Died`."""
        if self._closed:
            raise ExpressionFailed("expressions are no longer evaluated: the runtime is closing")
        child = self._idle.pop() if self._idle and not fresh else await self._start()
        finished = False
        try:
            answer = await child.ask(program, document, self.time_limit_seconds + PATIENCE_SECONDS)
            finished = True
            return answer
        except TimeoutError:
            raise self._passed("expression-time") from None
        except _Died:
            ending, words = await child.ended()
            if ending in (-signal.SIGPROF, -signal.SIGXCPU):
                raise self._passed("expression-time") from None
            if ending == -signal.SIGABRT and b"memory" in words:
                raise self._passed("expression-memory") from None
            if ending in (-signal.SIGABRT, -signal.SIGSEGV):
                raise ExpressionFailed("jq itself failed on this expression") from None
            raise
        finally:
            if finished and not self._closed:
                self._idle.append(child)
            else:
                self._children.discard(child)
                await child.stop()

    def _passed(self, limit: str) -> ExpressionFailed:
        """Return the failure of an expression that passed a limit."""
        texts = {
            "expression-time": f"more than {self.time_limit_seconds * 1000:g} ms of processor time",
            "expression-memory": f"more than {self.memory_limit_bytes / 1024 / 1024:g} MiB of memory",
            "expression-result": f"a value of more than {self.result_limit_bytes / 1024 / 1024:g} MiB",
        }
        return ExpressionFailed(f"the expression passed the limit {limit}: {texts[limit]}", limit=limit)

    def _result(self, kind: bytes, content: bytes) -> Json:
        """Return the value that an answer holds."""
        if kind == b"V":
            return _decode(content)
        if kind == b"N":
            raise ExpressionFailed("the expression gave no value", hint="give one with: (...) // null")
        if kind == b"L":
            raise self._passed(content.decode())
        raise ExpressionFailed(content.decode())


def _encode(envelope: Any) -> bytes:
    """Return the input of a program as JSON."""
    document = msgspec.json.encode(envelope)
    if len(document) > INPUT_LIMIT_BYTES:
        limit = f"{INPUT_LIMIT_BYTES // 1024 // 1024} MiB"
        raise ExpressionFailed(
            f"the expression passed the limit expression-input: more than {limit} of data",
            limit="expression-input",
        )
    return document


def _decode(content: bytes) -> Json:
    """Return the value of JSON that jq wrote; numbers beyond a double become the largest one."""
    if _deeper(content, DEPTH_LIMIT):
        what = f"the result nests deeper than {DEPTH_LIMIT} levels"
        raise ExpressionFailed(
            f"the expression passed the limit expression-depth: {what}", limit="expression-depth"
        )
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return json.loads(content, parse_float=_bounded)


def _deeper(content: bytes, levels: int) -> bool:
    """Tell whether JSON nests deeper; innermost brackets are taken away level by level."""
    if content.count(b"[") + content.count(b"{") <= levels:
        return False
    brackets = _STRING.sub(b"", content).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _bounded(text: str) -> float:
    """Return a number, cut to the range of a double."""
    return min(max(float(text), -sys.float_info.max), sys.float_info.max)
