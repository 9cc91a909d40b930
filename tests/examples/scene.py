"""The onboarding example on a stage: the systems it works on, and what they look like afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from onboarding.company import DOCUMENT, HERE, SYSTEMS, Company

TENUTO = str(Path(sys.executable).with_name("tenuto"))
STEP_SECONDS = 60

LOGS = {system.module: system.log for system in SYSTEMS if system.module != "inventory"}


def laptops_at(url: str) -> dict[str, str | None]:
    """Return who has each laptop."""

    async def ask() -> dict[str, str | None]:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch("SELECT serial, assigned_to FROM laptops")
        finally:
            await connection.close()
        return {row["serial"]: row["assigned_to"] for row in rows}

    return asyncio.run(ask())


@dataclass
class Scene:
    """Everything that one onboarding needs; `resolve` sends its host names to these systems."""

    folder: Path
    company: Company
    resolve: tuple[str, ...]
    secrets: Mapping[str, str]
    read_directory: Callable[[], Any]
    read_laptops: Callable[[], dict[str, str | None]]

    def state(self) -> dict[str, Any]:
        """Return what each system holds, as plain values that can be compared."""
        services = (
            json.loads(path.read_text())
            if (path := self.company.folder / "it_services.json").exists()
            else {}
        )
        return {
            "directory": self.read_directory(),
            "laptops": self.read_laptops(),
            "services": {kind: services.get(kind, []) for kind in ("mailboxes", "licences", "cloud-access")},
            "mails": len(list((self.company.folder / "outbox").glob("*.eml"))),
        }

    def command(self, verb: str, *arguments: str) -> list[str]:
        """Return a `tenuto` command on this scene's database."""
        return [TENUTO, verb, *arguments, "--db", str(self.folder / "runs.db")]

    def start(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a `tenuto` command that works on the systems."""
        file = self.folder / "secrets.json"
        file.write_text(json.dumps(dict(self.secrets)))
        return subprocess.Popen(
            self.command(verb, *arguments, "--secrets", str(file)),
            env={**os.environ, "TENUTO_RESOLVE": ",".join(self.resolve)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def onboard(self, record: str) -> subprocess.Popen[str]:
        """Start the workflow for one of the example's records; the run's id is `it`."""
        return self.start(
            "run", str(DOCUMENT), "--id", "it", "--input", f"@{HERE / record}", "--output", "json"
        )

    def show(self) -> dict[str, Any]:
        """Return what the journal says about the run."""
        done = subprocess.run(self.command("show", "it", "--output", "json"), capture_output=True, check=True)
        view: dict[str, Any] = json.loads(done.stdout)
        return view


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command's end; return its status, output and errors."""
    out, errors = child.communicate(timeout=STEP_SECONDS)
    return child.returncode, out, errors


@dataclass
class Watch:
    """Reads the servers' request logs while they are written: each log is a named pipe."""

    folder: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._grown = threading.Condition()
        self._pipes = []
        for log in LOGS.values():
            os.mkfifo(self.folder / log)
            self._pipes.append(os.open(self.folder / log, os.O_RDONLY | os.O_NONBLOCK))
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopper)
        self._thread.join()
        for pipe in (self._stop, *self._pipes):
            os.close(pipe)

    def wait_for(self, count: int) -> bool:
        """Wait until there are `count` lines; false if that takes too long."""
        with self._grown:
            return self._grown.wait_for(lambda: len(self.lines) >= count, STEP_SECONDS)

    def _read(self) -> None:
        rest = dict.fromkeys(self._pipes, b"")
        while True:
            ready, _, _ = select.select([self._stop, *rest], [], [])
            if self._stop in ready:
                return
            for pipe in ready:
                *whole, rest[pipe] = (rest[pipe] + os.read(pipe, 65536)).split(b"\n")
                with self._grown:
                    self.lines.extend(json.loads(line) for line in whole)
                    self._grown.notify_all()


def attempts(lines: list[dict[str, Any]]) -> Counter[str]:
    """Count, for each task of the workflow, the requests that could have carried it out.

    An answer of 503 is none: the licence service did nothing then.
    """
    names = {
        ("add", ""): "createAccount",
        ("modify", ""): "joinGroup",
        ("POST", "/mailboxes"): "openMailbox",
        ("POST", "/licences"): "grantLicence",
        ("POST", "/cloud-access"): "grantCloudAccess",
        ("message", ""): "welcome",
    }
    found: Counter[str] = Counter()
    for line in lines:
        key = (line["operation"], line["target"] if line["operation"] == "POST" else "")
        if key in names and line["result"] != 503:
            found[names[key]] += 1
    return found
