"""The FastAPI example: its routes in process, and its promise with a real server that is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi_shop.problems import STATUSES, status_of
from fastapi_shop.warehouse import DATABASE, Warehouse
from fastapi_shop.web import create

from tenuto import errors
from tenuto.errors import TenutoError
from tests.docs.pages import ROOT

SMALL = {"id": "4711", "article": "teapot", "quantity": 3, "cents": 5_000}
LARGE = {**SMALL, "id": "4712", "cents": 100_000}
READY_SECONDS = 60


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the shop a warehouse of its own; return its file."""
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv(DATABASE, str(path))
    return path


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Open the application as a server does, and return a client of it."""
    api = create(folder / "orders.db")
    async with api.router.lifespan_context(api) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await api({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


async def settled(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    """Return an order's state once it is over or waits for somebody."""
    answer = await client.get(f"/orders/{id}", params={"wait_seconds": 10})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def left() -> int:
    """Return how many teapots are on the shelf."""
    with Warehouse.open() as warehouse:
        return warehouse.left("teapot")


@pytest.mark.usefixtures("shelf")
async def test_an_order_is_carried_out_once(tmp_path: Path) -> None:
    """The same order again is the same run; another order of that id is a conflict."""
    async with shop(tmp_path) as client:
        first = await client.post("/orders", json=SMALL)
        done = await settled(client, "4711")
        again = await client.post("/orders", json=SMALL)
        other = await client.post("/orders", json={**SMALL, "quantity": 4})

    assert (202, {"id": "4711"}, "/orders/4711") == (
        first.status_code,
        first.json(),
        first.headers["location"],
    )
    assert {
        "id": "4711",
        "status": "completed",
        "progress": "sent",
        "receipt": {"order": "4711", "parcel": "parcel-1", "approved_by": None},
        "error": None,
    } == done
    assert (202, 409) == (again.status_code, other.status_code)
    assert "application/problem+json" == other.headers["content-type"]
    assert ("urn:tenuto:conflict", "Conflict", 409) == tuple(
        other.json()[key] for key in ("type", "title", "status")
    )
    assert 7 == left()


@pytest.mark.usefixtures("shelf")
async def test_a_large_order_waits_for_approval(tmp_path: Path) -> None:
    """What is said to it goes on as typed data; afterwards there is nobody to say it to."""
    async with shop(tmp_path) as client:
        await client.post("/orders", json=LARGE)
        waiting = await settled(client, "4712")
        said = await client.post("/orders/4712/approval", json={"approved": True, "by": "Ada"})
        done = await settled(client, "4712")
        late = await client.post("/orders/4712/approval", json={"approved": True, "by": "Ada"})

    assert ("waiting", "waiting for approval") == (waiting["status"], waiting["progress"])
    assert (202, "Ada") == (said.status_code, done["receipt"]["approved_by"])
    assert (409, "the run 4712 is over: completed") == (late.status_code, late.json()["detail"])


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("how", ["refused", "called off"])
async def test_what_was_done_is_taken_back(how: str, tmp_path: Path) -> None:
    """An order that is refused or called off puts its articles back."""
    async with shop(tmp_path) as client:
        await client.post("/orders", json=LARGE)
        await settled(client, "4712")
        taken = left()
        if how == "refused":
            await client.post("/orders/4712/approval", json={"approved": False, "by": "Ada"})
        else:
            await client.delete("/orders/4712")
        done = await settled(client, "4712")

    expected = ("faulted", "Ada has not approved it") if how == "refused" else ("cancelled", None)
    assert expected == (done["status"], done["error"])
    assert (7, 10) == (taken, left())


@pytest.mark.usefixtures("shelf")
async def test_an_order_that_cannot_be_filled_fails(tmp_path: Path) -> None:
    """With the step's own words, and without trying again."""
    async with shop(tmp_path) as client:
        await client.post("/orders", json={**SMALL, "quantity": 11})
        done = await settled(client, "4711")

    assert ("faulted", "there are not 11 of teapot") == (done["status"], done["error"])


