"""Documents as tests name them: a path, their text, or a dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from tenuto.engine.ports import DocumentRow
from tenuto.errors import InvalidInput, NotFound
from tenuto.operations.documents import check, definition

Document: TypeAlias = str | Path | Mapping[str, Any]

_SUFFIXES: Final = (".yaml", ".yml", ".json")


def document_row(document: Document | DocumentRow) -> DocumentRow:
    """Return a YAML document as it is stored; one that is so already as it is.

    Raises:
        InvalidDocument: It has mistakes.
        NotFound: There is no such file.
        InvalidInput: This is no document.
    """
    if isinstance(document, DocumentRow):
        return document
    if isinstance(document, Mapping):
        return definition(check("<dict>", msgspec.json.encode(dict(document))))
    if isinstance(document, str) and "\n" in document.strip():
        return definition(check("<text>", document.encode()))
    if not isinstance(document, str | Path):
        raise InvalidInput(
            f"{document!r} is no workflow",
            hint="give a workflow in Python, the path of a YAML file, its text, or a dict",
        )
    path = Path(document)
    if path.suffix not in _SUFFIXES:
        raise InvalidInput(
            f"{str(document)!r} is no workflow file", hint=f"its name ends in {', '.join(_SUFFIXES)}"
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r}", hint=f"looked for in {Path.cwd()}") from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot read {str(path)[:200]!r}: {error}"[:400]) from error
    return definition(check(str(path), content), str(path.resolve()))
