"""What happens to an order: the workflow, its steps, and what may be said to it while it is open."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from fastapi_shop.warehouse import Warehouse
from tenuto import Query, Retry, Signal, current_step, step, workflow

APPROVE_FROM_CENTS: Final = 100_000
"""Orders of this value and more wait for somebody's approval, for as long as it takes."""


class Order(BaseModel):
    """An order as the customer sends it; the customer's own `id` makes sending it twice harmless."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
    article: str
    quantity: Annotated[int, Field(gt=0)]
    cents: Annotated[int, Field(gt=0)]


class Approval(BaseModel):
    """What somebody says about an order that waits for it."""

    approved: bool
    by: str


class Receipt(BaseModel):
    """What the customer gets in the end."""

    order: str
    parcel: str
    approved_by: str | None = None


class Refused(Exception):
    """The order is not carried out; what was done for it is taken back."""


class SoldOut(Refused):
    """There is not enough of the article: trying again would not help."""


approval: Final = Signal("approval", Approval)
progress: Final = Query("progress", str)


@step
def release(order: Order) -> None:
    """Put the articles of an order back."""
    with Warehouse.open() as warehouse:
        warehouse.put_back(order.id)


@step(undo=release, retry=Retry(attempts=3, delay_seconds=0.1, never=(Refused,)))
def reserve(order: Order) -> int:
    """Take the articles of an order from the shelf; return how many are left."""
    with Warehouse.open() as warehouse:
        left = warehouse.take(order.id, order.article, order.quantity)
    if left is None:
        raise SoldOut(f"there are not {order.quantity} of {order.article}")
    return left


@step(retry=Retry(attempts=5, delay_seconds=0.1))
def dispatch(order: Order) -> str:
    """Hand the parcel over; the key lets the carrier recognise a repetition after a crash."""
    with Warehouse.open() as warehouse:
        return warehouse.send(order.id, current_step().idempotency_key)


@workflow
async def fulfil(order: Order) -> Receipt:
    """Carry out an order."""
    progress.set("reserving")
    await reserve(order)
    approved_by = None
    if order.cents >= APPROVE_FROM_CENTS:
        progress.set("waiting for approval")
        answer = await approval.receive()
        if not answer.approved:
            raise Refused(f"{answer.by} has not approved it")
        approved_by = answer.by
    progress.set("sending")
    parcel = await dispatch(order)
    progress.set("sent")
    return Receipt(order=order.id, parcel=parcel, approved_by=approved_by)
