"""The page hides no failure: not of a round, not of a mode, not that less was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bench.plan import Measurement
from bench.report import LETTERS, page
from bench.results import Results
from bench.running import Record
from bench.targets import TARGETS
from tests.bench.results import answers, data, rates, results

IN_FLIGHT = ("in-flight", 500)
Answers = Sequence[Mapping[str, Any]]


def _in_flight(system: str, mode: str, *values: float | str) -> Answers:
    return answers(system, mode, *IN_FLIGHT, rates(*values))


def _verdict(text: str, *parts: Answers) -> tuple[str, str]:
    """Return what the page says of the target whose text has these words."""
    (target,) = (one for one in TARGETS if text in one.text)
    return target.judged(results(*parts))


def _row(start: str, *parts: Answers) -> str:
    """Return the first row of the tables side by side that begins so."""
    lines = "\n".join(page(results(*parts), [])).partition("## Side by side")[2].splitlines()
    return next(line for line in lines if line.startswith(f"| {start} "))


# ── rounds that failed ─────────────────────────────────────────────────────────────────────


def test_rounds_that_failed_are_told_beside_the_figures_of_the_others() -> None:
    """The cell says on how many rounds it rests, the note how many failed and why."""
    lost = _in_flight("tenuto", "code", "a lost result", 21_000, "a lost result")
    peer = _in_flight("restate", "h2", 1000, 1000, 1000)

    assert "| 21,000 (1 of 3 rounds) |" in _row("Tenuto, Python", lost, peer)
    assert "2 of 3 rounds failed: a lost result" in _row("Tenuto, Python", lost, peer)
    assert "| 21 (1 of 3 rounds) |" in _row("Restate, h2", lost, peer)


def test_rounds_that_all_have_figures_need_no_word() -> None:
    """The control: nothing is added where nothing failed."""
    row = _row("Tenuto, Python", _in_flight("tenuto", "code", 21_000, 21_000, 21_000))

    assert row == "| Tenuto, Python | 21,000 | 47.6 |  |  |"


def test_a_cell_tells_of_rounds_that_only_others_had() -> None:
    """Where the time was over for one of them, its figure rests on fewer."""
    ours = _in_flight("tenuto", "code", 20_000, 20_000)
    peer = _in_flight("restate", "h2", 1000)

    assert "| 1,000 (1 of 2 rounds) |" in _row("Restate, h2", ours, peer)
    assert "failed" not in _row("Restate, h2", ours, peer)


def test_no_target_is_met_where_a_round_of_tenuto_failed() -> None:
    """It is not measured, and why; with all rounds there it is met."""
    lost = _in_flight("tenuto", "code", "a lost result", 21_000, "a lost result")

    assert ("–", "not measured: 2 of 3 rounds failed: a lost result") == _verdict(
        "500 in flight (Python)", lost
    )
    assert ("21,000", "met") == _verdict(
        "500 in flight (Python)", _in_flight("tenuto", "code", 21_000, 21_000, 21_000)
    )


def test_every_target_that_is_missed_says_where_the_reason_stands() -> None:
    """No miss without a word on it."""
    measured, verdict = _verdict("500 in flight (Python)", _in_flight("tenuto", "code", 100, 100))

    assert (measured, verdict) == ("100", "**missed**: [why](../docs/performance.md)")


# ── whom targets are judged against ────────────────────────────────────────────────────────


def test_a_target_names_the_mode_that_it_is_judged_against() -> None:
    """The fastest that is documented and durable: not one beyond its documentation, not one on another database."""
    told = _verdict(
        "against DBOS on SQLite",
        _in_flight("tenuto", "code", 20_000),
        _in_flight("dbos", "sqlite-sync", 400),
        _in_flight("dbos", "sqlite-async", 200),
        _in_flight("dbos", "sqlite-tuned", 1000),
        _in_flight("dbos", "postgres-sync", 1000),
    )

    assert told == ("50 times, against DBOS, sqlite-sync", "met")


def test_a_target_names_the_faster_mode_that_failed() -> None:
    """Judged against the next one, it says so."""
    told = _verdict(
        "against DBOS on SQLite",
        _in_flight("tenuto", "code", 20_000),
        _in_flight("dbos", "sqlite-sync", "broken"),
        _in_flight("dbos", "sqlite-async", 200),
    )

    assert told == ("100 times, against DBOS, sqlite-async; without DBOS, sqlite-sync, which failed", "met")


def test_a_target_says_on_how_many_rounds_of_a_peer_it_rests() -> None:
    """Rounds of the peer that failed are not passed over."""
    measured, _ = _verdict(
        "against Restate",
        _in_flight("tenuto", "code", 20_000, 20_000),
        _in_flight("restate", "h2", "broken", 1000),
    )

    assert measured == "20 times (1 of 2 rounds), against Restate, h2"


def test_a_target_is_not_measured_where_all_modes_failed() -> None:
    """With the reason, or that nobody asked."""
    ours = _in_flight("tenuto", "code", 20_000)

    assert ("–", "not measured: Restate, h2: broken") == _verdict(
        "against Restate", ours, _in_flight("restate", "h2", "broken")
    )
    assert ("–", "not measured: Restate was not measured") == _verdict("against Restate", ours)


def test_the_fastest_of_all_names_systems_that_were_not_there() -> None:
    """A system that makes no step durable is not missed."""
    latency = [{"p50_ms": 2.0}]
    told = _verdict(
        "fastest other system",
        answers("tenuto", "code", "latency", 300, latency),
        answers("dbos", "sqlite-sync", "latency", 300, [{"p50_ms": 4.0}]),
        answers("celery", "prefork", "latency", 300, [{"p50_ms": 1.0}]),
    )

    assert told == ("2 times, against DBOS, sqlite-sync; without Restate, which was not measured", "met")


# ── less done than was asked for ───────────────────────────────────────────────────────────


def _restarts(done: int) -> list[Answers]:
    figures = [{"first_progress_seconds": 2.0, "all_over_seconds": 4.0}]
    return [
        answers("tenuto", "code", "restart", 100_000, figures, done=100_000),
        answers("restate", "h2", "restart", 100_000, figures, done=done),
    ]


def test_a_peer_that_did_less_is_shown_without_a_ratio() -> None:
    """Of how many it was is told; the control did all, and is compared."""
    assert _row("Restate, h2", *_restarts(3000)) == "| Restate, h2 | 2 | 4 |  | 3,000 of 100,000 |"
    assert _row("Restate, h2", *_restarts(100_000)) == "| Restate, h2 | 2 | 4 | 1 |  |"


def test_rates_are_compared_also_where_less_was_done() -> None:
    """A rate is of each second, however many there were."""
    ours = answers("tenuto", "code", "signals", 5000, [{"signals_per_second": 5000.0}], done=5000)
    peer = answers("restate", "h2", "signals", 5000, [{"signals_per_second": 50.0}], done=100)

    assert _row("Restate, h2", ours, peer) == "| Restate, h2 | 50 | 100 | 100 of 5,000 |"


@pytest.mark.parametrize(("runs", "told"), [(1, "1 of 300"), (300, "")])
def test_a_latency_of_fewer_runs_says_of_how_many(runs: int, told: str) -> None:
    """A p99 of one run is none; batches that were repeated are not meant."""
    peer = answers("restate", "h2", "latency", 300, [{"p50_ms": 5.0, "p99_ms": 5.0, "runs": runs}])
    figures = {"steps_per_second": 100.0, "cpu_us_per_step": 1.0, "runs": 4}
    again = answers("restate", "h2", *IN_FLIGHT, [figures])

    assert _row("Restate, h2", peer) == f"| Restate, h2 | 5 | 5 |  | {told} |"
    assert _row("Restate, h2", again).endswith("|  |  |")


def test_no_target_is_met_by_less_than_it_says() -> None:
    """It holds for all or is not measured."""
    figures = [{"first_progress_seconds": 2.0}]
    few = answers("tenuto", "code", "restart", 100_000, figures, done=3000)
    all_ = answers("tenuto", "code", "restart", 100_000, figures, done=100_000)

    assert ("–", "not measured: 3,000 of 100,000") == _verdict("open runs: first progress (Python)", few)
    assert ("2 s", "met") == _verdict("open runs: first progress (Python)", all_)


def test_what_was_done_is_kept_beside_what_was_asked_for(tmp_path: Any) -> None:
    """A program answers in `size` what it did; results are found by what was asked for."""
    record = Record(tmp_path / "results.json", data())
    asked = Measurement("restate", "h2", "restart", 100_000, 1)

    record.add(asked, {"size": 3000, "figures": {"first_progress_seconds": 2.0}}, 0.1, 1.0)
    record.add(asked, {"reason": "broken"}, 0.1, 1.0)

    assert [(100_000, 3000), (100_000, None)] == [
        (one["size"], one.get("done")) for one in record.data["answers"]
    ]


def _at_once(*had: int, seconds: int = 5, asked: int = 500) -> Answers:
    """Return rounds that had so many in flight; those that had all need no note."""
    notes = [f"{one} at once; {asked} would have taken more than {seconds} s" for one in had]
    return [
        {**answer, **({"note": note} if one < asked else {})}
        for answer, one, note in zip(_in_flight("restate", "h2", *([10] * len(had))), had, notes, strict=True)
    ]


def test_notes_of_rounds_that_differ_in_a_number_are_one() -> None:
    """Three rounds do not make three notes."""
    row = _row("Restate, h2", _at_once(334, 335, 336))

    assert row.endswith("| 334 to 336 at once; 500 would have taken more than 5 s |")


def test_who_had_less_than_half_at_once_is_shown_without_a_ratio() -> None:
    """Its figure stays, with how many it had and what that means; with half of them it is compared."""
    ours = _in_flight("tenuto", "code", 1000)
    few, enough = _row("Restate, h2", ours, _at_once(249)), _row("Restate, h2", ours, _at_once(250))

    assert "| 10 | 100,000 |  | 249 at once; 500 would have taken more than 5 s; with so few, latency" in few
    assert "| 10 | 100,000 | 100 | 250 at once; 500 would have taken more than 5 s |" in enough


def test_a_target_is_not_judged_by_who_had_less_than_half_at_once() -> None:
    """What the table does not compare, no target does; with half of them it is judged."""
    ours = _in_flight("tenuto", "code", 1000)

    assert "not measured" in _verdict("against Restate", ours, _at_once(249))[1]
    assert "met" == _verdict("against Restate", ours, _at_once(250))[1]


@pytest.mark.parametrize(
    ("rounds", "differ"),
    [
        ([*_at_once(300, 500)], True),
        ([*_at_once(300), {**_at_once(400, seconds=9)[0], "round": 2}], True),
        ([*_at_once(300, 310)], False),
        ([*_at_once(500, 500)], False),
    ],
)
def test_rounds_that_differ_in_size_are_told(rounds: Answers, differ: bool) -> None:
    """One of all and one of fewer, or with more time; not where the same time was enough for some more or fewer."""
    assert differ == ("rounds differ in size: 300 to " in _row("Restate, h2", rounds))


def test_payloads_are_as_many_at_once_however_large_they_are() -> None:
    """The size of that work is of bytes; how many there were is in the note, or all of them."""
    parts = answers("restate", "h2", "payload", 1000, [{"steps_per_second": 1.0}] * 2)
    parts[1]["note"] = "20 at once; 50 would have taken more than 5 s"

    assert "rounds differ in size: 20 to 50; with so few" in _row("Restate, h2", parts)


def test_values_of_who_had_too_few_are_not_drawn() -> None:
    """Only rounds that had enough count, and the label says how many they had."""
    found, key = results(_at_once(100, 300, 500)), ("restate", "h2")

    assert 2 == len(found.values(key, *IN_FLIGHT, "steps_per_second", 250))
    assert "300 to 500" == found.had(key, *IN_FLIGHT, 250)
    assert "100 to 500" == found.had(key, *IN_FLIGHT)
    assert "" == found.had(key, *IN_FLIGHT, 501)


def test_how_a_client_talks_is_a_note_but_no_caveat() -> None:
    """Plots star what limits a figure, not what every system has; the table has both, in short."""
    found = results(_in_flight("celery", "prefork", 10), _in_flight("dbos", "sqlite-tuned", 10))

    assert ["client over a socket", "not durable per step"] == found.notes(("celery", "prefork"), *IN_FLIGHT)
    assert ["not durable per step"] == found.caveats(("celery", "prefork"), *IN_FLIGHT)
    assert ["beyond its documentation"] == found.caveats(("dbos", "sqlite-tuned"), *IN_FLIGHT)


# ── the head and the tail of the page ─────────────────────────────────────────────────────


def _lines(whole: Mapping[str, Any]) -> list[str]:
    return "\n".join(page(Results(whole), [])).splitlines()


def test_the_head_claims_no_more_rounds_than_figures_rest_on() -> None:
    """Rounds that were added to some works are no rounds of all, nor are those that failed."""
    added = [{**one, "round": 7} for one in _in_flight("restate", "h2", 10)]
    both = data(_in_flight("tenuto", "code", 1, 1, "broken"), added)

    assert "| rounds of a figure | 1 to 2 |" in _lines(both)
    assert "| rounds of a figure | 1 |" in _lines(data(added))


def test_the_head_says_how_long_measurements_were() -> None:
    """What was given, and what it took: one without figures says nothing of it."""
    took = [3.0, 5.0, 9.0, 0.1]
    rounds = _in_flight("tenuto", "code", 1, 1, 1, "cannot")
    whole = data([{**one, "seconds": each} for one, each in zip(rounds, took, strict=True)])
    whole["sittings"][0]["seconds"] = 8.0

    (told,) = (line for line in _lines(whole) if line.startswith("| each measurement "))
    assert "given 8 s; with the system's start the shortest took 3 s, the median 5 s" in told


def test_what_was_counted_of_durability_is_preferred_and_marked() -> None:
    """An answer that only says what is set comes after one that counted; what is only set is not called read back."""
    said = "mode=wal; one workflow alone: 48 calls of fsync or fdatasync, by strace"
    first, second = _in_flight("dbos", "sqlite-sync", 1, 1)
    configured = answers("restate", "h2", *IN_FLIGHT, rates(1), durability="wal=true")
    lines = "\n".join(_lines(data([first, {**second, "durability": said}], configured)))

    assert (
        "| read back: mode=wal; counted: one workflow alone: 48 calls of fsync or fdatasync, by strace |"
        in lines
    )
    assert "| configured: wal=true |" in lines
    assert lines.index("read back: mode") < lines.index("configured: wal"), (
        "who was measured first comes first"
    )


def test_letters_and_modes_of_targets_are_explained() -> None:
    """Every letter has its words, and modes are called as in the tables."""
    whole = "\n".join(_lines(data(_in_flight("tenuto", "code", 1))))

    assert {target.letter for target in TARGETS} == LETTERS.keys()
    assert "500 in flight (Python)" in whole
    assert "(code)" not in whole
    assert "(document)" not in whole


@pytest.mark.parametrize(("name", "head"), [("p99_ms", "p99, ms"), ("max_ms", "longest, ms")])
def test_a_column_that_nobody_has_is_left_out(name: str, head: str) -> None:
    """Of few runs there is no p99, only the longest."""
    one = data(answers("tenuto", "code", "latency", 300, [{"p50_ms": 1.0, name: 2.0}]))

    assert (
        f"| system, mode | p50, ms | {head} | times that Tenuto's Python is better, by p50 | notes |"
        in _lines(one)
    )


def test_start_up_is_ranked_by_what_means_the_same_for_all() -> None:
    """By the first result; what Tenuto's lazy import takes stands only among its own figures."""
    mine = {"first_result_ms": 50.0, "import_ms": 100.0, "import_lazy_ms": 10.0}
    theirs = {"first_result_ms": 200.0, "import_ms": 300.0}
    ours = answers("tenuto", "code", "footprint", 1, [mine])
    lines = _lines(data(ours, answers("dbos", "sqlite-sync", "footprint", 1, [theirs])))

    assert "| DBOS, sqlite-sync | 200 | 300 | 4 |  |" in lines
    assert [line for line in lines if "lazy" in line] == ["| footprint 1 | `import_lazy_ms` | 10 |  |  |"]


