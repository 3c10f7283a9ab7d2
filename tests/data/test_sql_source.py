"""Databases as sources, with real servers: types, snapshots, refusals, and what may never be shown."""

from __future__ import annotations

import datetime as dt
import socket
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from atoll.data import snapshot
from atoll.data.read import table
from atoll.data.schema import Declaration
from atoll.data.sources import SqlSource
from atoll.data.sources.address import Address, check_url, parse, resolve
from atoll.data.sources.query import check_query, table_query
from atoll.errors import AtollError

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
SECRET = "p%40ss w/or:d"


def source(url: str, query: str | None = None, **options) -> SqlSource:
    words = options.pop("declaration", None)
    return SqlSource(
        resolve(url, lambda kind, name: pytest.fail("no reference")),
        query=query,
        declaration=None if words is None else Declaration.from_json(words),
        **options,
    )


def stored(tmp_path: Path, url: str, query: str | None = None, **options) -> snapshot.Snapshot:
    bad_rows = options.pop("bad_rows", "refuse")
    with source(url, query, **options) as opened:
        return snapshot.create(opened, tmp_path / "store", "t", now=NOW, bad_rows=bad_rows)


def values(made: snapshot.Snapshot) -> list[dict]:
    return table(made, made.schema.names).to_pylist()


def types(made: snapshot.Snapshot) -> dict[str, str]:
    return {
        c.name: f"decimal({c.precision},{c.scale})" if c.type == "decimal" else c.type for c in made.schema
    }


@pytest.fixture(params=["postgresql", "mysql"])
def database(request):
    return request.getfixturevalue(request.param)


# URLs.


def test_a_url_is_taken_apart():
    url = "postgresql+psycopg://li%20wei:p%40ss%2Fw@[::1]:5433/core?sslmode=verify-full"
    found = parse(url)
    assert (found.dialect, found.username, found.password) == ("postgresql", "li wei", "p@ss/w")
    assert (found.host, found.port, found.database) == ("::1", 5433, "core")
    assert found.options == {"sslmode": "verify-full"}
    assert found.shown == "postgresql+psycopg://li%20wei:***@[::1]:5433/core?sslmode=verify-full"
    assert "p@ss" not in repr(found)
    assert parse("mariadb://h/d").dialect == "mysql"
    assert parse("sqlite:////data/t.db").database == "/data/t.db"


def test_references_are_shown_and_resolved():
    url = "mysql://reader:${FILE:/run/secrets/pw}@${ENV:HOST}/core"
    assert check_url(url) == (url, False)
    held = {("FILE", "/run/secrets/pw"): "a%b@c", ("ENV", "HOST"): "db"}
    found = resolve(url, lambda kind, name: held[kind, name])
    assert (found.password, found.host, found.shown) == ("a%b@c", "db", url)
    whole = resolve("${ENV:URL}", lambda kind, name: "mysql://u:secret@h/d")
    assert (whole.password, whole.shown) == ("secret", "${ENV:URL}")
    assert check_url("mysql://u:half${ENV:A}@h/d") == ("mysql://u:***@h/d", True)
    assert Address.from_json(found.to_json()) == found
    with pytest.raises(AtollError, match="E_SOURCE"):
        resolve(url, lambda kind, name: "two\nlines")


@pytest.mark.parametrize(
    "url",
    [
        "oracle://u:hunter2@h/d", "postgresql+psycopg2://u:hunter2@h/d", "postgresql://u:hunter2@h/d?options=-cx",
        "mysql://u:hunter2@h/d?local_infile=1", "mysql://u:hunter2@h/d?read_default_file=/etc/x",
        "postgresql://u:hunter2@h:99999/d", "postgresql://u:hunter2@h", "sqlite:///relative.db", "hunter2",
        "postgresql://u:hunter2@h/d#x", "postgresql://u:hunter2@h/d\nx", "postgresql://u:hunter2@a@b/d",
        "postgresql://u:hunter2@h/d?password=hunter2",
    ],
)  # fmt: skip
def test_other_urls_are_refused_without_repeating_them(url):
    with pytest.raises(AtollError, match="E_SOURCE") as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)