@pytest.mark.usefixtures("shelf")
async def test_unknown_orders_and_wrong_data_are_refused(tmp_path: Path) -> None:
    """Each route, each with its own status; what does not fit never becomes a run."""
    async with shop(tmp_path) as client:
        answers = [
            await client.get("/orders/4711"),
            await client.get("/orders/4711", params={"wait_seconds": 1}),
            await client.post("/orders/4711/approval", json={"approved": True, "by": "Ada"}),
            await client.delete("/orders/4711"),
            await client.post("/orders", json={**SMALL, "id": "a/b"}),
            await client.post("/orders", json={**SMALL, "quantity": 0}),
        ]

    assert [404, 404, 404, 404, 422, 422] == [answer.status_code for answer in answers]
    assert "there is no run '4711'" == answers[0].json()["detail"]


def test_every_error_has_a_status() -> None:
    """Mistakes of the caller are 4xx, everything else 5xx; a class without an entry follows its parent."""
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TenutoError)
    ]
    given = {kind: int(status_of(kind.__new__(kind))) for kind in kinds}
    mistakes = {
        kind for kind in kinds if issubclass(kind, errors.Invalid | errors.NotFound | errors.Conflict)
    }

    assert STATUSES.keys() <= given.keys()
    assert mistakes == {kind for kind, status in given.items() if status < 500}


# ── a real server ────────────────────────────────────────────────────────────────────────


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Start the shop as the page says, on a socket of its own; yield it and a client once it answers."""
    socket = folder / "shop.sock"
    command = [sys.executable, "-W", "error", "-m", "uvicorn", "fastapi_shop.web:create", "--factory"]
    environment = {**os.environ, "SHOP_DATABASE": "orders.db", DATABASE: "warehouse.db"}
    server = subprocess.Popen(
        [*command, "--app-dir", str(ROOT / "examples"), "--uds", str(socket)],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            if "Uvicorn running on" in line:
                break
        assert "Uvicorn running on" in lines[-1], "".join(lines)
        transport = httpx.HTTPTransport(uds=str(socket))
        with httpx.Client(transport=transport, base_url="http://shop", timeout=READY_SECONDS) as client:
            yield server, client
    finally:
        server.kill()
        server.wait()
        assert server.stderr is not None
        server.stderr.close()


@pytest.mark.slow
def test_open_orders_outlive_the_server(tmp_path: Path) -> None:
    """Killed right after it has taken two orders, the next server carries both out, once."""
    with serving(tmp_path) as (server, client):
        for order in (SMALL, LARGE):
            assert 202 == client.post("/orders", json=order).status_code
        server.send_signal(signal.SIGKILL)
        server.wait()
    with serving(tmp_path) as (server, client):
        small = client.get("/orders/4711", params={"wait_seconds": 10}).json()
        client.get("/orders/4712", params={"wait_seconds": 10})
        client.post("/orders/4712/approval", json={"approved": True, "by": "Ada"})
        large = client.get("/orders/4712", params={"wait_seconds": 10}).json()
        server.send_signal(signal.SIGTERM)
        ended = server.wait(READY_SECONDS)
    with sqlite3.connect(tmp_path / "warehouse.db") as shelf:
        rest = shelf.execute("SELECT quantity FROM shelf").fetchall()
        parcels = shelf.execute('SELECT "order" FROM parcels ORDER BY "order"').fetchall()
    shelf.close()

    assert ("completed", "completed") == (small["status"], large["status"]), json.dumps([small, large])
    assert "Ada" == large["receipt"]["approved_by"]
    assert ([(4,)], [("4711",), ("4712",)]) == (rest, parcels)
    assert ended in {0, -signal.SIGTERM}  # which of them depends on uvicorn's version


@pytest.mark.slow
def test_a_second_server_on_the_same_orders_does_not_start(tmp_path: Path) -> None:
    """It says who has them, instead of carrying orders out twice."""
    with serving(tmp_path) as (server, _):
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "fastapi_shop.web:create",
            "--factory",
            "--uds",
            "other.sock",
        ]
        second = subprocess.run(
            [*command, "--app-dir", str(ROOT / "examples")],
            cwd=tmp_path,
            env={**os.environ, "SHOP_DATABASE": "orders.db"},
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )

    assert 0 != second.returncode
    assert f"orders.db is in use by process {server.pid} (an App)" in second.stderr
