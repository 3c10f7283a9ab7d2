"""Requests of the functions, from short arguments to the documents that a node compiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atoll.client import statistics as asked_statistics
from atoll.errors import AtollError

Json = dict[str, Any]
Names = str | Sequence[str]
Table = str | Mapping[str, Any]


def split_party(text: str) -> tuple[str, str | None]:
    """`asset` or `asset@party` as a pair."""
    asset, at, party = text.rpartition("@")
    return (asset, party) if at else (party, None)


def _names(value: Names) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _side(
    table: Table, keys: Names | None, select: Sequence[str] | None, rows: int | None, what: str
) -> Json:
    if isinstance(table, str):
        asset, party = split_party(table)
        body: Json = {"asset": asset} | ({"party": party} if party else {})
    else:
        body = dict(table)
    if keys is not None:
        body["keys"] = _names(keys)
    if "keys" not in body:
        raise AtollError("E_FORMAT", f"{what}: name the key columns with `on`, or `{what}_on`.")
    if select is not None:
        body["select"] = list(select)
    if rows is not None:
        body["rows"] = rows
    return body


def _holdings(assets: str | Iterable[Table]) -> str | list[Json]:
    """One name that every holder's table has, or a table of each."""
    if isinstance(assets, str):
        return assets
    tables = []
    for table in assets:
        if isinstance(table, str):
            asset, party = split_party(table)
            tables.append({"asset": asset} | ({"party": party} if party else {}))
        else:
            tables.append(dict(table))
    return tables


def _common(agreement: Any, purpose: str, options: Mapping[str, Any]) -> Json:
    identifier = agreement["id"] if isinstance(agreement, Mapping) else str(agreement)
    return {"agreement": identifier, "purpose": purpose} | {k: v for k, v in options.items() if v is not None}


def join(
    agreement: Any,
    left: Table,
    right: Table,
    *,
    purpose: str,
    on: Names | None = None,
    left_on: Names | None = None,
    right_on: Names | None = None,
    receivers: str | Sequence[str] = "me",
    reveal: str = "rows",
    duplicates: str = "sql",
    normalise: Mapping[str, Sequence[str]] | None = None,
    left_select: Sequence[str] | None = None,
    right_select: Sequence[str] | None = None,
    left_rows: int | None = None,
    right_rows: int | None = None,
    protocol: str | None = None,
    security: str | None = None,
    variant: str | None = None,
    **options: Any,
) -> Json:
    """The request of a private join.

    Args:
        agreement: its identifier, or an object that has one under `id`.
        left, right: the tables: `asset`, `asset@party`, or a mapping with asset, party, keys, select, rows.
        purpose: one that the grants name.
        on: key columns on both sides; `left_on` and `right_on` where their names differ.
        receivers: `me`, `peer`, `both`, or names or keys of parties.
        reveal: `rows`, each receiver's own matched rows; or `size`, only how many keys match.
        duplicates: `sql`, as joins in SQL do; or `refuse`.
        normalise: steps for each key column, by its name on the left side.
        left_select, right_select: columns of its own rows that a receiver is given; None means all of them.
        left_rows, right_rows: expected distinct keys, for the choice of a protocol and the estimate; None for what
            the node knows.
        protocol: `ecdh-psi/v1`, `vole-psi/v1` or `kept-oprf-psi/v1`; None lets the node choose by sizes, line and
            agreement.
        security: `malicious` or `semi-honest`, against parties that cheat or not.
        variant: of `vole-psi/v1`: `fast`, or `low-communication`, which is semi-honest and sends least.
        options: `seconds`, `memory_bytes`, `expires_seconds`, `shape`.
    """
    body = _common(agreement, purpose, options) | {
        "function": "join",
        "left": _side(left, left_on if left_on is not None else on, left_select, left_rows, "left"),
        "right": _side(right, right_on if right_on is not None else on, right_select, right_rows, "right"),
        "receivers": _receivers(receivers),
        "reveal": reveal,
        "duplicates": duplicates,
    }
    named = {"protocol": protocol, "security": security, "variant": variant}
    body |= {name: value for name, value in named.items() if value is not None}
    if normalise:
        body["normalise"] = {name: list(steps) for name, steps in normalise.items()}
    return body


