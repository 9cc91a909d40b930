"""`tenuto test`: a line for each case, the difference below what failed, statuses that CI can rely on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.doors.conftest import Tenuto

SAMPLE = Path(__file__).parents[2] / "examples/refunds"


@pytest.fixture
def refunds(tmp_path: Path) -> Path:
    """The example, copied."""
    shutil.copytree(SAMPLE, tmp_path / "refunds")
    return tmp_path / "refunds"


def test_a_folder_is_tested(tenuto: Tenuto, refunds: Path) -> None:
    """Also the present one; nothing goes to standard error."""
    for arguments in ([], ["refunds"], ["refunds/refund.test.yaml"]):
        called = tenuto("test", *arguments)

        assert (called.status, called.err) == (0, "")
        assert "passed  refunds/refund.test.yaml: nobody agrees (" in called.out
        assert re.search(r"^5 passed in [\d.]+ m?s$", called.out, re.MULTILINE)


def test_a_case_that_fails_shows_the_difference(tenuto: Tenuto, refunds: Path) -> None:
    """Status 1; the place of the case, expected and found; others go on."""
    file = refunds / "refund.test.yaml"
    file.write_text(file.read_text().replace("payment: p-9", "payment: p-8"))
    called = tenuto("test", "--junit", "reports/tests.xml")

    assert called.status == 1
    assert "FAILED  refunds/refund.test.yaml: little money is paid back at once" in called.out
    assert "refunds/refund.test.yaml:14" in called.out
    assert '-  "payment": "p-8"' in called.out
    assert '+  "payment": "p-9"' in called.out
    assert "4 passed, 1 failed in" in called.out
    assert 'failures="1"' in (refunds.parent / "reports/tests.xml").read_text()


def test_cases_are_chosen_by_name(tenuto: Tenuto, refunds: Path) -> None:
    """Upper and lower case are the same; a name that nothing has is an error."""
    assert "1 passed in" in tenuto("test", "-k", "NOBODY").out
    called = tenuto("test", "-k", "no such case")

    assert (called.status, called.out) == (2, "")
    assert called.err == "error: no case has 'no such case' in its name\nhint: without -k all are run\n"


def test_a_file_that_is_not_valid_is_status_two(tenuto: Tenuto, refunds: Path) -> None:
    """With the line and a caret, as `validate` shows it; the other files are tested all the same."""
    (refunds / "wrong.test.yaml").write_text(
        "workflow: refund.yaml\ncases:\n  - nmae: x\n    expect: {output: 1}\n"
    )
    called = tenuto("test")

    assert called.status == 2
    assert "refunds/wrong.test.yaml:3:5: error: `nmae` is not a property of a case." in called.out
    assert "    3 |   - nmae: x\n      |     ^^^^" in called.out
    assert "5 passed, 1 file not valid in" in called.out


def test_nothing_to_test_is_an_error(tenuto: Tenuto, tmp_path: Path) -> None:
    """Or CI would be green for ever."""
    called = tenuto("test")

    assert called.status == 2
    assert called.err == "error: there is no test file here\nhint: end the name of one in .test.yaml\n"
    assert tenuto("test", "nowhere.test.yaml").status == 2
