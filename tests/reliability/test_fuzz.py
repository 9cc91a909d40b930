"""Everything that reads what others wrote gives a value or one error with words in it, soon; old findings stay mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability import fuzz
from tests.reliability.fuzz import play, together
from tests.reliability.fuzzing import controls, lanes
from tests.reliability.fuzzing.child import CORPUS, TARGETS, Done, known
from tests.reliability.fuzzing.target import Finding, Target, given_up, judged
from tests.reliability.programme import Budget


@pytest.mark.slow
def test_fuzzing_finds_nothing_but_the_mistakes_of_the_controls(tmp_path: Path) -> None:
    """All parsers, for a moment each; parsers with mistakes are found out."""
    record = play(Budget(tmp_path))

    assert () == record.violations
    assert {target.name for target in TARGETS} == {*record.figures}
    assert {target.name for target in controls.TARGETS} == {
        each.bug for each in record.caught if each.cases is not None
    }


def test_a_parser_that_is_played_twice_has_one_record() -> None:
    """Guided plays do not measure how slow an input is: what the others measured stays, and kinds are added up."""
    plain = Done(
        target="a", inputs=3, kinds={"value": 2, "x": 1}, slowest_ms=7.5, slowest_bytes=9, growth_mib=1
    )
    guided = Done(
        target="a", inputs=2, kinds={"value": 2}, slowest_ms=0, slowest_bytes=0, growth_mib=4, lines=5
    )
    other = Done(target="b", inputs=1, kinds={}, slowest_ms=1, slowest_bytes=1, growth_mib=0)
    both = Done(
        target="a",
        inputs=5,
        kinds={"value": 4, "x": 1},
        slowest_ms=7.5,
        slowest_bytes=9,
        growth_mib=4,
        lines=5,
    )

    assert together([plain, other, guided]) == [both, other]
    assert together([guided, plain]) == [both]


def test_a_mistake_is_noticed_only_by_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding of another kind says nothing of it."""

    def found(kind: str) -> list[int | None]:
        findings = [
            Finding(target=target.name, kind=kind, seen="", data=b"", after=3) for target in controls.TARGETS
        ]
        monkeypatch.setattr(fuzz, "fuzzed", lambda *_, **__: fuzz.Found(findings=findings))
        return [each.cases for each in fuzz.caught_controls(tmp_path, 1)]

    assert found("slow") == [None] * len(controls.TARGETS)
    assert found("ValueError at control.py:raises:raise") == [3, *[None] * (len(controls.TARGETS) - 1)]


@pytest.fixture(scope="module", autouse=True)
def lanes_end() -> Iterator[None]:
    """Leave no child behind."""
    yield
    lanes.close()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_was_found_once_stays_mended(target: Target) -> None:
    """The inputs of `corpus/`, in this process."""
    with given_up():
        found = [judged(target, data).finding for data in known(target)]

    assert [] == [finding for finding in found if finding is not None]


def test_no_finding_is_forgotten() -> None:
    """Each folder of the corpus belongs to a parser."""
    folders = {target.folder for target in TARGETS}

    assert [] == [folder.name for folder in CORPUS.iterdir() if folder.name not in folders]
