"""The files connector on a real file system."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tenuto.errors import Fault
from tenuto.plugin import Call

FaultOf = Callable[[Awaitable[Any]], Awaitable[Fault]]
Do = Callable[..., Awaitable[Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder that is open to the workflow; beside it is one that is not."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "secret.txt").write_text("secret")
    (tmp_path / "open").mkdir()
    return tmp_path / "open"


@pytest.fixture
def do(invoke: Callable[..., Awaitable[Any]], make_call: Callable[..., Call], folder: Path) -> Do:
    """Return a shorthand that calls a function of the connector in the open folder."""

    async def run(function: str, **arguments: Any) -> Any:
        return await invoke(f"files.{function}", call=make_call(folders=(folder,)), **arguments)

    return run


async def test_what_is_written_is_read(do: Do, folder: Path) -> None:
    """Text and bytes come back as they were."""
    await do("write", path="a.txt", content="Größe\n")
    await do("write", path="b.bin", content="AP8=", encoding="base64")

    assert "Größe\n" == await do("read", path="a.txt") == (folder / "a.txt").read_text()
    assert "AP8=" == await do("read", path="b.bin", encoding="base64")
    assert b"\x00\xff" == (folder / "b.bin").read_bytes()


async def test_writing_leaves_no_other_file(
    do: Do, fault_of: FaultOf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new content appears at once or not at all, also if the disk fails in between."""
    await do("write", path="a.txt", content="old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        fault = await fault_of(do("write", path="a.txt", content="new"))

    assert (507, True) == (fault.status, fault.transient)
    assert ["a.txt"] == os.listdir(folder)
    assert "old" == (folder / "a.txt").read_text()


async def test_permissions_are_kept_or_set(do: Do, folder: Path) -> None:
    """A replaced file keeps its permissions; `mode` sets them, also where the content is there already."""
    (folder / "a").write_text("x")
    (folder / "a").chmod(0o640)

    await do("write", path="a", content="y")
    kept = (folder / "a").stat().st_mode & 0o777
    await do("write", path="a", content="y", mode="600")

    assert (0o640, 0o600) == (kept, (folder / "a").stat().st_mode & 0o777)


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("change", ["write", "copy", "delete"])
async def test_every_change_can_be_undone(do: Do, folder: Path, before: str | None, change: str) -> None:
    """`restore` brings back the former content, or the absence of the file."""
    (folder / "other").write_text("new")
    if before is not None:
        (folder / "a").write_text(before)
    arguments: dict[str, Any] = {
        "write": {"path": "a", "content": "new"},
        "copy": {"source": "other", "target": "a", "replace": True},
        "delete": {"path": "a"},
    }[change]

    result = await do(change, **arguments)
    assert (change != "delete") == (folder / "a").exists()
    await do("restore", result=result)
    await do("restore", result=result)

    assert before == ((folder / "a").read_text() if (folder / "a").exists() else None)


async def test_a_former_content_that_is_too_large_is_not_kept(
    do: Do, fault_of: FaultOf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result says so, and undoing it is a fault instead of a loss that nobody sees."""
    monkeypatch.setattr("tenuto.connectors.files.MAX_UNDO_BYTES", 2)
    (folder / "a").write_text("large")

    result = await do("write", path="a", content="new")
    fault = await fault_of(do("restore", result=result))

    assert result["kept"] is False
    assert "had more than 2 bytes" in str(fault.detail)
    assert {"changed": False} == await do("restore", result=None)


async def test_repetitions_are_success(do: Do, folder: Path) -> None:
    """Whatever is as asked already stays, and the result says that nothing changed."""
    steps: list[tuple[str, dict[str, Any]]] = [
        ("make_folder", {"path": "sub/deep"}),
        ("write", {"path": "sub/a", "content": "x"}),
        ("copy", {"source": "sub/a", "target": "sub/b"}),
        ("move", {"source": "sub/b", "target": "sub/c"}),
        ("delete", {"path": "sub/a"}),
        ("move_back", {"source": "sub/b", "target": "sub/c"}),
        ("remove_folder", {"path": "sub/deep"}),
    ]
    changed = []
    for name, arguments in steps:
        changed.append([(await do(name, **arguments))["changed"] for _ in range(2)])

    assert [[True, False]] * len(steps) == changed
    assert ["b"] == [entry.name for entry in (folder / "sub").iterdir()]


async def test_nothing_is_replaced_unless_asked(do: Do, fault_of: FaultOf, folder: Path) -> None:
    """A target with other content is a conflict, and stays; with `replace` it goes."""
    (folder / "a").write_text("a")
    (folder / "b").write_text("b")
    asked: list[tuple[str, dict[str, Any]]] = [
        ("write", {"path": "b", "content": "a", "replace": False}),
        ("copy", {"source": "a", "target": "b"}),
        ("move", {"source": "a", "target": "b"}),
    ]

    faults = [await fault_of(do(name, **arguments)) for name, arguments in asked]

    assert [409, 409, 409] == [fault.status for fault in faults]
    assert "b" == (folder / "b").read_text()
    await do("move", source="a", target="b", replace=True)
    assert "a" == (folder / "b").read_text()


@pytest.mark.parametrize(
    "path",
    ["../closed/secret.txt", "sub/../../closed/secret.txt", "link/secret.txt", "file-link", "/etc/passwd"],
)
@pytest.mark.parametrize(
    "function", ["read", "write", "delete", "stat", "list", "make_folder", "copy", "move"]
)
async def test_no_path_leads_out_of_the_open_folders(
    do: Do, fault_of: FaultOf, folder: Path, path: str, function: str
) -> None:
    """`..`, symbolic links and absolute paths are refused in every function, and nothing happens."""
    (folder / "sub").mkdir()
    (folder / "mine").write_text("mine")
    (folder / "link").symlink_to(folder.parent / "closed")
    (folder / "file-link").symlink_to(folder.parent / "closed" / "secret.txt")
    arguments: dict[str, Any] = {"path": path}
    if function == "write":
        arguments["content"] = "x"
    if function in ("copy", "move"):
        arguments = {"source": "mine", "target": path, "replace": True}

    fault = await fault_of(do(function, **arguments))

    assert 403 == fault.status
    assert "leads out of the folders" in str(fault.detail)
    assert "secret" == (folder.parent / "closed" / "secret.txt").read_text()


async def test_links_and_absolute_paths_inside_are_fine(do: Do, folder: Path) -> None:
    """The control: what stays inside is allowed, however it is written."""
    (folder / "a").write_text("x")
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(folder / "a")

    for path in ("link", str(folder / "a"), "sub/../a"):
        assert "x" == await do("read", path=path)


async def test_a_second_folder_is_open_too(
    invoke: Callable[..., Awaitable[Any]], make_call: Callable[..., Call], folder: Path
) -> None:
    """A path may be in any of the open folders."""
    call = make_call(folders=(folder, folder.parent / "closed"))

    assert "secret" == await invoke("files.read", call=call, path="../closed/secret.txt")


async def test_listing(do: Do, fault_of: FaultOf, folder: Path) -> None:
    """Entries come in order with type, size and time; a pattern chooses; a limit is no silent cut."""
    (folder / "b.csv").write_text("12345")
    (folder / "a").mkdir()
    (folder / "a" / "c.csv").write_text("")
    (folder / "l").symlink_to("b.csv")

    found = await do("list")
    deep = await do("list", pattern="*.csv", recursive=True)
    fault = await fault_of(do("list", limit=2))
    climb = await fault_of(do("list", pattern="../*"))

    assert [("a", "folder"), ("b.csv", "file"), ("l", "link")] == [
        (each["path"], each["type"]) for each in found
    ]
    assert (5, True) == (found[1]["size"], found[1]["modified"].endswith("+00:00"))
    assert ["a/c.csv", "b.csv"] == [each["path"] for each in deep]
    assert "more than 2 entries; raise `limit`" in str(fault.detail)
    assert "leads out of the folder" in str(climb.detail)


async def test_a_pattern_does_not_lead_through_links(do: Do, folder: Path) -> None:
    """Not even one that names the link."""
    (folder / "link").symlink_to(folder.parent / "closed")
    (folder / "a").mkdir()
    (folder / "a" / "mine").write_text("")

    assert [] == await do("list", pattern="link/*")
    assert [] == await do("list", pattern="link/*", recursive=True)
    assert ["a/mine"] == [each["path"] for each in await do("list", pattern="*/*")]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("read", {"path": "pipe"}),
        ("write", {"path": "pipe", "content": ""}),
        ("copy", {"source": "pipe", "target": "new"}),
        ("copy", {"source": "mine", "target": "pipe", "replace": True}),
        ("delete", {"path": "pipe"}),
    ],
)
async def test_what_is_no_file_is_refused_at_once(
    do: Do, fault_of: FaultOf, folder: Path, function: str, arguments: dict[str, Any]
) -> None:
    """A pipe would be waited for, in a thread that nothing can end."""
    os.mkfifo(folder / "pipe")
    (folder / "mine").write_text("")

    async with asyncio.timeout(5):
        fault = await fault_of(do(function, **arguments))

    assert 400 == fault.status
    assert "`pipe` is not an ordinary file" == fault.detail
    assert (folder / "pipe").is_fifo()


async def test_stat_tells_what_is_there(do: Do, folder: Path) -> None:
    """A missing file is an answer, not a fault."""
    (folder / "a").write_text("xy")

    there = await do("stat", path="a")

    assert (True, "file", 2) == (there["exists"], there["type"], there["size"])
    assert {"exists": False} == await do("stat", path="b")


async def test_faults_have_the_right_status(do: Do, fault_of: FaultOf, folder: Path) -> None:
    """Missing is 404, a folder in place of a file 400, broken text and base64 and modes 400."""
    (folder / "sub").mkdir()
    (folder / "bytes").write_bytes(b"\xff")
    (folder / "large").write_text("xxx")
    faults = [
        await fault_of(do("read", path="none")),
        await fault_of(do("write", path="none/a", content="")),
        await fault_of(do("copy", source="none", target="a")),
        await fault_of(do("read", path="sub")),
        await fault_of(do("write", path="sub", content="")),
        await fault_of(do("delete", path="sub")),
        await fault_of(do("read", path="bytes")),
        await fault_of(do("read", path="large", limit=2)),
        await fault_of(do("write", path="a", content="*", encoding="base64")),
        await fault_of(do("write", path="a", content="", mode="rw")),
        await fault_of(do("read", path="")),
    ]

    assert [404, 404, 404] + [400] * 8 == [fault.status for fault in faults]
    assert "`bytes` is not UTF-8 text (byte 1); read it with `encoding: base64`" == faults[6].detail


async def test_without_an_open_folder_nothing_works(
    invoke: Callable[..., Awaitable[Any]], fault_of: FaultOf
) -> None:
    """A workflow has no files unless it was given a folder."""
    fault = await fault_of(invoke("files.read", path="/etc/passwd"))

    assert "no folder is open to this workflow" == fault.detail


async def test_a_large_copy_is_exact(do: Do, folder: Path) -> None:
    """Copies go in pieces and end up equal, with the source's permissions."""
    content = os.urandom(1024) * 3000
    (folder / "a").write_bytes(content)
    (folder / "a").chmod(0o600)

    await do("copy", source="a", target="b")

    assert content == (folder / "b").read_bytes()
    assert 0o600 == (folder / "b").stat().st_mode & 0o777
    assert base64.b64encode(content).decode() == await do("read", path="b", encoding="base64")
