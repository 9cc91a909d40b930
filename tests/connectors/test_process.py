"""Shell commands, scripts and containers: what they are given, what comes back, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tenuto.connectors import child, process
from tenuto.plugin import Call, Faulted
from tenuto.runtime.network import SystemNetwork

CALL = Call(run="r1", task="/do/0/work", attempt=1, idempotency_key="r1/do/0/work:1", network=SystemNetwork())

# Stands in for the docker program: keeps what it was given, answers as `docker` does.
FAKE_ENGINE = f"""#!{sys.executable} -I
import json, os, pathlib, signal, sys
state = pathlib.Path(sys.argv[0]).parent
words = sys.argv[1:]
named = [word.partition("=")[2] for word in words if word.startswith("--env=")]
given = {{name: os.environ[name] for name in named if name in os.environ and "=" not in name}}
with (state / "calls").open("a") as calls:
    calls.write(json.dumps({{"words": words, "environment": given, "all": dict(os.environ)}}) + "\\n")
if words[0] == "ps":
    if (state / "down").exists():
        sys.exit("no engine at unix:///run/engine.sock")
    sys.stdout.write((state / "listing").read_text() if (state / "listing").exists() else "")
if words[0] == "inspect":
    sys.stdout.write((state / "details").read_text())
if words[0] == "rm":
    (state / "taken").unlink(missing_ok=True)
if words[0] == "run":
    if (state / "taken").exists():
        sys.stderr.write("Conflict. The container name is already in use by container x\\n")
        sys.exit(125)
    if (state / "refuse").exists():
        sys.stderr.write("no such image\\n")
        sys.exit(125)
    pathlib.Path(words[1].partition("=")[2]).write_text("c0ffee")
    if (state / "fifo").exists():
        with (state / "fifo").open("w") as ready:
            ready.write("ready\\n")
            ready.flush()
            signal.pause()
    sys.stdout.write(sys.stdin.read() if "--interactive" in words else "hello\\n")
    sys.exit(int((state / "code").read_text()) if (state / "code").exists() else 0)
"""


class Engine:
    """The folder of the fake engine program, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def calls(self, verb: str) -> list[dict[str, Any]]:
        """Return the calls with this first word."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [call for line in lines if (call := json.loads(line))["words"][0] == verb]

    def run_words(self) -> list[str]:
        """Return the words of the last `run`, without the file for the id."""
        words = list[str](self.calls("run")[-1]["words"])
        return [word for word in words if not word.startswith("--cidfile=")]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A program named `docker` that is found first."""
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "docker").write_text(FAKE_ENGINE)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Engine(folder)


@pytest.fixture(autouse=True)
def interpreter(request: pytest.FixtureRequest) -> None:
    """Have Node.js installed for the cases in its language."""
    if hasattr(request.node, "callspec") and request.node.callspec.params.get("language") == "js":
        request.getfixturevalue("node")


async def fault_of(action: Awaitable[Any]) -> dict[str, Any]:
    """Return the fault that an action ends with."""
    with pytest.raises(Faulted) as caught:
        await action
    return caught.value.fault.to_json()


async def cancelled_when_ready(action: Callable[[], Awaitable[Any]], fifo: Path) -> bytes:
    """Start an action, cancel it once its child wrote `ready` to the pipe, return what came until every
    process that held the pipe has ended.
    """
    task = asyncio.ensure_future(action())
    pipe = await asyncio.to_thread(fifo.open, "rb")
    with pipe:
        assert await asyncio.to_thread(pipe.readline) == b"ready\n"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.to_thread(pipe.read)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe: open for reading until the last process that writes to it has ended."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


# ── shell ────────────────────────────────────────────────────────────────────────────────


async def test_arguments_are_positional_parameters_and_stdin_is_read() -> None:
    """The standard's example: `$1` and `$2` are the arguments, stdin is what was given."""
    command = 'input=$(cat)\necho "STDIN was: $input"\necho "ARGS are $1 $2"\n'
    result = await process.shell(CALL, command=command, stdin="Hello World", arguments=["Foo", "Bar"])

    assert result == "STDIN was: Hello World\nARGS are Foo Bar\n"


