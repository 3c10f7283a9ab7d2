"""Scenarios of offers: publishing, the catalogue, acceptance, amendment, and what is refused."""

from __future__ import annotations

from typing import Any

from atoll_scenario_offer_actions import actions
from atoll_scenario_world import Json, Play, numbers, scenario, with_codes

from atoll.client import drafts, requests
from atoll.testing import NodeProcess, until


def _draft(node: NodeProcess, table: str = "taxes", **how: Any) -> Json:
    """An offer of a table for totals or a join, with a word of its own in its title."""
    columns = node.steward.data.show(table)["columns"]
    uses = {c["name"]: use for c in columns for use in (["group_key"],) if c["name"] == "segment"}
    uses |= {c["name"]: ["aggregate"] for c in columns if c["name"] == "debt"}
    given: Json = {"purposes": ["test"], "functions": ["totals"], "approval": "automatic", "columns": uses}
    terms = given | how.pop("terms", {})
    title = how.pop("title", f"word{next(numbers)}")
    asset = drafts.asset(table, node.identity, columns=columns)
    return drafts.offer(asset, [drafts.terms(**terms)], title={"en": title, "zh": f"标题{title}"}, **how)


def _published(p: Play, node: NodeProcess, *to: NodeProcess, **how: Any) -> Json:
    offer = actions(p.do).publish(node, _draft(node, **how))
    for other in to:
        until(
            f"{other.name} has the offer",
            lambda o=other: [r for r in o.analyst.catalog.search() if r["digest"] == offer["digest"]],  # type: ignore[misc]
        )
    return offer


@scenario(
    "an offer is found in Chinese and in English, accepted, and in force without a steward of its provider"
)
def _(p: Play) -> None:
    do = actions(p.do)
    title = f"word{next(numbers)}"
    table = p.fresh(p.bob, {"debt": ["1", "2"]})
    offer = _published(p, p.bob, p.alice, table=table, title=title)
    for text in (title.upper(), f"标题{title}", f"{table} {title}"):
        assert [r["id"] for r in do.search(p.alice, text)] == [offer["id"]]
    assert do.search(p.alice, title, provider="carol") == []
    assert do.offered(p.alice, offer["id"])["digest"] == offer["digest"]
    made = do.accept(p.alice, offer["id"], title="By acceptance")
    assert made["title"] == "By acceptance"
    p.alice.steward.agreements.wait(made["id"])
    assert do.search(p.alice, title)[0]["agreements"] == [made["id"]]
    assert offer["id"] in [r["id"] for r in do.offers(p.bob)]


