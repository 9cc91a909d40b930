"""What users give at the doors: options, the environment, secrets, files of tests, arguments of workflows in Python."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import os
import re
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from tenuto.app import load_command, wired
from tenuto.authoring.data import Codec
from tenuto.cli.files import parsed, read_input, read_secrets
from tenuto.cli.root import Root, run_command_line
from tenuto.governance.secrets import redact, texts_in
from tenuto.runtime.network import parse_resolve
from tenuto.settings import VARIABLES, Settings, read_settings
from tenuto.testing.cases import read_test_file
from tests.reliability.fuzzing.language import ROOT, texts
from tests.reliability.fuzzing.target import Target

HEADER: Final = "document: {dsl: '1.0.3', namespace: test, name: flow, version: '1.0.0'}\n"


@functools.cache
def _folder() -> Path:
    """Return a folder for files that are read; the process that called for it throws it away."""
    return Path(tempfile.mkdtemp(prefix="tenuto-fuzz-"))


def _as_argument(data: bytes) -> str:
    """Return what a program sees of an argument: the system has no null bytes in them."""
    return os.fsdecode(data.replace(b"\0", b"?"))


def read_option(data: bytes) -> None:
    """Read `--input` as it is typed."""
    text = _as_argument(data)
    if not text.startswith(("@", "-")):
        read_input(text)


def read_file(data: bytes) -> None:
    """Read what `--input @FILE` and standard input give."""
    for name in ("input.json", "input.yaml", "standard input"):
        with contextlib.suppress(msgspec.EncodeError):
            msgspec.json.encode(parsed(data, name))


def read_secrets_file(data: bytes) -> None:
    """Read a file of secrets; what it says of a mistake must not show what stands there."""
    file = _folder() / "secrets.yaml"
    file.write_bytes(data)
    values = read_secrets(str(file))
    hidden = list(texts_in(values))
    redact({"a": "a text with " + " and ".join(hidden[:20])}, hidden)


def read_environment(data: bytes) -> None:
    """Read the settings in an environment."""
    lines = _as_argument(data).split("\n")
    read_settings(dict(line.partition("=")[::2] for line in lines))


def read_resolve(data: bytes) -> None:
    """Read `--resolve`."""
    parse_resolve(_as_argument(data))


def read_tests(data: bytes) -> None:
    """Read a file of test cases; what is beside it is there."""
    folder = _folder()
    flow = folder / "flow.yaml"
    if not flow.exists():
        flow.write_text(HEADER + "do: [{a: {set: {x: 1}}}]\n")
    file = folder / "flow.test.yaml"
    file.write_bytes(data)
    for case in read_test_file(file).cases:
        assert case.line >= 1
        assert case.name


def command_line(data: bytes) -> None:
    """Validate a file with the command itself: an answer in its own words and a status, never a traceback."""
    file = _folder() / "x.yaml"
    file.write_bytes(data)
    status, out, err = _called("validate", str(file))
    assert status in {0, 1, 2}, f"status {status}: {err[-200:]}"
    assert "Traceback" not in out + err, err[-200:]
    if status:
        assert "x.yaml:" in out + err, "no place is named"


def _called(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_command_line(Root(load_command), wired(Settings(color=False)), list(arguments))
        except SystemExit as left:
            return int(left.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("the command did not end")


# ── arguments of workflows in Python ──────────────────────────────────────────────────────


class Colour(enum.Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of an order."""

    item: str
    count: int = 1
    price: decimal.Decimal = decimal.Decimal(0)
    colour: Colour | None = None


@dataclasses.dataclass(frozen=True)
class Order:
    """An order, with one of everything."""

    id: uuid.UUID
    lines: list[Line]
    at: datetime.datetime
    due: datetime.timedelta
    notes: dict[str, bytes]
    kind: Literal["a", "b"] | int
    tags: frozenset[str] = frozenset()
    parent: Order | None = None


TYPES: Final[tuple[Any, ...]] = (
    *(Order, Line, Any, int, float, str, bytes, bool, None, list[Line], dict[int, float], tuple[int, str]),
    *(set[int], datetime.date, datetime.time, decimal.Decimal, Colour, int | str | None, Line | Colour),
)
SAMPLES: Final[tuple[Any, ...]] = (
    Order(
        id=uuid.UUID(int=7),
        lines=[Line("tea", 2, decimal.Decimal("1.50"), Colour.RED), Line("cup")],
        at=datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        due=datetime.timedelta(days=1, seconds=2),
        notes={"a": b"\x00\xff"},
        kind="a",
        tags=frozenset({"x"}),
    ),
    Line("tea"),
)


@functools.cache
def codecs() -> tuple[Codec[Any], ...]:
    """Return what writes and reads each type."""
    return tuple(Codec(kind, "an argument") for kind in TYPES)


def read_arguments(data: bytes) -> None:
    """Read JSON as values of types; what is read is what is written again."""
    try:
        value = msgspec.json.decode(data)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return
    choice = value.pop("type", 0) if isinstance(value, dict) else 0
    codec = codecs()[choice % len(TYPES) if isinstance(choice, int) else 0]
    given = value.get("value") if isinstance(value, dict) else value
    read = codec.decode(given)
    back = codec.encode(read)
    assert codec.encode(codec.decode(back)) == back, "a value comes back otherwise"


def _arguments() -> list[bytes]:
    made = [(number, codecs()[number].encode(value)) for number, value in enumerate(SAMPLES)]
    made += [(number, None) for number in range(len(TYPES))]
    return [msgspec.json.encode({"type": number, "value": value}) for number, value in made]


# ── targets ───────────────────────────────────────────────────────────────────────────────


def _test_files() -> list[bytes]:
    sample = (ROOT / "examples/refunds/refund.test.yaml").read_text()
    page = (ROOT / "docs/reference/test-files.md").read_text()
    blocks = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    return [re.sub(r"workflow: \S+", "workflow: flow.yaml", text).encode() for text in (sample, *blocks)]


def _environments() -> list[bytes]:
    names = [name.replace("<NAME>", "API_TOKEN") for name in VARIABLES]
    values = ["1", "", "a.example:443=127.0.0.1:8443", '{"a": {"b": [1]}}', "/tmp/x"]
    return [f"{name}={value}".encode() for name in names for value in values] + [
        b"A=1\nTENUTO_EXPRESSION_MS=50"
    ]


def _data(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [msgspec.json.encode(value) for value in values]


_INPUT: Final = _data({"name": "Ada", "n": [1, 2.5, None, {"a": "é"}]}, [], "text", 7)

TARGETS: Final = (
    Target("--input", read_option, _INPUT),
    Target("files of input", read_file, _INPUT, trees=True),
    Target(
        "files of secrets",
        read_secrets_file,
        _data({"token": "s3cret", "mail": {"user": "ada", "password": "x" * 40, "port": 25}, "n": 12345}),
        trees=True,
        words=("token: s3cret\n", "- ", "? ", "|\n  "),
    ),
    Target("environment", read_environment, _environments, words=VARIABLES),
    Target(
        "--resolve",
        read_resolve,
        lambda: [b"a.example:443=127.0.0.1:8443, b.example:80=[::1]:8080"],
        words=("=", ",", ":", "[", "]", "²", "65535"),
    ),
    Target("files of tests", read_tests, _test_files, words=("stubs:", "cases:", "expect:", "takes: PT1S", "start:")),
    Target("tenuto validate", command_line, lambda: [text.encode() for text in texts()[:20]]),
    Target("arguments in Python", read_arguments, _arguments, trees=True),
)  # fmt: skip
