"""The command line as tests call it: in this process, or as a process of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tenuto.app import load_command, wired
from tenuto.cli.root import Root, run_command_line
from tenuto.settings import read_settings


@dataclass(frozen=True)
class Called:
    """What a command did: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as JSON."""
        return json.loads(self.out)


Tenuto = Callable[..., Called]


@pytest.fixture
def tenuto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tenuto:
    """Call the command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Called:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            run_command_line(Root(load_command), wired(read_settings(env or {})), list(arguments))
        captured = capsys.readouterr()
        return Called(int(left.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a workflow: a header is put before the tasks; LOGFILE in them is a file here."""

    def put(name: str, tasks: str, head: str = "") -> Path:
        path = tmp_path / f"{name}.yaml"
        tasks = tasks.replace("LOGFILE", str(tmp_path / "log"))
        path.write_text(
            f"document: {{dsl: 1.0.3, namespace: test, name: {name}, version: 1.0.0}}\n{head}do:\n"
            + "".join(f"  {line}\n" for line in tasks.strip().splitlines())
        )
        return path

    return put


class Process:
    """A `tenuto` process; its standard error is read line by line."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tenuto", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        )
        self.seen: list[str] = []

    def until(self, text: str) -> str:
        """Read standard error up to a line that holds a text; return that line."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came; standard error was:\n{''.join(self.seen)}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> Called:
        """Wait for the end."""
        out, err = self._process.communicate(timeout=30)
        return Called(self._process.returncode, out, "".join(self.seen) + err)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `tenuto` as a process of its own."""
    started: list[Process] = []

    def begin(*arguments: str) -> Process:
        started.append(Process(tmp_path, *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.close()
