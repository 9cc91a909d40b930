"""The laws of the port `Journal`, for every store; a new one joins with a line in `BACKENDS`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenuto.engine.ports import (
    ENTRIES_AT_ONCE,
    Append,
    Batch,
    DocumentRow,
    Journal,
    RunChange,
    RunRow,
    Snapshot,
)
from tenuto.errors import LimitExceeded, StorageFailed
from tenuto.storage.journal import ENTRY_BYTES_MAX, INLINE_BYTES_MAX, QUEUE_BYTES_MAX
from tenuto.storage.memory import MemoryJournal
from tenuto.storage.sqlite import open_journal
from tests.reliability.simulation.disk import Disk, Store
from tests.reliability.simulation.loop import Loop

Failed = Callable[[BaseException], None]


async def memory(_: Path, failed: Failed) -> Journal:
    """A journal in memory."""
    return MemoryJournal(failed=failed)


async def sqlite(folder: Path, failed: Failed) -> Journal:
    """A journal in a SQLite file."""
    return await open_journal(folder / "journal.db", failed=failed)


async def simulated(_: Path, failed: Failed) -> Journal:
    """The store that simulations of the engine write to."""
    loop, chance = cast(Loop, asyncio.get_running_loop()), Random(1)  # it needs nothing that no loop has
    return Store(
        Disk(lambda what: None),  # an entry that is there already is one of the laws
        loop,
        chance,
        failed=failed,
        faults={},
        queue_bytes_max=QUEUE_BYTES_MAX,
        entries_at_once=ENTRIES_AT_ONCE,
        fsync_seconds=0.0001,
        told=lambda what: None,
    )


BACKENDS: dict[str, Callable[[Path, Failed], Awaitable[Journal]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "simulated": simulated,
}


class Bench:
    """A journal under test, and what it said."""

    def __init__(self) -> None:
        self.journal: Journal
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()

    def fail(self, error: BaseException) -> None:
        """Take note of a failure."""
        self.failures.append(error)
        self.failed.set()

    async def commit(self, **parts: Any) -> None:
        """Commit one batch and wait until it is durable."""
        done = asyncio.Event()
        self.journal.commit(Batch(**parts), done.set)
        await done.wait()


@asynccontextmanager
async def opened(backend: str, folder: Path) -> AsyncIterator[Bench]:
    """A fresh journal, closed at the end."""
    bench = Bench()
    bench.journal = await BACKENDS[backend](folder, bench.fail)
    try:
        yield bench
    finally:
        await bench.journal.close()


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Each backend in turn."""
    async with opened(request.param, tmp_path) as made:
        yield made


def row(number: int, **given: Any) -> RunRow:
    """A run's row with what matters to a test."""
    plain: dict[str, Any] = {
        "number": number,
        "id": f"run-{number}",
        "definition": "sha256:1",
        "namespace": "test",
        "name": "flow",
        "version": "1.0.0",
        "status": "running",
        "started": 1763690000.123456,
        "updated": 1763690000.123456,
    }
    return RunRow(**{**plain, **given})


def document(version: str, source: str = "do: []", name: str = "flow") -> DocumentRow:
    """A document whose digest follows from all it holds."""
    digest = f"{name}/{version}/{source}"
    return DocumentRow(digest=digest, namespace="test", name=name, version=version, source=source)


# ── entries and snapshots ────────────────────────────────────────────────────────────────


async def test_entries_come_back_in_order_of_seq(bench: Bench) -> None:
    """However they were spread over batches, and whatever bytes they hold."""
    entries = [b"", b"\x00,1 2", "é".encode(), bytes(range(256))]
    for seq in (2, 1, 4, 3):
        await bench.commit(appends=[Append(7, seq, entries[seq - 1])])

    assert await bench.journal.load(7) == (None, entries)


