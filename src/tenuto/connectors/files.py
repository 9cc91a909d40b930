"""Read and change files, inside the folders that are open to the workflow.

A relative path begins in the first of these folders. A path that leads out of all of them, also
through `..` or a symbolic link, is refused; which folders are open is decided where Tenuto is
started, never in a workflow. Writes are atomic and on disk when the action ends.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import os
import re
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeVar

from tenuto.plugin import (
    Call,
    Faulted,
    authorization_fault,
    communication_fault,
    configuration_fault,
    function,
    runtime_fault,
    validation_fault,
)

VERSION = "1.0.0"

DEFAULT_LIMIT_BYTES: Final = 4 * 1024 * 1024
MAX_UNDO_BYTES: Final = 1024 * 1024  # a former content up to this size can be restored
DEFAULT_LIST_LIMIT: Final = 10_000

_MODE: Final = re.compile(r"[0-7]{3}")

Encoding = Literal["text", "base64"]
_Answer = TypeVar("_Answer")


# ── functions ────────────────────────────────────────────────────────────────────────────


@function(effect="read")
async def read(
    call: Call, *, path: str, encoding: Encoding = "text", limit: int = DEFAULT_LIMIT_BYTES
) -> str:
    """Return a file's content.

    Args:
        path: The file.
        encoding: `text` for UTF-8, `base64` for anything.
        limit: The most bytes that it may have.
    """
    place = _place(call, path)

    def work() -> str:
        with _opened(place) as file:
            content = file.read(max(limit, 0) + 1)
        if len(content) > limit:
            raise validation_fault(f"`{path}` has more than {limit} bytes; raise `limit`")
        return _encoded(content, encoding, path)

    return await _do(work, path)


@function(effect="write", idempotent=True, undo="restore")
async def write(
    call: Call,
    *,
    path: str,
    content: str,
    encoding: Encoding = "text",
    mode: str | None = None,
    replace: bool = True,
) -> dict[str, Any]:
    """Write a file, all of it or nothing; one that has this content already stays.

    Returns `{path, changed, kept, before}`, where `before` is the former content in base64, for
    undoing: `kept` is false if it had more than 1 MiB and so cannot be restored.

    Args:
        path: The file; its folder has to be there.
        content: What to write.
        encoding: `text` for UTF-8, `base64` for anything.
        mode: The permissions in octal digits, as in `600`; otherwise those that it has.
        replace: Whether a file with other content may be replaced; otherwise it is a fault (409).
    """
    place = _place(call, path)
    wanted = _decoded(content, encoding, path)
    if mode is not None and not _MODE.fullmatch(mode):
        raise validation_fault(f"files.write, argument `mode`: `{mode}` is not of the form 600")

    def work() -> dict[str, Any]:
        present = place.exists()
        if present and place.stat().st_size == len(wanted) and _content(place) == wanted:
            if mode is not None:
                place.chmod(int(mode, 8))
            return {"path": path, "changed": False, "kept": True, "before": None}
        if present and not replace:
            raise communication_fault(f"`{path}` is already there, with other content", 409)
        result = {"path": path, "changed": True, **_before(place)}
        _write(place, wanted, int(mode, 8) if mode else None)
        return result

    return await _do(work, path)


@function(effect="write", idempotent=True, undo="restore")
async def copy(call: Call, *, source: str, target: str, replace: bool = False) -> dict[str, Any]:
    """Copy a file; a target that has the same content already stays.

    Returns `{path, changed, kept, before}` about the target, as `write` does.

    Args:
        source: The file to copy.
        target: The new file; its folder has to be there.
        replace: Whether a target with other content may be replaced; otherwise it is a fault (409).
    """
    origin, place = _place(call, source), _place(call, target)

    def work() -> dict[str, Any]:
        with _opened(origin) as file:
            if place.exists():
                if _same(origin, place):
                    return {"path": target, "changed": False, "kept": True, "before": None}
                if not replace:
                    raise communication_fault(f"`{target}` is already there, with other content", 409)
            result = {"path": target, "changed": True, **_before(place)}
            _write(place, iter(lambda: file.read(1024 * 1024), b""), modes.S_IMODE(origin.stat().st_mode))
        return result

    return await _do(work, source)


@function(effect="write", idempotent=True, undo="move_back")
async def move(call: Call, *, source: str, target: str, replace: bool = False) -> dict[str, Any]:
    """Move or rename a file or a folder; if only the target is there, it counts as moved.

    Returns `{changed}`. Undoing it moves the target back, but does not bring back what was replaced.

    Args:
        source: What to move.
        target: Its new name; the folder of it has to be there.
        replace: Whether a file of that name may be replaced; otherwise it is a fault (409).
    """
    return await _do(lambda: _move(_place(call, source), _place(call, target), replace), source)


@function(effect="write", idempotent=True)
async def move_back(call: Call, *, source: str, target: str) -> dict[str, Any]:
    """Move the target of a `move` back to its source, if it is there.

    Args:
        source: Where it was at first.
        target: Where it is now.
    """
    origin, place = _place(call, source), _place(call, target)

    def work() -> dict[str, Any]:
        return _move(place, origin, replace=False) if os.path.lexists(place) else {"changed": False}

    return await _do(work, target)


@function(effect="write", idempotent=True, undo="restore")
async def delete(call: Call, *, path: str) -> dict[str, Any]:
    """Delete a file; one that is not there counts as deleted.

    Returns `{path, changed, kept, before}`, where `before` is its content in base64, for undoing:
    `kept` is false if it had more than 1 MiB and so cannot be restored.

    Args:
        path: The file.
    """
    place = _place(call, path)

    def work() -> dict[str, Any]:
        if not place.exists():
            return {"path": path, "changed": False, "kept": True, "before": None}
        result = {"path": path, "changed": True, **_before(place)}
        place.unlink()
        _sync(place.parent)
        return result

    return await _do(work, path)


@function(effect="write", idempotent=True)
async def restore(call: Call, *, result: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give a file back what it was before `write`, `copy` or `delete`; delete it if it was not there.

    Args:
        result: What that function returned; without it nothing is restored.
    """
    if not result or not result.get("changed"):
        return {"changed": False}
    path = str(result.get("path"))
    place = _place(call, path)
    if not result.get("kept"):
        raise runtime_fault(f"`{path}` had more than {MAX_UNDO_BYTES} bytes, so its content was not kept")
    before = result.get("before")

    def work() -> dict[str, Any]:
        if before is None:
            place.unlink(missing_ok=True)
            _sync(place.parent)
        else:
            _write(place, _decoded(before, "base64", path), None)
        return {"changed": True}

    return await _do(work, path)


