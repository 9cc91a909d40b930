"""Test files: what stands in a `*.test.yaml` file, read and checked with the place of each mistake.

workflow: order.yaml
cases:
  - name: a paid order is shipped
    input: {id: 7}
    stubs: [{call: http, returns: {paid: true}}]
    expect: {output: {shipped: true}}
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto.engine.model import Json
from tenuto.engine.ports import DocumentRow
from tenuto.errors import InvalidDocument, NotFound, TenutoError
from tenuto.language.duration import duration_seconds
from tenuto.language.grammar.walk import At
from tenuto.language.load import Source, load
from tenuto.language.tasks.endpoints import STANDARD_CALLS
from tenuto.runtime.catalog import Catalog
from tenuto.testing.answers import Error
from tenuto.testing.cases_grammar import TEST_FILE, CaseWalk
from tenuto.testing.clock import START_TIME
from tenuto.testing.documents import document_row
from tenuto.testing.doubles import name_of
from tenuto.testing.stage import installed

SUFFIXES: Final = (".test.yaml", ".test.yml")
_RUN: Final = {"shell": "process.shell", "script": "process.script", "container": "process.container"}


class Stub(msgspec.Struct, frozen=True):
    """An answer for calls of `function` whose arguments match `arguments`, so many `times` at most."""

    function: str
    arguments: Json
    answer: Any
    takes_seconds: float | None
    times: int | None


class SentEvent(msgspec.Struct, frozen=True):
    """An event, and how long after what came before it is sent."""

    attributes: dict[str, Any]
    after_seconds: float


class Case(msgspec.Struct, frozen=True):
    """One test: `file` and `line` say where it stands; `expect` is as it is written there."""

    file: TestFile
    name: str
    line: int
    input: Json
    secrets: dict[str, Json]
    stubs: tuple[Stub, ...]
    events: tuple[SentEvent, ...]
    expect: dict[str, Json]

    @property
    def id(self) -> str:
        """How the case is called on the command line: `order.test.yaml: a paid order is shipped`."""
        return f"{self.file.name}: {self.name}"


class TestFile(msgspec.Struct):
    """A test file: the workflow that it tests, the documents beside it, its cases."""

    __test__ = False

    name: str
    text: str
    workflow: DocumentRow
    documents: tuple[DocumentRow, ...]
    start: datetime
    allow: tuple[str, ...]
    cases: tuple[Case, ...] = ()


def find_test_files(path: Path) -> list[Path]:
    """Return the path itself, or for a folder all test files below it, in order."""
    if not path.is_dir():
        return [path]
    return [
        file
        for file in sorted(path.rglob("*"))
        if file.name.endswith(SUFFIXES)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]


def read_test_file(path: Path) -> TestFile:
    """Read a test file and the documents that it names.

    Raises:
        InvalidDocument: It has mistakes, or one of the documents has; all of them are told.
        NotFound: There is no such file.
    """
    try:
        source = load(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r}", hint="is the path right?") from None
    walk = CaseWalk(source, TEST_FILE)
    TEST_FILE.check(source.data, (), walk)
    _complain(path, walk)
    return _Reader(path, source, walk).read()


def _complain(path: Path, walk: CaseWalk) -> None:
    errors = [problem for problem in walk.problems() if problem.severity == "error"]
    if errors:
        raise InvalidDocument(str(path), errors)


class _Reader:
    """Makes of a file's data what is run; what it names has to be there."""

    def __init__(self, path: Path, source: Source, walk: CaseWalk) -> None:
        self._folder = path.parent
        self._path = path
        self._source = source
        self._walk = walk
        self._catalog: Catalog = installed()

    def read(self) -> TestFile:
        """Return the whole file; raises `InvalidDocument`."""
        data = self._source.data
        workflow = self._document(data["workflow"], ("workflow",))
        beside = list(self._beside(data.get("with") or ()))
        shared = self._stubs(data.get("stubs") or (), ("stubs",))
        cases = [
            (each, self._stubs(each.get("stubs") or (), ("cases", index, "stubs")), index)
            for index, each in enumerate(data["cases"])
        ]
        self._require_names(data["cases"])
        _complain(self._path, self._walk)
        assert workflow is not None
        start = datetime.fromisoformat(data["start"]) if "start" in data else START_TIME
        file = TestFile(
            str(self._path),
            self._source.text,
            workflow,
            tuple(beside),
            start,
            tuple(data.get("allow") or ()),
        )
        secrets = data.get("secrets") or {}
        file.cases = tuple(
            self._case(file, each, secrets, (*stubs, *shared), index) for each, stubs, index in cases
        )
        return file

    def _case(
        self,
        file: TestFile,
        data: dict[str, Any],
        secrets: dict[str, Json],
        stubs: tuple[Stub, ...],
        index: int,
    ) -> Case:
        line, _ = self._source.position_at(("cases", index))
        return Case(
            file,
            data["name"],
            line,
            data.get("input", {}),
            {**secrets, **(data.get("secrets") or {})},
            stubs,
            tuple(map(_event, data.get("events") or ())),
            data["expect"],
        )

    def _document(self, name: str, at: At) -> DocumentRow | None:
        try:
            return document_row(self._folder / name)
        except InvalidDocument as error:
            self._walk.error(
                "invalid-workflow", at, f"`{name}` is not valid: {error.message}", error.hint or ""
            )
        except TenutoError as error:
            self._walk.error("no-workflow", at, f"{error.message}.", error.hint or "")
        return None

    def _beside(self, names: Iterable[str]) -> Iterable[DocumentRow]:
        for index, name in enumerate(names):
            path = self._folder / name
            files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
            for file in files:
                if path.is_dir() and (file.name.endswith(SUFFIXES) or not _is_document(file)):
                    continue
                row = self._document(str(file.relative_to(self._folder)), ("with", index))
                if row is not None:
                    yield row

    def _stubs(self, stubs: Iterable[dict[str, Any]], at: At) -> list[Stub]:
        return [self._stub(data, (*at, index)) for index, data in enumerate(stubs)]

    def _stub(self, data: dict[str, Any], at: At) -> Stub:
        takes = duration_seconds(data["takes"]) if "takes" in data else None
        answer: Any = data.get("returns")
        if "fails" in data:
            answer = Error(**data["fails"])
        if data.get("hangs"):
            takes = float("inf")
        function = full_name(data["call"], self._catalog)
        self._require_function(data["call"], function, (*at, "call"))
        return Stub(function, data.get("with", {}), answer, takes, data.get("times"))

    def _require_function(self, written: str, function: str, at: At) -> None:
        if function.startswith("python."):
            return
        try:
            self._catalog.find(function)
        except TenutoError as error:
            self._walk.error("unknown-function", at, f"`{written}`: {error.message}.", error.hint or "")

    def _require_names(self, cases: list[dict[str, Any]]) -> None:
        seen: set[str] = set()
        for index, case in enumerate(cases):
            if case["name"] in seen:
                message = f"There are two cases of the name `{case['name']}`."
                self._walk.error("duplicate-name", ("cases", index, "name"), message, "Rename one of them.")
            seen.add(case["name"])


def full_name(written: str, catalog: Catalog) -> str:
    """Return the function behind what a test file or a document calls: `http` is `http.request`."""
    name = written.removesuffix("@default").partition(":")[0]
    return STANDARD_CALLS.get(name) or _RUN.get(name) or name_of(name, catalog)


def _is_document(file: Path) -> bool:
    try:
        data = load(file.read_bytes(), str(file)).data
    except InvalidDocument:
        return True
    return isinstance(data, dict) and ("document" in data or "do" in data)


def _event(data: dict[str, Any]) -> SentEvent:
    attributes = {name: value for name, value in data.items() if name != "after"}
    return SentEvent(attributes, duration_seconds(data["after"]) if "after" in data else 0.0)
