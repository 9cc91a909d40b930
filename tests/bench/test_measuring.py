"""Every system's figures are read by the same measure, and a name says no more than was measured."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.environments import ROOT
from bench.measuring import FLOOR_CALLS, P99_LEAST, floor_seconds, growing_seconds, lags, latency
from bench.ours.footprint import footprint
from bench.targets import TARGETS
from tests.bench.results import answers, results

READERS = {"batch", "timed", "Growth"}


def test_a_p99_is_told_of_a_hundred_values_at_least() -> None:
    """Of fewer it is the longest, and has that name."""
    values = [number / 1e3 for number in range(1, P99_LEAST + 1)]

    assert {"p50_ms": 50.0, "p99_ms": 99.0, "runs": 100} == latency(values)
    assert {"p50_ms": 50.0, "max_ms": 99.0, "runs": 99} == latency(values[:-1])
    assert {"wake_lag_ms_p50", "wake_lag_ms_p99"} == lags(values).keys()
    assert {"wake_lag_ms_p50": 4.0, "wake_lag_ms_max": 8.0} == lags(values[:8])


@pytest.mark.parametrize(
    ("time_syncs", "sizes"),
    [(floor_seconds, {FLOOR_CALLS}), (growing_seconds, set(range(1, FLOOR_CALLS + 1)))],
)
def test_the_floor_is_that_of_blocks_written_over(
    time_syncs: Callable[[Path], float],
    sizes: set[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No sync of it has the file's size to write; those of a growing file have."""
    seen: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: seen.append(os.fstat(descriptor).st_size // 4096))

    assert time_syncs(tmp_path) > 0
    assert sizes == set(seen)
    assert FLOOR_CALLS == len(seen)
    assert [] == list(tmp_path.iterdir())


def _narrowed(source: str) -> list[int]:
    """Return the lines in which processor time or memory is read of some processes only, so without the client."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    readers = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id in READERS]
    return [one.lineno for one in readers if "roots" in ast.unparse(one)]


@pytest.mark.parametrize("path", sorted((ROOT / "bench/systems").glob("*.py")), ids=lambda path: path.stem)
def test_every_systems_processor_time_has_its_clients(path: Path) -> None:
    """Some have it in the same process, so it cannot be left out for the others."""
    assert [] == _narrowed(path.read_text(encoding="utf-8"))


def test_a_client_that_is_left_out_is_found() -> None:
    """The control."""
    assert [1] == _narrowed("fill(answer, batch(there.together, 500, 60, *there.roots), 500)")


def test_the_target_of_one_run_is_judged_against_the_floor_alone() -> None:
    """A growing file, against which the ratio is lower, is told beside it and meets nothing."""
    figures = [{"p50_ms": 5.0, "ratio": 3.0, "ratio_growing": 2.0, "runs": 300}]
    found = results(answers("tenuto", "code", "latency", 300, figures))
    over, growing = [one for one in TARGETS if one.text.startswith("one run of 10 steps (Python)")]

    assert ("at most 2.5 times", "–") == (over.asked(), growing.asked())
    assert ("3 times", "**missed**") == (over.judged(found)[0], over.judged(found)[1].split(":")[0])
    assert ("2 times", "–") == growing.judged(found)


@pytest.mark.slow
def test_what_tenuto_takes_before_anything_is_done_means_what_it_means_of_others(tmp_path: Path) -> None:
    """The import is that of the names, not the lazy one; the first result comes after the start, without the interpreter."""
    figures, _ = footprint(tmp_path, 1)

    assert figures["import_lazy_ms"] < figures["import_ms"] == figures["import_names_ms"]
    assert 0 < figures["start_ms"] < figures["first_result_ms"] < figures["run_ms"]
