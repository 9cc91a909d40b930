"""Every setting, read once from the environment: the only file that looks there.

Each setting is described in `docs/reference/settings.md`; a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tenuto.errors import InvalidInput
from tenuto.numbers import whole_number

SECRET_PREFIX: Final = "TENUTO_SECRET_"  # noqa: S105  # the prefix of names, not a secret
DEFAULT_DATABASE: Final = Path(".tenuto/tenuto.db")

VARIABLES: Final[tuple[str, ...]] = (
    "TENUTO_DB",
    "TENUTO_DEBUG",
    "TENUTO_EXPRESSION_MEMORY_MIB",
    "TENUTO_EXPRESSION_MS",
    "TENUTO_RESOLVE",
    "TENUTO_RESUME_COMMAND",
    "TENUTO_SECRET_<NAME>",
    "NO_COLOR",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
)


class Secrets(Mapping[str, Any]):
    """Secret values by name, never shown: `repr` and `str` give names only.

    A name that is not there as written is looked up as an environment variable would spell
    it: upper case, every other character than a letter or digit an underscore.

    >>> Secrets({"API_TOKEN": "s3cret"})["api-token"]
    's3cret'
    >>> Secrets({"API_TOKEN": "s3cret"})
    Secrets(API_TOKEN)
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        return self._values[secret_variable(name).removeprefix(SECRET_PREFIX)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def with_values(self, values: Mapping[str, Any]) -> Secrets:
        """Return these secrets and `values`; a name in both takes the value given here."""
        return Secrets({**self._values, **values})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process is to behave; options of a command replace single values.

    `resolve` says where calls for a host and port really go, as `HOST:PORT=ADDRESS:PORT` texts
    with commas between them; a later text wins. `known` are files and folders with further
    documents. `dumb` is true if the terminal cannot move its cursor. The two limits hold for
    expressions that could run long, which a child process evaluates. `resume_command` is what
    people are told to type to go on, when another program has started this one for them.
    """

    database: Path = DEFAULT_DATABASE
    resolve: tuple[str, ...] = ()
    secrets: Secrets = field(default_factory=Secrets)
    known: tuple[Path, ...] = ()
    certificates_file: Path | None = None
    certificates_folder: Path | None = None
    color: bool = True
    dumb: bool = False
    debug: bool = False
    expression_ms: int = 100
    expression_memory_mib: int = 64
    resume_command: str | None = None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings that environment variables give; raises `InvalidInput`."""
    return Settings(
        database=Path(environment.get("TENUTO_DB") or DEFAULT_DATABASE),
        resolve=tuple(filter(None, [environment.get("TENUTO_RESOLVE")])),
        secrets=Secrets(
            {
                name.removeprefix(SECRET_PREFIX): _secret_value(value)
                for name, value in environment.items()
                if name.startswith(SECRET_PREFIX)
            }
        ),
        certificates_file=_path(environment.get("SSL_CERT_FILE")),
        certificates_folder=_path(environment.get("SSL_CERT_DIR")),
        color=not environment.get("NO_COLOR"),
        dumb=environment.get("TERM") in {"dumb", ""},
        debug=environment.get("TENUTO_DEBUG", "") not in {"", "0"},
        expression_ms=_number(environment, "TENUTO_EXPRESSION_MS", 100, 60_000),
        expression_memory_mib=_number(environment, "TENUTO_EXPRESSION_MEMORY_MIB", 64, 65_536),
        resume_command=environment.get("TENUTO_RESUME_COMMAND") or None,
    )


def _number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environment.get(name) or str(default)
    number = whole_number(text, most)
    if not number:
        raise InvalidInput(
            f"{name} is {text!r}", hint=f"it is a whole number from 1 to {most}; without it {default}"
        )
    return number


def secret_variable(name: str) -> str:
    """Return the environment variable that gives a secret.

    >>> secret_variable("api-token")
    'TENUTO_SECRET_API_TOKEN'
    """
    return SECRET_PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _secret_value(text: str) -> Any:
    """Return a JSON object as such and everything else as the text that it is."""
    if text.startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
