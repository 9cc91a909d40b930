"""The checker passes good evidence, and reports each thing that is put wrong in it, wherever that is.

The good evidence is that of a simulation: real journals, real folds, several clients and crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenuto.engine.model import (
    SIGNAL,
    TERMINAL,
    Answered,
    Arrived,
    Entry,
    Perform,
    StartRun,
    Wake,
)
from tenuto.engine.ports import RunRow
from tests.reliability.cases import Case, performs
from tests.reliability.checker import check, deaf
from tests.reliability.evidence import Call, Effect, Evidence, digest_of
from tests.reliability.simulation.play import play

Stored = Sequence[tuple[int, bytes]]
Corrupt = Callable[[Evidence, Random], Evidence | None]
"""Puts something wrong; None where this evidence has nothing of that kind."""

_entries = msgspec.json.Decoder(Entry)
_encode = msgspec.json.encode
_SEEDS: Final = range(1, 40)


def good() -> list[Evidence]:
    """Evidence of seeds without a clock that was set, in which much happened."""
    if not _GOOD:
        played = (play(seed) for seed in _SEEDS)
        _GOOD.extend(
            each.evidence for each in played if each.evidence.clocks_agree and len(each.evidence.effects) > 8
        )
    return _GOOD


_GOOD: list[Evidence] = []


# ── putting things wrong ─────────────────────────────────────────────────────────────────


def pick(chance: Random, things: Any) -> Any:
    """Return one of these, None if there is none."""
    kept = list(things)
    return chance.choice(kept) if kept else None


def told(evidence: Evidence, run: str) -> list[tuple[int, Entry]]:
    """Return a run's entries, decoded."""
    return [(seq, _entries.decode(data)) for seq, data in evidence.journals[run][1]]


def with_run(
    evidence: Evidence, run: str, row: RunRow | None = None, stored: Stored | None = None
) -> Evidence:
    """Return evidence in which a run has another row or another journal."""
    before = evidence.journals[run]
    changed = (before[0] if row is None else row, before[1] if stored is None else stored)
    return replace(evidence, journals={**evidence.journals, run: changed})


def with_row(evidence: Evidence, run: str, **values: Any) -> Evidence:
    """Return evidence in which a run's row has other values."""
    return with_run(evidence, run, msgspec.structs.replace(evidence.journals[run][0], **values))


def with_replay(evidence: Evidence, run: str, **values: Any) -> Evidence:
    """Return evidence in which both folds of a run gave something else."""
    first, second = (msgspec.structs.replace(each, **values) for each in evidence.replays[run])
    return replace(evidence, replays={**evidence.replays, run: (first, second)})


