"""Where the tasks of a list lead: targets that are not there, names given twice, tasks never reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from tenuto.engine.model import Json
from tenuto.language.grammar.walk import At, TaskList, Walk, meant

DIRECTIVES: Final = ("continue", "exit", "end")

_Task: TypeAlias = dict[str, Json]


def check_flow(walk: Walk) -> None:
    """Check every list of tasks that the walk has noted, and the directives of reusable functions."""
    listed_tasks: set[At] = set()
    for tasks in walk.lists:
        entries = list(_entries(tasks))
        listed_tasks.update(at for at, _, _ in entries)
        walk.anchor = "flow"
        _check_targets(walk, tasks, entries)
        if not tasks.parallel:
            _check_reach(walk, entries)
        for at, _, task in entries:
            _check_cases(walk, at, task)
    _check_functions(walk)


def _entries(tasks: TaskList) -> Iterator[tuple[At, str, _Task]]:
    """Yield (place, name, task) for each task of a list, the ill-formed ones included."""
    for index, item in enumerate(tasks.items):
        if isinstance(item, dict):
            for name, task in item.items():
                yield (*tasks.at, index, name), name, task if isinstance(task, dict) else {}


def _directives(at: At, task: _Task) -> Iterator[tuple[At, str]]:
    """Yield (place, directive) for each `then` by which a task leads on."""
    if isinstance(task.get("then"), str):
        yield (*at, "then"), task["then"]
    for place, case in _cases(at, task):
        if isinstance(case.get("then"), str):
            yield (*place, "then"), case["then"]
    catch = task.get("catch")
    if isinstance(catch, dict) and isinstance(catch.get("then"), str):
        yield (*at, "catch", "then"), catch["then"]


def _cases(at: At, task: _Task) -> Iterator[tuple[At, _Task]]:
    cases = task.get("switch")
    if isinstance(cases, list):
        for index, item in enumerate(cases):
            if isinstance(item, dict) and len(item) == 1:
                name, case = next(iter(item.items()))
                if isinstance(case, dict):
                    yield (*at, "switch", index, name), case


def _check_targets(walk: Walk, tasks: TaskList, entries: list[tuple[At, str, _Task]]) -> None:
    names = {name for _, name, _ in entries}
    targets = set()
    for at, name, task in entries:
        for place, target in _directives(at, task):
            if target in DIRECTIVES:
                continue
            targets.add(target)
            if tasks.parallel:
                message = f"`then: {target}` leads out of a branch; branches run side by side."
                walk.error(
                    "unknown-target", place, message, "Use `continue`, `exit` or `end`, or a `do` task."
                )
            elif target not in names and not walk.is_full():
                others = [other for _, other, _ in entries if other != name]
                message = f"There is no task `{target}` in this list; `then` leads to tasks of the same list."
                walk.error("unknown-target", place, message, meant(target, [*others, *DIRECTIVES]))
    _check_names(walk, entries, targets)


def _check_names(walk: Walk, entries: list[tuple[At, str, _Task]], targets: set[str]) -> None:
    first: dict[str, At] = {}
    for at, name, _ in entries:
        if name in DIRECTIVES:
            message = f"`then: {name}` does not lead to this task: `{name}` is a directive."
            walk.warn("directive-as-name", at, message, "Give it another name.", key=True)
        if name not in first:
            first[name] = at
            continue
        line = walk.source.position_at(first[name], key=True)[0]
        message = f"The name `{name}` is given to a task in line {line} already."
        if name in targets:
            walk.error(
                "duplicate-task", at, f"{message} `then: {name}` could mean either.", "Rename one.", key=True
            )
        else:
            walk.warn("duplicate-task", at, message, "Rename one of them.", key=True)


def _check_cases(walk: Walk, at: At, task: _Task) -> None:
    walk.anchor = "switch"
    defaults = [place for place, case in _cases(at, task) if "when" not in case]
    for place in defaults[1:]:
        message = "This case has no `when`, and another one before it has none either: one default is enough."
        walk.error("several-defaults", place, message, "Give it a `when`, or remove it.", key=True)


# ── reach ────────────────────────────────────────────────────────────────────────────────


def _check_reach(walk: Walk, entries: list[tuple[At, str, _Task]]) -> None:
    """Warn of tasks that nothing leads to, and of switches that fall into one of their own cases."""
    index = {name: number for number, (_, name, _) in reversed(list(enumerate(entries)))}
    reached: set[int] = set()
    waiting = [0] if entries else []
    while waiting:
        number = waiting.pop()
        if number not in reached and number < len(entries):
            reached.add(number)
            waiting.extend(_next(entries, number, index))
    for number, (at, name, task) in enumerate(entries):
        if number not in reached and number - 1 in reached:
            walk.anchor = "flow"
            message = f"Nothing leads to the task `{name}`."
            hint = "The task before it leads elsewhere; name this one in a `then`, or remove it."
            walk.warn("unreachable-task", at, message, hint, key=True)
        if number in reached:
            _check_fallthrough(walk, at, task, entries[number + 1][1] if number + 1 < len(entries) else None)


def _next(entries: list[tuple[At, str, _Task]], number: int, index: dict[str, int]) -> Iterator[int]:
    at, _, task = entries[number]
    follows = list(_directives(at, task))
    cases = list(_cases(at, task))
    decided = bool(cases) and any("when" not in case for _, case in cases)
    if "if" in task or ("then" not in task and "raise" not in task and not decided) or not task:
        yield number + 1
    for _, target in follows:
        if target == "continue" or (target not in DIRECTIVES and target not in index):
            yield number + 1
        elif target in index and target not in DIRECTIVES:
            yield index[target]


def _check_fallthrough(walk: Walk, at: At, task: _Task, following: str | None) -> None:
    cases = list(_cases(at, task))
    if not cases or "then" in task or any("when" not in case for _, case in cases):
        return
    if following is not None and following in [case.get("then") for _, case in cases]:
        walk.anchor = "switch"
        message = f"If no case matches, the run goes on with `{following}`, which is the outcome of a case."
        walk.warn("switch-falls-through", at, message, "Add a case without `when`.", key=True)


def _check_functions(walk: Walk) -> None:
    """Refuse functions under `use.functions` that lead to tasks by name: they stand in no list."""
    walk.anchor = "flow"
    data = walk.source.data
    use = data.get("use") if isinstance(data, dict) else None
    functions = use.get("functions") if isinstance(use, dict) else None
    for name, task in functions.items() if isinstance(functions, dict) else ():
        for place, target in _directives(("use", "functions", name), task if isinstance(task, dict) else {}):
            if target not in DIRECTIVES:
                message = f"`then: {target}` leads nowhere: a function stands in no list of tasks."
                walk.error("unknown-target", place, message, "Use `continue`, `exit` or `end`.")