# Queries.


@pytest.mark.parametrize(
    ("query", "dialect"),
    [
        ("SELECT 1;", "postgresql"), ("  -- words; DROP\n (select ';', 'into')", "mysql"),
        ("with a as (select 1) select * from a", "sqlite"), ('select "into" from t', "postgresql"),
        ("select `into` from t", "mysql"), ("select $x$;into$x$", "postgresql"), ("/* a; b */ select 1", "mysql"),
        ("select 'it''s; x'", "sqlite"), (r"select 'it\'s; x'", "mysql"), ("values (1)", "postgresql"),
    ],
)  # fmt: skip
def test_queries_that_read(query, dialect):
    assert check_query(query, dialect) == query.strip().removesuffix(";")


@pytest.mark.parametrize(
    ("query", "dialect"),
    [
        ("", "mysql"), ("-- only words", "mysql"), ("select 1; drop table t", "postgresql"), ("drop table t", "mysql"),
        ("select * into x from t", "postgresql"), ("select 1 into outfile '/tmp/x'", "mysql"),
        ("/*!50000 drop table t */", "mysql"), ("select 1 /*M! into outfile '/x' */", "mysql"), ("begin", "sqlite"),
        ("attach 'x' as y", "sqlite"), ("(delete from t)", "mysql"), ("select 1\0", "mysql"), ("x" * 70000, "mysql"),
        ("explain analyze delete from t", "postgresql"), ("copy t to program 'x'", "postgresql"),
    ],
)  # fmt: skip
def test_queries_that_do_not_only_read(query, dialect):
    with pytest.raises(AtollError, match="E_SOURCE"):
        check_query(query, dialect)


def test_names_of_tables_are_quoted():
    assert table_query('a"b.c d', '"') == 'SELECT * FROM "a""b"."c d"'
    assert table_query("x`y", "`") == "SELECT * FROM `x``y`"
    for name in ("", "a.b.c.d", "a..b", "a\n", None):
        with pytest.raises(AtollError, match="E_SOURCE"):
            table_query(name, '"')


def test_one_of_query_and_table():
    for given in ({}, {"query": "select 1", "table": "t"}):
        with pytest.raises(AtollError, match="one of the two"):
            SqlSource(parse("sqlite:////x"), **given)


# Types.


def test_postgresql_types(postgresql, tmp_path):
    postgresql.run(
        "DROP TABLE IF EXISTS kinds",
        "CREATE TABLE kinds (k int PRIMARY KEY, small smallint, big bigint, exact numeric(38,10), cash money, "
        "words text, code varchar(9), padded char(6), day date, plain timestamp, zoned timestamptz, yes boolean, "
        "u uuid, half float4, real float8)",
        """INSERT INTO kinds VALUES
        (1, -32768, 9223372036854775807, 1234567890123456789012345678.0123456789, -1234.50, '债务 "x", 😀', 'é', 'ab',
         '0001-01-01', '2026-01-31 23:59:59.123456', '2026-01-31 23:59:59.5+08', true,
         '6f9619ff-8b86-d011-b42d-00cf4fc964ff', 0.5, 0.1),
        (2, 32767, -9223372036854775808, -0.0000000001, 0.07, '', '', '', '9999-12-31', '1969-12-31 23:59:59',
         '1883-11-18 12:00:00+00', false, '6f9619ff-8b86-d011-b42d-00cf4fc964ff', -1.25, 'NaN'),
        (3, null, null, null, null, null, null, null, null, null, null, null, null, null, null)""",
    )
    made = stored(tmp_path, postgresql.url(), "SELECT * FROM kinds ORDER BY k")
    assert types(made) == {
        "k": "int64", "small": "int64", "big": "int64", "exact": "decimal(38,10)", "cash": "decimal(19,2)",
        "words": "string", "code": "string", "padded": "string", "day": "date", "plain": "timestamp",
        "zoned": "timestamp", "yes": "bool", "u": "string", "half": "float64", "real": "float64",
    }  # fmt: skip
    one, two, three = values(made)
    assert one == {
        "k": 1, "small": -32768, "big": 2**63 - 1, "exact": Decimal("1234567890123456789012345678.0123456789"),
        "cash": Decimal("-1234.50"), "words": '债务 "x", 😀', "code": "é", "padded": "ab",
        "day": dt.date(1, 1, 1), "plain": dt.datetime(2026, 1, 31, 23, 59, 59, 123456),
        "zoned": dt.datetime(2026, 1, 31, 15, 59, 59, 500000), "yes": True,
        "u": "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "half": 0.5, "real": 0.1,
    }  # fmt: skip
    assert two["words"] == ""
    assert two["exact"] == Decimal("-0.0000000001")
    assert two["cash"] == Decimal("0.07")
    assert two["zoned"] == dt.datetime(1883, 11, 18, 12)
    assert two["real"] is None  # not a number is no number
    assert set(three.values()) == {3, None}
    assert made.source["kind"] == "postgresql"
    assert made.source["query"] == "SELECT * FROM kinds ORDER BY k"
    now = dt.datetime.fromisoformat(made.source["database_time"])
    assert abs((dt.datetime.now(dt.UTC) - now).total_seconds()) < 60


