"""Draws a workflow's graph as SVG: readable in light and dark surroundings, and by screen readers."""

from __future__ import annotations

import re
from html import escape
from typing import Final

from tenuto.operations.graph import END, Graph, Way
from tenuto.operations.graph_layout import (
    LANE_GAP,
    LONGEST_DETAIL,
    LONGEST_LABEL,
    PAD,
    SMALL_SIZE,
    PlacedBox,
    PlacedLane,
    box_lines,
    exit_height,
    exits_left,
    exits_right,
    goal,
    marker_distance,
    place,
    shortened,
    straight,
    straight_label,
    text_width,
)

_MARGIN: Final = 24.0
_TOP: Final = 58.0

_STYLE: Final = """\
  .page { fill: #ffffff }
  .title { fill: #111827; font: 600 15px system-ui, -apple-system, "Segoe UI", sans-serif }
  .name { fill: #111827; font: 600 13px system-ui, -apple-system, "Segoe UI", sans-serif }
  .small { fill: #4b5563; font: 11px system-ui, -apple-system, "Segoe UI", sans-serif }
  .box { fill: #f9fafb; stroke: #9ca3af }
  .group { fill: #6b72800a; stroke: #9ca3af }
  .lane { fill: none; stroke: none }
  .branch { fill: #6b72800a; stroke: #9ca3af; stroke-dasharray: 1 3 }
  .catch { fill: none; stroke: #dc2626; stroke-dasharray: 5 4 }
  .way { fill: none; stroke: #6b7280; stroke-width: 1.4 }
  .error { stroke: #dc2626; stroke-dasharray: 5 4 }
  .tip, .dot { fill: #6b7280 }
  .ring { fill: none; stroke: #6b7280; stroke-width: 1.6 }
  .call { fill: #2563eb } .run { fill: #0f766e } .set { fill: #6b7280 } .emit, .listen { fill: #7c3aed }
  .wait { fill: #b45309 } .raise { fill: #dc2626 } .switch { fill: #c2410c }
  .do, .for, .fork, .try { fill: #374151 }
  .kind { font: 600 11px system-ui, -apple-system, "Segoe UI", sans-serif }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 }
    .title, .name { fill: #f3f4f6 }
    .small { fill: #b6bec9 }
    .box { fill: #1b222c; stroke: #6b7280 }
    .way, .ring { stroke: #9ca3af }
    .tip, .dot { fill: #9ca3af }
    .catch, .error { stroke: #f87171 }
    .call { fill: #60a5fa } .run { fill: #2dd4bf } .set { fill: #9ca3af } .emit, .listen { fill: #a78bfa }
    .wait { fill: #fbbf24 } .raise { fill: #f87171 } .switch { fill: #fb923c }
    .do, .for, .fork, .try { fill: #d1d5db }
  }
"""


def svg(graph: Graph) -> str:
    """Return the graph as one SVG document."""
    placed = place(graph.lane, root=True)
    heading = max(text_width(graph.title, 15.0), text_width(graph.name, SMALL_SIZE))
    width = max(placed.width, heading) + 2 * _MARGIN
    height = _TOP + 16.0 + placed.height + _MARGIN
    x = _MARGIN + max(0.0, width - 2 * _MARGIN - placed.width) / 2
    pen = _Pen()
    pen.text(_MARGIN, 30.0, graph.title, "title")
    pen.text(_MARGIN, 47.0, graph.name, "small")
    pen.add(f'<circle class="dot" cx="{_n(x + placed.axis)}" cy="{_n(_TOP + 12)}" r="6"/>')
    if graph.trigger:
        pen.text(x + placed.axis + 14.0, _TOP + 16.0, shortened(graph.trigger, LONGEST_DETAIL), "small")
    pen.lane(placed, x, _TOP + 18.0, root=True)
    width = max(width, x + placed.axis + text_width(graph.trigger, SMALL_SIZE) + 40.0)
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">\n'
        f'<title id="title">{_escaped(f"Workflow {graph.title} ({graph.name})")}</title>\n'
        f"<style>\n{_STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto">'
        '<path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>\n'
        f'<rect class="page" width="100%" height="100%" rx="8"/>\n' + "\n".join(pen.parts) + "\n</svg>\n"
    )


