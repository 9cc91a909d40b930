"""Child processes that cannot outlive their action, see our secrets or fill our memory.

Every child leads its own session. Whatever ends the action (its own end, cancellation, a timeout,
a limit), the whole process group is ended: TERM, a grace, KILL. The environment holds PATH, HOME
and LANG, and what the task gives; the working folder is fresh and removed afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto.plugin import configuration_fault, runtime_fault

OUTPUT_BYTES: Final = 16 * 1024 * 1024  # what a child may write to stdout, and again to stderr
GRACE_SECONDS: Final = 5.0  # between TERM and KILL
DRAIN_SECONDS: Final = 1.0  # for output still in the pipes once the child has ended

_INHERITED: Final = ("PATH", "HOME", "LANG")
_SHELL_SIGNAL_CODE: Final = 128  # a shell reports a child that signal N ended as 128 + N


class Ended(msgspec.Struct, frozen=True):
    """How a child ended; `code` is 128 + N if signal N ended it, as shells have it."""

    code: int
    stdout: bytes
    stderr: bytes


class Child(asyncio.SubprocessProtocol):
    """A running child: its output so far, and when it ends.

    `receive`, if given, gets the bytes of stdout in place of `stdout`.
    """

    def __init__(self, name: str, limit: int, receive: Callable[[bytes], None] | None) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.exited: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self.overflowed: asyncio.Future[None] = loop.create_future()
        self.flooded = ""
        self.output = {1: bytearray(), 2: bytearray()}
        self._open = {1, 2}
        self._limit = limit
        self._receive = receive
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def stderr(self) -> bytes:
        """What the child wrote to stderr until now."""
        return bytes(self.output[2])

    @property
    def code(self) -> int:
        """The exit code of a child that has ended."""
        code = self._transport.get_returncode() if self._transport else None
        if code is None:
            return _SHELL_SIGNAL_CODE + signal.SIGKILL
        return code if code >= 0 else _SHELL_SIGNAL_CODE - code

    def write(self, data: bytes) -> None:
        """Send bytes to stdin; a child that does not read them loses them, as in a pipe."""
        pipe = self._transport.get_pipe_transport(0) if self._transport else None
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            pipe.write(data)

    def close_stdin(self) -> None:
        """Tell the child that nothing more comes."""
        pipe = self._transport.get_pipe_transport(0) if self._transport else None
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            pipe.write_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep output, up to the limit."""
        if fd == 1 and self._receive is not None:
            self._receive(data)
        elif len(self.output[fd]) + len(data) <= self._limit:
            self.output[fd] += data
        elif not self.overflowed.done():
            self.flooded = "stdout" if fd == 1 else "stderr"
            self.overflowed.set_result(None)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note that a stream has ended."""
        self._open.discard(fd)
        if not self._open and not self.drained.done():
            self.drained.set_result(None)

    def process_exited(self) -> None:
        """Note that the child has ended; its output may still be in the pipes."""
        if not self.exited.done():
            self.exited.set_result(None)

    async def end(self, grace_seconds: float) -> None:
        """End the whole process group, politely first, and let go of the pipes."""
        assert self._transport is not None
        group = self._transport.get_pid()
        try:
            if not self.exited.done():
                _signal(group, signal.SIGTERM)
                await asyncio.wait({self.exited}, timeout=grace_seconds)
        finally:
            # Also after an orderly end: nothing that the child left in the background stays.
            _signal(group, signal.SIGKILL)
            await asyncio.wait({self.exited}, timeout=grace_seconds)
            await asyncio.wait({self.drained}, timeout=DRAIN_SECONDS)
            self._transport.close()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@asynccontextmanager
async def child(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    stdin: bool = False,
    limit: int = OUTPUT_BYTES,
    grace_seconds: float = GRACE_SECONDS,
    receive: Callable[[bytes], None] | None = None,
) -> AsyncIterator[Child]:
    """Start a program and give its `Child`; when the block is left its process group is ended.

    Raises a `configuration` fault if the program cannot be started.
    """
    name = Path(argv[0]).name
    pipe = asyncio.subprocess.PIPE
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            lambda: Child(name, limit, receive),
            *argv,
            stdin=pipe if stdin else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    )
    try:
        await asyncio.wait({starting})
    except asyncio.CancelledError:
        # asyncio would end the child alone; by now it may have started others, so the group is ended.
        await asyncio.wait({starting})
        if starting.exception() is None:
            await starting.result()[1].end(grace_seconds)
        raise
    try:
        _, started = starting.result()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise configuration_fault(f"`{name}` cannot be started: {reason}") from None
    try:
        yield started
    finally:
        await started.end(grace_seconds)


async def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    stdin: bytes | None = None,
    limit: int = OUTPUT_BYTES,
    grace_seconds: float = GRACE_SECONDS,
) -> Ended:
    """Run a program to its end and return its exit code and output.

    Raises a `configuration` fault if it cannot be started, a `runtime` fault if it writes more
    than `limit` bytes to stdout or to stderr.
    """
    async with child(
        argv,
        environment=environment,
        folder=folder,
        stdin=stdin is not None,
        limit=limit,
        grace_seconds=grace_seconds,
    ) as started:
        if stdin is not None:
            started.write(stdin)
            started.close_stdin()
        await asyncio.wait({started.exited, started.overflowed}, return_when=asyncio.FIRST_COMPLETED)
    if started.flooded:
        raise runtime_fault(
            f"`{started.name}` wrote more than OUTPUT_BYTES ({limit} bytes) to {started.flooded}, "
            "so it was ended; let it write to a file"
        )
    return Ended(started.code, bytes(started.output[1]), started.stderr)


@asynccontextmanager
async def fresh_folder() -> AsyncIterator[Path]:
    """Make an empty folder that only this user can enter, and remove it with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="tenuto-"))
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def clean_environment(given: Mapping[str, Any] | None = None, *, also: Sequence[str] = ()) -> dict[str, str]:
    """Return PATH, HOME and LANG (and `also`) of this process, and over them what a task gives.

    Values that are no strings become JSON text; null leaves the variable out.
    """
    variables = {name: os.environ[name] for name in (*_INHERITED, *also) if name in os.environ}
    variables.setdefault("PATH", os.defpath)
    for name, value in (given or {}).items():
        if not name or "=" in name or "\0" in name:
            raise configuration_fault(f"`environment` has no usable variable name in {name!r}")
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = text(value)
    return variables