def join_totals(
    agreement: Any,
    left: Table,
    right: Table,
    *,
    purpose: str,
    on: Names | None = None,
    left_on: Names | None = None,
    right_on: Names | None = None,
    left_values: Names = (),
    right_values: Names = (),
    receivers: str | Sequence[str] = "me",
    repeated: str | None = None,
    multiplicity: int | None = None,
    minimum_group: int | None = None,
    maximum_rows: int | None = None,
    normalise: Mapping[str, Sequence[str]] | None = None,
    left_rows: int | None = None,
    right_rows: int | None = None,
    **options: Any,
) -> Json:
    """The request of count, sums and means over the rows that two tables have in common, which nobody learns.

    Args:
        agreement: its identifier, or an object that has one under `id`.
        left, right: the tables: `asset`, `asset@party`, or a mapping with asset, party, keys, values, rows.
        purpose: one that the grants name.
        on: key columns on both sides; `left_on` and `right_on` where their names differ.
        left_values, right_values: columns to add, whole numbers or decimals; none for the count alone.
        receivers: `me`, `peer`, `both`, or names or keys of parties.
        repeated: `left` or `right`, whose keys may stand on up to `multiplicity` rows; None where all keys are unique.
        minimum_group: fewest matched keys for which totals open; None for what the grants ask.
        maximum_rows: bound on the rows of the repeated side; None for 4,194,304.
        normalise: steps for each key column, by its name on the left side.
        left_rows, right_rows: expected distinct keys, for the estimate; None for what the node knows.
        options: `seconds`, `memory_bytes`, `expires_seconds`, `shape`.
    """
    sides = {
        "left": _side(left, left_on if left_on is not None else on, None, left_rows, "left"),
        "right": _side(right, right_on if right_on is not None else on, None, right_rows, "right"),
    }
    for name, values in (("left", left_values), ("right", right_values)):
        if values:
            sides[name]["values"] = _names(values)
    body = _common(agreement, purpose, options) | {"function": "join_totals"} | sides
    bounds = (repeated, multiplicity, minimum_group, maximum_rows)
    return body | _hidden(receivers, bounds, normalise)


def _hidden(
    receivers: str | Sequence[str],
    bounds: tuple[str | None, int | None, int | None, int | None],
    normalise: Mapping[str, Sequence[str]] | None,
) -> Json:
    """What requests about a hidden join have in common."""
    names = ("repeated", "multiplicity", "minimum_group", "maximum_rows")
    body: Json = {"receivers": _receivers(receivers)}
    body |= {name: value for name, value in zip(names, bounds, strict=True) if value is not None}
    if normalise:
        body["normalise"] = {name: list(steps) for name, steps in normalise.items()}
    return body


def join_statistics(
    agreement: Any,
    left: Table,
    right: Table,
    *,
    statistics: str | Sequence[str | Mapping[str, Any]],
    purpose: str,
    on: Names | None = None,
    left_on: Names | None = None,
    right_on: Names | None = None,
    receivers: str | Sequence[str] = "me",
    repeated: str | None = None,
    multiplicity: int | None = None,
    minimum_group: int | None = None,
    maximum_rows: int | None = None,
    normalise: Mapping[str, Sequence[str]] | None = None,
    left_rows: int | None = None,
    right_rows: int | None = None,
    **options: Any,
) -> Json:
    """The request of statistics over the rows that two tables have in common, which nobody learns.

    Args:
        agreement, left, right, purpose, on, left_on, right_on, receivers, repeated, multiplicity, maximum_rows,
        normalise,
            left_rows, right_rows, options: as for `join_totals`.
        statistics: such as `mean(left.debt)`, `variance(right.income)`, `stddev(...)`, `covariance(left.a, right.b)`,
            `correlation(left.a, left.b)`, `histogram(right.age, 30, 45)` by cuts, `histogram(left.sector, retail,
            micro)` by codes, `histogram(left.sector)` by those that the agreement declares; or mappings with statistic,
            columns, cuts, codes. Variances and covariances are those of a sample.
        minimum_group: fewest matched keys for which anything opens, and least number that a histogram shows; None for
        what
            the grants ask.
    """
    wanted = [statistics] if isinstance(statistics, str) else list(statistics)
    asked: list[Json] = []
    for one in wanted:
        asked += asked_statistics.parse(one) if isinstance(one, str) else [dict(one)]
    sides = {
        "left": _side(left, left_on if left_on is not None else on, None, left_rows, "left"),
        "right": _side(right, right_on if right_on is not None else on, None, right_rows, "right"),
    }
    body = _common(agreement, purpose, options) | {"function": "join_statistics"} | sides
    body["statistics"] = asked
    bounds = (repeated, multiplicity, minimum_group, maximum_rows)
    return body | _hidden(receivers, bounds, normalise)


