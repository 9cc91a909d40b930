"""Decides where everything in a workflow's picture stands: sizes first, from the inside out.

Tasks of a list stand below each other on one axis. A way to the next task is straight; a way
further down runs in a track right of the list, a way back up in a track left of it. All ways to
the same task share one track. Lengths are in pixels; `y` grows downwards.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tenuto.operations.graph import END, Lane, Node, Way

NAME_SIZE: Final = 13.0
BOLD: Final = 1.12  # how much wider bold text is
SMALL_SIZE: Final = 11.0
GAP: Final = 26.0
LABEL_GAP: Final = 18.0
TRACK: Final = 14.0
PAD: Final = 14.0
EXIT_STEP: Final = 20.0
BOX_MINIMUM: Final = 150.0
LANE_GAP: Final = 16.0
LONGEST_DETAIL: Final = 46
LONGEST_LABEL: Final = 34


@dataclass(slots=True)
class Track:
    """The vertical part of all ways to one task, and how far from the axis it runs."""

    target: int
    top: float
    bottom: float
    starts: list[int]
    distance: float = 0.0


@dataclass(slots=True)
class PlacedLane:
    """A list with its size; `axis` is the x of its tasks' middle, `tops` their upper edges."""

    lane: Lane
    width: float
    height: float
    axis: float
    boxes: list[PlacedBox]
    tops: list[float]
    end: float
    first: float
    right: list[Track] = field(default_factory=list)
    left: list[Track] = field(default_factory=list)


@dataclass(slots=True)
class PlacedBox:
    """A task with its size; `header` is the height of what stands above its lists."""

    node: Node
    width: float
    height: float
    header: float
    lanes: list[PlacedLane]


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is in a sans-serif font, rather too wide than too narrow."""
    return size * sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if character in "iljtfr.,:;'|!()[] ":
        return 0.36
    if character in "mwMW@%":
        return 0.95
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.72 if character.isupper() else 0.6


def shortened(text: str, longest: int) -> str:
    """Return a text of at most `longest` characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def box_lines(node: Node) -> list[str]:
    """Return what stands below a task's name."""
    lines = [node.detail] if node.detail else []
    if node.condition:
        lines.append(f"if {node.condition}")
    return [shortened(line, LONGEST_DETAIL) for line in lines]


def is_right(way: Way, count: int, root: bool) -> bool:
    """Tell whether a way runs down in a track."""
    return way.start + 1 < goal(way, count, root) <= count


def goal(way: Way, count: int, root: bool) -> int:
    """Return where a way ends in this list; the end of the workflow is the outermost list's end."""
    return count if way.target == END and root else way.target


def place(lane: Lane, root: bool = False) -> PlacedLane:
    """Return a list and everything in it with sizes and places."""
    count = len(lane.nodes)
    boxes = [_box(node, _exits_end(lane, index, root)) for index, node in enumerate(lane.nodes)]
    y = (20.0 if lane.title else 0.0) + (GAP if boxes else 0.0)
    first = y
    tops = []
    for index, box in enumerate(boxes):
        tops.append(y)
        y += box.height + GAP + (LABEL_GAP if straight_label(lane, index) else 0.0)
    ends = root or lane.has_exit
    end = y if ends else y - GAP
    height = (end + 16.0 if ends else end) if boxes else y
    half = max((box.width / 2 for box in boxes), default=0.0)
    placed = PlacedLane(lane, 0.0, height, 0.0, boxes, tops, end, first)
    forward = [way for way in lane.ways if is_right(way, count, root)]
    backward = [way for way in lane.ways if 0 <= way.target <= way.start]
    placed.right = _tracks(placed, forward, root, right=True)
    placed.left = _tracks(placed, backward, root, right=False)
    markers = [extent + 10.0 for extent in _marker_ends(placed, root)]
    right = max([half, *markers, *(track.distance + 8.0 for track in placed.right)])
    left = max([half, *(track.distance + 8.0 for track in placed.left)])
    titled = text_width(shortened(lane.title, LONGEST_DETAIL), SMALL_SIZE)
    placed.width = max(left + right, titled)
    placed.axis = left + max(0.0, titled - left - right) / 2
    return placed


def exits_right(lane: Lane, index: int, root: bool) -> list[Way]:
    """Return the ways that leave a task at its right side, in order."""
    count = len(lane.nodes)
    return [
        way
        for way in lane.ways
        if way.start == index and (is_right(way, count, root) or (way.target == END and not root))
    ]


def exits_left(lane: Lane, index: int) -> list[Way]:
    """Return the ways that leave a task at its left side, in order."""
    return [way for way in lane.ways if way.start == index and 0 <= way.target <= index]


