"""Events: emitted, listened for, correlated, buffered, iterated."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.engine.model import Arrived
from tests.language.playing import arrived, begin, play


def test_emit_gives_the_event_with_what_the_standard_requires() -> None:
    """Id, source and time are made if they are not given; the output is the event."""
    done = play("do: [{e: {emit: {event: {with: {type: t.v1, data: {n: '${ .n }'}, room: r1}}}}}]", {"n": 4})

    assert done.output == {
        "specversion": "1.0",
        "id": done.output["id"],
        "source": "/test/play/1.0.0",
        "time": "2023-11-14T22:13:20.000Z",
        "type": "t.v1",
        "data": {"n": 4},
        "room": "r1",
    }
    assert done.emitted == [done.output]


def test_an_events_id_is_the_same_when_it_is_emitted_again() -> None:
    """A replay emits the very same event; another place another one."""
    body = "do: [{e: {emit: {event: {with: {type: t}}}}}, {f: {emit: {event: {with: {type: t}}}}}]"
    one, two = play(body), play(body)

    assert one.emitted == two.emitted
    assert len({event["id"] for event in one.emitted}) == 2


def test_the_uris_of_an_event_are_templates() -> None:
    """`source` and `dataschema`."""
    body = "do: [{e: {emit: {event: {with: {type: t, source: 'https://x.test/{n}', dataschema: '/s/{n}'}}}}}]"
    event = play(body, {"n": 4}).output

    assert (event["source"], event["dataschema"]) == ("https://x.test/4", "/s/4")


def test_the_standard_attributes_of_an_event_are_texts() -> None:
    """Numbers are written out, null leaves an attribute to its default; the data stays what it is."""
    body = "do: [{e: {emit: {event: {with: {type: t, id: '${ .n }', subject: '${ .n }', time: '${ null }', data: '${ .n }'}}}}}]"
    event = play(body, {"n": 4}).output

    assert (event["id"], event["subject"], event["data"]) == ("4", "4", 4)
    assert event["time"] == "2023-11-14T22:13:20.000Z"
    assert play(body, {"n": [4]}).fault.type.endswith("/configuration")


def listen(to: str, rest: str = "", **options: Any) -> str:
    """Return a document that listens and then shows what it got."""
    return f"do:\n  - l: {{listen: {{to: {to}{options.get('read', '')}}}{rest}}}\n"


A, B, X = {"type": "a", "data": 1}, {"type": "b", "data": 2}, {"type": "x", "data": 9}


@pytest.mark.parametrize(
    ("to", "events", "output"),
    [
        ("{one: {with: {type: a}}}", [X, A], [1]),
        ("{any: [{with: {type: a}}, {with: {type: b}}]}", [X, B], [2]),
        ("{any: []}", [X], [9]),
        ("{all: [{with: {type: a}}, {with: {type: b}}]}", [B, B, A], [2, 1]),
        ("{any: [], until: '(. | length) == 3'}", [A, X, B], [1, 9, 2]),
        ("{any: [{with: {type: a}}], until: '${ .[-1] > 2 }'}", [A, X, {"type": "a", "data": 3}], [1, 3]),
        ("{any: [{with: {type: a}}], until: {one: {with: {type: x}}}}", [A, A, X], [1, 1]),
        ("{any: [], until: {all: [{with: {type: a}}, {with: {type: b}}]}}", [A, X, B], [9]),
    ],
)
def test_every_strategy_ends_when_it_has_enough(
    to: str, events: list[dict[str, Any]], output: object
) -> None:
    """The output is always an array, in the order of arrival, without `until` events."""
    run = begin(listen(to))

    for event in events[:-1]:
        arrived(run, event)
        assert run.run is not None
        assert run.run.status == "waiting"
    arrived(run, events[-1])

    assert run.output == output


@pytest.mark.parametrize(
    ("read", "expected"),
    [("data", {"n": 1}), ("raw", '{"n":1}'), ("envelope", "a")],
)
def test_read_says_what_of_the_event_is_kept(read: str, expected: object) -> None:
    """The data, its raw text, or the whole event."""
    run = begin(listen("{one: {with: {type: a}}}", read=f", read: {read}"))
    arrived(run, {"type": "a", "data": {"n": 1}})
    got = run.output[0]

    assert (got["type"] if read == "envelope" else got) == expected


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ("{type: a, source: /test}", True),
        ("{type: a, source: /other}", False),
        ("{data: '${ .n > 3 }'}", True),
        ("{data: '${ .n > 9 }'}", False),
        ("{data: {n: 5}}", True),
        ("{data: {n: '${ . < 5 }'}}", False),
        ("{subject: '${ \"s1\" }'}", True),
    ],
)
def test_filters_compare_attributes(wanted: str, fits: bool) -> None:
    """Literally, by a condition on the attribute, or by the value of an expression."""
    run = begin(listen(f"{{one: {{with: {wanted}}}}}"))
    arrived(run, {"type": "a", "data": {"n": 5}, "subject": "s1"})

    assert run.run is not None
    assert run.run.over is fits


def test_an_expression_of_a_filter_is_for_events_that_fit_otherwise() -> None:
    """As in the standard's example: the data of another event need not look like that of the wanted one."""
    run = begin(listen("{any: [{with: {data: '${ .n > 3 }', type: a}}, {with: {type: b}}]}"))
    arrived(run, {"type": "b", "data": "a text"})

    assert run.output == ["a text"]


