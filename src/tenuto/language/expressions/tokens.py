"""Cut the text of an expression into tokens; the insides of strings are left to the parser."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tenuto.language.expressions.failures import ExpressionSyntax
from tenuto.language.expressions.functions import words

KEYWORDS: Final = words(
    "as def module import include if then else elif reduce foreach end and or try catch label break"
)


class Token(NamedTuple):
    """A token: its kind, its text, and where it starts and ends in the text."""

    kind: str
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"""
      (?P<skip>      (?:[ \r\n\t]+|\#(?:\\(?:\\|\r?\n)|[^\n])*)+ )
    | (?P<number>    (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? )
    | (?P<field>     \.[a-zA-Z_][a-zA-Z_0-9]* )
    | (?P<variable>  \$(?:[a-zA-Z_][a-zA-Z_0-9]*::)*[a-zA-Z_][a-zA-Z_0-9]* )
    | (?P<word>      (?:[a-zA-Z_][a-zA-Z_0-9]*::)*[a-zA-Z_][a-zA-Z_0-9]* )
    | (?P<format>    @[a-zA-Z0-9_]+ )
    | (?P<quote>     " )
    | (?P<sign>      \?//|//=|\|=|\+=|-=|\*=|/=|%=|<=|>=|!=|==|//|\.\.|[.?=;,:|+\-*/%<>\[\](){}] )
    """,
    re.VERBOSE | re.ASCII,
)

_PIECE: Final = re.compile(r'[^"\\]+|(?:\\[^u(]|\\u[a-zA-Z0-9]{0,4})+', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SIMPLE: Final = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip


def next_token(text: str, position: int, end: int) -> Token:
    """Return the first token at or after `position`; kind `end` where the text ends.

    >>> next_token("  .name", 0, 7)
    Token(kind='field', text='.name', start=2, end=7)
    """
    while True:
        if position >= end:
            return Token("end", "", end, end)
        match = _TOKEN.match(text, position, end)
        if match is None:
            character = text[position]
            hint = 'strings are written with "' if character in "'`‘’“”" else None
            raise ExpressionSyntax(f"unexpected character {character!r}", position, hint)
        kind = str(match.lastgroup)
        if kind != "skip":
            word = match.group()
            if kind == "word" and word in KEYWORDS:
                kind = "keyword"
            return Token(kind, word, position, match.end())
        position = match.end()


def string_piece(text: str, position: int, end: int) -> tuple[str, int]:
    """Return the plain text at `position` inside a string, escapes resolved, and where it ends."""
    match = _PIECE.match(text, position, end)
    if match is None:
        return "", position
    raw = match.group()
    if not raw.startswith("\\"):
        if "\0" in raw:
            raise ExpressionSyntax("a string cannot hold a NUL as it is", position, "write \\u0000")
        return raw, match.end()
    return _unescape(raw, position), match.end()


def _unescape(raw: str, position: int) -> str:
    """Resolve a run of escapes as JSON does; half a surrogate pair is an error or U+FFFD, as in jq."""
    pieces: list[str] = []
    high: int | None = None
    at = 0
    while at < len(raw):
        match = _ESCAPE.match(raw, at)
        code, simple = (match.group(1), match.group(2)) if match else (None, None)
        if match is None or (code is None and simple not in _SIMPLE):
            raise ExpressionSyntax(
                f"invalid escape {raw[at : at + 2]}",
                position + at,
                'escapes are \\n \\t \\" \\\\ \\/ \\uXXXX',
            )
        unit = int(code, 16) if code is not None else None
        if high is not None:
            if unit is None or not 0xDC00 <= unit <= 0xDFFF:
                break
            pieces.append(chr(0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00)))
            high = None
        elif unit is None:
            pieces.append(_SIMPLE[str(simple)])
        elif 0xD800 <= unit <= 0xDBFF:
            high = unit
        else:
            pieces.append("�" if 0xDC00 <= unit <= 0xDFFF else chr(unit))
        at = match.end()
    if high is not None:
        raise ExpressionSyntax("half of a surrogate pair", position, "write both halves, \\ud83d\\ude00")
    return "".join(pieces)
