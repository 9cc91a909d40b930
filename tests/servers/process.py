"""A server process that is ready when it says so, and is stopped by its process id."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 60
STOP_SECONDS = 20
START_ATTEMPTS = 3


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def folder_of(user: str | None) -> Iterator[Path]:
    """Make a temporary folder that belongs to a system user (None: to us), and remove it at the end."""
    path = Path(tempfile.mkdtemp(prefix="tenuto-server-"))
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(path, owner.pw_uid, owner.pw_gid)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def give(path: Path, user: str | None) -> Path:
    """Give a file to a system user, and to nobody else."""
    path.chmod(0o600)
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


class ServerProcess:
    """A process whose standard error says when it is ready; its last lines are kept for errors."""

    def __init__(self, command: Sequence[str | Path], ready: str, user: str | None = None) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            user=user,
            cwd="/",
        )
        self.lines: list[str] = []
        self._pattern = re.compile(ready)
        self._settled = threading.Event()
        self._is_ready = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip())
            if not self._is_ready and self._pattern.search(line):
                self._is_ready = True
                self._settled.set()
        self._settled.set()

    def wait_ready(self) -> bool:
        """Return whether the server became ready before it ended or the time was up."""
        self._settled.wait(READY_SECONDS)
        return self._is_ready

    @property
    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process, and its pipe."""
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(STOP_SECONDS)
        assert self._process.stderr is not None
        self._process.stderr.close()


@contextmanager
def running(
    command: Callable[[int], Sequence[str | Path]],
    ready: str,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
    """Run a server on a free port; `command` makes its command line from the port.

    Another process may take the port in between, so it is tried a few times.
    """
    said: list[str] = []
    for _ in range(START_ATTEMPTS):
        port = free_port()
        server = ServerProcess(command(port), ready, user)
        try:
            if server.wait_ready():
                yield port
                return
        finally:
            server.stop(stop)
        said = server.lines
    raise RuntimeError(f"{command(0)[0]} did not start; it said:\n" + "\n".join(said[-30:]))
