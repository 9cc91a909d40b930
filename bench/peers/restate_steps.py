"""Durable steps per second of Restate through its Python SDK: one JSON line. Run by `bench/peers.py`.

    python restate_steps.py --folder DIR --server PATH [--runs 500] [--mode h2|h2-workers|h1]

Set up as its documentation says: one server with its default configuration (telemetry off, ports free ones of the
loopback), one Python endpoint under Hypercorn with the limits of its documented production configuration. `h2` is one
process and the bidirectional protocol, `h2-workers` the same with two processes (more than that only take
turns on two cores), `h1` is Uvicorn and the request/response protocol, in which each step is a request of its own.
All workflows are started through the HTTP ingress, over one kept-alive connection for each, opened before the clock.
The client speaks HTTP/1.1 by hand, because a full client would take processor time from what it measures.

What durability rests on is read from the server's own dump of its configuration and must be as listed in `SYNCING`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

STEPS = 10
READY_SECONDS_MAX = 90
STOP_SECONDS_MAX = 20
HOST = "127.0.0.1"
SYNCING: Mapping[tuple[str, ...], object] = {
    ("bifrost", "default-provider"): "replicated",
    ("log-server", "rocksdb-disable-wal-fsync"): False,
    ("bifrost", "local", "rocksdb-disable-wal-fsync"): False,
    ("bifrost", "local", "rocksdb-disable-wal"): False,
}
"""The log, which is what acknowledges a step, must be the log server's, and its RocksDB must sync its write-ahead log."""
HYPERCORN = """\
h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
"""


def free_ports(count: int) -> list[int]:
    """Find ports of the loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in found]


@contextlib.contextmanager
def process(command: list[str], environment: Mapping[str, str], folder: Path, name: str) -> Iterator[Path]:
    """Keep a program running with its output in a file; end it, and what it started, at the end."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield log
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def ask(url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Ask over HTTP, again until it answers; a refusal of the last second is raised."""
    data = None if body is None else json.dumps(body).encode()
    end = time.monotonic() + READY_SECONDS_MAX
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            request = urllib.request.Request(
                url, data, {"content-type": "application/json", **(headers or {})}
            )
            with opener.open(request, timeout=10) as answer:
                return bytes(answer.read())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def environment(folder: Path, ports: list[int]) -> dict[str, str]:
    """Return the server's environment: the loopback, free ports, a folder; all else is its default."""
    fabric, ingress, admin = (f"{HOST}:{port}" for port in ports)
    return {
        **os.environ,
        "RESTATE_BASE_DIR": str(folder / "data"),
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": fabric,
        "RESTATE_ADVERTISED_ADDRESS": f"http://{fabric}/",
        "RESTATE_INGRESS__BIND_ADDRESS": ingress,
        "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_DISABLE_TELEMETRY": "true",
    }


def durability(server: Path, settings: Mapping[str, str]) -> str:
    """Say what the server's configuration is where durability rests on it, and refuse what would not sync."""
    dump = subprocess.run(
        [server, "--dump-config"], env=settings, check=True, capture_output=True, text=True
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


class Caller:
    """One kept-alive connection to the ingress."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Caller:
        """Connect."""
        return cls(*await asyncio.open_connection(HOST, port))

    async def ten(self, number: int) -> None:
        """Run one workflow and check its answer."""
        body = str(number)
        self._writer.write(
            f"POST /Steps/ten HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        answer = await self._reader.readexactly(length)
        assert head.startswith("http/1.1 200"), head + answer.decode()
        assert json.loads(answer) == number + STEPS, answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def drive(port: int, runs: int) -> tuple[float, list[float]]:
    """Warm up, time `runs` workflows at once from the first start to the last result; answer steps/s and when."""
    callers = [await Caller.open(port) for _ in range(runs)]
    await asyncio.gather(*(caller.ten(0) for caller in callers[: max(1, runs // 10)]))
    began = time.time()
    started = time.perf_counter()
    await asyncio.gather(*(caller.ten(number) for number, caller in enumerate(callers)))
    seconds = time.perf_counter() - started
    for caller in callers:
        caller.close()
    return runs * STEPS / seconds, [began, began + seconds]


def endpoint(mode: str, port: int, folder: Path) -> list[str]:
    """Return the command that serves the Python endpoint."""
    if mode == "h1":
        options = ["--host", HOST, "--port", str(port), "--no-access-log", "--log-level", "warning"]
        return [sys.executable, "-m", "uvicorn", *options, "restate_service:app"]
    workers = 2 if mode == "h2-workers" else 1
    path = folder / "hypercorn.toml"
    path.write_text(f'bind = "{HOST}:{port}"\nworkers = {workers}\n{HYPERCORN}')
    return [sys.executable, "-m", "hypercorn", "--config", str(path), "restate_service:app"]


def measure(folder: Path, server: Path, runs: int, mode: str) -> dict[str, Any]:
    """Start endpoint and server, register the one with the other, and measure."""
    *ports, service = free_ports(4)
    _, ingress, admin = ports
    settings = environment(folder, ports)
    serving = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with (
        process(endpoint(mode, service, folder), serving, folder, "endpoint"),
        process([str(server)], settings, folder, "server") as log,
    ):
        try:
            ask(f"http://{HOST}:{admin}/health")
            deployment = {"uri": f"http://{HOST}:{service}", "use_http_11": mode == "h1"}
            ask(f"http://{HOST}:{admin}/deployments", deployment)
            ask(f"http://{HOST}:{ingress}/Steps/ten", 0)
            rate, window = asyncio.run(drive(ingress, runs))
        except BaseException:
            print(log.read_text()[-4000:], (folder / "endpoint.log").read_text()[-4000:], file=sys.stderr)
            raise
    number = subprocess.run([server, "--version"], check=True, capture_output=True, text=True).stdout.split()[
        1
    ]
    served = "uvicorn" if mode == "h1" else "hypercorn"
    return {
        "system": "restate",
        "mode": mode,
        "version": f"server {number}, restate-sdk {version('restate-sdk')}, {served} {version(served)}",
        "durability": durability(server, settings),
        "steps_per_second": [rate],
        "window": window,
    }


def main() -> None:
    """Read the options, measure, print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--mode", choices=("h2", "h2-workers", "h1"), default="h2")
    options = parser.parse_args()
    print(json.dumps(measure(options.folder.resolve(), options.server.resolve(), options.runs, options.mode)))


if __name__ == "__main__":
    main()
