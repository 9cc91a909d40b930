"""Programs that a workflow starts cannot read the secrets of the process that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOOK = """
import ctypes, os, subprocess, sys
from tenuto.runtime.privacy import hide_secrets
if sys.argv[1] == "hide":
    hide_secrets(os.environ, "TENUTO_SECRET_")
subprocess.run(["sh", "-c", "tr '\\\\0' '\\\\n' < /proc/$PPID/environ; env"], stderr=subprocess.DEVNULL)
print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def seen(what: str) -> list[str]:
    """Return what a child sees of its parent, which was given two secrets and another variable."""
    given = {
        "PATH": os.environ["PATH"],
        "TENUTO_SECRET_A": "canary-a",
        "OTHER": "is-there",
        "TENUTO_SECRET_B": "b",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOOK, what], env=given, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_child_sees_no_secret_of_its_parent() -> None:
    """Neither in the environment that it inherits nor in the one that the kernel shows."""
    hidden, open_ = seen("hide"), seen("show")

    assert [] == [line for line in hidden if "TENUTO_SECRET" in line or "canary" in line]
    assert "OTHER=is-there" in hidden
    assert "dumpable 0" in hidden
    # The test can fail: without it, both ways are open.
    assert 2 == open_.count("TENUTO_SECRET_A=canary-a")
    assert "dumpable 1" in open_


FLOW = """
document: {dsl: 1.0.3, namespace: test, name: look, version: 1.0.0}
do:
  - look: {run: {shell: {command: "cat /proc/$PPID/environ || true"}}}
"""


def test_a_workflow_sees_no_secret_that_it_was_not_given(tmp_path: Path) -> None:
    """A shell command of a run looks into the process that started it."""
    (tmp_path / "look.yaml").write_text(FLOW)
    done = subprocess.run(
        [sys.executable, "-m", "tenuto", "run", "look.yaml"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TENUTO_SECRET_A": "canary-a"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "canary" not in done.stdout + done.stderr
