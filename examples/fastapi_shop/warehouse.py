"""The shop's own database: how much is on the shelf, and which orders took some of it.

Everything is done once for each order or key, however often it is asked for: that is what steps need,
because a step is done again if the process ends before its result is recorded.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, Self

DATABASE: Final = "SHOP_WAREHOUSE"
"""The environment variable that names the database's file."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS shelf (article TEXT PRIMARY KEY, quantity INTEGER NOT NULL CHECK (quantity >= 0));
CREATE TABLE IF NOT EXISTS taken ("order" TEXT PRIMARY KEY, article TEXT NOT NULL, quantity INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS parcels (key TEXT PRIMARY KEY, "order" TEXT NOT NULL);
INSERT OR IGNORE INTO shelf VALUES ('teapot', 10);
"""


class Warehouse:
    """One connection to the database, for one step."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Self]:
        """Open the database; what is done in the block is one transaction."""
        with closing(sqlite3.connect(os.environ.get(DATABASE, "warehouse.db"))) as connection:
            connection.executescript(_TABLES)
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                yield cls(connection)

    def left(self, article: str) -> int:
        """Return how many of an article are on the shelf."""
        row = self._connection.execute("SELECT quantity FROM shelf WHERE article = ?", [article]).fetchone()
        return 0 if row is None else int(row[0])

    def take(self, order: str, article: str, quantity: int) -> int | None:
        """Take articles for an order; return how many are left, None if there are not enough."""
        execute = self._connection.execute
        if execute('SELECT 1 FROM taken WHERE "order" = ?', [order]).fetchone() is None:
            if self.left(article) < quantity:
                return None
            execute("UPDATE shelf SET quantity = quantity - ? WHERE article = ?", [quantity, article])
            execute("INSERT INTO taken VALUES (?, ?, ?)", [order, article, quantity])
        return self.left(article)

    def put_back(self, order: str) -> None:
        """Put the articles of an order back on the shelf."""
        execute = self._connection.execute
        row = execute('DELETE FROM taken WHERE "order" = ? RETURNING article, quantity', [order]).fetchone()
        if row is not None:
            execute("UPDATE shelf SET quantity = quantity + ? WHERE article = ?", [row[1], row[0]])

    def send(self, order: str, key: str) -> str:
        """Send the parcel of an order, once for each key, and return the parcel's number."""
        execute = self._connection.execute
        execute("INSERT OR IGNORE INTO parcels VALUES (?, ?)", [key, order])
        (number,) = execute("SELECT rowid FROM parcels WHERE key = ?", [key]).fetchone()
        return f"parcel-{number}"
