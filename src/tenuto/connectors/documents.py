"""External documents: fetched over HTTP or read from the run's folders, and parsed safely."""

from __future__ import annotations

import asyncio
import codecs
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit
from weakref import WeakKeyDictionary

import msgspec
import yaml

from tenuto.connectors.arguments import endpoint_of, is_place
from tenuto.connectors.authentication import send_as
from tenuto.connectors.content import charset, is_json, media_type
from tenuto.connectors.http import check_status
from tenuto.connectors.http_client import HttpClient, Request, Response, client_for
from tenuto.connectors.http_form import parse_uri, place_of
from tenuto.plugin import Call, communication_fault, configuration_fault, validation_fault

DOCUMENT_LIMIT_BYTES: Final = 4 * 1024 * 1024
DOCUMENT_SECONDS: Final = 60.0
DOCUMENT_LIMIT: Final = 64
REDIRECT_LIMIT: Final = 5
DEPTH_LIMIT: Final = 256

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_GITHUB_PAGES: Final = frozenset(
    {"actions", "commit", "commits", "issues", "pull", "pulls", "raw", "releases", "wiki"}
)
_MEDIA_TYPES: Final = {
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".js": "text/javascript",
    ".py": "text/x-python",
    ".proto": "text/x-protobuf",
    ".txt": "text/plain",
    ".xml": "application/xml",
}


class Document(msgspec.Struct, frozen=True):
    """A fetched document: its text, its media type, and the URI it really came from."""

    text: str
    media_type: str
    uri: str


async def fetch(call: Call, endpoint: str | Mapping[str, Any]) -> Document:
    """Return the document at an endpoint: an http, https or `file:` URI, or a path in `call.folders`."""
    uri, authentication = endpoint_of(endpoint)
    if not uri.lower().startswith(("http:", "https:")):
        if _SCHEME.match(uri) and not uri.lower().startswith("file:"):
            raise configuration_fault(f"`{uri}` cannot be read: the schemes are http, https and file")
        return await asyncio.to_thread(_read_file, uri, call.folders)
    kept = _KEPT.setdefault(await client_for(call.network), OrderedDict())
    key = sha256(msgspec.json.encode([uri, authentication], order="deterministic")).hexdigest()
    now = asyncio.get_running_loop().time()
    if key in kept and kept[key][0] > now:
        return kept[key][1]
    document = _document(await _get_first(call, raw_candidates(uri), authentication))
    kept[key] = (now + DOCUMENT_SECONDS, document)
    while len(kept) > DOCUMENT_LIMIT:
        kept.popitem(last=False)
    return document


_KEPT: Final[WeakKeyDictionary[HttpClient, OrderedDict[str, tuple[float, Document]]]] = WeakKeyDictionary()


# ── over HTTP ────────────────────────────────────────────────────────────────────────────


def raw_candidates(uri: str) -> list[str]:
    """Return the URIs to try for a document; links to GitHub and GitLab pages become raw ones.

    >>> raw_candidates("https://github.com/a/b/tree/main/functions/log/1.0.0/function.yaml")[0]
    'https://raw.githubusercontent.com/a/b/refs/heads/main/functions/log/1.0.0/function.yaml'
    >>> raw_candidates("https://gitlab.com/a/b/-/blob/main/f.yaml")
    ['https://gitlab.com/a/b/-/raw/main/f.yaml']
    """
    parts = urlsplit(uri)
    if re.search(r"/-/(tree|blob)/", parts.path):
        return [uri.replace("/-/tree/", "/-/raw/", 1).replace("/-/blob/", "/-/raw/", 1)]
    steps = parts.path.strip("/").split("/")
    if (
        parts.scheme != "https"
        or parts.netloc.lower() not in ("github.com", "www.github.com")
        or len(steps) < 3
    ):
        return [uri]
    owner, repository, *rest = steps
    root = f"https://raw.githubusercontent.com/{owner}/{repository}"
    if rest[0] in ("tree", "blob") and len(rest) > 2:
        reference, path = rest[1], "/".join(rest[2:])
        if _COMMIT.fullmatch(reference):
            return [f"{root}/{reference}/{path}"]
        return [f"{root}/refs/heads/{reference}/{path}", f"{root}/refs/tags/{reference}/{path}"]
    if rest[0] in _GITHUB_PAGES:
        return [uri]
    return [f"{root}/HEAD/{'/'.join(rest)}"]