async def test_a_long_run_is_loaded_up_to_a_limit_and_read_on_in_lines(bench: Bench) -> None:
    """Its first entries at once, all of them in pages; also one whose bytes stand elsewhere."""
    entries = [b'{"n":%d,"text":"\xc3\xa9 \\u0000"}' % n for n in range(ENTRIES_AT_ONCE + 5)]
    entries[7] = b'"' + b"x" * INLINE_BYTES_MAX + b'"'
    await bench.commit(appends=[Append(1, seq, entry) for seq, entry in enumerate(entries, 1)])

    assert await bench.journal.load(1) == (None, entries[:ENTRIES_AT_ONCE])
    assert await bench.journal.lines(1, after=ENTRIES_AT_ONCE - 1, limit=3) == b"\n".join(
        entries[ENTRIES_AT_ONCE - 1 : ENTRIES_AT_ONCE + 2]
    )
    assert (await bench.journal.lines(1, limit=10)).split(b"\n") == entries[:10]
    assert await bench.journal.lines(1, after=len(entries)) == b""
    assert await bench.journal.lines(9) == b""


async def test_a_run_without_entries_loads_empty(bench: Bench) -> None:
    """No error for what is not there."""
    await bench.commit(appends=[Append(1, 1, b"a")])

    assert await bench.journal.load(2) == (None, [])
    assert await bench.journal.load_many([2, 1]) == {2: (None, []), 1: (None, [b"a"])}


async def test_a_snapshot_shortens_what_is_loaded(bench: Bench) -> None:
    """Entries up to its seq are left out; the newer snapshot replaces the older."""
    await bench.commit(appends=[Append(1, seq, b"%d" % seq) for seq in range(1, 6)])
    await bench.commit(snapshots=[Snapshot(1, 2, b"two")])
    await bench.commit(snapshots=[Snapshot(1, 3, b"three"), Snapshot(1, 4, b"four")])

    assert await bench.journal.load(1) == (Snapshot(1, 4, b"four"), [b"5"])


async def test_load_many_is_load_for_each(bench: Bench) -> None:
    """Also where some runs have a snapshot and some have nothing."""
    for number in range(1, 30):
        await bench.commit(appends=[Append(number, seq, b"%d.%d" % (number, seq)) for seq in range(1, 4)])
    await bench.commit(snapshots=[Snapshot(number, 2, b"s") for number in range(1, 30, 2)])
    numbers = list(range(40, 0, -1))

    assert await bench.journal.load_many(numbers) == {n: await bench.journal.load(n) for n in numbers}
    assert await bench.journal.load_many([]) == {}


async def test_history_is_read_in_pages(bench: Bench) -> None:
    """Past a seq, at most so many; snapshots hide nothing."""
    await bench.commit(
        appends=[Append(1, seq, b"%d" % seq) for seq in range(1, 8)], snapshots=[Snapshot(1, 7, b"state")]
    )
    await bench.commit(appends=[Append(2, 1, b"other")])

    assert await bench.journal.history(1, limit=3) == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert await bench.journal.history(1, after=5) == [(6, b"6"), (7, b"7")]
    assert await bench.journal.history(1, after=7) == []


@pytest.mark.slow
async def test_large_entries_and_snapshots_read_like_small_ones(bench: Bench) -> None:
    """On both sides of the line above which a store may keep them elsewhere."""
    inline, large = b"i" * INLINE_BYTES_MAX, b"l" * (INLINE_BYTES_MAX + 1)
    appends = [Append(1, 1, inline), Append(1, 2, large), Append(1, 3, large), Append(1, 4, b"end")]
    await bench.commit(appends=appends, snapshots=[Snapshot(1, 1, large)])

    assert await bench.journal.load(1) == (Snapshot(1, 1, large), [large, large, b"end"])
    assert await bench.journal.history(1, limit=2) == [(1, inline), (2, large)]


async def test_a_replaced_large_snapshot_takes_nothing_along(bench: Bench) -> None:
    """An entry with the same bytes as the snapshot stays readable."""
    large = b"x" * (INLINE_BYTES_MAX + 1)
    await bench.commit(
        appends=[Append(1, 1, large)], snapshots=[Snapshot(1, 1, large), Snapshot(2, 1, large)]
    )
    await bench.commit(snapshots=[Snapshot(1, 1, b"small")])

    assert await bench.journal.history(1) == [(1, large)]
    assert await bench.journal.load(1) == (Snapshot(1, 1, b"small"), [])
    assert await bench.journal.load(2) == (Snapshot(2, 1, large), [])


