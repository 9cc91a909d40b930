"""The house: a real Tenuto process on a folder, what its clients saw, and its ledger; lives as often as needed."""

from __future__ import annotations

import asyncio
import itertools
import resource
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tenuto.errors import DatabaseHeld, StorageFailed, TenutoError, Unavailable
from tenuto.runtime.control import ask
from tests.reliability.checker import check
from tests.reliability.evidence import Call, Evidence, Violation, digest_of
from tests.reliability.house import work
from tests.reliability.house.ledger import Ledger
from tests.reliability.house.lives import Died, Life, Nursery, descendants, lives_since
from tests.reliability.house.program import Orders
from tests.reliability.reading import builder, read_journals, replayed

SETTLE_SECONDS_MAX: Final = 60.0
"""How long runs may take to end once faults have stopped."""

BY_SOCKET: Final = frozenset({"signal", "emit", "cancel", "suspend", "resume"})
"""What half of the clients ask over the socket that the command line uses."""

AGAIN_SECONDS: Final = 0.002
"""Before somebody asks again who got no answer."""

UNDER_WAY_SECONDS: Final = 0.25
"""How long a call may be under way here: the ledger takes up to 20 ms, and processes are stopped for up to 100 ms.

Measured over 30 episodes on a machine with more to do than processors: at most 14 ms.
"""

TIMER_BOUND_SECONDS: Final = 10.0
"""How late timers may be, with processes that are killed while they start: measured as above, 0.9 s at most.

A worker that has lost one looks again after half a minute.
"""

ORPHANS_SECONDS_MAX: Final = 15.0
"""How long children may take to notice that their parent was killed."""


class Client:
    """Somebody who asks one thing after the other; a new one once it does not know how a call ended."""

    _ids = itertools.count(1)

    def __init__(self) -> None:
        self.id = next(self._ids)
        self.number = 0


