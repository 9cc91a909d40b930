"""Restate through its Python SDK. `bench.measuring` says what is measured; run in the environment of `bench.environments`.

    python -m bench.systems.restate --work in-flight --size 500 --mode h2 --folder DIR [--seconds 60]

One server with its default configuration (telemetry off, free ports of the loopback), and one Python endpoint under Hypercorn with
the limits of its documented production configuration, over the bidirectional protocol. `h2` is one process, `h2-workers`
the same with two; more than that only take turns on two cores. (Uvicorn, its other documented server, speaks HTTP/1.1 only, in
which each step is a request of its own: a third as fast here.) Two limits are lifted as its documentation advises: as many
invocations run at once as are in flight (its default is 1,000), and for works of very many that wait, an invocation
gives up its place after a second without progress (a minute).

Workflows are started through the HTTP ingress, over one kept-alive connection for each in flight, opened before the clock. The
client speaks HTTP/1.1 by hand, because a full client would take processor time from what it measures; its own
processor time is counted, as that of every system's client.

What durability rests on is read from the server's own dump of its configuration and must be as listed in `SYNCING`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.fitting import (
    WARM_WAITING,
    Growth,
    Notes,
    batch,
    ends,
    fill,
    fill_wide,
    import_ms,
    installed_mb,
    one_by_one,
    play,
    shortened,
    until,
    warm_up,
)
from bench.measuring import PAYLOAD_RUNS, STEPS, WARM_STEPS, WARM_UP, Answer, lags, options, timed
from bench.servers import HOST, Server, free_ports
from bench.syncs import counted

MODES: Final = ("h2", "h2-workers")
SERVICE: Final = "bench.systems.restate_service:app"
SYNCING: Final[Mapping[tuple[str, ...], object]] = {
    ("bifrost", "default-provider"): "replicated",
    ("log-server", "rocksdb-disable-wal-fsync"): False,
    ("bifrost", "local", "rocksdb-disable-wal-fsync"): False,
    ("bifrost", "local", "rocksdb-disable-wal"): False,
}
"""The log, which is what acknowledges a step, must be the log server's, and its RocksDB must sync its write-ahead log."""

HYPERCORN: Final = """\
h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
"""
FAR_SECONDS: Final = 86_400.0
WAITING: Final = ("waiting", "signals")
FINISHING: Final = 6
"""Starting an invocation takes this part of the time that doing it takes, about."""

WOKEN: Final = 200
WOKEN_PER_SECOND: Final = 20
LEAD_SECONDS: Final = 5.0
SENDERS: Final = 100
SUSPENDED_SECONDS: Final = 5.0
"""After this long without progress, and some, all that wait have given up their places."""