# ── the rest of the page ───────────────────────────────────────────────────────────────────


def test_tenuto_alone_shows_figures_and_failures_of_every_round() -> None:
    """Also where the first round failed, and where all did."""
    lines = "\n".join(
        page(
            results(
                answers("tenuto", "code", "replay", 100, ["broken", {"replayed_steps_per_second": 5.0}]),
                answers("tenuto", "code", "store", 12, ["no disk"]),
            ),
            [],
        )
    )

    assert (
        "| replay 100 | `replayed_steps_per_second` | 5 (1 of 2 rounds) |  | Python: 1 of 2 rounds failed: broken |"
        in lines
    )
    assert "| store 12 | – |  |  | Python: no disk |" in lines


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            'it failed: Traceback (most recent call last):\n  File "a"\n    b()\n    ^^^\nValueError: no | such\nthing\n',
            "it failed: ValueError: no / such thing",
        ),
        ("it was not over after 660 s", "it was not over after 660 s"),
    ],
)
def test_a_failure_is_told_in_one_line(reason: str, told: str) -> None:
    """Of a traceback the end; no text breaks the table."""
    assert _row("Restate, h2", _in_flight("restate", "h2", reason)).endswith(f"| {told} |")


def test_systems_that_could_not_be_installed_are_told() -> None:
    """With the reason."""
    whole = data(_in_flight("tenuto", "code", 1), missing={"restate": "no such wheel"})

    assert "| Restate | not installed |  |  | no such wheel |" in "\n".join(page(Results(whole), []))
