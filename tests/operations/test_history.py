"""What happened is read from a journal's notes, without running anything again."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.cli.progress import Progress
from tenuto.cli.terminal import as_tree, duration, round_of
from tenuto.engine.model import Answered, Entry, Note, Resumed, Suspended
from tenuto.operations.history import Logged, Tasks, TaskView, task_to_json, timestamp


def told(*entries: tuple[float, list[Note]]) -> list[TaskView]:
    """The tasks after these entries."""
    tasks = Tasks()
    for time, notes in entries:
        tasks.tell(Entry(Answered(time, 1, "out"), tuple(notes)))
    return tasks.all


def test_a_retried_task_is_one_row_with_its_latest_attempt() -> None:
    """Attempts of one execution share a row; it keeps its first start."""
    (task,) = told(
        (1.0, [Note("/do/0/a", "started", "call", 1)]),
        (2.0, [Note("/do/0/a", "faulted", "", 1, {"status": 503})]),
        (3.0, [Note("/do/0/a", "started", "call", 2)]),
        (4.0, [Note("/do/0/a", "completed", "", 2)]),
    )

    assert (task.status, task.attempt, task.started, task.ended) == ("completed", 2, 1.0, 4.0)
    assert (task.type, task.error, task.answer) == ("call", None, "out")


def test_a_task_that_is_visited_again_is_another_row() -> None:
    """A jump back to a task runs it anew: two executions, two rows."""
    tasks = told(
        (1.0, [Note("/do/0/a", "started", "set"), Note("/do/0/a", "completed")]),
        (2.0, [Note("/do/0/a", "started", "set"), Note("/do/0/a", "completed")]),
    )

    assert [task.started for task in tasks] == [1.0, 2.0]


def test_a_skipped_task_has_no_duration_and_its_own_status() -> None:
    """`if` did not hold: the task is known, and marked."""
    (task,) = told((1.0, [Note("/do/0/a", "skipped", "set")]))

    assert (task.status, task.started, task.ended) == ("skipped", 1.0, 1.0)


def test_names_are_unescaped() -> None:
    """A task's name is the last step of its JSON pointer."""
    (task,) = told((1.0, [Note("/do/0/a~1b~0c", "started", "set")]))

    assert task.name == "a/b~c"


@given(st.lists(st.sampled_from(["/do/0/a", "/do/0/a/do/0/b", "/do/0/a/do/1/c", "/do/1/d"]), max_size=30))
def test_the_tree_keeps_every_row_and_puts_inner_tasks_below_outer_ones(paths: list[str]) -> None:
    """Reordering into a tree loses nothing; what belongs to a task stands below it, indented."""
    tasks = [TaskView(path, path[-1], "set", "completed", 1, float(i)) for i, path in enumerate(paths)]
    tree = as_tree(tasks)

    assert sorted(task.started for _, task in tree) == [task.started for task in tasks]
    for (depth, task), (next_depth, _) in pairwise(tree):
        assert next_depth <= depth + 1, task.path


@given(st.floats(0, 1e7))
def test_durations_have_at_most_two_units(seconds: float) -> None:
    """Never 60 s or 60 min; always a number and a unit."""
    words = duration(seconds).split()

    assert len(words) in {2, 4}
    assert "60 s" not in duration(seconds)
    assert "60 min" not in duration(seconds)


def test_rounds_of_loops_are_told_apart() -> None:
    """The round of the innermost loop, none outside of loops."""
    assert round_of("/do/0/x/for/12/do/3/y") == " [12]"
    assert round_of("/do/0/x/for/12/do/3/y/try/0/z") == ""
    assert round_of("/do/3/y") == ""


def test_times_are_rfc_3339_in_utc() -> None:
    """Milliseconds, Z; None stays None."""
    assert timestamp(1700000000.25) == "2023-11-14T22:13:20.250Z"
    assert timestamp(None) is None


def test_what_python_code_says_of_its_run_is_no_task() -> None:
    """Lines of its log, patches, beginning anew and being stuck make no rows; log and reason are kept."""
    tasks = Tasks()
    tasks.tell(
        Entry(
            Answered(1.0, 1),
            (
                Note("/charge", "started", "step"),
                Note("", "logged", "warning", 1, "look\nhere"),
                Note("check-stock", "patched"),
                Note("", "continued"),
                Note("", "stuck", data="a.py:1: no\nhint: yes"),
            ),
        )
    )

    assert [task.path for task in tasks.all] == ["/charge"]
    assert tasks.log == [Logged(1.0, "warning", "look\nhere")]
    assert tasks.stuck == "a.py:1: no\nhint: yes"


def test_a_run_is_stuck_until_it_is_resumed() -> None:
    """A pause that somebody asked for has no reason; one for a reason ends with the pause."""
    tasks = Tasks()
    reasons = []
    for event in (Suspended(1.0), Resumed(2.0), Suspended(3.0, "mend it"), Resumed(4.0)):
        tasks.tell(Entry(event))
        reasons.append(tasks.stuck)

    assert reasons == [None, None, "mend it", None]


def test_progress_stands_beside_its_task() -> None:
    """It changes neither status nor attempt, and scripts get it too."""
    (task,) = told(
        (1.0, [Note("/copy", "started", "step", 2)]),
        (2.0, [Note("/copy", "progressed", "", 2, {"done": 3})]),
    )

    assert (task.status, task.attempt, task.ended, task.progress) == ("running", 2, None, {"done": 3})
    assert task_to_json(task)["progress"] == {"done": 3}


def test_tasks_that_only_wait_say_so() -> None:
    """Timers, events and signals of Python code."""
    tasks = told((1.0, [Note("/a", "started", "signal"), Note("/b", "started", "step")]))

    assert [task.status for task in tasks] == ["waiting", "running"]


@pytest.mark.parametrize("live", [False, True])
def test_log_lines_and_progress_are_shown_as_they_come(live: bool) -> None:
    """As lines of their own, or above the tree; with nothing that could steer the terminal."""
    shown = io.StringIO()
    progress = Progress(shown, lambda: 4.0, live=live, color=False)
    progress.follow("r")
    progress.watch("r", 1, Entry(Answered(1.0, 1), (Note("/copy", "started", "step"),)))
    progress.watch("r", 2, Entry(Answered(2.0, 2), (Note("/copy", "progressed", "", 1, {"done": 3}),)))
    progress.watch("r", 3, Entry(Answered(3.0, 3), (Note("", "logged", "warning", 1, "one\x1b[2J\ntwo"),)))
    progress.draw()
    first, second = shown.getvalue(), shown.tell()
    progress.draw()

    assert "| warning: one\\x1b[2J\n" in first.replace("\x1b[2K", "")
    assert "| two\n" in first.replace("\x1b[2K", "")
    assert '{"done":3}' in first
    assert "warning" not in shown.getvalue()[second:]
