"""Starts lives of a process (`life.py`), hears what they say, and puts the evidence together.

with born(database, 1, "--runs", "6") as life:
    life.until(lambda said: said.startswith(b"durable"), 5)      waits for five such lines
    life.kill()
heard.take(life.rest())
check(heard.evidence(database, settled=True))
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec

from tests.reliability.disk import life as living
from tests.reliability.disk.life import chore, errand
from tests.reliability.evidence import Call, Effect, Evidence
from tests.reliability.reading import Build, builder, read_journals, replayed

ROOT: Final = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS: Final = 60.0
"""No life is waited for any longer."""

LIFE: Final = "tests.reliability.disk.life"
PROGRAMS: Final = builder([chore, errand])


def command(database: Path, life: int, *options: str, module: str = LIFE) -> list[str]:
    """Return the command line of a life."""
    return [sys.executable, "-m", module, str(database), str(life), *options]


class Life:
    """A process and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.heard: list[bytes] = []

    def lines(self) -> Iterator[bytes]:
        """Yield what it says, whole lines only, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                yield line[:-1]

    def until(self, counts: Callable[[bytes], bool], times: int) -> None:
        """Add to `heard` what it says up to the given number of lines that count, or to its end."""
        for line in self.lines():
            self.heard.append(line)
            times -= counts(line)
            if times <= 0:
                break

    def kill(self) -> None:
        """Kill it, and whoever traces it."""
        self.process.kill()

    def end(self) -> tuple[list[bytes], bytes]:
        """Wait for its end: return what else it says, and its error output."""
        heard = list(self.lines())
        assert self.process.stderr is not None
        errors = self.process.stderr.read()
        self.process.wait()
        return heard, errors


@contextmanager
def born(
    database: Path,
    life: int,
    *options: str,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    module: str = LIFE,
) -> Iterator[Life]:
    """Start a life; it is killed at the end, and when it takes longer than anybody waits."""
    process = subprocess.Popen(
        [*before, *command(database, life, *options, module=module)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    watch = threading.Timer(PATIENCE_SECONDS, process.kill)
    watch.start()
    try:
        yield Life(process)
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def overheard() -> Iterator[list[bytes]]:
    """Let lives in this process say their lines here."""
    lines: list[bytes] = []

    def say(kind: str, value: Any = None) -> None:
        data = value if isinstance(value, bytes) else b"" if value is None else msgspec.json.encode(value)
        lines.append(kind.encode() + b" " + data)

    with mock.patch.object(living, "say", say):
        yield lines


@dataclass(slots=True)
class Heard:
    """Everything that lives have said, decoded."""

    calls: list[Call] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    durable: dict[tuple[str, int], str] = field(default_factory=dict)
    failures: list[Mapping[str, str]] = field(default_factory=list)
    after_failure: list[bytes] = field(default_factory=list)
    refused: int = 0
    over: int = 0

    def take(self, lines: Iterable[bytes]) -> None:
        """Take what one life said, from its first line."""
        failed = False
        for line in lines:
            kind, _, rest = line.partition(b" ")
            # Whoever asks, or opens, may not know yet.
            if failed and kind not in (b"failed", b"ready") and b'"what":"invoke"' not in rest:
                self.after_failure.append(line)
            match kind:
                case b"call":
                    self.calls.append(msgspec.json.decode(rest, type=Call))
                case b"effect":
                    self.effects.append(msgspec.json.decode(rest, type=Effect))
                case b"durable":
                    run, seq, digest = rest.decode().split(" ")
                    self.durable.setdefault((run, int(seq)), digest)
                case b"refused":
                    failed = True
                    self.refused += 1
                case b"failed":
                    self.failures.append(msgspec.json.decode(rest))
                case b"over":
                    self.over += 1

    def evidence(
        self, database: Path, *, settled: bool, programs: Build = PROGRAMS, clocks_agree: bool = True
    ) -> Evidence:
        """Return what is to be checked, with what the database holds now."""
        return Evidence(
            calls=self.calls,
            journals=read_journals(database),
            effects=self.effects,
            acked_entries=frozenset(self.durable),
            acked_digests=self.durable,
            settled=settled,
            replays=replayed(database, programs),
            clocks_agree=clocks_agree,
        )