@scenario("the books of two are accepted together and added up with no steward but the asker's", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    fen = with_codes({"columns": {"debt": {"type": "decimal", "scale": 2, "unit": "fen"}}})
    tables = {node.name: f"t{next(numbers)}" for node in p.world.net}
    for i, node in enumerate(p.world.net):
        node.steward.data.add(tables[node.name], p.world.write(p.world.book(i)), declaration=fen)
    offers = [_published(p, node, p.alice, table=tables[node.name]) for node in (p.bob, p.carol)]
    own = p.alice.steward.data.show(tables["alice"])["columns"]
    grant = drafts.grant(
        [p.bob.identity, p.carol.identity], purposes=["test"], functions=["totals"], approval="automatic",
        columns={"segment": "group_key", "debt": "aggregate"},
    )  # fmt: skip
    mine = drafts.asset(tables["alice"], p.alice.identity, columns=own, grants=[grant])
    made = p.alice.steward.agreements.accept([o["id"] for o in offers], assets=[mine])
    for node in (p.alice, p.bob, p.carol):
        node.steward.agreements.wait(made["id"])
    assets = [f"{table}@{name}" for name, table in tables.items()]
    p.run(
        requests.totals(
            made["id"], assets, group="segment", values=["debt"], segments=["A", "B", "C"], purpose="test"
        )
    )
    assert len(do.offered(p.alice, offers[0]["id"])["agreements"]) == 1


@scenario("a dry run publishes nothing")
def _(p: Play) -> None:
    do = actions(p.do)
    document = do.publish(p.bob, _draft(p.bob), dry_run=True)
    assert document["provider"] == p.bob.identity
    assert document["id"] not in [r["id"] for r in do.offers(p.bob)]


@scenario(
    "an offer is renewed, and the version before can no longer be accepted",
    error="E_OFFER",
    text="superseded",
)
def _(p: Play) -> None:
    do = actions(p.do)
    first = _published(p, p.bob, p.alice)
    second = do.publish(p.bob, _draft(p.bob, terms={"approval": "steward"}), version_of=first["id"])
    assert (second["id"], second["version"]) == (first["id"], 2)
    assert any("approval" in c["path"] for c in do.offer(p.bob, first["id"])["changes"])
    until(
        "alice has version 2",
        lambda: p.alice.analyst.catalog.show(first["id"])["version"] == 2,
    )
    do.accept(p.alice, first["digest"])


@scenario("an offer that was withdrawn is not accepted", error="E_OFFER", text="withdrawn")
def _(p: Play) -> None:
    do = actions(p.do)
    offer = _published(p, p.bob, p.alice)
    assert do.withdraw(p.bob, offer["id"])["state"] == "withdrawn"
    until(
        "alice heard of it",
        lambda: offer["digest"] not in [r["digest"] for r in p.alice.analyst.catalog.search()],
    )
    do.accept(p.alice, offer["id"])


@scenario("an offer to one partner is unknown to another", error="E_OFFER", text="no partner offers")
def _(p: Play) -> None:
    offer = _published(p, p.bob, p.alice, to=[p.alice.identity])
    actions(p.do).accept(p.carol, offer["id"])


@scenario("an offer of a table that is not there", error="E_NOT_FOUND")
def _(p: Play) -> None:
    draft = _draft(p.bob)
    actions(p.do).publish(p.bob, draft | {"asset": draft["asset"] | {"name": "nothing"}})


@scenario("an offer of a column that is not there", error="E_COLUMN", column="phone")
def _(p: Play) -> None:
    draft = _draft(p.bob)
    phone = drafts.column({"name": "phone", "type": "string"})
    actions(p.do).publish(p.bob, draft | {"asset": draft["asset"] | {"columns": [phone]}})


@scenario("an offer to a consortium that nobody knows", error="E_NOT_FOUND", text="roster")
def _(p: Play) -> None:
    actions(p.do).publish(p.bob, _draft(p.bob, consortium="nobody"))


@scenario("an offer with a wrong field", error="E_FORMAT", text="agreement_days")
def _(p: Play) -> None:
    actions(p.do).publish(p.bob, _draft(p.bob) | {"agreement_days": 0})


@scenario("an analyst publishes nothing", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).publish(p.bob, _draft(p.bob), role="analyst")


@scenario("what an amendment changes is shown before it is proposed, and again to those who sign")
def _(p: Play) -> None:
    do = actions(p.do)
    agreement = p.both()
    (line,) = do.changes(p.alice, agreement, "audit")
    assert "audit" in line["en"]
    assert "改为" in line["zh"]
    assert p.alice.steward.agreements.show(agreement)["version"] == 1
    made = do.amend(p.alice, agreement, "audit")
    assert (made["version"], made["state"]) == (2, "offered")
    until("bob has it", lambda: any(
        (a["id"], a["version"]) == (agreement, 2) for a in p.bob.steward.agreements.list()))  # fmt: skip
    assert p.bob.steward.agreements.show(agreement, 2)["changes"] == [line]
    p.do.sign(p.bob, agreement)
    p.alice.steward.agreements.wait(agreement, version=2)


@scenario("an amendment of grants that one does not have", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).amend(p.carol, p.agree(alice={"loans": "*"}, carol={}), "audit")
