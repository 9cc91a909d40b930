"""What people see of a command: output that nobody reads or that cannot be written, and suggestions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doors.conftest import Tenuto

Write = Callable[..., Path]

TASKS = "- a: {run: {shell: {command: sleep 0.1}}}\n- b: {set: {x: 1}}"


def ran(folder: Path, *words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run `tenuto` with these streams; the others are read."""
    return subprocess.run(
        [sys.executable, "-m", "tenuto", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        timeout=30,
        check=False,
    )


@pytest.fixture
def left() -> int:
    """Return the writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.slow
def test_a_run_goes_on_when_progress_cannot_be_written(write: Write, tmp_path: Path, left: int) -> None:
    """A full disk under the log, or a reader of it that has left, is no reason to stop."""
    write("flow", TASKS)
    with open("/dev/full", "w") as full:
        on_full = ran(tmp_path, "run", "flow.yaml", "-o", "json", stderr=full)
    unread = ran(tmp_path, "run", "flow.yaml", "-o", "json", stderr=left)

    assert (0, '{"x":1}\n') == (on_full.returncode, on_full.stdout) == (unread.returncode, unread.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["run", "flow.yaml"], ["runs"]])
def test_a_reader_of_the_result_that_left_is_no_failure(
    words: list[str], tenuto: Tenuto, write: Write, tmp_path: Path, left: int
) -> None:
    """`tenuto ... | head` ends with 0, and complains of nothing."""
    write("flow", TASKS)
    tenuto("run", "flow.yaml")
    done = ran(tmp_path, *words, stdout=left)

    assert done.returncode == 0
    assert "rror" not in done.stderr


@pytest.mark.slow
def test_a_result_that_cannot_be_written_is_told(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """Status 4 and what to do, for the run completed and nobody has its result."""
    write("flow", TASKS)
    with open("/dev/full", "w") as full:
        done = ran(tmp_path, "run", "flow.yaml", stdout=full)

    assert done.returncode == 4
    assert done.stderr.endswith(
        "error: the output cannot be written: no space left\n"
        "hint: free some space; `tenuto show` shows again how a run ended\n"
    )
    assert tenuto("show", "-o", "json").json["output"] == {"x": 1}


@pytest.mark.slow
@pytest.mark.parametrize("on_path", [True, False])
def test_suggested_commands_can_be_typed(on_path: bool, tmp_path: Path) -> None:
    """They begin with `tenuto` where the shell finds that, else with the way it was called."""
    called = Path(sys.executable).with_name("tenuto")
    path = f"{called.parent}:/usr/bin:/bin" if on_path else "/usr/bin:/bin"
    done = subprocess.run(
        [called, "init", "a/b.yaml"],
        cwd=tmp_path,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    name = "tenuto" if on_path else str(called)

    assert done.stdout == (
        f"a/b.yaml is written. Next:\n  {name} run a/b.yaml\n  {name} graph a/b.yaml -o a/b.svg\n"
    )
