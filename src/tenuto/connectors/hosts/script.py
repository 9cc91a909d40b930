"""Runs the Python of a workflow in a child process: `python -I script.py JOB`.

JOB is a file `{"code": ..., "variables": {...}, "argv": [...]}`; the value of a `return` at the top
of the code goes to result.json beside it. This file imports nothing of ours.
"""

from __future__ import annotations

import ast
import json
import linecache
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def returns_at_top(node: ast.AST) -> bool:
    """Tell whether the code has a `return` outside of any function."""
    return any(isinstance(part, ast.Return) or returns_at_top(part) for part in _parts(node))


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    own_scope = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    return (part for part in ast.iter_child_nodes(node) if not isinstance(part, own_scope))


def run(code: str, variables: dict[str, Any]) -> Any:
    """Run the code as a module, or as a function's body if it returns something."""
    tree = ast.parse(code, "script.py")
    scope: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    if not returns_at_top(tree):
        scope.update(variables)
        exec(compile(tree, "script.py", "exec"), scope)  # noqa: S102  # the workflow's own code
        return None
    frame = ast.parse(f"def script({', '.join(variables)}): pass")
    function = frame.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = tree.body
    exec(compile(frame, "script.py", "exec"), scope)  # noqa: S102  # as above
    return scope["script"](**variables)


def main() -> None:
    """Run the job named on the command line."""
    job_file = Path(sys.argv[1])
    job = json.loads(job_file.read_text(encoding="utf-8"))
    sys.argv = ["script.py", *job["argv"]]
    lines = job["code"].splitlines(keepends=True)
    linecache.cache["script.py"] = (len(job["code"]), None, lines, "script.py")
    try:
        value = run(job["code"], job["variables"])
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_frame.f_code.co_filename != "script.py":
            place = place.tb_next
        traceback.print_exception(error.with_traceback(place))
        sys.exit(1)
    if value is not None:
        answer = json.dumps({"value": value}, allow_nan=False)
        (job_file.parent / "result.json").write_text(answer, encoding="utf-8")


if __name__ == "__main__":
    main()