async def _get_first(call: Call, uris: list[str], authentication: Mapping[str, Any] | None) -> Response:
    """Return the first answer that is not 404, or raise what the first one deserves."""
    responses = []
    for uri in uris:
        response = await _get(call, uri, authentication)
        if response.status != 404:
            check_status("get", response, authentication)
            return response
        responses.append(response)
    check_status("get", responses[0], authentication)
    return responses[0]


async def _get(call: Call, uri: str, authentication: Mapping[str, Any] | None) -> Response:
    """Get a document and follow redirects; the credential stays with the origin it was given for."""
    credential, current = authentication, uri
    for _ in range(REDIRECT_LIMIT + 1):
        request = Request(method="get", uri=current, headers=(("Accept", "*/*"),))
        response = await send_as(call, request, credential, limit_bytes=DOCUMENT_LIMIT_BYTES)
        location = response.header("location")
        if response.status not in (301, 302, 303, 307, 308) or not location:
            return response
        before, after = parse_uri(current), parse_uri(urljoin(current, location))
        if before.scheme == "https" and after.scheme != "https":
            raise communication_fault(
                f"{place_of(current)} points to {place_of(str(after))}, which is not https", 502
            )
        if before.origin() != after.origin():
            credential = None
        current = str(after)
    raise communication_fault(f"{place_of(uri)} was redirected more than {REDIRECT_LIMIT} times", 502)


def _document(response: Response) -> Document:
    content_type = response.header("content-type")
    return Document(
        _text(response.body, charset(content_type), place_of(response.uri)),
        media_type(content_type) or "application/octet-stream",
        response.uri,
    )


def _text(data: bytes, encoding: str, source: str) -> str:
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode(encoding)
    except UnicodeDecodeError as error:
        raise validation_fault(
            f"{source} is not text in {encoding}: {error.reason} at byte {error.start}"
        ) from error


# ── from files ───────────────────────────────────────────────────────────────────────────


def _read_file(uri: str, folders: tuple[Path, ...]) -> Document:
    path = _path_of(uri)
    if not folders:
        raise configuration_fault(f"`{uri}` cannot be read: this run has no folder to look it up in")
    for folder in folders:
        root = folder.resolve()
        candidate = (root / path).resolve()
        if not candidate.is_relative_to(root):
            continue
        try:
            if stat.S_ISREG(candidate.stat().st_mode):
                return _read(candidate)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise configuration_fault(f"`{uri}` cannot be read: {error.strerror}") from error
    looked = ", ".join(str(folder) for folder in folders)
    raise configuration_fault(f"there is no file `{uri}` within {looked}")


def _path_of(uri: str) -> Path:
    text = uri
    if uri.lower().startswith("file:"):
        parts = urlsplit(uri)
        # No other host's files can be meant, and the standard itself writes `file://app/greet.proto`.
        text = parts.path if parts.netloc in ("", "localhost") else parts.netloc + parts.path
    name = unquote(text.partition("#")[0])
    if not name or "\x00" in name:
        raise configuration_fault(f"{uri!r} names no file")
    return Path(name)


def _read(path: Path) -> Document:
    with path.open("rb") as file:
        data = file.read(DOCUMENT_LIMIT_BYTES + 1)
    if len(data) > DOCUMENT_LIMIT_BYTES:
        raise configuration_fault(
            f"{path} is larger than {DOCUMENT_LIMIT_BYTES} bytes (limit `document_bytes`)"
        )
    kind = _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return Document(_text(data, "utf-8", str(path)), kind, path.as_uri())


