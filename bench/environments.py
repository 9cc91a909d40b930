"""The systems that are measured, and how the environment of each is made: reproducibly, in a folder of its own.

    make("dbos", Path(".bench")) -> Environment(command=(".../bin/python", "-m", "bench.systems.dbos"), env={...})

`python -m bench.environments [NAME ...]` makes them all, or those that are named, and says what came of it; with `--pin` it
resolves the dependencies anew and writes them to `bench/pins/`.

Python packages come from pip in the versions of `bench/pins/NAME.txt`, servers from npm, from Go modules or from Debian's
packages (root only). Nothing that is installed here is a dependency of Tenuto, and nothing is left running.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.provision import CannotRun, program

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "bench" / "pins"
INSTALL_SECONDS_MAX = 1800

WORKS = (
    "latency",
    "in-flight",
    "fan-out",
    "waiting",
    "long-run",
    "restart",
    "signals",
    "payload",
    "footprint",
)
"""Every kind of work; a system's program answers with a reason where one does not apply to it."""

COMPARED = ("latency", "in-flight")
"""The work of a mode that only has to show that another one of the same system is no worse for it."""


@dataclass(frozen=True, slots=True)
class Debian:
    """A program, and the package that has it; `pattern` is where to look besides the usual places."""

    program: str
    package: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """One system: its modes with the works that are measured in each, and what its environment is made of."""

    modes: Mapping[str, Sequence[str]]
    python: Sequence[str] = ()
    npm: Sequence[str] = ()
    go: Sequence[str] = ()
    debian: Sequence[Debian] = ()
    paths: Sequence[str] = ()
    """Folders below the environment's own whose programs are found by name, with wildcards."""
    source: bool = False
    """Tenuto itself, from this working tree, is installed too."""
    environment: str = ""
    """The system whose environment this one shares."""
    mark: str = ""
    """What a reader of its figures must know: first how a client talks to it."""
    mode_marks: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""


NOT_SOURCE = (".pyc", ".so", "")
"""Endings of what lies in the source tree and is made from it, and of folders."""

GO_BUILD = {
    "CGO_ENABLED": "0",
    "GOTOOLCHAIN": "local",
    "GOFLAGS": "-trimpath -ldflags=-s",
}
"""Static programs without symbols, as they are released, built by the Go that is there."""

STRACE = Debian("strace", "strace", "/usr/bin/strace")
POSTGRES = Debian("initdb", "postgresql", "/usr/lib/postgresql/*/bin/initdb")

SYSTEMS: Mapping[str, System] = {
    "tenuto": System(
        modes={
            "code": (
                *WORKS,
                "waiting-event",
                "replay",
                "store",
                "expressions",
                "resume",
            ),
            "document": (
                *(work for work in WORKS if work != "footprint"),
                "waiting-event",
            ),
        },
        source=True,
        mark="client in the process",
        licence="Apache-2.0",
    ),
    "bare": System(
        modes={
            "sqlite": ("latency", "in-flight", "fan-out", "payload"),
            "file": ("latency", "in-flight", "fan-out", "payload"),
            "sqlite-rounds": COMPARED,
            "file-rounds": COMPARED,
        },
        environment="tenuto",
        mark="callers in the process; no engine: only appends the same bytes",
    ),
    "dbos": System(
        modes={
            "sqlite-sync": WORKS,
            "sqlite-async": COMPARED,
            "sqlite-tuned": COMPARED,
            "postgres-sync": WORKS,
            "postgres-async": COMPARED,
            "postgres-processes": COMPARED,
        },
        python=("dbos==3.4.0",),
        debian=(POSTGRES,),
        mark="client in the process",
        mode_marks={"sqlite-tuned": "beyond its documentation"},
        licence="MIT",
    ),
    "restate": System(
        modes={"h2": WORKS, "h2-workers": COMPARED},
        python=("restate-sdk[serde]==1.3.0", "hypercorn==0.18.0"),
        npm=("@restatedev/restate-server@1.7.12",),
        paths=("node_modules/@restatedev/restate-server-*/bin",),
        mark="client over HTTP",
        licence="server: Business Source License 1.1; SDK: MIT",
    ),
    "temporal": System(
        modes={"postgres": WORKS, "sqlite": WORKS, "postgres-local": COMPARED},
        python=("temporalio==1.35.0",),
        go=(
            "go.temporal.io/server/cmd/server@v1.32.1",
            "go.temporal.io/server/cmd/tools/sql@v1.32.1",
        ),
        debian=(POSTGRES,),
        mark="client over gRPC",
        mode_marks={
            "postgres-local": "not durable per step: local activities are recorded when their workflow task ends"
        },
        licence="MIT",
    ),
    "prefect": System(
        modes={"postgres": WORKS, "postgres-kept": COMPARED, "sqlite": COMPARED},
        # Newer releases need a certifi that the registry does not have; newer FastAPI breaks its server.
        python=("prefect==3.8.8", "fastapi==0.145.0"),
        debian=(POSTGRES,),
        mark="client over HTTP; not durable per step: states of tasks are sent as events that nobody waits for, results stay in memory",
        mode_marks={
            "postgres-kept": "results are kept in files that are not synced",
            "sqlite": "and synchronous=NORMAL: what was committed last can be lost with the power",
        },
        licence="Apache-2.0",
    ),
    "airflow": System(
        modes={"local": WORKS},
        python=("apache-airflow==3.3.2", "apache-airflow-providers-postgres==7.1.1"),
        debian=(POSTGRES,),
        mark="client over HTTP",
        licence="Apache-2.0",
    ),
    # Not measured: what draws the results, and what looks where the time goes.
    "tools": System(modes={}, python=("matplotlib==3.11.2", "py-spy==0.4.3")),
    "celery": System(
        modes={"prefork": WORKS, "threads": COMPARED, "prefork-everysec": COMPARED},
        python=("celery[redis]==5.7.0",),
        debian=(Debian("redis-server", "redis-server"),),
        mark="client over Redis's socket; not durable per step: a task whose worker dies is done again, but a step's result is only in the next message",
        mode_marks={"prefork-everysec": "may lose what the last second has acknowledged"},
        licence="Celery: BSD-3-Clause; Redis 7.0: BSD-3-Clause",
    ),
    "spiff": System(
        modes={"memory": WORKS},
        python=("SpiffWorkflow==3.2.0",),
        mark="client in the process; in memory, not durable",
        licence="LGPL-3.0",
    ),
}


