"""The servers as session fixtures, and a last word on those that could not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers.authority import Authority
from tests.servers.mariadb import Mariadb, mariadb_server
from tests.servers.postgres import Postgres, postgres_server
from tests.servers.provision import CannotRun, program
from tests.servers.slapd import Slapd, slapd_server
from tests.servers.smtp import SmtpServer
from tests.servers.smtp import smtp_server as run_smtp_server
from tests.servers.sshd import Sshd, sshd_server
from tests.servers.standard import language_standard

_NOT_RUN = pytest.StashKey[dict[str, str]]()
_Server = TypeVar("_Server")


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no group missing."""
    config.stash[_NOT_RUN] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name each group of tests that could not run, and why."""
    for group, reason in config.stash[_NOT_RUN].items():
        terminalreporter.write_line(f"could not run: {group} ({reason})", red=True)


def start_or_tell(
    request: pytest.FixtureRequest, group: str, server: AbstractContextManager[_Server]
) -> Iterator[_Server]:
    """Run a server for as long as the fixture lives; where it cannot be had, note that and skip."""
    reasons = request.config.stash[_NOT_RUN]
    if group in reasons:
        pytest.skip(reasons[group])
    try:
        running = server.__enter__()
    except CannotRun as error:
        reasons[group] = str(error)
        pytest.skip(str(error))
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the certificate authority that all servers of the session use."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def standard(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return the folder with the standard's examples, invalid documents and JSON Schema."""
    yield from start_or_tell(request, "language standard", language_standard())


@pytest.fixture(scope="session")
def slapd(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Slapd]:
    """Run OpenLDAP."""
    yield from start_or_tell(request, "ldap", slapd_server(authority))


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Postgres]:
    """Run PostgreSQL."""
    yield from start_or_tell(request, "postgresql", postgres_server(authority))


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Mariadb]:
    """Run MariaDB."""
    yield from start_or_tell(request, "mariadb", mariadb_server(authority))


@pytest.fixture(scope="session")
def sshd(request: pytest.FixtureRequest) -> Iterator[Sshd]:
    """Run OpenSSH."""
    yield from start_or_tell(request, "ssh", sshd_server())


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return the interpreter of JavaScript."""
    yield from start_or_tell(request, "javascript", _node())


@contextmanager
def _node() -> Iterator[Path]:
    yield program("node", "nodejs")


@pytest.fixture(scope="session")
def _smtp(authority: Authority) -> Iterator[SmtpServer]:
    with run_smtp_server(authority) as server:
        yield server


@pytest.fixture
def smtp_server(_smtp: SmtpServer) -> Iterator[SmtpServer]:
    """Run an SMTP server that keeps what it is given, empty for each test."""
    yield _smtp
    _smtp.clear()
