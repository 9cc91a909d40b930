"""What the house works on: workflows that use everything that a run can do, and the steps that they call.

Every step tells the ledger under a value that is its own in its run. `expected` knows a run's result beforehand.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto import (
    Query,
    Retry,
    Signal,
    StepContext,
    continue_as_new,
    current_step,
    each,
    emit,
    gather,
    log,
    now,
    race,
    random,
    run_document,
    secret,
    sleep,
    step,
    uuid,
    wait_for_event,
    workflow,
)
from tenuto.governance.secrets import MASK
from tests.reliability.house.ledger import output_of

ADDRESS: Final = "TENUTO_HOUSE_LEDGER"
"""The variable of the environment that says where the ledger is; child processes have it too."""

LIFE: Final = "TENUTO_HOUSE_LIFE"
"""The variable that says which life of the house this is."""

CANARY: Final = "canary-6f2d1c"
"""A secret value, to be found nowhere but in the step that is given it."""

LARGE_BYTES: Final = 4 * 1024 * 1024 + 1000
"""Of a result that is stored beside the journal."""

DOCUMENTS: Final = sorted((Path(__file__).parent / "documents").glob("*.yaml"))

SOON: Final = Retry(attempts=12, delay_seconds=0.005, backoff="constant", jitter=0.0)


# ── steps ────────────────────────────────────────────────────────────────────────────────


def _line(value: Any, context: StepContext) -> bytes:
    call = {
        "run": context.run,
        "task": context.task,
        "key": context.idempotency_key,
        "attempt": context.attempt,
        "life": int(os.environ[LIFE]),
        "value": value,
    }
    return msgspec.json.encode(call) + b"\n"


def _output(line: bytes) -> int:
    if not line.endswith(b"\n"):
        raise ConnectionError("the answer was lost")
    answer = msgspec.json.decode(line)
    if "refused" in answer:
        raise RuntimeError(answer["refused"])
    output: int = answer["output"]
    return output


def tell(value: Any) -> int:
    """Have an effect: tell the ledger, and wait for its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"\0{os.environ[ADDRESS]}")
        connection.sendall(_line(value, current_step()))
        with connection.makefile("rb") as answer:
            return _output(answer.readline())


@step(retry=SOON)
def effect(value: str) -> int:
    """In a thread."""
    return tell(value)


@step(retry=SOON)
async def quick(value: str) -> int:
    """In the event loop, where it can be stopped."""
    reader, writer = await asyncio.open_unix_connection(f"\0{os.environ[ADDRESS]}")
    try:
        writer.write(_line(value, current_step()))
        return _output(await reader.readline())
    finally:
        writer.close()


@step(retry=SOON, pool="process")
def compute(value: str) -> int:
    """In a child process."""
    return tell(value)


@step(retry=SOON)
def take_back(value: str, result: int | None) -> int:
    """Undo `reserve`."""
    return tell(f"undo-{value}")


@step(retry=SOON, undo=take_back)
def reserve(value: str) -> int:
    """Something that can be taken back."""
    return tell(value)


@step(retry=Retry(attempts=2, delay_seconds=0.002, backoff="constant", jitter=0.0))
async def broken(value: str) -> int:
    """Always fails, and has no effect."""
    raise ValueError(value)


@step(retry=SOON)
def bulky(value: str) -> str:
    """A result that is stored beside the journal."""
    tell(value)
    return "x" * LARGE_BYTES


@step(retry=SOON)
def beating(value: str, count: int) -> int:
    """Tells how far it is, and goes on from there."""
    context = current_step()
    done = context.progress or 0
    for place in range(done, count):
        tell(f"{value}-{place}")
        context.heartbeat(place + 1)
    return count


@step(retry=SOON)
def confide(value: str, token: str) -> list[str]:
    """Uses a secret, and lets it slip."""
    tell(value)
    return [hashlib.sha256(token.encode()).hexdigest(), f"was {token}"]


# ── workflows ────────────────────────────────────────────────────────────────────────────

INBOX: Final = Signal("inbox", dict[str, Any])
PLACES: Final = Query("places", int)


@workflow(namespace="house")
async def chain(n: int) -> list[int]:
    """One step after the other."""
    return [await (effect if place % 2 else quick)(f"chain-{place}") for place in range(n)]


@workflow(namespace="house")
async def fan(n: int) -> list[int]:
    """Many at once; and a race."""
    one, two = await gather(quick("one"), effect("two"))
    found = [one, two, *await each(quick, [f"each-{place}" for place in range(n)], at_once=4)]
    first = await race(quick("first"), sleep(3600))
    assert first is not None
    return [*found, first]