# ── parsing ──────────────────────────────────────────────────────────────────────────────


class _Loader(yaml.CSafeLoader):
    """YAML as JSON: no dates, string keys, and only `true` and `false` are booleans."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Construct a value; the keys of an object become strings."""
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    key.tag = "tag:yaml.org,2002:str"
        return super().construct_object(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("int", "float", "null")
    ]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")
)


# A tag that is written out could ask for a date or a set, which are no JSON.
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.CSafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("bool", "float", "int", "map", "null", "seq", "str")
}


async def parse(document: Document) -> Any:
    """Return the value of a JSON or YAML document, or raise a `validation` fault that says where it fails.

    In a thread: YAML of the largest size takes seconds, in which all other runs would stand still.
    """
    return await asyncio.to_thread(_parse, document)


def _parse(document: Document) -> Any:
    where = place_of(document.uri)
    text = document.text.lstrip()
    if is_json(document.media_type) or text[:1] in ("{", "["):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            if text[:1] not in ("{", "[") or is_json(document.media_type):
                raise validation_fault(f"{where} is not valid JSON: {error}") from error
    try:
        _refuse_traps(document.text)
        return yaml.load(document.text, _Loader)  # noqa: S506  # a safe loader, made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}" if mark else ""
        raise validation_fault(
            f"{where} is not valid YAML{place}: {error.problem or error.context}"
        ) from error
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        raise validation_fault(f"{where} is neither valid JSON nor YAML: {error}") from error


def _refuse_traps(text: str) -> None:
    """Raise for an alias, a few of which can stand for gigabytes, and for endless nesting."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _trap("aliases are not read", event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_LIMIT:
            raise _trap(f"it is nested deeper than {DEPTH_LIMIT} (limit `document_depth`)", event)


def _trap(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    error = yaml.MarkedYAMLError(None, None, problem)
    error.problem_mark = event.start_mark  # type: ignore[assignment]  # the C parser's marks are alike
    return error


async def fetch_object(call: Call, endpoint: Any, what: str) -> tuple[dict[str, Any], str]:
    """Return a document that must be an object, and the URI it came from; parsed once for each content."""
    document = await fetch(call, endpoint)
    digest = sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest() + document.media_type
    value = _PARSED.get(digest)
    if value is None:
        parsed = await parse(document)
        if not isinstance(parsed, dict):
            raise validation_fault(f"{place_of(document.uri)} is no {what} document: it is not an object")
        value = _PARSED[digest] = parsed
        while len(_PARSED) > DOCUMENT_LIMIT:
            _PARSED.popitem(last=False)
    return value, document.uri


_PARSED: Final[OrderedDict[str, dict[str, Any]]] = OrderedDict()


@contextmanager
def reading(uri: str, what: str) -> Iterator[None]:
    """Raise a `validation` fault for a document that is built otherwise than its kind demands.

    Where that matters the readers say themselves what is wrong and where; this is for the rest.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise validation_fault(
            f"{place_of(uri)} is no valid {what} document: something in it is not built as {what} says"
        ) from error


def follow(document: Mapping[str, Any], node: Any) -> Any:
    """Return what a node stands for: itself, or what its local `$ref` leads to."""
    for _ in range(32):
        reference = node.get("$ref") if isinstance(node, Mapping) else None
        if not isinstance(reference, str):
            return node
        node = _pointed(document, reference)
    raise validation_fault("the references of the document lead in a circle")


def _pointed(document: Mapping[str, Any], reference: str) -> Any:
    if not reference.startswith("#"):
        raise configuration_fault(
            f"the reference `{reference}` leads out of the document: only local ones are read"
        )
    node: Any = document
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and name in node:
            node = node[name]
        elif isinstance(node, list) and is_place(name, node):
            node = node[int(name)]
        else:
            raise validation_fault(f"the reference `{reference}` leads nowhere in the document")
    return node
