"""Says whether the promise held: set checks over client history, journals and effect ledger.

    check(evidence) -> []                                          it held
                    -> [Violation("I4", "order-7", "...")]         it did not

One small function for each invariant. Ids are unique, so no search for an order of events is needed: the time grows
with the evidence, and for events with how many listen for their types. What a journal asked for (keys, due times) is
not stored: it comes from the folds in `Evidence.replays`, and what needs them is not checked for runs that have none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf
from typing import Final

import msgspec

from tenuto.engine.model import (
    SIGNAL,
    TERMINAL,
    Answered,
    Arrived,
    CancelRequested,
    Emit,
    Event,
    Json,
    Listen,
    Open,
    Perform,
    Restarted,
    Resumed,
    Started,
    Suspended,
    Wake,
)
from tenuto.runtime.children import NOT_NEEDED
from tests.reliability.cases import Case, Told, performs
from tests.reliability.evidence import Effect, Evidence, Replay, Violation, digest_of

_open = msgspec.json.Decoder(Open)
_encoder = msgspec.json.Encoder()

Found = Iterator[Violation]


def check(evidence: Evidence) -> list[Violation]:
    """Return everything that contradicts the promise."""
    return check_case(Case(evidence))


def check_case(case: Case) -> list[Violation]:
    """Return everything in evidence that is decoded already that contradicts the promise."""
    return [violation for invariant in INVARIANTS for violation in invariant(case)]


# ── I1, I2: runs ─────────────────────────────────────────────────────────────────────────


def started_runs_are_there_and_end(case: Case) -> Found:
    """I1: an acknowledged start has a run; once faults have stopped, every run ends."""
    for call, end in case.calls:
        if call.verb == "start" and end == "ok" and call.run not in case.runs:
            yield Violation("I1", call.run, "its start was acknowledged, and the run is not there")
    if not case.evidence.settled:
        return
    for run, told in case.runs.items():
        if told.row.status not in TERMINAL and run not in case.evidence.waiting_for_ever:
            yield Violation("I1", run, f"it is {told.row.status} although faults have stopped")


def one_run_for_each_id(case: Case) -> Found:
    """I2: the same id is the same run: one number, one `Started`, one input; nobody else made runs."""
    numbers: dict[int, str] = {}
    started: dict[str, Json] = {}
    sent: dict[str, list[Json]] = defaultdict(list)
    for call, end in case.calls:
        if call.verb != "start" or end == "fail":
            continue
        sent[call.run].append(call.value)
        if end == "ok" and started.setdefault(call.run, call.value) != call.value:
            yield Violation("I2", call.run, "two starts with different inputs were acknowledged")
    for run, told in case.runs.items():
        other = numbers.setdefault(told.row.number, run)
        if other != run or told.row.id != run:
            yield Violation("I2", run, f"its number is that of {other}, its id {told.row.id}")
        times = sum(isinstance(entry.event, Started) for _, entry in told.entries)
        if times != 1 and told.damaged is None:
            yield Violation("I2", run, f"it was started {times} times")
        if sent and run not in sent and told.row.parent is None and told.row.origin is None:
            yield Violation(
                "I2",
                run,
                "it is there although nobody started it, or its start was refused",
            )
        values = [started[run]] if run in started else sent.get(run)
        if values and told.damaged is None and not any(_is_start_of(told, value) for value in values):
            yield Violation("I2", run, f"it is {told.row.name} of another input than clients sent")


def _is_start_of(told: Told, value: Json) -> bool:
    """Whether a run is what a client asked for; a workflow in Python has its input under the name of its parameter."""
    if not isinstance(value, dict) or not told.entries or told.row.origin is not None:
        return True
    event, sent = told.entries[0][1].event, value.get("input")
    if told.row.name != value.get("workflow") or not isinstance(event, Started):
        return False
    named = list(event.input.values()) if isinstance(event.input, dict) else None
    return event.input == sent or named == ([] if sent is None else [sent])


# ── I3: the journal ──────────────────────────────────────────────────────────────────────


def journals_are_contiguous(case: Case) -> Found:
    """I3: seq counts from 1 without gaps, nothing stands after the end, the row says what the journal says.

    The chain of hashes joins with the audit log. There is one process for a database, held by a lock on a
    file, so that no write can come from a former epoch: the lock takes the place of epochs.
    """
    for run, told in case.runs.items():
        row, seqs = told.row, [seq for seq, _ in told.entries]
        if told.damaged is not None:
            yield Violation("I3", run, told.damaged)
        elif seqs != list(range(1, len(seqs) + 1)):
            yield Violation("I3", run, f"its entries are not numbered 1, 2, 3, ...: {_shown(seqs)}")
        elif not seqs:
            yield Violation("I3", run, "it has a row and no entry")
        elif not isinstance(told.entries[0][1].event, Started | Restarted):
            yield Violation("I3", run, "its first entry is not its start")
        elif (row.status in TERMINAL) != (row.ended is not None):
            yield Violation("I3", run, f"its row is {row.status} and ended at {row.ended}")
        elif row.ended is not None and told.entries[-1][1].event.time != row.ended:
            yield Violation(
                "I3",
                run,
                f"its last entry is not its end: {told.entries[-1][1].event!r}",
            )
        else:
            yield from _row_as_folded(run, told)


def _row_as_folded(run: str, told: Told) -> Found:
    row, replay = told.row, told.replay
    if replay is None or replay.stuck is not None:
        return
    if row.status != replay.status:
        yield Violation("I3", run, f"its row is {row.status}, its journal folds to {replay.status}")
    for seq, finish in told.finish:
        outcome = {"output": finish.output} if finish.fault is None else {"error": finish.fault.to_json()}
        if seq != len(told.entries):
            yield Violation("I3", run, f"it ended at entry {seq} of {len(told.entries)}")
        elif row.outcome != outcome:
            yield Violation(
                "I3",
                run,
                f"its row has the outcome {row.outcome}, its journal {outcome}",
            )


# ── I4, I5: actions ──────────────────────────────────────────────────────────────────────


def outcomes_are_recorded_once(case: Case) -> Found:
    """I4: at most one outcome for each command, and only for one that was asked for before.

    What a run hears of itself must also be what others recorded: a child's end is in its parent's journal in
    the same transaction as in its own. A parent that is suspended then may not be in memory, for want of its code for
    instance: it is told when it goes on.
    """
    for run, told in case.runs.items():
        for id, outcomes in told.outcomes.items():
            if len(outcomes) > 1:
                yield Violation("I4", run, f"command {id} has {len(outcomes)} recorded outcomes")
            asked = told.asked.get(id)
            folds = told.replay is not None and told.replay.stuck is None
            if folds and (asked is None or asked.seq >= outcomes[0].seq):
                yield Violation("I4", run, f"command {id} has an outcome and was not asked for")
        yield from _told_together(case, run, told)


def _told_together(case: Case, run: str, told: Told) -> Found:
    row = told.row
    parent = case.runs.get(row.parent or "")
    if row.ended is None or row.parent_command is None or parent is None or parent.replay is None:
        return
    held_up = parent.replay.stuck is not None or parent.row.status == "suspended"
    held_up |= not case.evidence.settled and _paused_at(parent, row.ended)  # It may only just go on.
    if not held_up and any(_open.decode(data).id == row.parent_command for data in parent.replay.open):
        yield Violation(
            "I4",
            run,
            f"it ended and its parent {row.parent} was not told in the same transaction",
        )


def _paused_at(told: Told, time: float) -> bool:
    """Whether a run was suspended at a time, by its own journal."""
    pauses = [event for _, event in told.own() if isinstance(event, Suspended | Resumed)]
    before = [event for event in pauses if event.time <= time]
    return bool(before) and isinstance(before[-1], Suspended)


def effects_follow_from_the_journal(case: Case) -> Found:
    """I4: no effect of what was not asked for durably, nor after its recorded outcome; one for each success.

    Every attempt has the idempotency key that the journal asked for, and the same as the attempt before. A block of a document that is tried again
    asks again under the same keys, so that a key and an attempt may stand for several commands. A function has
    a ledger if the ledger knows any call of it.
    """
    with_ledger: set[str] = set()
    for run, effects in case.effects.items():
        told = case.runs.get(run)
        if told is None:
            yield Violation("I4", run, f"{effects[0].task} had an effect, and there is no such run")
            continue
        if told.replay is None or told.replay.stuck is not None:
            continue
        known = performs(told)
        for effect in effects:
            asked = known.get((effect.key, effect.attempt))
            if asked is None:
                seen = f"attempt {effect.attempt} of {effect.task} ({effect.key}) was not asked for durably"
                yield Violation("I4", run, seen)
                continue
            with_ledger.add(asked[0].function)
            yield from _within_its_time(case, told, asked, effect)
    for run, told in case.runs.items():
        yield from _without_effect(case, run, told, with_ledger)
        yield from _with_other_keys(run, told)


def _within_its_time(case: Case, told: Told, asked: Sequence[Perform], effect: Effect) -> Found:
    if case.evidence.clocks_agree:
        seq = min(told.asked[command.id].seq for command in asked)
        early = told.time(seq) - effect.at
        if early > 0:
            seen = (
                f"attempt {effect.attempt} of {effect.task} ran {early:.6g} s before entry {seq} asked for it"
            )
            yield Violation("I4", effect.run, seen)
    latest, entry = 0.0, 0
    for command in asked:
        outcomes, dropped = told.outcomes.get(command.id), told.dropped.get(command.id)
        over = outcomes[0].seq if outcomes else dropped
        at = None if over is None else case.durable_at(effect.run, over, told.time(over))
        if over is None or at is None:
            return
        answered = outcomes is not None and isinstance(outcomes[0].event, Answered)
        latest, entry = max((latest, entry), (at + (not answered) * case.evidence.under_way_seconds, over))
    if effect.at > latest:
        cause = "it was dropped" if outcomes is None else "its outcome was recorded"
        seen = (
            f"attempt {effect.attempt} of {effect.task} ran {effect.at - latest:.6g} s too late after {cause}"
        )
        yield Violation("I4", effect.run, f"{seen} (life {effect.life}, entry {entry})")


def _with_other_keys(run: str, told: Told) -> Found:
    keys: dict[tuple[str, int], set[str]] = {}
    performed = {asked.command.key for asked in told.asked.values() if isinstance(asked.command, Perform)}
    for asked in told.asked.values():
        command = asked.command
        if isinstance(command, Perform):
            keys.setdefault((command.task, command.attempt), set()).add(command.key)
            before = keys.get((command.task, command.attempt - 1), {command.key})
            # What takes something back has the key of that, whichever task asks for it and however often.
            if command.key not in before and not _takes_back(command.key, performed):
                seen = f"attempt {command.attempt} of {command.task} has another idempotency key"
                yield Violation("I4", run, f"{seen}: {command.key}")


def _takes_back(key: str, performed: set[str]) -> bool:
    action, slash, verb = key.rpartition("/")
    return slash != "" and verb == "undo" and action in performed


def _without_effect(case: Case, run: str, told: Told, with_ledger: set[str]) -> Found:
    felt = Counter((effect.key, effect.attempt) for effect in case.effects.get(run, ()))
    for asked in told.asked.values():
        command = asked.command
        if not isinstance(command, Perform) or command.function not in with_ledger:
            continue
        for outcome in told.outcomes.get(command.id, ()):
            if isinstance(outcome.event, Answered) and outcome.seq > told.shared:
                felt[command.key, command.attempt] -= 1
                if felt[command.key, command.attempt] < 0:
                    yield Violation(
                        "I4",
                        run,
                        f"{command.task} was recorded as done and had no effect",
                    )


def nothing_begins_after_the_end(case: Case) -> Found:
    """I5: nothing that a run waits for begins after its end; at its end nothing is open.

    After a cancellation only what cleans up and takes back may begin, and that is recorded like everything
    else. An action that nothing waits for (`await: false`) may outlive its run.
    """
    for run, told in case.runs.items():
        row = told.row
        if row.ended is None:
            continue
        if told.replay is not None and told.replay.open:
            yield Violation("I5", run, f"it is over, and {len(told.replay.open)} commands are open")
        end = case.durable_at(run, len(told.entries), row.ended)
        if end is None or not any(effect.at > end for effect in case.effects.get(run, ())):
            continue
        detached = {key for key, asked in performs(told).items() if asked[-1].detached}
        for effect in case.effects[run]:
            if (
                effect.at > end + case.evidence.under_way_seconds
                and (effect.key, effect.attempt) not in detached
            ):
                yield Violation(
                    "I5",
                    run,
                    f"{effect.task} ran {effect.at - end:.6g} s after the end of the run",
                )


# ── I6, I7: timers, messages ─────────────────────────────────────────────────────────────


def timers_fire_on_time(case: Case) -> Found:
    """I6: never before they are due by the engine's clock, once, and within the bound where there is one."""
    bound = case.evidence.timer_bound_seconds if case.evidence.clocks_agree else None
    for run, told in case.runs.items():
        for asked in told.asked.values():
            if not isinstance(asked.command, Wake):
                continue
            for outcome in told.outcomes.get(asked.command.id, ()):
                late = outcome.event.time - asked.command.at
                if outcome.seq <= told.shared:
                    continue  # told again: it fired in the run whose history this one took over
                if late < 0:
                    yield Violation("I6", run, f"timer {asked.command.id} fired {-late:.6g} s early")
                elif bound is not None and late > bound:
                    late = outcome.event.time - max(
                        asked.command.at, _could_fire(case, run, told, asked.seq, outcome.seq)
                    )
                    if late > bound:
                        yield Violation("I6", run, f"timer {asked.command.id} fired {late:.6g} s late")


