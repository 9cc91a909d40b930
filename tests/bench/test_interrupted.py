"""Whoever ends `make bench` leaves no server running, loses nothing that was measured, and is told where it is."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.environments import ROOT

DRIVER = """
import sys
from pathlib import Path
from bench import __main__ as bench
from bench.environments import Environment

program = Environment((sys.executable, sys.argv.pop(1)), {{**__import__("os").environ, "PYTHONPATH": {root!r}}})
bench.environments = lambda systems, folder: ({{"tenuto": program}}, {{}})
bench.main()
"""
"""All of it but the environment, which would have to be installed."""

PROGRAM = """
import json, pathlib, sys, time
from bench.servers import Server, end_tidily

here, quick = pathlib.Path(__file__).parent, {quick}
end_tidily()
if "document" in sys.argv or not quick:
    try:
        with Server(["sleep", "600"], here / "log") as one:
            (here / "up").write_text(str(one.pid))
            time.sleep(600)
    finally:
        (here / "ended").touch()
print(json.dumps({{"size": 20, "figures": {{"p50_ms": 2.0}}}}))
"""
"""Answers for the mode `code`, unless it is not `quick`; for the other it starts a server, and tells when it has ended it."""


def _interrupted(folder: Path, number: int, *, quick: bool) -> tuple[int, str]:
    """Measure until the server is up, then send a signal; return the exit code and what was said."""
    os.mkfifo(folder / "up")
    up = os.open(folder / "up", os.O_RDONLY | os.O_NONBLOCK)
    (folder / "program.py").write_text(PROGRAM.format(quick=quick), encoding="utf-8")
    command = [sys.executable, "-c", DRIVER.format(root=str(ROOT)), str(folder / "program.py")]
    options = ["--only", "tenuto", "--works", "latency", "--folder", str(folder / "bench"), "--quick"]
    child = subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert select.select([up], [], [], 60)[0], "no server was started"
        server = int(os.read(up, 20))
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
    finally:
        os.close(up)
        child.kill()
        child.wait()
    assert not Path(f"/proc/{server}").exists()
    return child.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_ends_servers_and_keeps_what_was_measured(
    tmp_path: Path, number: int, code: int
) -> None:
    """The program could end its server, nothing is left of the work, and one line says how to go on."""
    returned, said = _interrupted(tmp_path, number, quick=True)

    raw = tmp_path / "bench" / "quick" / "results.json"
    assert code == returned, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith(f"interrupted; what was measured so far is in {raw}: ")
    assert [20] == [one["done"] for one in json.loads(raw.read_text())["answers"]]
    assert (tmp_path / "ended").exists()
    assert not (tmp_path / "bench" / "work").exists()


@pytest.mark.slow
def test_results_of_an_earlier_run_are_not_called_those_of_this_one(tmp_path: Path) -> None:
    """The control: nothing was measured, and a file that was there before says nothing of it."""
    raw = tmp_path / "bench" / "quick" / "results.json"
    raw.parent.mkdir(parents=True)
    raw.write_text("{}")
    os.utime(raw, (0, 0))

    returned, said = _interrupted(tmp_path, signal.SIGTERM, quick=False)

    assert 143 == returned, said
    assert said.splitlines()[-1] == "interrupted before anything was measured"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "dboss"], "dboss: not one of tenuto, bare, dbos"),
        (["--works", "latencies"], "latencies: not one of latency, in-flight"),
        (["--only", "spiff", "--works", "store"], "none of these systems does any of these works"),
        (["--report", "nowhere.json"], "nowhere.json: No such file or directory; a run writes"),
        (["--report", "pyproject.toml"], "pyproject.toml: these are no results of a run"),
    ],
)
def test_options_that_cannot_be_are_taught(options: list[str], told: str) -> None:
    """No traceback, and what there is instead."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 2 == done.returncode
    assert told in done.stderr
    assert "Traceback" not in done.stderr