def _receivers(receivers: str | Sequence[str]) -> str | list[str]:
    """One of the three words, or a list; a single name other than the three words is a party."""
    if isinstance(receivers, str):
        return receivers if receivers in ("me", "peer", "both") else [receivers]
    return list(receivers)


def intersect(
    agreement: Any,
    tables: Iterable[Table],
    *,
    purpose: str,
    on: Names | None = None,
    leader: str = "me",
    reveal: str = "rows",
    everyone: bool = False,
    duplicates: str = "sql",
    normalise: Mapping[str, Sequence[str]] | None = None,
    select: Sequence[str] | None = None,
    **options: Any,
) -> Json:
    """The request of an intersection of three to twenty parties' tables.

    Args:
        agreement: its identifier, or an object that has one under `id`.
        tables: one of each party: `asset`, `asset@party`, or a mapping with asset, party, keys, select, rows.
        purpose: one that the grants name.
        on: key columns of the tables that do not name theirs.
        leader: `me`, or the name or key of the owner of one of the tables, who learns.
        reveal: `rows`, the leader's own rows whose keys all have; or `size`, only how many keys all have. The owner
            of the first table that is not the leader's could together with the leader learn which.
        everyone: whether the other owners learn as well, each of its own rows.
        duplicates: `sql`, every row of a key; or `refuse`.
        normalise: steps for each key column, by its name in the first table.
        select: columns of its own rows that each receiver is given, of tables that do not name theirs; None means
            all of them.
        options: `seconds`, `memory_bytes`, `expires_seconds`, `shape`.
    """
    sides = []
    for table in tables:
        own = isinstance(table, Mapping)
        keys = None if own and "keys" in table else on
        columns = None if own and "select" in table else select
        sides.append(_side(table, keys, columns, None, "tables"))
    body = _common(agreement, purpose, options) | {
        "function": "intersect",
        "tables": sides,
        "leader": leader,
        "reveal": reveal,
        "everyone": everyone,
        "duplicates": duplicates,
    }
    if normalise:
        body["normalise"] = {name: list(steps) for name, steps in normalise.items()}
    return body


def totals(
    agreement: Any,
    assets: str | Iterable[Table],
    *,
    purpose: str,
    group: str | None = None,
    segments: Sequence[str] | None = None,
    values: Names = (),
    count: bool = True,
    subject: str | None = None,
    minimum_group: int | None = None,
    receiver: str = "me",
    maximum_rows: int | None = None,
    **options: Any,
) -> Json:
    """The request of totals over three or more holders.

    Args:
        agreement: its identifier, or an object that has one under `id`.
        assets: one name that every holder's table has, or a table for each holder: `asset`, `asset@party`, or
            a mapping with asset, party, rename.
        purpose: one that the grants name.
        group: column of the segments; None for one total.
        segments: their codes; None for the column's code list.
        values: columns to add.
        count: whether rows are counted.
        subject: column that tells subjects apart, needed for a minimum group.
        minimum_group: None for what the grants ask.
        receiver: `me`, or a party's name or key.
        maximum_rows: bound on each holder's rows.
        options: `seconds`, `memory_bytes`, `expires_seconds`, `shape`.
    """
    body = _common(agreement, purpose, options) | {
        "function": "totals",
        "assets": _holdings(assets),
        "values": _names(values),
        "count": count,
        "receiver": receiver,
    }
    given = {"group": group, "subject": subject, "minimum_group": minimum_group, "maximum_rows": maximum_rows}
    body |= {k: v for k, v in given.items() if v is not None}
    if segments is not None:
        body["segments"] = list(segments)
    return body