def test_mysql_types(mysql, tmp_path):
    mysql.run(
        "DROP TABLE IF EXISTS kinds",
        "CREATE TABLE kinds (k int PRIMARY KEY, tiny tinyint(1), big bigint, vast bigint unsigned, "
        "exact decimal(38,10), whole decimal(9), money decimal(10,2) unsigned, words text, code varchar(9), "
        "padded char(6), day date, plain datetime(6), zoned timestamp NULL, yes bit(1), kind enum('a','b'), y year, "
        "`real` double)",
        "SET time_zone = '+08:00'",
        """INSERT INTO kinds VALUES
        (1, 1, 9223372036854775807, 9223372036854775807, 1234567890123456789012345678.0123456789, -999999999, 12.34,
         '债务 "x", 😀', 'é', 'ab', '1000-01-01', '2026-01-31 23:59:59.123456', '2026-01-31 23:59:59', b'1', 'b', 2026,
         0.1),
        (2, 0, -9223372036854775808, 0, -0.0000000001, 1, 0, '', '', '', '9999-12-31', '1000-01-01 00:00:00',
         '1970-01-02 08:00:00', b'0', 'a', 1999, -1e300),
        (3, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null)""",
    )
    made = stored(tmp_path, mysql.url(), "SELECT * FROM kinds ORDER BY k")
    assert types(made) == {
        "k": "int64", "tiny": "int64", "big": "int64", "vast": "int64", "exact": "decimal(38,10)",
        "whole": "decimal(9,0)", "money": "decimal(10,2)", "words": "string", "code": "string", "padded": "string",
        "day": "date", "plain": "timestamp", "zoned": "timestamp", "yes": "bool", "kind": "string", "y": "int64",
        "real": "float64",
    }  # fmt: skip
    one, two, three = values(made)
    assert one == {
        "k": 1, "tiny": 1, "big": 2**63 - 1, "vast": 2**63 - 1,
        "exact": Decimal("1234567890123456789012345678.0123456789"), "whole": Decimal("-999999999"),
        "money": Decimal("12.34"), "words": '债务 "x", 😀', "code": "é", "padded": "ab", "day": dt.date(1000, 1, 1),
        "plain": dt.datetime(2026, 1, 31, 23, 59, 59, 123456), "zoned": dt.datetime(2026, 1, 31, 15, 59, 59),
        "yes": True, "kind": "b", "y": 2026, "real": 0.1,
    }  # fmt: skip
    assert two["words"] == ""
    assert two["yes"] is False
    assert two["zoned"] == dt.datetime(1970, 1, 2)
    assert set(three.values()) == {3, None}
    truth = stored(tmp_path, mysql.url(), "SELECT tiny FROM kinds",
                   declaration={"columns": {"tiny": {"type": "bool"}}})  # fmt: skip
    assert sorted(map(str, (row["tiny"] for row in values(truth)))) == ["False", "None", "True"]


