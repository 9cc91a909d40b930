"""Run a container through the docker or podman command.

Everything reaches the command as separate words, and whatever a workflow gives is checked or put
where it can only be a value; no value can become an option. An environment value travels in the
command's own environment, not on its command line, unless its name means something to the command.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto.connectors.child import Ended, clean_environment, fresh_folder, run, tail, text
from tenuto.connectors.duration import seconds_of
from tenuto.plugin import Call, Faulted, configuration_fault, runtime_fault

ENGINES: Final = ("docker", "podman")
ENGINE_SECONDS: Final = 20.0  # for an engine to list or remove containers

_KEEP: Final = "tenuto.keep-seconds"  # a label: how long the container is kept after its end
_TAKEN: Final = b"already in use"  # what docker and podman say of a name
_NOT_STARTED: Final = 125  # how docker and podman report their own failure
_PULL: Final = {"ifNotPresent": "missing", "always": "always", "never": "never"}
_CLEANUPS: Final = ("always", "never", "eventually")
_ENGINE_VARIABLES: Final = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "CONTAINER_HOST",
    "XDG_RUNTIME_DIR",
)
# Names that the command, its runtime or its loader would obey if they stood in its environment.
_OBEYED: Final = re.compile(
    r"PATH|HOME|LANG|LC_\w*|LD_\w*|TMPDIR|TZ|ENV|BASH_ENV|IFS|XDG_\w*|SSL_\w*|GO\w*|GRPC_\w*|OTEL_\w*"
    r"|DOCKER_\w*|BUILDKIT_\w*|BUILDX_\w*|CONTAINERS?_\w*|PODMAN_\w*|STORAGE_\w*|REGISTRY_\w*|\w*_PROXY"
    r"|GLIBC_\w*|MALLOC_\w*|PYTHON\w*|NODE_\w*|_\w*",
    re.IGNORECASE,
)
_IMAGE: Final = re.compile(r"[A-Za-z0-9][\w.:/@-]*")
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][\w.-]*")
_HOST_PORT: Final = re.compile(r"((\d{1,3}\.){3}\d{1,3}:|\[[0-9A-Fa-f:]+\]:)?\d{1,5}")
_PORT: Final = re.compile(r"\d{1,5}(/(tcp|udp|sctp))?")
_FINISHED: Final = re.compile(
    r"(?P<id>\w+) (?P<keep>\d{1,12}) (?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(\.\d+)? ?"
    r"(?P<zone>Z|[+-]\d{4})( \w+)?"
)
_VOLUME_TARGET: Final = re.compile(r"/[^:]*(:(ro|rw))?")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The container that a task asks for, with the names of the language standard."""

    image: str
    name: str
    named_here: bool
    command: str | None
    ports: Mapping[str, Any]
    volumes: Mapping[str, Any]
    environment: Mapping[str, Any]
    stdin: bytes | None
    arguments: Sequence[str]
    lifetime: Mapping[str, Any]
    pull_policy: str


def name_of(call: Call) -> str:
    """Return a container name that says which action it belongs to."""
    return f"tenuto-{re.sub(r'[^A-Za-z0-9_.-]+', '-', call.idempotency_key)}-{call.attempt}"


