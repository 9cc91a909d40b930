"""Users observe what the reference model says; with a bug in the engine they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenuto.errors import Conflict
from tests.reliability.programme import Budget
from tests.reliability.reference import Reference
from tests.reliability.stateful import EXAMPLES, ZOO, Differs, _differences, play


@pytest.mark.slow
def test_users_observe_what_the_model_says(tmp_path: Path) -> None:
    """Whatever they do, and wherever the process dies; and each seeded bug is noticed."""
    record = play(Budget(tmp_path))

    assert () == record.violations, record.violations[0].seen
    assert list(ZOO) == [each.bug for each in record.caught]
    assert [] == [each.bug for each in record.caught if each.cases is None]
    assert record.cases >= EXAMPLES
    assert all(
        record.counts[what] for what in ("answer", "signal", "emit", "cancel", "suspend", "resume", "retry")
    )


def test_only_what_the_comparison_saw_counts() -> None:
    """Neither an error of Python, nor a refusal, nor an assertion of somebody else is proof of a seeded bug."""
    seen = Differs("result", "expected was 1, seen 2")
    others = [AssertionError("of the engine"), Conflict("refused"), TimeoutError()]

    assert set() == _differences(ExceptionGroup("several", others))
    assert {"result"} == _differences(ExceptionGroup("not so each time", [*others, seen]))


def test_the_reference_itself() -> None:
    """A plan with one of everything, by hand."""
    model = Reference(0.0)
    plan = [[["again", 0], ["signal", "red"]], [["sleep", 5]], [["child", [[["event", "one"]]]]]]
    run = model.start("r", plan)
    model.signal(run, "red", 7)
    model.fail(*model.begun()["r", 0, 0])
    waiting = run.shown()
    model.pass_time(10)
    model.crash(at_rest=True)
    model.answer(*model.begun()["r", 0, 0], 8)
    model.pass_time(5)
    model.emit("one", 9)

    assert "waiting" == waiting
    assert 3 == model.calls["r", 0, 0]
    assert ("completed", [[8, 7], [None], [[[9]]]]) == (run.shown(), run.results)
    assert ["completed", "completed"] == [each.status for each in model.runs]