async def test_an_entry_over_the_limit_is_refused(bench: Bench) -> None:
    """With the limit's name; nothing else is disturbed."""
    huge = bytes(ENTRY_BYTES_MAX + 1)
    with pytest.raises(LimitExceeded, match="ENTRY_BYTES_MAX"):
        bench.journal.commit(Batch(appends=[Append(1, 1, huge)]), lambda: None)
    with pytest.raises(LimitExceeded, match="ENTRY_BYTES_MAX"):
        bench.journal.commit(Batch(snapshots=[Snapshot(1, 1, huge)]), lambda: None)
    await bench.commit(appends=[Append(1, 1, b"a")])

    assert await bench.journal.load(1) == (None, [b"a"])
    assert bench.failures == []


# ── acknowledgement ──────────────────────────────────────────────────────────────────────


async def test_done_is_called_later_once_and_in_order(bench: Bench) -> None:
    """Never from within `commit`; flush returns after all of them."""
    called: list[int] = []
    for number in range(1, 200):
        bench.journal.commit(Batch(appends=[Append(number, 1, b"a")]), partial(called.append, number))
    before = list(called)
    await bench.journal.flush()

    assert before == []
    assert called == list(range(1, 200))


async def test_an_empty_batch_is_acknowledged_in_its_turn(bench: Bench) -> None:
    """So it can serve as a mark."""
    called: list[str] = []
    bench.journal.commit(Batch(appends=[Append(1, 1, b"a")]), partial(called.append, "full"))
    bench.journal.commit(Batch(), partial(called.append, "empty"))
    await bench.journal.flush()

    assert called == ["full", "empty"]


async def test_one_callback_that_fails_does_not_silence_the_next(bench: Bench) -> None:
    """Its error goes to the event loop's handler."""
    heard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: heard.append(repr(context["exception"]))
    )

    def broken() -> None:
        raise ValueError("mine")

    bench.journal.commit(Batch(appends=[Append(1, 1, b"a")]), broken)
    await bench.commit(appends=[Append(1, 2, b"b")])

    assert heard == ["ValueError('mine')"]
    assert bench.failures == []


async def test_close_makes_everything_durable_first(bench: Bench) -> None:
    """What was handed over is acknowledged; then nothing is taken any more."""
    called: list[int] = []
    for number in range(1, 50):
        bench.journal.commit(Batch(appends=[Append(number, 1, b"a")]), partial(called.append, number))
    await bench.journal.close()

    assert called == list(range(1, 50))
    with pytest.raises(StorageFailed, match="closed"):
        bench.journal.commit(Batch(), lambda: None)
    with pytest.raises(StorageFailed, match="closed"):
        await bench.journal.flush()
    with pytest.raises(StorageFailed, match="closed"):
        await bench.journal.put_documents([document("1.0.0")])
    await bench.journal.close()


@pytest.mark.parametrize(
    "clash",
    [
        {"appends": [Append(1, 1, b"mine")]},
        {"appends": [Append(2, 1, b"new"), Append(2, 1, b"twice")]},
        {"created": [row(1, id="another")]},
        {"created": [row(9, id="run-1")]},
        {"created": [row(9), row(9, id="twice")]},
        {"created": [row(9), row(10, id="run-9")]},
    ],
)
async def test_a_clash_ends_the_store_for_good(bench: Bench, clash: dict[str, Any]) -> None:
    """The batch is not acknowledged nor kept in part; `failed` hears once; nothing is taken after it."""
    await bench.commit(created=[row(1)], appends=[Append(1, 1, b"first")])
    called: list[str] = []
    parts = {"snapshots": [Snapshot(1, 1, b"never")], "changes": [RunChange(1, "completed", 2.0)]}
    bench.journal.commit(Batch(**{**parts, **clash}), partial(called.append, "clash"))
    await bench.failed.wait()
    with pytest.raises(StorageFailed):
        bench.journal.commit(Batch(), partial(called.append, "later"))
    with pytest.raises(StorageFailed):
        await bench.journal.flush()

    assert called == []
    assert [type(error) for error in bench.failures] == [StorageFailed]
    assert await bench.journal.load(1) == (None, [b"first"])
    assert await bench.journal.runs() == [row(1)]


async def test_a_calm_store_has_no_pressure(bench: Bench) -> None:
    """And `drained` returns at once."""
    await bench.commit(appends=[Append(1, 1, b"a")])
    await bench.journal.drained()

    assert bench.journal.pressure is False


# ── rows ─────────────────────────────────────────────────────────────────────────────────


