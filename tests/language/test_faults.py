"""Errors: raised, caught, retried, timed out, undone."""

from __future__ import annotations

import pytest

from tenuto.errors import ERROR_BASE, Fault
from tenuto.language.tasks.attempts import same_type
from tests.language.playing import begin, fail_times, play

DOWN = Fault(ERROR_BASE + "communication", 503, "Service Unavailable", transient=True)


def test_raise_gives_the_error_with_the_place_of_the_task() -> None:
    """Type, status, title and detail may be expressions; the instance is the task's path."""
    fault = play(
        """
        use: {errors: {bad: {type: 'https://x.test/bad', status: 422, title: Bad, detail: '${ "n is \\(.n)" }'}}}
        do: [{inner: {do: [{r: {raise: {error: bad}}}]}}]
    """,
        {"n": 3},
    ).fault

    assert fault == Fault("https://x.test/bad", 422, "Bad", "n is 3", "/do/0/inner/do/0/r")


def test_a_given_instance_is_kept() -> None:
    """The author's own instance wins."""
    fault = play("do: [{r: {raise: {error: {type: 'https://x.test', status: 400, instance: /mine}}}}]").fault

    assert fault.instance == "/mine"


def test_an_errors_type_is_a_uri_template() -> None:
    """Of the text that stands in the document, not of what an expression gives."""
    body = "do: [{r: {raise: {error: {type: %s, status: 400}}}}]"

    assert play(body % "'https://x.test/{kind}'", {"kind": "late"}).fault.type == "https://x.test/late"
    assert play(body % "'${ .t }'", {"t": "https://x.test/{kind}"}).fault.type == "https://x.test/{kind}"


CATCH = """
    do:
      - t:
          try: [{c: {call: 'core.noop:1.0.0@default'}}]
          catch: %s
      - last: {set: {got: '${ . }'}}
"""


@pytest.mark.parametrize(
    ("catch", "caught"),
    [
        ("{}", True),
        ("{errors: {with: {status: 503}}}", True),
        ("{errors: {with: {status: 500}}}", False),
        ("{errors: {with: {title: Service Unavailable}}}", True),
        ("{errors: {with: {type: 'https://serverlessworkflow.io/dsl/errors/types/communication'}}}", True),
        ("{errors: {with: {type: 'https://serverlessworkflow.io/spec/1.0.0/errors/timeout'}}}", False),
        ("{errors: {with: {instance: /do/0/t/try/0/c}}}", True),
        ("{when: '$error.status == 503'}", True),
        ("{as: e, when: '$e.transient'}", True),
        ("{when: '$error.status == 500'}", False),
        ("{exceptWhen: '$error.status == 503'}", False),
        ("{when: .care}", True),
        ("{exceptWhen: .care}", False),
    ],
)
def test_catch_takes_what_its_filter_and_conditions_say(catch: str, caught: bool) -> None:
    """Filters compare members; `when` sees the error and the task's input."""
    done = play(CATCH % catch, {"care": True}, lambda command: DOWN)

    assert done.run is not None
    assert done.run.finish is not None
    assert (done.run.finish.status == "completed") is caught


def test_an_uncaught_error_climbs_with_the_place_where_it_arose() -> None:
    """The instance stays that of the task that failed."""
    done = play(CATCH % "{errors: {with: {status: 1}}}", None, lambda command: DOWN)

    assert done.fault.instance == "/do/0/t/try/0/c"
    assert done.order("faulted") == ["c", "t"]


def test_both_families_of_standard_types_are_equal() -> None:
    """Our reading 13; other types are compared as they are."""
    families = ("https://serverlessworkflow.io", "https://open-workflow-specification.org")
    spellings = ("/spec/1.0.0/errors/timeout", "/dsl/errors/types/timeout")
    urls = [family + spelling for family in families for spelling in spellings]

    assert all(same_type(one, other) for one in urls for other in urls)
    assert not same_type(urls[0], urls[0].replace("timeout", "runtime"))
    assert not same_type("https://x.test/spec/1.0.0/errors/timeout", urls[0])


def test_the_handler_sees_the_error_and_the_input_of_the_try() -> None:
    """`catch.do` runs on the try's input with the error as a variable; its output is the task's."""
    done = play(
        CATCH % "{as: problem, do: [{h: {set: {status: '${ $problem.status }', in: '${ . }'}}}]}",
        {"n": 1},
        lambda command: DOWN,
    )

    assert done.output == {"got": {"status": 503, "in": {"n": 1}}}


def test_a_caught_error_without_handler_gives_the_input() -> None:
    """Swallowed, unless a retry did not help."""
    done = play(CATCH % "{}", {"n": 1}, lambda command: DOWN)

    assert done.output == {"got": {"n": 1}}


def test_catch_then_redirects_after_the_handler() -> None:
    """The error path has its own directive."""
    done = play(
        """
        do:
          - t:
              try: [{c: {call: 'core.noop:1.0.0@default'}}]
              catch: {do: [{h: {set: {h: 1}}}], then: third}
          - second: {set: {second: true}, then: end}
          - third: {set: {third: '${ . }'}}
    """,
        None,
        lambda command: DOWN,
    )

    assert done.output == {"third": {"h": 1}}