@pytest.mark.parametrize(
    ("expression", "declared"),
    [("'x'::bytea", None), ("ARRAY[1]", None), ("'{}'::jsonb", None), ("interval '1 day'", None),
     ("1.5::numeric", {"type": "decimal", "scale": 2}), ("1::numeric(60,2)", {"type": "decimal", "scale": 2})],
)  # fmt: skip
def test_postgresql_types_without_counterpart(postgresql, tmp_path, expression, declared):
    query = f"SELECT 1 AS a, {expression} AS odd"
    with pytest.raises(AtollError, match=r"E_TYPE.*'odd'.*cast") as caught:
        stored(tmp_path, postgresql.url(), query)
    assert caught.value.column == "odd"
    if declared:
        made = stored(tmp_path, postgresql.url(), query, declaration={"columns": {"odd": declared}})
        assert made.schema["odd"].scale == 2


@pytest.mark.parametrize("expression", ["x'00ff'", "cast('01:00:00' as time)", "cast('x' as binary)"])
def test_mysql_types_without_counterpart(mysql, tmp_path, expression):
    with pytest.raises(AtollError, match=r"E_TYPE.*'odd'.*cast"):
        stored(tmp_path, mysql.url(), f"SELECT 1 AS a, {expression} AS odd")


def test_values_out_of_range_are_bad_rows(postgresql, mysql, tmp_path):
    query = "SELECT v, d FROM (VALUES (1, date '2026-01-01'), (2, date 'infinity'), (3, date '0044-03-15 BC')) t(v, d)"
    with pytest.raises(AtollError, match=r"E_TYPE.*2 bad rows: row 2, column 'd': 'infinity'"):
        stored(tmp_path, postgresql.url(), query)
    made = stored(tmp_path, postgresql.url(), query, bad_rows="skip")
    assert (made.rows, made.skipped) == (1, 2)
    with pytest.raises(AtollError, match="row 1, column 'n': '18446744073709551615' is not a whole number"):
        stored(tmp_path, mysql.url(), "SELECT cast(18446744073709551615 as unsigned) AS n")
    mysql.run("DROP TABLE IF EXISTS zero", "SET sql_mode = ''", "CREATE TABLE zero (d date)",
              "INSERT INTO zero VALUES ('0000-00-00')")  # fmt: skip
    with pytest.raises(AtollError, match="'0000-00-00' is not a date"):
        stored(tmp_path, mysql.url(), table="zero")


def test_sqlite(tmp_path):
    path = tmp_path / "a b.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (id TEXT, n INTEGER, x REAL, d TEXT, m)")
        made.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)",
                         [("é", 2**62, 0.5, "2026-01-31", 1), (None, None, 1, None, "x")])  # fmt: skip
    url = f"sqlite:///{path}"
    found = stored(
        tmp_path, url, "SELECT id, n, x, d FROM t", declaration={"columns": {"d": {"type": "date"}}}
    )
    assert types(found) == {"id": "string", "n": "int64", "x": "float64", "d": "date"}
    assert values(found)[0] == {"id": "é", "n": 2**62, "x": 0.5, "d": dt.date(2026, 1, 31)}
    with pytest.raises(AtollError, match=r"E_TYPE.*'m' has the type of numbers and text mixed"):
        stored(tmp_path, url, table="t")
    with pytest.raises(AtollError, match="no such file"):
        stored(tmp_path, "sqlite:////nowhere/t.db", table="t")
    for query in (
        "SELECT load_extension('x')",
        "SELECT * FROM nothing",
        "WITH a AS (SELECT 1) DELETE FROM t",
    ):
        with pytest.raises(AtollError, match="E_SOURCE"):
            stored(tmp_path, url, query)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM t").fetchone() == (2,)
    with pytest.raises(AtollError, match="E_TIME"):
        stored(tmp_path, url, "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM r) SELECT i FROM r",
               seconds=0.3)  # fmt: skip


# The session.


