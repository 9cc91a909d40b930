"""PostgreSQL with one database, over TCP with and without TLS."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.authority import Authority
from tests.servers.process import folder_of, give, running
from tests.servers.provision import program

USER = "tenuto"
PASSWORD = "database-secret"
_PLACES = ("/usr/lib/postgresql/*/bin/{}",)


class Postgres:
    """Where the database is."""

    user = USER
    password = PASSWORD

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"postgresql://{USER}:{PASSWORD}@localhost:{port}/postgres"


@contextmanager
def postgres_server(authority: Authority) -> Iterator[Postgres]:
    """Run PostgreSQL with a fresh cluster; it refuses to run as root, so then it runs as `postgres`."""
    initdb = program("initdb", "postgresql", patterns=tuple(place.format("initdb") for place in _PLACES))
    postgres = initdb.with_name("postgres")
    user = "postgres" if os.geteuid() == 0 else None
    with folder_of(user) as folder:
        password = folder / "password"
        password.write_text(PASSWORD)
        give(password, user)
        data = folder / "data"
        subprocess.run(
            [
                *(initdb, "-D", data, "-U", USER, f"--pwfile={password}", "-A", "scram-sha-256"),
                *("-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd="/",
        )
        certificate, key = (give(path, user) for path in authority.issue(folder, "localhost", "127.0.0.1"))
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "ssl": "on",
            "ssl_cert_file": str(certificate),
            "ssl_key_file": str(key),
            "logging_collector": "off",
            "log_destination": "stderr",
            "fsync": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with running(
            lambda port: [postgres, "-D", data, "-p", str(port), *options],
            r"database system is ready to accept connections",
            user,
            signal.SIGINT,  # does not wait for clients, as SIGTERM would
        ) as port:
            yield Postgres(port)