class _Pen:
    """Collects the parts of the drawing, what lies below first."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def add(self, part: str) -> None:
        """Add one element."""
        self.parts.append(part)

    def text(self, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
        """Write one line."""
        where = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.add(f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}"{where}>{_escaped(text)}</text>')

    def rectangle(self, kind: str, x: float, y: float, width: float, height: float, corner: int) -> None:
        """Draw a rectangle with rounded corners."""
        size = f'width="{_n(width)}" height="{_n(height)}" rx="{corner}"'
        self.add(f'<rect class="{kind}" x="{_n(x)}" y="{_n(y)}" {size}/>')

    def line(self, points: list[tuple[float, float]], way: Way | None = None, *, tip: bool = True) -> None:
        """Draw a way with rounded corners, and a tip at its end."""
        path = f"M{_n(points[0][0])} {_n(points[0][1])}"
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            start, end = _towards(corner, before), _towards(corner, after)
            path += (
                f" L{_n(start[0])} {_n(start[1])} Q{_n(corner[0])} {_n(corner[1])} {_n(end[0])} {_n(end[1])}"
            )
        path += f" L{_n(points[-1][0])} {_n(points[-1][1])}"
        kind = "way error" if way is not None and way.style == "error" else "way"
        self.add(f'<path class="{kind}" d="{path}"' + (' marker-end="url(#tip)"/>' if tip else "/>"))

    def lane(self, placed: PlacedLane, x: float, y: float, root: bool = False) -> None:
        """Draw a list with its upper left corner at (x, y)."""
        axis = x + placed.axis
        if placed.lane.title:
            title = shortened(placed.lane.title, LONGEST_DETAIL)
            self.text(x, y + 12.0, title, "small")
        if placed.boxes:
            above = y + placed.first - (24.0 if not root else 28.0)
            self.line([(axis, above), (axis, y + placed.tops[0])])
        self._ways(placed, axis, y, root)
        for box, top in zip(placed.boxes, placed.tops, strict=True):
            self.box(box, axis - box.width / 2, y + top)
        if root:
            self.add(f'<circle class="ring" cx="{_n(axis)}" cy="{_n(y + placed.end + 7)}" r="7"/>')
            self.add(f'<circle class="dot" cx="{_n(axis)}" cy="{_n(y + placed.end + 7)}" r="3.5"/>')
        elif placed.lane.has_exit:
            self.add(f'<circle class="dot" cx="{_n(axis)}" cy="{_n(y + placed.end + 5)}" r="4.5"/>')

    def _ways(self, placed: PlacedLane, axis: float, y: float, root: bool) -> None:
        lane, count = placed.lane, len(placed.boxes)
        ends = root or lane.has_exit
        right = {track.target: track.distance for track in placed.right}
        left = {track.target: track.distance for track in placed.left}
        for index, box in enumerate(placed.boxes):
            bottom = y + placed.tops[index] + box.height
            below = y + (placed.tops[index + 1] if index + 1 < count else placed.end)
            ways = straight(lane, index, root)
            if ways and (index + 1 < count or ends):
                self.line([(axis, bottom), (axis, below)], ways[0])
                self.text(axis + 7.0, bottom + 17.0, straight_label(lane, index), "small")
            for order, way in enumerate(exits_right(lane, index, root)):
                here = y + placed.tops[index] + exit_height(lane, index, order, root, right=True)
                edge = axis + box.width / 2
                self.text(edge + 7.0, here - 4.0, shortened(way.label, LONGEST_LABEL), "small")
                if way.target == END and not root:
                    there = axis + marker_distance(box, way)
                    self.line([(edge, here), (there - 8.0, here)], way)
                    self.add(f'<circle class="ring" cx="{_n(there)}" cy="{_n(here)}" r="6"/>')
                    self.add(f'<circle class="dot" cx="{_n(there)}" cy="{_n(here)}" r="3"/>')
                    continue
                target = goal(way, count, root)
                self._track(placed, axis, (edge, here), axis + right[target], target, y, way)
            for order, way in enumerate(exits_left(lane, index)):
                here = y + placed.tops[index] + exit_height(lane, index, order, root, right=False)
                edge = axis - box.width / 2
                self.text(edge - 7.0, here - 4.0, shortened(way.label, LONGEST_LABEL), "small", "end")
                self._track(placed, axis, (edge, here), axis - left[way.target], way.target, y, way)

    def _track(
        self,
        placed: PlacedLane,
        axis: float,
        start: tuple[float, float],
        track: float,
        target: int,
        y: float,
        way: Way,
    ) -> None:
        side = 1.0 if track > axis else -1.0
        if target == len(placed.boxes):
            there, edge = y + placed.end + (7.0 if placed.lane.style == "body" else 5.0), axis + side * 8.0
        else:
            box = placed.boxes[target]
            there, edge = y + placed.tops[target] + 8.0, axis + side * box.width / 2
        self.line([start, (track, start[1]), (track, there), (edge, there)], way)

    def box(self, box: PlacedBox, x: float, y: float) -> None:
        """Draw a task with its upper left corner at (x, y)."""
        node = box.node
        shape = "group" if box.lanes else "box"
        full = " · ".join(filter(None, [f"{node.kind}: {node.name}", node.detail, node.condition]))
        self.add(f"<g><title>{_escaped(full)}</title>")
        self.rectangle(shape, x, y, box.width, box.height, 6)
        self.rectangle(node.kind, x, y + 6.0, 4.0, box.header - 10.0, 2)
        self.text(x + PAD, y + 20.0, node.name, "name")
        self.text(x + box.width - PAD, y + 20.0, node.kind, f"kind {node.kind}", "end")
        for number, line in enumerate(box_lines(node)):
            self.text(x + PAD, y + 36.0 + 15.0 * number, line, "small")
        self._inside(box, x, y + box.header)
        self.add("</g>")

    def _inside(self, box: PlacedBox, x: float, y: float) -> None:
        if not box.lanes:
            return
        inside = sum(lane.width + 2 * PAD for lane in box.lanes) + LANE_GAP * (len(box.lanes) - 1)
        across = x + (box.width - inside) / 2
        tallest = max(lane.height for lane in box.lanes)
        for number, lane in enumerate(box.lanes):
            width, height = lane.width + 2 * PAD, tallest + 2 * PAD - 4.0
            kind = (
                lane.lane.style if lane.lane.style != "body" else "lane" if len(box.lanes) == 1 else "branch"
            )
            if kind == "catch":
                height = lane.height + 2 * PAD - 4.0
            self.rectangle(kind, across, y, width, height, 5)
            if kind == "catch" and number:
                self.line([(across - LANE_GAP, y + 12.0), (across, y + 12.0)], _FAILED)
            self.lane(lane, across + PAD, y + 4.0)
            across += width + LANE_GAP


_FAILED: Final = Way(0, 0, "", "error")


def _towards(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the point a little way from a corner, where its rounding begins."""
    across, down = other[0] - corner[0], other[1] - corner[1]
    distance = max((across**2 + down**2) ** 0.5, 0.001)
    share = min(6.0, distance / 2) / distance
    return corner[0] + across * share, corner[1] + down * share


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("�", text))
