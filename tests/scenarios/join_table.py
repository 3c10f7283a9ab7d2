"""Scenarios of private joins: what each side gets, by which protocol."""

from __future__ import annotations

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