def lookup(
    agreement: Any,
    name: str,
    table: str,
    *,
    purpose: str,
    on: Names,
    values: Names | None = None,
    normalise: Mapping[str, Sequence[str]] | None = None,
    rows: int | None = None,
    record_bytes: int | None = None,
    maximum_keys: int | None = None,
    block_calls: int | None = None,
    block_seconds: int | None = None,
    consent: str | None = None,
    declare_hits: bool | None = None,
    hint: bool | None = None,
    **options: Any,
) -> Json:
    """The request of a lookup: a standing service in which records of a partner's table are read by their keys.

    Args:
        agreement: its identifier, or an object that has one under `id`.
        name: what the lookup is called here: lower-case letters, digits and hyphens.
        table: `asset` or `asset@party`.
        purpose: one that the grants name.
        on: key columns, in the order in which keys are given.
        values: columns that are read; None for all others.
        normalise: steps for each key column.
        rows: most rows of a key, 1 to 64; None for 1.
        record_bytes: room for the values of a key, 8 to 4096; None for a guess from their types, 32 bytes for a text.
        maximum_keys: most keys in one request, up to 10,000, or 64 without a hint; None for 1,000, or 16.
        block_calls, block_seconds: most keys, and seconds, that one receipt covers.
        consent: `none`, `attested` or `presented`; None for what the grants ask.
        declare_hits: whether receipts state how many keys had a record; None if the grants ask a price for hits.
        hint: False for a few keys, of which each then takes more time and bytes; None takes a hint of the table once.
        options: `seconds`, `memory_bytes`, `expires_seconds`.
    """
    asset, party = split_party(table)
    given = {
        "party": party,
        "declare_hits": declare_hits,
        "hint": hint,
        "values": None if values is None else _names(values),
        "normalise": {column: list(steps) for column, steps in normalise.items()} if normalise else None,
        "rows": rows,
        "record_bytes": record_bytes,
        "maximum_keys": maximum_keys,
        "block_calls": block_calls,
        "block_seconds": block_seconds,
        "consent": consent,
    }
    body = _common(agreement, purpose, options) | {"function": "query", "name": name, "asset": asset}
    body["keys"] = _names(on)
    return body | {key: value for key, value in given.items() if value is not None}


def lookup_totals(
    agreement: Any,
    name: str,
    assets: str | Iterable[Table],
    *,
    purpose: str,
    on: Names,
    values: Names | None = None,
    normalise: Mapping[str, Iterable[str]] | None = None,
    rows: int | None = None,
    count_rows: bool = False,
    count_holders: bool = False,
    maximum_keys: int | None = None,
    block_calls: int | None = None,
    block_seconds: int | None = None,
    consent: str | None = None,
    **options: Any,
) -> Json:
    """The request of lookup totals: for one key, sums over several holders' tables.

    Args:
        name: what the lookup is called at this node.
        assets: one name that every holder's table has, or a table for each holder: `asset@party`, or a mapping with
            asset, party, rename.
        purpose: one that the grants name.
        on: key columns, in the order in which keys are given.
        values: columns to add.
        normalise: steps for each key column.
        rows: most rows of a key in one table; None for 1,000.
        count_rows, count_holders: whether totals say on how many rows, and in how many tables, a key stands.
        maximum_keys: most keys in one request, up to 1,000; None for 100.
        block_calls, block_seconds: most keys, and seconds, that one receipt covers.
        consent: `none`, `attested` or `presented`; None for what the grants ask.
        options: `seconds`, `memory_bytes`, `expires_seconds`.
    """
    given = {
        "values": None if values is None else _names(values),
        "normalise": {column: list(steps) for column, steps in normalise.items()} if normalise else None,
        "rows": rows,
        "maximum_keys": maximum_keys,
        "block_calls": block_calls,
        "block_seconds": block_seconds,
        "consent": consent,
    }
    body = _common(agreement, purpose, options) | {"function": "query_totals", "name": name}
    body |= {"keys": _names(on), "count_rows": count_rows, "count_holders": count_holders}
    body["assets"] = _holdings(assets)
    return body | {key: value for key, value in given.items() if value is not None}


def echo(
    agreement: Any,
    asset: str,
    *,
    purpose: str,
    maximum_bytes: int | None = None,
    block_calls: int | None = None,
    **options: Any,
) -> Json:
    """The request of an echo service: `asset` or `asset@party`, most bytes in a call, calls a receipt."""
    name, party = split_party(asset)
    given = {"party": party, "maximum_bytes": maximum_bytes, "block_calls": block_calls}
    body = _common(agreement, purpose, options) | {"function": "echo", "asset": name}
    return body | {k: v for k, v in given.items() if v is not None}
