"""A package's tables for tests of features, and queries that together hold every allowed construct."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from atoll.scripts.manifest import Manifest, parse

BILLS = {
    "item": "string?",
    "quantity": "int64?",
    "price": "decimal(12,2)?",
    "paid": "bool?",
    "day": "date?",
    "moment": "timestamp?",
    "weight": "float64?",
}
CLAIM = {
    "admitted": "date?",
    "discharged": "date?",
    "diagnosis": "string?",
    "age": "int64?",
    "limit_": "decimal(9,3)?",
}
TARIFF = {"item": "string", "cap": "int64", "rate": "decimal(6,4)"}


def manifest(features: dict[str, str]) -> Manifest:
    """A package that computes these features."""
    document: dict[str, Any] = {
        "format": "atoll.script/v1",
        "name": "claims",
        "version": "1.0.0",
        "title": {"en": "Claims", "zh": "理赔"},
        "purpose": "claims",
        "subject": {"name": "claim", "type": "string"},
        "inputs": {
            "bills": {
                "asset": "bills",
                "key": "claim_id",
                "rows": "many",
                "maximum_rows": 200,
                "columns": BILLS,
            },
            "claim": {"asset": "claims", "key": "claim_id", "rows": "one", "columns": CLAIM},
        },
        "parameters": {"tariff": {"file": "tariff.csv", "key": "item", "columns": TARIFF}},
        "features": {"file": "features.sql", "columns": features},
        "rules": {"file": "rules.py", "entry": "decide"},
        "outputs": {"pay": {"type": "bool"}},
    }
    return parse(document)


_ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "float64": pa.float64(),
    "decimal(12,2)": pa.decimal128(12, 2),
    "decimal(9,3)": pa.decimal128(9, 3),
    "decimal(6,4)": pa.decimal128(6, 4),
}


def table(columns: dict[str, str], rows: list[dict[str, Any]], *, call: bool = True) -> pa.Table:
    """Rows as an Arrow table with the types of a manifest's columns, and `__call` if it is an input."""
    fields = [pa.field("__call", pa.int32())] if call else []
    fields += [pa.field(name, _ARROW[text.rstrip("?")]) for name, text in columns.items()]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


