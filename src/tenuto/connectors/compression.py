"""Unpacking of compressed answers, bounded: a small answer may stand for gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from tenuto.plugin import communication_fault

BROKEN: Final = 502


class AsItIs:
    """The decoder of a body that is not compressed."""

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Return the chunk."""
        return (chunk,)

    def finish(self) -> None:
        """Accept the end anywhere."""


class Inflate:
    """Decompresses without ever holding more than one bounded piece, so that a bomb stays small."""

    PIECE_BYTES: Final = 64 * 1024

    def __init__(self, place: str, *, may_be_bare: bool) -> None:
        self._may_be_bare = may_be_bare
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._place = place
        self._begun = False

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Give what a received chunk unpacks to, in pieces of bounded size."""
        data = chunk
        while data:
            if self._decoder.eof:
                self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
            piece = self._step(data)
            data = self._decoder.unconsumed_tail or self._decoder.unused_data
            # A full piece may leave output waiting although all input is taken.
            while piece:
                yield piece
                piece = b"" if data or self._decoder.eof else self._step(b"")

    def finish(self) -> None:
        """Raise if the compressed data broke off."""
        if self._begun and not self._decoder.eof:
            raise communication_fault(
                f"the compressed answer of {self._place} broke off", BROKEN, transient=True
            )

    def _step(self, data: bytes) -> bytes:
        self._begun = True
        try:
            piece = self._decoder.decompress(data, self.PIECE_BYTES)
        except zlib.error as error:
            if not self._may_be_bare:
                raise communication_fault(
                    f"the answer of {self._place} is not valid compressed data: {error}", BROKEN
                ) from error
            # `deflate` means zlib data, but some servers send the bare stream.
            self._may_be_bare = False
            self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._step(data)
        self._may_be_bare = False
        return piece


def unpacker(coding: str, place: str) -> AsItIs | Inflate:
    """Return the decoder for a content coding; `place` names the answer in messages."""
    match coding:
        case "" | "identity":
            return AsItIs()
        case "gzip" | "x-gzip" | "deflate":
            return Inflate(place, may_be_bare=coding == "deflate")
        case _:
            raise communication_fault(
                f"the answer of {place} has the unknown content encoding `{coding}`", BROKEN
            )
