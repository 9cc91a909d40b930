"""The workloads in the workflow language: documents that are grown from a number, always the same from the same.

Every name ends with its number: `d17`. A document may run others of lower numbers, and workflows in Python.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any, Final

import msgspec

from tenuto.engine.ports import DocumentRow
from tenuto.operations.documents import check, definition
from tests.reliability.simulation import world

Task = dict[str, Any]

HEARING: Final = 4
"""Documents whose number is a multiple of this begin by waiting for an event."""

_RETRIES: Final[tuple[Task, ...]] = ({"constant": {}}, {"linear": {}}, {"exponential": {}})


@lru_cache(maxsize=4_096)
def document(number: int) -> DocumentRow:
    """Return a document, checked."""
    chance = Random(f"document/{number}")
    made = {
        "document": {
            "dsl": "1.0.3",
            "namespace": "default",
            "name": f"d{number}",
            "version": "1.0.0",
        },
        "use": {"secrets": ["token"]},
        "timeout": {"after": f"PT{chance.choice([60, 600])}S"},
        "do": _listed(
            [_Growing(chance, number).task(chance.randint(1, 5), 0) for _ in range(chance.randint(1, 3))]
        ),
        "output": {"as": "${ {done: true} }"},
    }
    name = f"d{number}.yaml"
    return definition(check(name, msgspec.json.encode(made)), None)


def _tasks(chance: Random, number: int) -> list[Task]:
    growing = _Growing(chance, number)
    tasks = [growing.task(chance.randint(1, 5), 0) for _ in range(chance.randint(1, 3))]
    if number % HEARING == 0:
        tasks.insert(0, growing.hearing())
    return tasks


def _listed(tasks: list[Task]) -> list[Task]:
    return [{f"t{index}": task} for index, task in enumerate(tasks)]


class _Growing:
    """Grows tasks; their input is always an object with a member `n`."""

    def __init__(self, chance: Random, number: int) -> None:
        self._chance = chance
        self._number = number

    def task(self, leaves: int, depth: int) -> Task:
        """Grow a task of about so many leaves."""
        chance = self._chance
        if leaves <= 1 or depth > 2:
            return self._leaf()
        tasks = [self.task(leaves // 2, depth + 1) for _ in range(chance.randint(1, 3))]
        match chance.randint(0, 6):
            case 0 | 1:
                task: Task = {"do": _listed(tasks)}
            case 2:
                task = {"for": {"in": "[1, 2]", "each": "x"}, "do": _listed(tasks)}
            case 3:
                task = {
                    "fork": {
                        "branches": _listed(tasks),
                        "compete": chance.random() < 0.4,
                    }
                }
            case 4:
                caught = _listed([{"set": {"n": "${ $error.status }"}}, self._undo()])
                task = {"try": _listed(tasks), "catch": {"do": caught}}
            case _:
                count = chance.randint(1, 3)
                retry = {
                    "delay": {"milliseconds": chance.choice([10, 1000, 20_000])},
                    "backoff": chance.choice(_RETRIES),
                    "limit": {"attempt": {"count": count}},
                }
                task = {
                    "try": _listed(tasks),
                    "catch": {"retry": retry, "do": _listed([{"set": {"n": 0}}])},
                }
        if chance.random() < 0.2:
            task["timeout"] = {"after": f"PT{chance.choice([1, 5, 30])}S"}
        # Whatever came of it, the next task is given what it expects.
        task["output"] = {"as": "${ {n: 1} }"}
        return task

    def _undo(self) -> Task:
        return {"call": "undo:1.0.0@default", "output": {"as": "${ {n: 1} }"}}

    def _leaf(self) -> Task:
        chance = self._chance
        match chance.randint(0, 13):
            case 0:
                return {"set": {"n": "${ (.n // 0) + 1 }"}}
            case 1:
                return {"wait": {"milliseconds": chance.choice([0, 10, 3_000, 40_000])}}
            case 2:
                return self._listen({"one": {"with": {"type": f"e{chance.randint(0, 1)}"}}})
            case 3 if chance.random() < 0.3:
                kind = f"io.serverlessworkflow.{chance.choice(['workflow', 'task'])}.completed.v1"
                return self._listen({"one": {"with": {"type": kind}}}, always=True)
            case 3:
                either = [{"with": {"type": "e0"}}, {"with": {"type": "e1"}}]
                return self._listen({chance.choice(["any", "all"]): either})
            case 4:
                event = {
                    "type": f"e{chance.randint(0, 1)}",
                    "data": "${ $workflow.id + $task.reference }",
                }
                return {
                    "emit": {"event": {"with": event}},
                    "output": {"as": "${ {n: 1} }"},
                }
            case 5:
                return {
                    "raise": {
                        "error": {
                            "type": "https://x.test/given-up",
                            "status": 400,
                            "title": "Given up",
                        }
                    }
                }
            case 6:
                return self._run()
            case 7:
                switch = [
                    {"few": {"when": ".n > 2", "then": "exit"}},
                    {"other": {"then": "continue"}},
                ]
                return {"switch": switch}
            case 8:
                slow = "[range(.n // 1)] | {n: (length + (reduce range(3) as $i (0; . + $i)))}"
                return {"set": f"${{ {slow} }}"}
            case 9:
                call = self._call("trusted")
                call["with"]["token"] = "${ $secrets.token }"
                return call
            case _:
                return self._call(chance.choice(world.NAMES))

    def hearing(self) -> Task:
        """Return a task that waits for an event."""
        return self._listen({"one": {"with": {"type": f"e{self._chance.randint(0, 1)}"}}})

    def _call(self, name: str) -> Task:
        task: Task = {
            "call": f"python.{name}:1.0.0@default",
            "with": {"n": "${ .n // 1 }"},
            "output": {"as": "${ {n: 1} }"},
        }
        if self._chance.random() < 0.2:
            task["timeout"] = {"after": f"PT{self._chance.choice([1, 3])}S"}
        return task

    def _listen(self, to: dict[str, Any], *, always: bool = False) -> Task:
        task: Task = {"listen": {"to": to}, "output": {"as": "${ {n: 1} }"}}
        if always or self._chance.random() < 0.7:
            return {
                "try": _listed(
                    [
                        {
                            **task,
                            "timeout": {"after": f"PT{self._chance.choice([2, 30])}S"},
                        }
                    ]
                ),
                "catch": {"do": _listed([{"set": {"n": 1}}])},
            }
        return task

    def _run(self) -> Task:
        chance = self._chance
        given: Any
        name, given = "part", {"tree": ["step", "book", 7]}
        if self._number and chance.random() < 0.6:
            name, given = f"d{chance.randrange(self._number)}", {"n": 1}
        workflow = {
            "namespace": "default",
            "name": name,
            "version": "1.0.0",
            "input": given,
        }
        return {
            "run": {"workflow": workflow, "await": chance.random() < 0.8},
            "output": {"as": "${ {n: 1} }"},
        }
