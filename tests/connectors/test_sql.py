"""The sql connector against SQLite, PostgreSQL and MariaDB: one suite, every database."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tenuto.connectors import sql, sql_session
from tenuto.connectors.sql_text import Dialect, bind
from tenuto.errors import Fault, Faulted
from tenuto.plugin import Call
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import PASSWORD, Postgres
from tests.servers.process import free_port

Invoke = Callable[..., Awaitable[Any]]
FaultOf = Callable[[Awaitable[Any]], Awaitable[Fault]]

DIALECTS = ["sqlite", "postgresql", "mariadb"]


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'work.db'}"
    server: Postgres | Mariadb = request.getfixturevalue(
        {"postgresql": "postgres", "mariadb": "mariadb"}[request.param]
    )
    return server.url


@pytest.fixture
async def table(request: pytest.FixtureRequest, invoke: Invoke, url: str) -> str:
    """Return a fresh table with a few columns."""
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)[:60]
    await invoke("sql.execute", database=url, statement=f"DROP TABLE IF EXISTS {name}", autocommit=True)
    await invoke(
        "sql.execute",
        database=url,
        statement=f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL, price NUMERIC(10, 2), bought DATE)",
    )
    return name


async def rows_of(invoke: Invoke, url: str, table: str) -> Any:
    """Return all rows in order."""
    return await invoke("sql.query", database=url, statement=f"SELECT * FROM {table} ORDER BY id")


async def test_values_travel_as_parameters(invoke: Invoke, url: str, table: str) -> None:
    """What looks like SQL, a parameter or a place in a value stays the value."""
    odd = "x'); DROP TABLE t; -- :id %s ? $1 \\ \""
    insert = f"INSERT INTO {table} (id, name, bought) VALUES (:id, :name, :day) -- it's :not a parameter\n"
    values = {"id": 1, "name": odd, "day": "2026-02-28"}

    done = await invoke("sql.execute", database=url, statement=insert, parameters=values)

    assert {"affected": 1, "rows": []} == done
    assert [{"id": 1, "name": odd, "price": None, "bought": "2026-02-28"}] == await rows_of(
        invoke, url, table
    )


async def test_returning_gives_rows(invoke: Invoke, url: str, table: str) -> None:
    """A write may answer with rows."""
    done = await invoke(
        "sql.execute",
        database=url,
        statement=f"INSERT INTO {table} (id, name) VALUES (:id, 'a'), (:id + 1, 'b') RETURNING id, name",
        parameters={"id": 1},
    )

    assert [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}] == done["rows"]


async def test_a_query_cannot_write(invoke: Invoke, fault_of: FaultOf, url: str, table: str) -> None:
    """`query` is a read: the database itself refuses a change."""
    fault = await fault_of(
        invoke("sql.query", database=url, statement=f"INSERT INTO {table} (id, name) VALUES (1, 'a')")
    )

    assert 403 == fault.status
    assert [] == await rows_of(invoke, url, table)


async def test_more_rows_than_the_limit_are_a_fault(
    invoke: Invoke, fault_of: FaultOf, url: str, table: str
) -> None:
    """A result is never cut silently, and a write that would pass the limit changes nothing."""
    insert = f"INSERT INTO {table} (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c')"

    written = await fault_of(invoke("sql.execute", database=url, statement=f"{insert} RETURNING id", limit=2))
    assert [] == await rows_of(invoke, url, table)

    await invoke("sql.execute", database=url, statement=insert)
    read = await fault_of(invoke("sql.query", database=url, statement=f"SELECT id FROM {table}", limit=2))
    assert 3 == len(await invoke("sql.query", database=url, statement=f"SELECT id FROM {table}", limit=3))
    assert "more than 2 rows; raise `limit`" in str(read.detail)
    assert "more than 2 rows; raise `limit`" in str(written.detail)


async def test_a_transaction_is_all_or_nothing(
    invoke: Invoke, fault_of: FaultOf, url: str, table: str
) -> None:
    """If one statement fails, none of them happened."""
    insert = f"INSERT INTO {table} (id, name) VALUES (:id, :name)"
    good = {"statement": insert, "parameters": {"id": 1, "name": "a"}}
    other = {"statement": insert, "parameters": {"id": 2, "name": "b"}}

    fault = await fault_of(invoke("sql.transaction", database=url, statements=[good, other, good]))
    assert (409, False) == (fault.status, fault.transient)
    assert [] == await rows_of(invoke, url, table)

    done = await invoke("sql.transaction", database=url, statements=[good, other])
    assert [{"affected": 1, "rows": []}] * 2 == done
    assert 2 == len(await rows_of(invoke, url, table))


async def test_once_makes_a_repetition_harmless(
    invoke: Invoke, make_call: Callable[..., Call], url: str, table: str
) -> None:
    """A second attempt with the same key returns the recorded result and changes nothing."""
    await invoke("sql.execute", database=url, statement=f"INSERT INTO {table} (id, name) VALUES (1, 'x')")
    first = {
        "database": url,
        "statement": f"INSERT INTO {table} (id, name) SELECT MAX(id) + 1, 'y' FROM {table} RETURNING id",
        "once": True,
    }

    one = await invoke("sql.execute", call=make_call(key=table), **first)
    two = await invoke("sql.execute", call=make_call(key=table, attempt=2), **first)
    other = await invoke("sql.execute", call=make_call(key=f"{table}-other"), **first)

    assert [{"id": 2}] == one["rows"] == two["rows"]
    assert [{"id": 3}] == other["rows"]
    assert 3 == len(await rows_of(invoke, url, table))


async def test_once_holds_when_attempts_overlap(
    invoke: Invoke, make_call: Callable[..., Call], url: str, table: str
) -> None:
    """Of many attempts at the same time one changes the database, and all give its result."""
    calls = [make_call(key=f"{table}-overlap", attempt=number) for number in range(6)]
    statements = [
        {"statement": f"INSERT INTO {table} (id, name) SELECT COALESCE(MAX(id), 0) + 1, 'y' FROM {table}"}
    ]
    await invoke(
        "sql.transaction", call=make_call(key=f"{table}-warm"), database=url, statements=statements, once=True
    )

    results = await asyncio.gather(
        *(
            invoke("sql.transaction", call=call, database=url, statements=statements, once=True)
            for call in calls
        )
    )

    assert [[{"affected": 1, "rows": []}]] * 6 == results
    assert 2 == len(await rows_of(invoke, url, table))


async def test_once_keeps_nothing_of_a_failed_attempt(
    invoke: Invoke, fault_of: FaultOf, make_call: Callable[..., Call], url: str, table: str
) -> None:
    """A failed attempt leaves no record, so the next one does the work."""
    call = make_call(key=f"{table}-failed")
    insert = f"INSERT INTO {table} (id, name) VALUES (7, 'a')"
    await invoke("sql.execute", database=url, statement=insert)

    fault = await fault_of(invoke("sql.execute", call=call, database=url, statement=insert, once=True))
    await invoke("sql.execute", database=url, statement=f"DELETE FROM {table}")
    done = await invoke("sql.execute", call=call, database=url, statement=insert, once=True)

    assert 409 == fault.status
    assert 1 == done["affected"]


async def test_where_the_table_of_once_may_not_be_made_the_refusal_is_told(
    invoke: Invoke, fault_of: FaultOf, postgres: Postgres
) -> None:
    """Not that the table is missing, which is why it was to be made."""
    for statement in (
        "CREATE DATABASE guarded",
        "CREATE ROLE guest LOGIN PASSWORD 'guest'",
    ):
        await invoke("sql.execute", database=postgres.url, statement=statement, autocommit=True)
    guarded = postgres.url.replace("/postgres", "/guarded")
    revoked = "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    await invoke("sql.execute", database=guarded, statement=revoked)
    guest = guarded.replace(f"{postgres.user}:{PASSWORD}", "guest:guest")

    fault = await fault_of(invoke("sql.execute", database=guest, statement="SELECT 1", once=True))

    assert 403 == fault.status
    assert "permission denied for schema public" in str(fault.detail)


async def test_a_lock_that_hinders_making_the_table_of_once_is_worth_another_attempt(
    invoke: Invoke, fault_of: FaultOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The missing table would be a mistake for good."""
    monkeypatch.setattr(sql_session, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(tmp_path / "work.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        database = f"sqlite:///{tmp_path / 'work.db'}"
        fault = await fault_of(invoke("sql.execute", database=database, statement="SELECT 1", once=True))

    assert (503, True) == (fault.status, fault.transient)


class Failing:
    """A session that loses its connection at a statement, after which everything fails for that."""

    dialect: Dialect = "mariadb"

    def __init__(self, at: str) -> None:
        self._at = at
        self._lost = False

    async def begin(self, *, read_only: bool) -> None:
        """Begin."""

    async def run(self, statement: str, values: Mapping[str, Any], limit: int) -> sql_session.Outcome:
        """Answer with nothing, or fail."""
        if self._lost:
            raise RuntimeError("the connection is closed")
        if statement.startswith(self._at):
            self._lost = True
            raise ConnectionResetError
        return sql_session.Outcome([], 0)

    async def commit(self) -> None:
        """Commit."""

    async def rollback(self) -> None:
        """Fail if the connection is lost."""
        if self._lost:
            raise RuntimeError("the connection is closed")


@pytest.mark.parametrize("at", ["SELECT", "INSERT"])
async def test_what_failed_first_is_told(at: str) -> None:
    """A lost connection is no missing table, and what fails after it is its consequence."""
    with pytest.raises(ConnectionResetError):
        await sql._transact(Failing(at), [], 1, "key")


async def test_mistakes_in_a_statement_are_validation_faults(
    invoke: Invoke, fault_of: FaultOf, url: str, table: str
) -> None:
    """Wrong SQL, a missing table and a broken constraint are 400 and not worth another attempt."""
    for statement in ("SELEC 1", "SELECT * FROM no_such_table", f"INSERT INTO {table} (id) VALUES (1)"):
        fault = await fault_of(invoke("sql.execute", database=url, statement=statement))
        assert (400, False) == (fault.status, fault.transient), statement


async def test_parameters_that_do_not_fit_are_named(invoke: Invoke, fault_of: FaultOf, url: str) -> None:
    """A missing and a superfluous parameter are told with the nearest name."""
    missing = await fault_of(
        invoke("sql.query", database=url, statement="SELECT :nmae", parameters={"name": 1})
    )
    more = await fault_of(
        invoke(
            "sql.query", database=url, statement="SELECT 1 WHERE 1 = :one", parameters={"one": 1, "two": 2}
        )
    )

    assert "the statement has a parameter `:nmae`; did you mean `name`?" == missing.detail
    assert "a parameter `two` is given, but not in the statement; there is: one" == more.detail


async def test_two_columns_of_one_name_are_a_fault(invoke: Invoke, fault_of: FaultOf, url: str) -> None:
    """A row is an object, so one of them would be lost."""
    fault = await fault_of(invoke("sql.query", database=url, statement="SELECT 1 AS a, 2 AS a"))

    assert "two columns `a`; name one of them with AS" in str(fault.detail)


async def test_bytes_and_json_travel(invoke: Invoke, url: str) -> None:
    """Bytes are `{base64}` both ways."""
    kind = {"p": "bytea", "s": "blob", "m": "blob"}[url[0]]
    await invoke("sql.execute", database=url, statement="DROP TABLE IF EXISTS raw_bytes")
    await invoke("sql.execute", database=url, statement=f"CREATE TABLE raw_bytes (content {kind})")
    given = {"content": {"base64": "AP8="}}

    await invoke(
        "sql.execute", database=url, statement="INSERT INTO raw_bytes VALUES (:content)", parameters=given
    )

    assert [given] == await invoke("sql.query", database=url, statement="SELECT content FROM raw_bytes")


async def test_a_slow_statement_is_stopped(
    invoke: Invoke, fault_of: FaultOf, make_call: Callable[..., Call], url: str
) -> None:
    """The timeout ends the statement and the fault is worth another attempt."""
    slow = {
        "s": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) AS c FROM n",
        "p": "SELECT pg_sleep(60)",
        "m": "SELECT SLEEP(60)",
    }[url[0]]

    fault = await fault_of(invoke("sql.query", database=url, statement=slow, timeout=0.3))

    assert (504, True) == (fault.status, fault.transient)


# ── each database by itself ──────────────────────────────────────────────────────────────


async def test_postgres_types_fit_json(invoke: Invoke, postgres: Postgres) -> None:
    """Strings, numbers, lists and objects become what the server wants, and come back as JSON."""
    given = {
        "day": "2026-02-28",
        "moment": "2026-02-28T12:00:00+02:00",
        "amount": "12.50",
        "id": "6f1c6c1e-3f5a-4f0e-9c3f-2f6f0f4e1a11",
        "length": "PT1H30M",
        "document": {"a": [1, {"b": None}]},
        "many": [1, 2, 3],
    }
    statement = """
        SELECT :day::date AS day, :moment::timestamptz AT TIME ZONE 'UTC' AS moment, :amount::numeric AS amount,
               :id::uuid AS id, :length::interval AS length, :document::jsonb AS document,
               3 = ANY(:many::int[]) AS found, :many::int[] AS many, 'NaN'::float AS odd
    """

    rows = await invoke("sql.query", database=postgres.url, statement=statement, parameters=given)

    assert [
        {
            **given,
            "moment": "2026-02-28T10:00:00",
            "length": "PT5400S",
            "found": True,
            "odd": "nan",
        }
    ] == rows


@pytest.mark.parametrize(
    ("statement", "value", "complaint"),
    [
        ("SELECT :x::date", "yesterday", "parameter `x` (type date in the database): Invalid RFC3339"),
        ("SELECT :x::timestamptz", "2026-01-01T00:00:00", "parameter `x` (type timestamptz"),
        ("SELECT :x::int", "five", "parameter `x`: invalid input"),
    ],
)
async def test_postgres_names_a_parameter_that_does_not_fit(
    invoke: Invoke, fault_of: FaultOf, postgres: Postgres, statement: str, value: str, complaint: str
) -> None:
    """The fault names the parameter and the type that the database wants."""
    fault = await fault_of(
        invoke("sql.query", database=postgres.url, statement=statement, parameters={"x": value})
    )

    assert 400 == fault.status
    assert complaint in str(fault.detail)


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
async def test_tls_is_checked_against_the_name_of_the_url(
    request: pytest.FixtureRequest,
    invoke: Invoke,
    fault_of: FaultOf,
    make_call: Callable[..., Call],
    database: str,
) -> None:
    """An encrypted connection goes where the host is mapped, and is refused under another name."""
    server: Postgres | Mariadb = request.getfixturevalue(database)
    encrypted = {
        "postgres": "SELECT ssl AS yes FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        "mariadb": "SELECT VARIABLE_VALUE <> '' AS yes FROM information_schema.SESSION_STATUS "
        "WHERE VARIABLE_NAME = 'Ssl_cipher'",
    }[database]
    mapped = server.url.replace(f":{server.port}", ":7")
    call = make_call(
        resolve=(f"localhost:7=127.0.0.1:{server.port}", f"other.example:7=127.0.0.1:{server.port}")
    )

    over_tls = await invoke("sql.query", call=call, database=mapped, statement=encrypted, tls=True)
    plain = await invoke("sql.query", call=call, database=mapped, statement=encrypted)
    fault = await fault_of(
        invoke(
            "sql.query",
            call=call,
            database=mapped.replace("localhost", "other.example"),
            statement="SELECT 1",
        )
    )

    assert [True, False] == [bool(over_tls[0]["yes"]), bool(plain[0]["yes"])]
    assert 502 == fault.status
    assert "certificate" in str(fault.detail)


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
async def test_refused_credentials_and_lost_servers(
    request: pytest.FixtureRequest, invoke: Invoke, fault_of: FaultOf, database: str
) -> None:
    """A wrong password is 401; a server that is down is 503 and transient; neither tells the password."""
    server: Postgres | Mariadb = request.getfixturevalue(database)
    wrong = server.url.replace(PASSWORD, "wrong-secret")
    down = server.url.replace(str(server.port), str(free_port()))

    refused = await fault_of(invoke("sql.query", database=wrong, statement="SELECT 1"))
    lost = await fault_of(invoke("sql.query", database=down, statement="SELECT 1"))

    assert (401, False) == (refused.status, refused.transient)
    assert (503, True) == (lost.status, lost.transient)
    assert "secret" not in f"{refused}{lost}"


async def test_a_password_may_stand_beside_the_url(invoke: Invoke, postgres: Postgres) -> None:
    """User and password as arguments do the same as in the URL."""
    url = f"postgresql://localhost:{postgres.port}/postgres"

    rows = await invoke(
        "sql.query", database=url, user=postgres.user, password=PASSWORD, statement="SELECT 1 AS one"
    )

    assert [{"one": 1}] == rows


async def test_a_relative_sqlite_file_is_in_the_first_folder(
    invoke: Invoke, make_call: Callable[..., Call], tmp_path: Path
) -> None:
    """The workflow's folder is where its files are."""
    call = make_call(folders=(tmp_path,))

    await invoke("sql.execute", call=call, database="sqlite:///here.db", statement="CREATE TABLE t (a)")

    assert (tmp_path / "here.db").exists()


async def test_a_locked_sqlite_file_is_transient(
    invoke: Invoke, fault_of: FaultOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer that does not end is worth another attempt later."""
    monkeypatch.setattr("tenuto.connectors.sql_session.BUSY_SECONDS", 0.01)
    path = tmp_path / "busy.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE t (a)")
    holder.execute("BEGIN IMMEDIATE")

    fault = await fault_of(
        invoke("sql.execute", database=f"sqlite:///{path}", statement="INSERT INTO t VALUES (1)")
    )
    holder.close()

    assert (503, True) == (fault.status, fault.transient)


async def test_sessions_that_wait_hold_nothing_else_up(
    invoke: Invoke, make_call: Callable[..., Call], tmp_path: Path
) -> None:
    """However many wait for a lock: other connectors find threads for their work."""
    call = make_call(folders=(tmp_path,))
    (tmp_path / "file").write_text("there")
    holder = sqlite3.connect(tmp_path / "busy.db", isolation_level=None)
    holder.execute("CREATE TABLE t (a)")
    holder.execute("BEGIN IMMEDIATE")
    insert = {"database": "sqlite:///busy.db", "statement": "INSERT INTO t VALUES (1)"}
    waiting = [asyncio.ensure_future(invoke("sql.execute", call=call, **insert)) for _ in range(40)]

    async with asyncio.timeout(4):
        read = [await invoke("files.read", call=call, path="file") for _ in range(20)]
    holder.execute("ROLLBACK")
    done = await asyncio.gather(*waiting)
    holder.close()

    assert ["there"] * 20 == read
    assert [1] * 40 == [each["affected"] for each in done]


@pytest.mark.parametrize(
    "url", ["oracle://h/x", "postgresql://host", "sqlite://", "db", "mariadb://h/x?ssl=1"]
)
async def test_a_database_url_of_another_form_is_told(invoke: Invoke, fault_of: FaultOf, url: str) -> None:
    """The fault shows the right forms."""
    fault = await fault_of(invoke("sql.query", database=url, statement="SELECT 1"))

    assert "`database` is not of the form sqlite:///file.db" in str(fault.detail)


@pytest.mark.parametrize(
    ("dialect", "statement", "expected"),
    [
        ("postgresql", "SELECT :a::int, :b, :a", "SELECT $1::int, $2, $1"),
        (
            "postgresql",
            "SELECT E'\\':a' || $$ :a $$ || $x$ :a $$ $x$, :a",
            "SELECT E'\\':a' || $$ :a $$ || $x$ :a $$ $x$, $1",
        ),
        ("postgresql", "/* :a /* :a */ :a */ SELECT :a -- :a", "/* :a /* :a */ :a */ SELECT $1 -- :a"),
        ("postgresql", "SELECT a[1:2], \":a\", '100%' LIKE :a", "SELECT a[1:2], \":a\", '100%' LIKE $1"),
        ("mariadb", "SET @x := :a # :a\n", "SET @x := %s # :a\n"),
        (
            "mariadb",
            "SELECT 'it\\'s :a', `:a`, x % 2, '%', :a, :a",
            "SELECT 'it\\'s :a', `:a`, x %% 2, '%%', %s, %s",
        ),
        ("sqlite", "SELECT [:a], ':a''', \":a\", :a", "SELECT [:a], ':a''', \":a\", ?"),
    ],
)
def test_only_parameters_are_replaced(dialect: Dialect, statement: str, expected: str) -> None:
    """Quotes, comments, casts and assignments are left alone, in every dialect's own way."""
    text, _ = bind(statement, {"a": 1, "b": 2} if ":b" in statement else {"a": 1}, dialect)

    assert expected == text


def test_a_placeholder_in_a_string_is_no_parameter() -> None:
    """The control: outside the quotes the same text is one, and has to be given."""
    assert ("SELECT ':a'", ()) == bind("SELECT ':a'", {}, "sqlite")
    with pytest.raises(Faulted):
        bind("SELECT :a", {}, "sqlite")


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize("piece", ["/* ", "$a$ $b$ ", "'", '"\\', "e'\\", "`["])
def test_what_does_not_end_is_read_once(dialect: Dialect, piece: str) -> None:
    """Not anew from each place at which it may begin: that took minutes."""
    began = time.process_time()
    bind(piece * 30_000, {}, dialect)

    assert time.process_time() - began < 1.0
