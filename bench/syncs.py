"""Counting how often a system's processes have the disk sync: what it says of itself is one thing, what it does another."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.measuring import family

_CALL: Final = re.compile(r"(?:fsync|fdatasync)\(")
_ATTACHED: Final = re.compile(r"Process (\d+) attached")
_ATTACH_SECONDS_MAX: Final = 20


@dataclass(slots=True)
class Syncs:
    """How many calls there were; None where there is no strace to count them with."""

    calls: int | None = None

    def said(self, what: str, least: int) -> str:
        """Say how many calls there were for `what`, and refuse fewer than there must be."""
        if self.calls is None:
            return "calls of fsync not counted: no strace"
        assert self.calls >= least, f"{what}: {self.calls} calls of fsync, and must be {least} at least"
        return f"{what}: {self.calls} calls of fsync or fdatasync, by strace"


@contextmanager
def counted(folder: Path, roots: Sequence[int]) -> Iterator[Syncs]:
    """Count the calls of fsync and fdatasync of these processes' families meanwhile, and of what they start."""
    found = Syncs()
    program = shutil.which("strace")
    if program is None:
        yield found
        return
    calls, log = folder / "syncs", folder / "strace.log"
    attached = {process for root in roots for process in family(root)}
    options = ["-f", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", calls]
    with log.open("wb") as output:
        strace = subprocess.Popen(
            [program, *options, *(part for process in attached for part in ("-p", str(process)))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    try:
        _until_attached(strace, log, attached)
        yield found
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
    found.calls = len(_CALL.findall(calls.read_text(errors="replace")))


def _until_attached(strace: subprocess.Popen[bytes], log: Path, wanted: set[int]) -> None:
    """Return when strace has said of each process that it is attached, or that process is gone."""
    end = time.monotonic() + _ATTACH_SECONDS_MAX
    while True:
        seen = {int(number) for number in _ATTACHED.findall(log.read_text(errors="replace"))}
        if all(process in seen or not Path(f"/proc/{process}").exists() for process in wanted):
            return
        if strace.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"strace: {log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.01)