async def run_container(wanted: Wanted, folders: Sequence[Path]) -> Ended:
    """Run a container to its end.

    Raises a `configuration` fault for what cannot be asked for and where no engine answers, a
    `runtime` fault if the engine cannot start the container.
    """
    cleanup, after = _lifetime(wanted.lifetime)
    options, environment = _options(wanted, folders)
    if cleanup == "always":
        options.append("--rm")
    elif cleanup == "eventually":
        options.append(f"--label={_KEEP}={after:.0f}")
    engine = await _engine()
    words = [*options, wanted.image, *_words(wanted)]
    ended, started = await _start(engine, words, environment, wanted.stdin, keep=cleanup != "always")
    if not started and wanted.named_here and _TAKEN in ended.stderr:
        # The name is this attempt's own: a worker died while it ran, and its outcome is unknown.
        await _ask(engine, "rm", "--force", wanted.name)
        ended, started = await _start(engine, words, environment, wanted.stdin, keep=cleanup != "always")
    if ended.code == _NOT_STARTED and not started:
        raise runtime_fault(
            f"`{Path(engine).name}` could not start a container of `{wanted.image}`: {tail(ended.stderr)}",
            title="Container Not Started",
        )
    if cleanup == "eventually":
        # The label is the promise, kept by whichever container call comes next; the timer keeps it in time.
        loop, sweeps = asyncio.get_running_loop(), list[asyncio.Task[str | None]]()
        loop.call_later(after + 1, lambda: sweeps.append(loop.create_task(_sweep(engine))))
    return ended


async def _start(
    engine: str, words: Sequence[str], environment: Mapping[str, str], stdin: bytes | None, *, keep: bool
) -> tuple[Ended, bool]:
    """Run the engine's command; tell also whether there was a container."""
    async with fresh_folder() as folder:
        id_file = folder / "id"
        argv = [engine, "run", f"--cidfile={id_file}", *words]
        try:
            ended = await run(argv, environment=environment, folder=folder, stdin=stdin)
        except BaseException:
            # The end of the command does not end the container, so that is asked for by id.
            await asyncio.shield(_stop(engine, _id_in(id_file), keep=keep))
            raise
        return ended, bool(_id_in(id_file))


# ── the command line ─────────────────────────────────────────────────────────────────────


def _words(wanted: Wanted) -> list[str]:
    if wanted.command is None:
        return list(wanted.arguments)
    return ["-c", wanted.command, "sh", *wanted.arguments]


def _options(wanted: Wanted, folders: Sequence[Path]) -> tuple[list[str], dict[str, str]]:
    """Return the options of `run` and the environment of the command."""
    _expect(_IMAGE, wanted.image, "container.image", "an image such as `registry/name:tag`")
    _expect(_NAME, wanted.name, "container.name", "letters, digits, `_`, `.` and `-`")
    if wanted.pull_policy not in _PULL:
        raise configuration_fault(f"`container.pullPolicy` must be one of {', '.join(_PULL)}")
    options = [f"--name={wanted.name}", f"--pull={_PULL[wanted.pull_policy]}"]
    for host, port in wanted.ports.items():
        _expect(_HOST_PORT, host, "container.ports", "a host port or `address:port`")
        _expect(_PORT, text(port), f"container.ports.{host}", "a container port such as `80` or `53/udp`")
        options.append(f"--publish={host}:{text(port)}")
    for source, target in wanted.volumes.items():
        _expect(
            _VOLUME_TARGET, text(target), f"container.volumes.{source}", "an absolute path, maybe with `:ro`"
        )
        options.append(f"--volume={_volume_source(source, folders)}:{target}")
    environment = clean_environment(also=_ENGINE_VARIABLES)
    for name, value in wanted.environment.items():
        _expect(_VARIABLE, name, "container.environment", "a variable's name")
        if value is None:
            continue
        if _OBEYED.fullmatch(name):
            options.append(f"--env={name}={text(value)}")
        else:
            environment[name] = text(value)
            options.append(f"--env={name}")
    if wanted.stdin is not None:
        options.append("--interactive")
    if wanted.command is not None:
        options.append("--entrypoint=/bin/sh")
    return options, environment


def _expect(pattern: re.Pattern[str], value: str, where: str, expected: str) -> None:
    if not pattern.fullmatch(value):
        raise configuration_fault(f"`{where}`: {value!r} is not {expected}")


