"""The picture of a workflow: every task and every way stands in it, and nothing overlaps."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.operations.graph import END, Lane, Way, duration_text, graph_of
from tenuto.operations.graph_layout import PlacedLane, place
from tenuto.operations.graph_mermaid import mermaid
from tenuto.operations.graph_svg import svg

NAMES = ["a", "b", "c", "d"]


def tasks(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Task definitions whose inner lists are `children`."""
    then = st.sampled_from([None, "continue", "exit", "end", *NAMES])
    text = st.text(max_size=60)
    case = st.builds(lambda when, then: {"when": when, "then": then}, text, then.filter(bool))
    kinds = st.one_of(
        st.builds(lambda key: {"set": {key: 1}}, text),
        st.just({"wait": {"seconds": 3}}),
        st.builds(
            lambda cases: {"switch": [{"x": each} for each in cases]}, st.lists(case, min_size=1, max_size=4)
        ),
        st.builds(lambda do: {"do": do}, children),
        st.builds(lambda do, e: {"for": {"in": e}, "do": do}, children, text),
        st.builds(lambda do: {"fork": {"branches": do}}, children),
        st.builds(lambda do, h: {"try": do, "catch": {"do": h, "then": "end"}}, children, children),
    )
    return st.builds(lambda task, then: task if then is None else {**task, "then": then}, kinds, then)


def lists(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Task lists with distinct names."""
    return st.lists(tasks(children), min_size=1, max_size=4).map(
        lambda found: [{name: task} for name, task in zip(NAMES, found, strict=False)]
    )


LISTS = st.recursive(st.just([{"a": {"set": {"x": 1}}}]), lists, max_leaves=12)


def document(do: Any) -> dict[str, Any]:
    """A document with these tasks."""
    return {"document": {"dsl": "1.0.3", "namespace": "n", "name": "x", "version": "1.0.0"}, "do": do}


def names_in(do: Any) -> list[str]:
    """The names of all tasks in a list, at any depth."""
    found = []
    for item in do:
        ((name, task),) = item.items()
        found.append(name)
        for inner in (task.get("do"), task.get("try"), (task.get("fork") or {}).get("branches")):
            found += names_in(inner or [])
        if "try" in task:
            found += names_in(task["catch"]["do"])
    return found


@given(LISTS)
def test_every_task_stands_in_both_pictures(do: Any) -> None:
    """SVG is well-formed XML with one name for each task; Mermaid has a box or subgraph for each."""
    graph = graph_of(document(do))
    root = ElementTree.fromstring(svg(graph))
    written = [each.text for each in root.iter() if each.get("class") == "name"]

    assert sorted(names_in(do)) == sorted(written)
    boxes = re.findall(r"^\s*(?:subgraph )?n\d+ ?[\[({]", mermaid(graph), re.MULTILINE)
    assert len(names_in(do)) == len(boxes)


@given(LISTS)
def test_boxes_of_a_list_stand_below_each_other_and_inside_their_list(do: Any) -> None:
    """No two boxes overlap, and none leaves the room that its list has."""

    def check(placed: PlacedLane) -> None:
        bottom = 0.0
        for box, top in zip(placed.boxes, placed.tops, strict=True):
            assert top >= bottom
            bottom = top + box.height
            assert placed.axis - box.width / 2 >= -0.01
            assert placed.axis + box.width / 2 <= placed.width + 0.01
            for lane in box.lanes:
                assert lane.width < box.width
                assert lane.height + box.header < box.height
                check(lane)
        assert bottom <= placed.height + 0.01

    check(place(graph_of(document(do)).lane, root=True))


def ways(do: Any) -> list[tuple[int, int, str, str]]:
    """The ways of the outermost list."""
    lane: Lane = graph_of(document(do)).lane
    return [(way.start, way.target, way.label, way.style) for way in lane.ways]


def test_a_switch_leads_where_its_cases_say() -> None:
    """A case's way carries its condition; without a default there is a way on."""
    do = [
        {
            "s": {
                "switch": [{"one": {"when": "${ .a }", "then": "z"}}, {"two": {"when": ".b", "then": "exit"}}]
            }
        },
        {"y": {"set": {}, "then": "end"}},
        {"z": {"set": {}, "then": "s"}},
    ]

    assert ways(do) == [
        (0, 2, ".a", "choice"),
        (0, 3, ".b", "choice"),
        (0, 1, "otherwise", "choice"),
        (1, END, "", "next"),
        (2, 0, "", "next"),
    ]


def test_a_default_leaves_no_other_way_on() -> None:
    """A switch with a default always takes one of its cases."""
    assert ways([{"s": {"switch": [{"other": {"then": "continue"}}]}}]) == [(0, 1, "other", "choice")]


def test_a_caught_error_has_its_own_way() -> None:
    """`catch.then` is drawn as a way of its own."""
    do = [{"t": {"try": [{"a": {"set": {}}}], "catch": {"then": "exit"}}}, {"b": {"set": {}}}]

    assert Way(0, 2, "after an error", "error") in graph_of(document(do)).lane.ways


@pytest.mark.parametrize(
    ("duration", "text"),
    [("PT36H", "36 h"), ("P1DT2M0.5S", "1 d 2 min 0.5 s"), ({"minutes": 1, "seconds": 30}, "1 min 30 s")],
)
def test_durations_are_written_for_people(duration: Any, text: str) -> None:
    """Both spellings of the standard."""
    assert duration_text(duration) == text