async def test_arguments_are_never_shell_text() -> None:
    """Whatever an argument says, it is one word and never a command."""
    nasty = ["; echo gone", "$(echo gone)", "a b", "", "-x", "'\"\n"]
    result = await process.shell(CALL, command="printf '[%s]' \"$@\"", arguments=nasty)

    assert result == "".join(f"[{word}]" for word in nasty)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([1, True, None, {"a": [1.5]}], '[1][true][null][{"a":[1.5]}]'), ({"level": "high"}, "[--level][high]")],
)
async def test_values_that_are_no_strings_are_json_text(arguments: Any, expected: str) -> None:
    """A list gives a word each, a map two; what is no string is written as JSON."""
    assert await process.shell(CALL, command="printf '[%s]' \"$@\"", arguments=arguments) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("stdout", "out\n"),
        ("stderr", "err\n"),
        ("code", 0),
        ("all", {"code": 0, "stdout": "out\n", "stderr": "err\n"}),
        ("none", None),
    ],
)
async def test_output_is_what_return_asks_for(output: process.Output, expected: Any) -> None:
    """Each value of `return` gives its part of the result, text exactly as written."""
    assert await process.shell(CALL, command="echo out; echo err >&2", output=output) == expected


@pytest.mark.parametrize(
    ("output", "expected"), [("code", 3), ("all", {"code": 3, "stdout": "out\n", "stderr": "err\n"})]
)
async def test_a_failure_that_was_asked_for_is_a_result(output: process.Output, expected: Any) -> None:
    """Whoever asks for the exit code gets it, also when it is not zero."""
    assert await process.shell(CALL, command="echo out; echo err >&2; exit 3", output=output) == expected


@pytest.mark.parametrize("output", ["stdout", "stderr", "none"])
async def test_a_failure_that_the_result_would_hide_is_a_fault(output: process.Output) -> None:
    """Without the exit code in the result, a non-zero one is a runtime fault with the end of stderr."""
    fault = await fault_of(process.shell(CALL, command="echo broken >&2; exit 3", output=output))

    assert fault["type"].endswith("/runtime")
    assert fault["status"] == 500
    assert fault["detail"] == "the shell command ended with exit code 3: broken"


async def test_a_signal_is_named() -> None:
    """A command ended by signal N has exit code 128 + N, and the fault names the signal."""
    fault = await fault_of(process.shell(CALL, command="kill -KILL $$"))

    assert fault["detail"] == "the shell command ended with exit code 137 (SIGKILL)"


@pytest.mark.usefixtures("node")
async def test_a_child_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH, HOME and LANG pass, what the task gives is added, and no secret of ours is there."""
    monkeypatch.setenv("TENUTO_SECRET_CANARY", "canary")
    monkeypatch.setenv("LANG", "C.UTF-8")
    dump = {
        "js": "return Object.keys(process.env)",
        "python": "import os\nreturn list(os.environ)",
    }
    seen = [
        await process.script(CALL, language=language, code=code, environment={"GIVEN": 1})
        for language, code in dump.items()
    ]
    seen.append(
        (await process.shell(CALL, command="env -0 | cut -z -d= -f1", environment={"GIVEN": 1})).split("\0")
    )

    for names in seen:
        ours = {name for name in names if name not in ("", "PWD", "_", "SHLVL", "OLDPWD", "LC_CTYPE")}
        assert ours == {"PATH", "HOME", "LANG", "GIVEN"}


async def test_the_canary_would_be_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Negative control: a child with our whole environment does see the canary."""
    monkeypatch.setenv("TENUTO_SECRET_CANARY", "canary")
    ended = await child.run(["/usr/bin/env"], environment=os.environ, folder=tmp_path)

    assert b"TENUTO_SECRET_CANARY=canary\n" in ended.stdout


async def test_the_working_folder_is_fresh_and_goes_away() -> None:
    """Each process starts in an empty folder that is removed when it has ended."""
    count, folder = (await process.shell(CALL, command="ls -A | wc -l; touch left; pwd")).split()

    assert count == "0"
    assert (
        await process.shell(CALL, command='[ -e "$1" ] && echo there || echo gone', arguments=[folder])
        == "gone\n"
    )