def _could_fire(case: Case, run: str, told: Told, asked: int, fired: int) -> float:
    """Return since when a timer could fire: the entry that asks for it was durable, and the last pause was over.

    Entries of a history that was taken over are durable here from then on.
    """
    resumed = [seq for seq, event in told.own() if isinstance(event, Resumed) and seq < fired]
    return max(case.durable_at(run, seq, told.time(seq)) or 0.0 for seq in (asked, *resumed[-1:]))


def messages_arrive_once_and_in_order(case: Case) -> Found:
    """I7: a signal is in its run's journal once if it was acknowledged, never if it was refused, at most once if
    nobody knows; those of one client to one run in the order in which they were sent. An event is in no
    journal twice, and in the sender's order too.
    """
    heard = {run: _heard(told) for run, told in case.runs.items()}
    hearers = _hearers(heard)
    sent: dict[str, Counter[str]] = defaultdict(Counter)
    for call, end in case.calls:
        if call.verb not in ("signal", "emit"):
            continue
        data = _message(call.value)
        for run in [call.run] if call.verb == "signal" else hearers.get(data, ()):
            there = heard.get(run, {}).get(data, [])
            if call.verb == "signal":
                sent[run][data] += 1
            if len(there) > 1:
                yield Violation(
                    "I7",
                    run,
                    f"{call.verb} {data} is in the journal {len(there)} times",
                )
            elif end == "fail" and there:
                yield Violation("I7", run, f"{call.verb} {data} was refused and is in the journal")
            elif end == "ok" and not there and call.verb == "signal":
                yield Violation(
                    "I7",
                    run,
                    f"signal {data} was acknowledged and is not in the journal",
                )
    yield from _in_order(case, heard, hearers)
    yield from _heard_twice(case)
    for run, told in case.runs.items():
        for seq, event in told.own() if sent else ():
            if isinstance(event, Arrived) and event.event.get("type") == SIGNAL:
                data = _message({"data": event.event.get("data")})
                if not sent[run][data]:
                    yield Violation("I7", run, f"signal {data} of entry {seq} was sent by nobody")


