"""The shop's HTTP interface; its lifespan opens the App that drives the orders.

    SHOP_DATABASE=orders.db uvicorn fastapi_shop.web:create --factory --app-dir examples

One process works on a database: run it with one worker. Whenever it ends, also by `kill -9`, the next one
goes on with the orders that are open.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel

from fastapi_shop.orders import Approval, Order, Receipt, approval, fulfil, progress
from fastapi_shop.problems import answer_problems
from tenuto import App, Handle
from tenuto.errors import NotFound

DATABASE: Final = "SHOP_DATABASE"
"""The environment variable that names the file which the runs are kept in."""

WAIT_SECONDS_MAX: Final = 30
"""How long an answer may be held back for an order that is not settled yet."""

routes = APIRouter()


def create(database: str | Path | None = None) -> FastAPI:
    """Return the application; its runs are in `database`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, App]]:
        file = database or os.environ.get(DATABASE, "orders.db")
        async with App(workflows=[fulfil], database=file) as app:
            yield {"workflows": app}

    api = FastAPI(title="Shop", lifespan=lifespan)
    api.include_router(routes)
    answer_problems(api)
    return api


def opened(request: Request) -> App:
    """Return the App that the lifespan has opened."""
    app: App = request.state.workflows
    return app


Workflows = Annotated[App, Depends(opened)]


class Accepted(BaseModel):
    """An order that is recorded: it will be carried out, whatever happens to this process."""

    id: str


class OrderState(BaseModel):
    """How far an order is."""

    id: str
    status: str
    progress: str | None = None
    receipt: Receipt | None = None
    error: str | None = None


@routes.post("/orders", status_code=HTTPStatus.ACCEPTED)
async def place(order: Order, workflows: Workflows, response: Response) -> Accepted:
    """Take an order. The same order again is the same run; another one of that id is a conflict."""
    handle = await workflows.start(fulfil, order, id=order.id)
    response.headers["Location"] = f"/orders/{handle.id}"
    return Accepted(id=handle.id)


@routes.get("/orders/{id}")
async def look(
    id: str,
    workflows: Workflows,
    wait_seconds: Annotated[float, Query(ge=0, le=WAIT_SECONDS_MAX)] = 0,
) -> OrderState:
    """Tell how far an order is; with `wait_seconds`, once it is over or waits for somebody."""
    handle = workflows.handle(id, fulfil)
    if wait_seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await workflows.settle(handle)
    row = await handle.row()
    state = OrderState(id=id, status=row.status, progress=await _progress(handle))
    if row.status == "completed":
        state.receipt = await handle.result()
    elif row.status == "faulted" and row.outcome is not None:
        state.error = row.outcome["error"].get("detail")
    return state


async def _progress(handle: Handle[Receipt]) -> str | None:
    try:
        return await handle.query(progress)
    except NotFound:
        return None


@routes.post("/orders/{id}/approval", status_code=HTTPStatus.ACCEPTED)
async def approve(id: str, said: Approval, workflows: Workflows) -> Accepted:
    """Approve of an order, or refuse it."""
    await workflows.handle(id, fulfil).signal(approval, said)
    return Accepted(id=id)


@routes.delete("/orders/{id}", status_code=HTTPStatus.ACCEPTED)
async def cancel(id: str, workflows: Workflows) -> Accepted:
    """Call an order off: what was done for it is taken back."""
    await workflows.handle(id, fulfil).cancel("called off by the customer")
    return Accepted(id=id)
