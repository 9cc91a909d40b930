"""Prefect, on PostgreSQL and on SQLite. `bench.measuring` says what is measured; run in the environment of `bench.environments`.

    python -m bench.systems.prefect --work in-flight --size 500 --mode postgres --folder DIR [--seconds 60]

The server is started as its documentation says, with all its services; analytics, the user interface and logs in its
database are off. Flows are coroutines that are called in this process, many at once; a deployment would start a process
for each, which alone has to import Prefect.

`postgres` is its recommendation for production (a fresh PostgreSQL of Debian's package) and has tasks as they are by
default: the states of flows are committed before they go on, those of tasks are sent as events that nobody waits for, and
results stay in memory. `postgres-kept` keeps results in files, so that a flow that is run again takes them from there; the files
are not synced. `sqlite` is as `postgres` on its default database, which it opens with synchronous=NORMAL.

It is thus less durable than the others in every mode; `durability` says what is, and how often the processes of server and
database synced for one flow alone, counted by strace before the measurement.
"""

from __future__ import annotations

import importlib
import os

from bench.fitting import play
from bench.measuring import options
from bench.servers import HOST, free_ports

MODES = ("postgres", "postgres-kept", "sqlite")
WORKS = (
    *("latency", "in-flight", "fan-out", "waiting", "long-run"),
    *("restart", "signals", "payload", "footprint"),
)


def main() -> None:
    """Measure. Prefect reads its settings from the environment when it is imported, so that comes last."""
    given = options(__doc__, MODES, WORKS)
    (port,) = free_ports(1)
    os.environ.update(
        PREFECT_HOME=str(given.folder / "home"),
        PREFECT_API_URL=f"http://{HOST}:{port}/api",
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="false",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS="false",
        DO_NOT_TRACK="1",
        PREFECT_LOGGING_LEVEL="ERROR",
        PREFECT_LOGGING_TO_API_ENABLED="false",
    )
    works = importlib.import_module("bench.systems.prefect_works")
    play("prefect", "", {name: getattr(works, name.replace("-", "_")) for name in WORKS}, given)


if __name__ == "__main__":
    main()
