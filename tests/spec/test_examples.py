"""Every example of the standard runs, on the installed functions, and what comes of it is as the table says."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from tenuto.engine.ports import RunRow
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.network import SystemNetwork
from tests.servers.authority import Authority
from tests.servers.process import free_port
from tests.spec.cases.case import NOT_GIVEN, Asked, Cancelled, Case, Happens, Passes, Sleeps, Step, Waits
from tests.spec.cases.table import HOSTS, TABLE
from tests.spec.hosts import PETSTORE, Hosts, serving
from tests.spec.stage import Stage, stage

EXAMPLES = 68
CASES = [
    pytest.param(name, case, id=f"{name}: {way}")
    for name, ways in TABLE.items()
    for way, case in ways.items()
]


@pytest.fixture(scope="module")
def hosts(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The hosts that the examples name."""
    named: dict[str, Any] = {**PETSTORE, **{name: {} for name in HOSTS}}
    with serving(named, authority, tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """Everything that is installed."""
    return Catalog.discover()


# ── playing ──────────────────────────────────────────────────────────────────────────────


async def play(source: str, case: Case, hosts: Hosts, catalog: Catalog, folder: Path) -> None:
    """Play a document as the case says; fails the test where something else comes of it."""
    hosts.expect(case.replies)
    for name, text in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    async with AsyncExitStack() as open_:
        port = free_port()
        if case.needs == "greeter":
            port = await open_.enter_async_context(greeter())
        network = SystemNetwork(
            [*hosts.resolve, f"localhost:5011=127.0.0.1:{port}"], trust_file=hosts.trust_file
        )
        here = await open_.enter_async_context(stage(folder, catalog, network, dict(case.secrets)))
        await here.know(*case.known)
        if case.emitted is not None:
            await here.listen()
        run = await here.start(source, case.input)
        for step in case.steps:
            await take(step, here, run)
        row = await here.until(run, lambda row: row.status == case.status or row.ended is not None)
        check(row, case)
        check_asked(case, hosts)
        if case.emitted is not None:
            assert list(case.emitted) == await here.heard()
        if case.told is not None:
            assert list(case.told) == told(folder / "bin")


async def take(step: Step, here: Stage, run: str) -> None:
    """Let something happen to a run that waits."""
    row = await here.sleeping(run)
    match step:
        case Happens():
            await here.emit({"source": step.source, "type": step.type, "data": step.data, **step.attributes})
        case Sleeps():
            assert row.wake_at is not None
            assert step.seconds == pytest.approx(row.wake_at - here.clock.time)
            await here.pass_time(step.seconds)
        case Passes():
            await here.pass_time(step.seconds)
        case Cancelled():
            await here.cancel(run)
        case Waits():
            pass


def check(row: RunRow, case: Case) -> None:
    """Compare how a run ended with what the case says."""
    outcome = row.outcome or {}

    assert (case.status, case.fault) == (row.status, outcome.get("error"))
    if case.output is not NOT_GIVEN:
        assert case.output == outcome.get("output")


def check_asked(case: Case, hosts: Hosts) -> None:
    """Compare what the hosts were asked with what the case says."""
    if case.asked is None:
        return
    found = list(hosts.requests)
    if case.in_any_order:
        found.sort(key=lambda request: request.url)
    seen = [
        Asked(
            request.method,
            request.url,
            NOT_GIVEN if wanted.body is NOT_GIVEN else request.body,
            {name: request.headers.get(name) for name in wanted.headers},
        )
        for request, wanted in zip(found, case.asked, strict=False)
    ]

    assert [(one.method, one.url) for one in case.asked] == [(one.method, one.url) for one in found]
    assert list(case.asked) == seen


@asynccontextmanager
async def greeter() -> AsyncIterator[int]:
    """Serve `GreeterApi.Greeter` over gRPC on a port of loopback; messages have one text, field 1."""

    async def say_hello(request: bytes, context: Any) -> bytes:
        assert request[:1] == b"\x0a"
        assert request[1] == len(request) - 2
        text = b"Hello " + request[2:]
        return b"\x0a" + bytes([len(text)]) + text

    methods: dict[str, Any] = {"SayHello": grpc.unary_unary_rpc_method_handler(say_hello)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("GreeterApi.Greeter", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def install(programs: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put programs on PATH, before the system's own; with none, PATH leads nowhere."""
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), *(["/usr/bin", "/bin"] if programs else [])]))


def told(folder: Path) -> list[Any]:
    """Return what the programs were called with."""
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


# ── tests ────────────────────────────────────────────────────────────────────────────────


def test_no_example_is_forgotten(standard: Path) -> None:
    """The table has every example, and nothing else."""
    files = {file.stem for file in (standard / "examples").glob("*.yaml")}

    assert EXAMPLES == len(files)
    assert files == set(TABLE)
    assert all(TABLE.values())


@pytest.mark.parametrize(("name", "case"), CASES)
async def test_example(
    name: str,
    case: Case,
    standard: Path,
    hosts: Hosts,
    catalog: Catalog,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example ends as the table says, and asked for what the table says."""
    if case.needs == "node":
        request.getfixturevalue("node")
    if case.programs is not None:
        install(dict(case.programs), tmp_path / "bin", monkeypatch)
    source = (standard / "examples" / f"{name}.yaml").read_text()

    await play(source, case, hosts, catalog, tmp_path)


WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "output": ("set", "triggered", {"output": {"startEvent": None}}),
    "status": ("raise-inline", "raised", {"status": "completed", "fault": None}),
    "fault": ("raise-inline", "raised", {"fault": {"status": 500}}),
    "no such request": ("do-single", "found", {"asked": []}),
    "another request": ("do-single", "found", {"asked": [Asked("get", "petstore.swagger.io/v2/pet/2")]}),
    "another body": (
        "schedule-cron",
        "now",
        {"asked": [Asked("post", "example.com/api/v1/backup/start", {"full": True})]},
    ),
    "another header": (
        "authentication-bearer",
        "accepted",
        {"asked": [Asked("get", "petstore.swagger.io/v2/pet/1", headers={"authorization": "Bearer ab"})]},
    ),
    "another event": ("emit", "emitted", {"emitted": [{"type": "com.petstore.order.placed.v1"}]}),
    "a shorter sleep": ("wait-duration-inline", "30 seconds", {"steps": [Sleeps(29)]}),
    "a word for a program": ("run-container", "engine", {"told": [["run", "hello-world"]]}),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_expectation_is_noticed(
    what: str,
    standard: Path,
    hosts: Hosts,
    catalog: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of the things that a case names is really compared."""
    name, way, change = WRONG[what]
    case = replace(TABLE[name][way], **change)
    if case.programs is not None:
        install(dict(case.programs), tmp_path / "bin", monkeypatch)
    source = (standard / "examples" / f"{name}.yaml").read_text()

    with pytest.raises(AssertionError):
        await play(source, case, hosts, catalog, tmp_path)
