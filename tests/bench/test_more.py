"""Rounds that are added to what was measured before: nothing is lost, and all of it is of one machine."""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench.environments import Environment
from bench.plan import SECONDS_MIN, planned, seconds_each
from bench.results import OURS, Results
from bench.running import machine

PROGRAM = """
import json
print(json.dumps({"size": 20, "figures": {"p50_ms": 2.0}}))
"""


def _measured(folder: Path, before: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Measure one work in one round, with a program that answers at once."""
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    made = {"tenuto": Environment((sys.executable, str(program)), dict(os.environ))}
    monkeypatch.setattr(bench, "environments", lambda systems, place: (made, {}))
    options = argparse.Namespace(
        only=["tenuto"], works=["latency"], rounds=1, quick=False, minutes=0.1, folder=folder
    )
    return bench._measured(options, folder / "results.json", folder / "work", before)


def test_rounds_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count on, and what was measured before stays as it was; both sittings are told."""
    first = copy.deepcopy(_measured(tmp_path, {}, monkeypatch))
    before = bench._before(tmp_path / "results.json", machine(tmp_path))
    both = _measured(tmp_path, before, monkeypatch)

    assert first["answers"] == both["answers"][: len(first["answers"])]
    assert [1, 2] == [answer["round"] for answer in Results(both).answers(OURS, "latency", 300)]
    assert 2 == len(both["sittings"])
    assert both == json.loads((tmp_path / "results.json").read_text())


def test_added_rounds_have_the_seconds_of_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A median is of rounds of one length, however many measurements share the time now; other works have their own."""
    before = _measured(tmp_path, {}, monkeypatch)
    before["sittings"][0]["seconds"] = 7.5
    both = copy.deepcopy(_measured(tmp_path, before, monkeypatch))
    before["sittings"][-1]["works"] = before["sittings"][0]["works"] = ["in-flight"]
    other = _measured(tmp_path, before, monkeypatch)
    anew = _measured(tmp_path, {}, monkeypatch)

    assert SECONDS_MIN == other["sittings"][-1]["seconds"]
    assert [7.5, 7.5] == [one["seconds"] for one in both["sittings"]]
    assert [SECONDS_MIN] == [one["seconds"] for one in anew["sittings"]]


def test_added_works_share_the_time_as_in_a_first_round() -> None:
    """Their rounds have higher numbers; the control is a round that comes only if time is left."""
    first = planned(["tenuto"], ["waiting", "replay"], 1, quick=False)
    added = [replace(one, round=one.round + 3) for one in first]
    more = planned(["tenuto"], ["waiting", "replay"], 2, quick=False)

    assert seconds_each(first, 2.0, quick=False) == seconds_each(added, 2.0, quick=False) < 60.0
    assert seconds_each(more, 2.0, quick=False) == seconds_each(first, 2.0, quick=False)


def test_figures_of_two_machines_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what differs and how to go on; so it does where nothing was measured yet."""
    _measured(tmp_path, {}, monkeypatch)
    here = {**machine(tmp_path), "python": "4.0"}

    with pytest.raises(SystemExit, match=r"measured elsewhere, with python 3\..*: leave out --more"):
        bench._before(tmp_path / "results.json", here)
    with pytest.raises(SystemExit, match=r"--more: .*none\.json"):
        bench._before(tmp_path / "none.json", here)
