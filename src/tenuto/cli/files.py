"""Reads what the user names: workflow files, folders of them, input, secrets."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto.errors import Invalid, InvalidDocument, InvalidInput, NotFound
from tenuto.language.load import load

SUFFIXES: Final = (".yaml", ".yml", ".json")


def read(name: str) -> bytes:
    """Return a file's content, or standard input's for `-`; raises `NotFound` or `InvalidInput`."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except FileNotFoundError:
        near = sorted(path.name for path in _siblings(Path(name)))
        hint = f"there are: {', '.join(near[:5])}" if near else "is the path right?"
        raise NotFound(f"there is no file {name!r}", hint=hint) from None
    except IsADirectoryError:
        raise InvalidInput(f"{name!r} is a folder", hint="name a file in it") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {name!r}: {error.strerror or error}") from error


def workflow_files(name: str) -> list[str]:
    """Return the name itself, or for a folder all YAML and JSON files below it, in order."""
    path = Path(name)
    if name == "-" or not path.is_dir():
        return [name]
    return [
        str(file)
        for file in sorted(path.rglob("*"))
        if file.suffix in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]


def read_input(text: str | None, option: str = "--input") -> Any:
    """Return what an option means: JSON, `@file` or `-` (JSON or YAML); an empty object without it."""
    if text is None:
        return {}
    if text == "-":
        return parsed(read("-"), "standard input")
    if text.startswith("@"):
        return parsed(read(text[1:]), text[1:])
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        hint = f'quote it for the shell: {option} \'{{"name": "Ada"}}\'; {option} @FILE reads a file'
        if _is_file(text):
            hint = f"to read the file: {option} @{text}"
        raise InvalidInput(f"{option} is not JSON: {error}", hint=hint) from None


def _is_file(text: str) -> bool:
    """Tell whether a text is a file's name; it may be much too long for one."""
    try:
        return Path(text).is_file()
    except OSError:
        return False


def read_secrets(name: str) -> dict[str, Any]:
    """Return the secrets in a YAML or JSON file that maps names to values."""
    try:
        values = parsed(read(name), name)
    except InvalidInput as error:
        # Only the place is told: the message may quote what stands there.
        place = re.match(r".*?:\d+:\d+(?=:)", str(error))
        raise InvalidInput(f"{place[0] if place else name} cannot be read as YAML or JSON") from None
    if not isinstance(values, dict):
        raise InvalidInput(
            f"{name} is no list of secrets", hint="write one `name: value` a line; a value may be an object"
        )
    return values


def parsed(content: bytes, name: str) -> Any:
    """Return the JSON or YAML value in `content`; raises `InvalidInput` with the position."""
    try:
        # The JSON way first: it knows no size or depth limit of documents, and is much faster.
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        if content.lstrip()[:1] in (b"{", b"[") and name.endswith(".json"):
            raise InvalidInput(f"{name} is not JSON: {failure}") from None
    try:
        return load(content, name).data
    except InvalidDocument as error:
        raise InvalidInput(str(error), hint=error.hint) from None


def known_files(paths: tuple[Path, ...]) -> Iterator[tuple[Path, bool]]:
    """Yield each file that `--with` makes known, and whether it was named itself."""
    for path in paths:
        if not path.exists():
            raise Invalid(f"--with: there is no {str(path)!r}")
        if path.is_dir():
            yield from ((Path(file), False) for file in workflow_files(str(path)))
        else:
            yield path, True


def _siblings(path: Path) -> list[Path]:
    folder = path.parent
    return [file for file in folder.iterdir() if file.suffix in SUFFIXES] if folder.is_dir() else []
