"""What holds when the process is killed, the disk is full, or somebody else writes."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tenuto.engine.ports import Append, Batch, RunRow
from tenuto.errors import InvalidInput, LimitExceeded, StorageFailed, TenutoError, Unavailable
from tenuto.storage.journal import DatabaseJournal
from tenuto.storage.sqlite import open_journal, open_reader

CHILD = Path(__file__).with_name("child.py")
DISK_BYTES = 2 * 1024 * 1024


@contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process of `child.py`, killed at the end."""
    command = [sys.executable, CHILD, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def integrity(path: Path) -> str:
    """SQLite's own word on a file."""
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


async def lost(path: Path, mode: str, lines: int) -> list[str]:
    """Kill a process after so many acknowledgements; say what of them is not there, or not whole."""
    with child(mode, path) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        heard += process.stdout.readlines()
    whole = [line for line in heard if line.endswith("\n")]
    acknowledged = dict(tuple(map(int, line.split())) for line in whole)
    journal = await open_journal(path, failed=lambda error: None)
    loaded = await journal.load_many(range(1, 21))
    rows = {row.number: row for row in await journal.runs()}
    await journal.close()
    complaints = [] if integrity(path) == "ok" else ["integrity"]
    for number, (_, entries) in loaded.items():
        seq = acknowledged.get(number, 0)
        if len(entries) not in (seq, seq + 1):
            complaints.append(f"run {number}: {seq} acknowledged, {len(entries)} there")
        if entries != [b"%d.%d" % (number, place) * 20 for place in range(1, len(entries) + 1)]:
            complaints.append(f"run {number}: other entries than were written")
        if entries and rows[number].updated != len(entries):
            complaints.append(f"run {number}: its row and its entries are of different transactions")
    return complaints


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 40, 700, 3000])
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, lines: int) -> None:
    """Every printed acknowledgement is there, without gaps; rows and entries agree."""
    assert await lost(tmp_path / "journal.db", "stream", lines) == []


@pytest.mark.slow
async def test_a_store_that_lies_is_found_out(tmp_path: Path) -> None:
    """The test above would notice acknowledgements of what was not written."""
    complaints = await lost(tmp_path / "journal.db", "lie", 40)

    assert any(complaint.startswith("run 1: ") for complaint in complaints)


@pytest.mark.slow
async def test_a_killed_process_leaves_a_database_that_reads(tmp_path: Path) -> None:
    """A reader comes to terms with the log of a process that is gone, without the lock."""
    path = tmp_path / "journal.db"
    with child("stream", path) as process:
        assert process.stdout is not None
        number, seq = map(int, process.stdout.readline().split())
    reader = await open_reader(path)
    _, entries = await reader.load(number)
    await reader.close()

    assert len(entries) >= seq


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, int, Callable[[], object]]]:
    """A place for a database that cannot grow, the limit for `child.py` to set itself, and the cure.

    Where mounting is allowed it is a file system that really runs full; elsewhere a limit on the
    size of the child's files.
    """
    mount = folder / "disk"
    mount.mkdir()
    tmpfs = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", mount]
    if (
        shutil.which("mount") is None
        or subprocess.run(tmpfs, check=False, stderr=subprocess.DEVNULL).returncode
    ):
        yield folder / "journal.db", DISK_BYTES, lambda: None
        return
    larger = ["mount", "-o", f"remount,size={8 * DISK_BYTES}", mount]
    try:
        yield mount / "journal.db", 0, partial(subprocess.run, larger, check=True)
    finally:
        subprocess.run(["umount", mount], check=True)


def filled(path: Path, limit: int) -> tuple[int, list[str]]:
    """Let a process write until it cannot: the last seq acknowledged, and the rest of what it said."""
    with child("fill", path, limit) as process:
        assert process.stdout is not None
        heard = process.stdout.read().splitlines()
    acknowledged = [line for line in heard if line.startswith("ack ")]
    return int(acknowledged[-1].split()[1]), heard[len(acknowledged) :]


