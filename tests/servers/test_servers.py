"""A server that cannot be had is told at the end, and never silently left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.process import ServerProcess, running
from tests.servers.provision import CannotRun, program

ROOT = Path(__file__).resolve().parents[2]

TESTS = """
from contextlib import contextmanager
import pytest
from tests.servers.plugin import start_or_tell
from tests.servers.provision import CannotRun

@contextmanager
def missing():
    raise CannotRun("no slapd: install it")
    yield

@contextmanager
def there():
    yield 1

@pytest.fixture
def slapd(request):
    yield from start_or_tell(request, "ldap", missing())

@pytest.fixture
def sshd(request):
    yield from start_or_tell(request, "ssh", there())

def test_one(slapd): ...
def test_two(slapd): ...
def test_three(sshd): ...
"""


@pytest.mark.slow
def test_what_could_not_run_is_named_with_its_reason(tmp_path: Path) -> None:
    """The last lines of a test run name each group once; one that ran is not named."""
    (tmp_path / "test_it.py").write_text(TESTS)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.servers.plugin", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.stdout.count("could not run: ldap (no slapd: install it)")
    assert "could not run: ssh" not in done.stdout
    assert "1 passed, 2 skipped" in done.stdout


def test_a_missing_program_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root is told the command; a program that is there is found."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(CannotRun, match="no no-such-server: "):
        program("no-such-server", "no-such-package")
    assert "sh" == program("sh", "dash").name


def test_a_server_that_does_not_start_shows_what_it_said() -> None:
    """The error has the server's own words."""
    with (
        pytest.raises(RuntimeError, match=r"did not start; it said:\nbroken"),
        running(lambda port: ["sh", "-c", "echo broken >&2; exit 1"], "ready"),
    ):
        pass


def test_a_server_is_ready_when_it_says_so_and_gone_afterwards() -> None:
    """Readiness is a line of the server's, not a guess; stopping ends the process."""
    server = ServerProcess(["sh", "-c", "echo ready >&2; exec sleep 60"], "ready")

    assert server.wait_ready()
    server.stop()
    assert not server.alive
