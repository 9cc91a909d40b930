"""Runs a process under strace: to write down what it does to a folder's files, or to let its system calls fail.

traced(command, folder, log)    ->   [Made("t.db"), Wrote("t.db", 0, b"..."), Synced("t.db"), Said(b"ready "), ...]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from tests.servers.provision import CannotRun, program

WRITING: Final = (
    "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "fsync,fdatasync,sync_file_range,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,mkdir,mkdirat"
)
"""All ways to change a file or its name but those through memory, which SQLite uses for its `-shm` alone: that
file is made anew after a crash."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file (or a folder) is there from now on, if it was not before."""

    name: str
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """A name is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes were written; at the end of the file if `offset` is None."""

    name: str
    offset: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Resized:
    """A file has another size."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """A file's content is durable, or a folder's (which names there are in it); if it `worked`."""

    name: str
    worked: bool = True


@dataclass(frozen=True, slots=True)
class Said:
    """The process wrote to its standard output."""

    text: bytes


Act: TypeAlias = Made | Removed | Wrote | Resized | Synced | Said

_CALL: Final = re.compile(rb"(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<[^>]*>)?(?: [A-Z].*)?", re.DOTALL)
_UNFINISHED: Final = re.compile(rb"(\d+) +(\w+)\((.*) <unfinished \.\.\.>", re.DOTALL)
_RESUMED: Final = re.compile(rb"(\d+) +<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_FILE: Final = re.compile(rb"(\d+)<([^>]*)>(.*)", re.DOTALL)
_OPENED: Final = re.compile(rb'AT_FDCWD<[^>]*>, "([^"]*)", ([A-Z_|]+)')
_FOR: Final = re.compile(r'\(\d+<(?P<path>[^>]*)>|"(?P<name>[^"]*)"')
_TEXT: Final = re.compile(rb'"([^"]*)"')


class Unfinished(Exception):
    """A process that was written down did not come to the end that it had to come to."""


def strace() -> Path:
    """Return the program; raises `CannotRun`."""
    return program("strace", "strace")


@cache
def check_may_trace() -> None:
    """Raise `CannotRun` where processes cannot be traced."""
    line = [
        str(strace()),
        "-f",
        "--seccomp-bpf",
        "-e",
        f"trace={WRITING}",
        "-o",
        os.devnull,
        sys.executable,
        "-c",
        "",
    ]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise CannotRun(f"strace cannot trace here: {done.stderr.decode(errors='replace').strip()}")


def tracing(log: Path, *more: str) -> list[str]:
    """Return what to put before a command so that its changes of files are written to `log`."""
    options = ["-f", "--seccomp-bpf", "-qqq", "-y", "-xx", "-s", "2000000", "-e", "signal=none"]
    return [str(strace()), *options, "-e", f"trace={WRITING}", *more, "-o", str(log)]


def failing(log: Path, *rules: str) -> list[str]:
    """Return what to put before a command so that system calls fail: `fdatasync:error=EIO:when=3`."""
    names = ",".join(rule.partition(":")[0] for rule in rules)
    injections = [f"--inject={rule}" for rule in rules]
    options = ["-f", "--seccomp-bpf", "-qqq", "-y", "-e", "signal=none", "-e", f"trace={names}"]
    return [str(strace()), *options, *injections, "-o", str(log)]


def killing(log: Path, call: str, nth: int) -> list[str]:
    """Return what to put before a command so that it is killed when it comes to a system call.

    Without the filter in the kernel: strace 6.1 miscounts calls for signals with it.
    """
    options = ["-f", "-qqq", "-y", "-e", "signal=none", "-e", f"trace={call}"]
    return [str(strace()), *options, f"--inject={call}:signal=KILL:when={nth}", "-o", str(log)]


def injected(log: Path) -> Counter[str]:
    """Return how many system calls were made to fail, by the file that they were for ("" where that is not told)."""
    failed: Counter[str] = Counter()
    begun: dict[str, str] = {}
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        process = line.partition(" ")[0]
        if "<unfinished ...>" in line:
            begun[process] = line
        if "(INJECTED)" in line:
            named = _FOR.search(begun.pop(process, "") if " resumed>" in line else line)
            failed[(named["path"] or named["name"]).removesuffix(" (deleted)") if named else ""] += 1
    return failed


def traced(
    command: Sequence[str], folder: Path, log: Path, *more: str, ends: Sequence[int] | None = (0,)
) -> list[Act]:
    """Run a command to its end and return what it did to the files of a folder.

    Raises:
        Unfinished: It ended in another way than it may (`ends` are exit codes; None: in any): what is written down is not all.
    """
    done = subprocess.run(
        [*tracing(log, *more), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )
    if ends is not None and done.returncode not in ends:
        words = done.stderr[-300:].decode(errors="replace")
        raise Unfinished(f"{' '.join(command[1:4])} ended with {done.returncode}: {words}")
    return list(acts_in(log, folder))


def acts_in(log: Path, folder: Path) -> Iterator[Act]:
    """Yield what a log tells of the files of a folder, in the order in which it was done.

    A write or a sync counts when it was over. What was said counts from its beginning: the outside may know.
    """
    root = os.fsencode(folder) + b"/"
    begun: dict[bytes, tuple[bytes, bytes]] = {}
    for line in log.read_bytes().split(b"\n"):
        if found := _UNFINISHED.fullmatch(line):
            process, name, arguments = found.groups()
            begun[process] = name, arguments
            if name == b"write" and arguments.startswith(b"1<"):
                yield Said(_bytes(arguments))
        elif found := _RESUMED.fullmatch(line):
            name, arguments = begun.pop(found[1])
            whole = found[1] + b" " + name + b"(" + arguments + found[3]
            if (call := _CALL.fullmatch(whole)) and not (name == b"write" and arguments.startswith(b"1<")):
                yield from _acts(call, root)
        elif call := _CALL.fullmatch(line):
            yield from _acts(call, root)


def _acts(call: re.Match[bytes], root: bytes) -> Iterator[Act]:
    name, arguments, result = call[2], call[3], int(call[4])
    if name == b"openat":
        opened = _OPENED.match(arguments)
        if result >= 0 and opened and (there := _place(_unhex(opened[1]), root)) and b"O_CREAT" in opened[2]:
            yield Made(there)
        return
    if name in (b"unlink", b"mkdir"):
        if result == 0 and (there := _place(_bytes(arguments), root)):
            yield Removed(there) if name == b"unlink" else Made(there, folder=True)
        return
    file = _FILE.fullmatch(arguments)
    if file is None:
        _refuse_unknown(call, root)
        return
    path = _unhex(file[2])
    if name == b"write" and file[1] == b"1":
        yield Said(_bytes(file[3]))
    elif name in (b"fsync", b"fdatasync"):
        if path + b"/" == root or _place(path, root):
            yield Synced(_place(path, root) or "", result == 0)
    elif (there := _place(path, root)) and result >= 0:
        if name == b"write":
            yield Wrote(there, None, _bytes(file[3])[:result])
        elif name == b"pwrite64":
            yield Wrote(there, int(file[3].rpartition(b", ")[2]), _bytes(file[3])[:result])
        elif name == b"ftruncate":
            yield Resized(there, int(file[3].rpartition(b", ")[2]))
        else:
            _refuse_unknown(call, root)


def _refuse_unknown(call: re.Match[bytes], root: bytes) -> None:
    """A change that is not understood must not be passed over."""
    if int(call[4]) >= 0 and root[:-1] in _unhex(b"".join(_TEXT.findall(call[3]))):
        raise NotImplementedError(f"{call[2].decode()}({call[3][:200]!r})")


def _place(path: bytes, root: bytes) -> str | None:
    """Return a file's name in the folder; None for files elsewhere."""
    path = path.removesuffix(b" (deleted)")
    return path.removeprefix(root).decode() if path.startswith(root) else None


def _bytes(arguments: bytes) -> bytes:
    found = _TEXT.search(arguments)
    return _unhex(found[1]) if found else b""


def _unhex(text: bytes) -> bytes:
    """Return bytes that strace wrote as \\x61\\x62, or as they are."""
    if not text.startswith(b"\\x"):
        return text
    return bytes.fromhex(text.replace(b"\\x", b"").decode())
