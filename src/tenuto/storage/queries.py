"""Named SQL: reads the statements of a topic from `sql/<topic>.sql`.

A statement begins with a line `-- name: what it does`. A row of placeholders followed by three
dots, `VALUES (?, ?)...`, stands for as many such rows as are given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_HEAD = re.compile(r"^-- ([a-z_]+): .*\n", re.MULTILINE)
_ROW = re.compile(r"(\(\?(?:, \?)*\))\.\.\.")


@dataclass(frozen=True, slots=True)
class Query:
    """One named statement.

    `width` is the number of placeholders in its repeated row, 0 if it has none.
    """

    name: str
    sql: str
    width: int
    _forms: dict[int, str] = field(default_factory=dict, repr=False, compare=False)

    def times(self, rows: int) -> str:
        """Return the SQL for that many rows.

        >>> make_query("put", "INSERT INTO t VALUES (?, ?)...").times(2)
        'INSERT INTO t VALUES (?, ?), (?, ?)'
        """
        form = self._forms.get(rows)
        if form is None:
            form = _ROW.sub(lambda row: ", ".join([row[1]] * rows), self.sql)
            self._forms[rows] = form
        return form


def make_query(name: str, sql: str) -> Query:
    """Return a query made of its text."""
    row = _ROW.search(sql)
    return Query(name, sql, row[1].count("?") if row else 0)


def read_queries(topic: str) -> dict[str, Query]:
    """Return the statements of `sql/<topic>.sql` by name."""
    parts = _HEAD.split((_FOLDER / f"{topic}.sql").read_text("utf-8"))
    return {name: make_query(name, sql.strip()) for name, sql in zip(parts[1::2], parts[2::2], strict=True)}
