"""Brings a SQLite database to the schema this version knows: numbered SQL files, forward only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tenuto.errors import Conflict
from tenuto.storage.explaining import explain

APPLICATION_ID = 0x54454E55
"""Marks a file as ours, in SQLite's header; set by the first migration."""

_FOLDER = Path(__file__).parent / "migrations" / "sqlite"
_RECORD = """
CREATE TABLE IF NOT EXISTS migrations (
    number  INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT
"""


def known_migrations() -> dict[int, Path]:
    """Return the migration files by number, in order."""
    return {int(path.name[:4]): path for path in sorted(_FOLDER.glob("*.sql"))}


def statements(script: str) -> list[str]:
    """Return the statements of a script; a trigger is one statement.

    >>> statements("CREATE TABLE a (b); CREATE TABLE c (d);")
    ['CREATE TABLE a (b);', 'CREATE TABLE c (d);']
    """
    found: list[str] = []
    text = ""
    for part in script.split(";")[:-1]:
        text += part + ";"
        if sqlite3.complete_statement(text):
            found.append(text.strip())
            text = ""
    return found


def check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that another program made; an empty one is fine."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if objects and application != APPLICATION_ID:
        raise Conflict(f"{path} is another program's database", hint="Name another file with --db.")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Apply what is missing, each migration in its own transaction together with its record."""
    version = schema_version(connection)
    known = known_migrations()
    _refuse_newer(version, max(known), path)
    for number, file in known.items():
        if number <= version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(_RECORD)
            for statement in statements(file.read_text("utf-8")):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations (number, name) VALUES (?, ?)", (number, file.stem))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise explain(error, path, f"migration {file.stem} failed: ") from error


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a schema that is not exactly the one this version knows."""
    version = schema_version(connection)
    newest = max(known_migrations())
    _refuse_newer(version, newest, path)
    if version < newest:
        raise Conflict(
            f"{path} has schema {version}, this version reads schema {newest}",
            hint="Open it once for writing (tenuto resume); that brings it up to date.",
        )


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the number of the last migration that was applied, 0 for an empty database."""
    query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'"
    if connection.execute(query).fetchone() == (0,):
        return 0
    (version,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    return int(version)


def _refuse_newer(version: int, newest: int, path: Path) -> None:
    if version > newest:
        raise Conflict(
            f"{path} was written by a newer version of Tenuto (schema {version}, known here: {newest})",
            hint="Use that version, or another database with --db.",
        )