CORRELATED = "{all: [{with: {type: a}, correlate: {room: {from: .room%s}}}, {with: {type: b}, correlate: {room: {from: .data.room}}}]}"


def test_the_first_correlation_value_is_expected_of_the_others() -> None:
    """Events of another room, or without one, do not count."""
    run = begin(listen(CORRELATED % ""))
    arrived(run, {"type": "a"}, {"type": "a", "room": 1}, {"type": "b", "data": {"room": 2}})
    assert run.run is not None
    assert not run.run.over
    arrived(run, {"type": "b", "data": {"room": 1}})

    assert len(run.output) == 2


@pytest.mark.parametrize(("expect", "fits"), [("'1'", True), ("'${ .want }'", True), ("'2'", False)])
def test_an_expected_correlation_value_is_a_constant_or_an_expression(expect: str, fits: bool) -> None:
    """Expressions are evaluated on the task's input."""
    run = begin(
        listen("{one: {with: {type: a}, correlate: {room: {from: .room, expect: %s}}}}" % expect), {"want": 1}
    )
    arrived(run, {"type": "a", "room": 1})

    assert run.run is not None
    assert run.run.over is fits


@pytest.mark.parametrize(("value", "fits"), [(True, True), ("true", True), (False, False)])
def test_a_constant_is_compared_with_other_values_as_json_has_them(value: object, fits: bool) -> None:
    """`expect` is a text in the document, whatever the event has."""
    run = begin(listen("{one: {with: {type: a}, correlate: {ok: {from: .ok, expect: 'true'}}}}"))
    arrived(run, {"type": "a", "ok": value})

    assert run.run is not None
    assert run.run.over is fits


def test_events_that_came_too_early_wait_in_the_run() -> None:
    """Our reading 15: nobody has taken it, so the next `listen` does; taken ones are gone."""
    run = begin("""
        do:
          - pause: {wait: PT1H}
          - one: {listen: {to: {one: {with: {type: a}}}}}
          - two: {listen: {to: {one: {with: {type: a}}}}, output: {as: '{two: .}'}}
    """)
    arrived(run, {"type": "a", "data": "early"}, {"type": "a", "data": "later"})

    assert run.output == {"two": ["later"]}


def test_branches_hear_each_other() -> None:
    """What one branch emits reaches the other, whichever comes first."""
    done = play("""
        do:
          - f:
              fork:
                branches:
                  - speaker: {emit: {event: {with: {type: hello, data: hi}}}}
                  - hearer: {listen: {to: {one: {with: {type: hello}}}}}
    """)

    assert done.output[1] == ["hi"]


def test_foreach_handles_each_event_in_turn() -> None:
    """Its tasks see item and index; `output.as` shapes what is kept, `export.as` the context."""
    run = begin(
        """
        do:
          - l:
              listen: {to: {any: [], until: '(. | length) == 2'}}
              foreach:
                item: event
                at: i
                do:
                  - pause: {wait: PT1S}
                  - mark: {set: {got: '${ $event }', at: '${ $i }', of: '${ .n }'}}
                output: {as: '{done: .}'}
                export: {as: '{last: $output}'}
          - last: {set: {all: '${ . }', context: '${ $context }'}}
    """,
        {"n": 7},
    )
    arrived(run, A, B)

    first = {"done": {"got": 1, "at": 0, "of": 7}}
    second = {"done": {"got": 2, "at": 1, "of": 7}}
    assert run.output == {"all": [first, second], "context": {"last": second}}
    assert run.waits == [1.0, 1.0]


def test_until_is_looked_at_after_the_event_was_handled() -> None:
    """So that it sees the context that `foreach` exported; later events wait for the next `listen`."""
    run = begin("""
        do:
          - l:
              listen: {to: {any: [], until: '$context.sum > 2'}}
              foreach: {do: [{w: {wait: PT1S}}, {s: {set: '${ $item }'}}], export: {as: '{sum: (($context.sum // 0) + $item)}'}}
          - m: {listen: {to: {any: []}}, output: {as: '{later: .}'}}
    """)
    for event in (A, B, X):
        run.tell(
            Arrived(run.now, {"specversion": "1.0", "id": str(event["data"]), "source": "/test", **event})
        )
    run.go_on()

    assert run.output == {"later": [9]}
    assert run.run is not None
    assert run.run.state.context == {"sum": 3}


def test_foreach_without_output_keeps_the_events() -> None:
    """Only `foreach.output.as` changes what the task gives."""
    run = begin("""
        do:
          - l: {listen: {to: {one: {with: {type: a}}}}, foreach: {do: [{s: {set: {x: 1}}}]}}
    """)
    arrived(run, A)

    assert run.output == [1]


def test_an_event_is_an_object() -> None:
    """Anything else is the fault of the task, said in the document's words."""
    made = play("do: [{a: {emit: {event: {with: '${ 5 }'}}}}]")

    assert made.fault.detail == "`emit.event.with` must give an object of attributes"
