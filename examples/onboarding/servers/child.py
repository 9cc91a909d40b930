"""How each server starts as a child process: its options, readiness, and its end."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import NamedTuple


class Options(NamedTuple):
    """What a server is told: where to listen, where its state is, its secret, how slow to be."""

    port: int
    folder: Path
    secret: str
    latency_seconds: float


def read_options() -> Options:
    """Read the options; the secret comes through the environment, so that `ps` does not show it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each change takes")
    given = parser.parse_args()
    return Options(given.port, given.folder, os.environ["COMPANY_SECRET"], given.latency)


def announce_ready() -> None:
    """Tell the parent that the port is open, and end this process when the parent is gone.

    Standard input is a pipe whose other end the parent holds: it ends when the parent ends,
    also by `kill -9`, so no server is ever left behind.
    """
    print("ready", flush=True)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)