@function(effect="write", idempotent=True, undo="remove_folder")
async def make_folder(call: Call, *, path: str) -> dict[str, Any]:
    """Make a folder and those above it; one that is there already stays.

    Returns `{path, changed}`.

    Args:
        path: The folder.
    """
    place = _place(call, path)

    def work() -> dict[str, Any]:
        changed = not place.is_dir()
        place.mkdir(parents=True, exist_ok=True)
        _sync(place.parent)
        return {"path": path, "changed": changed}

    return await _do(work, path)


@function(effect="write", idempotent=True)
async def remove_folder(call: Call, *, path: str) -> dict[str, Any]:
    """Remove a folder if it is empty; one that is not there, or not empty, is left alone.

    Returns `{path, changed}`.

    Args:
        path: The folder.
    """
    place = _place(call, path)

    def work() -> dict[str, Any]:
        try:
            place.rmdir()
        except FileNotFoundError:
            return {"path": path, "changed": False}
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return {"path": path, "changed": False}
            raise
        return {"path": path, "changed": True}

    return await _do(work, path)


@function(effect="read")
async def list_(
    call: Call,
    *,
    path: str = ".",
    pattern: str = "*",
    recursive: bool = False,
    limit: int = DEFAULT_LIST_LIMIT,
) -> list[dict[str, Any]]:
    """List a folder, in order of name.

    Returns `{path, type, size, modified}` for each entry: the path from the folder, the type
    (`file`, `folder`, `link` or `other`), the size in bytes, the time of the last change.

    Args:
        path: The folder.
        pattern: Which names, as in `*.csv`; links are not followed.
        recursive: Whether to list the folders in it too.
        limit: The most entries to give; more are a fault.
    """
    place = _place(call, path)
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise validation_fault(f"files.list, argument `pattern`: `{pattern}` leads out of the folder")

    def work() -> list[dict[str, Any]]:
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder") if place.exists() else FileNotFoundError
        found = []
        for entry in place.rglob(pattern) if recursive else place.glob(pattern):
            # A pattern that names a link leads through it, maybe out of the open folders.
            if entry.parent.resolve() == entry.parent:
                found.append(entry)
            if len(found) > limit:
                raise validation_fault(f"`{path}` has more than {limit} entries; raise `limit`")
        return [{"path": str(entry.relative_to(place)), **_facts(entry)} for entry in sorted(found)]

    return await _do(work, path)


@function(effect="read")
async def stat(call: Call, *, path: str) -> dict[str, Any]:
    """Tell whether a file or folder is there, and what it is.

    Returns `{exists}`, and if it is true also type, size in bytes, and modified.

    Args:
        path: The file or folder.
    """
    place = _place(call, path)

    def work() -> dict[str, Any]:
        return {"exists": True, **_facts(place)} if place.exists() else {"exists": False}

    return await _do(work, path)