def _heard(told: Told) -> dict[str, list[int]]:
    """Return where each message stands in a journal."""
    found: dict[str, list[int]] = {}
    for seq, event in told.own():
        if isinstance(event, Arrived):
            found.setdefault(_message({"data": event.event.get("data")}), []).append(seq)
    return found


def _hearers(heard: Mapping[str, Mapping[str, list[int]]]) -> dict[str, list[str]]:
    """Return in whose journals each message stands."""
    found: dict[str, list[str]] = defaultdict(list)
    for run, messages in heard.items():
        for data in messages:
            found[data].append(run)
    return found


def _heard_twice(case: Case) -> Found:
    for run, told in case.runs.items():
        heard: set[tuple[str, ...]] = set()
        for seq, event in told.own():
            if isinstance(event, Arrived):
                # A block of a document that is tried again emits under the same id, at another time.
                name = tuple(str(event.event.get(part)) for part in ("source", "id", "time"))
                if name in heard:
                    yield Violation(
                        "I7",
                        run,
                        f"the event of entry {seq} is in the journal twice: {name}",
                    )
                heard.add(name)


def _in_order(
    case: Case, heard: Mapping[str, Mapping[str, list[int]]], hearers: Mapping[str, list[str]]
) -> Found:
    last: dict[tuple[int, str, str], tuple[int, str]] = {}
    for call, _ in sorted(case.calls, key=lambda pair: (pair[0].client, pair[0].number)):
        if call.verb not in ("signal", "emit"):
            continue
        data = _message(call.value)
        for run in [call.run] if call.verb == "signal" else hearers.get(data, ()):
            there = heard.get(run, {}).get(data)
            if not there:
                continue
            before, other = last.get((call.client, run, call.verb), (0, ""))
            if there[0] < before:
                yield Violation(
                    "I7",
                    run,
                    f"{call.verb} {data} was sent after {other} and recorded before it",
                )
            last[call.client, run, call.verb] = (there[0], data)


