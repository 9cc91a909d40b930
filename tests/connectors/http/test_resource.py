"""`resource.read`: documents over HTTP and from the run's folders, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tenuto.connectors import documents, resource
from tenuto.errors import ERROR_BASE, Faulted
from tenuto.plugin import Call


async def fault_of(awaitable: Any) -> Any:
    """Return the fault that the awaitable raises."""
    with pytest.raises(Faulted) as caught:
        await awaitable
    return caught.value.fault


async def test_a_document_comes_as_text_or_as_a_value(server: Any, call: Call) -> None:
    """`text` gives the document as it stands, `json` the value of JSON and YAML alike."""
    server.routes["/a.yaml"] = lambda request, received: web.Response(
        text="on: 2025-06-18\n200: no\nflag: true\n", content_type="application/yaml"
    )
    server.routes["/a.json"] = lambda request, received: {"a": [1, None]}

    text = await resource.read(call, endpoint=server.url("/a.yaml"))
    value = await resource.read(call, endpoint=server.url("/a.yaml"), parse_="json")
    json = await resource.read(call, endpoint={"uri": server.url("/a.json")}, parse_="json")

    assert {"content": "on: 2025-06-18\n200: no\nflag: true\n", "mediaType": "application/yaml"} == text
    assert {"on": "2025-06-18", "200": "no", "flag": True} == value["content"]
    assert {"content": {"a": [1, None]}, "mediaType": "application/json"} == json


async def test_a_document_is_fetched_with_its_own_credential(server: Any, call: Call) -> None:
    """The endpoint's authentication opens the document; without it the fault has the status."""
    endpoint = {"uri": server.url("/bearer/abc"), "authentication": {"bearer": {"token": "abc"}}}

    good = await resource.read(call, endpoint=endpoint, parse_="json")
    fault = await fault_of(resource.read(call, endpoint=server.url("/bearer/abc")))

    assert {"authenticated": True} == good["content"]
    assert (ERROR_BASE + "communication", 401) == (fault.type, fault.status)


async def test_a_document_is_fetched_once_a_minute(server: Any, call: Call) -> None:
    """Many calls of the same document ask its server once; another credential asks again."""
    for _ in range(3):
        await resource.read(call, endpoint=server.url("/doc"))
    await resource.read(
        call, endpoint={"uri": server.url("/doc"), "authentication": {"bearer": {"token": "x"}}}
    )

    assert ["/doc", "/doc"] == server.paths()


async def test_redirects_of_documents_are_followed_without_the_credential(
    server: Any, make_call: Callable[..., Call]
) -> None:
    """Within an origin the credential goes along; to another origin it never does."""
    call = make_call(f"other.example:80=127.0.0.1:{server.port}")
    server.routes["/near"] = lambda request, received: web.Response(status=302, headers={"Location": "/end"})
    server.routes["/far"] = lambda request, received: web.Response(
        status=307, headers={"Location": "http://other.example/end"}
    )
    server.routes["/end"] = lambda request, received: {"credential": received.headers.get("authorization")}
    authentication = {"bearer": {"token": "abc"}}

    near = await resource.read(
        call, endpoint={"uri": server.url("/near"), "authentication": authentication}, parse_="json"
    )
    far = await resource.read(
        call, endpoint={"uri": server.url("/far"), "authentication": authentication}, parse_="json"
    )

    assert ({"credential": "Bearer abc"}, {"credential": None}) == (near["content"], far["content"])


async def test_redirects_end_and_never_leave_tls(server: Any, call: Call) -> None:
    """A circle ends after five redirects, and https is not left for http."""
    server.routes["/round"] = lambda request, received: web.Response(
        status=302, headers={"Location": "/round"}
    )
    server.routes["/down"] = lambda request, received: web.Response(
        status=302, headers={"Location": "http://api.example/x"}
    )

    circle = await fault_of(resource.read(call, endpoint=server.url("/round")))
    down = await fault_of(resource.read(call, endpoint="https://api.example/down"))

    assert "more than 5 times" in circle.detail
    assert "not https" in down.detail
    assert 7 == len(server.received)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "https://github.com/o/r/blob/v1/a/b.yaml",
            [
                "https://raw.githubusercontent.com/o/r/refs/heads/v1/a/b.yaml",
                "https://raw.githubusercontent.com/o/r/refs/tags/v1/a/b.yaml",
            ],
        ),
        (
            f"https://github.com/o/r/tree/{'a' * 40}/b.yaml",
            [f"https://raw.githubusercontent.com/o/r/{'a' * 40}/b.yaml"],
        ),
        (
            "https://github.com/o/r/functions/log/1.0.0/function.yaml",
            ["https://raw.githubusercontent.com/o/r/HEAD/functions/log/1.0.0/function.yaml"],
        ),
        ("https://github.com/o/r/releases/x", ["https://github.com/o/r/releases/x"]),
        ("https://git.example/g/s/p/-/tree/main/f.yaml", ["https://git.example/g/s/p/-/raw/main/f.yaml"]),
        ("https://a.example/o/r/tree/main/f", ["https://a.example/o/r/tree/main/f"]),
        ("https://github.com.evil.example/o/r/blob/m/f", ["https://github.com.evil.example/o/r/blob/m/f"]),
    ],
)
def test_pages_of_repositories_become_raw_links(uri: str, expected: list[str]) -> None:
    """Links to GitHub and GitLab pages lead to the raw file; other links stay."""
    assert expected == documents.raw_candidates(uri)


