"""Statistics over a hidden join through real nodes: exact results, what is withheld, what is refused."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest

from atoll.client.jobs import Job
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

MATCHED = range(200, 300)
OWN = ["own_matched_sum", "matched_product"]
DECLARED = {
    "debt": {"range": ["-1000", "100000000"]},
    "income": {"range": ["-100000", "100000"]},
    "age": {"range": ["0", "120"]},
}


def debt(i: int) -> Decimal:
    return Decimal(i * i * 37 % 99991 - 500).scaleb(-2)


def income(i: int) -> int:
    return i * 977 % 5003 - 2000


def age(i: int) -> int:
    return 20 + i % 60


def sector(i: int) -> str | None:
    """Of the hundred that match 3 have no code and 6 the rare one."""
    place = i - MATCHED.start
    return None if place < 3 else "rare" if place < 9 else ("retail", "micro")[i % 2]


def ids(numbers: range) -> list[str]:
    return [f"s{i}" for i in numbers]


def add(node: NodeProcess, name: str, table: pa.Table) -> None:
    columns = {c: DECLARED[c] for c in table.column_names if c in DECLARED}
    node.steward.data.add(name, table, declaration={"columns": columns})


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        mine = range(MATCHED.stop)
        add(
            made.alice,
            "loans",
            pa.table(
                {
                    "id": ids(mine),
                    "debt": pa.array([debt(i) for i in mine], pa.decimal128(18, 2)),
                    "sector": [sector(i) for i in mine],
                }
            ),
        )
        theirs = range(MATCHED.start, 450)
        taxes = {
            "id": ids(theirs),
            "income": pa.array([income(i) for i in theirs], pa.int64()),
            "age": [age(i) for i in theirs],
        }
        add(made.bob, "taxes", pa.table(taxes))
        twice = {
            "id": [*ids(theirs), *ids(range(200, 220)), None],
            "income": [income(i) for i in theirs] + [7] * 21,
        }
        add(made.bob, "visits", pa.table(twice))
        yield made


def agree(net: Net, **terms: Any) -> str:
    tables = {"alice": {"loans": "*"}, "bob": {"taxes": "*", "visits": "*"}}
    what = {"functions": ["join_statistics"], "minimum_group": 10, "also_disclose": OWN}
    return net.agreement(tables, **what | terms)


def asked(net: Net, agreement: str, wanted: list[Any], right: str = "taxes@bob", **how: Any) -> Job:
    options = {"on": "id", "purpose": "test", "statistics": wanted, "maximum_rows": 1000}
    return net.alice.analyst.join_statistics(agreement, "loans@alice", right, **options | how)


def row(job: Job) -> dict[str, Any]:
    (found,) = job.result().arrow().to_pylist()
    return dict(found)


def exact(value: Fraction, digits: int) -> Decimal:
    return Decimal(round(value * 10**digits)).scaleb(-digits)


WANTED = [
    "left.debt",
    "variance(left.debt)",
    "variance(right.income)",
    "stddev(right.income)",
    "covariance(right.income, right.age)",
    "covariance(left.debt, right.income)",
    "correlation(left.debt, right.income)",
    "histogram(right.age, 30, 50)",
    "histogram(left.sector, retail, micro, rare)",
]


def test_statistics_are_those_of_the_rows_that_match(net: Net, records: Any) -> None:
    job = asked(net, agree(net), WANTED, receivers="both")
    job.wait(timeout=120)
    found = row(job)
    debts, incomes = [Fraction(debt(i)) for i in MATCHED], [Fraction(income(i)) for i in MATCHED]
    ages = [Fraction(age(i)) for i in MATCHED]

    def covariance(x: list[Fraction], y: list[Fraction]) -> Fraction:
        return (
            sum(((a - sum(x) / 100) * (b - sum(y) / 100) for a, b in zip(x, y, strict=True)), Fraction()) / 99
        )

    histograms = {name: found.pop(f"histogram_{name}") for name in ("age", "sector")}
    correlation, spread = found.pop("correlation_debt_income"), found.pop("stddev_income")
    assert found == {
        "enough": True,
        "matched_keys": 100,
        "matched_rows": 100,
        "sum_debt": exact(sum(debts), 2),
        "mean_debt": exact(sum(debts) / 100, 8),
        "variance_debt": exact(covariance(debts, debts), 10),
        "variance_income": exact(covariance(incomes, incomes), 6),
        "covariance_income_age": exact(covariance(incomes, ages), 6),
        "covariance_debt_income": exact(covariance(debts, incomes), 8),
    }
    assert correlation == pytest.approx(
        statistics.correlation([float(d) for d in debts], [float(i) for i in incomes]), rel=1e-12
    )
    assert spread == pytest.approx(float(covariance(incomes, incomes)) ** 0.5, rel=1e-15)
    young = sum(age(i) < 30 for i in MATCHED)
    assert histograms["age"] == [
        young,
        sum(30 <= age(i) < 50 for i in MATCHED),
        sum(age(i) >= 50 for i in MATCHED),
    ]
    # Six of the rare code and three without one are too few, and nine together still are: the smaller rest goes too.
    assert histograms["sector"] == [None, 46, None, None]
    theirs = net.bob.analyst.jobs.get(job.id)
    theirs.wait(timeout=30)
    assert row(theirs)["sum_debt"] == found["sum_debt"]
    until("all signed", lambda: not job.receipt()["missing"])
    for node, other in ((net.alice, net.bob), (net.bob, net.alice)):
        assert {r["party"] for r in records(node).receipts(job.id, "provisional")} == {other.identity}
    assert {c["kind"]: c["amount"] for c in records(net.bob).charges(job.id)} == {
        "run": 1,
        "keys": 300,
        "rows": 300,
    }


def test_the_peer_alone_can_receive(net: Net) -> None:
    job = asked(net, agree(net), ["variance(left.debt)"], receivers="peer")
    job.wait(timeout=60)
    theirs = net.bob.analyst.jobs.get(job.id)
    theirs.wait(timeout=30)
    debts = [Fraction(debt(i)) for i in MATCHED]
    mean = sum(debts) / 100
    assert row(theirs)["variance_debt"] == exact(sum((d - mean) ** 2 for d in debts) / 99, 10)
    with pytest.raises(AtollError, match="E_NOT_FOUND"):
        job.result()


def test_as_csv_a_histogram_is_a_list_in_a_cell(net: Net, tmp_path: Any) -> None:
    job = asked(net, agree(net), ["histogram(right.age, 30, 50)"])
    job.wait(timeout=60)
    job.result().save(tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert "histogram_age" in lines[0]
    assert json.dumps(row(job)["histogram_age"]) in lines[1]


def test_who_receives_nothing_learns_nothing_and_gives_no_word(net: Net, records: Any) -> None:
    job = asked(net, agree(net), ["mean(right.income)"])
    job.wait(timeout=60)
    assert row(job)["matched_keys"] == 100
    until("all signed", lambda: not job.receipt()["missing"])
    assert records(net.alice).receipts(job.id, "provisional") == []
    assert {r["party"] for r in records(net.bob).receipts(job.id, "provisional")} == {net.alice.identity}
    with pytest.raises(AtollError, match="E_NOT_FOUND"):
        net.bob.analyst.jobs.get(job.id).result()


@pytest.mark.parametrize("minimum", [100, 101])
def test_too_few_keys_open_nothing_but_are_charged(net: Net, records: Any, minimum: int) -> None:
    wanted = ["variance(right.income)", "histogram(right.age, 50)", "correlation(left.debt, right.income)"]
    job = asked(net, agree(net), wanted, minimum_group=minimum)
    job.wait(timeout=60)
    found = row(job)
    assert found.pop("enough") == (minimum == 100)
    withheld = found.pop("histogram_age")
    assert withheld == ([None, None] if minimum == 100 else None)
    assert all(value is None for value in found.values()) == (minimum == 101)
    assert {c["kind"] for c in records(net.bob).charges(job.id)} == {"run", "keys", "rows"}


def test_keys_that_repeat_count_once_and_their_rows_all(net: Net) -> None:
    job = asked(
        net,
        agree(net),
        ["variance(right.income)", "covariance(left.debt, right.income)"],
        "visits@bob",
        repeated="right",
        multiplicity=2,
    )
    job.wait(timeout=60)
    found = row(job)
    assert (found["matched_keys"], found["matched_rows"]) == (100, 120)
    numbers = [Fraction(income(i)) for i in MATCHED] + [Fraction(7)] * 20
    mean = sum(numbers) / 120
    assert found["variance_income"] == exact(sum((n - mean) ** 2 for n in numbers) / 119, 6)


@pytest.mark.parametrize(
    ("wanted", "how", "code", "text"),
    [
        (["median(left.debt)"], {}, "E_FORMAT", "median"),
        (["variance(debt)"], {}, "E_FORMAT", "left.COLUMN"),
        (["correlation(left.debt)"], {}, "E_FORMAT", "two columns"),
        (["variance(left.nothing)"], {}, "E_COLUMN", "statistics.0.columns"),
        (["variance(left.sector)"], {}, "E_TYPE", "sector"),
        (["histogram(left.debt)"], {}, "E_FORMAT", "cuts"),
        (["histogram(left.sector)"], {}, "E_FORMAT", "codes"),
        (["histogram(left.debt, 5, 1)"], {}, "E_FORMAT", "in order"),
        (["histogram(left.debt, 0.001)"], {}, "E_FORMAT", "digits"),
        (["histogram(left.debt, 100000001)"], {}, "E_FORMAT", "declared range"),
        (["variance(left.debt)", "variance(left.debt)"], {}, "E_FORMAT", "twice"),
        (["variance(left.debt)"], {"minimum_group": 9}, "E_MIN_GROUP", "10"),
        (
            ["histogram(right.income, 0)"],
            {"right": "visits@bob", "repeated": "right", "multiplicity": 2},
            "E_MIN_GROUP",
            "several rows",
        ),
        (
            ["mean(right.income)"],
            {"right": "visits@bob", "left_rows": 10, "right_rows": 9},
            "E_DUPLICATE",
            "bob",
        ),
    ],
)
def test_refusals_say_what_is_wrong(
    net: Net, wanted: list[str], how: dict[str, Any], code: str, text: str
) -> None:
    with pytest.raises(AtollError) as caught:
        asked(net, agree(net), wanted, **how).wait(timeout=60)
    assert caught.value.code == code
    assert text in str(caught.value) or text == caught.value.party


def test_what_a_grant_does_not_name_is_refused(net: Net) -> None:
    agreement = agree(net, also_disclose=[])
    with pytest.raises(AtollError, match="E_POLICY"):
        asked(net, agreement, ["variance(left.debt)"]).wait(timeout=60)
    # With an own column of one 1 and zeros a sum of products would be a single value of the partner's.
    products = agree(net, also_disclose=["own_matched_sum"])
    with pytest.raises(AtollError, match="E_POLICY: bob refused"):
        asked(net, products, ["correlation(left.debt, right.income)"]).wait(timeout=60)
    asked(net, products, ["variance(left.debt)", "variance(right.income)"]).wait(timeout=60)
    with pytest.raises(AtollError, match="E_POLICY"):
        asked(net, agree(net, functions=["join_totals"]), ["variance(right.income)"]).wait(timeout=60)
    asked(net, agreement, ["variance(right.income)"]).wait(timeout=60)


@pytest.mark.parametrize("dies", ["alice", "bob"])
def test_a_party_that_dies_before_its_release_ends_it_and_nothing_opens(
    net: Net, crash_at: Callable[[NodeProcess, str | None], None], records: Any, dies: str
) -> None:
    agreement = agree(net, silence_seconds=8)
    crash_at(net[dies], "worker: about to release")
    linked = lambda: all(p["connected"] for n in net for p in n.administrator.peers.list())  # noqa: E731
    until("both are linked", linked, 30)
    job = asked(net, agreement, ["variance(right.income)"], receivers="both")
    with pytest.raises(AtollError):
        job.wait(timeout=60)
    ended = ("failed", "refused", "cancelled")
    until("bob ends it too", lambda: net.bob.analyst.jobs.get(job.id).state in ended, 60)
    for node in net:
        with pytest.raises(AtollError, match="E_"):
            node.analyst.jobs.get(job.id).result()
    assert records(net[dies]).charges(job.id) == []
    crash_at(net[dies], None)
    until("both are linked", linked, 30)
    again = net.alice.analyst.jobs.get(job.id).rerun()
    again.wait(timeout=60)
    assert row(again)["matched_keys"] == 100


@pytest.mark.slow
def test_a_long_run_says_how_far_it_is_and_stops_when_it_is_cancelled(net: Net) -> None:
    many = range(600_000)
    for node, name in ((net.alice, "many"), (net.bob, "more")):
        add(node, name, pa.table({"id": ids(many), "income": pa.array([i % 1000 for i in many], pa.int64())}))
    agreement = net.agreement(
        {"alice": {"many": "*"}, "bob": {"more": "*"}}, functions=["join_statistics"], also_disclose=OWN
    )
    job = net.alice.analyst.join_statistics(
        agreement, "many@alice", "more@bob", on="id", purpose="test",
        statistics=["correlation(left.income, right.income)"], maximum_rows=600_000,
    )  # fmt: skip

    def buckets() -> int:
        progress = job.refresh().document.get("progress")
        return int(progress["done"]) if progress else 0

    until("a bucket is done", lambda: buckets() > 0, 120)
    job.cancel()
    ended = ("cancelled", "failed")
    for node in net:
        until("it has ended", lambda n=node: n.analyst.jobs.get(job.id).state in ended, 30)
    assert net.alice.analyst.jobs.get(job.id).state == "cancelled"
    with pytest.raises(AtollError):
        net.alice.analyst.jobs.get(job.id).result()
