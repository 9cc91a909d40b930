"""Records the golden set of a release; see `tests/replay/__init__.py`.

    python -m tests.replay.make                      what the code of now records, for `release_0_1`
    python -m tests.replay.make --schema-1 COMMIT    what an old commit's command line left behind, in its schema

Done once for each release, and never again for one that is out: what it recorded is what must still go on.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Final
from unittest import mock

from tenuto import __version__
from tenuto.engine.ports import RunRow
from tenuto.operations.recorded import recorded_history
from tenuto.storage import journal
from tenuto.testing import NEVER, Environment, Error
from tests.replay.release_0_1 import flows

HERE: Final = Path(__file__).parent / "release_0_1"
ROOT: Final = Path(__file__).parents[2]
INLINE_BYTES: Final = 2000
"""Longer entries go to the blobs: what is kept in git stays small."""

OLD_DOCUMENTS: Final = {
    "done": """
      - keep: { set: '${ {n: 2} }', export: { as: '${ . }' } }
      - each: { for: { each: x, in: '${ [range(3)] }' }, do: [{ one: { set: '${ {x: $x} }' } }] }
      - careful:
          try: [{ oops: { raise: { error: { type: https://golden.test/odd, status: 400, title: Odd } } } }]
          catch: { do: [{ instead: { set: { caught: true } } }] }
      - first: { fork: { compete: true, branches: [{ a: { set: { b: 1 } } }, { b: { wait: { days: 1 } } }] } }
      - hard: { set: '${ {text: ([limit(3; repeat("x"))] | join("") | test("xxx"))} }' }
    """,
    "faulted": """
      - oops: { raise: { error: { type: https://golden.test/odd, status: 400, title: Odd } } }
    """,
    "listens": """
      - hear: { listen: { to: { one: { with: { type: golden.news } } } } }
      - after: { set: { heard: true } }
    """,
    "waits": """
      - many: { for: { each: x, in: '${ [range(230)] }' }, do: [{ a: { set: '${ $x }' } }, { b: { wait: { milliseconds: 1 } } }] }
      - pause: { wait: { days: 30 } }
      - after: { set: { waited: true } }
    """,
}


# ── what the code of now records ─────────────────────────────────────────────────────────


async def record(database: Path) -> list[tuple[str, bytes]]:
    """Play runs of all kinds in virtual time; leave a database with open ones; return (name, history) of those that ended."""
    documents = [HERE / f"{name}.yaml" for name in ("leaf", "tour", "correlating", "failing", "patrol")]
    env = Environment(
        flows.WORKFLOWS,
        steps=flows.STEPS,
        documents=documents,
        secrets={"token": "golden-secret"},
        database=database,
        auto_advance=False,
        allow=["process.*"],
    )
    env.replace("http.request", [Error(503, transient=True), *[{"status": 200}] * 2])
    env.replace(flows.hurried, NEVER)
    async with env:
        await _ended(env)
        await _left_open(env)
        rows = [row for row in await env.runs() if row.ended is not None]
        desk = (await env._opened()).desk
        secrets = {"token": "golden-secret"}
        return [
            (_name(row), (await recorded_history(desk.journal, row, __version__, secrets=secrets)).encode())
            for row in rows
            if row.parent is None
        ]


def _name(row: RunRow) -> str:
    return row.id if row.origin is None else f"{row.origin}-again"


async def _ended(env: Environment) -> None:
    """Play runs to their ends."""
    purchase = await env.start(flows.purchase, "tea", id="purchase")
    refused = await env.start(flows.refused, "heavy-table", id="refused")
    for workflow, argument in ((flows.rounds, 2), (flows.travels, None), (flows.late, None)):
        given = () if argument is None else (argument,)
        await env.start(workflow, *given, id=workflow.name)
    await env.pass_time(timedelta(minutes=3))
    await purchase.suspend()
    await purchase.signal(flows.APPROVED, True)
    await purchase.resume()
    await env.pass_time(timedelta(minutes=10))
    await env.emit("golden.news", {"order": "other"})
    await env.emit("golden.news", {"order": "tea"})
    await env.pass_time(timedelta(minutes=1))
    cancelled = await env.start(flows.patient, "cancelled", id="cancelled")
    await env.rest()
    await cancelled.signal(flows.APPROVED, False)
    await env.rest()
    await cancelled.cancel("not wanted any more")
    tour = await env.start(HERE / "tour.yaml", {"n": 2}, id="tour")
    await env.pass_time(timedelta(seconds=1))
    for minutes in (0, 1):
        await tour.suspend()
        await env.pass_time(timedelta(minutes=minutes))
        await tour.resume()
    await env.pass_time(timedelta(minutes=5))
    await env.emit("golden.two", {"n": 1})
    await env.emit("golden.two", {"n": 2})
    correlating = await env.start(HERE / "correlating.yaml", {}, id="correlating")
    await env.rest()
    for type, order in (("golden.paid", "a"), ("golden.packed", "b"), ("golden.packed", "a")):
        await env.emit(type, {"order": order})
    failing = await env.start(HERE / "failing.yaml", {"order": "heavy"}, id="failing")
    await env.pass_time(timedelta(minutes=1))
    desk = (await env._opened()).desk
    again = await desk.runner.retry("failing", "second", replace=True, data={"order": "light"})
    await env.rest()
    for handle in (purchase, refused, cancelled, tour, correlating, failing, env.handle(again)):
        row = await handle.row()
        assert row.ended is not None, row


async def _left_open(env: Environment) -> None:
    """Leave runs in every state in which one may be found."""
    await env.start(HERE / "patrol.yaml", {}, id="open-patrol")
    await env.pass_time(timedelta(hours=110))
    await env.start(flows.purchase, "coffee", id="open-purchase")
    await env.start(flows.rounds, 3, id="open-rounds")
    await env.start(flows.patient, "waiting", id="open-patient")
    suspended = await env.start(flows.patient, "suspended", id="open-suspended")
    await env.start(flows.stumbles, id="open-stumbles")
    await env.start(HERE / "tour.yaml", {"n": 1}, id="open-tour")
    await env.start(HERE / "correlating.yaml", {}, id="open-correlating")
    paused = await env.start(HERE / "patrol.yaml", {}, id="open-paused")
    await env.rest()
    await suspended.suspend()
    await suspended.signal(flows.APPROVED, True)
    await paused.suspend()
    await env.emit("golden.paid", {"order": "z"})
    await env.pass_time(timedelta(seconds=70))


# ── what old code left behind ────────────────────────────────────────────────────────────


def record_schema_1(commit: str, folder: Path) -> None:
    """Let the command line of an old commit run documents; the last one is killed while it waits."""
    source = folder / "source"
    archive = subprocess.run(
        ["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(source, filter="data")
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "TENUTO_DB": str(folder / "t.db")}
    for name, body in OLD_DOCUMENTS.items():
        file = folder / f"{name}.yaml"
        head = f"document: {{ dsl: 1.0.3, namespace: golden, name: {name}, version: 1.0.0 }}\ndo:\n"
        file.write_text(head + body.strip("\n").rstrip())
        line = [sys.executable, "-m", "tenuto", "run", str(file), "--id", name]
        with subprocess.Popen(line, env=environment, cwd=folder, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            if name != "waits":
                words = process.stderr.read().decode()
                assert process.wait() in (0, 1, 3), words
                continue
            while b"pause" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGKILL)


def pack(archive: Path, files: Iterable[Path]) -> None:
    """Write files into an archive; nothing of this machine is in it but their content."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for file in files:
            info = tarfile.TarInfo(file.name)
            info.size = file.stat().st_size
            with file.open("rb") as content:
                tar.addfile(info, content)


def main() -> None:
    """Record, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schema-1", metavar="COMMIT")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "t.db"
        if options.schema_1:
            record_schema_1(options.schema_1, Path(folder))
            archive = HERE / "schema-1.tar.xz"
        else:
            archive = HERE / "open.tar.xz"
            (HERE / "histories").mkdir(exist_ok=True)
            with mock.patch.object(journal, "INLINE_BYTES_MAX", INLINE_BYTES):
                for name, history in asyncio.run(record(database)):
                    (HERE / "histories" / f"{name}.jsonl").write_bytes(history)
        pack(
            archive,
            [file for file in sorted(Path(folder).glob("t.db*")) if file.suffix in (".db", ".db-wal")],
        )
    print(archive, archive.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