class House:
    """See the module's text. `calls` is the clients' history; `lives` are all processes, the last is the present one.

    `within` and `bug` are as in `Orders`. `strange` are answers that were not what they had to be, found by clients.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        *,
        database: Path | None = None,
        nursery: Nursery | None = None,
        bug: str | None = None,
        within: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.database = database or folder / "house.db"
        self.ledger = ledger
        self.nursery = nursery
        self.bug = bug
        self.within = within
        self.calls: list[Call] = []
        self.lives: list[Life] = []
        self.seen_at: dict[tuple[str, int], float] = {}
        self.acked_digests: dict[tuple[str, int], str] = {}
        self.kinds: dict[str, tuple[str, int]] = {}
        self.strange: list[Violation] = []
        self.up = asyncio.Event()
        self.failed = asyncio.Event()
        self._children: set[tuple[int, str]] = set()
        self.settled = False
        self.folded = 0
        """How many runs were folded again when violations were looked for."""
        self.lost = 0
        """How many acknowledged entries and starts were not there then."""

    async def __aenter__(self) -> House:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.lives and self.life.ended is None:
            await self.kill()

    @property
    def life(self) -> Life:
        """The present process, or the last one."""
        return self.lives[-1]

    @property
    def errors(self) -> Path:
        """What the processes wrote to standard output and error."""
        return self.folder / "errors.txt"

    # ── lives ─────────────────────────────────────────────────────────────────────────

    async def start(self, *, hold: str = "", forked: bool = True, faultless: bool = False) -> Life:
        """Begin the next life; returns when it is ready. Raises `Died`.

        One that is to `hold` waits at a place (see `Orders`) until `go`. `forked` takes it from the nursery, if
        there is one. A `faultless` one has neither bug nor `within`.
        """
        life = Life(
            len(self.lives) + 1, self._hear, self.up.clear, forked=forked and self.nursery is not None
        )
        self.lives.append(life)
        orders = self._orders(life.number, hold, faultless=faultless)
        await life.begin(orders, self.nursery if forked else None)
        if life.ready is not None:
            self.up.set()
        return life

    def _orders(self, life: int, hold: str = "", *, faultless: bool = False) -> Orders:
        return Orders(
            database=str(self.database),
            ledger=self.ledger.address,
            errors=str(self.errors),
            life=life,
            bug=None if faultless else self.bug,
            within=() if faultless else self.within,
            hold=hold,
        )

    async def go(self) -> None:
        """Let a life that is held go on; returns when it is ready. Raises `Died`."""
        self.life.let()
        await self.life.wait(lambda: self.life.ready is not None)
        self.up.set()

    async def kill(self) -> bool:
        """End the process with SIGKILL; returns when it is gone, whether it was alive until then.

        Its children have to end by themselves.
        """
        children = descendants(self.life.pid) if self.life.ended is None and self.life.pid else {}
        self._children |= {(pid, since) for pid in children if (since := lives_since(pid)) is not None}
        was_alive = self.life.send_signal(signal.SIGKILL)
        await self.life.end()
        return was_alive

    async def stop(self) -> None:
        """Have the process end in order."""
        self.life.closing = True
        with suppress(Died):
            await self.life.ask("close")
        await self.life.end()

    async def rival(self) -> None:
        """Begin a second process on the same database: it must not get it, nor disturb the first."""
        life = Life(len(self.lives), lambda entries, now: None, lambda: None)
        try:
            await life.begin(self._orders(life.number), self.nursery)
            self.strange.append(
                Violation("I3", "", "two processes have opened the database at the same time")
            )
            life.send_signal(signal.SIGKILL)
        except Died:
            if life.refused != DatabaseHeld.code:
                said = life.refused or "it died"
                self.strange.append(
                    Violation("I3", "", f"a second process was not refused by the lock: {said}")
                )
        await life.end()

    def look(self) -> None:
        """Read the database beside whoever works on it, or nobody: what that shows has to stay."""
        now = time.time()
        for run, (_, entries) in read_journals(self.database).items():
            self._hear([(run, seq, digest_of(data)) for seq, data in entries], now)

    async def starve(self, seconds: float) -> None:
        """Let the process write to no file beyond its first page; returns when its store has failed, or in time."""
        self.failed.clear()
        self.life.starved = True
        with suppress(ProcessLookupError):
            resource.prlimit(self.life.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        with suppress(TimeoutError):
            await asyncio.wait_for(self.failed.wait(), seconds)

    async def pause(self, seconds: float) -> None:
        """Stop the process for some time, as a machine does that is short of everything."""
        life = self.life
        life.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            life.send_signal(signal.SIGCONT)

    def _hear(self, entries: list[tuple[str, int, str]], now: float) -> None:
        for run, seq, digest in entries:
            self.seen_at.setdefault((run, seq), now)
            self.acked_digests.setdefault((run, seq), digest)

    def take_over(self, former: House) -> None:
        """Add what was seen of the database before it was copied here."""
        self.calls += former.calls
        self.kinds |= former.kinds
        self.seen_at |= former.seen_at
        self.acked_digests |= former.acked_digests
        self.ledger.effects += former.ledger.effects

    # ── clients ───────────────────────────────────────────────────────────────────────

    def _look_at(self, answer: dict[str, Any]) -> None:
        """Ask a process whose store has failed nothing more: it says the same to all.

        It may fail only where that was brought about, or at the end.
        """
        if answer["what"] != "info" or answer["value"][0] != "storage-failed":
            return
        self.up.clear()
        self.failed.set()
        if not (self.life.starved or self.life.closing):
            self.strange.append(Violation("promise", "", f"the store failed by itself: {answer['value'][1]}"))
            self.life.starved = True

    async def call(self, client: Client, verb: str, run: str, value: Any = None) -> dict[str, Any]:
        """Ask for something, and write both into the history; the answer's `what` is ok, fail or info."""
        client.number += 1
        history = (client.id, client.number, verb, run, value)
        self._write(history, "invoke")
        try:
            if verb in BY_SOCKET and client.id % 2 == 0:
                answer = await self._ask_at_its_door(verb, run, value)
            else:
                answer = await self.life.ask(verb, run, value)
        except Died:
            answer = {"what": "info", "value": ["died", ""]}
        self._look_at(answer)
        self._write(history, answer["what"])
        if answer["what"] == "info":
            client.id, client.number = next(client._ids), 0
        return answer

    async def _ask_at_its_door(self, verb: str, run: str, value: Any) -> dict[str, Any]:
        """Ask as the command line does: over the socket beside the database."""
        request: dict[str, Any] = {"verb": verb, "run": run, **(value or {})}
        if verb == "emit":
            request["attributes"] = {}
        try:
            return {"what": "ok", "value": await ask(self.database, request)}
        except TenutoError as error:
            unknown = isinstance(error, Unavailable | StorageFailed)
            return {"what": "info" if unknown else "fail", "value": [error.code, error.message]}

    def _write(self, history: tuple[int, int, str, str, Any], what: Any) -> None:
        client, number, verb, run, value = history
        self.calls.append(
            Call(client=client, number=number, what=what, verb=verb, run=run, value=value, at=time.time())
        )

    async def insist(
        self, client: Client, verb: str, run: str, value: Callable[[int], Any]
    ) -> dict[str, Any]:
        """Ask until somebody knows the answer; `value(n)` is what is sent the nth time, from 0."""
        for again in itertools.count():
            await self.up.wait()
            answer = await self.call(client, verb, run, value(again))
            if answer["what"] != "info":
                return answer
            await asyncio.sleep(AGAIN_SECONDS)
        raise AssertionError

    async def ended(self, run: str) -> dict[str, Any]:
        """Return `{"status", "outcome"}` of a run once it is over, in whatever life; also of one that is kept."""
        while True:
            await self.up.wait()
            with suppress(Died):
                answer = await self.life.ask("end", run)
                self._look_at(answer)
                if answer["what"] == "ok":
                    ended: dict[str, Any] = answer["value"]
                    return ended
                if answer["what"] == "fail":
                    return {"status": "kept", "outcome": answer["value"]}
            await asyncio.sleep(0)

    # ── the end ───────────────────────────────────────────────────────────────────────

    async def settle(self, seconds: float = SETTLE_SECONDS_MAX) -> list[tuple[str, str]]:
        """Wait until no run is open any more; return (run, status) of those that are, after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            if not self.up.is_set():
                await self.kill()
                await self.start()
            try:
                still = (await self.life.ask("open"))["value"]
            except Died:
                continue
            left = deadline - time.monotonic()
            if not still or left <= 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.ended(still[0][0])
                    await asyncio.sleep(AGAIN_SECONDS)
        self.settled = True
        await self._bereave(ORPHANS_SECONDS_MAX)
        return [(run, status) for run, status in still]

    async def _bereave(self, seconds: float) -> None:
        """Wait for the end of children whose parents were killed: they have to notice."""
        deadline = time.monotonic() + seconds
        while left := {(pid, since) for pid, since in self._children if lives_since(pid) == since}:
            if time.monotonic() > deadline:
                self.strange.append(Violation("children", "", f"{len(left)} have outlived their process"))
                break
            await asyncio.sleep(0.05)
        self._children.clear()

    def evidence(self, *, replays: int | None = None, **more: Any) -> Evidence:
        """Return all that is known; the process has to have ended, or at least to do nothing any more.

        At most `replays` runs are folded again; `more` takes the place of what is gathered here.
        """
        files = [self.database, Path(f"{self.database}-wal"), self.errors]
        given: dict[str, Any] = {
            "calls": self.calls,
            "journals": read_journals(self.database),
            "effects": self.ledger.effects,
            "acked_entries": frozenset(self.seen_at),
            "acked_digests": self.acked_digests,
            "seen_at": self.seen_at,
            "settled": self.settled,
            "replays": replayed(self.database, builder(work.WORKFLOWS), most=replays),
            "under_way_seconds": UNDER_WAY_SECONDS,
            "timer_bound_seconds": TIMER_BOUND_SECONDS,
            "canaries": [work.CANARY.encode()],
            "texts": {path.name: path.read_bytes() for path in files if path.exists()},
        }
        return Evidence(**{**given, **more})

    def violations(self, **more: Any) -> list[Violation]:
        """Return what contradicts the promise: what the checker finds in the evidence, and what clients found."""
        evidence = self.evidence(**more)
        self.folded = len(evidence.replays)
        self.lost = len(lost(evidence))
        return [*check(evidence), *self.strange, *self._other_results(evidence)]

    def _other_results(self, evidence: Evidence) -> list[Violation]:
        """Runs whose outcome is not the one that follows from their input."""
        found = []
        for run, (kind, n) in self.kinds.items():
            if run not in evidence.journals:
                continue
            row = evidence.journals[run][0]
            if row.ended is None:
                continue
            if row.status != work.ends_as(kind):
                found.append(Violation("promise", run, f"{kind} is {row.status}: {row.outcome}"))
            expected = work.expected(kind, run, n)
            if row.status == "completed" and expected is not None:
                output = (row.outcome or {}).get("output")
                if output != expected:
                    found.append(Violation("promise", run, f"{kind}({n}) answered {str(output)[:200]}"))
        return found


def lost(evidence: Evidence) -> list[str]:
    """Return which of the entries shown as durable are not there as they were shown, and which acknowledged starts."""
    stored = {
        (run, seq): digest_of(data)
        for run, (_, entries) in evidence.journals.items()
        for seq, data in entries
    }
    entries = [
        f"entry {seq} of {run}"
        for run, seq in sorted(evidence.acked_entries)
        if evidence.acked_digests.get((run, seq), stored.get((run, seq))) != stored.get((run, seq), "")
    ]
    starts = {call.run for call in evidence.calls if call.verb == "start" and call.what == "ok"}
    return [*entries, *(f"start of {run}" for run in sorted(starts - evidence.journals.keys()))]


def noticed(violations: Iterable[Violation], may: Iterable[str]) -> tuple[str, ...]:
    """Return which of the invariants that may show a bug did; a case that broke off shows nothing."""
    return tuple(sorted({violation.invariant for violation in violations} & set(may)))


def unplayable(error: Exception) -> Violation:
    """Return what to report where a case did not get to its end: a hang, a start that failed, a file that is damaged."""
    return Violation("played", "", f"the case did not get to its end: {type(error).__name__}: {error}")
