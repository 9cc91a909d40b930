"""MariaDB with one database, over TCP with and without TLS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.authority import Authority
from tests.servers.process import folder_of, give, running
from tests.servers.provision import program

USER = "tenuto"
PASSWORD = "database-secret"
DATABASE = "work"

_START = f"""\
CREATE DATABASE {DATABASE};
CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';
"""


class Mariadb:
    """Where the database is."""

    user = USER
    password = PASSWORD

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"mariadb://{USER}:{PASSWORD}@localhost:{port}/{DATABASE}"


@contextmanager
def mariadb_server(authority: Authority) -> Iterator[Mariadb]:
    """Run MariaDB with a fresh data folder; as root it gives its rights away to `mysql`."""
    mariadbd = program("mariadbd", "mariadb-server")
    install = program("mariadb-install-db", "mariadb-server")
    user = "mysql" if os.geteuid() == 0 else None
    with folder_of(user) as folder:
        data, start = folder / "data", folder / "start.sql"
        start.write_text(_START)
        give(start, user)
        subprocess.run(
            [
                install,
                "--no-defaults",
                f"--datadir={data}",
                "--skip-test-db",
                "--skip-name-resolve",
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd="/",
        )
        certificate, key = (give(path, user) for path in authority.issue(folder, "localhost", "127.0.0.1"))
        with running(
            lambda port: [
                mariadbd,
                "--no-defaults",
                f"--datadir={data}",
                f"--port={port}",
                "--bind-address=127.0.0.1",
                f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}",
                f"--init-file={start}",
                f"--ssl-cert={certificate}",
                f"--ssl-key={key}",
                "--skip-name-resolve",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=16M",
            ],
            r"ready for connections",
            user,
        ) as port:
            yield Mariadb(port)