def test_writes_are_refused_and_change_nothing(database, tmp_path):
    database.run("DROP TABLE IF EXISTS kept", "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (1)")
    database.run("DROP TABLE IF EXISTS made")
    attempts = ["DELETE FROM kept", "SELECT 1; DELETE FROM kept", "CREATE TABLE made (a int)",
                "WITH x AS (SELECT 1) DELETE FROM kept"]  # fmt: skip
    if database.kind == "postgresql":
        database.run("CREATE OR REPLACE FUNCTION spill() RETURNS int LANGUAGE sql AS 'DELETE FROM kept RETURNING a'",
                     "CREATE SEQUENCE IF NOT EXISTS counter")  # fmt: skip
        attempts += ["SELECT spill() AS a", "SELECT nextval('counter') AS a", "SELECT 1 AS a INTO made",
                     "WITH x AS (DELETE FROM kept RETURNING a) SELECT a FROM x",
                     "SELECT set_config('transaction_read_only', 'off', true) AS a"]  # fmt: skip
    else:
        database.run("DROP FUNCTION IF EXISTS spill", "CREATE FUNCTION spill() RETURNS int BEGIN DELETE FROM kept; "
                     "RETURN 1; END")  # fmt: skip
        attempts += ["SELECT spill() AS a", "SELECT 1 AS a INTO OUTFILE '/tmp/made'"]
    for attempt in attempts:
        with pytest.raises(AtollError, match="E_SOURCE"):
            stored(tmp_path, database.url(), attempt)
    assert database.run("SELECT count(*) FROM kept") == [(1,)]


@pytest.mark.parametrize("statement", ["DELETE FROM guarded", "DROP TABLE guarded", "TRUNCATE TABLE guarded",
                                       "INSERT INTO guarded VALUES (2)",
                                       "SELECT 1; DELETE FROM guarded", "COMMIT; DELETE FROM guarded"])  # fmt: skip
def test_the_server_refuses_writes_by_itself(database, tmp_path, monkeypatch, statement):
    """Without our check of the query's words the session still cannot write."""
    database.run(
        "DROP TABLE IF EXISTS guarded", "CREATE TABLE guarded (a int)", "INSERT INTO guarded VALUES (1)"
    )
    monkeypatch.setattr("atoll.data.sources.sql.check_query", lambda query, dialect: query)
    with pytest.raises(AtollError, match="E_SOURCE"):
        stored(tmp_path, database.url(), statement)
    assert database.run("SELECT count(*) FROM guarded") == [(1,)]


def test_percent_colon_and_question_mark_are_plain_text(database, tmp_path):
    made = stored(tmp_path, database.url(), "SELECT 'a%s :b ?' AS t, 10 % 4 AS m WHERE 'abc' LIKE 'a%'")
    assert values(made) == [{"t": "a%s :b ?", "m": 2}]


def test_one_view_of_the_data(database, tmp_path):
    database.run(
        "DROP TABLE IF EXISTS moving", "CREATE TABLE moving (a int)", "INSERT INTO moving VALUES (1), (2)"
    )
    with source(database.url(), table="moving") as opened:
        schema = opened.inspect().schema
        database.run("INSERT INTO moving VALUES (3)")
        first = pa.Table.from_batches(opened.batches(schema))
        again = pa.Table.from_batches(opened.batches(schema))
    assert sorted(first["a"].to_pylist()) == [1, 2]
    assert sorted(again["a"].to_pylist()) == [1, 2, 3]


