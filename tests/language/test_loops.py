"""Loops and branches: for, while, fork, compete, and what they do to data and context."""

from __future__ import annotations

import pytest

from tenuto.errors import Fault
from tests.language.playing import Play, begin, play

BROKEN = Fault("https://example.test/broken", 500, "Broken")


def test_each_round_gets_the_output_of_the_one_before() -> None:
    """`each` and `at` name the variables; the last output is the task's."""
    done = play(
        """
        do:
          - sum:
              for: {each: n, in: .numbers, at: i}
              do: [{add: {set: {total: '${ (.total // 0) + $n * $i }'}}}]
    """,
        {"numbers": [5, 6, 7]},
    )

    assert done.output == {"total": 20}
    assert done.notes[1][0] == "/do/0/sum/for/0/do/0/add"


def test_an_empty_collection_gives_the_input() -> None:
    """Our reading 11."""
    done = play("do: [{l: {for: {in: '[]'}, do: [{a: {set: {x: 1}}}]}}]", {"n": 1})

    assert done.output == {"n": 1}


@pytest.mark.parametrize("value", ["null", '"text"', "{}", "5"])
def test_only_an_array_can_be_iterated(value: str) -> None:
    """Anything else is an expression fault that names what was found."""
    fault = play(f"do: [{{l: {{for: {{in: '{value}'}}, do: [{{a: {{set: {{x: 1}}}}}}]}}}}]").fault

    assert fault.type.endswith("/expression")


def test_while_is_looked_at_before_each_round() -> None:
    """With the item bound, on the output of the round before."""
    done = play("""
        do:
          - l:
              for: {in: '[1, 2, 3, 4]'}
              while: '$item < 4 and ((.total // 0) < 3)'
              do: [{add: {set: {total: '${ (.total // 0) + $item }'}}}]
    """)

    assert done.output == {"total": 3}


def test_inline_arrays_are_iterated() -> None:
    """`in` may be an array of objects, expressions inside included."""
    done = play(
        "do: [{l: {for: {in: [{v: 1}, {v: '${ .n }'}]}, do: [{a: {set: {all: '${ (.all // []) + [$item.v] }'}}}]}}]",
        {"n": 2},
    )

    assert done.output == {"all": [1, 2]}


def test_a_long_loop_of_actions_keeps_its_keys_apart() -> None:
    """Each round's action has a key of its own."""
    done = play("""
        do:
          - l:
              for: {in: '[range(30)]'}
              do: [{a: {call: 'core.noop:1.0.0@default', with: {value: '${ $item }'}}}]
    """)

    assert len({command.key for command in done.performed}) == 30


FORK = """
    do:
      - f:
          fork:
            compete: %s
            branches:
              - one: {call: 'core.noop:1.0.0@default', with: {value: 1}, export: {as: '{one: true}'}}
              - two: {call: 'core.noop:1.0.0@default', with: {value: 2}, export: {as: '{two: $context}'}}
      - last: {set: {out: '${ . }', context: '${ $context }'}}
"""


def open_branches(compete: str) -> Play:
    """Start a fork whose branches both wait for an action."""
    return begin(FORK % compete)


def test_branches_run_at_once_and_give_their_outputs_in_order() -> None:
    """All branches are asked for in one go; outputs keep the declared order."""
    run = open_branches("false")

    assert len(run.todo) == 2
    run.todo.reverse()
    run.go_on(lambda command: command.arguments["value"] * 10)

    assert run.output == {"out": [10, 20], "context": {"one": True, "two": None}}


def test_the_first_branch_to_complete_wins_a_race() -> None:
    """The others are dropped and noted as cancelled; the output is the winner's alone."""
    run = open_branches("true")
    run.todo.reverse()
    run.go_on(lambda command: command.arguments["value"] * 10)

    assert run.output == {"out": 20, "context": {"two": None}}
    assert run.order("cancelled") == ["one"]


def test_the_first_fault_cancels_the_other_branches() -> None:
    """Our reading 10."""
    run = open_branches("false")
    run.go_on(lambda command: BROKEN)

    assert run.fault.instance == "/do/0/f/fork/branches/0/one"
    assert run.order("cancelled") == ["two"]
    assert len(run.dropped) == 1


def test_a_race_faults_only_when_every_branch_has() -> None:
    """A branch that faults has lost the race, no more."""
    one_fails = open_branches("true").go_on(lambda command: BROKEN if command.arguments["value"] == 1 else 2)
    both_fail = open_branches("true").go_on(lambda command: BROKEN)

    assert one_fails.output["out"] == 2
    assert both_fail.fault.title == "Broken"


def test_end_in_a_branch_ends_the_workflow() -> None:
    """The other branches are cancelled, the branch's output is the workflow's."""
    run = begin("""
        do:
          - f:
              fork:
                branches:
                  - slow: {wait: {hours: 1}}
                  - quick: {set: '${ "over" }', then: end}
          - never: {set: '${ "never" }'}
    """)

    assert run.output == "over"
    assert run.order("cancelled") == ["f", "slow"] or set(run.order("cancelled")) == {"f", "slow"}


def test_contexts_of_branches_are_apart_until_the_end() -> None:
    """A branch sees the context from before the fork and its own changes only."""
    done = play("""
        do:
          - base: {set: '${ "x" }', export: {as: '{shared: 1}'}}
          - f:
              fork:
                branches:
                  - a: {do: [{w: {wait: PT1S}}, {s: {set: '${ $context }', export: {as: '$context + {a: 1}'}}}]}
                  - b: {set: '${ $context }', export: {as: '$context + {b: 2, shared: 2}'}}
          - last: {set: '${ $context }'}
    """)

    assert done.output == {"shared": 2, "a": 1, "b": 2}
