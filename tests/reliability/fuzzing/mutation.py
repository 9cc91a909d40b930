"""Makes inputs of inputs: bytes changed at random, and trees (JSON, YAML) changed so that they stay trees.

Everything follows from the given `Random`, so that an input can be made again from its seed.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

LONGEST: Final = 16 * 1024
"""Inputs are not longer than this, in bytes, but for those that repeat a part very often."""
LONGEST_REPEATED: Final = 128 * 1024

BYTES: Final = (
    *[b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\r", b"\r\n", b"\t", b"\x85", b"\x1e"],
    *[b"\xe2\x80\xa8", b"\xc2\xa0", b"\xf0\x9f\x98\x80", b"\x7f", b"\x1b[31m"],
    *[b"{", b"}", b"[", b"]", b"(", b")", b'"', b"'", b"\\", b"${", b"}", b":", b"-", b"#", b"&a", b"*a", b"!!int", b"%"],
    *[b"0", b"-1", b"1e999", b"-0", b"9" * 30, b"9" * 5000, b"0.1", b"null", b"true", b"NaN", b"~", b"2147483648"],
)  # fmt: skip
SCALARS: Final[tuple[Any, ...]] = (
    *[None, True, False, 0, -1, 1, 0.5, 1e300, -0.0, 2**31, 2**53 + 1, 2**64, 10**400, float("inf"), float("nan")],
    *["", "a", " ", "${ . }", "${", "}", "${ .a", "a/b", "~1", "#/a", "$ref", "\x00", "é", "😀", "\u2028", "²", "٣"],
    *["P1D", "PT", "1.0.0", "http", "https://a.example/{x}", "/", "-", "y" * 3000, "9" * 30, "2020-02-30", [], {}],
    *[[[]], {"": {}}, [None], {"$ref": "#"}, {"$ref": "#/a"}, {"a": 1}, ["a", "b"]],
)  # fmt: skip
_TOKENS: Final = re.compile(r"\w+|\s+|[^\w\s]")


def mutated(data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: Random) -> bytes:
    """Return bytes with a few changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = _change(data, others, words, chance)
    return data[:LONGEST_REPEATED]


def _change(data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    size = min(chance.choice((1, 1, 2, 4, 16, 200)), len(data) - at)
    piece = data[at : at + size]
    match chance.randrange(11):
        case 0 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes((data[at] ^ (1 << chance.randrange(8)),)) + data[at + 1 :]
        case 1:
            return data[:at] + data[at + size :]
        case 2:
            return data[:at] + chance.choice(BYTES) + data[at:]
        case 3 | 4 if words:
            return data[:at] + chance.choice(words) + data[at + size * chance.randrange(2) :]
        case 5:
            return data[:at]
        case 6:
            other = chance.choice(others)
            start = chance.randint(0, len(other))
            return (data[:at] + other[start:])[:LONGEST]
        case 7 if piece:
            times = chance.choice((2, 3, 60, 2000))
            return data[:at] + piece * min(times, LONGEST_REPEATED // len(piece)) + data[at:]
        case 8:
            to = chance.randint(0, len(data))
            rest = data[:at] + data[at + size :]
            return rest[:to] + piece + rest[to:]
        case 9:
            return data[:at] + bytes(chance.randrange(256) for _ in range(size)) + data[at + size :]
        case _:
            return _retokened(data, chance)


def _retokened(data: bytes, chance: Random) -> bytes:
    """Change whole words: swap two, double one, or leave one out."""
    tokens = _TOKENS.findall(data[:LONGEST].decode(errors="replace"))
    if not tokens:
        return data
    one, two = chance.randrange(len(tokens)), chance.randrange(len(tokens))
    match chance.randrange(3):
        case 0:
            tokens[one], tokens[two] = tokens[two], tokens[one]
        case 1:
            tokens.insert(two, tokens[one])
        case _:
            del tokens[one]
    return "".join(tokens).encode()


# ── trees ─────────────────────────────────────────────────────────────────────────────────


def grafted(tree: Any, parts: Sequence[Any], names: Sequence[str], chance: Random) -> Any:
    """Return a tree with a few changes; `parts` are trees to take from, `names` are keys that mean something."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        places = [(None, None), *_places(tree)]
        container, key = chance.choice(places)
        if container is None:
            if chance.random() < 0.1:
                tree = _part(parts, chance)
            continue
        _graft(container, key, parts, names, chance)
    return tree


def _graft(container: Any, key: Any, parts: Sequence[Any], names: Sequence[str], chance: Random) -> None:
    part = container[key]
    match chance.randrange(9):
        case 0:
            del container[key]
        case 1 | 2:
            container[key] = _part(parts, chance)
        case 3 if isinstance(part, dict):
            part[chance.choice(names) if names else "a"] = _part(parts, chance)
        case 4 if isinstance(part, list):
            part.insert(chance.randint(0, len(part)), _part(parts, chance))
        case 5 if isinstance(container, dict):
            container[chance.choice(names) if names else "b"] = container.pop(key)
        case 6:
            container[key] = [part] if chance.random() < 0.5 else {"a": part}
        case 7 if isinstance(part, str) and part:
            at = chance.randrange(len(part))
            container[key] = part[:at] + str(chance.choice(SCALARS))[:50] + part[at:]
        case 8:
            for _ in range(chance.choice((1, 5, 70, 300))):
                part = [part] if chance.random() < 0.5 else {chance.choice(("a", "do", "")): part}
            container[key] = part
        case _:
            container[key] = copy.deepcopy(chance.choice(SCALARS))


def _part(parts: Sequence[Any], chance: Random) -> Any:
    """Return a scalar, or a part of some tree; copied, so that no tree gets into itself."""
    if not parts or chance.random() < 0.5:
        return copy.deepcopy(chance.choice(SCALARS))
    places = list(_places(chance.choice(parts)))
    if not places:
        return None
    container, key = chance.choice(places)
    return copy.deepcopy(container[key])


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield where each part of a tree stands: its container, and its key or index there."""
    work = [tree]
    while work:
        node = work.pop()
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, part in pairs:
            yield node, key
            if isinstance(part, dict | list):
                work.append(part)


def names_in(trees: Sequence[Any]) -> list[str]:
    """Return all keys of trees, in order."""
    found = {key for tree in trees for _, key in _places(tree) if isinstance(key, str)}
    return sorted(found)


def as_json(tree: Any) -> bytes | None:
    """Return a tree as JSON, None if it is too deep; what JSON does not know is written as Python does (`NaN`)."""
    with contextlib.suppress(RecursionError):
        return json.dumps(tree, ensure_ascii=False).encode(errors="surrogatepass")
    return None