async def test_a_tag_is_tried_after_a_branch(server: Any, make_call: Callable[..., Call]) -> None:
    """A GitHub link may name a tag: its raw file is fetched when there is no such branch."""
    call = make_call(f"raw.githubusercontent.com:443=127.0.0.1:{server.tls_port}")

    fault = await fault_of(resource.read(call, endpoint="https://github.com/o/r/blob/v1/f.yaml"))

    assert "certificate" in fault.detail  # the name is GitHub's own, so the local server cannot pose as it


async def test_files_are_found_in_the_folders_in_order(
    tmp_path: Path, make_call: Callable[..., Call]
) -> None:
    """A relative path is looked up in each folder in turn; `file:` URIs and escapes work too."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, text in ((first, "1"), (second, "2")):
        folder.mkdir()
        (folder / "both.json").write_text(text)
    (second / "a b.yaml").write_text("x: 1")
    call = make_call(folders=(first, second))

    found = [
        (await resource.read(call, endpoint=uri))["content"]
        for uri in (
            "both.json",
            "./both.json",
            (second / "both.json").as_uri(),
            "a%20b.yaml",
            "file:both.json",
        )
    ]

    assert ["1", "1", "2", "x: 1", "1"] == found


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "%2e%2e/secret.txt",
        "link.txt",
        "linked/secret.txt",
        "{}/secret.txt",
    ],
)
async def test_nothing_outside_the_folders_is_read(
    tmp_path: Path, make_call: Callable[..., Call], uri: str
) -> None:
    """`..`, its escaped form, absolute paths and symbolic links do not lead out of the folders."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "inside.txt").symlink_to(folder / "sub" / "real.txt")
    (folder / "sub" / "real.txt").write_text("inside")
    call = make_call(folders=(folder,))

    fault = await fault_of(resource.read(call, endpoint=uri.format(tmp_path)))

    assert ERROR_BASE + "configuration" == fault.type
    assert "secret" not in fault.detail.replace("secret.txt", "")
    assert "inside" == (await resource.read(call, endpoint="inside.txt"))["content"]


@pytest.mark.parametrize(
    "uri", ["ftp://a.example/x", "data:,x", "file://other.example/etc/x", "", "a\x00b", "/dev/null"]
)
async def test_other_places_are_refused(tmp_path: Path, make_call: Callable[..., Call], uri: str) -> None:
    """Only http, https and local files are read, and only regular files."""
    fault = await fault_of(resource.read(make_call(folders=(tmp_path,)), endpoint=uri))

    assert ERROR_BASE + "configuration" == fault.type


async def test_the_first_part_of_a_file_uri_is_no_host(
    tmp_path: Path, make_call: Callable[..., Call]
) -> None:
    """The standard's examples write `file://app/greet.proto` and mean the path `app/greet.proto`."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "greet.txt").write_text("hello")
    call = make_call(folders=(tmp_path,))

    assert "hello" == (await resource.read(call, endpoint="file://app/greet.txt"))["content"]
    assert (
        "hello"
        == (await resource.read(call, endpoint=f"file://localhost{tmp_path}/app/greet.txt"))["content"]
    )


async def test_a_large_file_is_refused(tmp_path: Path, make_call: Callable[..., Call]) -> None:
    """A document over 4 MiB is a fault that names the limit; one of 4 MiB is read."""
    limit = documents.DOCUMENT_LIMIT_BYTES
    (tmp_path / "large.txt").write_bytes(b"x" * (limit + 1))
    (tmp_path / "fits.txt").write_bytes(b"x" * limit)
    call = make_call(folders=(tmp_path,))

    fault = await fault_of(resource.read(call, endpoint="large.txt"))

    assert "document_bytes" in fault.detail
    assert limit == len((await resource.read(call, endpoint="fits.txt"))["content"])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: &a [x]\nb: *a\n", "aliases are not read"),
        ("a: [", "not valid YAML in line"),
        ("a: !!python/object:os.system x", "not valid YAML"),
        ('{"a": ', "not valid YAML"),
        ("[" * 5000, "document_depth"),
        ("- " * 5000, "document_depth"),
    ],
)
async def test_a_document_that_cannot_be_parsed_is_a_validation_fault(text: str, word: str) -> None:
    """The fault says what is wrong; aliases, objects and endless nesting are refused."""
    with pytest.raises(Faulted, match=word) as caught:
        await documents.parse(documents.Document(text, "text/plain", "file:///x"))

    assert ERROR_BASE + "validation" == caught.value.fault.type


async def test_other_work_goes_on_while_a_document_is_parsed() -> None:
    """A YAML document of some megabytes takes seconds."""
    text = "".join(f"a{number}: {{b: [1, 2, 3], c: some text}}\n" for number in range(5000))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turn())
    await asyncio.sleep(0)
    before = turns
    value = await documents.parse(documents.Document(text, "application/yaml", "file:///x"))
    turning.cancel()

    assert 5000 == len(value)
    assert turns - before > 10
