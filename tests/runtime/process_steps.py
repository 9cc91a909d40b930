"""Steps that child processes find by this module's name, for the tests of `pool="process"`."""

from __future__ import annotations

import os
import signal

from tenuto.authoring.declare import Retry, step
from tenuto.authoring.step_context import current_step
from tenuto.runtime import step_child


@step(pool="process")
def number_of_process(text: str) -> list[object]:
    """Return where it ran, with what."""
    me = current_step()
    return [os.getpid(), text, me.run, me.task, me.attempt, me.idempotency_key, me.progress]


@step(pool="process", retry=Retry(on=(LookupError,)))
def refuse(key: str) -> None:
    """Tell how far it came, and raise."""
    for number in range(100):
        current_step().heartbeat(number)
    raise KeyError(key)


@step(pool="process")
def unfit() -> int:
    """Return what does not fit."""
    return "seven"  # type: ignore[return-value]


@step(pool="process", retry=Retry(on=(RuntimeError,)))
def die() -> None:
    """Take the process down."""
    current_step().heartbeat("alive")
    os.kill(os.getpid(), signal.SIGKILL)


@step(pool="process")
def work_until_cancelled(path: str) -> None:
    """Tell that it works, until nobody waits for it; then say so in a file."""
    me = current_step()
    count = 0
    while not me.cancelled:
        count += 1
        me.heartbeat(count)
    with open(path, "w", encoding="utf-8") as file:
        file.write("stopped")


@step(pool="process")
def hang() -> None:
    """Tell that it works, and never end."""
    current_step().heartbeat("hangs")
    while True:
        signal.pause()


@step(pool="process")
def babble() -> None:
    """Send what is no message, then one that is; never end."""
    for noise in (b"", b"\xc1", b"\x90", b"\x91\x90"):
        step_child._child[0]._messages.send_bytes(noise)
    current_step().heartbeat("after")
    while True:
        signal.pause()


def decorated_elsewhere() -> None:
    """Be no step under this name."""


renamed = step(pool="process")(decorated_elsewhere)