def program(*names: str, purpose: str, path: str | None = None) -> str:
    """Return where the first of these programs is, or raise a `configuration` fault naming them."""
    searched = path if path is not None else clean_environment()["PATH"]
    for name in names:
        found = shutil.which(name, path=searched)
        if found:
            return found
    wanted = " or ".join(f"`{name}`" for name in names)
    raise configuration_fault(
        f"{purpose} needs {wanted}, which is in none of the folders of PATH ({searched}); install it"
    )


def text(value: Any) -> str:
    """Return a string as it is and any other value as JSON text.

    >>> text("a"), text(1), text({"a": None})
    ('a', '1', '{"a":null}')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def words(arguments: Sequence[Any] | Mapping[str, Any] | None) -> list[str]:
    """Return arguments as separate words; an entry of a map becomes two, `--key` and the value.

    >>> words(["a b", 1]), words({"level": "high"})
    (['a b', '1'], ['--level', 'high'])
    """
    if isinstance(arguments, Mapping):
        return [word for name, value in arguments.items() for word in (f"--{name}", text(value))]
    return [text(value) for value in arguments or ()]


def tail(output: bytes | str, *, characters: int = 2000) -> str:
    """Return the end of a program's output, for an error message."""
    shown = (output if isinstance(output, str) else output.decode(errors="replace")).strip()
    return shown if len(shown) <= characters else f"…{shown[-characters:]}"
