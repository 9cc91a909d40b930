"""Stored state or replay? Time and bytes to resume runs of 10, 10,000 and 1,000,000 events.

The run is a loop: call, count, go back. *Stored state* decodes the last snapshot and folds what
came after it, as the worker does; *replay* folds the whole journal. Both end in the same state.

    python bench/resume.py [--events 10,10000,1000000]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import msgspec

from tenuto.engine.advance import Run, advance
from tenuto.engine.model import Answered, Entry, Listen, Note, Perform, Started
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load
from tenuto.runtime.snapshots import SnapshotPolicy, decode_run, encode_run

DOCUMENT = """
document: {dsl: '1.0.3', namespace: bench, name: loop, version: '1.0.0'}
do:
  - work: {call: 'core.noop:1.0.0@default', with: {value: '${ .n }'}, output: {as: '{n: .}'}}
  - count: {set: {n: '${ .n + 1 }'}, then: work}
"""
ROUNDS = 5


def record(interpreter: Interpreter, events: int) -> tuple[list[bytes], bytes | None, int]:
    """Play a run; return its encoded entries, its last snapshot and how many entries that covers."""
    encode = msgspec.json.Encoder().encode
    policy = SnapshotPolicy()
    run, commands = advance(interpreter, None, Started(0.0, "r" * 32, "d" * 64, {"n": 0}, "n" * 32))
    entries = [encode(Entry(Started(0.0, "r" * 32, "d" * 64, {"n": 0}, "n" * 32)))]
    snapshot, covered = None, 0
    for number in range(1, events):
        (command,) = [c for c in commands if isinstance(c, Perform)]
        event = Answered(float(number), command.id, command.arguments["value"])
        run, commands = advance(interpreter, run, event)
        notes = tuple(c for c in commands if isinstance(c, Note))
        assert not any(isinstance(c, Listen) for c in commands)
        entries.append(encode(Entry(event, notes)))
        if policy.due(len(entries[-1])):
            snapshot, covered = encode_run(interpreter, run), len(entries)
            policy.taken(len(snapshot))
    return entries, snapshot, covered


def fold(interpreter: Interpreter, run: Run | None, entries: list[bytes]) -> Run:
    """Fold encoded entries."""
    decode = msgspec.json.Decoder(Entry).decode
    for entry in entries:
        run, _ = advance(interpreter, run, decode(entry).event)
    assert run is not None
    return run


def median_seconds(work: Callable[[], Run], rounds: int) -> tuple[float, Run]:
    """Time some work; return the median and the last result."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def compare(events: int) -> dict[str, float]:
    """Resume a run of so many events in both ways, which must end in the same state; return what each takes."""
    interpreter = Interpreter(load(DOCUMENT).data)
    entries, snapshot, covered = record(interpreter, events)

    def from_state() -> Run:
        run = decode_run(interpreter, snapshot) if snapshot else None
        return fold(interpreter, run, entries[covered:])

    state_seconds, one = median_seconds(from_state, ROUNDS)
    rounds = ROUNDS if events < 100_000 else 1
    replay_seconds, other = median_seconds(lambda: fold(interpreter, None, entries), rounds)
    assert interpreter.encode(one.state) == interpreter.encode(other.state)
    return {
        "journal_bytes": sum(map(len, entries)),
        "snapshot_bytes": len(snapshot or b""),
        "state_ms": state_seconds * 1e3,
        "replay_ms": replay_seconds * 1e3,
    }


def main() -> None:
    """Print one row for each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", default="10,10000,1000000", help="sizes; default: %(default)s")
    sizes = [int(size) for size in parser.parse_args().events.split(",")]
    print(
        f"{'events':>9} {'journal':>12} {'snapshot':>9} {'state ms':>9} {'replay ms':>10} {'replay/state':>12}"
    )
    for events in sizes:
        found = compare(events)
        print(
            f"{events:>9,} {found['journal_bytes']:>12,} {found['snapshot_bytes']:>9,} {found['state_ms']:>9.2f} "
            f"{found['replay_ms']:>10.2f} {found['replay_ms'] / found['state_ms']:>12.1f}"
        )


if __name__ == "__main__":
    main()
