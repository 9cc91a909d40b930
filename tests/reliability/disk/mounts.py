"""File systems of our own: one whose power can be cut, one that runs full; unmounted again whatever happens.

with ext4(folder) as disk:          an image, mounted on `disk.place`
    ...                             a process writes and syncs
    disk.cut_power()                nothing gets to the image any more: what was not synced is lost
    ...                             the process is killed
    disk.again()                    unmounted, recovered from its journal, mounted
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.servers.provision import CannotRun

_SHUTDOWN: Final = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
_WITHOUT_FLUSHING_THE_LOG: Final = 2
IMAGE_BYTES: Final = 64 * 1024 * 1024
UNMOUNT_SECONDS_MAX: Final = 10.0


class MountFailed(Exception):
    """A file system cannot be mounted any more, or not unmounted: damaged, or in use by who should be gone."""


class Disk:
    """An ext4 file system on an image; `place` is where it is mounted."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image = image
        self.place = place

    def mount(self) -> None:
        """Mount it so that nothing is written of itself for a long time."""
        _run("mount", "-t", "ext4", "-o", "loop,commit=300,noatime", str(self.image), str(self.place))

    def cut_power(self) -> None:
        """From now on nothing more reaches the image, and every sync fails."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_LOG))
        finally:
            os.close(descriptor)

    def again(self) -> None:
        """Mount what the image holds; nobody may have anything open there."""
        _unmount(self.place)
        self.mount()

    def abort(self) -> None:
        """Let the file system find an error in itself: it is read-only from now on."""
        _run("mount", "-o", "remount,abort", str(self.place))


def check_may_mount() -> None:
    """Raise `CannotRun` where file systems cannot be mounted."""
    if os.geteuid() != 0:
        raise CannotRun("mounting needs root")
    for needed in ("mount", "umount", "mkfs.ext4"):
        if shutil.which(needed, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            raise CannotRun(f"there is no {needed}")


@contextmanager
def ext4(folder: Path) -> Iterator[Disk]:
    """Make a file system in a folder's image and mount it; raises `CannotRun` where that cannot be."""
    check_may_mount()
    if not Path("/dev/loop-control").exists():
        raise CannotRun("there are no loop devices")
    folder.mkdir(parents=True, exist_ok=True)
    disk = Disk(folder / "image", folder / "mount")
    with disk.image.open("wb") as image:
        image.truncate(IMAGE_BYTES)
    with _needed_here():
        _run(
            "mkfs.ext4",
            "-q",
            "-F",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1",
            str(disk.image),
        )
    with _mounted(disk.place):
        with _needed_here():
            disk.mount()
        yield disk
    disk.image.unlink()


@contextmanager
def tmpfs(folder: Path, bytes: int) -> Iterator[Path]:
    """Mount memory that runs full after so many bytes; raises `CannotRun` where that cannot be."""
    check_may_mount()
    place = folder / "small"
    folder.mkdir(parents=True, exist_ok=True)
    with _mounted(place):
        with _needed_here():
            _run("mount", "-t", "tmpfs", "-o", f"size={bytes}", "tmpfs", str(place))
        yield place


@contextmanager
def _mounted(place: Path) -> Iterator[None]:
    place.mkdir()
    try:
        yield
    finally:
        try:
            if os.path.ismount(place):
                _unmount(place)
        except MountFailed:
            _run("umount", "--lazy", str(place))
            raise  # Somebody who should be gone still has something open there.
        finally:
            with suppress(OSError):
                place.rmdir()


def _unmount(place: Path) -> None:
    """Unmount; the children of a process that was killed may take a moment to be gone."""
    deadline = time.monotonic() + UNMOUNT_SECONDS_MAX
    while True:
        try:
            _run("umount", str(place))
            return
        except MountFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise MountFailed(f"{' '.join(command[:3])}: {done.stderr.decode(errors='replace').strip()}")


@contextmanager
def _needed_here() -> Iterator[None]:
    """Take a failure for this machine's: nothing was played yet."""
    try:
        yield
    except MountFailed as error:
        raise CannotRun(str(error)) from None


def fill(place: Path) -> Path:
    """Fill a file system to the last byte; return the file to remove."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1024 * 1024
        while size:
            try:
                file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
    return filler
