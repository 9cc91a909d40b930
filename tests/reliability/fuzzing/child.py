"""The process in which parsers are called, one after the other, each for some time.

    python -m tests.reliability.fuzzing.child BEAT SEED SECONDS CASES GUIDED NAME...

It prints a line of JSON for each finding and, at each parser's end, one with what it did. Before each input it puts
that into the file BEAT: if it hangs or dies, whoever started it knows where.
"""

from __future__ import annotations

import collections
import mmap
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from tests.reliability.fuzzing import controls, doors, lanes, language, records, wire
from tests.reliability.fuzzing.guide import Guide
from tests.reliability.fuzzing.target import (
    GROWTH_MIB_MAX,
    Finding,
    Judged,
    Target,
    given_up,
    judged,
    reduced,
)

BEAT_BYTES: Final = 256 * 1024
MEMORY_BYTES: Final = 3 * 1024**3
REDUCING_SECONDS: Final = 2.0
CORPUS: Final = Path(__file__).parents[1] / "corpus"

TARGETS: Final = (*language.TARGETS, *records.TARGETS, *doors.TARGETS, *wire.TARGETS, *lanes.TARGETS)
_ALL: Final = {target.name: target for target in (*TARGETS, *controls.TARGETS)}


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with one parser; `kinds` counts how inputs ended, `growth_mib` is of the process meanwhile."""

    target: str
    inputs: int
    kinds: dict[str, int]
    slowest_ms: float
    slowest_bytes: int
    growth_mib: int
    lines: int = 0


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of what this process prints."""

    finding: Finding | None = None
    done: Done | None = None


class Beat:
    """A file that says which input is being parsed: how many there were, the parser's number, and the input."""

    HEAD: Final = struct.Struct("!III")

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), BEAT_BYTES)

    def tell(self, target: int, count: int, data: bytes) -> None:
        """Say what comes now."""
        data = data[: BEAT_BYTES - self.HEAD.size]
        self._map[: self.HEAD.size + len(data)] = self.HEAD.pack(count, target, len(data)) + data

    @classmethod
    def heard(cls, path: Path) -> tuple[int, int, bytes]:
        """Return how many inputs of this parser there were, its number, and the input."""
        content = path.read_bytes()
        count, target, size = cls.HEAD.unpack_from(content)
        return count, target, content[cls.HEAD.size : cls.HEAD.size + size]


def known(target: Target) -> list[bytes]:
    """Return the inputs that were findings once."""
    folder = CORPUS / target.folder
    return [file.read_bytes() for file in sorted(folder.glob("*"))] if folder.is_dir() else []


def inputs(target: Target, seed: int, guide: Guide | None) -> Iterator[bytes]:
    """Yield inputs without end: those of old findings, then changed ones, with the good ones among them."""
    yield from known(target)
    good = list(target.first())
    Random(seed).shuffle(good)
    number = 0
    while True:
        number += 1
        if good and number % 3 == 1:
            yield good.pop()
        yield target.input(Random(f"{seed} {target.name} {number}"), () if guide is None else guide.pool)


def fuzz(
    target: Target,
    seed: int,
    seconds: float,
    cases: int,
    guide: Guide | None,
    tell: Callable[[int, bytes], None],
) -> Iterator[Line]:
    """Parse inputs until time or cases are over; yield findings, each kind once, and what was done at last."""
    until = time.monotonic() + seconds
    kinds: collections.Counter[str] = collections.Counter()
    seen: set[str] = set()
    slowest, slowest_bytes, count = 0.0, 0, 0
    _forget_peak()
    before = _peak_mib()
    for data in inputs(target, seed, guide):
        count += 1
        tell(count, data)
        ended: Judged
        with nullcontext() if guide is None else guide.watching(data):
            ended = judged(target, data)
        finding = ended.finding
        if guide is not None and finding is not None and (finding.kind == "slow" or ended.kind == "stuck"):
            ended = judged(target, data)  # Watching may be what was slow.
            finding = ended.finding
        kinds[ended.kind] += 1
        if guide is None and ended.seconds > slowest:
            slowest, slowest_bytes = ended.seconds, len(data)
        growth = _peak_mib() - before
        if growth > GROWTH_MIB_MAX:
            finding = Finding(target=target.name, kind="memory", seen=f"grew by {growth} MiB", data=data)
        if finding is not None and finding.kind not in seen:
            seen.add(finding.kind)
            is_costly = ended.kind == "stuck" or finding.kind == "memory"
            if not is_costly:
                finding = reduced(target, finding, REDUCING_SECONDS)
            yield Line(finding=msgspec.structs.replace(finding, after=count))
            if is_costly:
                break
        if count >= cases or time.monotonic() >= until:
            break
    done = Done(
        target=target.name,
        inputs=count,
        kinds=dict(kinds),
        slowest_ms=slowest * 1000,
        slowest_bytes=slowest_bytes,
        growth_mib=_peak_mib() - before,
        lines=0 if guide is None else len(guide),
    )
    yield Line(done=done)


def _forget_peak() -> None:
    """Let the peak be what is in use now: the parser before may have had more."""
    with suppress(OSError):  # Some kernels do not let anybody; growth is then noticed later.
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> int:
    # Not `ru_maxrss`: a process begins with that of the one it was forked from.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main(path: str, seed: str, seconds: str, cases: str, guided: str, *names: str) -> None:
    """Fuzz the named parsers."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    beat = Beat(Path(path))
    for number, name in enumerate(names):
        target = _ALL[name]
        guide = Guide() if guided == "yes" else None
        with given_up():
            told = fuzz(target, int(seed), float(seconds), int(cases), guide, partial(beat.tell, number))
            for line in told:
                print(msgspec.json.encode(line).decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