def test_the_password_shows_nowhere(database, tmp_path):
    with pytest.raises(AtollError, match="E_SOURCE") as caught:
        stored(tmp_path, database.url(password="hunter2 wrong"), "SELECT 1 AS a")
    assert "hunter2" not in str(caught.value.to_problem()) + repr(caught.value)
    assert caught.value.__cause__ is None
    database.run("DROP TABLE IF EXISTS t", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    made = stored(tmp_path, database.url(), table="t")
    text = (made.path / "manifest.json").read_text()
    assert SECRET not in text
    assert "p%2540" not in text
    assert "reader:***@127.0.0.1" in text
    # Even a server that repeats the password in its message does not get it shown.
    with pytest.raises(AtollError, match="withheld"):
        stored(tmp_path, database.url(), f"SELECT a FROM {'`' if database.kind == 'mysql' else chr(34)}{SECRET}"
               f"{'`' if database.kind == 'mysql' else chr(34)}")  # fmt: skip


def test_nobody_there(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for kind in ("postgresql", "mysql"):
        with pytest.raises(AtollError, match=r"E_SOURCE.*cannot connect"):
            stored(tmp_path, f"{kind}://u:hunter2@127.0.0.1:{port}/d", "SELECT 1 AS a")


ROWS = 200_000
WIDE = {
    "postgresql": f"SELECT i AS id, '编号' || lpad(i::text, 9, '0') AS name, repeat('x', 1000) AS wide "
    f"FROM generate_series(1, {ROWS}) i",
    "mysql": f"SELECT seq AS id, concat('编号', lpad(seq, 9, '0')) AS name, repeat('x', 1000) AS wide "
    f"FROM seq_1_to_{ROWS}",
}  # fmt: skip
STREAM = """
import resource, sys
from atoll.data.sources import SqlSource
from atoll.data.sources.address import parse
import atoll.data.sources.postgresql, atoll.data.sources.mysql
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) // 1024
before, rows, total = peak(), 0, 0
with SqlSource(parse(sys.argv[1]), query=sys.argv[2]) as source:
    schema = source.inspect().schema
    for batch in source.batches(schema):
        rows, total = rows + batch.num_rows, total + batch.nbytes
print(rows, total >> 20, peak() - before)
"""


def test_many_rows_in_bounded_memory(database):
    done = subprocess.run([sys.executable, "-c", STREAM, database.url(), WIDE[database.kind]],
                          capture_output=True, text=True, check=True)  # fmt: skip
    rows, total, used = map(int, done.stdout.split())
    assert rows == ROWS
    assert total > 190
    assert used < 100, f"{used} MiB for {total} MiB of rows"


def test_many_rows_arrive_whole(database, tmp_path):
    made = stored(tmp_path, database.url(), WIDE[database.kind].replace("1000)", "3)"))
    assert made.rows == ROWS
    assert table(made, ["id"])["id"].to_pylist() == list(range(1, ROWS + 1))
    assert table(made, ["name"])["name"][-1].as_py() == f"编号{ROWS:09}"


def test_a_dropped_connection(database, tmp_path, monkeypatch):
    def drop() -> None:
        if database.kind == "postgresql":
            database.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'atoll'"
            )
        else:
            found = database.run("SELECT id FROM information_schema.processlist WHERE user = 'reader'")
            database.run(*(f"KILL {row[0]}" for row in found))

    original = SqlSource._batch

    def dropping(self, rows, schema, places, done):
        if done == 0:
            drop()
        return original(self, rows, schema, places, done)

    monkeypatch.setattr(SqlSource, "_batch", dropping)
    with pytest.raises(AtollError, match=r"E_SOURCE.*127\.0\.0\.1.*(lost|failed).*after \d+ rows"):
        stored(tmp_path, database.url(), WIDE[database.kind])
    assert not list((tmp_path / "store").glob("*"))


def test_a_query_that_takes_too_long(database, tmp_path):
    query = {
        "postgresql": "SELECT count(*) AS n FROM generate_series(1, 1000000000) a",
        "mysql": "SELECT count(*) AS n FROM seq_1_to_1000000 a, seq_1_to_1000000 b",
    }
    started = time.monotonic()
    with pytest.raises(AtollError, match="E_TIME"):
        stored(tmp_path, database.url(), query[database.kind], seconds=1.0)
    assert time.monotonic() - started < 15


def test_a_superuser_and_duplicate_names_are_noticed(postgresql, tmp_path):
    with source(postgresql.url("admin"), "SELECT 1 AS a") as opened:
        assert any("superuser" in warning for warning in opened.inspect().warnings)
    with source(postgresql.url(), "SELECT 1 AS a") as opened:
        assert opened.inspect().warnings == ()
    with pytest.raises(AtollError, match="E_COLUMN"):
        stored(tmp_path, postgresql.url(), "SELECT 1 AS a, 2 AS a")
    with pytest.raises(AtollError, match="E_COLUMN"):
        stored(tmp_path, postgresql.url(), "SELECT 1 AS a", declaration={"columns": {"b": {"unit": "fen"}}})