def _message(value: Json) -> str:
    data = value.get("data") if isinstance(value, dict) else None
    return _encoder.encode(data).decode()


def listeners_hear(case: Case) -> Found:
    """I7: an event is recorded with every run that listened before somebody began to send it, and still does.

    Only where the time of each entry is known by the ledger's clock, and no clock was set. A run whose code could
    not take it up hears nothing until it is resumed, as `docs/how-to/change-running-workflows.md` says.
    """
    if not (case.evidence.clocks_agree and case.evidence.seen_at):
        return
    listening: dict[str | None, list[tuple[str, float, float, set[str]]]] = defaultdict(list)
    for run, types, since, until, heard in _listening(case):
        for type_ in (None,) if types is None else dict.fromkeys(types):
            listening[type_].append((run, since, until, heard))
    sent: list[tuple[str, str, float, float]] = []
    for told in case.runs.values():
        for asked in told.asked.values():
            if isinstance(asked.command, Emit) and asked.command.id in told.outcomes:
                event, at = (
                    asked.command.event,
                    told.outcomes[asked.command.id][0].event,
                )
                begun = told.time(asked.seq)
                if isinstance(at, Answered):
                    sent.append((str(event["type"]), str(event["id"]), begun, at.time))
    ends = {(line.client, line.number): line.at for line in case.evidence.calls if line.what == "ok"}
    for call, end in case.calls:
        if call.verb == "emit" and end == "ok" and isinstance(call.value, dict):
            sent.append(
                (
                    str(call.value.get("type")),
                    _message(call.value),
                    call.at,
                    ends[call.client, call.number],
                )
            )
    for kind, name, begun, done in sent:
        for run, since, until, heard in chain(listening[kind], listening[None]):
            if since >= begun or until <= done or name in heard:
                continue
            if not any(begun < end and done > begin for begin, end in deaf(case, run)):
                yield Violation("I7", run, f"it listened for {kind} and did not hear {name}")