def numbered(entries: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Return entries with numbers from 1."""
    return list(enumerate(entries, 1))


def lines(evidence: Evidence, run: str) -> list[bytes]:
    """Return a run's entries as stored."""
    return [data for _, data in evidence.journals[run][1]]


def asked(evidence: Evidence, verb: str, what: str) -> list[Call]:
    """Return the calls of a verb that ended so."""
    ends = {(line.client, line.number): line.what for line in evidence.calls if line.what != "invoke"}
    return [
        line
        for line in evidence.calls
        if line.what == "invoke" and line.verb == verb and ends.get((line.client, line.number)) == what
    ]


def ended_with(evidence: Evidence, call: Call, what: Any) -> Evidence:
    """Return evidence in which a call ended otherwise."""
    calls = [
        msgspec.structs.replace(line, what=what)
        if (line.client, line.number) == (call.client, call.number) and line.what != "invoke"
        else line
        for line in evidence.calls
    ]
    return replace(evidence, calls=calls)


def over(evidence: Evidence, *, least: int = 1) -> list[str]:
    """Return the runs that ended, with so many entries at least."""
    return [
        run
        for run, (row, stored) in evidence.journals.items()
        if row.status in TERMINAL and len(stored) >= least and row.origin is None
    ]


# ── what can be wrong ────────────────────────────────────────────────────────────────────


def _a_run_is_lost(evidence: Evidence, chance: Random) -> Evidence | None:
    call = pick(chance, asked(evidence, "start", "ok"))
    return call and replace(evidence, journals={r: j for r, j in evidence.journals.items() if r != call.run})


def _a_run_does_not_end(evidence: Evidence, chance: Random) -> Evidence | None:
    return with_row(evidence, chance.choice(over(evidence)), status="waiting", ended=None, outcome=None)


def _a_number_is_used_twice(evidence: Evidence, chance: Random) -> Evidence | None:
    if len(evidence.journals) < 2:
        return None
    one, other = chance.sample(sorted(evidence.journals), 2)
    return with_row(evidence, one, number=evidence.journals[other][0].number)


def _a_run_is_started_twice(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(over(evidence))
    before = lines(evidence, run)
    return with_run(evidence, run, stored=numbered([before[0], *before]))


def _one_id_has_two_inputs(evidence: Evidence, chance: Random) -> Evidence | None:
    call = pick(chance, asked(evidence, "start", "ok"))
    if call is None:
        return None
    other = msgspec.structs.replace(call, client=999, number=1, value={"workflow": "flow", "input": "other"})
    return replace(evidence, calls=[*evidence.calls, other, msgspec.structs.replace(other, what="ok")])


def _all_starts_are_of_another_input(evidence: Evidence, chance: Random) -> Evidence | None:
    return _all_starts(evidence, lambda value: {**value, "input": {**value["input"], "n": "another"}})


def _all_starts_are_of_another_workflow(evidence: Evidence, chance: Random) -> Evidence | None:
    return _all_starts(evidence, lambda value: {**value, "workflow": "another"})


def _all_starts(evidence: Evidence, change: Callable[[Any], Any]) -> Evidence | None:
    known = [call.run in evidence.journals for call in evidence.calls if call.verb == "start"]
    calls = [
        msgspec.structs.replace(line, value=change(line.value)) if line.verb == "start" else line
        for line in evidence.calls
    ]
    return replace(evidence, calls=calls) if any(known) else None


def _nobody_started_a_run(evidence: Evidence, chance: Random) -> Evidence | None:
    roots = [run for run, (row, _) in evidence.journals.items() if row.parent is None and row.origin is None]
    run = chance.choice(roots)
    calls = [line for line in evidence.calls if not (line.verb == "start" and line.run == run)]
    return replace(evidence, calls=calls) if any(line.verb == "start" for line in calls) else None


def _a_seq_is_missing(evidence: Evidence, chance: Random) -> Evidence | None:
    run = pick(chance, over(evidence, least=3))
    if run is None:
        return None
    stored = list(evidence.journals[run][1])
    del stored[chance.randrange(len(stored) - 1)]
    return with_run(evidence, run, stored=stored)


def _an_entry_is_damaged(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(sorted(evidence.journals))
    stored = list(evidence.journals[run][1])
    place = chance.randrange(len(stored))
    stored[place] = (stored[place][0], stored[place][1][: chance.randrange(len(stored[place][1]))])
    return with_run(evidence, run, stored=stored)


def _an_entry_comes_after_the_end(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(over(evidence))
    late = _encode([["arrived", evidence.journals[run][0].updated + 1, {"type": "e0", "id": "late"}], []])
    return with_run(evidence, run, stored=numbered([*lines(evidence, run), late]))


def _a_row_says_something_else(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(over(evidence))
    status = evidence.journals[run][0].status
    return with_row(evidence, run, status="cancelled" if status != "cancelled" else "faulted")


def _a_row_has_another_outcome(evidence: Evidence, chance: Random) -> Evidence | None:
    return with_row(evidence, chance.choice(over(evidence)), outcome={"output": "another"})


def _an_outcome_is_recorded_twice(evidence: Evidence, chance: Random) -> Evidence | None:
    run, place = _answer(evidence, chance)
    if run is None:
        return None
    before = lines(evidence, run)
    return with_run(evidence, run, stored=numbered([*before[: place + 1], *before[place:]]))


def _an_outcome_was_not_asked_for(evidence: Evidence, chance: Random) -> Evidence | None:
    run, place = _answer(evidence, chance)
    if run is None:
        return None
    before = lines(evidence, run)
    entry = _entries.decode(before[place])
    before[place] = _encode(
        msgspec.structs.replace(entry, event=msgspec.structs.replace(entry.event, id=9_999))
    )
    return with_run(evidence, run, stored=numbered(before))


def _answer(evidence: Evidence, chance: Random) -> tuple[str | None, int]:
    found = [
        (run, place)
        for run in evidence.journals
        for place, (_, entry) in enumerate(told(evidence, run))
        if isinstance(entry.event, Answered)
    ]
    return chance.choice(found) if found else (None, 0)


def _an_effect_of_no_run(evidence: Evidence, chance: Random) -> Evidence | None:
    effect = chance.choice(evidence.effects)
    return replace(evidence, effects=[*evidence.effects, msgspec.structs.replace(effect, run="nobody")])


def _an_effect_with_another_key(evidence: Evidence, chance: Random) -> Evidence | None:
    effect = chance.choice(evidence.effects)
    return replace(
        evidence, effects=[*evidence.effects, msgspec.structs.replace(effect, key=effect.key + "x")]
    )


def _an_attempt_that_was_not_asked_for(evidence: Evidence, chance: Random) -> Evidence | None:
    effect = chance.choice(evidence.effects)
    return replace(evidence, effects=[*evidence.effects, msgspec.structs.replace(effect, attempt=77)])


def _an_effect_after_its_outcome(evidence: Evidence, chance: Random) -> Evidence | None:
    effect = pick(chance, _recorded(evidence))
    late = effect and msgspec.structs.replace(effect, life=effect.life + 1, at=effect.at + 5_000)
    return effect and replace(evidence, effects=[*evidence.effects, late])


def _an_effect_after_it_was_dropped(evidence: Evidence, chance: Random) -> Evidence | None:
    found = [
        effect
        for effect in evidence.effects
        for told in [Case(evidence).runs[effect.run]]
        for commands in [performs(told).get((effect.key, effect.attempt), [])]
        if commands and all(each.id in told.dropped and each.id not in told.outcomes for each in commands)
    ]
    effect = pick(chance, found)
    return effect and replace(
        evidence, effects=[*evidence.effects, msgspec.structs.replace(effect, at=effect.at + 5_000)]
    )


def _an_effect_before_it_was_asked_for(evidence: Evidence, chance: Random) -> Evidence | None:
    effect = pick(chance, _recorded(evidence))
    return effect and replace(
        evidence, effects=[*evidence.effects, msgspec.structs.replace(effect, at=effect.at - 5_000)]
    )


def _a_success_without_an_effect(evidence: Evidence, chance: Random) -> Evidence | None:
    effect = pick(chance, _recorded(evidence))
    if effect is None:
        return None
    kept = [each for each in evidence.effects if (each.key, each.attempt) != (effect.key, effect.attempt)]
    functions = {
        command.function
        for told in Case(replace(evidence, effects=kept)).runs.values()
        for (key, attempt), commands in performs(told).items()
        for command in commands
        if any((each.key, each.attempt) == (key, attempt) for each in kept)
    }
    lost = performs(Case(evidence).runs[effect.run])[effect.key, effect.attempt][0].function
    return replace(evidence, effects=kept) if lost in functions else None


def _recorded(evidence: Evidence) -> list[Effect]:
    """Return the effects of actions that succeeded, once."""
    case = Case(evidence)
    found = []
    for effect in evidence.effects:
        told = case.runs[effect.run]
        commands = performs(told).get((effect.key, effect.attempt), [])
        outcomes = [told.outcomes.get(command.id) for command in commands]
        own = told.shared == 0
        if own and len(outcomes) == 1 and outcomes[0] and isinstance(outcomes[0][0].event, Answered):
            found.append(effect)
    return found


def _an_attempt_with_a_key_of_its_own(evidence: Evidence, chance: Random) -> Evidence | None:
    found = [
        run
        for run, told in Case(evidence).runs.items()
        if any(isinstance(each.command, Perform) and each.command.attempt > 1 for each in told.asked.values())
    ]
    run = pick(chance, found)
    if run is None:
        return None
    wanted = []
    for data in evidence.replays[run][0].wanted:
        commands = msgspec.json.decode(data)
        for command in commands:
            if command["type"] == "perform" and command["attempt"] > 1:
                command["key"] += "-again"
        wanted.append(_encode(commands))
    return with_replay(replace(evidence, effects=()), run, wanted=tuple(wanted))


def _a_parent_was_not_told(evidence: Evidence, chance: Random) -> Evidence | None:
    children = [
        row
        for row, _ in evidence.journals.values()
        if row.parent_command is not None and row.ended is not None
    ]
    child = pick(chance, children)
    if child is None or child.parent not in evidence.replays:
        return None
    open = _encode(StartRun(child.parent_command, "/part", "default", "part", "1.0.0", {}))
    return with_replay(evidence, child.parent, open=(open,))


def _an_effect_after_the_end(evidence: Evidence, chance: Random) -> Evidence | None:
    effect = pick(chance, (each for each in evidence.effects if each.run in over(evidence)))
    return effect and replace(
        evidence, effects=[*evidence.effects, msgspec.structs.replace(effect, at=effect.at + 10_000)]
    )


def _something_is_open_after_the_end(evidence: Evidence, chance: Random) -> Evidence | None:
    return with_replay(evidence, chance.choice(over(evidence)), open=(_encode(Wake(1, 5.0)),))


def _a_timer_fires_early(evidence: Evidence, chance: Random) -> Evidence | None:
    return _with_timer(evidence, chance, lambda due, fired: due - 0.001)


def _a_timer_fires_late(evidence: Evidence, chance: Random) -> Evidence | None:
    bound = evidence.timer_bound_seconds or 0.0
    return _with_timer(evidence, chance, lambda due, fired: fired + bound + 0.001)


def _with_timer(evidence: Evidence, chance: Random, at: Callable[[float, float], float]) -> Evidence | None:
    found = _timers(evidence)
    if not found:
        return None
    run, seq, due = chance.choice(found)
    before = lines(evidence, run)
    entry = _entries.decode(before[seq - 1])
    event = msgspec.structs.replace(entry.event, time=at(due, entry.event.time))
    before[seq - 1] = _encode(msgspec.structs.replace(entry, event=event))
    return with_run(evidence, run, stored=numbered(before))


def _timers(evidence: Evidence) -> list[tuple[str, int, float]]:
    return [
        (run, outcome.seq, asked.command.at)
        for run, told in Case(evidence).runs.items()
        for asked in told.asked.values()
        if isinstance(asked.command, Wake)
        for outcome in told.outcomes.get(asked.command.id, ())
        if outcome.seq > told.shared and outcome.event.time > asked.command.at
    ]


def _signals(evidence: Evidence) -> dict[str, list[int]]:
    """Return where the signals of each run's own journal stand that somebody knows to be there."""
    sent = {call.value["data"] for call in asked(evidence, "signal", "ok")}
    return {
        run: [
            seq
            for seq, entry in told(evidence, run)
            if isinstance(entry.event, Arrived)
            and entry.event.event.get("type") == SIGNAL
            and entry.event.event.get("data") in sent
        ]
        for run in evidence.journals
    }


def _a_signal_is_lost(evidence: Evidence, chance: Random) -> Evidence | None:
    run = pick(chance, (run for run, places in _signals(evidence).items() if places))
    if run is None or evidence.journals[run][0].origin is not None:
        return None
    place = chance.choice(_signals(evidence)[run])
    before = lines(evidence, run)
    del before[place - 1]
    return with_run(evidence, run, stored=numbered(before))


def _a_signal_comes_twice(evidence: Evidence, chance: Random) -> Evidence | None:
    run = pick(chance, (run for run, places in _signals(evidence).items() if places))
    if run is None or evidence.journals[run][0].origin is not None:
        return None
    place = chance.choice(_signals(evidence)[run])
    before = lines(evidence, run)
    return with_run(evidence, run, stored=numbered([*before[:place], *before[place - 1 :]]))


def _a_refused_signal_is_there(evidence: Evidence, chance: Random) -> Evidence | None:
    call = pick(chance, asked(evidence, "signal", "ok"))
    return call and ended_with(evidence, call, "fail")


def _signals_are_exchanged(evidence: Evidence, chance: Random) -> Evidence | None:
    clients = {call.value["data"]: call.client for call in asked(evidence, "signal", "ok")}
    for run, places in _signals(evidence).items():
        entries = dict(told(evidence, run))
        data = {place: entries[place].event.event["data"] for place in places}  # type: ignore[union-attr]  # arrivals
        pairs = [
            (one, other)
            for one in places
            for other in places
            if one < other and clients[data[one]] == clients[data[other]]
        ]
        if pairs and evidence.journals[run][0].origin is None:
            one, other = chance.choice(pairs)
            before = lines(evidence, run)
            before[one - 1], before[other - 1] = before[other - 1], before[one - 1]
            return with_run(evidence, run, stored=numbered(before))
    return None


def _a_signal_of_nobody(evidence: Evidence, chance: Random) -> Evidence | None:
    run = pick(chance, (run for run, places in _signals(evidence).items() if places))
    if run is None or evidence.journals[run][0].origin is not None:
        return None
    place = chance.choice(_signals(evidence)[run])
    before = lines(evidence, run)
    entry = _entries.decode(before[place - 1])
    assert isinstance(entry.event, Arrived)
    event = msgspec.structs.replace(
        entry.event, event={**entry.event.event, "data": "from nobody", "id": "new"}
    )
    before[place - 1] = _encode(msgspec.structs.replace(entry, event=event))
    return with_run(evidence, run, stored=numbered(before))


def _a_listener_was_left_out(evidence: Evidence, chance: Random) -> Evidence | None:
    """A client's event, between whose beginning and end somebody listened, is nowhere."""
    for run, told in Case(evidence).runs.items():
        for asked in told.asked.values():
            types = getattr(asked.command, "types", None)
            since = evidence.seen_at.get((run, asked.seq))
            if not types or since is None or asked.command.id in told.dropped or told.shared:
                continue
            if told.row.ended is not None and told.row.ended > since + 1 and not deaf(Case(evidence), run):
                call = Call(
                    client=999, number=1, what="invoke", verb="emit", run="", at=since + 0.1,
                    value={"type": types[0], "data": "lost"},
                )  # fmt: skip
                done = msgspec.structs.replace(call, what="ok", at=since + 0.2)
                return replace(evidence, calls=[*evidence.calls, call, done])
    return None


def _a_durable_entry_is_gone(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(sorted(evidence.journals))
    seen = (run, len(evidence.journals[run][1]) + 1)
    return replace(evidence, acked_entries=evidence.acked_entries | {seen})


def _an_entry_was_exchanged(evidence: Evidence, chance: Random) -> Evidence | None:
    """What chance or the clock said when it was asked is another than the one that was shown."""
    shown = {
        (run, seq): digest_of(data) for run, (_, stored) in evidence.journals.items() for seq, data in stored
    }
    run = chance.choice(sorted(evidence.journals))
    before = lines(evidence, run)
    place = chance.randrange(len(before))
    entry = _entries.decode(before[place])
    event = msgspec.structs.replace(entry.event, time=entry.event.time + 0.001)
    before[place] = _encode(msgspec.structs.replace(entry, event=event))
    return with_run(replace(evidence, acked_digests=shown), run, stored=numbered(before))


def _a_cancellation_is_lost(evidence: Evidence, chance: Random) -> Evidence | None:
    return _requested(evidence, chance, "cancel")


def _a_pause_is_lost(evidence: Evidence, chance: Random) -> Evidence | None:
    return _requested(evidence, chance, "suspend")


def _a_resumption_of_nobody(evidence: Evidence, chance: Random) -> Evidence | None:
    call = pick(chance, asked(evidence, "resume", "ok"))
    if call is None or not any(type(e.event).__name__ == "Resumed" for _, e in told(evidence, call.run)):
        return None
    for other in asked(evidence, "resume", "ok"):
        if other.run == call.run:
            evidence = ended_with(evidence, other, "fail")
    return evidence


def _requested(evidence: Evidence, chance: Random, verb: str) -> Evidence:
    """Let one more request of a kind be acknowledged that nobody has recorded."""
    run = chance.choice(sorted(evidence.journals))
    call = Call(client=999, number=1, what="invoke", verb=verb, run=run, at=0.0)
    return replace(evidence, calls=[*evidence.calls, call, msgspec.structs.replace(call, what="ok")])


def _two_folds_differ(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(sorted(evidence.replays))
    first, second = evidence.replays[run]
    second = msgspec.structs.replace(second, wanted=(*second.wanted[:-1], b'[{"type":"drop","id":1}]'))
    return replace(evidence, replays={**evidence.replays, run: (first, second)}) if first != second else None


def _a_fold_gives_other_notes(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(sorted(evidence.replays))
    entries = list(evidence.replays[run][0].entries)
    entries[chance.randrange(len(entries))] = b'[["/x","started","step",1,null]]'
    return with_replay(evidence, run, entries=tuple(entries))


def _a_fold_does_not_get_through(evidence: Evidence, chance: Random) -> Evidence | None:
    return with_replay(evidence, chance.choice(sorted(evidence.replays)), stuck="it does not fit")


def _a_secret_in_a_journal(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(sorted(evidence.journals))
    stored = list(evidence.journals[run][1])
    seq, data = stored[-1]
    stored[-1] = (seq, data.replace(b"]", b',"%s"]' % evidence.canaries[0], 1))
    return with_run(evidence, run, stored=stored)


def _a_secret_in_a_row(evidence: Evidence, chance: Random) -> Evidence | None:
    run = chance.choice(sorted(evidence.journals))
    return with_row(evidence, run, outcome={"output": f"the {evidence.canaries[0].decode()}!"})


def _a_secret_in_a_log(evidence: Evidence, chance: Random) -> Evidence | None:
    return replace(evidence, texts={**evidence.texts, "a core": b"\0" + evidence.canaries[0] + b"\0"})


def _a_tick_of_two_runs(evidence: Evidence, chance: Random) -> Evidence | None:
    runs = sorted(evidence.journals)
    return replace(evidence, ticks={"noon": runs[:2]}) if len(runs) > 1 else None


def _a_tick_of_no_run(evidence: Evidence, chance: Random) -> Evidence | None:
    return replace(evidence, ticks={"noon": ["nobody"]})


CORRUPTIONS: Mapping[str, tuple[Corrupt, ...]] = {
    "I1": (_a_run_is_lost, _a_run_does_not_end),
    "I2": (
        _a_number_is_used_twice,
        _a_run_is_started_twice,
        _one_id_has_two_inputs,
        _all_starts_are_of_another_input,
        _all_starts_are_of_another_workflow,
        _nobody_started_a_run,
    ),
    "I3": (
        _a_seq_is_missing,
        _an_entry_is_damaged,
        _an_entry_comes_after_the_end,
        _a_row_says_something_else,
        _a_row_has_another_outcome,
    ),
    "I4": (
        _an_outcome_is_recorded_twice,
        _an_outcome_was_not_asked_for,
        _an_effect_of_no_run,
        _an_effect_with_another_key,
        _an_attempt_that_was_not_asked_for,
        _an_effect_after_its_outcome,
        _an_effect_after_it_was_dropped,
        _an_effect_before_it_was_asked_for,
        _a_success_without_an_effect,
        _an_attempt_with_a_key_of_its_own,
        _a_parent_was_not_told,
    ),
    "I5": (_an_effect_after_the_end, _something_is_open_after_the_end),
    "I6": (_a_timer_fires_early, _a_timer_fires_late),
    "I7": (
        _a_signal_is_lost,
        _a_signal_comes_twice,
        _a_refused_signal_is_there,
        _signals_are_exchanged,
        _a_signal_of_nobody,
        _a_listener_was_left_out,
    ),
    "promise": (
        _a_durable_entry_is_gone,
        _an_entry_was_exchanged,
        _a_cancellation_is_lost,
        _a_pause_is_lost,
        _a_resumption_of_nobody,
    ),
    "I10": (_two_folds_differ, _a_fold_gives_other_notes, _a_fold_does_not_get_through),
    "I11": (_a_secret_in_a_journal, _a_secret_in_a_row, _a_secret_in_a_log),
    "I12": (_a_tick_of_two_runs, _a_tick_of_no_run),
}


@pytest.mark.slow
def test_good_evidence_passes() -> None:
    """Of many simulations, with crashes: nothing is reported, and there is something to look at."""
    found = [violation for evidence in good() for violation in check(evidence)]
    entries = [entry for evidence in good() for run in evidence.journals for _, entry in told(evidence, run)]

    assert found == []
    assert {type(entry.event).__name__ for entry in entries} >= {"Started", "Answered", "Failed", "Arrived"}


def test_no_evidence_passes() -> None:
    """Where nothing happened, nothing went wrong."""
    assert check(Evidence()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("invariant", "corrupt"),
    [(invariant, corrupt) for invariant, all in CORRUPTIONS.items() for corrupt in all],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_each_thing_that_is_wrong_is_reported(invariant: str, corrupt: Corrupt) -> None:
    """In every evidence that has something of the kind, and under the name of the invariant."""
    corrupted = missed = 0
    for number, evidence in enumerate(good()):
        wrong = corrupt(evidence, Random(number))
        if wrong is None:
            continue
        corrupted += 1
        missed += invariant not in {violation.invariant for violation in check(wrong)}

    assert corrupted
    assert missed == 0


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_no_journal_can_be_changed_unseen(chance: Random, repeated: bool) -> None:
    """Entries that are left out or repeated anywhere, and numbered anew, are reported."""
    evidence = chance.choice(good())
    run = chance.choice([run for run, (_, stored) in evidence.journals.items() if len(stored) > 2])
    entries = lines(evidence, run)
    place = chance.randrange(1, len(entries) - 1)
    if repeated:
        entries.insert(place, entries[place])
    else:
        del entries[place]

    assert check(with_run(evidence, run, stored=numbered(entries))) != []


def test_corruptions_cover_every_invariant() -> None:
    """Each that is checked has something that is put wrong."""
    assert CORRUPTIONS.keys() == {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "promise", "I10", "I11", "I12"}


DEPLOYED_TOO_EARLY: Final = 108_522
"""A seed in which a run is kept, as its code does not fit its history, while events come for which it had listened."""


def test_a_run_that_is_kept_for_its_code_need_not_hear() -> None:
    """Only its code knows for what it listens; elsewhere who is suspended hears like everybody."""
    evidence = play(DEPLOYED_TOO_EARLY).evidence
    same_code = replace(evidence, code_was_changed=False)

    assert evidence.code_was_changed
    assert list(check(evidence)) == []
    assert {violation.invariant for violation in check(same_code)} == {"I7"}