@pytest.mark.slow
async def test_a_full_disk_fails_closed(tmp_path: Path) -> None:
    """One clear failure, no acknowledgement after it; with room again everything acknowledged is there."""
    with small_disk(tmp_path) as (path, limit, make_room):
        last, said = filled(path, limit)
        make_room()
        journal = await open_journal(path, failed=lambda error: None)
        _, entries = await journal.load(1)
        await journal.flush()
        await journal.close()
        sound = integrity(path)

    assert len(entries) in (last, last + 1)
    assert [line.split()[:2] for line in said] == [["failed", "StorageFailed"], ["late", "0"]]
    assert str(path) in said[0]
    assert sound == "ok"


@pytest.mark.slow
async def test_a_limit_on_file_size_fails_closed(tmp_path: Path) -> None:
    """The disk's error reaches the caller with the file's name, whatever its kind."""
    path = tmp_path / "journal.db"
    last, said = filled(path, DISK_BYTES)
    reader = await open_reader(path)
    _, entries = await reader.load(1)
    await reader.close()

    assert len(entries) in (last, last + 1)
    assert said[0].startswith(f"failed StorageFailed {path}: ")
    assert said[1:] == ["late 0"]


async def test_a_foreign_writer_on_the_same_entry_ends_the_store(tmp_path: Path) -> None:
    """An entry that somebody slipped in is found at the next append, and kept."""
    path = tmp_path / "journal.db"
    failures: list[BaseException] = []
    failed = asyncio.Event()

    def fail(error: BaseException) -> None:
        failures.append(error)
        failed.set()

    journal = await open_journal(path, failed=fail)
    foreign = sqlite3.connect(path)
    foreign.execute("INSERT INTO journal (run, seq, entry) VALUES (1, 1, x'00')")
    foreign.commit()
    foreign.close()
    called: list[int] = []
    journal.commit(Batch([Append(2, 1, b"b"), Append(1, 1, b"a")]), lambda: called.append(1))
    await failed.wait()
    loaded = await journal.load_many([1, 2])
    await journal.close()

    assert called == []
    assert loaded == {1: (None, [b"\x00"]), 2: (None, [])}
    (failure,) = failures
    assert isinstance(failure, StorageFailed)
    assert "UNIQUE" in failure.message
    assert failure.hint is not None


async def test_those_who_wait_hear_of_the_failure(tmp_path: Path) -> None:
    """A flush behind the batch that fails raises, it does not hang; so does storing documents."""
    journal = await open_journal(tmp_path / "journal.db", failed=lambda error: None)
    journal.commit(Batch([Append(1, 1, b"a"), Append(1, 1, b"a")]), lambda: None)
    waiting = [asyncio.ensure_future(journal.flush()), asyncio.ensure_future(journal.put_documents([]))]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await journal.close()

    assert [type(result) for result in results] == [StorageFailed, StorageFailed]


async def test_a_value_that_cannot_be_stored_ends_the_store(tmp_path: Path) -> None:
    """An error that is not the database's fails closed as well."""
    failures: list[BaseException] = []
    journal = await open_journal(tmp_path / "journal.db", failed=failures.append)
    number = 1 << 70
    row = RunRow(
        number=number,
        id="r",
        definition="d",
        namespace="n",
        name="n",
        version="1",
        status="s",
        started=0,
        updated=0,
    )
    journal.commit(Batch(created=[row]), lambda: None)
    with pytest.raises(StorageFailed):
        await journal.flush()
    await journal.close()

    assert [type(failure) for failure in failures] == [StorageFailed]


@pytest.mark.parametrize(
    ("file", "hint"),
    [("", "put it back beside its -wal"), ("-wal", "Let this process end"), (".lock", "Start again")],
)
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_taken_away_ends_the_store(
    tmp_path: Path, file: str, hint: str, replaced: bool
) -> None:
    """Removed, or another in its place: doing what is said brings everything that was acknowledged."""
    path = tmp_path / "journal.db"
    failures: list[BaseException] = []
    journal = await open_journal(path, failed=failures.append)
    journal.commit(Batch([Append(1, 1, b"a")]), lambda: None)
    await journal.flush()
    taken = tmp_path / f"journal.db{file}"
    taken.rename(tmp_path / "aside")
    if replaced:
        shutil.copy(tmp_path / "aside", taken)
    journal.commit(Batch([Append(1, 2, b"b")]), lambda: None)
    with pytest.raises(StorageFailed, match=f"{taken}: somebody has removed or replaced"):
        await journal.flush()
    await journal.close()

    (failure,) = failures
    assert isinstance(failure, StorageFailed)
    assert hint in (failure.hint or "")
    if not file:
        (tmp_path / "aside").rename(taken)
    assert await entries(path) == [b"a"]