RETRY = CATCH % "{retry: {delay: PT2S, backoff: {%s: {}}, limit: {attempt: {count: 3}}}}"


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [("constant", [2.0, 2.0, 2.0]), ("linear", [2.0, 4.0, 6.0]), ("exponential", [2.0, 4.0, 8.0])],
)
def test_backoff_grows_as_its_name_says(backoff: str, waits: list[float]) -> None:
    """Our reading 12: the delay is the unit; `count` retries follow the first attempt."""
    done = play(RETRY % backoff, None, fail_times(3, DOWN))

    assert done.waits == waits
    assert done.output == {"got": "fine"}
    assert [command.attempt for command in done.performed] == [1, 2, 3, 4]
    assert len({command.key for command in done.performed}) == 1


def test_when_retries_are_used_up_the_error_climbs() -> None:
    """No handler and no `then`: the last error is the task's."""
    done = play(RETRY % "constant", None, fail_times(9, DOWN))

    assert done.fault.status == 503
    assert len(done.performed) == 4


def test_the_handler_runs_once_after_the_last_retry() -> None:
    """`catch.do` is for when there is no further attempt."""
    done = play(
        CATCH % "{retry: {limit: {attempt: {count: 2}}}, do: [{h: {set: {handled: true}}}]}",
        None,
        fail_times(9, DOWN),
    )

    assert done.output == {"got": {"handled": True}}
    assert len(done.performed) == 3
    assert done.order().count("h") == 1


def test_retry_conditions_see_the_error() -> None:
    """`retry.when` and `retry.exceptWhen` decide about another attempt."""
    for condition, attempts in (
        ("when: '$error.status == 500'", 1),
        ("exceptWhen: '$error.status == 500'", 3),
    ):
        done = play(
            CATCH % ("{retry: {%s, limit: {attempt: {count: 2}}}}" % condition), None, fail_times(9, DOWN)
        )

        assert len(done.performed) == attempts


def test_a_total_duration_bounds_the_retries() -> None:
    """`limit.duration` counts from the first attempt; no retry begins after it."""
    done = play(CATCH % "{retry: {delay: PT10S, limit: {duration: PT25S}}}", None, fail_times(99, DOWN))

    assert done.waits == [10.0, 10.0]


def test_an_attempt_that_takes_too_long_is_stopped_and_counts() -> None:
    """Our reading of `limit.attempt.duration`: a bound for each attempt."""
    done = play("""
        do:
          - t:
              try: [{w: {wait: {hours: 1}}}]
              catch: {retry: {limit: {attempt: {count: 1, duration: PT5S}}}}
    """)

    assert done.fault.status == 408
    assert done.waits == [5.0, 0.0, 5.0]


def test_the_delay_may_follow_from_the_error() -> None:
    """Whoever fails may say when to come back."""
    later = Fault("https://x.test/later", 429, "Later", "PT7S")
    body = CATCH % "{retry: {delay: '${ $error.detail }', limit: {attempt: {count: 1}}}}"

    assert play(body, None, fail_times(1, later)).waits == [7.0]


def test_jitter_stays_in_its_range_and_repeats() -> None:
    """Chance follows from the run, so that a replay waits just as long."""
    body = CATCH % "{retry: {delay: PT1S, jitter: {from: PT1S, to: PT3S}, limit: {attempt: {count: 5}}}}"
    one, two = (play(body, None, fail_times(5, DOWN)).waits for _ in range(2))

    assert one == two
    assert all(2.0 <= wait <= 4.0 for wait in one)
    assert len(set(one)) > 1


def test_a_named_retry_policy_is_found_and_an_unknown_one_is_a_fault() -> None:
    """`retry: name` is one of use.retries."""
    body = "use: {retries: {often: {limit: {attempt: {count: 2}}}}}\n" + CATCH.replace("\n    ", "\n")

    assert len(play(body % "{retry: often}", None, fail_times(9, DOWN)).performed) == 3
    assert play(body % "{retry: rarely}", None, fail_times(9, DOWN)).fault.type.endswith("/configuration")


@pytest.mark.parametrize("timeout", ["{after: PT5S}", "{after: {seconds: 5}}", "short", "{after: '${ .t }'}"])
def test_a_task_that_takes_too_long_faults(timeout: str) -> None:
    """Status 408, what it had started is cancelled; it can be caught like any error."""
    body = f"""
        use: {{timeouts: {{short: {{after: PT5S}}}}}}
        do:
          - t:
              try: [{{slow: {{do: [{{w: {{wait: PT1H}}}}], timeout: {timeout}}}}}]
              catch: {{errors: {{with: {{status: 408}}}}, do: [{{h: {{set: {{late: '${{ $error.instance }}'}}}}}}]}}
    """
    done = play(body, {"t": "PT5S"})

    assert done.output == {"late": "/do/0/t/try/0/slow"}
    assert done.waits == [5.0]
    assert done.order("cancelled") == ["w"]


