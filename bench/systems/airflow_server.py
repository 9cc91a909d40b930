"""How Airflow's parts are set up and started on PostgreSQL; `bench.systems.airflow` says why so."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg2

from bench.postgres import Postgres, postgres
from bench.servers import HOST, Server, free_ports, listens

DAGS: Final = Path(__file__).with_name("airflow_dags")
PARALLEL: Final = 8
"""Tasks that run at the same time; its default is 32."""

MANY: Final = "10000"
SETTINGS: Final[Mapping[str, str]] = {
    "CORE__EXECUTOR": "LocalExecutor",
    "CORE__PARALLELISM": str(PARALLEL),
    "CORE__MAX_ACTIVE_TASKS_PER_DAG": MANY,
    "CORE__MAX_ACTIVE_RUNS_PER_DAG": MANY,
    "CORE__DEFAULT_POOL_TASK_SLOT_COUNT": MANY,
    "CORE__MAX_MAP_LENGTH": MANY,
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "CORE__DAGS_FOLDER": str(DAGS),
    "LOGGING__LOGGING_LEVEL": "ERROR",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    "SCHEDULER__MAX_TIS_PER_QUERY": "0",
    "SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "100",
    "SCHEDULER__USE_ROW_LEVEL_LOCKING": "False",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "SCHEDULER__PARSING_CLEANUP_INTERVAL": "600",
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "TRIGGERER__DEFAULT_CAPACITY": MANY,
    "TRIGGERER__CAPACITY": MANY,
}
"""Limits lifted that hold runs back, fewer pauses than by default, and those that are killed are noticed sooner."""

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "api-server": ("--host", HOST, "--workers", "1"),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
DAG_COUNT: Final = 6


@dataclass(slots=True)
class Airflow:
    """Its parts, each a process with more below it, and its database, which is asked for what has come of runs."""

    database: Postgres
    parts: dict[str, Server]
    port: int
    connection: Any
    token: str = ""
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000_000)))

    def start_parts(self) -> None:
        """Start them, and wait until the server answers and the DAGs are there."""
        for server in self.parts.values():
            server.start()
        first = self.parts["api-server"]
        first.until(lambda: listens(self.port))
        self.token = self._call("GET", "/auth/token")["access_token"]
        for server in self.parts.values():
            server.until(self._parsed)

    def _parsed(self) -> bool:
        return self.ask("SELECT count(*) FROM dag WHERE NOT is_stale") == [(DAG_COUNT,)]

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    def trigger(self, dag: str, **conf: object) -> str:
        """Start a run through the API; answer its id."""
        run = f"{dag}-{next(self.numbers)}"
        body = {"dag_run_id": run, "conf": conf, "logical_date": None}
        self._call("POST", f"/api/v2/dags/{dag}/dagRuns", body)
        return run

    def respond(self, run: str) -> None:
        """Answer the task of a run that waits for it."""
        path = f"/api/v2/dags/receiver/dagRuns/{run}/taskInstances/wait/-1/hitlDetails"
        self._call("PATCH", path, {"chosen_options": ["go"]})

    def _call(self, method: str, path: str, body: object = None) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", data, headers, method=method)
        with opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())


def environment(folder: Path, database: Postgres, port: int, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of all parts."""
    address = database.url().replace("postgresql", "postgresql+psycopg2", 1)
    own = {
        **SETTINGS,
        "DATABASE__SQL_ALCHEMY_CONN": address,
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "20",
        "API__PORT": str(port),
        "API__BASE_URL": f"http://{HOST}:{port}",
        "API__SECRET_KEY": secrets.token_hex(),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "CORE__FERNET_KEY": "",
    }
    return {
        **os.environ,
        **extra,
        "AIRFLOW_HOME": str(folder / "home"),
        "PYTHONWARNINGS": "ignore",
        **{f"AIRFLOW__{name}": value for name, value in own.items()},
    }


@contextmanager
def served(folder: Path, extra: Mapping[str, str]) -> Iterator[Airflow]:
    """Run all parts on a fresh database."""
    program = Path(sys.executable).with_name("airflow")
    with ExitStack() as stack:
        database = stack.enter_context(postgres(folder))
        (port,) = free_ports(1)
        env = environment(folder, database, port, extra)
        subprocess.run([program, "db", "migrate"], env=env, check=True, capture_output=True)
        connection = psycopg2.connect(database.url())
        stack.callback(connection.close)
        connection.autocommit = True
        parts = {
            name: Server([program, name, *options], folder / f"{name}.log", env=env)
            for name, options in PARTS.items()
        }
        for server in parts.values():
            stack.callback(server.kill)  # told to end, each would take its time
        airflow = Airflow(database, parts, port, connection)
        airflow.start_parts()
        yield airflow
