"""Lives of the process that is killed: where they come from, what they say, how they end."""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.reliability.house.program import LINE_BYTES_MAX, Orders

ROOT: Final = Path(__file__).parents[3]
PROGRAM: Final = [sys.executable, "-m", "tests.reliability.house.program"]
START_SECONDS_MAX: Final = 60.0


class Died(Exception):
    """The process ended before it answered."""


class Nursery:
    """A process from which others are forked: one that is new takes some milliseconds instead of a quarter second."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*PROGRAM, "--nursery", str(theirs.fileno())], cwd=ROOT, pass_fds=[theirs.fileno()]
            )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.wait()

    def spawn(self, orders: Orders, theirs: socket.socket) -> int:
        """Begin a process; return its id."""
        socket.send_fds(self._control, [msgspec.json.encode(orders)], [theirs.fileno()])
        return int(self._control.recv(64))


def spawn(orders: Orders, theirs: socket.socket) -> int:
    """Begin a process as anybody else does; return its id."""
    command = [*PROGRAM, str(theirs.fileno()), msgspec.json.encode(orders).decode()]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    _spawned[process.pid] = process
    return process.pid


_spawned: Final[dict[int, subprocess.Popen[bytes]]] = {}


class Life:
    """One process, from its first word to the end of its socket; times are of `time.time`.

    `heard` is called with the (run, seq, digest) that it shows as durable, `over` at its end. One that is `forked` was
    begun in no time; one that is `starved` cannot write any more, one that is `closing` was asked to end;
    `refused` is the code of the error with which it did not begin.
    """

    def __init__(
        self,
        number: int,
        heard: Callable[[list[tuple[str, int, str]], float], None],
        over: Callable[[], None],
        *,
        forked: bool = False,
    ) -> None:
        self.number = number
        self._over = over
        self.forked = forked
        self.began = time.time()
        self.ready: float | None = None
        self.first_entry: float | None = None
        self.killed: float | None = None
        self.ended: float | None = None
        self.refused: str | None = None
        self.entries = 0
        self.pid = 0
        self._heard = heard
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._changed = asyncio.Event()
        self._descriptor = -1
        self._reading: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self.held = False
        self.starved = False
        self.closing = False

    async def begin(self, orders: Orders, nursery: Nursery | None) -> None:
        """Begin the process; returns when it is ready, or is held."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.began = time.time()
            self.pid = spawn(orders, theirs) if nursery is None else nursery.spawn(orders, theirs)
        with suppress(ProcessLookupError):
            self._descriptor = os.pidfd_open(self.pid)
        self._reading = asyncio.create_task(self._read(ours))
        await self.wait(lambda: self.held or self.ready is not None)

    async def wait(self, condition: Callable[[], bool], seconds: float = START_SECONDS_MAX) -> None:
        """Return when a condition holds; raises `Died` if the process ends before."""
        async with asyncio.timeout(seconds):
            while not condition():
                if self.ended is not None:
                    raise Died
                self._changed.clear()
                await self._changed.wait()

    def let(self) -> None:
        """Let a process that is held go on."""
        self.held = False
        self._writer.write(b"\n")

    async def _read(self, connection: socket.socket) -> None:
        try:
            await self._read_all(connection)
        finally:  # Whoever waits for the end must not wait for ever when this is interrupted.
            if self.ended is None:
                self.send_signal(signal.SIGKILL)
                self.ended = time.time()
            self._changed.set()
            self._gone.set()

    async def _read_all(self, connection: socket.socket) -> None:
        reader, self._writer = await asyncio.open_connection(sock=connection, limit=LINE_BYTES_MAX)
        with suppress(ConnectionError):
            while (line := await reader.readline()).endswith(b"\n"):
                self._take(msgspec.json.decode(line))
        self.ended = time.time()
        self._over()
        self._writer.close()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(Died())
                future.exception()  # somebody may have given up waiting
        self._changed.set()
        process = _spawned.pop(self.pid, None)
        if process is not None:
            await asyncio.get_running_loop().run_in_executor(None, process.wait)

    def _take(self, told: dict[str, Any]) -> None:
        now = time.time()
        if "entries" in told:
            self.first_entry = self.first_entry or now
            self.entries += len(told["entries"])
            self._heard([(run, seq, digest) for run, seq, digest in told["entries"]], now)
        elif "ready" in told:
            self.ready = now
        elif "held" in told:
            self.held = True
        elif "refused" in told:
            self.refused, _ = told["refused"]
        else:
            future = self._answers.pop(told["id"], None)
            if future is not None and not future.done():
                future.set_result(told)
        self._changed.set()

    async def ask(self, verb: str, run: str = "", value: Any = None) -> dict[str, Any]:
        """Ask for something and return the answer; raises `Died`."""
        if self.ended is not None or self._writer.is_closing():
            raise Died
        number = next(self._ids)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        self._writer.write(
            msgspec.json.encode({"id": number, "verb": verb, "run": run, "value": value}) + b"\n"
        )
        return await future

    def send_signal(self, number: int) -> bool:
        """Send the process a signal; return whether it was still alive, and had not said its last word."""
        if self.ended is not None or self._descriptor < 0 or not lives(self._descriptor):
            return False
        if number == signal.SIGKILL:
            self.killed = time.time()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)
            return True
        return False

    async def end(self) -> None:
        """Return when the process has ended, if it has ever begun."""
        if self._reading is not None:
            await self._gone.wait()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lives(descriptor: int) -> bool:
    """Whether the process of a descriptor (`os.pidfd_open`) has not ended: that can be read, buried or not."""
    readable, _, _ = select.select([descriptor], [], [], 0)
    return not readable


def kill_child(pid: int) -> bool:
    """Kill a process with SIGKILL; return whether it was still alive."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        was_alive = lives(descriptor)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return was_alive
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def descendants(pid: int) -> dict[int, str]:
    """Return the processes that a process has begun, and those that these have: id to command line."""
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for task in _listed(Path(f"/proc/{parent}/task")):
            with suppress(OSError):
                for child in map(int, (task / "children").read_text().split()):
                    if child not in found:
                        found[child] = _command(child)
                        waiting.append(child)
    return found


def lives_since(pid: int) -> str | None:
    """Return when a process began, as the kernel counts; None if it is gone, or dead and not yet buried."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