class Caller:
    """One kept-alive connection to the ingress."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Caller:
        """Connect."""
        return cls(*await asyncio.open_connection(HOST, port, limit=1 << 24))

    async def post(self, path: str, body: Any) -> Any:
        """Send a JSON value; answer the one that comes back, if any."""
        data = json.dumps(body)
        self._writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n{data}".encode()
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0]) if "content-length:" in head else 0
        answer = await self._reader.readexactly(length)
        assert head.startswith("http/1.1 20"), head + answer.decode()
        return json.loads(answer) if answer else None

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@dataclass(slots=True)
class Restate:
    """Server and endpoint, and how they are talked to."""

    folder: Path
    mode: str
    settings: dict[str, str]
    ingress: int
    admin: int
    service: int
    server: Server
    loop: asyncio.Runner
    callers: list[Caller] = field(default_factory=list)
    endpoint: Server | None = None
    ready: float = 0.0
    """When the server knew of the endpoint, by `time.perf_counter`."""
    answered: float = 0.0
    """When a workflow was first answered."""
    notes: Notes = field(init=False)
    """What the handlers have noted."""

    def __post_init__(self) -> None:
        self.notes = Notes(self.folder / "notes")

    def start(self, hold: bool = False) -> None:
        """Start both; a fresh server is told of the endpoint."""
        notes = {"BENCH_NOTES": str(self.folder / "notes"), **({"BENCH_HOLD": "1"} if hold else {})}
        config = self.folder / "hypercorn.toml"
        workers = 2 if self.mode == "h2-workers" else 1
        config.write_text(f'bind = "{HOST}:{self.service}"\nworkers = {workers}\n{HYPERCORN}')
        command = [sys.executable, "-m", "hypercorn", "--config", config, SERVICE]
        self.endpoint = Server(command, self.folder / "endpoint.log", env={**os.environ, **notes})
        self.endpoint.start()
        self.server.start()

    def register(self) -> None:
        """Tell the server of the endpoint, and wait until a handler answers."""
        admin = f"http://{HOST}:{self.admin}"
        self._until_answered(f"{admin}/health")
        self._until_answered(f"{admin}/deployments", {"uri": f"http://{HOST}:{self.service}"})
        self.ready = time.perf_counter()
        self._until_answered(f"http://{HOST}:{self.ingress}/Steps/ten", 0)
        self.answered = time.perf_counter()

    def _until_answered(self, url: str, body: object = None) -> None:
        self.server.until(lambda: _asked(url, body) is not None)

    def kill(self) -> None:
        """Kill both at once, and forget the connections."""
        assert self.endpoint is not None
        self.server.kill()
        self.endpoint.kill()
        self.callers.clear()

    def close(self) -> None:
        """End both."""
        for caller in self.callers:
            caller.close()
        self.server.stop()
        if self.endpoint is not None:
            self.endpoint.stop()

    @property
    def roots(self) -> tuple[int, int]:
        """The processes that are Restate's."""
        assert self.endpoint is not None
        return self.server.pid, self.endpoint.pid

    def open_left(self) -> int:
        """Return how many invocations are not over."""
        query = {"query": "SELECT count(*) AS n FROM sys_invocation WHERE status <> 'completed'"}
        answer = _asked(f"http://{HOST}:{self.admin}/query", query)
        return json.loads(answer)["rows"][0]["n"] if answer else -1

    # ── starting invocations ──

    def call(self, handler: str, values: Iterable[Any]) -> list[Any]:
        """Invoke a handler with each value, all at once; answer the results."""
        return self.loop.run(self._call(handler, list(values)))

    async def connect(self, count: int) -> None:
        """Have so many connections at least."""
        while len(self.callers) < count:
            self.callers.append(await Caller.open(self.ingress))

    async def _call(self, handler: str, values: list[Any]) -> list[Any]:
        await self.connect(len(values))
        pairs = zip(self.callers, values, strict=False)
        return await asyncio.gather(*(caller.post(f"/Steps/{handler}", value) for caller, value in pairs))

    async def post_all(self, posts: Iterator[tuple[str, Any]], seconds: float) -> int:
        """Send posts over some connections until there are no more or the time is over; answer how many they were."""
        await self.connect(SENDERS)
        end = time.perf_counter() + seconds
        sent = 0

        async def sender(caller: Caller) -> None:
            nonlocal sent
            for path, body in posts:
                await caller.post(path, body)
                sent += 1
                if time.perf_counter() > end:
                    return

        await asyncio.gather(*map(sender, self.callers[:SENDERS]))
        return sent

    def send(self, handler: str, count: int, seconds: float, value: Callable[[int], Any]) -> int:
        """Start invocations without waiting for them, until they are so many or the time is over; answer their number."""
        posts = ((f"/Steps/{handler}/send", value(number)) for number in range(count))
        return self.loop.run(self.post_all(posts, seconds))

    def collect(self) -> None:
        """Have the endpoint collect garbage."""
        self.call("collect", [2])

    def together(self, runs: int) -> None:
        """Do so many workflows at once."""
        assert self.call("ten", range(runs)) == [number + STEPS for number in range(runs)]

    # ── what it is ──

    def durability(self) -> str:
        """Say what the server's configuration is where durability rests on it, and refuse what would not sync."""
        dump = subprocess.run(
            ["restate-server", "--dump-config"], env=self.settings, check=True, capture_output=True, text=True
        ).stdout
        configuration = tomllib.loads(dump)
        said = []
        for path, expected in SYNCING.items():
            value: Any = configuration
            for name in path:
                value = value[name]
            assert value == expected, f"{'.'.join(path)} is {value!r} and must be {expected!r}"
            said.append(f"{'.'.join(path)}={json.dumps(value)}")
        return " ".join(said)


