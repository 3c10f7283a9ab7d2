"""Measures a version for its quality rules, with DuckDB, in bounded memory.

The population stability index compares the shares p of a column's bins in this version with the shares q of the
version before: the sum over all bins of (p - q) ln(p / q). So that an empty bin gives a number, each share s of B bins
becomes (s + e) / (1 + B e) with e = 0.0001. The bins come from the version before:

    numbers, dates, times   equal frequency: edge k of B is the least value that at least k/B of the values do not
                            exceed (the inverse of the distribution function); a value belongs to the first bin whose
                            edge it does not exceed. Edges that are equal make one bin.
    text, truths            the B most frequent values, by value where counts are equal, each a bin; the rest is one.

Rows without value are a bin of their own. Without change, the index of two samples of n and m rows is about
(B - 1)(1/n + 1/m): on small tables it is chance. B. Yurdakul, Statistical Properties of Population Stability Index,
2018.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from atoll.crypto.document import format_time
from atoll.data import engine
from atoll.data.quality import (
    Duplicates,
    Freshness,
    Nulls,
    Outcome,
    Range,
    Repeated,
    Result,
    Rule,
    Rules,
    Stability,
    bound,
    over,
    percent,
    short,
)
from atoll.data.schema import Column
from atoll.data.snapshot import Snapshot
from atoll.errors import AtollError

EPSILON = 0.0001
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1)  # of a timestamp column, which has no zone


def evaluate(
    rules: Rules | None,
    snapshot: Snapshot,
    previous: Snapshot | None,
    *,
    now: datetime,
    key: Sequence[str] | None = None,
    work: Path | None = None,
) -> Result:
    """Measures a version and judges its rules.

    Args:
        rules: checked against the version's columns; None measures what needs no rule.
        previous: the version before, whose rows are kept; None if there is none.
        now: aware; by which freshness is judged.
        key: columns that identify a row, for the figure `duplicates` where no rule says otherwise.
        work: folder for the engine's temporary files.

    Raises:
        AtollError: `E_MEMORY`; `E_DATA` if a file is damaged.
    """
    files = [snapshot.data.absolute(), *([previous.data.absolute()] if previous else [])]
    try:
        with engine.connect(*files, work=work) as con:
            return _Measuring(con, snapshot, previous, now, tuple(key or ())).result(rules)
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        raise AtollError("E_DATA", f"{snapshot.data} cannot be read: {reason}") from None


@dataclass
class _Measuring:
    con: duckdb.DuckDBPyConnection
    snapshot: Snapshot
    previous: Snapshot | None
    now: datetime
    key: tuple[str, ...]

    def result(self, rules: Rules | None) -> Result:
        own = rules.rules if rules else ()
        names = self.snapshot.schema.names
        present = ", ".join(f"count({_id(n)})" for n in names)
        counts = self._row(f"SELECT count(*), {present} FROM {self._this}")  # noqa: S608, identifiers are quoted
        self.rows = int(counts[0])
        self.nulls = {n: self.rows - int(c) for n, c in zip(names, counts[1:], strict=True)}
        self.stability: dict[str, str] = {}
        self.repeated: dict[tuple[str, ...], Repeated] = {}
        outcomes = [self._judge(rule) for rule in own]
        if self.key and not self.repeated:
            self._repeated(self.key)
        dated = next((r for r in own if isinstance(r, Freshness)), None)
        return Result(
            version=self.snapshot.digest,
            previous=self.previous.digest if self.previous else None,
            at=format_time(self.now),
            rows=self.rows,
            nulls=self.nulls,
            duplicates=next(iter(self.repeated.values()), None),
            freshness_days=self._age(dated) if dated else None,
            stability=self.stability,
            outcomes=tuple(outcomes),
        )

    @property
    def _this(self) -> str:
        return _relation(self.snapshot)

    def _row(self, query: str, *values: Any) -> tuple[Any, ...]:
        row = self.con.execute(query, list(values)).fetchone()
        assert row is not None  # aggregates without groups give one row
        return row

    def _judge(self, rule: Rule) -> Outcome:
        match rule:
            case Nulls():
                return self._share(rule, self.nulls[rule.column], self.rows)
            case Range():
                return self._share(rule, self._outside(rule), self.rows - self.nulls[rule.column])
            case Duplicates():
                found = self._repeated(rule.columns)
                return self._share(rule, found.surplus, found.rows)
            case Freshness():
                return self._fresh(rule)
            case Stability():
                return self._stable(rule)

    def _share(self, rule: Nulls | Range | Duplicates, part: int, whole: int) -> Outcome:
        measured, limit = short(percent(part, whole)), short(rule.at_most)
        name = ", ".join(rule.names)
        en, zh = {
            "nulls": (f"nulls of {name}", f"{name} 空值"),
            "range": (f"values of {name} outside the range", f"{name} 超出范围的值"),
            "duplicates": (f"rows that repeat an id of {name}", f"标识 {name} 重复的行"),
        }[rule.kind]
        return _outcome(
            rule,
            over(part, whole, rule.at_most),
            measured,
            limit,
            f"{en}: {measured} % (at most {limit} %)",
            f"{zh}：{measured} %（至多 {limit} %）",
        )

    def _outside(self, rule: Range) -> int:
        column = self.snapshot.schema[rule.column]
        wrong = []
        for sign, limit in (("<", rule.least), (">", rule.greatest)):
            if limit is not None:
                wrong.append(f"{_id(column.name)} {sign} CAST(? AS {_cast(column)})")
        given = [_written(column, b) for b in (rule.least, rule.greatest) if b is not None]
        return int(self._row(f"SELECT count(*) FROM {self._this} WHERE {' OR '.join(wrong)}", *given)[0])  # noqa: S608

    def _repeated(self, columns: tuple[str, ...]) -> Repeated:
        names = ", ".join(_id(n) for n in columns)
        present = " AND ".join(f"{_id(n)} IS NOT NULL" for n in columns)
        rows, distinct = self._row(
            f"SELECT coalesce(sum(n), 0), count(*) FROM (SELECT count(*) AS n FROM {self._this} "  # noqa: S608
            f"WHERE {present} GROUP BY {names})"
        )
        self.repeated[columns] = Repeated(columns=columns, rows=int(rows), surplus=int(rows) - int(distinct))
        return self.repeated[columns]

    # Freshness.

    def _age(self, rule: Freshness) -> int | None:
        """Whole days since the newest value that is not later than now."""
        column = _id(rule.column)
        now = self.now.astimezone(UTC).replace(tzinfo=None) + timedelta(seconds=rule.seconds_east)
        if self.snapshot.schema[rule.column].type == "date":
            (newest,) = self._row(
                f"SELECT max({column}) - DATE '1970-01-01' FROM {self._this} WHERE {column} <= CAST(? AS DATE)",  # noqa: S608
                now.date().isoformat(),
            )
            return None if newest is None else (now.date() - date(1970, 1, 1)).days - int(newest)
        (newest,) = self._row(
            f"SELECT epoch_us(max({column})) FROM {self._this} WHERE {column} <= CAST(? AS TIMESTAMP)",  # noqa: S608
            now.isoformat(sep=" "),
        )
        if newest is None:
            return None
        return ((now - _EPOCH) // timedelta(microseconds=1) - int(newest)) // (
            _DAY // timedelta(microseconds=1)
        )

    def _fresh(self, rule: Freshness) -> Outcome:
        age, limit = self._age(rule), str(rule.at_most_days)
        if age is None:
            en, zh = f"newest value of {rule.column}: none up to now", f"{rule.column} 最新值：截至现在没有"
        else:
            en, zh = f"newest value of {rule.column}: {age} days old", f"{rule.column} 最新值：{age} 天前"
        return _outcome(
            rule,
            age is None or age > rule.at_most_days,
            None if age is None else str(age),
            limit,
            f"{en} (at most {limit})",
            f"{zh}（至多 {limit} 天）",
        )

    # Stability.

    def _stable(self, rule: Stability) -> Outcome:
        limit = short(rule.at_most)
        if self.previous is None or rule.column not in self.previous.schema:
            return _outcome(
                rule, None, None, limit,
                f"stability index of {rule.column}: there is no version before to compare with",
                f"{rule.column} 稳定性指数：没有可比较的上一版本",
            )  # fmt: skip
        old, new = self._counts(rule, self.previous)
        index = stability_index(new, old)
        text = str(Decimal(repr(index)).quantize(Decimal("0.0001")))
        self.stability[rule.column] = text
        measured = short(text)
        return _outcome(
            rule,
            Decimal(text) > Decimal(rule.at_most),
            measured,
            limit,
            f"stability index of {rule.column}: {measured} (at most {limit})",
            f"{rule.column} 稳定性指数：{measured}（至多 {limit}）",
        )

    def _counts(self, rule: Stability, previous: Snapshot) -> tuple[list[int], list[int]]:
        """Rows in each bin of the version before and of this one; the last bin holds the rows without value."""
        column = self.snapshot.schema[rule.column]
        if column.type in ("string", "bool"):
            bins = self._frequent(column, rule.bins, previous)
            return self._by_value(column, bins, previous), self._by_value(column, bins, self.snapshot)
        edges = self._edges(column, rule.bins, previous)
        return self._by_edge(column, edges, previous), self._by_edge(column, edges, self.snapshot)

    def _frequent(self, column: Column, bins: int, previous: Snapshot) -> list[Any]:
        c = _id(column.name)
        rows = self.con.execute(
            f"SELECT {c} FROM {_relation(previous)} WHERE {c} IS NOT NULL GROUP BY {c} "  # noqa: S608
            f"ORDER BY count(*) DESC, {c} LIMIT {bins}"
        ).fetchall()
        return [row[0] for row in rows]

    def _by_value(self, column: Column, bins: list[Any], of: Snapshot) -> list[int]:
        c = _id(column.name)
        total, present = self._row(f"SELECT count(*), count({c}) FROM {_relation(of)}")  # noqa: S608
        marks = ", ".join("?" for _ in bins) or "NULL"
        rows = self.con.execute(
            f"SELECT {c}, count(*) FROM {_relation(of)} WHERE {c} IN ({marks}) GROUP BY {c}",  # noqa: S608
            bins,
        ).fetchall()
        found = dict(rows)
        counts = [int(found.get(value, 0)) for value in bins]
        return [*counts, int(present) - sum(counts), int(total) - int(present)]

    def _edges(self, column: Column, bins: int, previous: Snapshot) -> list[str]:
        """Upper edges of all bins but the last, as the engine writes them."""
        c, relation = _id(column.name), _relation(previous)
        (present,) = self._row(f"SELECT count({c}) FROM {relation}")  # noqa: S608
        places = sorted({-(-present * k // bins) for k in range(1, bins)} - {0})
        if not places:
            return []
        # Sorting spills to disk; an aggregate of quantiles would hold all values.
        rows = self.con.execute(
            f"SELECT CAST(v AS VARCHAR) FROM (SELECT {c} AS v, row_number() OVER (ORDER BY {c}) AS n "  # noqa: S608
            f"FROM {relation} WHERE {c} IS NOT NULL) WHERE n IN ({', '.join(map(str, places))}) ORDER BY n"
        ).fetchall()
        return list(dict.fromkeys(row[0] for row in rows))

    def _by_edge(self, column: Column, edges: list[str], of: Snapshot) -> list[int]:
        c = _id(column.name)
        below = "".join(f", count(*) FILTER (WHERE {c} <= CAST(? AS {_cast(column)}))" for _ in edges)
        total, present, *upto = self._row(f"SELECT count(*), count({c}){below} FROM {_relation(of)}", *edges)  # noqa: S608
        steps = [0, *map(int, upto), int(present)]
        return [*(b - a for a, b in itertools.pairwise(steps)), int(total) - int(present)]


def stability_index(new: Sequence[int], old: Sequence[int]) -> float:
    """The population stability index of two counts over the same bins; see the head of this module."""
    p, q = _smoothed(new), _smoothed(old)
    # Never below zero but by rounding.
    return max(0.0, math.fsum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)))


def _smoothed(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    shares = [n / total if total else 0.0 for n in counts]
    whole = math.fsum(shares) + len(counts) * EPSILON
    return [(s + EPSILON) / whole for s in shares]


def _outcome(rule: Rule, broken: bool | None, measured: str | None, limit: str, en: str, zh: str) -> Outcome:
    return Outcome(
        rule=rule.key,
        kind=rule.kind,
        columns=rule.names,
        stop=rule.stop,
        state="unknown" if broken is None else "broken" if broken else "holds",
        measured=measured,
        limit=limit,
        en=en,
        zh=zh,
    )


def _relation(snapshot: Snapshot) -> str:
    return f"read_parquet({engine.literal(str(snapshot.data.absolute()))}, hive_partitioning=false)"


def _id(name: str) -> str:
    return engine.identifier(name)


def _cast(column: Column) -> str:
    """The engine's type that holds every value and every bound of the column exactly."""
    return {
        "int64": "BIGINT",
        "float64": "DOUBLE",
        "decimal": f"DECIMAL(38, {column.scale})",
        "date": "DATE",
        "timestamp": "TIMESTAMP",
    }[column.type]


def _written(column: Column, text: str) -> str:
    """A bound as the engine reads it."""
    value = bound(column, text)
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)
