"""URI templates as the standard has them: `{name}` is replaced by a top-level value.

This is RFC 6570 simple string expansion and no more: `{pet.id}` means the property that is
called `pet.id`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from tenuto.engine.model import Json
from tenuto.errors import expression_fault

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_OPERATORS: Final = "+#./;?&=,!@|"


def expand(template: str, values: Json) -> str:
    """Return the template with each `{name}` replaced by that property of `values`.

    Everything outside RFC 3986's unreserved characters is percent-encoded (UTF-8). A missing
    or null property gives nothing. Raises an `expression` fault for an array or object, which
    the standard forbids, and for the operators of RFC 6570 that it does not have.

    >>> expand("https://example.com/pets/{id}?q={q}{none}", {"id": 7, "q": "a b/c"})
    'https://example.com/pets/7?q=a%20b%2Fc'
    """
    names = values if isinstance(values, dict) else {}
    return _VARIABLE.sub(lambda found: _expanded(found.group(1), names, template), template)


def _expanded(name: str, values: dict[str, Json], template: str) -> str:
    if name not in values and name[:1] and name[0] in _OPERATORS:
        raise expression_fault(
            f"`{{{name}}}` in the URI template `{template}` uses an operator of RFC 6570 level 2 or higher: "
            "only plain names as in `{petId}` are admitted"
        )
    match values.get(name):
        case None:
            return ""
        case bool(flag):
            return "true" if flag else "false"
        case str(text):
            return quote(text, safe="-._~")
        case int(number):
            return str(number)
        case float(number):
            return quote(
                str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number), safe="-._~"
            )
        case other:
            kind = "an array" if isinstance(other, list) else "an object"
            raise expression_fault(
                f"`{{{name}}}` in the URI template `{template}` is {kind}: "
                "only a string, number, boolean or null can stand in a URI"
            )