async def test_files_of_ours_are_closed_in_a_child(tmp_path: Path) -> None:
    """A child inherits stdin, stdout and stderr and no other open file, inheritable or not."""
    with (tmp_path / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        result = await process.shell(
            CALL, command=f"[ -e /proc/self/fd/{ours.fileno()} ] && echo open || echo closed"
        )

    assert result == "closed\n"


async def test_cancelling_ends_the_whole_group(fifo: Path) -> None:
    """When a call is cancelled, the command and what it started end; TERM comes first."""
    command = 'exec 3>"$1"; sleep 1000 & trap "echo bye >&3; exit" TERM; echo ready >&3; wait'

    assert (
        await cancelled_when_ready(lambda: process.shell(CALL, command=command, arguments=[str(fifo)]), fifo)
        == b"bye\n"
    )


async def test_a_child_that_ignores_term_is_killed(fifo: Path, tmp_path: Path) -> None:
    """After the grace comes KILL."""
    command = f"exec 3>{fifo}; trap '' TERM; echo ready >&3; while :; do sleep 1000; done"

    def action() -> Awaitable[Any]:
        environment = child.clean_environment()
        return child.run(
            ["/bin/sh", "-c", command], environment=environment, folder=tmp_path, grace_seconds=0.05
        )

    assert await cancelled_when_ready(action, fifo) == b""


async def test_what_stays_in_the_background_ends_with_the_command(fifo: Path) -> None:
    """A command's result does not wait for its background jobs, and they do not outlive it."""
    command = 'exec 3>"$1"; sleep 1000 & echo done'
    action = asyncio.ensure_future(process.shell(CALL, command=command, arguments=[str(fifo)]))
    pipe = await asyncio.to_thread(fifo.open, "rb")
    with pipe:
        assert await action == "done\n"
        assert await asyncio.to_thread(pipe.read) == b""


async def test_output_has_a_limit(tmp_path: Path) -> None:
    """More output than the limit ends the child with a fault that names the limit."""
    fault = await fault_of(
        child.run(
            ["/bin/sh", "-c", "yes"], environment=child.clean_environment(), folder=tmp_path, limit=1000
        )
    )

    assert fault["detail"] == (
        "`sh` wrote more than OUTPUT_BYTES (1000 bytes) to stdout, so it was ended; let it write to a file"
    )


async def test_output_up_to_the_limit_is_kept(tmp_path: Path) -> None:
    """Negative control: exactly the limit passes."""
    ended = await child.run(
        ["/bin/sh", "-c", "printf 0123456789"],
        environment=child.clean_environment(),
        folder=tmp_path,
        limit=10,
    )

    assert ended.stdout == b"0123456789"


async def test_stdin_may_be_large_or_left_unread() -> None:
    """Input longer than a pipe holds arrives whole; a command that reads none of it still succeeds."""
    large = "x" * 1_000_000

    assert await process.shell(CALL, command="wc -c", stdin=large) == "1000000\n"
    assert await process.shell(CALL, command="true", stdin=large) == ""


async def test_output_that_is_no_utf8_is_marked() -> None:
    """Bytes that are no UTF-8 become U+FFFD, since JSON cannot carry them."""
    assert await process.shell(CALL, command=r"printf 'a\377b'") == "a�b"


async def test_a_word_that_no_program_can_be_given_is_a_fault() -> None:
    """A NUL character in an argument is refused with one clear error."""
    fault = await fault_of(process.shell(CALL, command="echo", arguments=["a\0b"]))

    assert fault["detail"] == "`sh` cannot be started: embedded null byte"


async def test_a_variable_name_must_be_one() -> None:
    """A name with `=` is refused."""
    fault = await fault_of(process.shell(CALL, command="env", environment={"A=B": "c"}))

    assert fault["detail"] == "`environment` has no usable variable name in 'A=B'"


# ── script ───────────────────────────────────────────────────────────────────────────────

STANDARD_EXAMPLE = """
// Reading Input from STDIN
import { readFileSync } from 'node:fs';
const stdin = readFileSync(process.stdin.fd, 'utf8');
console.log('stdin > ', stdin) // Output: stdin > Hello Workflow

// Reading from argv
const [_, __, arg] = process.argv;
console.log('arg > ', arg) // Output: arg > hello

// Reading from env
const foo = process.env.foo;
console.log('env > ', foo) // Output: env > bar
"""

CATALOG_EXAMPLE = r"""
function validateEmail(email) {
  const re = /^[a-zA-Z0-9._-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,6}$/;
  return re.test(email);
}
return { isValid: validateEmail(emailAddress) };
"""


@pytest.mark.usefixtures("node")
async def test_the_standard_example_of_a_module() -> None:
    """JavaScript with `import` is a module; argv, stdin and environment are as Node.js has them."""
    result = await process.script(
        CALL,
        language="js",
        code=STANDARD_EXAMPLE,
        arguments=["hello"],
        stdin="Hello Workflow",
        environment={"foo": "bar"},
    )

    assert result == "stdin >  Hello Workflow\narg >  hello\nenv >  bar\n"


@pytest.mark.usefixtures("node")
async def test_the_standard_example_of_a_catalog_function() -> None:
    """A map of arguments becomes variables, and a returned object is the result."""
    result = await process.script(
        CALL, language="js", code=CATALOG_EXAMPLE, arguments={"emailAddress": "ada@example.org"}
    )

    assert result == {"isValid": True}


@pytest.mark.parametrize(
    ("language", "code", "arguments", "expected"),
    [
        ("js", "console.log(process.argv.slice(2))", ["a b", 1], "[ 'a b', '1' ]\n"),
        ("js", "return await Promise.resolve(n + 1)", {"n": 1}, 2),
        ("js", "const os = await import('node:os'); return os.EOL", None, "\n"),
        ("js", "return require('node:path').sep", None, "/"),
        ("js", "console.log('said'); return null", None, None),
        ("js", "import os from 'node:os'; export default n + os.EOL", {"n": "a"}, "a\n"),
        ("python", "import sys\nprint(sys.argv[1:])", ["a b", 1], "['a b', '1']\n"),
        ("python", "n = n + 1\nreturn {'n': n}", {"n": 1}, {"n": 2}),
        ("python", "def f(x):\n    return f(x - 1) if x else n\nprint(f(3))", {"n": "deep"}, "deep\n"),
        ("python", "if n:\n    return [n, 'é']\nprint('none')", {"n": 0}, "none\n"),
        ("python", "import sys\nprint(sys.stdin.read(), sys.flags.isolated)", None, '{"a":1} 1\n'),
    ],
)
async def test_what_a_script_gets_and_gives(language: str, code: str, arguments: Any, expected: Any) -> None:
    """Lists are argv, maps are variables; a returned value is the result, otherwise stdout is."""
    result = await process.script(CALL, language=language, code=code, arguments=arguments, stdin={"a": 1})

    assert result == expected


@pytest.mark.parametrize(
    ("language", "code", "expected"),
    [
        ("js", "\nthrow new Error('boom')", "Error: boom\n    at eval (script.js:2:7)"),
        ("js", "const = 1", "SyntaxError"),
        ("js", "process.exit(7)", "exit code 7"),
        ("python", "\n1 / 0", 'File "script.py", line 2, in <module>\n    1 / 0'),
        ("python", "def:", "SyntaxError"),
        ("python", "raise SystemExit(7)", "exit code 7"),
        ("python", "return {1, 2}", "not JSON serializable"),
    ],
)
async def test_a_script_that_fails_shows_its_own_lines(language: str, code: str, expected: str) -> None:
    """A failure is a runtime fault whose detail has the script's line and nothing of ours."""
    fault = await fault_of(process.script(CALL, language=language, code=code))

    assert fault["type"].endswith("/runtime")
    assert expected in fault["detail"]


async def test_only_the_standard_languages() -> None:
    """Another language is refused with the two names."""
    fault = await fault_of(process.script(CALL, language="ruby", code="puts 1"))

    assert fault["detail"] == "`script.language` must be `js` or `python`, not `ruby`"


@pytest.mark.parametrize(
    ("language", "name"),
    [("js", "a-b"), ("js", "class"), ("python", "a$"), ("python", "class"), ("js", "a) {}; (b")],
)
async def test_an_argument_must_be_able_to_be_a_variable(language: str, name: str) -> None:
    """A name that the language cannot have is refused before anything runs."""
    fault = await fault_of(process.script(CALL, language=language, code="", arguments={name: 1}))

    assert fault["type"].endswith("/configuration")
    assert f"`{name}`" in fault["detail"]


async def test_a_missing_node_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Node.js the fault says which programs were looked for, and where."""
    monkeypatch.setenv("PATH", str(tmp_path))
    fault = await fault_of(process.script(CALL, language="js", code="1"))

    assert fault["type"].endswith("/configuration")
    assert fault["detail"] == (
        "`script.language: js` needs `node` or `nodejs`, "
        f"which is in none of the folders of PATH ({tmp_path}); install it"
    )


# ── container ────────────────────────────────────────────────────────────────────────────


async def test_without_an_engine_the_fault_says_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine at all: one configuration fault that names both."""
    monkeypatch.setenv("PATH", str(tmp_path))
    fault = await fault_of(process.container(CALL, image="alpine"))

    assert fault["type"].endswith("/configuration")
    assert fault["detail"].startswith(
        "`run: container` needs a container engine: neither docker nor podman answers"
    )


async def test_an_engine_that_is_down_is_quoted(engine: Engine) -> None:
    """A client without its engine: the fault has the client's own words."""
    (engine.folder / "down").touch()
    shutil.copy(engine.folder / "docker", engine.folder / "podman")
    fault = await fault_of(process.container(CALL, image="alpine"))

    assert "`docker`: no engine at unix:///run/engine.sock; `podman`: no engine" in fault["detail"]


async def test_podman_is_asked_when_docker_does_not_answer(engine: Engine) -> None:
    """The first engine that answers is taken."""
    (engine.folder / "docker").rename(engine.folder / "podman")
    (engine.folder / "docker").write_text("#!/bin/sh\necho down >&2; exit 1\n")
    (engine.folder / "docker").chmod(0o755)

    assert await process.container(CALL, image="alpine") == "hello\n"


async def test_everything_becomes_one_word_each(engine: Engine) -> None:
    """All properties of the standard, as words of one command line."""
    result = await process.container(
        CALL,
        image="alpine:3",
        name="job-1",
        command='echo "$1"',
        ports={"8080": 80, "127.0.0.1:53": "53/udp"},
        volumes={"/srv": "/data:ro", "cache": "/cache"},
        environment={"TOKEN": "canary", "PATH": "/bin", "NONE": None},
        stdin={"a": 1},
        arguments=["-x", "a b"],
        lifetime={"cleanup": "always"},
        pullPolicy="always",
    )

    assert result == '{"a":1}'
    assert engine.run_words() == [
        "run",
        "--name=job-1",
        "--pull=always",
        "--publish=8080:80",
        "--publish=127.0.0.1:53:53/udp",
        "--volume=/srv:/data:ro",
        "--volume=cache:/cache",
        "--env=TOKEN",
        "--env=PATH=/bin",
        "--interactive",
        "--entrypoint=/bin/sh",
        "--rm",
        "alpine:3",
        "-c",
        'echo "$1"',
        "sh",
        "-x",
        "a b",
    ]
    assert engine.calls("run")[-1]["environment"] == {"TOKEN": "canary"}


async def test_the_defaults_of_the_standard(engine: Engine) -> None:
    """An image alone is kept afterwards, pulled if not present, and named after the action."""
    await process.container(CALL, image="hello-world", arguments=["x"])

    assert engine.run_words() == [
        "run",
        "--name=tenuto-r1-do-0-work-1-1",
        "--pull=missing",
        "hello-world",
        "x",
    ]


async def test_variables_that_the_engine_would_obey_do_not_reach_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow cannot redirect the docker command through a container's environment."""
    monkeypatch.setenv("TENUTO_SECRET_CANARY", "canary")
    monkeypatch.setenv("DOCKER_HOST", "unix:///ours.sock")
    given = {"DOCKER_HOST": "tcp://evil", "LD_PRELOAD": "/evil.so", "https_proxy": "http://evil", "APP": "1"}
    await process.container(CALL, image="alpine", environment=given)

    seen = engine.calls("run")[-1]["all"]
    assert seen["DOCKER_HOST"] == "unix:///ours.sock"
    assert "evil" not in json.dumps(seen)
    assert "canary" not in json.dumps(seen)
    assert seen["APP"] == "1"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"image": "--privileged"}, "container.image"),
        ({"image": "a b"}, "container.image"),
        ({"name": "-x"}, "container.name"),
        ({"ports": {"80 -v": 80}}, "container.ports"),
        ({"ports": {"80": "x"}}, "container.ports.80"),
        ({"volumes": {"/a:/b": "/c"}}, "container.volumes"),
        ({"volumes": {"-x": "/c"}}, "container.volumes"),
        ({"volumes": {"/a": "relative"}}, "container.volumes./a"),
        ({"environment": {"A=B": "c"}}, "container.environment"),
        ({"environment": {"-e": "c"}}, "container.environment"),
        ({"pullPolicy": "often"}, "container.pullPolicy"),
        ({"lifetime": {"cleanup": "often"}}, "container.lifetime.cleanup"),
        ({"lifetime": {"cleanup": "eventually"}}, "container.lifetime.after"),
        ({"lifetime": {"cleanup": "eventually", "after": "soon"}}, "container.lifetime.after"),
    ],
)
async def test_what_could_become_an_option_is_refused(
    engine: Engine, given: dict[str, Any], named: str
) -> None:
    """Each value is checked; the fault names the property, and the engine is not even asked."""
    fault = await fault_of(process.container(CALL, **{"image": "alpine", **given}))

    assert fault["type"].endswith("/configuration")
    assert f"`{named}`" in fault["detail"]
    assert not (engine.folder / "calls").exists()


