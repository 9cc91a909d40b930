"""What is kept of a run that has just begun anew, so that its past need not be folded again."""

from __future__ import annotations

import msgspec

from tenuto.engine.model import Json, Note


class Fresh(msgspec.Struct, frozen=True, array_like=True):
    """A run that has just begun anew: all that has to be known of what it did before.

    `notes` are those that its first slice gave, so that it is run again as it was.
    """

    run: str
    nonce: str
    time: float
    input: Json
    epoch: int
    last_id: int
    published: dict[str, Json]
    signals: dict[str, list[dict[str, Json]]]
    notes: tuple[Note, ...] = ()