def _asked(url: str, body: object) -> bytes | None:
    """Ask over HTTP; nothing where there is no good answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"content-type": "application/json", "accept": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with suppress(OSError), opener.open(urllib.request.Request(url, data, headers), timeout=30) as answer:
        return bytes(answer.read())
    return None


def settings(given: Namespace, fabric: int, ingress: int, admin: int) -> dict[str, str]:
    """Return the server's environment: the loopback, free ports, a folder, the limits; all else is its default."""
    wait = {"RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT": "1s"} if given.work in WAITING else {}
    return {
        **os.environ,
        "RESTATE_BASE_DIR": str(given.folder / "data"),
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"{HOST}:{fabric}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://{HOST}:{fabric}/",
        "RESTATE_INGRESS__BIND_ADDRESS": f"{HOST}:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"{HOST}:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": "10000",
        **wait,
    }


@contextmanager
def running(given: Namespace, answer: Answer, hold: bool = False) -> Iterator[Restate]:
    """Keep server and endpoint running on an empty folder; note the version and what durability rests on."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fabric, ingress, admin, service = free_ports(4)
    environment = settings(given, fabric, ingress, admin)
    program = shutil.which("restate-server")
    assert program, "no restate-server on the PATH"
    server = Server([program], given.folder / "server.log", env=environment)
    with ExitStack() as stack:
        loop = stack.enter_context(asyncio.Runner())
        there = Restate(given.folder, given.mode, environment, ingress, admin, service, server, loop)
        stack.callback(there.close)
        there.start(hold)
        there.register()
        answer.durability = there.durability()
        said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
        answer.version = f"server {said.split()[1]}, {_package('restate-sdk')}, {_package('hypercorn')}"
        yield there


def _package(name: str) -> str:
    return f"{name} {version(name)}"


def count_syncs(there: Restate, answer: Answer) -> None:
    """Add to what durability rests on how often one workflow alone has had the disk sync."""
    with counted(there.folder, there.roots) as syncs:
        there.together(1)
    answer.durability += f"; {syncs.said('one workflow alone', STEPS)}"


def latency(given: Namespace, answer: Answer) -> None:
    """One workflow at a time."""
    with running(given, answer) as there:
        one_by_one(lambda _: there.together(1), answer, given.size, given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many workflows at once."""
    with running(given, answer) as there:
        there.loop.run(there.connect(given.size))
        fill(answer, batch(there.together, given.size, given.seconds), given.size)
        count_syncs(there, answer)


