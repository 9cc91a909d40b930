"""Writes a workflow's graph as text for Mermaid, which Markdown pages show as a picture."""

from __future__ import annotations

from itertools import count

from tenuto.operations.graph import END, Graph, Lane, Node

_LONGEST = 60
_CLASSES = {
    "call": "fill:#dbeafe,stroke:#2563eb,color:#111827",
    "run": "fill:#ccfbf1,stroke:#0f766e,color:#111827",
    "set": "fill:#f3f4f6,stroke:#6b7280,color:#111827",
    "emit": "fill:#ede9fe,stroke:#7c3aed,color:#111827",
    "listen": "fill:#ede9fe,stroke:#7c3aed,color:#111827",
    "wait": "fill:#fef3c7,stroke:#b45309,color:#111827",
    "raise": "fill:#fee2e2,stroke:#dc2626,color:#111827",
    "switch": "fill:#ffedd5,stroke:#c2410c,color:#111827",
}


def mermaid(graph: Graph) -> str:
    """Return the graph as a Mermaid flowchart."""
    writer = _Writer()
    writer.lines.append("flowchart TD")
    writer.lines.append(f'    start(["{_text(graph.trigger or "start")}"])')
    first, _ = writer.lane(graph.lane, "    ", "finish")
    writer.lines.append('    finish(["end"])')
    writer.edges.insert(0, f"    start --> {first}")
    used = sorted(writer.kinds & set(_CLASSES))
    styles = [f"    classDef {kind} {_CLASSES[kind]}" for kind in used]
    return "\n".join([*writer.lines, *writer.edges, *styles]) + "\n"


class _Writer:
    """Collects boxes first and arrows last, as Mermaid wants them for nested parts."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.edges: list[str] = []
        self.kinds: set[str] = set()
        self.numbers = count(1)

    def lane(self, lane: Lane, indent: str, after: str | None) -> tuple[str, str]:
        """Write a lane; return the ids of its first box and of what stands for its end."""
        ids = [self.node(node, indent) for node in lane.nodes]
        end = after
        if end is None and lane.has_exit:
            end = f"e{next(self.numbers)}"
            self.lines.append(f'{indent}{end}(("exit"))')
        for way in lane.ways:
            if way.target == END:
                target: str | None = "finish"
            else:
                target = ids[way.target] if way.target < len(ids) else end
            if target is None:
                continue
            arrow = "-.->" if way.style == "error" else "-->"
            label = f'|"{_text(way.label)}"|' if way.label else ""
            self.edges.append(f"    {ids[way.start]} {arrow}{label} {target}")
        return (ids[0] if ids else (end or "finish")), (end or "")

    def node(self, node: Node, indent: str) -> str:
        """Write a task as a box, or with its lists as a subgraph; return its id."""
        id = f"n{next(self.numbers)}"
        label = _text(node.name)
        if node.detail:
            label += f"<br/><small>{_text(node.detail)}</small>"
        if node.condition:
            label += f"<br/><small>if {_text(node.condition)}</small>"
        if not node.lanes:
            opening, closing = {"switch": ("{{", "}}"), "wait": ("([", "])"), "listen": ("([", "])")}.get(
                node.kind, ("[", "]")
            )
            self.lines.append(f'{indent}{id}{opening}"{label}"{closing}' + self._class(node.kind))
            return id
        self.lines.append(f'{indent}subgraph {id} ["{label} ({node.kind})"]')
        firsts: list[str] = []
        for lane in node.lanes:
            inner = indent + "    "
            if lane.style == "catch":
                catch = f"c{next(self.numbers)}"
                if lane.nodes:
                    self.lines.append(f'{inner}subgraph {catch} ["{_text(lane.title)}"]')
                    self.lane(lane, inner + "    ", None)
                    self.lines.append(f"{inner}end")
                else:
                    self.lines.append(f'{inner}{catch}[/"{_text(lane.title)}"/]')
                self.edges.append(f"    {firsts[0]} -.-> {catch}")
            else:
                firsts.append(self.lane(lane, inner, None)[0])
        self.lines.append(f"{indent}end")
        return id

    def _class(self, kind: str) -> str:
        self.kinds.add(kind)
        return f":::{kind}" if kind in _CLASSES else ""


def _text(text: str) -> str:
    """Return text that Mermaid shows as it is: its special characters as codes, not too long."""
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    return "".join(
        character if character.isalnum() or character in " .,:/_-…$?=+'" else f"#{ord(character)};"
        for character in text
    )
