"""Programs that run beside a measured system's own: servers, workers and databases; how they are started, awaited and ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from bench.measuring import family

HOST: Final = "127.0.0.1"
READY_SECONDS_MAX: Final = 120
STOP_SECONDS_MAX: Final = 20
_LIBC: Final = ctypes.CDLL(None)
_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG


def free_ports(count: int) -> list[int]:
    """Find ports of the loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in found]


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections on a port of the loopback."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


class Server:
    """One program, its output in a file. In a `with` statement it runs, and is ended with all it started.

    It is told to end when this process dies, however that happens.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self._command = [str(part) for part in command]
        self._log = log
        self._env = env
        self._user = user
        self._stop_signal = stop_signal
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self._child is not None, "it does not run"
        return self._child.pid

    def start(self) -> None:
        """Start it, in a group of its own. Call this in the main thread: a parent's death is that of its thread."""
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._user,
                start_new_session=True,
                preexec_fn=self._end_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
            )

    def _end_with_parent(self) -> None:
        _LIBC.prctl(_PARENT_DEATH_SIGNAL, self._stop_signal)

    def until(self, ready: Callable[[], bool], seconds: float = READY_SECONDS_MAX) -> None:
        """Return when it is ready; raise with the end of its output where it ends before, or takes too long."""
        end = time.monotonic() + seconds
        while not ready():
            if self._child is None or self._child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self._command[0]} is not ready: {self.output()[-3000:]}")
            time.sleep(0.005)

    def output(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def kill(self) -> None:
        """End it and all it started at once, with no chance to tidy up: `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait; then end what is left of all it started."""
        self._end(self._stop_signal)

    def _end(self, number: int) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        started = {pid: _born(pid) for pid in family(child.pid)}
        for pid in started if number == signal.SIGKILL else [child.pid]:
            _send(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS_MAX)
        if child.poll() is None:
            started |= {pid: _born(pid) for pid in family(child.pid)}
        for pid, born in started.items():
            # The number of one that is gone may be another's by now.
            if born and _born(pid) == born:
                _send(pid, signal.SIGKILL)
        child.wait()

    def __enter__(self) -> Server:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _born(pid: int) -> str:
    """Return when a process was started, in ticks since this machine was; nothing if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return ""


def end_tidily() -> None:
    """Let SIGTERM end this process as its own end would, so that every `with` statement ends its server."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
