"""From a user's request to the plan of lookup totals: one key against many holders, one total."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from atoll.agreements import Agreement, Asset, grants_to
from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Identifier, Name
from atoll.crypto.lookup_totals import shape_for
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, clear_edge, operator
from atoll.functions.join.compile import Steps, compile_side
from atoll.functions.totals.compile import Holding
from atoll.functions.values import value_range
from atoll.plan.operators import lookup_totals

FUNCTION = "query_totals"
# Bytes of a key's digest, and of a request beside its keys.
_KEY_BYTES, _HEAD_BYTES = 32, 4096
_HOUR_SECONDS = 3600
# Keys of a table of which nothing is known.
_GUESS_KEYS = 100_000


class Request(compiling.Request):
    """Lookup totals.

    `name`: what it is called at the asker. `assets`: the holders' tables, or the name of an asset that several parties
    have: then all of them but the asker's. `keys`: the key columns, in the order in which keys are given; `normalise`:
    steps for each. `values`: columns to add. `rows`: most rows of a key in one table. `count_rows`, `count_holders`:
    whether totals say on how many rows, and in how many tables, a key stands. `maximum_keys` in one request.
    `block_calls`, `block_seconds`: most keys and seconds of a receipt. `consent`: how each key shows the data subject's
    authorisation; null for what the grants ask.
    """

    name: Identifier
    assets: Name | Annotated[tuple[Holding, ...], Field(max_length=1000)]
    keys: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    values: Annotated[tuple[Name, ...], Field(max_length=lookup_totals.MAX_WORDS)] = ()
    normalise: Annotated[dict[Name, Steps], Field(max_length=16)] = Field(default_factory=dict)
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    count_rows: bool = False
    count_holders: bool = False
    maximum_keys: Annotated[int, Field(ge=1, le=lookup_totals.MOST_KEYS)] = 100
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)] = _HOUR_SECONDS
    consent: ConsentMode | None = None


@dataclass(frozen=True)
class _Table:
    """A holder's table: where the request names it, what the request says of it, and the agreement."""

    at: str
    holding: Holding
    asset: Asset


def _tables(request: Request, agreement: Agreement, me: str) -> list[_Table]:
    """The tables in order of their holders' keys, one for each holder."""
    if isinstance(request.assets, str):
        named = [a for a in agreement.assets if a.name == request.assets and a.host != me]
        found = [_Table(f"assets, {agreement.names[a.host]}", Holding(asset=a.name), a) for a in named]
        if not found:
            compiling.find_asset(agreement, request.assets, None, "assets")
    else:
        found = [
            _Table(f"assets.{i}", h, compiling.find_asset(agreement, h.asset, h.party, f"assets.{i}.asset"))
            for i, h in enumerate(request.assets)
        ]
    if len({table.asset.host for table in found}) != len(found):
        raise AtollError("E_FORMAT", "assets: each party gives one table.")
    if any(table.asset.host == me for table in found):
        raise AtollError("E_FORMAT", "assets: one table is at this node; add its rows here.")
    least, most = lookup_totals.MIN_HOLDERS, lookup_totals.MAX_HOLDERS
    if not least <= len(found) <= most:
        raise AtollError(
            "E_FORMAT",
            f"assets: totals of a key need {least} to {most} holders, not {len(found)}: that of one is its record.",
        )
    return sorted(found, key=lambda table: table.asset.host)


def _values(request: Request, table: _Table) -> list[Json]:
    rename, values = table.holding.rename, []
    unknown = sorted(rename.keys() - {*request.keys, *request.values})
    if unknown:
        text = f"{table.at}.rename: {unknown[0]!r} is no key and no value of the request."
        raise AtollError("E_COLUMN", text, column=unknown[0])
    for name in request.values:
        own = rename.get(name, name)
        column = table.asset.column(own)
        if column is None:
            raise AtollError("E_COLUMN", f"values: {table.asset.name} has no column {own!r}.", column=own)
        values.append({"column": own, "as": name, "scale": column.scale or 0, "range": value_range(column)})
    return values


def _check_alike(values: list[list[Json]], tables: list[_Table]) -> None:
    """All holders' values have one number of decimal places: only such can be added."""
    for together in zip(*values, strict=True):
        for value, table in zip(together, tables, strict=True):
            if value["scale"] != together[0]["scale"]:
                text = (
                    f"{table.at}: {value['column']!r} has {value['scale']} decimal places, and {together[0]['scale']} "
                    f"at {tables[0].at}; only alike numbers are added."
                )
                raise AtollError("E_UNIT", text, column=value["column"])