class CannotInstall(Exception):
    """The environment cannot be made on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """How to start a system's program: the command, to which options are added, and the whole environment.

    `BENCH_INSTALLED_MB` in it is the size of what was installed, `BENCH_DEBIAN_MB` that of the Debian packages which some
    of the modes need besides; Python itself, Node.js and Go are not counted.
    """

    command: tuple[str, ...]
    env: Mapping[str, str]


def make(system: str, folder: Path) -> Environment:
    """Make the environment of a system below a folder, unless it is there; raise `CannotInstall` with the reason."""
    declared = SYSTEMS[system]
    if declared.environment:
        shared = make(declared.environment, folder)
        return Environment((shared.command[0], "-m", f"bench.systems.{system}"), shared.env)
    place = folder.resolve() / system
    place.parent.mkdir(parents=True, exist_ok=True)
    (place.parent / ".gitignore").write_text("*\n")
    found = [_debian(wanted) for wanted in declared.debian]
    with suppress(CannotInstall):
        # No part of any system: where there is none, `bench.syncs` says so.
        _debian(STRACE)
    with _alone(place.with_suffix(".lock")):
        stamp = _digest(system, declared)
        ready = place / "ready"
        if not ready.exists() or ready.read_text() != stamp:
            if place.exists():
                shutil.rmtree(place)
            place.mkdir()
            _install(system, declared, place)
            ready.write_text(stamp)
    own = [str(path) for pattern in declared.paths for path in sorted(place.glob(pattern))]
    if len(own) < len(declared.paths):
        raise CannotInstall(f"{system} has no program for this machine ({platform.platform()})")
    search = [
        str(place / "bin"),
        *own,
        *(str(path.parent) for path in found),
        os.environ.get("PATH", ""),
    ]
    return Environment(
        (str(place / "bin" / "python"), "-m", f"bench.systems.{system}"),
        {
            **os.environ,
            "PATH": os.pathsep.join(search),
            "PYTHONPATH": str(ROOT),
            "BENCH_INSTALLED_MB": f"{_megabytes(place):.1f}",
            "BENCH_DEBIAN_MB": f"{sum(map(_debian_mb, found)):.1f}",
        },
    )


def _digest(system: str, declared: System) -> str:
    """Return what changes when the environment would come out differently."""
    parts = [repr((declared.python, declared.npm, declared.go)), sys.version]
    files = [PINS / f"{system}.txt"]
    if declared.source:
        files += [ROOT / "pyproject.toml", ROOT / "requirements.txt"]
        files += sorted(path for path in (ROOT / "src").rglob("*") if path.suffix not in NOT_SOURCE)
    parts += [
        f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in files
        if path.is_file()
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _install(system: str, declared: System, place: Path) -> None:
    print(f"installing {system}", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", "--without-pip", place])
    if declared.python:
        pins = PINS / f"{system}.txt"
        constraint = ["--constraint", pins] if pins.exists() else []
        _pip(place, [*constraint, *declared.python])
    if declared.source:
        # The pins have hashes, which a constraint must not have.
        names = re.findall(r"^[\w.\[\]-]+==\S+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
        pins = place / "constraints.txt"
        pins.write_text("\n".join(names))
        with tempfile.TemporaryDirectory() as copy:
            _copy_source(Path(copy))
            # As it is released: decision record 11.
            _pip(place, ["--constraint", pins, copy], {"HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"})
    if declared.npm:
        if shutil.which("npm") is None:
            raise CannotInstall(f"{system}'s server comes as an npm package, and there is no npm")
        options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run(["npm", "install", "--prefix", str(place), *options, *declared.npm])
    for package in declared.go:
        if shutil.which("go") is None:
            raise CannotInstall(f"{system}'s server is built from its Go modules, and there is no go")
        _run(["go", "install", package], {"GOBIN": str(place / "bin"), **GO_BUILD})


def _copy_source(folder: Path) -> None:
    """Copy what Tenuto is built of, without what other builds have left there."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    leave = shutil.ignore_patterns("__pycache__", *(f"*{suffix}" for suffix in NOT_SOURCE if suffix))
    shutil.copytree(ROOT / "src", folder / "src", ignore=leave)


