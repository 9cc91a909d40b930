"""Finding the programs of servers, and installing them from Debian's packages when they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

SEARCH = ("/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin")
INSTALL_SECONDS = 300


class CannotRun(Exception):
    """A server cannot be had on this machine; the message says why and what to do."""


def program(name: str, package: str, *, patterns: tuple[str, ...] = ()) -> Path:
    """Return the path of a program, installing its Debian package first if we may.

    `patterns` are further places below `/`, with wildcards; the highest match is taken.
    Raises CannotRun where it is missing and this is not Debian, or not root; where it could
    be installed but that failed, the error of apt-get is raised as it is.
    """
    found = _find(name, patterns)
    if found is None:
        if not Path("/etc/debian_version").exists():
            raise CannotRun(f"no {name}: install it with the system's package manager")
        if os.geteuid() != 0:
            raise CannotRun(f"no {name}: run as root, or `apt-get install {package}` first")
        _install(package)
        found = _find(name, patterns)
        if found is None:
            raise RuntimeError(f"the package {package} is installed, but has no program {name}")
    return found


def _find(name: str, patterns: tuple[str, ...]) -> Path | None:
    for pattern in patterns:
        matches = sorted(Path("/").glob(pattern.lstrip("/")))
        if matches:
            return matches[-1]
    path = shutil.which(name, path=os.pathsep.join(SEARCH))
    return Path(path) if path else None


@cache
def _install(package: str) -> None:
    """Install a package without starting the service that it brings."""
    install = ["install", "-y", "--no-install-recommends", package]
    with _services_stay_down():
        if _apt(install).returncode == 0:
            return
        _apt(["update"])
        second = _apt(install)
    if second.returncode != 0:
        raise RuntimeError(f"apt-get install {package} failed:\n{second.stderr.decode(errors='replace')}")


def _apt(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["apt-get", "-q", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=INSTALL_SECONDS,
    )


class _services_stay_down:  # reads as a with-statement
    """Debian asks `policy-rc.d` whether a package may start its service: say no meanwhile."""

    path = Path("/usr/sbin/policy-rc.d")

    def __enter__(self) -> None:
        self.mine = not self.path.exists()
        if self.mine:
            self.path.write_text("#!/bin/sh\nexit 101\n")
            self.path.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        if self.mine:
            self.path.unlink(missing_ok=True)
