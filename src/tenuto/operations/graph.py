"""A document as a picture would show it: boxes within lanes, and the ways between them.

graph_of(document)  ->  Graph  ->  graph_svg.svg or graph_mermaid.mermaid
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from tenuto.engine.model import Json

KINDS: Final = ("call", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait", "do")
END: Final = -1  # where a way ends that leads out of the whole workflow, from an inner list

LaneStyle = Literal["body", "branch", "catch"]
WayStyle = Literal["next", "choice", "error"]


class Way(msgspec.Struct, frozen=True):
    """A way from the task `start` of a list to the task `target` of the same list.

    `target` may be the number of tasks, which is the list's own end, or `END`.
    """

    start: int
    target: int
    label: str = ""
    style: WayStyle = "next"


class Lane(msgspec.Struct, frozen=True):
    """A task list, with the ways between its tasks."""

    title: str
    style: LaneStyle
    nodes: tuple[Node, ...]
    ways: tuple[Way, ...]

    @property
    def has_exit(self) -> bool:
        """Whether a task other than the last one leads to the list's end."""
        last = len(self.nodes) - 1
        return any(way.target == last + 1 and (way.start != last or way.label) for way in self.ways)


class Node(msgspec.Struct, frozen=True):
    """One task: what is written into its box, and the lists inside it."""

    path: str
    name: str
    kind: str
    detail: str
    condition: str | None = None
    lanes: tuple[Lane, ...] = ()


class Graph(msgspec.Struct, frozen=True):
    """A whole workflow; `trigger` says what starts it, if it has a schedule."""

    name: str
    title: str
    trigger: str
    lane: Lane


def graph_of(document: dict[str, Json]) -> Graph:
    """Return the graph of a valid document."""
    head = document["document"]
    return Graph(
        name=f"{head['namespace']}/{head['name']}:{head['version']}",
        title=head.get("title") or head["name"],
        trigger=_trigger(document.get("schedule") or {}),
        lane=_lane("", "body", "/do", document["do"]),
    )


def _lane(title: str, style: LaneStyle, path: str, items: list[dict[str, Json]]) -> Lane:
    tasks = [next(iter(item.items())) for item in items]
    nodes = tuple(_node(f"{path}/{index}/{name}", name, task) for index, (name, task) in enumerate(tasks))
    places = {name: index for index, (name, _) in enumerate(tasks)}
    return Lane(title, style, nodes, tuple(_ways(tasks, places)))


def _ways(tasks: list[tuple[str, dict[str, Json]]], places: dict[str, int]) -> Iterator[Way]:
    for index, (_, task) in enumerate(tasks):

        def target(then: str | None, here: int = index) -> int:
            match then:
                case None | "continue":
                    return here + 1
                case "exit":
                    return len(tasks)
                case "end":
                    return END
                case _:
                    return places.get(then, here + 1)

        if "switch" in task:
            cases = [next(iter(item.items())) for item in task["switch"]]
            for name, case in cases:
                yield Way(index, target(case.get("then")), _expression(case.get("when")) or name, "choice")
            if all(case.get("when") is not None for _, case in cases):
                yield Way(index, target(task.get("then")), "otherwise", "choice")
        else:
            yield Way(index, target(task.get("then")))
        caught = task.get("catch")
        if isinstance(caught, dict) and caught.get("then") not in (None, "continue"):
            yield Way(index, target(caught["then"]), "after an error", "error")


def _node(path: str, name: str, task: dict[str, Json]) -> Node:
    kind = next((kind for kind in KINDS if kind in task), "set")
    return Node(
        path=path,
        name=name,
        kind=kind,
        detail=_detail(kind, task),
        condition=_expression(task.get("if")) or None,
        lanes=tuple(_lanes(kind, path, task)),
    )


def _lanes(kind: str, path: str, task: dict[str, Json]) -> Iterator[Lane]:
    match kind:
        case "do":
            yield _lane("", "body", f"{path}/do", task["do"])
        case "for":
            yield _lane("", "body", f"{path}/do", task["do"])
        case "fork":
            for index, item in enumerate(task["fork"]["branches"]):
                yield _lane("", "branch", f"{path}/fork/branches/{index}", [item])
        case "try":
            yield _lane("", "body", f"{path}/try", task["try"])
            yield _lane(
                _caught(task["catch"]), "catch", f"{path}/catch/do", (task["catch"] or {}).get("do") or []
            )
        case "listen" if (task.get("foreach") or {}).get("do"):
            yield _lane("for each event", "body", f"{path}/foreach/do", task["foreach"]["do"])
        case "call" if (foreach := _with(task).get("subscription", {}).get("foreach") or {}).get("do"):
            yield _lane("for each message", "body", f"{path}/with/subscription/foreach/do", foreach["do"])


# ── what is written into the boxes ───────────────────────────────────────────────────────


