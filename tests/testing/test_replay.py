"""Recorded histories: written without secrets, played over the code of now, judged in one clear line each."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tenuto import Workflow, call, log, patched, secret, sleep, step, workflow
from tenuto.errors import Invalid, InvalidInput, NotFound
from tenuto.operations.recorded import FORMAT, RunHistory, read_history, recorded_history
from tenuto.testing import Environment, Error, ReplayMismatch, check_replay
from tenuto.testing.replay import read

HEAD = "document: {dsl: '1.0.3', namespace: test, name: doc, version: '1.0.0'}\n"
DOCUMENT = HEAD + (
    "do:\n  - a: {set: {n: 1}}\n  - b: {wait: P1D}\n"
    "  - c: {call: http, with: {method: get, endpoint: 'https://example.com'}}\n"
)


@step
async def reserve(item: str) -> str:
    """First."""
    return f"reserved {item}"


@step
async def check(item: str) -> bool:
    """Later inserted."""
    return True


@step
async def pay(item: str, card: str) -> str:
    """Second."""
    return f"paid {item} with {card}"


def bought(change: str = "") -> Workflow[..., Any]:
    """The same workflow, with a change."""

    @workflow(name="bought")
    async def body(item: str, card: str, guests: list[dict[str, Any]] | None = None) -> str:
        if change == "inserted" or (change == "patched" and patched("check")):
            await check(item)
        await reserve(item)
        if change == "dropped":
            return "done"
        if change == "slept":
            await sleep(1)
        return await pay(item, card)

    return body


async def history_of(
    env: Environment, run: Any, *args: Any, masks: tuple[str, ...] = (), **secrets: Any
) -> RunHistory:
    """Run something, and record it."""
    handle = await env.start(run, *args)
    await env.settle(handle)
    journal = (await env._opened()).desk.journal
    return await recorded_history(journal, await handle.row(), "0.1.0", secrets=secrets, masks=masks)


async def test_a_history_fits_the_code_that_made_it(tenuto_env: Environment, tmp_path: Path) -> None:
    """Also read again from a file, and over code that was changed behind a patch."""
    history = await history_of(tenuto_env, bought(), "tea", "4711")
    file = tmp_path / "bought.jsonl"
    file.write_bytes(history.encode())

    assert history == read(file)
    check_replay(history, bought())
    check_replay(file, bought("patched"))
    check_replay(str(file), bought())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("inserted", r"(?s)at entry 1.*- started /reserve \(step\).*\+ started /check \(step\)"),
        ("slept", r"(?s)at entry 2.*- started /pay \(step\).*\+ started /sleep"),
        ("dropped", r"(?s)at entry 2.*- started /pay \(step\).*nothing more"),
    ],
)
async def test_changed_code_is_told_with_the_difference(
    tenuto_env: Environment, change: str, told: str
) -> None:
    """At which entry, what was recorded, what the code asks for now, and the ways out."""
    history = await history_of(tenuto_env, bought(), "tea", "4711")

    with pytest.raises(ReplayMismatch, match=told) as mismatch:
        check_replay(history, bought(change))
    assert "patched(" in str(mismatch.value)


async def test_documents_are_compared_likewise(tenuto_env: Environment) -> None:
    """Over the recorded text, or over the file of now."""
    tenuto_env.replace("http.request", {"ok": True})
    history = await history_of(tenuto_env, DOCUMENT)

    check_replay(history)
    check_replay(history, DOCUMENT)
    with pytest.raises(ReplayMismatch, match=r"(?s)at entry 1.*- started /do/1/b.*\+ started /do/1/other"):
        check_replay(history, DOCUMENT.replace("b: {wait", "other: {wait"))
    with pytest.raises(ReplayMismatch, match="completed"):
        check_replay(history, DOCUMENT + "  - d: {wait: P1D}\n")


async def test_failed_and_open_runs_are_histories_too(tenuto_env: Environment) -> None:
    """What was recorded so far has to fit."""
    tenuto_env.replace("http.request", Error(500, detail="down"))
    check_replay(await history_of(tenuto_env, DOCUMENT))
    listening = HEAD + "do:\n  - l: {listen: {to: {one: {with: {type: never}}}}}\n"
    history = await history_of(tenuto_env, listening)

    assert history.run.status == "waiting"
    check_replay(history)


# ── what must not be in it ───────────────────────────────────────────────────────────────


@workflow
async def careless(card: dict[str, Any], guests: list[dict[str, Any]]) -> Any:
    """Lets data go everywhere."""
    log(f"paid with {card['number']}")
    answer = await call(
        "http.request",
        {"method": "get", "endpoint": "https://example.com", "headers": {"a": secret("token")}},
    )
    return [answer, card, guests]


async def test_secrets_and_masked_fields_are_not_in_it() -> None:
    """Nor where they turned up again; what is masked keeps its kind, so that the code can read it."""
    card = {"number": "4929-1234-5678", "cvc": 987654, "name": "Ada"}
    guests = [{"mail": "grace@example.com"}, {"mail": "alan@example.com"}]
    async with Environment(secrets={"token": "tok-s3cr3t", "other": "elsewhere-s3cr3t"}) as env:
        env.replace("http.request", {"echo": "elsewhere-s3cr3t", "seen": 987654})
        history = await history_of(
            env,
            careless,
            card,
            guests,
            masks=("/card/number", "/card/cvc", "/guests/*/mail"),
            token="tok-s3cr3t",
            other="elsewhere-s3cr3t",
        )
    text = history.encode().decode()

    for hidden in ("tok-s3cr3t", "elsewhere", "4929", "987654", "grace@", "alan@"):
        assert hidden not in text
    assert '"number":"***","cvc":0,"name":"Ada"' in text
    check_replay(history, careless)
    assert read_history(history.encode(), "x") == history


async def test_a_secret_in_a_documents_own_text_is_not_in_it(tenuto_env: Environment) -> None:
    """Somebody wrote it there in place of a reference."""
    written = HEAD + "do:\n  - a: {set: {key: tok-s3cr3t}}\n"
    control = await history_of(tenuto_env, written)
    history = await history_of(tenuto_env, written, token="tok-s3cr3t")

    assert "tok-s3cr3t" in control.encode().decode()
    assert "tok-s3cr3t" not in history.encode().decode()
    assert "key: ***" in history.run.source


async def test_without_masks_the_data_is_there(tenuto_env: Environment) -> None:
    """Control: the test before would notice."""
    tenuto_env.replace("http.request", {})
    env = Environment(secrets={"token": "tok-s3cr3t"})
    env.replace("http.request", {})
    async with env:
        history = await history_of(env, careless, {"number": "4929-1234-5678"}, [])
    text = history.encode().decode()

    assert "4929-1234-5678" in text
    assert ":token\\u0001" not in text  # arguments are not recorded at all
    assert "tok-s3cr3t" not in text


@pytest.mark.parametrize("mask", ["card", "/crad/number", "/card/number/x", "/guests/7"])
async def test_a_mask_for_nothing_is_refused(tenuto_env: Environment, mask: str) -> None:
    """Or somebody would believe that the field is masked."""
    tenuto_env.replace("http.request", {})
    handle = await tenuto_env.start(bought(), "tea", "1", [{}])
    await handle.result()
    journal = (await tenuto_env._opened()).desk.journal

    with pytest.raises(InvalidInput, match=r"field|nothing at"):
        await recorded_history(journal, await handle.row(), "0.1.0", masks=[mask])


# ── bad histories ────────────────────────────────────────────────────────────────────────


async def test_a_history_from_a_newer_version_gets_one_clear_error(tenuto_env: Environment) -> None:
    """With the way out: which version to install."""
    history = await history_of(tenuto_env, bought(), "tea", "4711")
    head, *rest = history.encode().splitlines()
    newer = {**json.loads(head), "tenuto-history": FORMAT + 1, "runtime": "9.1.0"}
    with pytest.raises(Invalid, match=r"format 2, written by Tenuto 9\.1\.0") as told:
        read_history(b"\n".join([json.dumps(newer).encode(), *rest]), "h.jsonl")
    assert told.value.hint == "install Tenuto 9.1.0 or newer"

    started = msgspec.structs.replace(history.entries[0].event, runtime="9.0.0")
    entries = (msgspec.structs.replace(history.entries[0], event=started), *history.entries[1:])
    with pytest.raises(Invalid, match=r"recorded by Tenuto 9\.0\.0"):
        check_replay(msgspec.structs.replace(history, entries=entries), bought())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no recorded history"),
        (b"{}", "no recorded history"),
        (b"nonsense", "no recorded history"),
        (b'{"tenuto-history": 1, "run": {}, "document": {}}', ":1: the header is damaged"),
    ],
)
def test_what_is_no_history_is_told(content: bytes, told: str) -> None:
    """By the file's name and line."""
    with pytest.raises(Invalid, match=told):
        read_history(content, "h.jsonl")


async def test_a_damaged_entry_is_told_by_its_line(tenuto_env: Environment) -> None:
    """The line counts from 1, with the header."""
    lines = (await history_of(tenuto_env, bought(), "tea", "1")).encode().splitlines()
    lines[2] = b'["strange", 1]'

    with pytest.raises(Invalid, match=r"h\.jsonl:3: "):
        read_history(b"\n".join(lines), "h.jsonl")
    with pytest.raises(NotFound, match="there is no file"):
        read("nowhere.jsonl")


def test_event_loops_are_not_needed(tmp_path: Path) -> None:
    """`check_replay` is a plain function: it works in any test."""

    async def record() -> RunHistory:
        async with Environment() as env:
            return await history_of(env, bought(), "tea", "1")

    check_replay(asyncio.run(record()), bought())
