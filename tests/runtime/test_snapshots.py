"""Snapshots that cannot be had: the run goes on without, and the log says so, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from tenuto.engine.advance import Run
from tenuto.engine.table import Table
from tenuto.runtime import snapshots
from tenuto.runtime.snapshots import decode_run, encode_run, snapshot_of

RUN: Final = Run("running", None, Table.of({}))
REST: Final = "the run is folded from its whole journal, which takes longer"


class States:
    """A program that says what its state is as bytes."""

    def __init__(self, state: bytes | Exception | None) -> None:
        self._state = state

    def encode(self, state: Any) -> bytes | None:
        """Return it, or fail."""
        if isinstance(self._state, Exception):
            raise self._state
        return self._state

    def decode(self, data: bytes) -> Any:
        """Read it."""
        return msgspec.json.decode(data)


@pytest.fixture(autouse=True)
def untold() -> Iterator[None]:
    """Begin with nothing told."""
    snapshots._tell.cache_clear()
    yield
    snapshots._tell.cache_clear()


def take(number: int, state: bytes | Exception | None) -> bool:
    """Take a snapshot of a run; return whether there is one."""
    program: Any = States(state)
    return snapshot_of(number, 1, program, RUN) is not None


def test_a_snapshot_that_cannot_be_taken_is_logged_once_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """Why, for each run; nothing of the state shows."""
    taken = [take(1, TypeError("s3cret")), take(1, TypeError("s3cret")), take(2, TypeError("s3cret"))]

    assert [False] * 3 == taken
    assert [
        f"no snapshot of run number {number} can be taken (TypeError): {REST}" for number in (1, 2)
    ] == caplog.messages


def test_a_state_that_is_too_large_is_logged_once_a_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much larger it grows."""
    monkeypatch.setattr(snapshots, "SNAPSHOT_BYTES_MAX", 60)

    assert not take(1, b'"%s"' % bytes(100).hex().encode())
    assert not take(1, b'"%s"' % bytes(200).hex().encode())
    assert [f"no snapshot of run number 1 is taken (over 60 bytes): {REST}"] == caplog.messages


def test_a_snapshot_that_cannot_be_read_is_logged_once_for_each_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another version wrote it, or it is damaged."""
    program: Any = States(b"{}")
    data = encode_run(program, RUN)
    assert data is not None

    for unread in (b"[2" + data[2:], data[:-1], data[:-2]):
        assert decode_run(program, unread) is None
    assert [
        f"a snapshot cannot be read (another version wrote it): {REST}",
        f"a snapshot cannot be read (DecodeError): {REST}",
    ] == caplog.messages


def test_what_is_as_it_should_be_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A snapshot that can be had, and a state that is always folded."""
    program: Any = States(b"{}")
    data = encode_run(program, RUN)
    assert data is not None

    assert decode_run(program, data) is not None
    assert (True, False) == (take(1, b"{}"), take(2, None))
    assert [] == caplog.messages