def straight(lane: Lane, index: int, root: bool) -> list[Way]:
    """Return the ways that lead from a task straight to what stands below it."""
    count = len(lane.nodes)
    return [way for way in lane.ways if way.start == index and goal(way, count, root) == index + 1]


def straight_label(lane: Lane, index: int) -> str:
    """Return what stands beside the straight way below a task."""
    labels = [way.label for way in lane.ways if way.start == index and way.target == index + 1]
    return shortened(" / ".join(filter(None, labels)), LONGEST_LABEL)


def exit_height(lane: Lane, index: int, order: int, root: bool, *, right: bool) -> float:
    """Return how far below a task's upper edge a way leaves it; the entries stand above."""
    count = len(lane.nodes)
    entered = any(
        is_right(way, count, root) if right else 0 <= way.target <= way.start
        for way in lane.ways
        if goal(way, count, root) == index
    )
    return (32.0 if entered else 16.0) + EXIT_STEP * order


def _exits_end(lane: Lane, index: int, root: bool) -> float:
    """Return how far below a task's upper edge the last way leaves it."""
    right, left = len(exits_right(lane, index, root)), len(exits_left(lane, index))
    return max(
        exit_height(lane, index, right - 1, root, right=True) if right else 0.0,
        exit_height(lane, index, left - 1, root, right=False) if left else 0.0,
    )


def _box(node: Node, exits_end: float) -> PlacedBox:
    lines = box_lines(node)
    name = (text_width(node.name, NAME_SIZE) + text_width(node.kind, SMALL_SIZE)) * BOLD + 18.0
    width = max([BOX_MINIMUM, name + 2 * PAD, *(text_width(line, SMALL_SIZE) + 2 * PAD for line in lines)])
    header = 30.0 + 15.0 * len(lines)
    if not node.lanes:
        return PlacedBox(node, width, max(header + 2.0, exits_end + 12.0), header, [])
    lanes = [place(lane) for lane in node.lanes]
    inside = sum(lane.width + 2 * PAD for lane in lanes) + LANE_GAP * (len(lanes) - 1)
    height = header + max(lane.height for lane in lanes) + 2 * PAD
    return PlacedBox(node, max(width, inside + 2 * PAD), height + PAD, header, lanes)


def _tracks(placed: PlacedLane, ways: Sequence[Way], root: bool, *, right: bool) -> list[Track]:
    """Give each target one track, as near to the axis as what stands beside it and short ones allow."""
    count = len(placed.boxes)
    tracks: dict[int, Track] = {}
    for way in ways:
        target = goal(way, count, root)
        here = placed.tops[way.start]
        there = placed.end if target == count else placed.tops[target]
        top, bottom = min(here, there), max(here + placed.boxes[way.start].height, there)
        track = tracks.setdefault(target, Track(target, top, bottom, []))
        track.top, track.bottom = min(track.top, top), max(track.bottom, bottom)
        track.starts.append(way.start)
    done: list[Track] = []
    for track in sorted(tracks.values(), key=lambda each: each.bottom - each.top):
        beside = range(min(*track.starts, track.target), min(max(*track.starts, track.target), count - 1) + 1)
        track.distance = max(_reach(placed, index, root, right=right) for index in beside)
        taken = sorted(
            other.distance for other in done if other.top <= track.bottom and track.top <= other.bottom
        )
        for distance in taken:
            if abs(distance - track.distance) < TRACK:
                track.distance = distance + TRACK
        done.append(track)
    return done


def _reach(placed: PlacedLane, index: int, root: bool, *, right: bool) -> float:
    """Return how far from the axis a task and the labels at one side of it reach."""
    box = placed.boxes[index]
    ways = exits_right(placed.lane, index, root) if right else exits_left(placed.lane, index)
    labels = [
        box.width / 2 + text_width(shortened(way.label, LONGEST_LABEL), SMALL_SIZE) + 22.0 for way in ways
    ]
    return max([box.width / 2 + 16.0, *labels])


def _marker_ends(placed: PlacedLane, root: bool) -> list[float]:
    """Return how far from the axis the marks for the workflow's end reach, in an inner list."""
    return [
        marker_distance(box, way)
        for index, box in enumerate(placed.boxes)
        for way in exits_right(placed.lane, index, root)
        if way.target == END and not root
    ]


def marker_distance(box: PlacedBox, way: Way) -> float:
    """Return how far from the axis the mark for the workflow's end stands."""
    return box.width / 2 + max(26.0, text_width(shortened(way.label, LONGEST_LABEL), SMALL_SIZE) + 22.0)
