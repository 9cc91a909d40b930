"""Measurements fit into their time, and say so where they did less than was asked for."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from bench.fitting import NotApplicable, batch, ends, fill, play, resident_kb, shortened
from bench.measuring import Answer, Clock
from bench.servers import Server


def _busy(seconds_each: float) -> tuple[list[int], object]:
    asked: list[int] = []

    def together(runs: int) -> None:
        asked.append(runs)
        end = time.perf_counter() + runs * seconds_each
        while time.perf_counter() < end:
            pass

    return asked, together


def test_a_batch_warms_up_with_a_tenth_and_is_whole_where_time_allows() -> None:
    """Few first, the rest of the tenth, then all."""
    asked, together = _busy(0.0)

    runs, clock = batch(together, 1000, 60)  # type: ignore[arg-type]

    assert 1000 == runs
    assert [5, 95, 1000] == asked
    assert clock.seconds >= 0


def test_a_batch_that_would_take_too_long_is_smaller() -> None:
    """The time is what was asked for, about; the answer says how many there were."""
    asked, together = _busy(0.001)

    runs, clock = batch(together, 100_000, 0.05)  # type: ignore[arg-type]

    assert runs == asked[-1] < 200
    assert clock.seconds < 0.2


def test_less_than_was_asked_for_is_said() -> None:
    """A figure for fewer runs is never shown as one for all."""
    answer = Answer("a", "b", "in-flight", 500, "1")

    fill(answer, (20, Clock(seconds=2.0, cpu_seconds=1.0)), 500)

    assert 100.0 == answer.figures["steps_per_second"]
    assert 20 == answer.figures["runs"]
    assert answer.note == "20 at once; 500 would have taken too long"

    shortened(answer, 500, 20)
    assert 20 == answer.size


def test_the_ends_of_a_long_run_are_its_first_and_last_tenth() -> None:
    """Steps that become slower show."""
    times = [float(number) for number in range(101)] + [100.0 + 3 * number for number in range(1, 101)]

    figures = ends(times)

    assert {"us_per_step_start": 1e6, "us_per_step_end": 3e6, "steps": 201} == figures


def test_what_cannot_be_done_is_answered_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """No work is dropped silently."""

    def refuse(given: Namespace, answer: Answer) -> None:
        raise NotApplicable("there is none")

    play("a", "1", {"signals": refuse}, Namespace(work="signals", mode="b", size=1))

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
