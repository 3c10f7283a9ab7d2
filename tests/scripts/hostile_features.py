"""Statements that mean harm, or that no package may hold: each with the code that it is refused by, or how it ends."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

COUNT = "SELECT count(*) AS a FROM "
VALUE = "SELECT {} AS a FROM claim"

# Name: (statement, code of a finding).
REFUSED: dict[str, tuple[str, str]] = {
    # the engine's own tables, settings and files
    "information schema": (COUNT + "information_schema.tables", "features-construct"),
    "system catalog": (COUNT + "sqlite_master", "features-table"),
    "system function": (COUNT + "duckdb_tables()", "features-table"),
    "settings function": (COUNT + "duckdb_settings()", "features-table"),
    "secrets": (COUNT + "duckdb_secrets()", "features-table"),
    "pragma function": (COUNT + "pragma_table_info('bills')", "features-table"),
    "schema": (COUNT + "main.bills", "features-construct"),
    "catalog": (COUNT + "memory.main.bills", "features-construct"),
    "engine's own table": (COUNT + "__input_bills", "features-table"),
    "engine's own table, quoted": (COUNT + '"__input_bills"', "features-table"),
    "engine's table of calls": ("SELECT sum(__call) AS a FROM __calls", "features-table"),
    "call of a row": ("SELECT sum(__call) AS a FROM bills", "features-column"),
    "other calls by an alias of ours": ('SELECT (SELECT "__c"."__call" FROM bills) AS a', "features-table"),
    "position in the engine": ('SELECT max("c0") AS a FROM bills', "features-column"),
    "row number of the engine": ("SELECT max(rowid) AS a FROM bills", "features-column"),
    "file as a table": (COUNT + "'/etc/passwd'", "features-table"),
    "file of another kind": (COUNT + '"secrets.parquet"', "features-table"),
    "read_csv": (COUNT + "read_csv('/etc/passwd')", "features-table"),
    "read_text": (COUNT + "read_text('/proc/self/environ')", "features-table"),
    "glob": (COUNT + "glob('/*')", "features-table"),
    "http": (COUNT + "read_parquet('https://example.org/x.parquet')", "features-table"),
    "environment": (VALUE.format("length(getenv('HOME'))"), "features-function"),
    "setting": (VALUE.format("length(current_setting('memory_limit'))"), "features-function"),
    "version": (VALUE.format("length(version())"), "features-function"),
    "query": (COUNT + "query('SELECT 1')", "features-table"),
    "query table": (COUNT + "query_table('bills')", "features-table"),
    # other statements
    "pragma": ("PRAGMA database_list", "features-statement"),
    "set": ("SET memory_limit = '1TB'", "features-statement"),
    "attach": ("ATTACH '/tmp/x.db'", "features-statement"),
    "copy": ("COPY bills TO '/tmp/x.csv'", "features-statement"),
    "install": ("INSTALL httpfs", "features-statement"),
    "load": ("LOAD httpfs", "features-statement"),
    "create": ("CREATE TABLE x AS SELECT 1 AS a", "features-statement"),
    "drop": ("DROP TABLE bills", "features-statement"),
    "insert": ("INSERT INTO bills SELECT * FROM bills", "features-statement"),
    "two statements": ("SELECT 1 AS a; SELECT 2 AS a", "features-statement"),
    "statement behind": ("SELECT 1 AS a; DROP TABLE bills", "features-statement"),
    "explain": ("EXPLAIN SELECT 1 AS a", "features-statement"),
    "nothing": ("-- nothing", "features-statement"),
    "pivot": ("PIVOT bills ON item USING sum(quantity)", "features-statement"),
    "into": ("SELECT 1 AS a INTO x FROM bills", "features-construct"),
    "parameter": ("SELECT $1 AS a", "features-construct"),
    "placeholder": ("SELECT ? AS a", "features-construct"),
    "not SQL": ("SELECT FROM WHERE (", "features-syntax"),
    "open quote": ("SELECT 'a AS a", "features-syntax"),
    # chance, clock, order
    "random": (VALUE.format("cast(random() * 10 AS BIGINT)"), "features-function"),
    "uuid": (VALUE.format("length(uuid())"), "features-function"),
    "now": (VALUE.format("year(now())"), "features-function"),
    "current_date": (VALUE.format("year(current_date)"), "features-function"),
    "today()": (VALUE.format("year(today())"), "features-function"),
    "current_timestamp": (VALUE.format("year(current_timestamp)"), "features-function"),
    "sequence": (VALUE.format("nextval('s')"), "features-function"),
    "limit without order": ("SELECT quantity AS a FROM bills LIMIT 1", "features-order"),
    "first": ("SELECT first(quantity) AS a FROM bills", "features-function"),
    "any_value": ("SELECT any_value(quantity) AS a FROM bills", "features-construct"),
    "list": ("SELECT length(list(item)) AS a FROM bills", "features-function"),
    "string_agg without order": ("SELECT length(string_agg(item, ',')) AS a FROM bills", "features-order"),
    "arg_max": ("SELECT arg_max(quantity, price) AS a FROM bills", "features-function"),
    "sample": (COUNT + "bills USING SAMPLE 1", "features-construct"),
    "table sample": (COUNT + "bills TABLESAMPLE 10%", "features-construct"),
    "distinct on": ("SELECT DISTINCT ON (item) quantity AS a FROM bills", "features-construct"),
    "positional join": (COUNT + "bills b POSITIONAL JOIN tariff t", "features-construct"),
    # floats
    "float column": ("SELECT cast(sum(weight) AS BIGINT) AS a FROM bills", "features-float"),
    "float cast": (VALUE.format("cast(cast(age AS DOUBLE) AS BIGINT)"), "features-float"),
    "float literal": (VALUE.format("cast(1e3 AS BIGINT)"), "features-float"),
    "division": (VALUE.format("cast(age / 2 AS BIGINT)"), "features-float"),
    "average": ("SELECT cast(avg(quantity) AS BIGINT) AS a FROM bills", "features-function"),
    "root": (VALUE.format("cast(sqrt(age) AS BIGINT)"), "features-function"),
    "decimal division": ("SELECT cast(sum(price // 2) AS BIGINT) AS a FROM bills", "features-type"),
    "epoch": (VALUE.format("cast(date_part('epoch', admitted) AS BIGINT)"), "features-function"),
    # bombs
    "recursion": (
        "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT max(n) AS a FROM x",
        "features-construct",
    ),
    "range": (COUNT + "range(1000000000000)", "features-table"),
    "generate_series": (COUNT + "generate_series(1, 1000000000000)", "features-table"),
    "unnest": (VALUE.format("unnest([1, 2])"), "features-function"),
    "unnest as a table": (COUNT + "unnest([1, 2])", "features-table"),
    "values": (COUNT + "(VALUES (1)) AS v(x)", "features-table"),
    "repeat": (VALUE.format("length(repeat('x', 1000000000))"), "features-function"),
    "lpad": (VALUE.format("length(lpad('x', 1000000000, 'y'))"), "features-function"),
    "printf": (VALUE.format("length(printf('%1000000000d', 1))"), "features-function"),
    "string that doubles": (
        "SELECT length(s) AS a FROM (SELECT s || s || s || s || s || s || s || s || s AS s FROM "
        "(SELECT i || i || i || i || i || i || i || i || i AS s FROM (SELECT max(item) AS i FROM bills) x) y) z",
        "features-size",
    ),
    "replace that grows": (
        VALUE.format("length(replace(diagnosis, 'a', repeat('b', 1000000)))"),
        "features-size",
    ),
    "counted pattern": (
        VALUE.format("length(regexp_extract(diagnosis, '((a{99}){99}){99}'))"),
        "features-pattern",
    ),
    "long pattern": (
        VALUE.format(f"length(regexp_extract(diagnosis, '{'(a|b)*' * 50}'))"),
        "features-pattern",
    ),
    "pattern from data": (
        "SELECT count(*) AS a FROM bills b JOIN claim c ON regexp_matches(b.item, c.diagnosis)",
        "features-pattern",
    ),
    "LIKE from data": (
        "SELECT count(*) AS a FROM bills b JOIN claim c ON b.item LIKE c.diagnosis",
        "features-pattern",
    ),
    "LIKE with many wildcards": (
        f"SELECT count(*) AS a FROM bills WHERE item LIKE '{'%a' * 40}'",
        "features-pattern",
    ),
    "deep parentheses": ("SELECT " + "(" * 5000 + "1" + ")" * 5000 + " AS a", "features-size"),
    "deep NOT": ("SELECT " + "NOT " * 5000 + "TRUE AS a", "features-size"),
    "deep minus": ("SELECT " + "- " * 5000 + "1 AS a", "features-size"),
    "deep CASE": ("SELECT " + "CASE WHEN TRUE THEN " * 900 + "1" + " END" * 900 + " AS a", "features-size"),
    "long sum": ("SELECT " + "1 + " * 8000 + "1 AS a", "features-size"),
    "deep subqueries": ("SELECT " + "(SELECT " * 1500 + "1" + ")" * 1500 + " AS a", "features-size"),
    "large file": ("SELECT 1 AS a --" + "x" * (33 << 10), "features-size"),
    "WITH that doubles": (
        "WITH w0 AS (SELECT count(*) AS n FROM bills), "
        + ", ".join(f"w{n} AS (SELECT x.n FROM w{n - 1} AS x, w{n - 1} AS y)" for n in range(1, 30))
        + " SELECT n AS a FROM w29",
        "features-size",
    ),
    "CASE that doubles": (
        f"SELECT {'CASE (' * 26}1{') WHEN 1 THEN 2 WHEN 2 THEN 1 END' * 26} AS a",
        "features-size",
    ),
    "condition that doubles": (
        f"SELECT {'(SELECT count(*) FROM bills WHERE 1 = ' * 26}1{' AND cast(item AS BIGINT) = 1)' * 26} AS a",
        "features-size",
    ),
    "order that doubles": (
        f"SELECT {'(SELECT quantity + ' * 26}1{' AS z FROM bills ORDER BY z + 1, z LIMIT 1)' * 26} AS a",
        "features-size",
    ),
    "many findings": ("SELECT 1 IN (" + ", ".join(["1e3"] * 5000) + ") AS a", "features-float"),
    "many tables": ("SELECT " + " + ".join(["(SELECT count(*) FROM bills)"] * 70) + " AS a", "features-size"),
    "huge whole number": ("SELECT 99999999999999999999 AS a", "features-type"),
    "huge decimal": ("SELECT " + "9" * 60 + ".0 AS a", "features-type"),
    "scale that grows": (
        "SELECT cast(0.000000001 * 0.000000001 * 0.000000001 * 0.000000001 AS BIGINT) AS a",
        "features-type",
    ),
    "huge integer type": (VALUE.format("cast(age AS HUGEINT)"), "features-type"),
    # names and shapes
    "lambda": (VALUE.format("length(list_transform([1], x -> x))"), "features-function"),
    "array": (VALUE.format("[1, 2]"), "features-function"),
    "struct": (VALUE.format("{'a': 1}"), "features-function"),
    "element": (VALUE.format("length(diagnosis[1:2])"), "features-construct"),
    "star": ("SELECT * FROM bills", "features-construct"),
    "columns": ("SELECT COLUMNS('.*') FROM bills", "features-function"),
    "group by all": ("SELECT count(*) AS a FROM bills GROUP BY ALL", "features-construct"),
    "rollup": ("SELECT count(*) AS a FROM bills GROUP BY ROLLUP(item)", "features-construct"),
    "qualify": ("SELECT quantity AS a FROM bills QUALIFY row_number() OVER () = 1", "features-construct"),
    "lateral": ("SELECT q.n AS a FROM bills b, LATERAL (SELECT b.quantity AS n) q", "features-table"),
    "sibling in FROM": (
        "SELECT q.n AS a FROM bills b, (SELECT b.quantity AS n FROM claim) q",
        "features-table",
    ),
    "using": (COUNT + "bills JOIN tariff USING (item)", "features-construct"),
    "natural join": (COUNT + "bills NATURAL JOIN tariff", "features-construct"),
    "asof join": (COUNT + "bills b ASOF JOIN claim c ON b.day >= c.admitted", "features-construct"),
    "semi join": (COUNT + "bills b SEMI JOIN tariff t ON b.item = t.item", "features-construct"),
    "collation": ("SELECT max(item COLLATE nocase) AS a FROM bills", "features-function"),
    "aggregate of around": (
        "SELECT (SELECT sum(c.age) FROM bills) AS a FROM claim c",
        "features-column",
    ),
    "aggregate of today": ("SELECT (SELECT year(max(today)) FROM bills) AS a", "features-group"),
    "aggregate over calls": ("SELECT year(max(today)) AS a", "features-group"),
    "aggregate over calls of a condition": (
        "SELECT (SELECT count(*) FILTER (WHERE today > DATE '2026-01-01') FROM bills) AS a",
        "features-group",
    ),
    "aggregate over calls of a subquery": ("SELECT sum((SELECT count(*) FROM bills)) AS a", "features-group"),
    "aggregate over calls of EXISTS": (
        "SELECT (SELECT count_if(EXISTS (SELECT 1 FROM bills)) FROM claim) AS a",
        "features-group",
    ),
    "column beside aggregate": ("SELECT quantity + count(*) AS a FROM bills", "features-group"),
    "aggregate in WHERE": ("SELECT 1 AS a FROM bills WHERE count(*) > 1", "features-group"),
    "unknown function": (VALUE.format("my_function(age)"), "features-function"),
    "argument too many": ("SELECT max(quantity, 3) AS a FROM bills", "features-construct"),
    "flags of a pattern": (
        VALUE.format("length(regexp_extract(diagnosis, 'a', 0, 'i'))"),
        "features-construct",
    ),
    "other feature": ("SELECT 1 AS b", "features-output"),
    "other type": ("SELECT 'x' AS a", "features-output"),
    "unused WITH": ("WITH x AS (SELECT count(*) AS n FROM secrets) SELECT 1 AS a", "features-table"),
    "WITH that hides an input": ("WITH bills AS (SELECT 1 AS n) SELECT n AS a FROM bills", "features-table"),
    "NUL in a string": ("SELECT length('a\x00b') AS a", "features-construct"),
    "escape string": ("SELECT length(e'\\x00') AS a", "features-construct"),
}

# Statements that pass the check, over many rows: the engine's memory, or an interrupt, ends them.
STOPPED: dict[str, str] = {
    "cross joins": COUNT + "bills b, bills c, bills d, bills e, bills f",
    "sort of a cross join": (
        "SELECT max(g.r) AS a FROM (SELECT row_number() OVER (ORDER BY b.item, c.price) AS r "
        "FROM bills b, bills c, bills d) AS g"
    ),
    "string over a cross join": (
        "SELECT length(string_agg(b.item, ',' ORDER BY c.quantity)) AS a FROM bills b, bills c, bills d"
    ),
    "distinct over a cross join": (
        "SELECT count(*) AS a FROM (SELECT DISTINCT b.item || c.item || d.item AS x, b.quantity AS y, "
        "c.quantity AS z, d.quantity AS w FROM bills b, bills c, bills d) AS g"
    ),
}

_WRAPPED = 'SELECT "__c"."__call", CAST(({}) AS BIGINT) AS "f0" FROM "__calls" AS "__c"'
# Statements in the engine's own form that only an error in the check could let through.
LOCKED: dict[str, str] = {
    "file": _WRAPPED.format("SELECT count(*) FROM read_text('/etc/passwd')"),
    "folder": _WRAPPED.format("SELECT count(*) FROM glob('/*')"),
    "file as a table": _WRAPPED.format("SELECT count(*) FROM '/etc/passwd.csv'"),
    "setting": "SET enable_external_access = true",
    "extension": "LOAD httpfs",
    "attach": "ATTACH '/tmp/atoll-test.db' AS other",
    "unlock": "SET lock_configuration = false",
}

ROWS = 1000
MEMORY = 48 << 20


def run_confined(name: str) -> dict[str, Any]:
    """Runs a bomb of `STOPPED` in a process of its own; what it gave, and what it took."""
    done = subprocess.run(
        [sys.executable, __file__, name], capture_output=True, text=True, timeout=120, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _main(name: str) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    import feature_cases as cases  # type: ignore[import-not-found]

    from atoll.sandbox.features import FeatureEngine
    from atoll.scripts.features import check_features

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    manifest = cases.manifest({"a": "int64?"})
    query = check_features(STOPPED[name], manifest)
    assert not query.findings, query.findings
    tariff = cases.table(cases.TARIFF, [], call=False)
    engine = FeatureEngine(query, manifest, {"tariff": tariff}, memory_bytes=MEMORY)
    bills = [
        {
            "__call": 0,
            "item": f"item {n}" * 10,
            "quantity": n,
            "price": None,
            "paid": None,
            "day": None,
            "moment": None,
        }
        for n in range(ROWS)
    ]
    inputs = {"bills": cases.table(cases.BILLS, bills), "claim": cases.table(cases.CLAIM, [])}
    import datetime

    start = time.monotonic()
    found = []
    for _ in range(2):
        timer = threading.Timer(1.0, engine.interrupt)
        timer.start()
        found.append(engine.run(1, [datetime.date(2026, 1, 1)], inputs))
        timer.cancel()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({
        "first": found[0], "again": found[1], "megabytes": peak, "seconds": time.monotonic() - start,
    }))  # fmt: skip


if __name__ == "__main__":
    _main(sys.argv[1])