@workflow(namespace="house")
async def timed(n: int) -> int:
    """Timers, and what is asked of the engine: time, chance, ids."""
    began = now()
    for place in range(n):
        await sleep(0.002 * place)
        await quick(f"{place}-{random():.9f}-{uuid()}")
        log(f"{place}")
    return int((now() - began).total_seconds() < 0)


@workflow(namespace="house")
async def inbox(n: int) -> list[int]:
    """Signals, until each place was heard of."""
    found: dict[int, int] = {}
    while len(found) < n:
        place = (await INBOX.receive())["place"]
        if place not in found:
            found[place] = await quick(f"inbox-{place}")
            PLACES.set(len(found))
    return [found[place] for place in range(n)]


@workflow(namespace="house")
async def fails(value: str) -> None:
    """A child that fails."""
    await broken(value)


@workflow(namespace="house")
async def parent(n: int) -> list[Any]:
    """Children in Python and in YAML, one of which fails."""
    found = await gather(chain(n), timed(1), run_document("leaf", {"n": n}, namespace="house"))
    try:
        await fails("child")
    except ValueError as error:
        return [*found[:2], str(error)]
    raise AssertionError("the child has to fail")


@workflow(namespace="house")
async def saga(n: int) -> None:
    """Fails in the end; all is taken back."""
    for place in range(n):
        await reserve(f"saga-{place}")
    raise ValueError("in vain")


@workflow(namespace="house")
async def patient(n: int) -> None:
    """Waits until it is cancelled; cleans up, and takes back."""
    await reserve("patient")
    try:
        await sleep(24 * 3600)
    finally:
        await quick("cleaned")


@workflow(namespace="house")
async def large(n: int) -> int:
    """A result that is stored beside the journal."""
    text = await bulky("bulky")
    await quick("after")
    return len(text)


@workflow(namespace="house")
async def progress(n: int) -> int:
    """A step that says how far it is."""
    return await beating("beat", n)


@workflow(namespace="house")
async def hearing(run: str) -> int:
    """Waits for an event that is meant for it."""
    event = await wait_for_event("test.house.told", where={"data.run": run})
    return await effect(f"heard-{event['data']['run']}")


@workflow(namespace="house")
async def telling(n: int) -> int:
    """Publishes events that others may hear."""
    for place in range(n):
        await emit("test.house.rumour", {"place": place})
        await quick(f"told-{place}")
    return n


@workflow(namespace="house")
async def rounds(n: int) -> int:
    """Begins anew, again and again."""
    await quick(f"round-{n}")
    if n > 0:
        continue_as_new(n - 1)
    return 0


@workflow(namespace="house")
async def computing(n: int) -> list[int]:
    """Steps in child processes."""
    return list(await gather(*[compute(f"compute-{place}") for place in range(n)]))


@workflow(namespace="house")
async def secretive(n: int) -> list[str]:
    """Hands a secret to a step."""
    return await confide("confide", secret("token"))


WORKFLOWS: Final = (
    chain,
    fan,
    timed,
    inbox,
    fails,
    parent,
    saga,
    patient,
    large,
    progress,
    hearing,
    telling,
    rounds,
    computing,
    secretive,
)
STEPS: Final = (effect, quick, broken)


def expected(kind: str, run: str, n: int) -> Any:
    """Return what a run answers in the end; None where that is not known beforehand, or it fails."""
    match kind:
        case "chain":
            return [output_of(run, f"chain-{place}") for place in range(n)]
        case "fan":
            told = ["one", "two", *(f"each-{place}" for place in range(n)), "first"]
            return [output_of(run, value) for value in told]
        case "inbox":
            return [output_of(run, f"inbox-{place}") for place in range(n)]
        case "hearing":
            return output_of(run, f"heard-{run}")
        case "computing":
            return [output_of(run, f"compute-{place}") for place in range(n)]
        case "everything":
            return output_of(run, "last")
        case "secretive":
            return [hashlib.sha256(CANARY.encode()).hexdigest(), f"was {MASK}"]
        case "large":
            return LARGE_BYTES
        case "progress" | "telling":
            return n
    return None


def ends_as(kind: str) -> str:
    """Return the status in which a run ends."""
    return {"saga": "faulted", "fails": "faulted", "patient": "cancelled"}.get(kind, "completed")
