"""Parsers with mistakes that fuzzing has to find, or it proves nothing."""

from __future__ import annotations

import os
import threading
from typing import Final

from tenuto.errors import InvalidInput
from tests.reliability.fuzzing.target import Target


def raises(data: bytes) -> None:
    """Forget a kind of byte."""
    if b"\xfe" in data:
        raise ValueError("a byte that nobody thought of")


def never_ends(data: bytes) -> None:
    """Go round and round on some bytes."""
    while data.endswith(b"{"):
        pass


def hangs(data: bytes) -> None:
    """Wait for something that never comes, on some bytes."""
    if data.endswith(b"}"):
        threading.Event().wait()


def grows(data: bytes) -> None:
    """Take far more memory than the input has, on some bytes."""
    if b"(" in data:
        b"x" * (600 * 1024 * 1024)


def loses(data: bytes) -> None:
    """Read something else than was written, on some bytes."""
    assert b"\r\n" not in data, "something is lost"


def says_nothing(data: bytes) -> None:
    """Refuse without a word."""
    if b"[" in data:
        raise InvalidInput(" ")


def dies(data: bytes) -> None:
    """Take the process down, on some bytes."""
    if b")" in data:
        os.abort()


TARGETS: Final = tuple(
    Target(f"control: {parse.__name__}", parse, lambda: [b"some text", b"abc"], words=tuple("{}()[]"))
    for parse in (raises, never_ends, hangs, grows, loses, says_nothing, dies)
)
SHOWN_BY: Final = {
    "control: raises": ("ValueError",),
    "control: never_ends": (
        "stuck",
        "hangs",
    ),  # The machine may be too busy to give it the processor for so long.
    "control: hangs": ("hangs",),
    "control: grows": ("memory",),
    "control: loses": ("AssertionError",),
    "control: says_nothing": ("no message",),
    "control: dies": ("dies",),
}
"""The kinds of finding by which each mistake may be noticed."""