def deaf(case: Case, run: str) -> list[tuple[float, float]]:
    """Return since when and until when a run may have been kept by code that does not fit its history."""
    if not case.evidence.code_was_changed:
        return []
    events = [event for _, event in case.runs[run].own() if isinstance(event, Suspended | Resumed)]
    ends = [*(event.time for event in events[1:]), inf]
    return [
        (event.time, end) for event, end in zip(events, ends, strict=False) if isinstance(event, Suspended)
    ]


def _listening(
    case: Case,
) -> Iterator[tuple[str, tuple[str, ...] | None, float, float, set[str]]]:
    """Yield who listens for which types, since when and until when, and the ids and data of what it heard."""
    for run, told in case.runs.items():
        listens = {id: asked for id, asked in told.asked.items() if isinstance(asked.command, Listen)}
        if not listens or told.replay is None or told.replay.stuck is not None:
            continue
        ended = told.row.ended if told.row.ended is not None else float("inf")
        heard = set(_heard(told))
        heard |= {str(event.event.get("id")) for _, event in told.own() if isinstance(event, Arrived)}
        dropped = {id: told.time(seq) for id, seq in told.dropped.items()}
        for id, asked in listens.items():
            since = case.evidence.seen_at.get((run, asked.seq))
            if since is not None and isinstance(asked.command, Listen):
                yield run, asked.command.types, since, dropped.get(id, ended), heard


def acknowledged_is_recorded(case: Case) -> Found:
    """The promise: what somebody saw as durable is there; a cancellation, pause or end of a pause that was
    acknowledged is in the journal once, one that was refused never, one that nobody knows of at most once.
    """
    for run, seq in sorted(case.evidence.acked_entries):
        told = case.runs.get(run)
        if told is None or seq > len(told.entries):
            yield Violation("promise", run, f"entry {seq} was shown as durable and is not there")
    yield from _exchanged(case)
    counted: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for call, end in case.calls:
        if call.verb in _REQUESTS:
            counted[call.run, call.verb][end] += 1
    for (run, verb), ends in counted.items():
        told = case.runs.get(run)
        events = [event for _, event in told.own()] if told is not None else []
        there = sum(1 for event in events if _REQUESTS[verb](event))
        # The end of a pause that was over already is acknowledged, and there is nothing to record.
        least = 0 if verb == "resume" else ends["ok"]
        if not least <= there <= ends["ok"] + ends["info"]:
            known = ", ".join(f"{number} {end}" for end, number in sorted(ends.items()))
            yield Violation(
                "promise",
                run,
                f"{verb} is in the journal {there} times; clients saw {known}",
            )


