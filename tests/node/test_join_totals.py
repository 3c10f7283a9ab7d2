"""Totals over a hidden join through real nodes: what is learnt, charged and signed, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from atoll.client.jobs import Job
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

LOANS, TAXES = 300, 200
RANGE = {"columns": {"debt": {"range": ["0", "1000"]}, "income": {"range": ["-100000", "100000"]}}}


def ids(first: int, last: int) -> list[str]:
    return [f"s{i}" for i in range(first, last)]


def amounts(numbers: range) -> pa.Array:
    return pa.array([Decimal(n).scaleb(-2) for n in numbers], pa.decimal128(18, 2))


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        loans = pa.table({"id": ids(0, LOANS), "debt": amounts(range(LOANS))})
        # Twenty keys stand twice; a row without a key matches nothing.
        keys = [*ids(200, 400), *ids(200, 220), None]
        taxes = pa.table({"id": keys, "income": pa.array([7 - i for i in range(len(keys))], pa.int64())})
        made.alice.steward.data.add(
            "loans", loans, declaration={"columns": {"debt": RANGE["columns"]["debt"]}}
        )
        made.bob.steward.data.add(
            "taxes", taxes, declaration={"columns": {"income": RANGE["columns"]["income"]}}
        )
        holes = pa.table({"id": ids(0, 3), "debt": pa.array([Decimal("1.00"), None, Decimal("2.00")])})
        made.alice.steward.data.add(
            "holes", holes, declaration={"columns": {"debt": RANGE["columns"]["debt"]}}
        )
        yield made


def agree(net: Net, **terms: Any) -> str:
    tables = {"alice": {"loans": "*", "holes": "*"}, "bob": {"taxes": "*"}}
    what = {"functions": ["join_totals"], "minimum_group": 50, "also_disclose": ["own_matched_sum"]}
    return net.agreement(tables, **what | terms)


def asked(net: Net, agreement: str, left: str = "loans@alice", **how: Any) -> Job:
    options = {
        "on": "id",
        "purpose": "test",
        "left_values": "debt",
        "right_values": "income",
        "repeated": "right",
        "multiplicity": 2,
        "maximum_rows": 1000,
    }
    return net.alice.analyst.join_totals(agreement, left, "taxes@bob", **options | how)


def row(job: Job) -> dict[str, Any]:
    (found,) = job.result().arrow().to_pylist()
    return dict(found)


def test_sums_are_exact_signed_and_of_the_sql_join_and_both_gave_their_word(net: Net, records: Any) -> None:
    job = asked(net, agree(net), receivers="both")
    job.wait(timeout=60)
    found = row(job)
    debts = [*range(200, 300), *range(200, 220)]
    incomes = [*range(100), *range(200, 220)]
    assert found == {
        "enough": True,
        "matched_keys": 100,
        "matched_rows": 120,
        "sum_debt": Decimal(sum(debts)).scaleb(-2),
        "mean_debt": (Decimal(sum(debts)).scaleb(-2) / 120).quantize(Decimal("1e-8")),
        "sum_income": Decimal(sum(7 - i for i in incomes)),
        "mean_income": (Decimal(sum(7 - i for i in incomes)) / 120).quantize(Decimal("1e-6")),
    }
    theirs = net.bob.analyst.jobs.get(job.id)
    theirs.wait(timeout=30)
    assert row(theirs) == found
    until("all signed", lambda: not job.receipt()["missing"])
    for node, other in ((net.alice, net.bob), (net.bob, net.alice)):
        assert {r["party"] for r in records(node).receipts(job.id, "provisional")} == {other.identity}
    charged = {c["kind"]: c["amount"] for c in records(net.bob).charges(job.id)}
    assert charged == {"run": 1, "keys": LOANS, "rows": LOANS}


def test_who_receives_nothing_gives_its_word_too_since_it_learns_whether_there_are_enough(
    net: Net, records: Any
) -> None:
    job = asked(net, agree(net))
    job.wait(timeout=60)
    assert row(job)["matched_keys"] == 100
    until("all signed", lambda: not job.receipt()["missing"])
    assert {r["party"] for r in records(net.alice).receipts(job.id, "provisional")} == {net.bob.identity}
    with pytest.raises(AtollError, match="E_NOT_FOUND"):
        net.bob.analyst.jobs.get(job.id).result()


@pytest.mark.parametrize("minimum", [100, 101])
def test_the_minimum_is_of_keys_and_fewer_open_nothing_but_are_charged(
    net: Net, records: Any, minimum: int
) -> None:
    job = asked(net, agree(net), minimum_group=minimum)
    job.wait(timeout=60)
    found = row(job)
    assert found.pop("enough") == (minimum == 100)
    assert all(value is None for value in found.values()) == (minimum == 101)
    assert {c["kind"] for c in records(net.bob).charges(job.id)} == {"run", "keys", "rows"}


@pytest.mark.parametrize(
    ("how", "code", "party"),
    [
        ({"minimum_group": 49}, "E_MIN_GROUP", "alice"),
        ({"repeated": None, "multiplicity": None, "left_rows": 10, "right_rows": 9}, "E_DUPLICATE", "bob"),
        ({"maximum_rows": 219}, "E_RANGE", "bob"),
        ({"left": "holes@alice", "minimum_group": 50}, "E_DATA", "alice"),
    ],
    ids=["minimum", "duplicates", "rows", "missing values"],
)
def test_refusals_name_who_and_show_no_value(net: Net, how: dict[str, Any], code: str, party: str) -> None:
    with pytest.raises(AtollError) as caught:
        asked(net, agree(net), **how).wait(timeout=60)
    assert (caught.value.code, caught.value.party) == (code, party)


def test_the_quota_of_runs_ends_the_second_one_with_nothing_opened(net: Net) -> None:
    agreement = agree(net, runs_per_day=1)
    asked(net, agreement).wait(timeout=60)
    with pytest.raises(AtollError, match="E_QUOTA"):
        asked(net, agreement).wait(timeout=60)


@pytest.mark.parametrize("dies", ["alice", "bob"])
def test_a_party_that_dies_before_its_release_ends_it_and_nothing_opens(
    net: Net, crash_at: Callable[[NodeProcess, str | None], None], records: Any, dies: str
) -> None:
    agreement = agree(net, silence_seconds=8)
    crash_at(net[dies], "worker: about to release")
    until(
        "both are linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list()), 30
    )
    job = asked(net, agreement, receivers="both")
    with pytest.raises(AtollError):
        job.wait(timeout=60)
    until(
        "bob ends it too",
        lambda: net.bob.analyst.jobs.get(job.id).state in ("failed", "refused", "cancelled"),
        60,
    )
    for node in net:
        with pytest.raises(AtollError, match="E_"):
            node.analyst.jobs.get(job.id).result()
    assert records(net[dies]).charges(job.id) == []
    crash_at(net[dies], None)
    until(
        "both are linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list()), 30
    )
    again = net.alice.analyst.jobs.get(job.id).rerun()
    again.wait(timeout=60)
    assert row(again)["matched_keys"] == 100
