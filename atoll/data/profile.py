"""What a snapshot's values look like, for its owner only: none of this may travel to a partner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from atoll.data import engine
from atoll.data.snapshot import Snapshot, load
from atoll.errors import AtollError

EXACT_ROWS = 1_000_000  # up to here distinct values are counted exactly


@dataclass(frozen=True)
class ColumnProfile:
    """One column. `least` and `greatest` are written as text; None if the column has no values.

    `distinct` counts non-null values; it is an estimate (HyperLogLog, a few percent off) unless `exact`.
    """

    name: str
    type: str
    nulls: int
    distinct: int
    exact: bool
    least: str | None
    greatest: str | None


@dataclass(frozen=True)
class KeyProfile:
    """Duplicates of one key: `duplicated` keys occur more than once, in `rows` rows; keys with a null are
    apart.
    """

    columns: tuple[str, ...]
    duplicated: int
    rows: int
    nulls: int


@dataclass(frozen=True)
class Profile:
    """Rows, rows skipped as bad when the snapshot was made, columns, keys."""

    rows: int
    skipped: int
    columns: tuple[ColumnProfile, ...]
    keys: tuple[KeyProfile, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON form, for the owner."""
        return asdict(self)


def profile(
    path: str | Path | Snapshot, keys: Sequence[Sequence[str]] = (), *, work: Path | None = None
) -> Profile:
    """Profiles a snapshot.

    Args:
        path: a version's folder, or its Snapshot.
        keys: column lists, each taken together as a key whose duplicates are counted.
        work: folder for the engine's temporary files.

    Raises:
        AtollError: `E_COLUMN` for a key column that is not there; `E_DATA` if the file is damaged.
    """
    snapshot = path if isinstance(path, Snapshot) else load(path)
    chosen = [snapshot.schema.select(key) for key in keys]
    file = snapshot.data.absolute()
    relation = f"read_parquet({engine.literal(str(file))}, hive_partitioning=false)"
    exact = snapshot.rows <= EXACT_ROWS
    try:
        with engine.connect(file, work=work) as con:
            columns = []
            for column in snapshot.schema:
                c = engine.identifier(column.name)
                count = f"count(DISTINCT {c})" if exact else f"approx_count_distinct({c})"
                row = con.execute(
                    f"SELECT count(*) - count({c}), {count}, CAST(min({c}) AS VARCHAR), "  # noqa: S608, identifiers are quoted
                    f"CAST(max({c}) AS VARCHAR) FROM {relation}"
                ).fetchone()
                assert row is not None
                nulls, distinct, least, greatest = row
                distinct = min(distinct, snapshot.rows - nulls)
                columns.append(
                    ColumnProfile(column.name, column.type, nulls, distinct, exact, least, greatest)
                )
            found = [_key(con, relation, schema.names) for schema in chosen]
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        raise AtollError("E_DATA", f"{snapshot.data} cannot be read: {reason}") from None
    return Profile(snapshot.rows, snapshot.skipped, tuple(columns), tuple(found))


def _key(con: duckdb.DuckDBPyConnection, relation: str, names: list[str]) -> KeyProfile:
    quoted = [engine.identifier(name) for name in names]
    present = " AND ".join(f"{c} IS NOT NULL" for c in quoted)
    row = con.execute(
        f"SELECT count(*), coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {relation} WHERE {present} "  # noqa: S608
        f"GROUP BY {', '.join(quoted)} HAVING count(*) > 1)"
    ).fetchone()
    nulls = con.execute(f"SELECT count(*) FROM {relation} WHERE NOT ({present})").fetchone()  # noqa: S608
    assert row is not None
    assert nulls is not None
    return KeyProfile(tuple(names), int(row[0]), int(row[1]), int(nulls[0]))