# Name: (statement, columns). The engine alone would leave the order of rows in "ties" to chance.
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "example": (
        """SELECT coalesce((SELECT cast(sum(b.quantity * b.price * 100) AS BIGINT) FROM bills AS b), 0) AS billed,
        (SELECT count(*) FROM bills) AS items,
        coalesce((SELECT date_diff('day', c.admitted, c.discharged) FROM claim AS c), 0) AS days""",
        {"billed": "int64", "items": "int64", "days": "int64"},
    ),
    "from aggregate": (
        "SELECT count(*) AS n, count(b.item) AS m, sum(b.quantity) AS s, min(b.price) AS low, max(item) AS last, "
        "bool_and(paid) AS a, bool_or(paid) AS o, min(day) AS d, count(DISTINCT item) AS k, count_if(paid) AS p "
        "FROM bills b",
        {
            "n": "int64",
            "m": "int64",
            "s": "int64?",
            "low": "decimal(12,2)?",
            "last": "string?",
            "a": "bool?",
            "o": "bool?",
            "d": "date?",
            "k": "int64",
            "p": "int64?",
        },
    ),
    "from one row": (
        "SELECT c.age AS age, (SELECT count(*) FROM bills b WHERE b.quantity > c.age) AS n FROM claim c",
        {"age": "int64?", "n": "int64"},
    ),
    "many rows": ("SELECT quantity AS q FROM bills", {"q": "int64?"}),
    "inner join": (
        "SELECT count(*) AS n, sum(b.quantity * t.cap) AS s FROM bills b JOIN tariff t ON t.item = b.item",
        {"n": "int64", "s": "int64?"},
    ),
    "left joins": (
        "SELECT count(*) AS n, count(t.cap) AS m, sum(coalesce(t.rate, 0) * b.quantity) AS s FROM claim c "
        "LEFT JOIN bills b ON true LEFT JOIN tariff t ON t.item = b.item AND t.cap > b.quantity",
        {"n": "int64", "m": "int64", "s": "decimal(18,4)?"},
    ),
    "right join": (
        "SELECT count(*) AS n, count(b.item) AS m FROM bills b RIGHT JOIN tariff t ON t.item = b.item",
        {"n": "int64", "m": "int64"},
    ),
    "full join": (
        "SELECT count(*) AS n, count(b.item) AS m FROM bills b FULL JOIN tariff t ON t.item = b.item",
        {"n": "int64", "m": "int64"},
    ),
    "cross join": ("SELECT count(*) AS n FROM bills b, tariff t CROSS JOIN claim c", {"n": "int64"}),
    "join on inequality": (
        "SELECT count(*) AS n, count(d.item) AS m FROM bills b "
        "LEFT JOIN bills d ON d.quantity > b.quantity AND d.item <> b.item",
        {"n": "int64", "m": "int64"},
    ),
    "exists": (
        "SELECT exists(SELECT 1 FROM bills b WHERE b.quantity > 3) AS e, NOT exists(SELECT 1 FROM claim) AS f, "
        "(SELECT count(*) FROM bills b WHERE EXISTS "
        "(SELECT 1 FROM bills d WHERE d.item = b.item AND d.quantity < b.quantity)) AS g",
        {"e": "bool", "f": "bool", "g": "int64"},
    ),
    "in": (
        "SELECT (SELECT count(*) FROM bills WHERE item IN ('a', 'b')) AS a, "
        "(SELECT count(*) FROM bills WHERE quantity NOT IN (1, -2)) AS b, "
        "(SELECT count(*) FROM tariff t WHERE t.item IN (SELECT b.item FROM bills b)) AS c, "
        "(SELECT count(*) FROM tariff t WHERE t.item NOT IN (SELECT b.item FROM bills b)) AS d, "
        "'a' IN (SELECT item FROM bills) AS e",
        {"a": "int64", "b": "int64", "c": "int64", "d": "int64", "e": "bool?"},
    ),
    "groups": (
        "SELECT (SELECT max(g.s) FROM (SELECT item AS i, sum(quantity) AS s FROM bills GROUP BY item "
        "HAVING count(*) > 1) AS g) AS m, (SELECT count(*) FROM (SELECT year(day) + 1 AS y, count(*) AS n FROM bills "
        "GROUP BY year(day)) g) AS n",
        {"m": "int64?", "n": "int64"},
    ),
    "distinct": (
        "SELECT (SELECT count(*) FROM (SELECT DISTINCT item, paid FROM bills) AS g) AS n, "
        "(SELECT g.item FROM (SELECT DISTINCT item FROM bills WHERE item IS NOT NULL ORDER BY item LIMIT 1) g) AS f",
        {"n": "int64", "f": "string?"},
    ),
    "windows": (
        "SELECT (SELECT max(g.r) FROM (SELECT sum(quantity) OVER (PARTITION BY item ORDER BY price) AS r FROM bills) g)"
        " AS a, (SELECT sum(g.r * g.q) FROM (SELECT row_number() OVER (ORDER BY quantity, price, item) AS r, "
        "quantity AS q FROM bills) g) AS b, (SELECT sum(g.r) FROM (SELECT rank() OVER (ORDER BY quantity) AS r "
        "FROM bills) g) AS c, (SELECT sum(g.r) FROM (SELECT dense_rank() OVER (ORDER BY item DESC) AS r FROM bills) g)"
        " AS d, (SELECT max(g.n) FROM (SELECT count(*) OVER (PARTITION BY paid) AS n FROM bills) g) AS e",
        {"a": "int64?", "b": "int64?", "c": "int64?", "d": "int64?", "e": "int64?"},
    ),
    "windows with frames": (
        "SELECT (SELECT max(g.r) FROM (SELECT sum(quantity) OVER (ORDER BY quantity, price, item, day, moment, paid "
        "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS r FROM bills) g) AS a, "
        "(SELECT min(g.r) FROM (SELECT min(price) OVER (ORDER BY quantity RANGE BETWEEN UNBOUNDED PRECEDING AND "
        "CURRENT ROW) AS r FROM bills) g) AS b, "
        "(SELECT sum(g.q - g.r) FROM (SELECT lag(quantity) OVER (ORDER BY quantity) AS r, quantity AS q FROM bills) g)"
        " AS c, (SELECT max(g.r) FROM (SELECT lead(quantity, 2) OVER (ORDER BY quantity DESC) AS r FROM bills) g) AS d",
        {"a": "int64?", "b": "decimal(12,2)?", "c": "int64?", "d": "int64?"},
    ),
    "order and limit": (
        "SELECT (SELECT quantity FROM bills ORDER BY quantity DESC LIMIT 1) AS a, "
        "(SELECT sum(x.q) FROM (SELECT quantity AS q, item FROM bills ORDER BY q, 2 NULLS FIRST LIMIT 2) x) AS b, "
        "(SELECT quantity FROM bills ORDER BY quantity DESC NULLS FIRST LIMIT 1 OFFSET 1) AS c, "
        "(SELECT item FROM bills GROUP BY item ORDER BY count(*) DESC, item LIMIT 1) AS d",
        {"a": "int64?", "b": "int64?", "c": "int64?", "d": "string?"},
    ),
    "ties": (
        "SELECT (SELECT x.item FROM (SELECT item, paid FROM bills ORDER BY paid LIMIT 1) x) AS a, "
        "(SELECT sum(x.r * x.q) FROM (SELECT row_number() OVER (ORDER BY paid) AS r, quantity AS q FROM bills) x) "
        "AS b, "
        "(SELECT string_agg(item, ',' ORDER BY paid) FROM bills) AS c, "
        "(SELECT sum(x.r * x.q) FROM (SELECT lag(quantity) OVER (ORDER BY paid) AS r, quantity AS q FROM bills) x) "
        "AS d, "
        "(SELECT sum(x.r * x.q) FROM (SELECT sum(quantity) OVER (ORDER BY paid ROWS 1 PRECEDING) AS r, quantity AS q "
        "FROM bills) x) AS e, (SELECT x.q FROM (SELECT quantity AS q, item FROM bills UNION ALL SELECT age, diagnosis "
        "FROM claim ORDER BY item LIMIT 1) x) AS f",
        {"a": "string?", "b": "int64?", "c": "string?", "d": "int64?", "e": "int64?", "f": "int64?"},
    ),
    "sets": (
        "SELECT (SELECT count(*) FROM (SELECT item FROM bills UNION SELECT diagnosis FROM claim) u) AS a, "
        "(SELECT count(*) FROM (SELECT item FROM bills UNION ALL SELECT diagnosis FROM claim) u) AS b, "
        "(SELECT count(*) FROM (SELECT item FROM bills EXCEPT SELECT diagnosis FROM claim) u) AS c, "
        "(SELECT count(*) FROM (SELECT item FROM bills INTERSECT SELECT item FROM tariff) u) AS d, "
        "(SELECT max(u.x) FROM (SELECT quantity AS x FROM bills UNION SELECT age FROM claim "
        "ORDER BY x NULLS LAST LIMIT 2) u) AS e",
        {"a": "int64", "b": "int64", "c": "int64", "d": "int64", "e": "int64?"},
    ),
    "correlated": (
        "SELECT (SELECT sum((SELECT t.cap FROM tariff t WHERE t.item = b.item) * b.quantity) FROM bills b) AS a, "
        "(SELECT count(*) FROM bills b WHERE b.quantity > (SELECT min(d.quantity) FROM bills d WHERE d.item = b.item))"
        " AS b, (SELECT sum((SELECT sum(d.quantity * (SELECT count(*) FROM bills e WHERE e.quantity <= d.quantity "
        "AND e.item <> b.item)) FROM bills d WHERE d.price <= b.price)) FROM bills b) AS c",
        {"a": "int64?", "b": "int64", "c": "int64?"},
    ),
    "with": (
        "WITH x AS (SELECT item AS i, sum(quantity) AS s FROM bills GROUP BY item), y AS (SELECT max(s) AS top FROM x) "
        "SELECT (SELECT top FROM y) AS a, (SELECT count(*) FROM x, y WHERE x.s = y.top) AS n",
        {"a": "int64?", "n": "int64"},
    ),
    "nothing but windows and aggregates": (
        "SELECT row_number() OVER () AS a, count(*) OVER () AS b, (SELECT count(*)) AS c, max(today) OVER () AS d",
        {"a": "int64", "b": "int64", "c": "int64", "d": "date"},
    ),
    "one row of aggregates": (
        "SELECT count(*) AS a, max(1) AS b, min(2) FILTER (WHERE TRUE) AS c",
        {"a": "int64", "b": "int64?", "c": "int64?"},
    ),
    "one row, kept or not": (
        "SELECT DISTINCT (SELECT count(*) FROM bills) AS a ORDER BY 1 LIMIT 0",
        {"a": "int64"},
    ),
    "offset": ("SELECT (SELECT count(*) FROM bills) AS a ORDER BY a OFFSET 1", {"a": "int64"}),
    "no row": ("SELECT 1 AS a WHERE (SELECT count(*) FROM bills) > 2", {"a": "int64"}),
    "having": ("SELECT count(*) AS n FROM bills HAVING count(*) > 1", {"n": "int64"}),
    "subquery in from": ("SELECT g.s AS s FROM (SELECT sum(quantity) AS s FROM bills) AS g", {"s": "int64?"}),
    "filter and string_agg": (
        "SELECT count(*) FILTER (WHERE quantity > 3) AS a, string_agg(item, ',' ORDER BY quantity DESC, item) AS b, "
        "sum(DISTINCT quantity) FILTER (WHERE paid) AS c FROM bills",
        {"a": "int64", "b": "string?", "c": "int64?"},
    ),
    "subquery over aggregate": (
        "SELECT g.q AS q, (SELECT max(t.cap) FROM tariff t WHERE t.cap <= g.q * 100) AS z "
        "FROM (SELECT max(b.quantity) AS q FROM bills b) g",
        {"q": "int64?", "z": "int64?"},
    ),
    "today": (
        "SELECT (SELECT count(*) FROM claim c WHERE c.admitted < today) AS n, today AS t, "
        "(SELECT max(today - day) FROM bills) AS d, "
        "(SELECT count(*) FROM bills b WHERE EXISTS (SELECT 1 FROM claim c WHERE c.admitted < "
        "today - cast(b.quantity AS INTEGER))) "
        "AS e, (SELECT count(*) FILTER (WHERE day < today) FROM bills) AS f, (SELECT count(*) FROM (SELECT today AS x, "
        "item FROM bills GROUP BY today, item) g) AS g, (SELECT max(x.t) FROM (SELECT today AS t FROM bills "
        "UNION SELECT admitted FROM claim) x) AS h, (SELECT sum(date_diff('day', b.day, today)) FROM bills b "
        "JOIN claim c ON c.admitted < today OR b.day < today) AS i",
        {
            "n": "int64",
            "t": "date",
            "d": "int64?",
            "e": "int64",
            "f": "int64",
            "g": "int64",
            "h": "date?",
            "i": "int64?",
        },
    ),
    "case": (
        "SELECT CASE WHEN exists(SELECT 1 FROM claim) THEN (SELECT age FROM claim) ELSE (SELECT count(*) FROM bills) "
        "END AS a, (SELECT sum(CASE item WHEN 'a' THEN 1 WHEN 'b' THEN 2.5 END) FROM bills) AS b, "
        "(SELECT sum(if(paid, 1, 0)) FROM bills) AS c, (SELECT count(nullif(item, 'a')) FROM bills) AS d",
        {"a": "int64?", "b": "decimal(12,1)?", "c": "int64?", "d": "int64"},
    ),
    "numbers": (
        "SELECT (SELECT sum(quantity // 2 + quantity % 3 - abs(quantity) * sign(quantity)) FROM bills) AS a, "
        "(SELECT sum(round(price, 1)) FROM bills) AS b, (SELECT sum(floor(price) + ceil(price) + trunc(price)) "
        "FROM bills) AS c, (SELECT max(greatest(quantity, 2) - least(price, 1.25)) FROM bills) AS d, "
        "(SELECT sum(-quantity) FROM bills) AS e, (SELECT sum(price * price) FROM bills) AS f, "
        "(SELECT sum(cast(price AS BIGINT) + cast(quantity AS DECIMAL(20, 2))) FROM bills) AS g, "
        "(SELECT sum(round(price)) FROM bills) AS h",
        {
            "a": "int64?",
            "b": "decimal(18,1)?",
            "c": "decimal(18,0)?",
            "d": "decimal(18,2)?",
            "e": "int64?",
            "f": "decimal(18,4)?",
            "g": "decimal(18,2)?",
            "h": "decimal(18,0)?",
        },
    ),
    "comparisons": (
        "SELECT (SELECT count(*) FROM bills WHERE quantity BETWEEN 1 AND 3 AND price >= 1.5) AS a, "
        "(SELECT count(*) FROM bills WHERE NOT (quantity < 2 OR price > 2)) AS b, "
        "(SELECT count(*) FROM bills WHERE quantity IS NULL OR item IS NOT NULL) AS c, "
        "(SELECT count(*) FROM bills WHERE quantity IS DISTINCT FROM 2) AS d, "
        "(SELECT count(*) FROM bills WHERE paid IS TRUE OR paid IS NOT FALSE) AS e, "
        "(SELECT count(*) FROM bills WHERE day >= '2026-01-02' AND day <> DATE '2026-01-05') AS f, "
        "(SELECT count(*) FROM bills WHERE moment < TIMESTAMP '2026-01-03 12:00:00' OR moment = day) AS g, "
        "(SELECT count(*) FROM bills WHERE quantity + 1 > 2 AND price * 2 < 9 AND (item = 'a' OR quantity * 2 > 1)) "
        "AS h",
        dict.fromkeys("abcdefgh", "int64"),
    ),
    "strings": (
        "SELECT (SELECT max(upper(item) || lower(item)) FROM bills) AS a, (SELECT count(*) FROM bills WHERE "
        "item LIKE 'a%' OR item ILIKE '%B_' OR item LIKE '!%' ESCAPE '!') AS b, (SELECT sum(length(item)) FROM bills) "
        "AS c, (SELECT min(substring(item, 1, 2)) FROM bills) AS d, (SELECT max(left(item, 1) || right(item, 1)) "
        "FROM bills) AS e, (SELECT count(*) FROM bills WHERE starts_with(item, 'a') OR suffix(item, 'b') OR "
        "contains(item, 'é')) AS f, (SELECT max(replace(trim(item), 'a', '{}')) FROM bills) AS g, "
        "(SELECT sum(strpos(item, 'b')) FROM bills) AS h, (SELECT max(concat(item, '-', ltrim(item, 'a'))) FROM bills)"
        " AS i",
        {
            "a": "string?",
            "b": "int64",
            "c": "int64?",
            "d": "string?",
            "e": "string?",
            "f": "int64",
            "g": "string?",
            "h": "int64?",
            "i": "string?",
        },
    ),
    "patterns": (
        "SELECT (SELECT count(*) FROM bills WHERE regexp_matches(item, '^[ab]{1,2}$')) AS a, "
        "(SELECT max(regexp_extract(item, '(a)(b)?', 1)) FROM bills) AS b, "
        "(SELECT count(*) FROM bills WHERE regexp_full_match(item, 'a.*')) AS c",
        {"a": "int64", "b": "string?", "c": "int64"},
    ),
    "dates": (
        "SELECT (SELECT max(date_part('year', day) * 100 + month(day) + dayofweek(day) + isodow(day)) FROM bills) AS a,"
        "(SELECT max(day + 3) FROM bills) AS b, (SELECT min(day - INTERVAL 1 MONTH) FROM bills) AS c, "
        "(SELECT max(date_trunc('month', day)) FROM bills) AS d, "
        "(SELECT sum(date_diff('hour', day, moment)) FROM bills) AS e, (SELECT max(last_day(day)) FROM bills) AS f, "
        "(SELECT sum(extract(hour FROM moment) + minute(moment)) FROM bills) AS g, "
        "(SELECT max(cast(moment AS DATE)) FROM bills) AS h, (SELECT sum(week(day) + quarter(day) + day(day) + "
        "dayofyear(day)) FROM bills) AS i, (SELECT count(*) FROM bills WHERE moment + INTERVAL '2 hours' > "
        "date_trunc('day', moment) + INTERVAL 1 DAY) AS j",
        {
            "a": "int64?",
            "b": "date?",
            "c": "date?",
            "d": "date?",
            "e": "int64?",
            "f": "date?",
            "g": "int64?",
            "h": "date?",
            "i": "int64?",
            "j": "int64",
        },
    ),
    "casts": (
        "SELECT (SELECT sum(try_cast(item AS BIGINT)) FROM bills) AS a, (SELECT sum(try_cast(item AS DECIMAL(9, 2))) "
        "FROM bills) AS b, (SELECT max(cast(price AS VARCHAR)) FROM bills) AS c, (SELECT sum(cast(paid AS BIGINT)) "
        "FROM bills) AS d, (SELECT max(try_cast(item AS DATE)) FROM bills) AS e, (SELECT max(cast(quantity AS VARCHAR)"
        " || cast(day AS VARCHAR)) FROM bills) AS f",
        {"a": "int64?", "b": "decimal(18,2)?", "c": "string?", "d": "int64?", "e": "date?", "f": "string?"},
    ),
    # These fail for some rows: the calls that they are of have no features, and the others theirs.
    "failing cast": ("SELECT sum(cast(item AS BIGINT)) AS a FROM bills", {"a": "int64?"}),
    "failing division": ("SELECT sum(10 // quantity) AS a FROM bills", {"a": "int64?"}),
    "failing product": (
        "SELECT sum(quantity * quantity * 4611686018427387904) AS a FROM bills WHERE quantity IS NOT NULL",
        {"a": "int64?"},
    ),
    "failing subquery": ("SELECT (SELECT quantity FROM bills) AS a", {"a": "int64?"}),
    "failing part of a condition": (
        "SELECT count(*) AS a FROM bills WHERE item = '1' AND cast(item AS BIGINT) = 1 AND 6 // quantity > 1",
        {"a": "int64"},
    ),
    "value missing": ("SELECT (SELECT age FROM claim) AS a", {"a": "int64"}),
    "narrow decimal": ("SELECT (SELECT max(price) FROM bills) AS a", {"a": "decimal(3,2)?"}),
}
