"""The worker's side of statistics over a hidden join: own keys and values in, totals out, statistics from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from atoll import mpc
from atoll.data.read import read
from atoll.errors import AtollError
from atoll.functions.context import Context, LocalInput, Outcome
from atoll.functions.join import budget
from atoll.functions.join.keys import PreparedKeys
from atoll.functions.join.run import key_sides, own_keys
from atoll.functions.join_statistics.estimate import cost_of
from atoll.functions.join_statistics.join import Sizes, brought
from atoll.functions.join_statistics.program import check_operators, program, source
from atoll.functions.join_statistics.results import table
from atoll.functions.join_totals.run import own_rows
from atoll.functions.values import check_values, words
from atoll.plan.operators.hidden_join import Brought
from atoll.protocols import buckets
from atoll.protocols.coin import fields, toss
from atoll.protocols.hidden_totals import firsts

Json = dict[str, Any]
U64 = npt.NDArray[np.uint64]
STEP = "join-statistics"
_SMALL_ROWS = 1 << 17
# Of an own row: its key, its place and its digest; and of each number that it brings, which is read and put in order.
_ROW_BYTES, _WORD_BYTES = 80, 24


class Rows:
    """This party's rows that have a key, in buckets that a coin of both placed."""

    def __init__(
        self, context: Context, digests: bytes, rows: U64, sizes: Sizes, key: bytes, me: int
    ) -> None:
        placer = me == sizes.unique
        self._capacity = sizes.fit.placer_items if placer else sizes.fit.mapper_items
        self._context, self._rows = context, rows
        self._buckets = buckets.Buckets(
            digests,
            None,
            key=key,
            buckets=sizes.fit.buckets,
            capacity=self._capacity,
            threads=context.threads,
        )

    def bucket(self, number: int) -> tuple[bytes, U64]:
        """Digests and words of a bucket; fillers bring zeros."""
        context = self._context
        name = f"{STEP}/{number}"
        found = self._buckets.take(number, seed=context.seed, attempt=context.attempt, name=name)
        rows = np.zeros((len(found.digests) // 32, self._rows.shape[1]), np.uint64)
        rows[: len(found.items)] = self._rows[found.items]
        return found.digests, rows


def _numbers(context: Context, local: LocalInput, wanted: list[Brought], step: str) -> dict[str, U64]:
    """The number columns that are brought, in units, by name; `E_RANGE` for a value that the plan does not allow."""
    values: dict[str, Json] = {}
    for one in wanted:
        for name, scale, bounds in zip(one.columns, one.scales, one.ranges, strict=False):
            values[name] = {"column": name, "scale": scale, "range": list(bounds)}
    if not values:
        return {}
    check_values(local, list(values.values()), list(values), step, context.me)
    found = words(local, list(values.values()), step, context.me)
    return {name: found[:, place] for place, name in enumerate(values)}


def _codes(local: LocalInput, name: str) -> pa.ChunkedArray:
    """A column's codes as text; a missing one is none."""
    batches = [pc.cast(batch.column(name), pa.string()) for batch in read(local.data, [name])]
    return pa.chunked_array(batches, pa.string())


def one_column(what: Brought, numbers: dict[str, U64], local: LocalInput, codes: dict[str, Any]) -> U64:
    """What each row brings."""
    name = what.columns[0]
    if what.form == "codes":
        if name not in codes:
            codes[name] = _codes(local, name)
        found = pc.is_in(codes[name], pa.array(what.codes, pa.string())).to_numpy(zero_copy_only=False)
        return np.asarray(~found if what.other else found, np.uint64)
    units = numbers[name].view(np.int64)
    if what.form == "range":
        inside = np.ones(len(units), np.bool_)
        if what.low is not None:
            inside &= units >= int(what.low)
        if what.high is not None:
            inside &= units < int(what.high)
        return inside.astype(np.uint64)
    if what.form == "value":
        return numbers[name]
    # Within 2^62 by the ranges that were checked.
    return (units * numbers[what.columns[-1]].view(np.int64)).view(np.uint64)


def _own(
    context: Context, local: LocalInput, keys: PreparedKeys, joint: Json, me: int, sizes: Sizes
) -> tuple[bytes, U64]:
    """Digests and words of the own rows that have a key, row by row."""
    step = joint["id"]
    rows = own_rows(context, keys, joint["parameters"], step)
    wanted = brought(joint, me)
    numbers = _numbers(context, local, wanted, step)
    codes: dict[str, pa.ChunkedArray] = {}
    columns = [one_column(one, numbers, local, codes)[rows] for one in wanted]
    digests = np.frombuffer(keys.digests, "<u8").reshape(-1, 4)[keys.rows[rows]].tobytes()
    if me == sizes.unique:
        columns.insert(0, np.ones(len(rows), np.uint64))
    elif sizes.multiplicity > 1:
        columns.insert(0, firsts(digests, sizes.multiplicity))
    out = np.stack(columns, axis=1) if columns else np.empty((len(rows), 0), np.uint64)
    return digests, np.ascontiguousarray(out, np.uint64)


def _sizes(context: Context, joint: Json, sides: list[Json]) -> Sizes:
    """What both agreed on in the plan and their approvals."""
    declared = [context.declared_keys[side["input"]] for side in sides]
    for side, count in zip(sides, declared, strict=True):
        if count is None:
            raise AtollError("E_PLAN", f"{side['party']} declared no number of keys", step=joint["id"])
    unique = next(i for i, side in enumerate(sides) if side["party"] == joint["parameters"]["unique"])
    return Sizes.of(joint, (declared[0] or 0, declared[1] or 0), unique)


def check_memory(context: Context, operators: list[Json], sizes: Sizes, rows: int, me: int) -> None:
    """`E_MEMORY`, before anything is sent, for tables that surely do not fit; small ones are tried."""
    if max(sizes.placer_items, sizes.mapper_items) <= _SMALL_ROWS:
        return
    mine = _ROW_BYTES + _WORD_BYTES * (1 + len(brought(operators[0], me)))
    # An estimate is up to 1.3 times what a run takes.
    need = int(cost_of(operators, sizes).memory_bytes / 1.3) + rows * mine
    budget.refuse(need, context.memory_bytes, f"statistics over {rows} rows", operators[0]["id"])


def run(context: Context) -> Outcome:
    """Runs this party's side.

    Raises:
        AtollError: `E_DUPLICATE` at the party whose keys stand on more rows than the plan says; `E_RANGE` and `E_DATA`
            at the one whose values are not what the plan says; `E_TOO_LARGE` for tables that are too large, `E_MEMORY`
            for those that do not fit in the worker's memory; whatever channel and protocol raise.
    """
    joint, sides = key_sides(context.plan)
    operators = [op for op in context.plan["operators"] if op["protocol"] is not None]
    check_operators(operators)
    step, parties = joint["id"], [side["party"] for side in sides]
    me = parties.index(context.me)
    peer = parties[1 - me]
    local, keys = own_keys(context, sides[me], step, "sql")
    sizes = _sizes(context, joint, sides)
    check_memory(context, operators, sizes, keys.row_count, me)
    digests, rows = _own(context, local, keys, joint, me, sizes)
    meters = {"rows": len(keys.rows), "keys": keys.count}
    receivers = operators[-1]["parameters"]["receivers"]
    channel = context.channel(peer, step)
    agreed = fields(STEP.encode(), context.plan["id"].encode(), repr(sizes).encode())
    coin = toss(
        channel, agreed, parties[me].encode(), peer.encode(),
        seed=context.seed, attempt=context.attempt, name=step, step=STEP,
    )  # fmt: skip
    done = 0
    total = sizes.fit.buckets + 1

    def bucket(finished: int, _: int) -> None:
        nonlocal done
        done = finished
        context.progress(done, total, step)

    session = mpc.Session(
        me,
        {1 - me: channel},
        context=fields(context.plan["id"].encode(), coin.value),
        seed=context.seed,
        attempt=context.attempt,
        names=parties,
        source=source(operators),
        threads=context.threads,
        # A job that was cancelled stops at the next round.
        progress=lambda *_: context.progress(done, total, step),
    )
    own = Rows(context, digests, rows, sizes, coin.value, me)
    opened = program(session, operators, sizes, own, bucket)
    session.work(*opened.arrays)
    if peer in receivers:
        context.before_open([peer])
    found = session.open(*opened.arrays, to=[parties.index(party) for party in receivers])
    context.progress(total, total, step)
    if context.me not in receivers:
        return Outcome(meters=meters)
    totals = dict(zip(opened.names, (value.item() for value in found), strict=True))
    result = table(opened.operator, totals)
    return Outcome(result, 1, meters, {"enough": bool(totals["enough"])})
