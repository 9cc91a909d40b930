"""Run programs: shell commands, scripts and containers, as the `run` task asks for.

What the three share is said in docs/reference/processes.md: `output` is the task's `return`, a
process that fails is a `runtime` fault unless the exit code itself was asked for, and a child sees
nothing of this process but PATH, HOME and LANG.
"""

from __future__ import annotations

import json
import keyword
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from tenuto.connectors import containers
from tenuto.connectors.child import Ended, clean_environment, fresh_folder, program, run, tail, text, words
from tenuto.plugin import Call, configuration_fault, function, runtime_fault

VERSION = "1.0.0"

Output = Literal["stdout", "stderr", "code", "all", "none"]

_HOSTS: Final = Path(__file__).parent / "hosts"
_SHELL: Final = "/bin/sh"
_JAVASCRIPT_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """arguments await break case catch class const continue debugger default delete do else enum eval
        export extends false finally for function if implements import in instanceof interface let new null
        package private protected public return static super switch this throw true try typeof var void while
        with yield""",
    )
)


@function(effect="write")
async def shell(
    call: Call,  # noqa: ARG001  # every function takes its call
    *,
    command: str,
    arguments: list[Any] | dict[str, Any] | None = None,
    stdin: Any = None,
    environment: dict[str, Any] | None = None,
    output: Output = "stdout",
) -> Any:
    """Run a command with /bin/sh.

    Args:
        command: The shell command.
        arguments: Positional parameters `$1`, `$2` and so on; of a map, `--key` and its value.
        stdin: What the command reads; what is no string is sent as JSON text.
        environment: Variables for the command.
        output: What to return: `stdout`, `stderr`, `code`, `all` or `none`.
    """
    async with fresh_folder() as folder:
        ended = await run(
            [_SHELL, "-c", command, "sh", *words(arguments)],
            environment=clean_environment(environment),
            folder=folder,
            stdin=_bytes(stdin),
        )
    return _result(ended, output, "the shell command")


@function(effect="write")
async def script(
    call: Call,  # noqa: ARG001  # every function takes its call
    *,
    language: str,
    code: str,
    arguments: list[Any] | dict[str, Any] | None = None,
    stdin: Any = None,
    environment: dict[str, Any] | None = None,
    output: Output = "stdout",
) -> Any:
    """Run JavaScript (Node.js 18 or newer) or Python code in a process of its own.

    A value that the code returns is the result in place of stdout.

    Args:
        language: `js` or `python`.
        code: The code.
        arguments: A list becomes the script's argv; each entry of a map a variable of that name.
        stdin: What the script reads; what is no string is sent as JSON text.
        environment: Variables for the script's environment.
        output: What to return: `stdout`, `stderr`, `code`, `all` or `none`.
    """
    if language not in ("js", "python"):
        raise configuration_fault(f"`script.language` must be `js` or `python`, not `{language}`")
    variables = dict(arguments) if isinstance(arguments, Mapping) else {}
    _check_names(language, variables)
    job = {
        "code": code,
        "variables": variables,
        "argv": [] if isinstance(arguments, Mapping) else words(arguments),
    }
    async with fresh_folder() as folder:
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        (folder / "work").mkdir()
        ended = await run(
            [*_interpreter(language), str(folder / "job.json")],
            environment=clean_environment(environment),
            folder=folder / "work",
            stdin=_bytes(stdin),
        )
        answer = _answer(folder / "result.json")
    if "refused" in answer:
        raise configuration_fault(f"`script.language: {language}` {answer['refused']}")
    if output == "stdout" and ended.code == 0 and "value" in answer:
        return answer["value"]
    return _result(ended, output, f"the {language} script")


@function(effect="write")
async def container(
    call: Call,
    *,
    image: str,
    name: str | None = None,
    command: str | None = None,
    ports: dict[str, Any] | None = None,
    volumes: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    stdin: Any = None,
    arguments: list[Any] | dict[str, Any] | None = None,
    lifetime: dict[str, Any] | None = None,
    pullPolicy: Literal["ifNotPresent", "always", "never"] = "ifNotPresent",
    output: Output = "stdout",
) -> Any:
    """Run a container with docker or podman, whichever answers first.

    Args:
        image: The image.
        name: The container's name; without one it is `tenuto-` and the idempotency key.
        command: A command for /bin/sh in the container, in place of the image's entrypoint.
        ports: Host port (or `address:port`) to container port.
        volumes: Host path (or a volume's name) to path in the container, `:ro` for read-only.
        environment: Variables for the container.
        stdin: What the container reads; what is no string is sent as JSON text.
        arguments: Positional parameters of `command`, or arguments of the image's entrypoint.
        lifetime: `cleanup` (`always`, `never`, `eventually`) and, for the last, `after`.
        pullPolicy: When to pull the image.
        output: What to return: `stdout`, `stderr`, `code`, `all` or `none`.
    """
    ended = await containers.run_container(
        containers.Wanted(
            image=image,
            name=name or containers.name_of(call),
            named_here=not name,
            command=command,
            ports=ports or {},
            volumes=volumes or {},
            environment=environment or {},
            stdin=_bytes(stdin),
            arguments=words(arguments),
            lifetime=lifetime or {},
            pull_policy=pullPolicy,
        ),
        call.folders,
    )
    return _result(ended, output, f"the container of `{image}`")


def _interpreter(language: str) -> list[str]:
    if language == "python":
        # -I keeps the script from our environment and from modules beside it; UTF-8 whatever LANG says.
        return [sys.executable, "-I", "-X", "utf8", str(_HOSTS / "script.py")]
    return [program("node", "nodejs", purpose="`script.language: js`"), str(_HOSTS / "script.cjs")]


def _check_names(language: str, variables: Mapping[str, Any]) -> None:
    for name in variables:
        if language == "python":
            usable = name.isidentifier() and not keyword.iskeyword(name)
        else:
            usable = (
                re.fullmatch(r"[^\W\d][\w$]*|\$[\w$]*", name) is not None and name not in _JAVASCRIPT_WORDS
            )
        if not usable:
            raise configuration_fault(
                f"`script.arguments` has `{name}`, which cannot be the name of a {language} variable; "
                "give arguments as a list, or rename it"
            )


def _answer(file: Path) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = msgspec.json.decode(file.read_bytes(), type=dict)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        return {}
    return answer


def _bytes(stdin: Any) -> bytes | None:
    return None if stdin is None else text(stdin).encode()


def _result(ended: Ended, output: Output, what: str) -> Any:
    """Return what the task's `return` asks for; a failure that it would hide is a fault."""
    stdout, stderr = ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")
    if output == "code":
        return ended.code
    if output == "all":
        return {"code": ended.code, "stdout": stdout, "stderr": stderr}
    if ended.code != 0:
        said = tail(ended.stderr) or tail(ended.stdout)
        raise runtime_fault(
            f"{what} ended with exit code {ended.code}{_signal_of(ended.code)}{': ' + said if said else ''}",
            title="Process Failed",
        )
    return {"stdout": stdout, "stderr": stderr, "none": None}[output]


def _signal_of(code: int) -> str:
    try:
        return f" ({signal.Signals(code - 128).name})"
    except ValueError:
        return ""
