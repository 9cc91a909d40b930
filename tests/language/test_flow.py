"""Which task runs when: lists, directives, conditions, switches."""

from __future__ import annotations

import pytest

from tests.language.playing import play


def test_tasks_run_in_the_order_in_which_they_are_written() -> None:
    """Each task's output is the next one's input."""
    done = play("""
        do:
          - first: {set: {list: '${ .list + [1] }'}}
          - second: {set: {list: '${ .list + [2] }'}}
    """)

    assert done.output == {"list": [1, 2]}
    assert done.order() == ["first", "second"]


def test_then_names_a_task_of_the_same_list() -> None:
    """A flow directive jumps forwards and backwards."""
    done = play("""
        do:
          - a: {set: '${ . + ["a"] }', then: c}
          - b: {set: '${ . + ["b"] }', then: end}
          - c: {set: '${ . + ["c"] }', then: b}
    """)

    assert done.output == ["a", "c", "b"]


def test_then_to_another_list_is_a_configuration_fault() -> None:
    """A directive cannot leave its own scope."""
    done = play("""
        do:
          - inner: {do: [{a: {set: {x: 1}, then: other}}]}
          - other: {set: {y: 1}}
    """)

    assert done.fault.type.endswith("/configuration")
    assert done.fault.instance == "/do/0/inner/do/0/a"


@pytest.mark.parametrize(
    ("directive", "expected"), [("exit", "after"), ("end", "inner"), ("continue", "after")]
)
def test_exit_leaves_the_list_and_end_the_workflow(directive: str, expected: str) -> None:
    """Our reading 9: `exit` ends the nearest list, `end` the whole workflow."""
    done = play(f"""
        do:
          - outer:
              do:
                - inner: {{set: '${{ "inner" }}', then: {directive}}}
                - rest: {{set: '${{ "rest" }}'}}
          - last: {{set: '${{ "after" }}'}}
    """)

    assert done.output == expected
    assert ("rest" in done.order()) is (directive == "continue")


def test_exit_in_a_loop_ends_the_loop() -> None:
    """The list that `exit` leaves is the loop's, all rounds of it."""
    done = play("""
        do:
          - loop:
              for: {in: '[1, 2, 3]'}
              do:
                - pick: {set: '${ $item }'}
                - stop: {if: '. == 2', set: '${ . }', then: exit}
          - last: {set: {got: '${ . }'}}
    """)

    assert done.output == {"got": 2}


def test_a_skipped_task_hands_its_input_on_and_its_then_is_not_followed() -> None:
    """Our reading 7: raw input becomes output, no export, `then` is ignored."""
    done = play(
        """
        do:
          - skipped: {if: .go, set: {x: 1}, export: {as: '{seen: true}'}, then: end}
          - last: {set: {input: '${ . }', context: '${ $context }'}}
    """,
        {"go": False},
    )

    assert done.output == {"input": {"go": False}, "context": None}
    assert done.order("skipped") == ["skipped"]


SWITCH = """
    do:
      - choose:
          switch:
            - fallback: {then: other}
            - red: {when: '.color == "red"', then: red}
            - green: {when: '${ .color == "green" }', then: exit}
      - other: {set: '${ "other" }', then: end}
      - red: {set: '${ "red" }'}
"""


@pytest.mark.parametrize(
    ("color", "expected"), [("red", "red"), ("green", {"color": "green"}), ("x", "other")]
)
def test_switch_takes_the_first_case_that_holds_else_the_default(color: str, expected: object) -> None:
    """The default is taken only if no condition holds, wherever it stands."""
    done = play(SWITCH, {"color": color})

    assert done.output == expected


def test_switch_without_a_match_goes_on_with_the_tasks_own_then() -> None:
    """Our reading 8: no case, no default: the task's `then`, else the next task."""
    body = """
        do:
          - choose:
              switch: [{never: {when: 'false', then: end}}]
              %s
          - next: {set: '${ "next" }', then: end}
          - other: {set: '${ "other" }'}
    """

    assert play(body % "").output == "next"
    assert play(body % "then: other").output == "other"


def test_a_loop_without_end_yields_and_can_be_cancelled() -> None:
    """A pure endless loop never holds the fold: it waits for a timer that is due at once."""
    from tenuto.engine.model import CancelRequested
    from tests.language.playing import begin

    run = begin("do:\n  - a: {set: '${ (. // 0) + 1 }', then: a}\n")
    run.go_on(steps=5)
    run.tell(CancelRequested(run.now))

    assert run.run is not None
    assert run.run.status == "cancelled"
    assert run.waits == [0.0] * 5


def test_the_same_task_visited_again_has_another_key() -> None:
    """Idempotency keys tell repeated visits by `then` apart."""
    done = play(
        """
        do:
          - call: {call: 'core.noop:1.0.0@default', with: {value: 1}}
          - count: {set: '${ $workflow.input.n }'}
          - again: {switch: [{more: {when: '$context == null', then: mark}}], then: end}
          - mark: {set: '${ "x" }', export: {as: '{done: true}'}, then: call}
    """,
        {"n": 2},
    )

    assert [command.key for command in done.performed] == ["run-1/do/0/call", "run-1/do/0/call#2"]


def test_what_a_task_visited_again_holds_has_other_keys_too() -> None:
    """A call inside a list that is run a second time is not the call of the first time."""
    done = play("""
        do:
          - outer:
              do: [{call: {call: 'core.noop:1.0.0@default'}}]
              export: {as: '{n: (($context.n // 0) + 1)}'}
          - again: {switch: [{more: {when: '$context.n < 2', then: outer}}]}
    """)

    assert [command.key for command in done.performed] == [
        "run-1/do/0/outer/do/0/call",
        "run-1/do/0/outer#2/do/0/call",
    ]


def test_a_run_that_takes_over_a_history_has_keys_of_its_own() -> None:
    """Also in lists that were begun before: what is done anew is not the action of the former run."""
    from tenuto.engine.model import Answered, Restarted
    from tests.language.playing import begin

    run = begin(
        "do: [{l: {do: [{a: {call: 'core.noop:1.0.0@default'}}, {b: {call: 'core.noop:1.0.0@default'}}]}}]"
    )
    (first,) = run.todo
    run.todo = []
    run.tell(Restarted(run.now, "run-2", "/do/0/l/do/1/b"))
    run.tell(Answered(run.now, first.id))
    run.go_on()

    assert [command.key for command in run.performed] == ["run-2/do/0/l/do/1/b"]
