"""The outside world: it counts what steps do to it, is never killed, and can be as difficult as real systems are.

    step ── one line of JSON: who asks, under which key ──▶ ledger ── {"output": ...} ──▶ step

What it answers follows from the run and the value alone, so that a run's result can be known beforehand.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.reliability.evidence import Effect, append_line

TROUBLES_MAX: Final = 2
"""How often a call under one key meets the same trouble at most, so that retries get through."""

_numbers: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Trouble:
    """How difficult the ledger is: shares of calls, from 0 to 1; which ones follows from the seed.

    A call is refused before it has an effect, or loses its answer after it, once or twice, or waits for
    `slow_seconds` before it has its effect, each time.
    """

    refuse: float = 0.0
    lose: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 0.02
    seed: int = 1

    def share(self, kind: str, run: str, value: Any) -> float:
        """Return a number from 0 to 1 that stands for a call."""
        return zlib.crc32(f"{self.seed} {kind} {run} {value}".encode()) / 2**32


def output_of(run: str, value: Any) -> int:
    """Return what the ledger answers, without the ledger."""
    return zlib.crc32(f"{run} {value}".encode()) % 1_000_000


class Ledger:
    """Listens on an abstract Unix socket; `effects` are all that reached it, in order."""

    def __init__(self, path: Path, trouble: Trouble | None = None) -> None:
        """Write effects to this file, besides; be as difficult as `trouble` says."""
        self.path = path
        self.trouble = trouble or Trouble()
        self.effects: list[Effect] = []
        self.address = f"tenuto-house-{os.getpid()}-{next(_numbers)}"
        self.asked = asyncio.Event()
        """Set once a call has come, whatever becomes of it."""
        self._met: Counter[tuple[str, str]] = Counter()
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Ledger:
        self._server = await asyncio.start_unix_server(self._serve, f"\0{self.address}", backlog=1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        with closing(writer), suppress(ConnectionError, asyncio.CancelledError):
            line = await reader.readline()
            if line.endswith(b"\n"):
                answer = await self._take(msgspec.json.decode(line))
                if answer is not None:
                    writer.write(msgspec.json.encode(answer) + b"\n")
                    await writer.drain()
        self._under_way.discard(task)

    async def _take(self, call: dict[str, Any]) -> dict[str, Any] | None:
        """Let a call have its effect, or not; return its answer, None where that is lost."""
        run, value = call["run"], call["value"]
        self.asked.set()
        if self._meets("refuse", call, self.trouble.refuse):
            return {"refused": "not now"}
        if self.trouble.share("slow", run, value) < self.trouble.slow:
            await asyncio.sleep(self.trouble.slow_seconds)
        effect = msgspec.convert({**call, "at": time.time()}, Effect)
        self.effects.append(effect)
        append_line(self.path, effect)
        return None if self._meets("lose", call, self.trouble.lose) else {"output": output_of(run, value)}

    def _meets(self, kind: str, call: dict[str, Any], share: float) -> bool:
        known = self.trouble.share(kind, call["run"], call["value"])
        if known >= share:
            return False
        self._met[kind, call["key"]] += 1
        return self._met[kind, call["key"]] <= (1 if known < share / 2 else TROUBLES_MAX)


def repeated(effects: Iterable[Effect]) -> tuple[int, int]:
    """Return how many effects were there once more: at a receiver that takes all, and at one that knows keys.

    What a run does to the world has a value of its own in that run; the second receiver has an effect only for
    keys that it has not seen.
    """
    all_of = Counter((effect.run, str(effect.value)) for effect in effects)
    known = Counter(
        (run, value) for run, value, _ in {(each.run, str(each.value), each.key) for each in effects}
    )
    return sum(all_of.values()) - len(all_of), sum(known.values()) - len(known)