def test_the_workflow_has_a_timeout_too() -> None:
    """It faults the run, whatever is under way."""
    done = play("timeout: {after: PT5S}\ndo: [{w: {wait: PT1H}}]")

    assert (done.fault.status, done.fault.instance) == (408, "/")


def test_a_task_that_is_in_time_drops_its_timer() -> None:
    """No timer stays behind."""
    done = play("do: [{w: {wait: PT1S, timeout: {after: PT5S}}}, {x: {wait: PT10S}}]")

    assert done.waits == [1.0, 10.0]


def test_a_failing_expression_is_an_expression_fault_at_its_task() -> None:
    """Type `expression`, status 400."""
    fault = play("do: [{a: {set: {x: '${ .a.b }'}}}]", {"a": 5}).fault

    assert (fault.type, fault.status, fault.instance) == (ERROR_BASE + "expression", 400, "/do/0/a")


UNDO = """
    do:
      - all:
          try:
            - both:
                fork:
                  branches:
                    - one: {call: 'x.make:1.0.0@default', with: {name: one}}
                    - two: {call: 'x.make:1.0.0@default', with: {name: two}}
            - three: {call: 'x.make:1.0.0@default', with: {name: three}}
            - broken: {call: 'x.break:1.0.0@default'}
          catch:
            do:
              - back: {call: 'undo:1.0.0@default'}
              - again: {raise: {error: {type: '${ $error.type }', status: '${ $error.status }'}}}
"""
FACTS = {"x.make:1.0.0": "x.unmake:1.0.0"}


def test_undo_takes_back_in_reverse_order() -> None:
    """Each undo gets the arguments and the result of what it takes back, and its key."""
    done = play(
        UNDO,
        None,
        lambda c: DOWN if c.function == "x.break:1.0.0" else {"made": c.arguments.get("name")},
        undo=FACTS,
    )
    undone = [c for c in done.performed if c.function == "x.unmake:1.0.0"]

    assert done.fault.status == 503
    assert [c.arguments["name"] for c in undone] == ["three", "two", "one"]
    assert undone[0].arguments["result"] == {"made": "three"}
    assert undone[0].key == "run-1/do/0/all/try/1/three/undo"
    assert all(c.undoing for c in undone)


def test_an_action_of_a_cancelled_branch_may_end_before_it_is_undone() -> None:
    """Only its end says whether there is something to take back; nothing is dropped on the way."""
    run = begin(UNDO, undo=FACTS)
    one, two = run.todo
    run.todo = []
    from tenuto.engine.model import Answered, Failed

    run.tell(Failed(run.now, one.id, DOWN))

    assert run.dropped == []
    assert run.todo == []

    run.tell(Answered(run.now, two.id, {"made": "two"}))
    run.go_on()

    assert [c.arguments["name"] for c in run.performed] == ["two"]
    assert run.fault.status == 503


def test_what_cannot_be_undone_is_named_and_does_not_stop_the_rest() -> None:
    """The undo faults at its end, after everything else was taken back."""
    done = play(
        UNDO,
        None,
        lambda c: DOWN if "break" in c.function or (c.undoing and c.arguments["name"] == "two") else {},
        undo=FACTS,
    )

    assert [c.arguments["name"] for c in done.performed if c.undoing] == ["three", "two", "one"]
    assert done.fault.title == "Undo Failed"


OWN_UNDO = """
    use: {authentications: {it: {bearer: {token: t}}}}
    do:
      - all:
          try:
            - each:
                for: {each: room, in: '["a", "b"]'}
                do:
                  - book:
                      call: http
                      with: {method: post, endpoint: 'https://x.test/rooms', body: {room: '${ $room }'}}
                      metadata:
                        undo:
                          call: http
                          with:
                            method: delete
                            endpoint: {uri: 'https://x.test/{site}/rooms', authentication: {use: it}}
                            query: {booking: '${ $output.id }', room: '${ $room }'}
            - broken: {call: 'x.break:1.0.0@default'}
          catch: {do: [{back: {call: 'undo:1.0.0@default'}}]}
"""


def test_a_task_may_say_itself_how_it_is_undone() -> None:
    """`metadata.undo` is a call that sees the task's input, variables and output."""
    ids = iter([7, 8])
    done = play(
        OWN_UNDO,
        {"site": "hq", "id": 0},
        lambda c: DOWN if "break" in c.function else {"id": next(ids, None), "site": "hq"},
    )
    undone = done.performed[3:]

    assert [c.arguments["query"] for c in undone] == [
        {"booking": 8, "room": "b"},
        {"booking": 7, "room": "a"},
    ]
    assert {c.function for c in undone} == {"http.request"}
    assert undone[0].arguments["endpoint"] == {
        "uri": "https://x.test/hq/rooms",
        "authentication": {"bearer": {"token": "t"}},
    }
    assert done.output == {"undone": 2}
