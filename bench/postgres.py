"""PostgreSQL for the systems that keep their state in it: a fresh cluster, which syncs every commit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.servers import HOST, Server, free_ports

USER: Final = "bench"
SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "max_connections": "300",
}
"""Beyond the defaults: memory and distance of checkpoints as its documentation recommends for a machine of its own."""

SYNCING: Final[Mapping[str, str]] = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
"""What must be found in the running server."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """Where it listens; `server` can be killed and started again."""

    port: int
    bin: Path
    server: Server

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database, as clients take it."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    def ask(self, statement: str) -> str:
        """Return what a statement answers."""
        command = [
            self.bin / "psql",
            "-h",
            HOST,
            "-p",
            str(self.port),
            "-U",
            USER,
            "-Atqc",
            statement,
            "postgres",
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def durability(self) -> str:
        """Say what the running server answers where durability rests on it, and refuse what would not sync."""
        said = {name: self.ask(f"SHOW {name}") for name in [*SYNCING, "wal_sync_method"]}
        assert all(said[name] == value for name, value in SYNCING.items()), (
            f"PostgreSQL does not sync: {said}"
        )
        return " ".join(f"{name}={value}" for name, value in said.items())

    def version(self) -> str:
        """Return the number of its version."""
        return self.ask("SHOW server_version").split()[0]

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self.server.start()
        self.server.until(self._accepts)

    def _accepts(self) -> bool:
        command = [self.bin / "pg_isready", "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0


@contextmanager
def postgres(folder: Path, extra: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """Run PostgreSQL on a fresh cluster below a folder; it refuses to run as root, so then it runs as `postgres`."""
    found = shutil.which("initdb")
    assert found, "no initdb on the PATH"
    programs = Path(found).parent
    user = "postgres" if os.geteuid() == 0 else None
    place = folder / "postgres"
    place.mkdir()
    if user:
        folder.chmod(folder.stat().st_mode | 0o011)
        shutil.chown(place, user)
    data = place / "data"
    create = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"]
    made = subprocess.run(create, check=False, capture_output=True, text=True, user=user, cwd=place)
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stderr.strip()}")
    (port,) = free_ports(1)
    settings = {
        **SETTINGS,
        **(extra or {}),
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": str(place),
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = Server(
        [programs / "postgres", "-D", data, *options],
        folder / "postgres.log",
        user=user,
        stop_signal=signal.SIGINT,  # does not wait for clients, as SIGTERM would
    )
    there = Postgres(port, programs, server)
    there.start()
    try:
        yield there
    finally:
        server.stop()
