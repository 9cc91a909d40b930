"""What holds for every document: the fold is pure, and a crash anywhere changes nothing."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenuto.engine.advance import Run, accepts, advance
from tenuto.engine.model import Answered, Command, Entry, Event, Failed, Perform, Started
from tenuto.errors import Fault
from tenuto.language.interpret import Interpreter
from tests.language.playing import HEADER, START, begin

FAULT = Fault("https://x.test/broken", 503, "Broken", transient=True)

leaf = st.sampled_from(
    [
        {"set": {"n": "${ (.n // 0) + 1 }"}},
        {"call": "x.do:1.0.0@default", "with": {"value": "${ . }"}},
        {"wait": "PT1S"},
        {"emit": {"event": {"with": {"type": "t", "data": "${ . }"}}}},
        {"switch": [{"some": {"when": ".n > 2", "then": "exit"}}]},
        {"raise": {"error": {"type": "https://x.test", "status": 400}}},
        {"set": {"n": "${ .n }"}, "export": {"as": "{seen: .}"}, "if": ".n != 1"},
        {"listen": {"to": {"any": [], "until": "true"}}, "timeout": {"after": "PT5S"}},
        {"call": "x.do:1.0.0@default", "timeout": {"after": "PT2S"}, "output": {"as": "{n: 2}"}},
        {"call": "undo:1.0.0@default"},
    ]
)


def listed(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give tasks names."""
    return [{f"t{index}": task} for index, task in enumerate(tasks)]


def composite(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Tasks that contain others."""
    lists = st.lists(inner, min_size=1, max_size=3).map(listed)
    retry = {"delay": "PT1S", "limit": {"attempt": {"count": 1}}}
    return st.one_of(
        lists.map(lambda tasks: {"do": tasks}),
        lists.map(lambda tasks: {"for": {"in": "[1, 2]"}, "do": tasks}),
        st.tuples(lists, st.booleans()).map(lambda p: {"fork": {"branches": p[0], "compete": p[1]}}),
        lists.map(
            lambda tasks: {"try": tasks, "catch": {"do": listed([{"set": {"caught": "${ $error.status }"}}])}}
        ),
        lists.map(lambda tasks: {"try": tasks, "catch": {"retry": retry}}),
    )


documents = st.lists(st.recursive(leaf, composite, max_leaves=8), min_size=1, max_size=4).map(
    lambda tasks: {
        "document": {"dsl": "1.0.3", "namespace": "n", "name": "d", "version": "1.0.0"},
        "do": listed(tasks),
        "timeout": {"after": "PT1H"},
    }
)


def play_out(document: dict[str, Any], choices: list[int]) -> list[Event]:
    """Play a document with answers in an arbitrary order; return the events."""
    made = begin(HEADER + "do: []")
    made.interpreter = Interpreter(document)
    made.run, made.events, made.todo = None, [], []
    made.tell(Started(START, "run-1", "d", {"n": 0}, "nonce", {"x.do:1.0.0": "x.undo:1.0.0"}, "0"))
    for choice in choices:
        if made.run is None or made.run.over or not made.run.open:
            break
        waiting = [command for command in made.run.open.values() if not hasattr(command, "types")]
        if not waiting:
            break
        command = waiting[choice % len(waiting)]
        made.now += 1.0
        if isinstance(command, Perform) and choice % 5 == 0:
            made.tell(Failed(made.now, command.id, FAULT))
        else:
            made.tell(
                Answered(made.now, command.id, {"n": choice % 4} if isinstance(command, Perform) else None)
            )
    return made.events


def folded(interpreter: Interpreter, events: list[Event], cuts: set[int]) -> tuple[bytes, list[Command]]:
    """Fold events; at each cut, go through bytes as a restart from a snapshot would."""
    run: Run | None = None
    commands: list[Command] = []
    for position, told in enumerate(events):
        event = msgspec.json.decode(msgspec.json.encode(Entry(told)), type=Entry).event
        assert accepts(run, event)
        run, more = advance(interpreter, run, event)
        commands += more
        if position in cuts and not run.over:
            run = msgspec.structs.replace(run, state=interpreter.decode(interpreter.encode(run.state)))
    assert run is not None
    return msgspec.json.encode(
        [run.status, dict(run.open), msgspec.Raw(interpreter.encode(run.state)), run.finish]
    ), commands


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, st.lists(st.integers(0, 1000), max_size=40), st.sets(st.integers(0, 40)))
def test_a_crash_anywhere_changes_nothing(
    document: dict[str, Any], choices: list[int], cuts: set[int]
) -> None:
    """Any prefix, stored as a snapshot or folded again, wants the same next."""
    events = play_out(document, choices)

    assert folded(Interpreter(document), events, cuts) == folded(Interpreter(document), events, set())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, st.lists(st.integers(0, 1000), max_size=25))
def test_a_fold_leaves_the_state_it_was_given_alone(document: dict[str, Any], choices: list[int]) -> None:
    """An earlier state can be gone on with, whatever was made of it since."""
    interpreter = Interpreter(document)
    run: Run | None = None
    for event in play_out(document, choices):
        before = interpreter.encode(run.state) if run is not None else b""
        after, _ = advance(interpreter, run, event)
        if run is not None:
            assert interpreter.encode(run.state) == before
        run = after


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, st.lists(st.integers(0, 1000), max_size=60))
def test_a_run_that_is_over_leaves_nothing_open(document: dict[str, Any], choices: list[int]) -> None:
    """Every command that a fold opened is answered, dropped, or gone with the end; ids are never used twice."""
    interpreter = Interpreter(document)
    run: Run | None = None
    opened: set[int] = set()
    for event in play_out(document, choices):
        run, commands = advance(interpreter, run, event)
        for command in commands:
            id = getattr(command, "id", None)
            if id is not None and type(command).__name__ != "Drop":
                assert id not in opened
                opened.add(id)
        if run.over:
            assert not run.open
        else:
            assert run.open, "a run that is not over waits for something"
            assert set(run.open) == set(run.state.waits)