async def test_a_row_comes_back_as_it_was_created(bench: Bench) -> None:
    """Every field, to the last bit of its times, and the outcome as JSON."""
    full = row(
        3,
        ended=1763690001.1,
        wake_at=1763690002.000001,
        parent="run-1",
        parent_command=12,
        origin="run-2",
        origin_entries=5,
        outcome={"output": {"é": [1, 2.5, None, True, {"a": "\x00"}]}},
    )
    await bench.commit(created=[full, row(4)])

    assert await bench.journal.run("run-3") == full
    assert await bench.journal.run("run-4") == row(4)
    assert await bench.journal.run("run-5") is None


async def test_a_change_keeps_only_end_and_outcome_where_it_gives_none(bench: Bench) -> None:
    """Status, updated and wake_at are always new."""
    await bench.commit(created=[row(1, wake_at=5.0)])
    await bench.commit(changes=[RunChange(1, "faulted", 2.0, 6.0, 7.0, {"error": {"status": 500}})])
    await bench.commit(changes=[RunChange(1, "running", 3.0)])

    expected = row(
        1, status="running", updated=3.0, wake_at=None, ended=7.0, outcome={"error": {"status": 500}}
    )
    assert await bench.journal.run("run-1") == expected


async def test_changes_that_come_together_act_one_after_the_other(bench: Bench) -> None:
    """As if each had its own transaction; a run may change in the batch that creates it."""
    changes = [
        RunChange(1, "waiting", 2.0, 9.0, None, {"output": 1}),
        RunChange(2, "completed", 2.5, None, 2.5, {"output": 2}),
        RunChange(1, "running", 3.0, None, 4.0),
        RunChange(99, "running", 3.0),
    ]
    await bench.commit(created=[row(1), row(2)], changes=changes)

    first = row(1, status="running", updated=3.0, ended=4.0, outcome={"output": 1})
    second = row(2, status="completed", updated=2.5, ended=2.5, outcome={"output": 2})
    assert await bench.journal.runs() == [second, first]


async def test_last_number_is_the_highest(bench: Bench) -> None:
    """Zero in an empty store."""
    empty = await bench.journal.last_number()
    await bench.commit(created=[row(2), row(5), row(3)])

    assert (0, 5) == (empty, await bench.journal.last_number())


async def test_runs_are_listed_newest_first_in_pages(bench: Bench) -> None:
    """By status, by parent, by both; `before` pages on without gap or repetition."""
    statuses = ["running", "waiting", "completed", "faulted"]
    rows = [row(n, status=statuses[n % 4], parent=f"run-{n % 3}" if n % 3 else None) for n in range(1, 41)]
    await bench.commit(created=rows)
    journal = bench.journal
    newest = rows[::-1]

    assert await journal.runs(limit=7) == newest[:7]
    assert await journal.runs(limit=7, before=newest[6].number) == newest[7:14]
    wanted = ("waiting", "faulted")
    with_status = [r for r in newest if r.status in wanted]
    assert await journal.runs(statuses=wanted, limit=9) == with_status[:9]
    assert await journal.runs(statuses=wanted, limit=9, before=with_status[8].number) == with_status[9:18]
    assert await journal.runs(statuses=("cancelled",)) == []
    children = [r for r in newest if r.parent == "run-2"]
    assert await journal.runs(parent="run-2") == children
    both = [r for r in children if r.status in wanted]
    assert await journal.runs(parent="run-2", statuses=wanted, limit=2) == both[:2]
    assert await journal.runs(parent="nobody") == []


async def test_open_runs_are_those_not_over(bench: Bench) -> None:
    """In order of number, page by page."""
    statuses = ["pending", "running", "waiting", "suspended", "cancelled", "faulted", "completed"]
    rows = [row(n, status=statuses[n % 7]) for n in range(1, 36)]
    await bench.commit(created=rows)
    going = [r for r in rows if r.status in statuses[:4]]

    assert await bench.journal.open_runs(limit=6) == going[:6]
    assert await bench.journal.open_runs(going[5].number) == going[6:]


# ── documents ────────────────────────────────────────────────────────────────────────────


async def test_a_document_is_known_by_its_digest_and_never_changes(bench: Bench) -> None:
    """Storing a digest again leaves what is there."""
    first = msgspec.structs.replace(document("1.0.0"), origin="/flows/flow.yaml")
    await bench.journal.put_documents([first])
    await bench.journal.put_documents([msgspec.structs.replace(first, source="other"), document("2.0.0")])
    await bench.journal.put_documents([])

    assert await bench.journal.document(first.digest) == first
    assert await bench.journal.document("nothing") is None


