"""Processes that the storage tests start and kill: `python child.py hold|stream|lie|fill PATH [BYTES]`."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from functools import partial
from itertools import count
from pathlib import Path

from tenuto.engine.ports import Append, Batch, RunChange, RunRow
from tenuto.errors import StorageFailed, TenutoError
from tenuto.storage.sqlite import open_journal


def say(*words: object) -> None:
    """Print a line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def hold(path: Path) -> None:
    """Hold a database until the process is killed."""
    await open_journal(path, failed=partial(say, "failed"), command="tenuto up")
    say("holding")
    await asyncio.Event().wait()


async def stream(path: Path, *, honest: bool = True) -> None:
    """Commit for ever with 20 callers; print `run seq` for all that was acknowledged.

    The one that is not honest acknowledges without writing, to prove the test that must notice.
    """
    journal = await open_journal(path, failed=partial(say, "failed"))
    if not honest:
        journal._writing.write = lambda steps: None  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()

    async def caller(number: int) -> None:
        for seq in count(1):
            row = RunRow(
                number=number,
                id=f"run-{number}",
                definition="d",
                namespace="n",
                name="n",
                version="1.0.0",
                status="running",
                started=1.0,
                updated=1.0,
            )
            batch = Batch(
                [Append(number, seq, b"%d.%d" % (number, seq) * 20)],
                created=[row] if seq == 1 else [],
                changes=[RunChange(number, "running", float(seq))],
            )
            done = loop.create_future()
            journal.commit(batch, partial(done.set_result, None))
            await done
            say(number, seq)

    await asyncio.gather(*[caller(number) for number in range(1, 21)])


async def fill(path: Path, most: int) -> None:
    """Commit until the file system takes no more; print what was acknowledged and what was said."""
    if most:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    failures: list[BaseException] = []
    failed = asyncio.Event()
    late: list[int] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        failed.set()

    def done(seq: int) -> None:
        (late.append if failures else partial(say, "ack"))(seq)

    journal = await open_journal(path, failed=fail)
    for seq in count(1):
        try:
            journal.commit(Batch([Append(1, seq, bytes(50_000))]), partial(done, seq))
            await journal.flush()
        except StorageFailed:
            break
    await failed.wait()
    await journal.close()
    for error in failures:
        say(
            "failed", type(error).__name__, error, "|", error.hint if isinstance(error, TenutoError) else None
        )
    say("late", len(late))


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        asyncio.run(fill(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        asyncio.run(
            {"hold": hold, "stream": stream, "lie": partial(stream, honest=False)}[sys.argv[1]](
                Path(sys.argv[2])
            )
        )
