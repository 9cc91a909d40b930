"""L10: fuzzing of everything that reads what others wrote.

    python -m tests.reliability.fuzz "server-sent events" --seconds 60 --seed 7

The parsers are in `fuzzing/`. They are called in child processes, so that one that hangs, dies or grows without end is a
finding like any other. An input that was a finding once is kept in `corpus/`, and is the first to be parsed again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from tests.reliability.evidence import Violation
from tests.reliability.fuzzing import controls
from tests.reliability.fuzzing.child import BEAT_BYTES, TARGETS, Beat, Done, Line
from tests.reliability.fuzzing.target import Finding
from tests.reliability.programme import INTERRUPTED, Budget, Caught, Layer, Record, at_once

SECONDS: Final = 0.3
"""How long CI fuzzes each parser."""
HUNG_SECONDS: Final = 20.0
"""After how long without a new input a child hangs; the machine may be busy."""
CONTROL_CASES: Final = 1000
CONTROL_HUNG_SECONDS: Final = 6.0
AT_ONCE: Final = 2
ROOT: Final = Path(__file__).parents[2]


@dataclass(slots=True)
class Found:
    """What fuzzing gave."""

    done: list[Done] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def take(self, line: Line) -> None:
        """Take a line of a child."""
        if line.finding is not None:
            self.findings.append(line.finding)
        if line.done is not None:
            self.done.append(line.done)


def fuzzed(
    names: Sequence[str],
    folder: Path,
    *,
    seed: int,
    seconds: float,
    cases: int = sys.maxsize,
    guided: bool = False,
    hung_seconds: float = HUNG_SECONDS,
) -> Found:
    """Fuzz parsers one after the other, in a process that is replaced if it hangs or dies."""
    found, left = Found(), list(names)
    while left and not INTERRUPTED.is_set():
        left = _one_child(
            left,
            folder,
            found,
            [str(seed), str(seconds), str(cases), "yes" if guided else "no"],
            hung_seconds,
        )
    return found


def _one_child(
    names: list[str], folder: Path, found: Found, options: list[str], hung_seconds: float
) -> list[str]:
    """Let a child fuzz parsers; return those that are left if it did not come to its end."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="fuzz-") as place, contextlib.ExitStack() as stack:
        beat = Path(place, "beat")
        words = Path(place, "stderr")
        beat.write_bytes(bytes(BEAT_BYTES))
        errors = stack.enter_context(words.open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.fuzzing.child", str(beat), *options, *names],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": place, "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        with _ended(process), _watched(process, beat, hung_seconds) as hung:
            assert process.stdout is not None
            for line in process.stdout:
                found.take(msgspec.json.decode(line, type=Line))
            status = process.wait()
        if status == 0:
            return []
        count, number, data = Beat.heard(beat)
        last = words.read_text(errors="replace").strip().rpartition("\n")[2]
        kind, seen = "dies", f"status {status}: {last}"
        if hung.is_set():
            kind, seen = "hangs", f"nothing for {hung_seconds} s"
        found.findings.append(Finding(target=names[number], kind=kind, seen=seen, data=data, after=count))
        return names[number + 1 :]


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave nothing behind: a child may have children itself."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes], beat: Path, hung_seconds: float) -> Iterator[threading.Event]:
    """Kill a process that has had the same input for too long; the event says that this was so."""
    hung, over = threading.Event(), threading.Event()

    def watch() -> None:
        last, since = (-1, -1), time.monotonic()
        while not over.wait(0.2):
            count, number, _ = Beat.heard(beat)
            if (number, count) != last:
                last, since = (number, count), time.monotonic()
            elif time.monotonic() - since > hung_seconds:
                hung.set()
                os.killpg(process.pid, signal.SIGKILL)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield hung
    finally:
        over.set()
        thread.join()


# ── the layer ─────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Fuzz every parser for some time, on as many processors as CI has; by night with an eye on new lines."""
    began = time.monotonic()
    each = SECONDS * budget.scale
    if budget.deadline < float("inf"):
        each = min(each, max(0.05, AT_ONCE * (budget.deadline - began) / len(TARGETS) * 0.9))
    names = [target.name for target in TARGETS]
    by_night = budget.scale > 10

    def fuzz(part: int) -> list[Found]:
        rounds = (False, True) if by_night else (False,)
        share, seconds = names[part::AT_ONCE], each / len(rounds)
        return [
            fuzzed(share, budget.folder, seed=budget.seed + guided, seconds=seconds, guided=guided)
            for guided in rounds
        ]

    with at_once(AT_ONCE + 1) as pool:
        caught = pool.submit(caught_controls, budget.folder, budget.seed)
        parts = [found for founds in pool.map(fuzz, range(AT_ONCE)) for found in founds]
    done = [done for part in parts for done in part.done]
    findings = [finding for part in parts for finding in part.findings]
    counts: dict[str, int] = {"parsers": len(names), "inputs": sum(one.inputs for one in done)}
    figures: dict[str, str] = {}
    for one in together(done):
        counts[f"inputs: {one.target}"] = one.inputs
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(one.kinds.items()))
        figures[one.target] = f"{kinds}; slowest {one.slowest_ms:.1f} ms ({one.slowest_bytes} bytes)"
    return Record(
        layer=LAYER.name,
        cases=counts["inputs"],
        seconds=time.monotonic() - began,
        counts=counts,
        figures=figures,
        violations=tuple(
            Violation("fuzz", each.target, f"{each.kind}: {each.seen}: {each.data[:200]!r}")
            for each in findings
        ),
        failing=tuple(f"{each.target}: {each.data.hex()[:400]}" for each in findings),
        caught=caught.result(),
    )