async def test_an_engine_that_cannot_start_the_container_is_a_fault_whatever_return_says(
    engine: Engine,
) -> None:
    """Exit code 125 without a container is the engine's failure, not the container's result."""
    (engine.folder / "refuse").touch()
    fault = await fault_of(process.container(CALL, image="alpine", output="code"))

    assert fault["detail"] == "`docker` could not start a container of `alpine`: no such image"


async def test_a_container_may_end_with_125_itself(engine: Engine) -> None:
    """Negative control: once the container exists, the exit code is its own."""
    (engine.folder / "code").write_text("125")

    assert await process.container(CALL, image="alpine", output="code") == 125


async def test_eventually_means_removed_when_the_time_after_its_end_is_over(engine: Engine) -> None:
    """`eventually` labels the container with its time; each container call removes what is over."""
    await process.container(
        CALL, image="alpine", lifetime={"cleanup": "eventually", "after": {"minutes": 30}}
    )
    (engine.folder / "listing").write_text("old\nnew\nodd\nolder\n")
    (engine.folder / "details").write_text(
        "old 1800 2026-01-31T10:00:00.123456789Z\n"
        "new 1800 9999-01-31T10:00:00Z\n"
        "odd 1800 \n"
        "older 1800 2026-01-31 10:00:00.123 +0200 CEST\n"
    )
    await process.container(CALL, image="alpine")

    assert "--label=tenuto.keep-seconds=1800" in engine.calls("run")[0]["words"]
    assert [call["words"] for call in engine.calls("rm")] == [["rm", "old", "older"]]