def _pip(place: Path, arguments: Sequence[str | Path], extra: Mapping[str, str] | None = None) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(place / "bin" / "python"),
        "--quiet",
        "install",
    ]
    _run([*pip, *map(str, arguments)], extra)


def _run(command: Sequence[str | Path], extra: Mapping[str, str] | None = None) -> str:
    """Run a command to its end; answer its output."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(extra or {})},
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"{_said(command)} took longer than {INSTALL_SECONDS_MAX} s") from None
    if done.returncode:
        raise CannotInstall(f"{_said(command)} failed: {(done.stderr or done.stdout)[-1500:].strip()}")
    return done.stdout


def _said(command: Sequence[str | Path]) -> str:
    return " ".join(str(part) for part in command)


def _debian(wanted: Debian) -> Path:
    try:
        return program(
            wanted.program,
            wanted.package,
            patterns=(wanted.pattern,) if wanted.pattern else (),
        )
    except (CannotRun, RuntimeError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(str(error)) from None


def _debian_mb(path: Path) -> float:
    """Return the size of the Debian package that a program is of, as the package says it; 0 where it is of none."""
    owner = subprocess.run(["dpkg", "-S", path.resolve()], capture_output=True, text=True, check=False).stdout
    package = owner.partition(":")[0]
    if not package:
        return 0.0
    size = _run(["dpkg-query", "-W", "-f", "${Installed-Size}", package])
    return int(size) * 1024 / 1e6


def _megabytes(folder: Path) -> float:
    """Return the bytes of all files in millions; links are not followed."""
    return (
        sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        / 1e6
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let nobody else install at the same place meanwhile."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pin(system: str, folder: Path) -> None:
    """Resolve a system's dependencies anew and write down the versions."""
    pins = PINS / f"{system}.txt"
    pins.unlink(missing_ok=True)
    environment = make(system, folder)
    frozen = _run([sys.executable, "-m", "pip", "--python", environment.command[0], "freeze"])
    PINS.mkdir(exist_ok=True)
    pins.write_text(frozen)
    (folder.resolve() / system / "ready").write_text(_digest(system, SYSTEMS[system]))


def main() -> None:
    """Make environments; say how each is started, or why there is none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", choices=[[], *SYSTEMS], metavar="NAME")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench")
    parser.add_argument("--pin", action="store_true", help="resolve dependencies anew")
    options = parser.parse_args()
    for system in options.systems or SYSTEMS:
        try:
            if options.pin and SYSTEMS[system].python:
                pin(system, options.folder)
            environment = make(system, options.folder)
            size = " + ".join(environment.env[name] for name in ("BENCH_INSTALLED_MB", "BENCH_DEBIAN_MB"))
            print(f"{system}: {' '.join(environment.command)} ({size} MB)")
        except CannotInstall as reason:
            print(f"{system}: cannot be installed: {reason}")


if __name__ == "__main__":
    main()
