"""What a parser must do with anything: give a value, or one error of ours with words in it, soon, in little memory."""

from __future__ import annotations

import contextlib
import functools
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

import tenuto
from tenuto.errors import TenutoError
from tests.reliability.fuzzing.mutation import as_json, grafted, mutated, names_in

SECONDS_MAX: Final = 1.0
"""Processor time for one input."""
STUCK_SECONDS: Final = 2.0
"""Processor time after which an input is given up."""
GROWTH_MIB_MAX: Final = 256
"""How much the process may grow by one parser, at its highest."""

_HERE: Final = str(Path(tenuto.__file__).parent)


@dataclass(frozen=True)
class Target:
    """A parser: `parse` takes any bytes, and raises `AssertionError` itself where it loses something.

    `seeds` are good inputs; `words` are put into them. With `trees`, seeds are JSON, and changed as trees too;
    `text` says how such a tree is written. Errors other than `refuses` (with a text) are findings.
    """

    name: str
    parse: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[str] = ()
    trees: bool = False
    refuses: tuple[type[BaseException], ...] = (TenutoError,)

    @property
    def folder(self) -> str:
        """Return the name of the folder for old findings."""
        return self.name.replace(" ", "-").replace(",", "")

    @functools.cached_property
    def _seeds(self) -> list[bytes]:
        return list(self.seeds())

    @functools.cached_property
    def _trees(self) -> list[Any]:
        return [msgspec.json.decode(seed) for seed in self._seeds] if self.trees else []

    @functools.cached_property
    def _names(self) -> list[str]:
        return names_in(self._trees)

    def first(self) -> list[bytes]:
        """Return the inputs to begin with."""
        return self._seeds

    def input(self, chance: Random, pool: Sequence[bytes] = ()) -> bytes:
        """Make an input; `pool` are good inputs that were found on the way."""
        if self._trees and chance.random() < 0.7:
            made = as_json(grafted(chance.choice(self._trees), self._trees, self._names, chance))
            if made is not None:
                return made
        base = pool if pool and chance.random() < 0.5 else self._seeds
        return mutated(chance.choice(base), self._seeds, self._words, chance)

    @functools.cached_property
    def _words(self) -> list[bytes]:
        return [word.encode() for word in (*self.words, *self._names)]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """An input that a parser does not take as it should; `kind` is equal for equal causes.

    `after` is how many inputs it took to find it.
    """

    target: str
    kind: str
    seen: str
    data: bytes
    after: int = 0


class Judged(msgspec.Struct, frozen=True):
    """How an input ended: `value`, or the error's code; with a finding if that was not as it should be."""

    kind: str
    seconds: float
    finding: Finding | None = None


class _Stuck(BaseException):
    """An input takes too long."""


@contextlib.contextmanager
def given_up() -> Iterator[None]:
    """Be able to give an input up that never ends in Python."""

    def ring(number: int, frame: object) -> None:
        raise _Stuck

    before = signal.signal(signal.SIGPROF, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judged(target: Target, data: bytes) -> Judged:
    """Parse an input and say whether that went as it should; inside of `given_up`."""
    signal.setitimer(signal.ITIMER_PROF, STUCK_SECONDS)
    began = time.process_time()
    kind, found = "value", None
    try:
        target.parse(data)
    except _Stuck as error:
        kind, found = (
            "stuck",
            (f"stuck at {_place(error)}", f"took more than {STUCK_SECONDS} s"),
        )
    except target.refuses as error:
        kind = str(getattr(error, "code", type(error).__name__))
        text = str(getattr(error, "message", error))
        if not text.strip():
            found = (
                f"no message at {_place(error)}",
                f"{type(error).__name__} without a word",
            )
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        name, text = type(error).__name__, str(error)[:200]
        kind, found = name, (f"{name} at {_place(error)}", f"{name}: {text}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - began
    if found is None and seconds > SECONDS_MAX:
        found = ("slow", f"{seconds:.1f} s for {len(data)} bytes")
    if found is None:
        return Judged(kind, seconds)
    return Judged(
        kind,
        seconds,
        Finding(target=target.name, kind=found[0], seen=found[1], data=data),
    )


def _place(error: BaseException) -> str:
    """Return where in our own code an error comes from, or else the last line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_HERE)] or frames
    last = ours[-1]
    return f"{Path(last.filename).name}:{last.name}:{last.line}"


def reduced(target: Target, finding: Finding, seconds: float) -> Finding:
    """Return a finding of the same kind with a shorter input, as short as can be had in the time."""
    until = time.monotonic() + seconds
    best, size = finding, len(finding.data) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(best.data) and time.monotonic() < until:
            shorter = best.data[:at] + best.data[at + size :]
            again = judged(target, shorter).finding
            if again is not None and again.kind == finding.kind:
                best = again
            else:
                at += size
        size //= 2
    return best