async def test_what_a_dead_worker_left_is_replaced(engine: Engine) -> None:
    """A name that we gave is this attempt's own, so a container that has it already is an orphan."""
    (engine.folder / "taken").touch()

    assert await process.container(CALL, image="alpine") == "hello\n"
    assert [call["words"] for call in engine.calls("rm")] == [["rm", "--force", "tenuto-r1-do-0-work-1-1"]]


async def test_a_name_that_the_author_gave_may_be_anybodys(engine: Engine) -> None:
    """Negative control: a container of a given name is never removed to make room."""
    (engine.folder / "taken").touch()
    fault = await fault_of(process.container(CALL, image="alpine", name="job"))

    assert "already in use" in fault["detail"]
    assert engine.calls("rm") == []


@pytest.mark.parametrize(
    ("cleanup", "expected"), [("always", ["rm", "--force", "c0ffee"]), ("never", ["kill", "c0ffee"])]
)
async def test_cancelling_ends_the_container_itself(
    engine: Engine, cleanup: str, expected: list[str]
) -> None:
    """The end of the docker command is not the end of its container, so that is ended by its id."""
    fifo = engine.folder / "fifo"
    os.mkfifo(fifo)
    await cancelled_when_ready(
        lambda: process.container(CALL, image="alpine", lifetime={"cleanup": cleanup}), fifo
    )

    assert [call["words"] for call in engine.calls(expected[0])] == [expected]
