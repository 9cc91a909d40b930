"""Measurements fit into their time, and say so where they did less than was asked for."""

from __future__ import annotations

import sqlite3
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bench import fitting
from bench.fitting import (
    Batches,
    NotApplicable,
    Notes,
    batch,
    disk_kb,
    ends,
    fill,
    fill_wide,
    one_by_one,
    play,
    resident_kb,
)
from bench.measuring import Answer, Clock, asked, sqlite_durability
from bench.servers import Server


def _busy(monkeypatch: pytest.MonkeyPatch, seconds_each: float) -> tuple[list[int], Callable[[int], None]]:
    """Return what notes how many it is asked for, and takes so long for each on a clock that nothing else moves."""
    asked: list[int] = []
    now = 0.0

    def together(runs: int) -> None:
        nonlocal now
        asked.append(runs)
        now += runs * seconds_each

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    return asked, together


def test_a_batch_warms_up_with_a_tenth_and_is_repeated_whole_where_time_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few first, the rest of the tenth, then all, again and again: for a part of the time, and for a least time."""
    monkeypatch.setattr(fitting, "TIMED_SECONDS_MIN", 0.02)
    asked, together = _busy(monkeypatch, 0.000_005)

    done = batch(together, 1000, 0.03)

    assert [5, 95] == asked[:2]
    assert 1000 == done.at_once
    assert [1000] * done.times == asked[2:]
    assert done.times > 1
    assert 0.02 <= done.clock.seconds < 0.5


def test_a_batch_that_would_take_too_long_is_smaller_and_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is what was asked for, about; the answer says how many there were."""
    asked, together = _busy(monkeypatch, 0.001)

    done = batch(together, 100_000, 0.05)

    assert done.at_once == asked[-1] < 200
    assert 1 == done.times
    assert done.clock.seconds < 0.2


def test_one_at_a_time_is_warmed_up_as_batches_are_and_compared_with_the_disk(tmp_path: Path) -> None:
    """A tenth before the clock runs; what is timed are all that were asked for."""
    done: list[int] = []
    answer = Answer("a", "b", "latency", 100, "1")

    one_by_one(done.append, answer, 100, Namespace(seconds=60, folder=tmp_path))

    assert [*range(5), *range(5), *range(100)] == done
    assert 100 == answer.figures["runs"]
    assert answer.figures["floor_ms"] > 0 < answer.figures["ratio"]


def test_a_batch_is_smaller_only_where_all_would_take_longer_than_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where more than half of the time is enough for all of them, a warm-up that was slow makes no smaller batch."""
    asked, together = _busy(monkeypatch, 0.001)
    monkeypatch.setattr(fitting, "TIMED_SECONDS_MIN", 0.0)
    monkeypatch.setattr(fitting, "warm_up", lambda together, runs, seconds: seconds / 80)

    assert 100 == batch(together, 100, 0.12).at_once
    assert 80 == batch(together, 200, 0.12).at_once
    assert [80, 100, 80] == asked


def test_a_note_names_the_seconds_that_were_too_few(capsys: pytest.CaptureFixture[str]) -> None:
    """Who reads it knows how much time there was."""
    given = Namespace(work="in-flight", mode="b", size=500, seconds=5.5)
    some = Batches(20, 1, Clock(seconds=5.0))

    play("a", "1", {"in-flight": lambda _, answer: fill(answer, some, 500)}, given)

    assert '"note": "20 at once; 500 would have taken more than 5.5 s"' in capsys.readouterr().out


def test_less_than_was_asked_for_is_said() -> None:
    """A figure for fewer runs is never shown as one for all."""
    answer = Answer("a", "b", "in-flight", 500, "1")

    fill(answer, Batches(20, 3, Clock(seconds=6.0, cpu_seconds=1.0)), 500)

    assert 100.0 == answer.figures["steps_per_second"]
    assert 60 == answer.figures["runs"]
    assert answer.note == "20 at once; 500 would have taken too long"

    fill_wide(answer, Batches(20, 3, Clock(seconds=6.0)), 500)
    assert {"items_per_second": 10.0, "seconds": 2.0} == answer.figures
    assert 20 == answer.size


def test_notes_are_read_on_from_the_last_look_and_only_whole_lines(tmp_path: Path) -> None:
    """Each look costs what is new, however much is there."""
    path = tmp_path / "notes"
    notes = Notes(path)
    assert [] == notes.of("step")

    path.write_text("step 1.5\nover\nstep 2")
    assert ["1.5"] == notes.of("step")
    assert [""] == notes.of("over")

    with path.open("a") as file:
        file.write(".5\nover\n")
    assert ["1.5", "2.5"] == notes.of("step")
    assert ["", ""] == notes.of("over")


def test_a_connection_that_does_not_sync_is_refused(tmp_path: Path) -> None:
    """What is said of SQLite is what its connections answer."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("pragma journal_mode = wal").fetchone()
        assert (
            sqlite_durability([asked(connection)])
            == "journal_mode=wal synchronous=FULL (connections asked: 1)"
        )

        connection.execute("pragma synchronous = normal")
        with pytest.raises(AssertionError, match="does not sync"):
            sqlite_durability([asked(connection)])
    with pytest.raises(AssertionError, match="no connection"):
        sqlite_durability([])


def test_logs_of_servers_are_no_growth_of_the_disk_but_those_of_databases_are(tmp_path: Path) -> None:
    """A database's own log is its state."""
    (tmp_path / "data").mkdir()
    before = disk_kb(tmp_path)
    (tmp_path / "server.log").write_bytes(b"x" * 100_000)
    (tmp_path / "home" / "logs").mkdir(parents=True)
    (tmp_path / "home" / "logs" / "task").write_bytes(b"x" * 100_000)
    assert before == disk_kb(tmp_path)

    (tmp_path / "data" / "000012.log").write_bytes(b"x" * 100_000)
    assert disk_kb(tmp_path) >= 100_000 / 1024 > before


def test_the_ends_of_a_long_run_are_its_first_and_last_tenth() -> None:
    """Steps that become slower show."""
    times = [float(number) for number in range(101)] + [100.0 + 3 * number for number in range(1, 101)]

    figures = ends(times)

    assert {"us_per_step_start": 1e6, "us_per_step_end": 3e6, "steps": 201} == figures


def test_what_cannot_be_done_is_answered_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """No work is dropped silently."""

    def refuse(given: Namespace, answer: Answer) -> None:
        raise NotApplicable("there is none")

    play("a", "1", {"signals": refuse}, Namespace(work="signals", mode="b", size=1, seconds=5.0))

    assert '"figures": {}' in (said := capsys.readouterr().out)
    assert '"reason": "there is none"' in said


@pytest.mark.slow
def test_a_server_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    """Also a child that ignores being asked to, in a session of its own."""
    child = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    parent = (
        "import subprocess, sys; "
        f"one = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True); "
        "print('child', one.pid, flush=True); one.wait()"
    )
    server = Server([sys.executable, "-c", parent], tmp_path / "log")

    with server:
        server.until(lambda: "up" in server.output() and "child" in server.output(), 30)
        pid = int(server.output().split("child ")[1].split()[0])
        assert resident_kb(server.pid) > resident_kb(pid) > 0

    end = time.monotonic() + 10
    while _lives(pid) and time.monotonic() < end:
        pass
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that is over may still wait for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
