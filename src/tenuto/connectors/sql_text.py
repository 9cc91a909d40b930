"""Named parameters in SQL: `:name` in a statement, for databases that want `$1` or `%s`.

Values never become part of a statement's text here. What looks like a parameter inside quotes,
comments, casts (`::text`) or assignments (`:=`) is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal

from tenuto.plugin import validation_fault

Dialect = Literal["sqlite", "postgresql", "mariadb"]

_QUOTED: Final = r"""
    '(?:[^']|'')*(?:'|\Z)    # a string; one that does not end goes on to the end of all
  | "(?:[^"]|"")*(?:"|\Z)    # a name, or a string in MariaDB
"""
_COMMENT: Final = r"""
    --[^\n]*
  | /\*.*?(?:\*/|\Z)
"""
_NO_PARAMETER: Final = r"::|:="
_PARAMETER: Final = r":(?P<name>[A-Za-z_][A-Za-z0-9_]*)"

_TOKENS: Final[dict[Dialect, re.Pattern[str]]] = {
    "sqlite": re.compile(
        rf"{_QUOTED}|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z)|{_COMMENT}|{_NO_PARAMETER}|{_PARAMETER}",
        re.VERBOSE | re.DOTALL,
    ),
    "postgresql": re.compile(
        rf"""
          \b[eE]'(?:[^'\\]|''|\\(?:.|\Z))*(?:'|\Z)
        | {_QUOTED}
        | \$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        | --[^\n]* | (?P<nested>/\*)
        | {_NO_PARAMETER} | {_PARAMETER}
        """,
        re.VERBOSE | re.DOTALL,
    ),
    "mariadb": re.compile(
        rf"""
          '(?:[^'\\]|''|\\(?:.|\Z))*(?:'|\Z) | "(?:[^"\\]|""|\\(?:.|\Z))*(?:"|\Z) | `[^`]*(?:`|\Z)
        | \#[^\n]* | {_COMMENT} | {_NO_PARAMETER} | {_PARAMETER}
        """,
        re.VERBOSE | re.DOTALL,
    ),
}
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


def bind(
    statement: str, values: Mapping[str, Any], dialect: Dialect
) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Return a statement as the database wants it, and its parameters' names and values in order.

    A validation fault names a parameter that is not given, or is given and not used.

    >>> bind("SELECT :a, ':b', :a::int", {"a": 1}, "postgresql")
    ("SELECT $1, ':b', $1::int", (('a', 1),))
    """
    names: list[str] = []
    text = _replace(statement, dialect, _placeholder(dialect, names))
    for name in names:
        if name not in values:
            raise validation_fault(f"the statement has a parameter `:{name}`{_instead(name, values, '')}")
    for name in values:
        if name not in names:
            raise validation_fault(
                f"a parameter `{name}` is given, but not in the statement{_instead(name, names, ':')}"
            )
    return text, tuple((name, values[name]) for name in names)


def _instead(name: str, known: Any, sign: str) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{sign}{close[0]}`?" if close else f"; there is: {', '.join(known) or 'none'}"


def _placeholder(dialect: Dialect, names: list[str]) -> Callable[[str], str]:
    def numbered(name: str) -> str:
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    def positional(name: str) -> str:
        names.append(name)
        return "%s" if dialect == "mariadb" else "?"

    return numbered if dialect == "postgresql" else positional


def _replace(statement: str, dialect: Dialect, placeholder: Callable[[str], str]) -> str:
    def plain(text: str) -> str:
        return text.replace("%", "%%") if dialect == "mariadb" else text

    parts: list[str] = []
    position = 0
    while token := _TOKENS[dialect].search(statement, position):
        parts.append(plain(statement[position : token.start()]))
        end = token.end()
        groups = token.groupdict()
        if groups["name"] is not None:
            parts.append(placeholder(groups["name"]))
        else:
            if groups.get("nested") is not None:
                end = _end_of_comment(statement, token.start())
            parts.append(plain(statement[token.start() : end]))
        position = end
    parts.append(plain(statement[position:]))
    return "".join(parts)


def _end_of_comment(statement: str, start: int) -> int:
    """Return where a comment ends that may have others inside, as PostgreSQL has them."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(statement, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(statement)
