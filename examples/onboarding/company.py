"""The example's company: starts its systems on free ports, knows their state, stops them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from onboarding.servers.inventory import MISSING, programs

HERE: Final = Path(__file__).resolve().parent
DOCUMENT: Final = HERE / "onboarding.yaml"
SCHEMA: Final = HERE / "servers" / "inventory.sql"

READY_SECONDS: Final = 60
STOP_SECONDS: Final = 20


@dataclass(frozen=True, slots=True)
class System:
    """One of the company's systems: the names that the workflow uses, and what serves them.

    `names` are host and port pairs; `log` is the request log's file, in the company's folder;
    `secret` picks what the server must know from the workflow's secrets.
    """

    title: str
    module: str
    names: tuple[str, ...]
    log: str
    secret: Callable[[dict[str, Any]], str]


SYSTEMS: Final = (
    System(
        "directory (LDAP)",
        "directory",
        ("ldap.example.org:389",),
        "directory.log.jsonl",
        lambda secrets: secrets["directory"],
    ),
    System(
        "inventory (PostgreSQL)",
        "inventory",
        ("inventory.example.org:5432",),
        "inventory/requests.json",
        lambda secrets: secrets["inventory"],
    ),
    System(
        "IT services (HTTP)",
        "it_services",
        ("it.example.org:80", "login.example.org:80"),
        "it_services.log.jsonl",
        lambda secrets: secrets["services"]["client"]["secret"],
    ),
    System("mail (SMTP)", "mail", ("mail.example.org:25",), "mail.log.jsonl", lambda _: ""),
)


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Company:
    """The systems' folder: state, request logs and secrets, kept from one start to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets_file = folder / "secrets.json"
        self.resolve: tuple[str, ...] = ()

    def forget(self) -> None:
        """Make the company new: nobody has been onboarded yet."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def secrets(self) -> dict[str, Any]:
        """Return what the workflow knows as `$secrets`: made by chance once and kept in the folder."""
        if not self.secrets_file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            made: dict[str, Any] = {name: secrets.token_urlsafe(18) for name in ("directory", "inventory")}
            client = {"id": "onboarding", "secret": secrets.token_urlsafe(18)}
            made["services"] = {
                "authority": "http://login.example.org",
                "grant": "client_credentials",
                "client": client,
            }
            with os.fdopen(os.open(self.secrets_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                json.dump(made, file, indent=1)
        known: dict[str, Any] = json.loads(self.secrets_file.read_text(encoding="utf-8"))
        return known

    @contextmanager
    def open(self, latency_seconds: float, systems: tuple[System, ...] = SYSTEMS) -> Iterator[None]:
        """Have the systems running while the block runs; `resolve` then says where they are.

        Raises SystemExit, with what the server said, if one does not start.
        """
        if programs() is None:
            raise SystemExit(MISSING)
        known = self.secrets()
        with ExitStack() as stack:
            started = []
            for system in systems:
                port = free_port()
                child = stack.enter_context(self._child(system, port, system.secret(known), latency_seconds))
                started.append((system, port, child))
            for system, _, child in started:
                assert child.stdout
                if child.stdout.readline().strip() != b"ready":
                    child.wait(STOP_SECONDS)
                    said = self._output_of(system).read_text(errors="replace").strip().splitlines()[-3:]
                    raise SystemExit("\n  ".join([f"{system.title} did not start:", *said]))
            self.resolve = tuple(
                f"{name}=127.0.0.1:{port}" for system, port, _ in started for name in system.names
            )
            yield

    def _output_of(self, system: System) -> Path:
        return self.folder / f"{system.module}.out"

    @contextmanager
    def _child(
        self, system: System, port: int, secret: str, latency_seconds: float
    ) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", f"onboarding.servers.{system.module}", f"--port={port}"]
        command += [f"--folder={self.folder.resolve()}", f"--latency={latency_seconds}"]
        with self._output_of(system).open("ab") as errors:
            child = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(HERE.parent), "COMPANY_SECRET": secret},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # a Ctrl-C at the terminal is not for the servers
            )
        assert child.stdin
        try:
            yield child
        finally:
            child.stdin.close()
            child.wait(STOP_SECONDS)
            assert child.stdout
            child.stdout.close()
