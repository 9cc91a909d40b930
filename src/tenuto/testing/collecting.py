"""Test files as pytest sees them: each case is a test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenuto.errors import InvalidDocument, TenutoError
from tenuto.testing.cases import Case, read_test_file
from tenuto.testing.playing import play


class CaseFailed(AssertionError):
    """A case went otherwise than expected."""


class TestFile(pytest.File):
    """A `*.test.yaml` file."""

    __test__ = False

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test for each case."""
        try:
            cases = read_test_file(self.path).cases
        except InvalidDocument as error:
            raise self.CollectError(_told(error)) from None
        except TenutoError as error:
            raise self.CollectError(error.told()) from None
        for case in cases:
            yield CaseItem.from_parent(self, name=case.name, case=case)


class CaseItem(pytest.Item):
    """One case."""

    def __init__(self, *, case: Case, **options: Any) -> None:
        super().__init__(**options)
        self._case = case

    def runtest(self) -> None:
        """Play it."""
        outcome = asyncio.run(play(self._case))
        if not outcome.passed:
            raise CaseFailed("\n".join(outcome.failures))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what differed, without a traceback through this program."""
        if isinstance(excinfo.value, CaseFailed):
            return f"{self.path}:{self._case.line}: {self.name}\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where the case stands."""
        return self.path, self._case.line - 1, self.name


def _told(error: InvalidDocument) -> str:
    lines = []
    for problem in error.problems:
        lines.append(f"{error.name}:{problem.line}:{problem.column}: {problem.message} [{problem.code}]")
        lines += [f"  hint: {problem.hint}"] if problem.hint else []
    return "\n".join(lines)