# ── places ───────────────────────────────────────────────────────────────────────────────


def _place(call: Call, path: str) -> Path:
    """Return a path without links and `..`, or an authorization fault if it is in no open folder."""
    if not call.folders:
        raise configuration_fault("no folder is open to this workflow")
    if not path or "\0" in path:
        raise validation_fault("a path is empty, or has a null character")
    try:
        place = (call.folders[0] / path).resolve()
        roots = [folder.resolve() for folder in call.folders]
    except (OSError, RuntimeError) as error:
        raise validation_fault(f"`{path}` leads nowhere: {error}") from None
    if not any(place.is_relative_to(root) for root in roots):
        raise authorization_fault(f"`{path}` leads out of the folders that are open to this workflow")
    return place


async def _do(work: Callable[[], _Answer], path: str) -> _Answer:
    """Do blocking work in a thread, and tell its errors as faults."""
    with _told(path):
        return await asyncio.to_thread(work)


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else path
        raise communication_fault(f"`{path}`: there is no `{missing}`", 404) from None
    except OSError as error:
        raise _fault(error, f"`{path}`: {error.strerror or error}") from None


def _fault(error: OSError, detail: str) -> Faulted:
    if isinstance(error, PermissionError):
        return authorization_fault(detail)
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return validation_fault(detail)
    if isinstance(error, FileExistsError) or error.errno == errno.ENOTEMPTY:
        return communication_fault(detail, 409)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return communication_fault(detail, 507, transient=True)
    return runtime_fault(detail)


# ── contents ─────────────────────────────────────────────────────────────────────────────


def _encoded(content: bytes, encoding: Encoding, path: str) -> str:
    if encoding == "base64":
        return base64.b64encode(content).decode()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise validation_fault(
            f"`{path}` is not UTF-8 text (byte {error.start + 1}); read it with `encoding: base64`"
        ) from None


def _decoded(content: str, encoding: Encoding, path: str) -> bytes:
    if encoding == "text":
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise validation_fault(f"the content for `{path}` is not base64: {error}") from None


def _before(place: Path) -> dict[str, Any]:
    """Return the part of a result that lets `restore` bring back what was there."""
    if not place.exists():
        return {"kept": True, "before": None}
    if place.stat().st_size > MAX_UNDO_BYTES:
        return {"kept": False, "before": None}
    return {"kept": True, "before": base64.b64encode(_content(place)).decode()}


def _opened(place: Path) -> BinaryIO:
    """Open a file for reading; what is no file, as a pipe, could block for ever and is refused."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _check_regular(os.fstat(descriptor).st_mode, place)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _content(place: Path) -> bytes:
    with _opened(place) as file:
        return file.read()


def _check_regular(mode: int, place: Path) -> None:
    if modes.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(place))
    if not modes.S_ISREG(mode):
        raise validation_fault(f"`{place.name}` is not an ordinary file")


def _write(place: Path, content: bytes | Iterator[bytes], mode: int | None) -> None:
    """Put a file in place of another at once: it is written and synced under another name first."""
    if place.exists():
        present = place.stat().st_mode
        _check_regular(present, place)
        mode = modes.S_IMODE(present) if mode is None else mode
    beside = place.with_name(f".{place.name[:200]}.{os.urandom(8).hex()}")
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(beside, how, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in [content] if isinstance(content, bytes) else content:
                file.write(part)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    except BaseException:
        with suppress(FileNotFoundError):
            beside.unlink()
        raise
    _sync(place.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(one: Path, other: Path) -> bool:
    if other.is_dir() or one.stat().st_size != other.stat().st_size:
        return False
    with _opened(one) as first, _opened(other) as second:
        while block := first.read(1024 * 1024):
            if block != second.read(1024 * 1024):
                return False
    return True


def _move(source: Path, target: Path, replace: bool) -> dict[str, Any]:
    if not source.exists() and target.exists():
        return {"changed": False}
    if target.exists() and not replace:
        raise communication_fault(f"`{target.name}` is already there", 409)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV or source.is_dir():
            raise
        with _opened(source) as file:
            _write(target, iter(lambda: file.read(1024 * 1024), b""), modes.S_IMODE(source.stat().st_mode))
        source.unlink()
    _sync(target.parent)
    _sync(source.parent)
    return {"changed": True}


def _facts(entry: Path) -> dict[str, Any]:
    found = entry.lstat()
    kinds = ((modes.S_ISREG, "file"), (modes.S_ISDIR, "folder"), (modes.S_ISLNK, "link"))
    return {
        "type": next((name for test, name in kinds if test(found.st_mode)), "other"),
        "size": found.st_size,
        "modified": datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="milliseconds"),
    }