def together(done: Iterable[Done]) -> list[Done]:
    """Put together what was done with each parser; only plays that were not guided know which input was the slowest."""
    merged: dict[str, Done] = {}
    for one in done:
        before = merged.setdefault(one.target, one)
        if before is one:
            continue
        slowest = max(before, one, key=lambda each: each.slowest_ms)
        merged[one.target] = Done(
            target=one.target,
            inputs=before.inputs + one.inputs,
            kinds=dict(Counter(before.kinds) + Counter(one.kinds)),
            slowest_ms=slowest.slowest_ms,
            slowest_bytes=slowest.slowest_bytes,
            growth_mib=max(before.growth_mib, one.growth_mib),
            lines=max(before.lines, one.lines),
        )
    return list(merged.values())


def caught_controls(folder: Path, seed: int) -> tuple[Caught, ...]:
    """Fuzz the parsers with mistakes; `cases` are the inputs that it took."""
    began = time.monotonic()
    names = [target.name for target in controls.TARGETS]
    found = fuzzed(
        names, folder, seed=seed, seconds=60.0, cases=CONTROL_CASES, hung_seconds=CONTROL_HUNG_SECONDS
    )
    seconds = (time.monotonic() - began) / len(names)
    shown = {
        finding.target: (finding.after, kind)
        for finding in found.findings
        if (kind := finding.kind.split(" at ")[0]) in controls.SHOWN_BY[finding.target]
    }

    def caught(name: str) -> Caught:
        if name not in shown:
            return Caught(bug=name, cases=None, seconds=seconds)
        after, kind = shown[name]
        return Caught(bug=name, cases=after, by=(kind,), seconds=seconds)

    return tuple(map(caught, names))


LAYER: Final = Layer(
    "L10", "fuzzing of every parser", play, 1500.0, tuple(target.name for target in controls.TARGETS)
)


def main() -> None:
    """Fuzz one parser, or all, and print what was found; the exit code is 1 if anything was."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parsers: " + ", ".join(target.name for target in TARGETS),
    )
    parser.add_argument("name", nargs="?", default="", help="a part of the parsers' names; all otherwise")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each parser; default: %(default)g")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same inputs in order")
    parser.add_argument("--guided", action="store_true", help="prefer inputs that reach new lines; slower")
    options = parser.parse_args()
    names = [target.name for target in TARGETS if options.name in target.name]
    if not names:
        parser.error(f"no parser {options.name!r}; there are {', '.join(target.name for target in TARGETS)}")
    findings = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found = fuzzed(
                [name], Path(folder), seed=options.seed, seconds=options.seconds, guided=options.guided
            )
        for done in found.done:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(done.kinds.items()))
            print(
                f"{done.target}: {done.inputs:,} inputs: {kinds}; slowest {done.slowest_ms:.0f} ms",
                flush=True,
            )
        for finding in found.findings:
            print(
                f"!! {finding.target}: {finding.kind}: {finding.seen}\n   {finding.data[:2000]!r}", flush=True
            )
        findings += len(found.findings)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