def _volume_source(source: str, folders: Sequence[Path]) -> str:
    if ":" in source:
        raise configuration_fault(f"`container.volumes`: {source!r} must not contain a colon")
    if _NAME.fullmatch(source) or source.startswith("/"):
        return source
    if source.startswith(".") and folders:
        return str((folders[0] / source).resolve())
    raise configuration_fault(
        f"`container.volumes`: {source!r} is neither a path (`/…`, `./…`) nor the name of a volume"
    )


def _lifetime(lifetime: Mapping[str, Any]) -> tuple[str, float]:
    cleanup = lifetime.get("cleanup", "never")
    if cleanup not in _CLEANUPS:
        raise configuration_fault(f"`container.lifetime.cleanup` must be one of {', '.join(_CLEANUPS)}")
    if cleanup != "eventually":
        return cleanup, 0.0
    if "after" not in lifetime:
        raise configuration_fault("`container.lifetime.after` is missing: `cleanup: eventually` needs it")
    return cleanup, seconds_of(lifetime["after"], "container.lifetime.after")


# ── the engine ───────────────────────────────────────────────────────────────────────────


async def _engine() -> str:
    """Return the command of the first engine that answers, with containers past their time removed."""
    path = clean_environment()["PATH"]
    answers = []
    for name in ENGINES:
        command = shutil.which(name, path=path)
        if command is None:
            answers.append(f"`{name}` is not on PATH")
            continue
        problem = await _sweep(command)
        if problem is None:
            return command
        answers.append(f"`{name}`: {problem}")
    raise configuration_fault(
        "`run: container` needs a container engine: neither docker nor podman answers "
        f"({'; '.join(answers)}); start one, or install one"
    )


async def _sweep(engine: str) -> str | None:
    """Remove the containers whose time is over; return what is wrong if the engine does not answer."""
    filters = (f"--filter=label={_KEEP}", "--filter=status=exited")
    listing = await _ask(engine, "ps", "--all", *filters, "--format={{.ID}}")
    if isinstance(listing, str):
        return listing
    if listing.code != 0:
        return tail(listing.stderr, characters=300) or f"exit code {listing.code}"
    if ids := listing.stdout.decode(errors="replace").split():
        form = f'--format={{{{.Id}}}} {{{{index .Config.Labels "{_KEEP}"}}}} {{{{.State.FinishedAt}}}}'
        details = await _ask(engine, "inspect", form, *ids)
        lines = [] if isinstance(details, str) else details.stdout.decode(errors="replace").splitlines()
        if over := [container for line in lines if (container := _over(line, time.time()))]:
            await _ask(engine, "rm", *over)
    return None


def _over(line: str, now: float) -> str | None:
    """Return the id in `id keep-seconds end` if the time to keep the container is over.

    The end is `2026-01-31T10:00:00.123Z` for docker, `2026-01-31 10:00:00.123 +0000 UTC` for podman.
    """
    parts = _FINISHED.fullmatch(line.strip())
    if parts is None:
        return None
    ended = datetime.strptime(f"{parts['day']} {parts['time']} {parts['zone']}", "%Y-%m-%d %H:%M:%S %z")
    return parts["id"] if ended.timestamp() + int(parts["keep"]) <= now else None


async def _stop(engine: str, container: str, *, keep: bool) -> None:
    if container:
        await _ask(engine, *(("kill",) if keep else ("rm", "--force")), container)


def _id_in(file: Path) -> str:
    """Return the id that the engine wrote when it made the container; empty if it made none."""
    return file.read_text(encoding="ascii").strip() if file.exists() else ""


async def _ask(engine: str, *words: str) -> Ended | str:
    """Run one short command of the engine; a text says why there is no answer."""
    try:
        async with fresh_folder() as folder, asyncio.timeout(ENGINE_SECONDS):
            return await run(
                [engine, *words], environment=clean_environment(also=_ENGINE_VARIABLES), folder=folder
            )
    except TimeoutError:
        return f"no answer within {ENGINE_SECONDS:g} seconds"
    except Faulted as error:
        return error.message