def payload(given: Namespace, answer: Answer) -> None:
    """Workflows whose steps carry a text."""
    text = "x" * given.size

    def together(runs: int) -> None:
        assert there.call("texts", [text] * runs) == [text] * runs

    with running(given, answer) as there:
        there.loop.run(there.connect(PAYLOAD_RUNS))
        fill(answer, batch(together, PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """One workflow with a step for each item."""

    def once(count: int) -> None:
        assert there.call("side_by_side", [count]) == [count * (count + 1) // 2]

    with running(given, answer) as there:
        fill_wide(answer, batch(once, given.size, given.seconds), given.size)


def long_run(given: Namespace, answer: Answer) -> None:
    """One workflow of as many steps as the time allows."""
    with running(given, answer) as there:
        pace = warm_up(lambda steps: there.call("long", [steps]), WARM_STEPS, given.seconds)
        size = max(10, min(given.size, int(given.seconds / pace)))
        before = len(there.notes.of("step"))
        with timed() as clock:
            there.call("long", [size])
        answer.figures = ends([float(when) for when in there.notes.of("step")[before:]])
    answer.window = clock.window
    shortened(answer, given.size, size)


def waiting(given: Namespace, answer: Answer) -> None:
    """Workflows that wait for a time far away; some more, for a time soon."""
    with running(given, answer) as there:
        warm_up(there.together, WARM_WAITING, given.seconds)
        growth = Growth(given.folder, collect=there.collect)
        far = time.time() + FAR_SECONDS
        with timed() as clock:
            size = there.send("sleeper", given.size, given.seconds, lambda _: far)
        time.sleep(SUSPENDED_SECONDS)
        quiet = growth.figures(size)
        begin = time.time() + LEAD_SECONDS
        there.send("sleeper", WOKEN, LEAD_SECONDS, lambda number: begin + number / WOKEN_PER_SECOND)
        there.loop.run(until(lambda: len(there.notes.of("over")) >= WOKEN))
        answer.figures = {**quiet, **lags([float(lag) for lag in there.notes.of("lag")])}
    answer.window = clock.window
    shortened(answer, given.size, size)


def signals(given: Namespace, answer: Answer) -> None:
    """Workflows that wait for an awakeable; all are then resolved at once."""

    def awaited(runs: int) -> list[str]:
        """Start so many, as far as time allows; answer what they wait for once all do."""
        known = set(there.notes.of("awaits"))
        sent = there.send("receiver", runs, given.seconds, lambda number: number)
        there.loop.run(until(lambda: len(set(there.notes.of("awaits")) - known) >= sent))
        return sorted(set(there.notes.of("awaits")) - known)

    def resolve(names: list[str]) -> None:
        over, now = len(there.notes.of("over")), time.time()
        posts = ((f"/restate/awakeables/{name}/resolve", now) for name in names)
        there.loop.run(there.post_all(posts, FAR_SECONDS))
        there.loop.run(until(lambda: len(there.notes.of("over")) >= over + len(names)))

    with running(given, answer) as there:
        warm_up(lambda runs: resolve(awaited(runs)), given.size // WARM_UP, given.seconds)
        names = awaited(given.size)
        time.sleep(SUSPENDED_SECONDS)
        with timed() as clock:
            resolve(names)
    answer.window = clock.window
    answer.figures = {"signals_per_second": len(names) / clock.seconds, "seconds": clock.seconds}
    shortened(answer, given.size, len(names))


def restart(given: Namespace, answer: Answer) -> None:
    """Kill server and endpoint with open workflows; started again, they end them."""
    with running(given, answer, hold=True) as there:
        size = there.send("held", given.size, given.seconds / FINISHING, lambda number: number)
        there.kill()
        with timed() as clock:
            began = time.time()
            there.start()
            there.loop.run(until(lambda: len(there.notes.of("over")) >= size))
            there.loop.run(until(lambda: there.open_left() == 0))
            over = time.time()
        first = float(there.notes.of("step")[0])
    answer.window = clock.window
    answer.figures = {"first_progress_seconds": first - began, "all_over_seconds": over - began}
    shortened(answer, given.size, size)


def footprint(given: Namespace, answer: Answer) -> None:
    """Nothing yet; then one workflow, as when the server has been told of the endpoint."""
    began = time.perf_counter()
    with timed() as clock, running(given, answer) as there:
        pass
    answer.window = clock.window
    answer.figures = {
        "import_ms": import_ms("from restate import Context, Service, app"),
        "start_ms": (there.ready - began) * 1e3,
        "first_result_ms": (there.answered - began) * 1e3,
        "installed_mb": installed_mb(),
    }


WORKS: Final = {
    "latency": latency,
    "in-flight": in_flight,
    "fan-out": fan_out,
    "waiting": waiting,
    "long-run": long_run,
    "restart": restart,
    "signals": signals,
    "payload": payload,
    "footprint": footprint,
}

if __name__ == "__main__":
    play("restate", "", WORKS, options(__doc__, MODES, tuple(WORKS)))
