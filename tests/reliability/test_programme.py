"""The command that plays all layers: nothing that goes wrong in one may be lost, or take the others with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.__main__ import layers, play, sound
from tests.reliability.disk.lives import ROOT
from tests.reliability.evidence import Violation
from tests.reliability.page import JUDGES, written
from tests.reliability.programme import Budget, Caught, Layer, Record, fewer


def _layer(record: Record, *controls: str) -> Layer:
    return Layer(record.layer, "Something", lambda budget: record, 1.0, controls)


OVER = Caught(bug="a", cases=None, broken_off_after=7)
GOOD = Record(layer="L1", cases=3, seconds=0.1, caught=(Caught(bug="a bug", cases=2),))


def test_a_layer_that_breaks_off_is_a_violation_and_the_next_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has both, and says which of them is not whole."""

    def breaks(budget: Budget) -> Record:
        raise OSError("the disk is on fire")

    monkeypatch.chdir(tmp_path)
    both = [Layer("L0", "Fire", breaks, 1.0), _layer(GOOD, "a bug")]
    records: list[Record] = []
    play(both, 0.1, 1, records)
    page = written(both, records, 0.1, 1)

    assert [record.cases for record in records] == [0, 3]
    assert "the disk is on fire" in records[0].violations[0].seen
    assert "| L0 Fire | 0 (**broke off**) |" in page
    assert "| L1 Something | 3 |" in page
    assert not sound(both, records, 0.1)
    assert sound(both[1:], records[1:], 0.1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("record", "controls", "minutes", "expected"),
    [
        (GOOD, ("a bug",), 60.0, True),
        (GOOD, ("a bug", "another"), 60.0, False),
        (GOOD, ("a bug", "another"), 5.0, True),
        (Record(layer="L1", cases=0, seconds=0.1), (), 5.0, False),
        (Record(layer="L1", cases=1, seconds=0.1, caught=(Caught(bug="a", cases=None),)), ("a",), 5.0, False),
        (Record(layer="L1", cases=1, seconds=0.1, caught=(OVER,)), ("a",), 5.0, True),
        (Record(layer="L1", cases=1, seconds=0.1, caught=(OVER,)), ("a",), 60.0, False),
        (Record(layer="L1", cases=1, seconds=0.1, violations=(Violation("I1", "", ""),)), (), 5.0, False),
    ],
)
def test_a_record_is_sound_if_it_was_played_and_would_have_noticed(
    record: Record, controls: tuple[str, ...], minutes: float, expected: bool
) -> None:
    """What was not hunted is on the page, and makes the command fail only where there was time for it."""
    one = [_layer(record, *controls)]

    assert sound(one, [record], minutes) is expected
    page = written(one, [record], minutes, 1)
    assert ("**not hunted**" in page) is ("another" in controls)
    assert ("| **not noticed in 7 (time over)** |" in page) is (OVER in record.caught)


def test_the_page_says_of_each_layer_what_judges_it() -> None:
    """Of each that is played, and of the one that is not yet; in their order."""
    names = [layer.name for layer in layers()]

    assert [name for name in JUDGES if name != "L7"] == names
    assert "| L7 | not played: comes with clusters |" in written([_layer(GOOD)], [GOOD], 5.0, 1)


def test_what_was_counted_is_folded_away_a_line_for_each() -> None:
    """Figures and what was not played stand above, to be seen at once."""
    record = Record(
        layer="L1",
        cases=1,
        seconds=0.1,
        counts={"a | b": 1234, "c": 5},
        figures={"speed": "fast"},
        not_played=("all of it",),
    )
    page = written([_layer(record)], [record], 5.0, 1)

    assert (
        "### L1 Something\n\n- speed: fast\n- not played: all of it\n\n"
        "<details><summary>Everything that was counted</summary>\n\n"
        "| what | how many |\n| --- | --- |\n| a \\| b | 1,234 |\n| c | 5 |\n\n</details>\n\n## "
    ) in page


def test_a_part_has_its_share_of_the_time_that_is_left(tmp_path: Path) -> None:
    """What is over leaves nothing; where nobody counts the time, no part does."""
    now = time.monotonic()
    whole = Budget(tmp_path, deadline=now + 100)

    assert now + 30 <= whole.share(0.3).deadline < now + 40
    assert Budget(tmp_path, deadline=now - 1).share(0.5).over()
    assert not Budget(tmp_path).share(0.5).over()
    assert fewer("seeds", 1, 2) == ["seeds: only 1 of 2, for want of time"]
    assert fewer("seeds", 2, 2) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_play_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """No folder, no file system, no process, and no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.reliability", "--only", "L6,L9", "--minutes", "3"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        said = process.stdout.readline()
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("faults-*/*/t.db-wal")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        said += process.stdout.read()

    assert said.splitlines()[1:] == ["interrupted: L6, L9 not played to the end"]
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert [line for line in _command_lines() if str(tmp_path) in line] == []


def _command_lines() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