def _expression(value: Json) -> str:
    """Return an expression without the `${ }` around it, on one line."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(text.split())
    if text.startswith("${") and text.endswith("}"):
        text = text[2:-1].strip()
    return text


def _with(task: dict[str, Json]) -> dict[str, Json]:
    arguments = task.get("with")
    return arguments if isinstance(arguments, dict) else {}


def _detail(kind: str, task: dict[str, Json]) -> str:
    match kind:
        case "call":
            return _call(task["call"], _with(task))
        case "set":
            value = task.get("set")
            return ", ".join(value) if isinstance(value, dict) else _expression(value)
        case "wait":
            return duration_text(task["wait"])
        case "emit":
            return str(task["emit"]["event"]["with"].get("type", ""))
        case "raise":
            return _error(task["raise"]["error"])
        case "run":
            return _run(task["run"])
        case "for":
            loop = task["for"]
            text = f"each ${loop.get('each', 'item')} in {_expression(loop['in'])}"
            return text + (f" while {_expression(task['while'])}" if "while" in task else "")
        case "fork":
            return "the first branch to end wins" if task["fork"].get("compete") else "all at once"
        case "listen":
            return _listen(task["listen"]["to"])
        case _:
            return ""


def _call(name: str, arguments: dict[str, Json]) -> str:
    match name:
        case "http":
            endpoint = arguments.get("endpoint")
            place = endpoint.get("uri", "") if isinstance(endpoint, dict) else endpoint
            return f"{str(arguments.get('method', '')).upper()} {_expression(place)}"
        case "grpc":
            service = arguments.get("service") or {}
            return f"grpc {service.get('name', '')}.{arguments.get('method', '')}"
        case "openapi":
            return f"openapi {arguments.get('operationId', '')}"
        case "asyncapi":
            return f"asyncapi {arguments.get('channel') or arguments.get('operation') or ''}".strip()
        case "mcp" | "a2a":
            return f"{name} {_expression(arguments.get('method'))}"
        case _:
            return name.removesuffix("@default")


def _error(error: Json) -> str:
    if isinstance(error, str):
        return error
    kind = str(error.get("type", "")).rstrip("/").rsplit("/", 1)[-1]
    return " ".join(
        str(part) for part in (error.get("status"), _expression(error.get("title")) or kind) if part
    )


def _run(run: dict[str, Json]) -> str:
    if "workflow" in run:
        other = run["workflow"]
        return f"workflow {other.get('namespace')}/{other.get('name')}:{other.get('version')}"
    if "container" in run:
        return f"container {_expression(run['container'].get('image'))}"
    if "script" in run:
        return f"script in {run['script'].get('language')}"
    return f"shell {_expression((run.get('shell') or {}).get('command'))}"


def _listen(to: dict[str, Json]) -> str:
    strategy = next((name for name in ("one", "any", "all") if name in to), "any")
    filters = to[strategy] if isinstance(to[strategy], list) else [to[strategy]]
    types = [str((each.get("with") or {}).get("type") or "event") for each in filters]
    joined = (", " if strategy == "all" else " or ").join(types) or "any event"
    until = to.get("until")
    if until is None:
        return f"all of {joined}" if strategy == "all" else joined
    return f"{joined} until {_expression(until) if isinstance(until, str) else 'an event'}"


def _caught(caught: Json) -> str:
    caught = caught if isinstance(caught, dict) else {}
    wanted = (caught.get("errors") or {}).get("with") or {}
    parts = [_error(wanted)] if wanted else ["any error"]
    if caught.get("when") is not None:
        parts.append(f"if {_expression(caught['when'])}")
    retry = caught.get("retry")
    if isinstance(retry, str):
        parts.append(f"retry {retry}")
    elif isinstance(retry, dict):
        count = ((retry.get("limit") or {}).get("attempt") or {}).get("count")
        delay = f" after {duration_text(retry['delay'])}" if retry.get("delay") else ""
        parts.append(f"retry{delay}" + (f", {count} times" if count else ""))
    return "catch " + "; ".join(part for part in parts if part)


_UNITS: Final = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s", "milliseconds": "ms"}


def duration_text(duration: Json) -> str:
    """Return a duration for people.

    >>> duration_text({"minutes": 1, "seconds": 30})
    '1 min 30 s'
    """
    if isinstance(duration, dict):
        return " ".join(f"{_expression(value)} {_UNITS.get(unit, unit)}" for unit, value in duration.items())
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", str(duration))
    if match and any(match.groups()):
        pairs = zip(match.groups(), ("d", "h", "min", "s"), strict=True)
        return " ".join(f"{value} {unit}" for value, unit in pairs if value)
    return _expression(duration)


def _trigger(schedule: dict[str, Json]) -> str:
    if "cron" in schedule:
        return f"cron {schedule['cron']}"
    if "every" in schedule:
        return f"every {duration_text(schedule['every'])}"
    if "after" in schedule:
        return f"{duration_text(schedule['after'])} after the last run"
    if "on" in schedule:
        return f"on {_listen(schedule['on'])}"
    return ""
