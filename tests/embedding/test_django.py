"""The Django example: its commands as the processes that they are."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.slow

PROJECT = ROOT / "examples" / "django_shop"
SECONDS = 60


def command(*words: str) -> list[str]:
    """Return the command line of one of the project's commands, with every warning an error."""
    return [sys.executable, "-W", "error", "manage.py", *words]


class Shop:
    """The project with databases of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SHOP_DATA": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def manage(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            command(*words),
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @contextmanager
    def running(self) -> Iterator[Running]:
        """Start `run_workflows` and yield it; it is killed at the end if it still runs."""
        process = subprocess.Popen(
            command("run_workflows"), cwd=PROJECT, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        late = threading.Timer(SECONDS, process.kill)
        late.start()
        try:
            yield Running(process)
        finally:
            late.cancel()
            process.kill()
            process.communicate()

    def orders(self) -> list[tuple[str, str]]:
        """Return state and parcel of each order."""
        with closing(sqlite3.connect(self.folder / "shop.db")) as database:
            return database.execute("SELECT state, parcel FROM shop_order ORDER BY id").fetchall()

    def runs(self) -> list[tuple[str, str]]:
        """Return id and status of each run, as the command line shows them."""
        tenuto = Path(sys.executable).with_name("tenuto")
        shown = subprocess.run(
            [tenuto, "runs", "--db", self.folder / "workflows.db", "--output", "json"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        ).stdout
        return sorted((run["id"], run["status"]) for run in json.loads(shown))


class Running:
    """`run_workflows` at work; it says on standard error what it does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def wait_for(self, line: str) -> None:
        """Return once it has said a line."""
        assert self.process.stderr is not None
        for said in self.process.stderr:
            self.lines.append(said.rstrip())
            if line == self.lines[-1]:
                return
        raise AssertionError("\n".join([f"{line!r} was not said, but:", *self.lines]))

    def end(self, how: signal.Signals) -> int:
        """End it so, and return its exit status."""
        self.process.send_signal(how)
        assert self.process.stderr is not None
        self.lines += [said.rstrip() for said in self.process.stderr]
        return self.process.wait(SECONDS)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a project whose tables are made."""
    found = Shop(tmp_path)
    migrated = found.manage("migrate", "-v", "0")
    assert (0, "") == (migrated.returncode, migrated.stderr)
    return found


def test_the_projects_own_tests_pass(tmp_path: Path) -> None:
    """Its views and steps, and its migrations are those of its models."""
    shop = Shop(tmp_path)
    tested, made = shop.manage("test"), shop.manage("makemigrations", "--check")

    assert (0, 0) == (tested.returncode, made.returncode), tested.stderr + made.stdout
    assert "Ran 3 tests" in tested.stderr


def test_an_order_is_carried_out_by_the_worker(shop: Shop) -> None:
    """Whether it was taken before the worker ran or beside it; SIGTERM then ends the worker in order."""
    early = shop.manage("start_order", "teapot", "2")
    with shop.running() as worker:
        worker.wait_for("order 1 is packed")
        late = shop.manage("start_order", "cup", "6")
        worker.wait_for("order 2 is sent")
        # Its last step says so, before the end of the run is recorded.
        while worker.process.poll() is None and ("order-2", "completed") not in shop.runs():
            continue
        ended = worker.end(signal.SIGTERM)

    assert ["order 1: 2 teapot, new\n", "order 2: 6 cup, new\n"] == [early.stdout, late.stdout]
    assert (0, "stopped") == (ended, worker.lines[-1])
    assert ["sent", "sent"] == [state for state, _ in shop.orders()]
    assert [("order-1", "completed"), ("order-2", "completed")] == shop.runs()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_order_outlives_the_worker(how: signal.Signals, shop: Shop) -> None:
    """Ended in the middle of an order, the next worker goes on: what was done is not done again."""
    shop.manage("start_order", "teapot", "2")
    with shop.running() as worker:
        worker.wait_for("order 1 is packed")
        ended = worker.end(how)
    with shop.running() as next_worker:
        next_worker.wait_for("order 1 is sent")
        next_worker.end(signal.SIGTERM)

    assert ended == (-signal.SIGKILL if how == signal.SIGKILL else 0)
    assert ["running", "order 1 is sent", "stopped"] == next_worker.lines
    assert [("sent", "parcel of order-1-0/send")] == shop.orders()


def test_a_second_worker_is_refused(shop: Shop) -> None:
    """As Django says such things: one line, and who has the database."""
    with shop.running() as worker:
        worker.wait_for("running")
        second = shop.manage("run_workflows")

    assert 1 == second.returncode
    assert f"workflows.db is in use by process {worker.process.pid} (an App)" in second.stderr
    assert "Traceback" not in second.stderr