async def entries(path: Path) -> list[bytes]:
    """What a process that starts on a database finds of its first run."""
    journal = await open_journal(path, failed=lambda error: None)
    _, found = await journal.load(1)
    await journal.close()
    return found


@pytest.mark.parametrize("killed", [False, True])
async def test_a_database_that_is_gone_is_not_begun_anew(tmp_path: Path, killed: bool) -> None:
    """Its log is left, and says so to the next start, however its process ended; put back, it is whole."""
    path = tmp_path / "journal.db"
    if killed:
        with child("stream", path) as process:
            assert process.stdout is not None
            while not process.stdout.readline().startswith("1 "):
                pass
    else:
        journal = await open_journal(path, failed=lambda error: None)
        journal.commit(Batch([Append(1, 1, b"a")]), lambda: None)
        await journal.flush()
    path.rename(tmp_path / "aside")
    if not killed:
        await journal.close()
    for made in (False, True) if killed else (False,):
        if made:
            path.touch()
        with pytest.raises(StorageFailed, match=f"{path}: the database is .*{path}-wal") as refused:
            await open_journal(path, failed=lambda error: None)
        assert "put it back" in (refused.value.hint or "")
    (tmp_path / "aside").rename(path)

    assert (await entries(path))[0]


async def test_a_read_that_fails_ends_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked must not take it for an answer; nothing is acknowledged after it."""
    failures: list[BaseException] = []
    called: list[int] = []
    journal = await open_journal(tmp_path / "journal.db", failed=failures.append)

    def fetch(*given: object) -> list[object]:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(journal._reading, "fetch", fetch)
    with pytest.raises(StorageFailed, match="disk I/O error"):
        await journal.runs()
    journal._take_durable([partial(called.append, 1)], 0)
    with pytest.raises(StorageFailed, match="disk I/O error"):
        journal.commit(Batch([Append(1, 1, b"a")]), lambda: None)
    await journal.close()

    assert len(failures) == 1
    assert called == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda journal: journal.run("x\udcff"),
        lambda journal: journal.run(["x"]),
        lambda journal: journal.runs(before=1 << 63),
        lambda journal: journal.runs(limit=1 << 70),
        lambda journal: journal.document("x\udcff"),
        lambda journal: journal.find_document("a", "x\udcff", "latest"),
        lambda journal: journal.history(1 << 63),
        lambda journal: journal.lines(1 << 63),
    ],
)
async def test_a_question_that_makes_no_sense_ends_only_itself(
    tmp_path: Path, ask: Callable[[DatabaseJournal], Awaitable[Any]]
) -> None:
    """It says nothing of the database: whoever asked is refused, and all others go on."""
    failures: list[BaseException] = []
    journal = await open_journal(tmp_path / "journal.db", failed=failures.append)
    with pytest.raises(InvalidInput) as refused:
        await ask(journal)
    journal.commit(Batch([Append(1, 1, b"a")]), lambda: None)
    await journal.flush()
    loaded = await journal.load(1)
    await journal.close()

    assert refused.value.hint is not None
    assert loaded == (None, [b"a"])
    assert failures == []


def too_big() -> sqlite3.Error:
    """What SQLite says of a value longer than it takes."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("SELECT zeroblob(2000000000)")
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError


@pytest.mark.parametrize(("raised", "told"), [(too_big(), LimitExceeded), (MemoryError(), Unavailable)])
async def test_what_is_too_large_to_read_does_not_end_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, told: type[TenutoError]
) -> None:
    """Only whoever asked hears of it."""
    failures: list[BaseException] = []
    journal = await open_journal(tmp_path / "journal.db", failed=failures.append)

    def fetch(*given: object) -> list[object]:
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr(journal._reading, "fetch", fetch)
        with pytest.raises(told):
            await journal.history(1)
    journal.commit(Batch([Append(1, 1, b"a")]), lambda: None)
    await journal.flush()
    await journal.close()

    assert failures == []