def _exchanged(case: Case) -> Found:
    """An entry that was shown, then lost, and another took its place."""
    stored: dict[str, dict[int, bytes]] = {}
    for (run, seq), digest in sorted(case.evidence.acked_digests.items()):
        if run in case.runs:
            if run not in stored:
                stored[run] = dict(case.evidence.journals[run][1])
            data = stored[run].get(seq)
            if data is not None and digest_of(data) != digest:
                yield Violation(
                    "promise", run, f"entry {seq} is another than the one that was shown as durable"
                )


def _is_cancel(event: Event) -> bool:
    return isinstance(event, CancelRequested) and event.reason != NOT_NEEDED


def _is_pause(event: Event) -> bool:
    return isinstance(event, Suspended) and event.reason is None


def _is_resume(event: Event) -> bool:
    return isinstance(event, Resumed)


_REQUESTS: Final[Mapping[str, Callable[[Event], bool]]] = {
    "cancel": _is_cancel,
    "suspend": _is_pause,
    "resume": _is_resume,
}


# ── I10, I11, I12 ────────────────────────────────────────────────────────────────────────


def folds_give_the_same(case: Case) -> Found:
    """I10: two folds of a journal give the same commands, byte for byte, and the notes that were recorded."""
    for run, (first, second) in case.evidence.replays.items():
        told = case.runs.get(run)
        if first.stuck is not None or second.stuck is not None:
            yield Violation("I10", run, f"it cannot be folded: {first.stuck or second.stuck}")
        elif first != second:
            place = next(
                name for name in Replay.__struct_fields__ if getattr(first, name) != getattr(second, name)
            )
            seen = f"{getattr(first, place)!r} and {getattr(second, place)!r}"
            yield Violation("I10", run, f"two folds differ in `{place}`: {seen[:500]}")
        elif told is not None:
            recorded = tuple(_encoder.encode(entry.notes) for _, entry in told.entries)
            if recorded != first.entries:
                seq = next(
                    (
                        seq
                        for seq, (a, b) in enumerate(zip(recorded, first.entries, strict=False), 1)
                        if a != b
                    ),
                    0,
                )
                yield Violation(
                    "I10",
                    run,
                    f"the notes of entry {seq} are not those that were recorded",
                )


def secrets_stay_secret(case: Case) -> Found:
    """I11: no secret value stands in a journal, a row, a log, an error or a file."""
    canaries = case.evidence.canaries
    if not canaries:
        return
    for run, (row, stored) in case.evidence.journals.items():
        text = _encoder.encode(row) + b"".join(data for _, data in stored)
        if any(canary in text for canary in canaries):
            yield Violation("I11", run, "a secret stands in its journal or its row")
    for name, text in case.evidence.texts.items():
        if any(canary in text for canary in canaries):
            yield Violation("I11", "", f"a secret stands in {name}")


def ticks_start_one_run(case: Case) -> Found:
    """I12: each tick of a schedule starts at most one run, and one that is there.

    Schedules do not run yet: they come with the server. The check is here for the layer that will bring ticks.
    """
    for tick, runs in case.evidence.ticks.items():
        if len(runs) > 1:
            yield Violation("I12", runs[0], f"the tick {tick} started {len(runs)} runs")
        for run in runs:
            if run not in case.runs:
                yield Violation("I12", run, f"the tick {tick} started it, and it is not there")


INVARIANTS: Final[tuple[Callable[[Case], Found], ...]] = (
    started_runs_are_there_and_end,
    one_run_for_each_id,
    journals_are_contiguous,
    outcomes_are_recorded_once,
    effects_follow_from_the_journal,
    nothing_begins_after_the_end,
    timers_fire_on_time,
    messages_arrive_once_and_in_order,
    listeners_hear,
    acknowledged_is_recorded,
    folds_give_the_same,
    secrets_stay_secret,
    ticks_start_one_run,
)
"""I8 and I9 (approvals, audit) join with governance."""


def _shown(seqs: list[int]) -> str:
    wrong = next((place for place, seq in enumerate(seqs, 1) if seq != place), len(seqs) + 1)
    return f"place {wrong} has {seqs[wrong - 1] if wrong <= len(seqs) else 'nothing'}"
