"""How Temporal's server is set up and started, on PostgreSQL or on a SQLite file; `bench.systems.temporal` says why so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from bench.postgres import USER, Postgres, postgres
from bench.servers import HOST, READY_SECONDS_MAX, Server, listens

NAMESPACE: Final = "default"
DATABASES: Final = {"temporal": "postgresql/v12/temporal", "temporal_visibility": "postgresql/v12/visibility"}
PORTS: Final = (
    *("FRONTEND_GRPC_PORT", "FRONTEND_MEMBERSHIP_PORT", "FRONTEND_HTTP_PORT"),
    *("MATCHING_GRPC_PORT", "MATCHING_MEMBERSHIP_PORT"),
    *("HISTORY_GRPC_PORT", "HISTORY_MEMBERSHIP_PORT"),
    *("WORKER_GRPC_PORT", "WORKER_MEMBERSHIP_PORT"),
)
LOW_PORTS: Final = range(15_000, 32_000)
CONNECTIONS: Final = 50
UNLIMITED: Final = 1_000_000
DYNAMIC: Final[Mapping[str, object]] = {
    "frontend.rps": UNLIMITED,
    "frontend.namespaceRPS": UNLIMITED,
    "frontend.namespaceRPS.visibility": UNLIMITED,
    "frontend.namespaceCount": UNLIMITED,
    "frontend.persistenceMaxQPS": UNLIMITED,
    "history.rps": UNLIMITED,
    "history.persistenceMaxQPS": UNLIMITED,
    "matching.rps": UNLIMITED,
    "matching.persistenceMaxQPS": UNLIMITED,
    "system.visibilityPersistenceMaxWriteQPS": UNLIMITED,
}
"""Its limits of requests protect many tenants from each other; here they would only hold it back."""


@dataclass(frozen=True, slots=True)
class Temporal:
    """The server and its database. The server can be killed and started again; it is ready when a client can connect."""

    server: Server
    port: int
    database: Postgres | None

    @property
    def roots(self) -> list[int]:
        """The processes that keep the state; others descend from them."""
        return [self.server.pid, *([self.database.server.pid] if self.database else [])]

    async def connected(self) -> Client:
        """Return a client, once the server takes workflows."""
        self.server.until(lambda: listens(self.port))
        end = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                client = await Client.connect(f"{HOST}:{self.port}", namespace=NAMESPACE)
                await register(client)
                await client.count_workflows("WorkflowId = 'none'")
                return client
            except (RuntimeError, RPCError):
                # The SDK says RuntimeError while the server accepts connections but does not answer yet.
                if time.monotonic() > end:
                    raise RuntimeError(f"Temporal is not ready: {self.server.output()[-3000:]}") from None
                await asyncio.sleep(0.02)


async def register(client: Client) -> None:
    """Register the namespace, unless it is there."""
    request = RegisterNamespaceRequest(
        namespace=NAMESPACE, workflow_execution_retention_period=Duration(seconds=86_400)
    )
    try:
        await client.workflow_service.register_namespace(request)
    except RPCError as error:
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            raise


def low_ports(count: int) -> list[int]:
    """Find ports of the loopback that nobody listens on, below 32768: its PostgreSQL schema has them as `smallint`."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for port in random.sample(LOW_PORTS, len(LOW_PORTS)):
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError(f"no {count} free ports in {LOW_PORTS}")


def settings(folder: Path, database: Postgres | None) -> dict[str, str]:
    """Return the environment from which the server's own template of a configuration is filled in."""
    dynamic = folder / "dynamic.yaml"
    dynamic.write_text(
        "".join(f"{name}:\n  - value: {json.dumps(value)}\n" for name, value in DYNAMIC.items())
    )
    common = {
        **os.environ,
        **dict(zip(PORTS, map(str, low_ports(len(PORTS))), strict=True)),
        "BIND_ON_IP": HOST,
        "TEMPORAL_BROADCAST_ADDRESS": HOST,
        "LOG_LEVEL": "error",
        "DYNAMIC_CONFIG_FILE_PATH": str(dynamic),
        "TEMPORAL_VERSION_CHECK_DISABLED": "1",
    }
    if database is None:
        files = {"DBNAME": "temporal.db", "VISIBILITY_DBNAME": "visibility.db"}
        return {**common, "DB": "sqlite", **{name: str(folder / file) for name, file in files.items()}}
    return {
        **common,
        "DB": "postgres12_pgx",
        "POSTGRES_SEEDS": HOST,
        "DB_PORT": str(database.port),
        "POSTGRES_USER": USER,
        "SQL_MAX_CONNS": str(CONNECTIONS),
        "SQL_MAX_IDLE_CONNS": str(CONNECTIONS),
    }


def set_up(database: Postgres) -> None:
    """Create the databases and their schemas with the server's own tool."""
    tool = Path(sys.executable).with_name("sql")
    for name, schema in DATABASES.items():
        place = ["--plugin", "postgres12", "--ep", HOST, "-p", str(database.port), "-u", USER, "--db", name]
        for verb in (["create"], ["setup-schema", "-v", "0.0"], ["update-schema", "--schema-name", schema]):
            subprocess.run([tool, *place, *verb], check=True, capture_output=True)


@contextmanager
def served(folder: Path, on_postgres: bool) -> Iterator[Temporal]:
    """Run the server, and PostgreSQL before it."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(folder)) if on_postgres else None
        if database:
            set_up(database)
        env = settings(folder, database)
        command = [Path(sys.executable).with_name("server"), "--allow-no-auth", "start"]
        server = stack.enter_context(Server(command, folder / "temporal.log", env=env))
        yield Temporal(server, int(env["FRONTEND_GRPC_PORT"]), database)


def version() -> str:
    """Return the version of the server."""
    command = [Path(sys.executable).with_name("server"), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
