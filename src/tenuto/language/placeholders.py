"""How expressions stand in text: `${ ... }` as a whole is one, anything else is text."""

from __future__ import annotations

import re
from typing import Final

_WHOLE: Final = re.compile(r"\s*\$\{(.+)\}\s*", re.DOTALL)


def inner(text: str) -> str | None:
    """Return what stands inside `${ ... }`, or None if the text as a whole is no placeholder.

    >>> inner("${ .name }"), inner("Hello ${ .name }")
    (' .name ', None)
    """
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else None
