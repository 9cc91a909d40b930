"""What a type checker says of workflow code: wrong arguments are refused, results have their types."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from dataclasses import dataclass

from tenuto import App, Query, Signal, child, each, gather, race, sleep, step, wait_for_event, workflow


@dataclass
class Order:
    id: str


@step
def charge(order: Order, times: int = 1) -> int:
    return times


@step(timeout_seconds=3)
async def ship(order: Order) -> str:
    return order.id


approval = Signal("approval", bool)
stage = Query("stage", str)


@workflow
async def flow(order: Order, express: bool = False) -> str:
    reveal_type(await charge(order))  # int
    reveal_type(await ship(order))  # str
    reveal_type(await gather(charge(order), ship(order)))  # tuple[int, str]
    reveal_type(await race(ship(order), sleep(3)))  # str | None
    reveal_type(await each(charge, [order]))  # list[int]
    reveal_type(await child(flow, order))  # str
    reveal_type(await approval.receive())  # bool
    await charge("x")  # error: arg-type
    await charge(order, times="x")  # error: arg-type
    await charge()  # error: call-arg
    await ship(order, 3)  # error: call-arg
    await child(flow, 3)  # error: arg-type
    stage.set(3)  # error: arg-type
    return await ship(order)


async def main() -> None:
    async with App(workflows=[flow]) as app:
        handle = await app.start(flow, Order("x"), id="x")
        reveal_type(await handle.result())  # str
        reveal_type(await handle.query(stage))  # str
        await handle.signal(approval, "yes")  # error: misc
        await app.start(flow(Order("x"), express=True))
        await app.start(flow(Order("x"), express="y"))  # error: arg-type
        await app.start(flow, "x")  # error: arg-type
"""


@pytest.mark.slow
def test_a_type_checker_knows_what_steps_take_and_give(tmp_path: Path) -> None:
    """Each line with a comment is as the comment says, and no other line is complained of."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[int, str] = {}
    for line, kind, text in re.findall(r"program\.py:(\d+): (error|note): (.*)", said):
        if kind == "error":
            found[int(line)] = "error: " + re.findall(r"\[([a-z-]+)\]", text)[-1]
        elif text.startswith("Revealed type"):
            found[int(line)] = text.split('"')[1].replace("builtins.", "")
    expected = {
        number: line.rpartition("  # ")[2]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "  # " in line
    }

    assert found == expected