def compile(
    request: Any,
    agreement: Any,
    *,
    me: str,
    person: str,
    now: datetime,
    job: str,
    salt: str,
    calibration: Calibration = DEFAULT_CALIBRATION,
) -> Json:
    """The plan document of lookup totals; arguments and errors as in `atoll.functions.join.compile`."""
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    unknown = sorted(wanted.normalise.keys() - set(wanted.keys))
    if unknown:
        raise AtollError("E_COLUMN", f"normalise: {unknown[0]!r} is no key column.")
    if not wanted.values and not wanted.count_rows and not wanted.count_holders:
        raise AtollError("E_FORMAT", "values: name columns to add, or ask for count_rows or count_holders.")
    columns = [*wanted.values]
    columns += [lookup_totals.ROWS] * wanted.count_rows + [lookup_totals.HOLDERS] * wanted.count_holders
    if len(columns) > lookup_totals.MAX_WORDS:
        text = f"values: a total has at most {lookup_totals.MAX_WORDS} numbers, counts among them."
        raise AtollError("E_FORMAT", text)
    tables = _tables(wanted, terms, me)
    steps = [wanted.normalise.get(key, ()) for key in wanted.keys]
    grants = [g for table in tables for _, g in grants_to(table.asset, me, wanted.purpose, FUNCTION)]
    if any(g.price is not None and g.price.per_hit != "0" for g in grants):
        raise AtollError(
            "E_FORMAT",
            "assets: a grant asks a price for hits, which nobody learns here; its price must be by call or run.",
        )
    items, locals_, keys, values = [], [], [], []
    for number, table in enumerate(tables):
        own = [table.holding.rename.get(key, key) for key in wanted.keys]
        added = _values(wanted, table)
        others = [value["column"] for value in added if value["column"] not in own]
        item, local = compile_side(terms, table.asset, number, own, others, steps, table.at)
        items.append(item)
        locals_.append(local)
        keys.append(own)
        values.append(added)
    _check_alike(values, tables)
    hosts = [table.asset.host for table in tables]
    at = sorted([me, *hosts])
    block_calls = max(wanted.block_calls, wanted.maximum_keys)
    parameters = {
        "name": wanted.name,
        "holders": hosts,
        "keys": keys,
        "values": values,
        "rows": wanted.rows,
        "count_rows": wanted.count_rows,
        "count_holders": wanted.count_holders,
        "maximum_keys": wanted.maximum_keys,
        "maximum_bytes": _HEAD_BYTES + _KEY_BYTES * wanted.maximum_keys,
        "block_calls": block_calls,
        "block_seconds": wanted.block_seconds,
        "consent": compiling.consent_mode(wanted.consent, grants),
    }
    last = f"n{2 * len(tables)}"
    joint = operator(
        last,
        lookup_totals.RULE.kind,
        [local[-1]["id"] for local in locals_],
        at,
        {**clear_edge("table", columns, [me]), "rows": None},
        parameters,
        lookup_totals.PROTOCOL.id,
        lookup_totals.PROTOCOL.security,
    )
    total_bytes, seconds = _cost(calibration, tables, len(columns))
    return compiling.frame(
        wanted,
        terms,
        function=FUNCTION,
        shape="service",
        me=me,
        person=person,
        now=now,
        job=job,
        salt=salt,
        inputs=items,
        operators=[op for local in locals_ for op in local] + [joint],
        outputs=[{"id": "out0", "from": last, "receiver": me, "columns": columns, "minimum_group": 1}],
        estimate=compiling.estimate(None, block_calls, total_bytes, seconds),
    )


def _cost(calibration: Calibration, tables: list[_Table], words: int) -> tuple[int, float]:
    """Bytes of all sealed tables and of a first preparation, and seconds until the first answer."""
    hosts = [table.asset.host for table in tables]
    total = 0
    for table in tables:
        keys = calibration.sizes.get((table.asset.host, table.asset.name), _GUESS_KEYS)
        shape = shape_for(keys, words)
        preparation, query, _ = shape.cost()
        total += shape.table_bytes + preparation + query
    line = calibration.among(hosts)
    # A preparation of each holder takes the asker about a tenth of a second.
    return total, line.start_seconds + 0.15 * len(hosts) + total / line.bytes_per_second
