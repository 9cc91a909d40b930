"""Run the onboarding example: start the company's systems, run the workflow, show what happened.

python examples/onboarding/run.py             onboard the employee of employee.json
python examples/onboarding/run.py --fail      onboard somebody whose cloud access is refused
python examples/onboarding/run.py --resume    go on with a run that was killed
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from onboarding.company import DOCUMENT, HERE, SYSTEMS, Company
from onboarding.tally import count_requests

ROOT: Final = HERE.parent.parent
FOLDER: Final = ROOT / ".tenuto" / "onboarding"
DEFAULT_LATENCY_SECONDS: Final = 0.3
DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG
RESUME: Final = "make resume"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for."""

    fail: bool
    resume: bool
    folder: Path
    latency_seconds: float


def read_options(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Onboard a new employee with Tenuto.")
    parser.add_argument("--fail", action="store_true", help="onboard somebody whose cloud access is refused")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was killed")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where state is kept")
    parser.add_argument(
        "--latency", type=float, default=DEFAULT_LATENCY_SECONDS, help="seconds that each change takes"
    )
    given = parser.parse_args(arguments)
    return Options(given.fail, given.resume, given.folder.resolve(), given.latency)


class Example:
    """One onboarding: its folder, its run, its company."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.company = Company(options.folder / "company")
        self._current = options.folder / "current.json"

    def unfinished(self) -> dict[str, Any] | None:
        """Return what the last start noted about its run, if that run has not ended."""
        if not self._current.exists():
            return None
        noted: dict[str, Any] = json.loads(self._current.read_text(encoding="utf-8"))
        return noted

    def begin(self) -> dict[str, Any]:
        """Make the company new and note the run that is about to start."""
        self.company.forget()
        self.options.folder.mkdir(parents=True, exist_ok=True)
        noted = {"run": f"onboarding-{secrets.token_hex(3)}", "fail": self.options.fail}
        self._current.write_text(json.dumps(noted), encoding="utf-8")
        return noted

    def end(self) -> None:
        """Note that the run has ended."""
        self._current.unlink()

    def tenuto(self, *arguments: str) -> list[str]:
        """Return a `tenuto` command; run in ROOT, it works on the usual database `.tenuto/tenuto.db`."""
        program = str(Path(sys.executable).with_name("tenuto"))
        if self.options.folder == FOLDER:
            return [program, *arguments]
        return [program, *arguments, "--db", str(self.options.folder / "runs.db")]

    def environment(self) -> Mapping[str, str]:
        """Return the environment that sends the workflow's host names to the local servers."""
        return {
            **os.environ,
            "TENUTO_RESOLVE": ",".join(self.company.resolve),
            "TENUTO_RESUME_COMMAND": RESUME,  # the servers must be there as well
        }

    def exists(self, run: str) -> bool:
        """Whether the run's start was recorded before the kill."""
        asked = subprocess.run(self.tenuto("show", run), capture_output=True, check=False, cwd=ROOT)
        return asked.returncode == 0

    def perform(self, noted: Mapping[str, Any], resume: bool) -> int:
        """Run or resume the workflow in the foreground and return its exit status."""
        run = noted["run"]
        with_secrets = ["--secrets", str(self.company.secrets_file)]
        if resume and self.exists(run):
            command = self.tenuto("resume", run, *with_secrets)
        else:
            record = HERE / ("contractor.json" if noted["fail"] else "employee.json")
            command = self.tenuto("run", str(DOCUMENT), "--id", run, "--input", f"@{record}", *with_secrets)
        with subprocess.Popen(
            command,
            env=self.environment(),
            cwd=ROOT,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # this process has one thread
        ) as child:
            say(f"Kill it at any time (kill -9 {child.pid}) and type: {RESUME}\n")
            while True:
                try:
                    return child.wait()
                except KeyboardInterrupt:
                    continue  # the terminal told the child as well; it ends by itself


def _die_with_parent() -> None:
    """Let a `kill -9` of this script end the workflow too, as a power cut would (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def say(text: str) -> None:
    """Tell the user something; standard output is for the workflow's result."""
    print(text, file=sys.stderr, flush=True)


def show_outcome(example: Example, run: str) -> int:
    """Say what each system was asked to do, and where to look next; return what was done twice."""
    rows = [(system.title, count_requests(example.company.folder / system.log)) for system in SYSTEMS]
    say("\nWhat the systems' own request logs say:\n")
    say(f"  {'system':24}{'requests':>10}{'changes':>10}{'refused':>10}{'done twice':>12}")
    for title, tally in rows:
        say(f"  {title:24}{tally.requests:>10}{tally.changes:>10}{tally.refused:>10}{tally.twice:>12}")
    show = shlex.join(_short(example.tenuto("show", run)))
    say("\nWhere to look next:\n")
    say(f"  tasks, attempts, times  {show}")
    say(f"  the run's journal       {show} --events")
    say(f"  the request logs        {_short([str(example.company.folder)])[0]}/")
    return sum(tally.twice for _, tally in rows)


def _short(words: list[str]) -> list[str]:
    """Return words with paths made relative to ROOT."""
    return [word.removeprefix(str(ROOT) + os.sep) for word in words]


def main(arguments: list[str] | None = None) -> int:
    """Run the example; 0 if it ended as it should."""
    example = Example(read_options(arguments))
    noted = example.unfinished()
    if example.options.resume and noted is None:
        say("There is no run to go on with: the last one ended. Start one with: make run")
        return 2
    resume = noted is not None and (example.options.resume or noted["fail"] == example.options.fail)
    if noted is None or not resume:
        noted = example.begin()
    elif not example.options.resume:
        say(f"The last run was cut short: {noted['run']} goes on where it was.")
    say("Starting the company's systems on this machine: LDAP, PostgreSQL, HTTP, SMTP")
    with example.company.open(example.options.latency_seconds):
        status = example.perform(noted, resume)
    if status < 0:
        say(f"\nThe run was killed by {signal.Signals(-status).name}. Go on where it was with: {RESUME}")
        return 128 - status
    if status not in (0, 1):
        say(f"\nThe run has not ended. Go on with: {RESUME}")
        return status
    example.end()
    twice = show_outcome(example, noted["run"])
    expected = 1 if noted["fail"] else 0
    return status if status != expected else 1 if twice else 0


if __name__ == "__main__":
    sys.exit(main())
