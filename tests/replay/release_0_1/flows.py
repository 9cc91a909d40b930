"""Workflows of version 0.1: everything that code in Python could do then. Never changed, since runs of them are recorded."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from tenuto import (
    Query,
    Retry,
    Signal,
    continue_as_new,
    current_step,
    each,
    emit,
    gather,
    log,
    now,
    patched,
    race,
    random,
    run_document,
    secret,
    sleep,
    sleep_until,
    step,
    uuid,
    wait_for_event,
    workflow,
)

APPROVED = Signal("approved", bool)
STATE = Query("state", str)
NAMESPACE = "golden"


@step
async def refund(order: str, result: str | None) -> str:
    """Take a charge back."""
    return f"{order}: took {result} back"


@step(retry=Retry(attempts=3, delay_seconds=60.0, jitter=0.0), undo=refund)
async def charge(order: str) -> str:
    """Succeed at the second attempt."""
    if current_step().attempt == 1:
        raise ConnectionError("the bank does not answer")
    return f"payment for {order}"


@step(undo=refund)
async def reserve(order: str) -> str:
    """Succeed at once."""
    return f"place for {order}"


@step
async def ship(order: str) -> str:
    """Fail for orders that are too heavy."""
    if order.startswith("heavy"):
        raise ValueError(order, "is too heavy")
    return f"{order} is on its way"


@step
async def number(value: int) -> dict[str, Any]:
    """Answer data of every kind."""
    return {"value": value, "half": value / 2, "text": "ä" * value, "none": None, "list": [True, [value]]}


@step
async def large(bytes: int) -> str:
    """Answer much."""
    return "large " * (bytes // 6)


@step(retry=Retry(attempts=2, delay_seconds=1.0, jitter=0.0))
async def long_way() -> int:
    """Tell how far it is, fail, and go on from there."""
    context = current_step()
    if context.progress is None:
        context.heartbeat({"at": 7})
        raise RuntimeError("tired")
    return int(context.progress["at"])


@step(timeout_seconds=5.0)
async def hurried() -> None:
    """Have little time."""


@step
async def hidden(token: str) -> int:
    """Be given a secret."""
    return len(token)


@workflow(namespace=NAMESPACE)
async def part(n: int) -> int:
    """A run that others wait for."""
    await number(n)
    await sleep(10)
    return n


@workflow(namespace=NAMESPACE)
async def purchase(order: str) -> dict[str, Any]:
    """Most of what there is, in one run."""
    STATE.set("begun")
    log(f"order {order}")
    chosen = {"uuid": str(uuid()), "random": random(), "now": now().isoformat()}
    await charge(order)
    numbers = await gather(number(1), number(2), part(3))
    STATE.set("waiting for approval")
    approved = await APPROVED.receive(timeout=timedelta(days=1))
    late = await race(sleep(60), wait_for_event("never"))
    items = [item["value"] async for item in each(number, [4, 5, 6], at_once=2)]
    await sleep_until(now() + timedelta(minutes=5))
    heard = await wait_for_event("golden.news", where={"data.order": order}, timeout=3600)
    await emit("golden.done", {"order": order})
    tour = await run_document("leaf", {"n": 2}, namespace=NAMESPACE)
    length = await hidden(secret("token"))
    if patched("size"):
        await large(3000)
    shipped = await ship(order)
    STATE.set("done")
    return {
        **chosen,
        "numbers": len(numbers),
        "approved": approved,
        "late": late,
        "items": items,
        "heard": heard["data"],
        "tour": tour,
        "length": length,
        "shipped": shipped,
    }


@workflow(namespace=NAMESPACE)
async def refused(order: str) -> str:
    """Fail late, and take everything back."""
    await charge(order)
    await reserve(order)
    return await ship(order)


@workflow(namespace=NAMESPACE)
async def patient(order: str) -> str:
    """Wait for a signal, for ever; clean up when cancelled."""
    await reserve(order)
    try:
        while not await APPROVED.receive():
            log("not yet", level="warning")
    finally:
        await number(9)
    return order


@workflow(namespace=NAMESPACE)
async def rounds(left: int) -> str:
    """Begin anew until nothing is left."""
    await number(left)
    await sleep(30)
    if left:
        continue_as_new(left - 1)
    return "done"


@workflow(namespace=NAMESPACE)
async def travels() -> int:
    """A step that goes on where it failed."""
    return await long_way()


@workflow(namespace=NAMESPACE)
async def late() -> str:
    """A step whose time is over."""
    try:
        await hurried()
    except TimeoutError as error:
        return str(error)
    return "in time"


@workflow(namespace=NAMESPACE)
async def stumbles() -> float:
    """Do what a workflow must not do: the run is kept."""
    await number(1)
    return time.time()


WORKFLOWS = (part, purchase, refused, patient, rounds, travels, late, stumbles)
STEPS = (charge, refund, reserve, ship, number, large, long_way, hurried, hidden)