async def test_a_name_finds_the_newest_document_of_a_version(bench: Bench) -> None:
    """`latest` is the highest version as semantic versioning orders them."""
    versions = ["1.2.0", "1.10.0", "1.9.0", "1.10.0-rc.1", "2.0.0-beta"]
    await bench.journal.put_documents([document(version) for version in versions])
    await bench.journal.put_documents([document("1.2.0", "do: [newer]"), document("9.0.0", name="other")])
    find = bench.journal.find_document

    assert await find("test", "flow", "1.2.0") == document("1.2.0", "do: [newer]")
    assert await find("test", "flow", "latest") == document("2.0.0-beta")
    assert await find("test", "flow", "3.0.0") is None
    assert await find("test", "nothing", "latest") is None
    assert await find("elsewhere", "flow", "latest") is None


# ── against a model ──────────────────────────────────────────────────────────────────────


class Model:
    """What a journal holds, in dictionaries, for batches that do not clash."""

    def __init__(self) -> None:
        self.rows: dict[int, RunRow] = {}
        self.entries: dict[int, list[bytes]] = {}
        self.snapshots: dict[int, Snapshot] = {}

    def apply(self, batch: Batch) -> None:
        """Do what a batch says."""
        for created in batch.created:
            self.rows[created.number] = created
        for append in batch.appends:
            self.entries.setdefault(append.number, []).append(append.entry)
        for change in batch.changes:
            old = self.rows[change.number]
            self.rows[change.number] = msgspec.structs.replace(
                old,
                status=change.status,
                updated=change.updated,
                wake_at=change.wake_at,
                ended=old.ended if change.ended is None else change.ended,
                outcome=old.outcome if change.outcome is None else change.outcome,
            )
        for snapshot in batch.snapshots:
            self.snapshots[snapshot.number] = snapshot

    def load(self, number: int) -> tuple[Snapshot | None, list[bytes]]:
        """What `load` must give."""
        snapshot = self.snapshots.get(number)
        return snapshot, self.entries.get(number, [])[snapshot.seq if snapshot else 0 :]


@st.composite
def histories(draw: st.DrawFn) -> list[Batch]:
    """Batches of some runs that interleave at will, without clashes."""
    lengths: dict[int, int] = {}
    batches = []
    for _ in range(draw(st.integers(1, 12))):
        created, appends, changes, snapshots = [], [], [], []
        for _ in range(draw(st.integers(0, 5))):
            number = draw(st.integers(1, 4))
            if number not in lengths:
                lengths[number] = 0
                created.append(row(number))
            kind = draw(st.sampled_from(["append", "change", "snapshot"]))
            if kind == "append":
                lengths[number] += 1
                appends.append(Append(number, lengths[number], draw(st.binary(max_size=8))))
            elif kind == "change":
                status = draw(st.sampled_from(["running", "waiting", "completed"]))
                time = st.none() | st.floats(0, 1e9)
                outcome = draw(st.none() | st.just({"output": 1}) | st.just({"error": 2}))
                changes.append(
                    RunChange(number, status, draw(st.floats(0, 1e9)), draw(time), draw(time), outcome)
                )
            else:
                snapshots.append(Snapshot(number, lengths[number], draw(st.binary(max_size=8))))
        batches.append(Batch(appends, created, changes, snapshots))
    return batches


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(batches=histories(), flushes=st.sets(st.integers(0, 11)))
def test_any_interleaving_gives_what_the_model_gives(
    backend: str, batches: list[Batch], flushes: set[int]
) -> None:
    """However batches fall into transactions."""
    model = Model()

    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with opened(backend, Path(folder)) as bench:
                for place, batch in enumerate(batches):
                    model.apply(batch)
                    bench.journal.commit(batch, lambda: None)
                    if place in flushes:
                        await bench.journal.flush()
                await bench.journal.flush()

                assert await bench.journal.runs() == [model.rows[n] for n in sorted(model.rows, reverse=True)]
                assert await bench.journal.load_many(range(6)) == {n: model.load(n) for n in range(6)}
                assert bench.failures == []

    asyncio.run(play())
