"""Settings: read in one place, each of them documented, secrets never shown."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.errors import InvalidInput
from tenuto.settings import VARIABLES, Secrets, Settings, read_settings
from tests.doors.conftest import Tenuto

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
UNITS = {"": 1, " levels": 1, " days": 1, " MiB": 1024 * 1024, " s": 1}


def test_every_setting_is_documented() -> None:
    """The first column of the table in settings.md is the list in settings.py."""
    documented = re.findall(r"^\| `([A-Z_]+(?:<NAME>)?)` \|", PAGE, re.MULTILINE)

    assert sorted(VARIABLES) == sorted(documented)


def test_every_variable_that_is_read_is_listed() -> None:
    """settings.py asks for no variable that is not in its list."""
    code = (ROOT / "src" / "tenuto" / "settings.py").read_text()
    asked = set(re.findall(r'"((?:TENUTO|SSL|NO|TERM)[A-Z_]*)"', code))

    assert asked - {"TENUTO_SECRET_"} == set(VARIABLES) - {"TENUTO_SECRET_<NAME>"}


@pytest.mark.parametrize(("value", "name"), re.findall(r"\| (\d+[^|]*) \| `([a-z_.]+\.[A-Z_]+)` \|", PAGE))
def test_limits_are_what_the_page_says(value: str, name: str) -> None:
    """Each limit's number in settings.md is the one in the code."""
    module, _, constant = name.rpartition(".")
    number, unit = re.fullmatch(r"([\d,]+)(.*)", value).groups()  # type: ignore[union-attr]

    assert getattr(import_module(f"tenuto.{module}"), constant) == int(number.replace(",", "")) * UNITS[unit]


def test_nothing_else_reads_the_environment() -> None:
    """os.environ is read by the two ways in, which hand it to settings.py, and in no other file."""
    readers = {
        str(file.relative_to(ROOT / "src" / "tenuto"))
        for file in (ROOT / "src" / "tenuto").rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", file.read_text())
    }

    assert {"app.py", "application.py"} <= readers
    assert readers <= {"app.py", "application.py", *PASSING_ON, *NAMING}


# Files that hand the environment on to a child process, or take a part of it away.
PASSING_ON = {"connectors/child.py", "runtime/evaluation_child.py"}
# Files that only name it: what workflow code must not read.
NAMING = {"runtime/guard.py", "runtime/forbidden.py"}


def test_without_variables_the_defaults_hold() -> None:
    """An empty environment gives the defaults that the class names."""
    settings = read_settings({})

    assert (settings.database, settings.resolve, settings.color, settings.debug) == (
        Settings().database,
        (),
        True,
        False,
    )
    assert dict(settings.secrets) == {}


def test_variables_are_taken_as_documented() -> None:
    """Each variable changes its setting."""
    settings = read_settings(
        {
            "TENUTO_DB": "x.db",
            "TENUTO_RESOLVE": "a:1=b:2",
            "TENUTO_SECRET_TOKEN": "t",
            "TENUTO_SECRET_LOGIN": '{"username": "u"}',
            "TENUTO_DEBUG": "1",
            "TENUTO_EXPRESSION_MS": "250",
            "TENUTO_EXPRESSION_MEMORY_MIB": "128",
            "SSL_CERT_FILE": "/ca.pem",
            "SSL_CERT_DIR": "/certs",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
    )

    assert settings == Settings(
        database=Path("x.db"),
        resolve=("a:1=b:2",),
        secrets=settings.secrets,
        certificates_file=Path("/ca.pem"),
        certificates_folder=Path("/certs"),
        color=False,
        dumb=True,
        debug=True,
        expression_ms=250,
        expression_memory_mib=128,
    )
    assert (settings.secrets["token"], settings.secrets["login"]) == ("t", {"username": "u"})


@pytest.mark.parametrize("value", ["0", "-1", "x", "99999999"])
def test_a_number_out_of_range_is_refused(value: str) -> None:
    """The error names the variable and what it may be."""
    with pytest.raises(InvalidInput, match="TENUTO_EXPRESSION_MS") as refused:
        read_settings({"TENUTO_EXPRESSION_MS": value})

    assert "whole number from 1 to 60000" in (refused.value.hint or "")


@given(name=st.text(min_size=1), value=st.text(min_size=4))
def test_secrets_never_show_themselves(name: str, value: str) -> None:
    """Neither repr nor str nor an f-string holds a secret's value."""
    secrets = Secrets({"name": value + "!secret!"})
    shown = f"{secrets} {secrets!r} {Settings(secrets=secrets)}"

    assert "!secret!" not in shown
    assert secrets["name"] == value + "!secret!"
    assert (name in secrets) == (name == "name")


def test_a_bad_number_is_an_error_not_a_traceback(tenuto: Tenuto) -> None:
    """Settings that cannot be read are refused like everything else."""
    with pytest.raises(InvalidInput):
        tenuto("version", env={"TENUTO_EXPRESSION_MS": "soon"})
