"""Scenarios of private joins: what each side gets, by which protocol."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

from atoll_scenario_world import Play, ids, numbers, scenario

from atoll.client import requests, verify_ledger
from atoll.testing import until


@scenario("a join gives the asker its matched rows")
def _(p: Play) -> None:
    job = p.run(p.join(p.both()))
    found = p.do.rows(p.alice, job)
    assert sorted(r["id"] for r in found) == sorted(ids(60, 120))
    assert {r["id"]: str(r["debt"]) for r in found}["s77"] == "77.25"
    seen = p.do.job(p.alice, job)
    assert seen["result"] == {"rows": 60, "matched_rows": 60, "matched_keys": 60}


@scenario("a join gives chosen columns only", heavy=True)
def _(p: Play) -> None:
    job = p.run(p.join(p.both(), left_select=["segment"]))
    assert {tuple(r) for r in p.do.rows(p.alice, job)} == {("segment",)}


@scenario("a join gives both sides their rows in one order")
def _(p: Play) -> None:
    job = p.run(p.join(p.both(), receivers="both"))
    mine = [r["id"] for r in p.do.rows(p.alice, job)]
    until("bob has completed", lambda: p.do.job(p.bob, job)["state"] == "completed")
    assert mine == [r["id"] for r in p.do.rows(p.bob, job)]
    assert len(mine) == 60


@scenario("a join may be for the peer alone", error="E_NOT_FOUND")
def _(p: Play) -> None:
    job = p.run(p.join(p.both(), receivers="peer"))
    until("bob has completed", lambda: p.do.job(p.bob, job)["state"] == "completed")
    assert len(p.do.rows(p.bob, job)) == 60
    p.do.rows(p.alice, job)


@scenario("a join may tell the size alone")
def _(p: Play) -> None:
    job = p.run(p.join(p.both(), reveal="size"))
    assert p.do.job(p.alice, job)["result"] == {"rows": 1, "intersection_size": 60}


KEPT = {"protocol": "kept-oprf-psi/v1"}


@scenario("a kept join, again after the large table changed", heavy=True)
def _(p: Play) -> None:
    name = p.fresh(p.bob, {"id": ids(60, 200)})
    agreement = p.agree(alice={"loans": "*"}, bob={name: "*"}, join={"variants": ["kept"]})
    job = p.run(p.join(agreement, right=name, **KEPT))
    assert sorted(r["id"] for r in p.do.rows(p.alice, job)) == sorted(ids(60, 120))
    p.world.write({"id": ids(50, 110)}, f"bob-{name}")
    p.do.refresh(p.bob, name)
    job = p.run(p.join(agreement, right=name, **KEPT))
    assert sorted(r["id"] for r in p.do.rows(p.alice, job)) == sorted(ids(50, 110))
    statement = p.do.job(p.alice, job)["statement"]
    assert statement["security"] == "semi-honest"
    assert any("recognise" in line for line in statement["en"])


@scenario("a kept join that the agreement does not name", error="E_POLICY", text="join.variants")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(join={"variants": ["low-communication"]}), **KEPT))


@scenario("only the holder's grant lacks the kept join", error="E_POLICY")
def _(p: Play) -> None:
    alice = {"loans": {"columns": "*", "grant": {"join": {"variants": ["kept"]}}}}
    p.run(p.join(p.agree(alice=alice, bob={"taxes": "*"}), **KEPT))


@scenario("a kept join for both", error="E_FORMAT", text="receivers")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), receivers="both", **KEPT))


@scenario("a kept join, secure against cheats", error="E_FORMAT", text="security")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), security="malicious", **KEPT))


@scenario("the size alone by a kept join", error="E_FORMAT", text="reveal")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), reveal="size", **KEPT))


@scenario("keys are normalised alike on both sides")
def _(p: Play) -> None:
    agreement = p.agree(alice={"dirty": "*"}, bob={"taxes": "*"})
    job = p.run(p.join(agreement, "dirty", normalise={"id": ["trim", "lower"]}))
    assert len(p.do.rows(p.alice, job)) == 10


@scenario("several key columns", heavy=True)
def _(p: Play) -> None:
    agreement = p.agree(alice={"pairs": "*"}, bob={"years": "*"})
    job = p.run(p.join(agreement, "pairs", "years", on=["id", "year"]))
    assert sorted((r["id"], str(r["year"])) for r in p.do.rows(p.alice, job)) == [
        ("s1", "2025"),
        ("s2", "2024"),
    ]


@scenario("duplicates multiply as in SQL where both learn rows")
def _(p: Play) -> None:
    agreement = p.agree(alice={"twice": "*"}, bob={"again": "*"})
    job = p.run(p.join(agreement, "twice", "again", receivers="both"))
    # s60 stands twice here and three times there, s61 once on each side.
    assert len(p.do.rows(p.alice, job)) == 7


@scenario("duplicates are refused by choice", error="E_DUPLICATE")
def _(p: Play) -> None:
    agreement = p.agree(alice={"twice": "*"}, bob={"taxes": "*"})
    p.run(p.join(agreement, "twice", duplicates="refuse"))


@scenario("an estimate comes with the statement in two languages, and proposes nothing")
def _(p: Play) -> None:
    found = p.do.estimate(p.alice, p.join(p.both()))
    assert float(found["estimate"]["seconds"]) > 0
    assert any("taxes" in line for line in found["statement"]["en"])
    choice = found["choice"]
    assert (
        choice["protocol"] == next(o for o in found["plan"]["operators"] if o["kind"] == "psi/v1")["protocol"]
    )
    assert choice["memory_bytes"] > 0
    assert choice["why"]["en"]
    assert choice["why"]["zh"]
    assert len(found["statement"]["zh"]) == len(found["statement"]["en"])


@scenario("all sign the receipt, and the exported ledger verifies until a byte is changed", error="E_LEDGER")
def _(p: Play) -> None:
    agreement = p.both()
    job = p.run(p.join(agreement))
    assert p.do.receipt(p.alice, job)["missing"] == []
    file = p.world.folder / f"export{next(numbers)}"
    p.do.export(p.alice, agreement, file)
    keys = {node.name: node.identity for node in (p.alice, p.bob)}
    report = verify_ledger(file, keys)
    assert report.ok, report.lines()
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(bytes(body))
    verify_ledger(file, keys).require()


def _common(agreement: str, tables: list[str], **how: Any) -> dict[str, Any]:
    return requests.intersect(agreement, tables, **{"on": "id", "purpose": "test"} | how)


BOOKS = ["book@alice", "book@bob", "book@carol"]


@scenario("three parties' common rows, for everyone")
def _(p: Play) -> None:
    job = p.run(_common(p.books(functions=["intersect"]), BOOKS, everyone=True))
    mine = [r["id"] for r in p.do.rows(p.alice, job)]
    assert sorted(mine) == sorted(ids(0, 30))
    until("carol has completed", lambda: p.do.job(p.carol, job)["state"] == "completed")
    assert mine == [r["id"] for r in p.do.rows(p.carol, job)]


@scenario("three parties' number of common keys", heavy=True)
def _(p: Play) -> None:
    job = p.run(_common(p.books(functions=["intersect"]), BOOKS, reveal="size"))
    assert p.do.job(p.alice, job)["result"] == {"rows": 1, "intersection_size": 30}


@scenario("an intersection that the grants do not name", error="E_POLICY")
def _(p: Play) -> None:
    p.run(_common(p.books(functions=["join"]), BOOKS))


@scenario("an intersection of two", error="E_FORMAT", text="tables")
def _(p: Play) -> None:
    p.do.ask(p.alice, _common(p.books(functions=["intersect"]), BOOKS[:2]))


@scenario("an intersection with two tables of one party", error="E_FORMAT", text="tables")
def _(p: Play) -> None:
    tables = ["book@alice", "book@carol", "foreign@carol"]
    agreement = p.agree(alice={"book": "*"}, carol={"book": "*", "foreign": "*"}, functions=["intersect"])
    p.do.ask(p.alice, _common(agreement, tables))


@scenario("an intersection led by another, of normalised keys and chosen columns", error="E_NOT_FOUND")
def _(p: Play) -> None:
    name = p.fresh(p.carol, {"id": ids(65, 80), "court": ids(65, 80)})
    agreement = p.agree(alice={"dirty": "*"}, bob={"taxes": "*"}, carol={name: "*"}, functions=["intersect"])
    how = {"leader": "bob", "normalise": {"id": ["trim", "lower"]}, "select": ["id"]}
    job = p.run(_common(agreement, ["dirty@alice", "taxes@bob", f"{name}@carol"], **how))
    until("bob has completed", lambda: p.do.job(p.bob, job)["state"] == "completed")
    found = p.do.rows(p.bob, job)
    assert {tuple(row) for row in found} == {("id",)}
    assert sorted(row["id"] for row in found) == sorted(ids(65, 70))
    p.do.rows(p.alice, job)


@scenario("an intersection that refuses repeated keys", error="E_DUPLICATE")
def _(p: Play) -> None:
    agreement = p.agree(
        alice={"twice": "*"}, bob={"taxes": "*"}, carol={"book": "*"}, functions=["intersect"]
    )
    tables = ["twice@alice", "taxes@bob", "book@carol"]
    p.run(_common(agreement, tables, duplicates="refuse"))


def _hidden(
    agreement: str, left: str = "amounts@alice", right: str = "amounts@bob", **how: Any
) -> dict[str, Any]:
    values = {"left_values": "debt", "right_values": "debt"}
    return requests.join_totals(agreement, left, right, **{"on": "id", "purpose": "test"} | values | how)


OWN = ["own_matched_sum"]


def _amounts(p: Play, **terms: Any) -> str:
    return p.agree(
        alice={"amounts": "*"},
        bob={"amounts": "*"},
        **{"functions": ["join_totals"], "also_disclose": OWN} | terms,
    )


@scenario("totals of what two tables have in common, for both")
def _(p: Play) -> None:
    job = p.run(_hidden(_amounts(p, minimum_group=30), receivers="both"))
    until("bob has completed", lambda: p.do.job(p.bob, job)["state"] == "completed")
    found = p.do.rows(p.alice, job)
    assert found == p.do.rows(p.bob, job)
    (row,) = found
    totals = [sum((Decimal(text) for text in p.world.book(i)["debt"]), Decimal()) for i in (0, 1)]
    assert (str(row["enough"]).lower(), str(row["matched_keys"]), str(row["matched_rows"])) == (
        "true",
        "30",
        "30",
    )
    assert [Decimal(str(row[f"sum_{side}_debt"])) for side in ("left", "right")] == totals
    assert Decimal(str(row["mean_left_debt"])) == (totals[0] / 30).quantize(Decimal("1e-8"))
    seen = p.do.job(p.alice, job)
    assert seen["result"] == {"rows": 1, "enough": True}
    assert seen["statement"]["security"] == "semi-honest"


@scenario("totals of what matches where keys of one table repeat")
def _(p: Play) -> None:
    name = p.fresh(p.bob, {"id": [*ids(20, 40), *ids(25, 35)], "visit": ["x"] * 30})
    agreement = p.agree(alice={"amounts": "*"}, bob={name: "*"}, functions=["join_totals"], also_disclose=OWN)
    how = {"repeated": "right", "multiplicity": 2, "maximum_rows": 100, "right_values": ()}
    job = p.run(_hidden(agreement, "amounts@alice", f"{name}@bob", **how))
    (row,) = p.do.rows(p.alice, job)
    assert (str(row["matched_keys"]), str(row["matched_rows"])) == ("10", "15")
    debts = p.world.book(0)["debt"]
    wanted = sum((Decimal(debts[i]) for i in [*range(20, 30), *range(25, 30)]), Decimal())
    assert Decimal(str(row["sum_debt"])) == wanted


@scenario("totals of too few matches open nothing")
def _(p: Play) -> None:
    job = p.run(_hidden(_amounts(p), minimum_group=31))
    (row,) = p.do.rows(p.alice, job)
    assert str(row["enough"]).lower() == "false"
    assert not any(row[name] for name in row if name != "enough")


@scenario("totals of matches below the grants' minimum", error="E_MIN_GROUP")
def _(p: Play) -> None:
    p.run(_hidden(_amounts(p, minimum_group=25), minimum_group=24))


@scenario("totals of matches that the grants do not name", error="E_POLICY")
def _(p: Play) -> None:
    p.run(_hidden(_amounts(p, functions=["join"])))


@scenario("totals of a column without a range", error="E_RANGE", column="income")
def _(p: Play) -> None:
    agreement = p.agree(alice={"amounts": "*"}, bob={"taxes": "*"}, functions=["join_totals"])
    p.do.ask(p.alice, _hidden(agreement, "amounts@alice", "taxes@bob", right_values="income"))


@scenario("totals of a column that is not there", error="E_COLUMN", column="income", text="right.values")
def _(p: Play) -> None:
    p.do.ask(p.alice, _hidden(_amounts(p), right_values="income"))


@scenario("totals of matches of keys that repeat unannounced", error="E_DUPLICATE")
def _(p: Play) -> None:
    agreement = p.agree(alice={"twice": "*"}, bob={"taxes": "*"}, functions=["join_totals"])
    p.run(_hidden(agreement, "twice@alice", "taxes@bob", left_values=(), right_values=()))


@scenario("totals of matches with rows per key but no side", error="E_FORMAT", text="multiplicity")
def _(p: Play) -> None:
    p.do.ask(p.alice, _hidden(_amounts(p), multiplicity=2))


@scenario("totals of own columns, which the partner's grant does not name", error="E_POLICY", text="bob")
def _(p: Play) -> None:
    p.run(_hidden(_amounts(p, also_disclose=[]), right_values=()))


@scenario("totals of the partner's column alone need no more than the function")
def _(p: Play) -> None:
    job = p.run(_hidden(_amounts(p, also_disclose=[]), left_values=()))
    (row,) = p.do.rows(p.alice, job)
    assert set(row) == {"enough", "matched_keys", "matched_rows", "sum_debt", "mean_debt"}


def _statistics(
    agreement: str, *wanted: str, left: str = "amounts@alice", right: str = "amounts@bob", **how: Any
) -> dict[str, Any]:
    options = {"on": "id", "purpose": "test", "maximum_rows": 1000}
    return requests.join_statistics(agreement, left, right, statistics=wanted, **options | how)


def _described(p: Play, **terms: Any) -> str:
    own = [*OWN, "matched_product"]
    return _amounts(
        p, **{"functions": ["join_statistics"], "minimum_group": 10, "also_disclose": own} | terms
    )


@scenario("statistics of what two tables have in common, for both")
def _(p: Play) -> None:
    wanted = [
        "mean(left.debt)",
        "variance(right.debt)",
        "covariance(left.debt,right.debt)",
        "histogram(right.debt,0,20)",
    ]
    job = p.run(_statistics(_described(p), *wanted, receivers="both"))
    until("bob has completed", lambda: p.do.job(p.bob, job)["state"] == "completed")
    (row,) = p.do.rows(p.alice, job)
    assert p.do.rows(p.bob, job) == [row]
    mine, theirs = ([Fraction(text) for text in p.world.book(i)["debt"]] for i in (0, 1))
    count = len(mine)

    def covariance(x: list[Fraction], y: list[Fraction]) -> Fraction:
        means = sum(x) / count, sum(y) / count
        return sum(((a - means[0]) * (b - means[1]) for a, b in zip(x, y, strict=True)), Fraction()) / (
            count - 1
        )

    def number(name: str, digits: int) -> Fraction:
        return Fraction(Decimal(str(row[name]))) - Fraction(1, 2 * 10**digits)

    assert str(row["matched_keys"]) == str(count) == "30"
    for name, exact, digits in (
        ("mean_left_debt", sum(mine) / count, 8),
        ("variance_right_debt", covariance(theirs, theirs), 10),
        ("covariance_left_debt_right_debt", covariance(mine, theirs), 10),
    ):
        assert 0 <= exact - number(name, digits) <= Fraction(1, 10**digits)
    cells = row["histogram_right_debt"]
    cells = json.loads(cells) if isinstance(cells, str) else cells
    # By the declared range nobody owes less than nothing: that cut makes no cell.
    assert cells == [10, 20]
    seen = p.do.job(p.alice, job)
    assert seen["result"] == {"rows": 1, "enough": True}
    assert any("squares" in line for line in seen["statement"]["en"])


@scenario("statistics of too few matches open nothing")
def _(p: Play) -> None:
    job = p.run(_statistics(_described(p), "stddev(right.debt)", minimum_group=31))
    (row,) = p.do.rows(p.alice, job)
    assert str(row["enough"]).lower() == "false"
    assert not any(row[name] for name in row if name != "enough")


@scenario("statistics below the grants' minimum", error="E_MIN_GROUP")
def _(p: Play) -> None:
    p.run(_statistics(_described(p, minimum_group=25), "variance(right.debt)", minimum_group=24))


@scenario("statistics that the grants do not name", error="E_POLICY")
def _(p: Play) -> None:
    p.run(_statistics(_amounts(p), "variance(right.debt)"))


@scenario("statistics of own columns, which the partner's grant does not name", error="E_POLICY", text="bob")
def _(p: Play) -> None:
    p.run(_statistics(_described(p, also_disclose=[]), "variance(left.debt)"))


@scenario(
    "a correlation, which the partner's grant does not name",
    error="E_POLICY",
    text="bob",
)
def _(p: Play) -> None:
    p.run(_statistics(_described(p, also_disclose=OWN), "correlation(left.debt,right.debt)"))


@scenario("a histogram where keys repeat", error="E_MIN_GROUP")
def _(p: Play) -> None:
    how = {"repeated": "right", "multiplicity": 2}
    p.do.ask(p.alice, _statistics(_described(p), "histogram(left.debt,5)", **how))


@scenario("statistics of a column that is not there", error="E_COLUMN", column="income", text="statistics.0")
def _(p: Play) -> None:
    p.do.ask(p.alice, _statistics(_described(p), "variance(right.income)"))


@scenario("a histogram without cuts", error="E_FORMAT", column="debt", text="cuts")
def _(p: Play) -> None:
    p.do.ask(p.alice, _statistics(_described(p), "histogram(right.debt)"))


@scenario("a histogram whose cuts do not rise", error="E_FORMAT", text="in order")
def _(p: Play) -> None:
    p.do.ask(p.alice, _statistics(_described(p), "histogram(right.debt,5,1)"))


@scenario("statistics of a column without a range", error="E_RANGE", column="income")
def _(p: Play) -> None:
    agreement = p.agree(alice={"amounts": "*"}, bob={"taxes": "*"}, functions=["join_statistics"])
    p.do.ask(p.alice, _statistics(agreement, "variance(right.income)", right="taxes@bob"))


@scenario("statistics of matches of keys that repeat unannounced", error="E_DUPLICATE")
def _(p: Play) -> None:
    agreement = p.agree(alice={"twice": "*"}, bob={"amounts": "*"}, functions=["join_statistics"])
    p.run(_statistics(agreement, "variance(right.debt)", left="twice@alice"))
