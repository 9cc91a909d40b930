"""The child process of the second lane: reads jq programs with their inputs, writes their first values.

Started as `python -I -S evaluation_child.py JQ_MODULE SECONDS BYTES RESULT_BYTES` with an empty environment.
It must import nothing of ours, so that it starts fast and holds nothing worth reaching.

A request is two 4-byte lengths, the program and the input as JSON. The answer is one byte, a 4-byte length
and that many bytes: `V` the value as JSON, `N` no value, `E` an error's message, `L` a limit's name. A
program that takes too long ends the process by SIGPROF, one that takes too much memory by SIGABRT.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

CACHED_PROGRAMS = 32
"""How many compiled programs are kept."""

STATM = "/proc/self/statm"
"""Where Linux says how large a process is."""

SLACK_BYTES = 32 * 1024 * 1024
"""How much the process may have grown after an answer before it ends itself."""


def load_jq(path: str) -> Any:
    """Return the jq module from its file, without a search path."""
    loader = importlib.machinery.ExtensionFileLoader("jq", path)
    spec = importlib.util.spec_from_file_location("jq", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def restrict(kind: int, most: int | None) -> None:
    """Bound what may be used for now, by what this process was given itself at most."""
    hard = resource.getrlimit(kind)[1]
    if most is None or (hard != resource.RLIM_INFINITY and most > hard):
        most = hard
    resource.setrlimit(kind, (most, hard))


class Child:
    """Carries out one request after the other."""

    def __init__(self, jq: Any, seconds: float, memory_bytes: int, result_bytes: int) -> None:
        self.jq = jq
        self.seconds = seconds
        self.memory_bytes = memory_bytes
        self.result_bytes = result_bytes
        self.programs: dict[str, Any] = {}
        # Only Linux says how large the process is, and holds it to a bound on that; elsewhere the largest
        # size that it has had tells when it has to end, and one program that takes too much is not stopped.
        self.statm = os.open(STATM, os.O_RDONLY) if os.path.exists(STATM) else None
        self.page = resource.getpagesize()
        self.baseline = 0

    def size_bytes(self) -> int:
        """Return how much address space the process has; where that is not known, how much memory it had."""
        if self.statm is None:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
                1 if sys.platform == "darwin" else 1024
            )
        return int(os.pread(self.statm, 64, 0).split()[0]) * self.page

    def compiled(self, text: str) -> Any:
        """Return the compiled program, kept for the next time."""
        program = self.programs.pop(text, None)
        if program is None:
            program = self.jq.compile(text)
            if len(self.programs) >= CACHED_PROGRAMS:
                self.programs.pop(next(iter(self.programs)))
        self.programs[text] = program
        return program

    def restrict(self) -> None:
        """Set what the process may use for good: no file, no core dump, no other process's input."""
        self.baseline = self.size_bytes()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        files = 3 if self.statm is None else self.statm + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    def answer(self, program: str, document: str) -> tuple[bytes, bytes]:
        """Return the kind and the bytes of the answer to a request."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime + self.seconds) + 2
        restrict(resource.RLIMIT_CPU, seconds)
        if self.statm is not None:
            restrict(resource.RLIMIT_AS, self.size_bytes() + self.memory_bytes)
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        try:
            outcome = self.compiled(program).input_text(document).first()
            if isinstance(outcome, str):
                return b"E", outcome.encode()
            if not outcome:
                return b"N", b""
            encoded = outcome[0].encode()
        except MemoryError:
            os.write(2, b"out of memory")
            os.kill(os.getpid(), signal.SIGABRT)
            raise
        except ValueError as error:
            return b"E", str(error).encode()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            if self.statm is not None:
                restrict(resource.RLIMIT_AS, None)
        return (b"V", encoded) if len(encoded) <= self.result_bytes else (b"L", b"expression-result")

    def serve(self, source: BinaryIO, target: BinaryIO) -> None:
        """Answer requests until the input ends or the process has grown too much."""
        while header := source.read(8):
            program_bytes, document_bytes = struct.unpack("!II", header)
            program = source.read(program_bytes).decode()
            document = source.read(document_bytes).decode()
            kind, content = self.answer(program, document)
            target.write(kind + struct.pack("!I", len(content)) + content)
            target.flush()
            if self.size_bytes() > self.baseline + SLACK_BYTES:
                return


def main(arguments: list[str]) -> None:
    """Serve requests on the standard streams."""
    path, seconds, memory_bytes, result_bytes = arguments
    os.environ.clear()  # Python itself puts LC_CTYPE into an empty environment
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    child = Child(load_jq(path), float(seconds), int(memory_bytes), int(result_bytes))
    child.compiled(".").input_text("null").first()
    child.restrict()
    child.serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main(sys.argv[1:])
