"""Offers through real nodes: published, found, accepted, signed by themselves, renewed, withdrawn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from atoll.client import drafts
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until
from atoll.testing.network import pair

Json = dict[str, Any]
FREE = {"minimum_rows": 1, "maximum_ratio": 1_000_000, "minimum_change": 1}
WORDS = {
    "columns": {
        "income": {
            "type": "int64",
            "unit": "fen",
            "label": {"zh": "年收入", "en": "Yearly income"},
            "definition": {"zh": "申报口径", "en": "as declared to the tax office"},
        }
    }
}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol", "dora") as made:
        made.bob.steward.data.add(
            "taxes",
            {"id": [f"s{i}" for i in range(60)], "income": list(range(60))},
            declaration=WORDS,
        )
        made.alice.steward.data.add("loans", {"id": [f"s{i}" for i in range(30, 90)]})
        for i, node in enumerate(made):
            node.steward.data.add(
                "book",
                {"segment": ["A", "B"] * 15, "debt": [i + 1] * 30},
                declaration={"columns": {"segment": {"type": "string", "codes": ["A", "B"]}}},
            )
        yield made


def draft(node: NodeProcess, table: str = "taxes", uses: Json | None = None, **how: Any) -> Json:
    """A draft of an offer of a table; `terms` are those of `drafts.terms`."""
    columns = node.steward.data.show(table)["columns"]
    given = {"purposes": ["test"], "functions": ["join"], "approval": "automatic", "join": FREE}
    given |= {"columns": uses or {"id": "join_key", "income": "reveal"}} | how.pop("terms", {})
    asset = drafts.asset(table, node.identity, columns=columns)
    return drafts.offer(asset, [drafts.terms(**given)], **{"title": {"en": "Taxes", "zh": "税务"}} | how)


def publish(node: NodeProcess, *to: NodeProcess, **how: Any) -> Json:
    """Publishes and waits until it lies in the catalogue of each of these."""
    version_of = how.pop("version_of", None)
    offer = node.steward.offers.publish(draft(node, **how), version_of=version_of)
    for other in to:
        until(f"{other.name} has the offer", lambda o=other: offer["digest"] in found(o))  # type: ignore[misc]
    return offer


def found(node: NodeProcess, text: str | None = None, **filters: Any) -> list[str]:
    return [offer["digest"] for offer in node.analyst.catalog.search(text, **filters)]


def own(node: NodeProcess, to: NodeProcess) -> Json:
    """Alice's loans, granted to a provider."""
    grant = drafts.grant(
        [to.identity], purposes=["test"], functions=["join"], columns={"id": "join_key"}, approval="automatic",
        join=FREE,
    )  # fmt: skip
    return drafts.asset(
        "loans", node.identity, columns=node.steward.data.show("loans")["columns"], grants=[grant]
    )


def state(node: NodeProcess, agreement: str) -> Json:
    def shown() -> Json | None:
        try:
            return node.steward.agreements.show(agreement)
        except AtollError as error:
            if error.code != "E_NOT_FOUND":
                raise
            return None

    return dict(until(f"{node.name} has {agreement}", shown))


def test_publish_find_accept_and_run(net: Net) -> None:
    """Nobody at bob's does anything after the offer was published."""
    offer = publish(net.bob, net.alice, net.carol)
    mine = offer["digest"]
    for text in ("年收入", "申报", "INCOME", "税务", "taxes", "fen", "declared TAX"):
        assert mine in found(net.alice, text), text
    assert found(net.alice, "income absent") == []
    assert mine in found(
        net.alice, provider="bob", type="dataset", function="join", purpose="test", unit="fen"
    )
    for wrong in ({"provider": "carol"}, {"type": "service"}, {"function": "totals"}, {"purpose": "other"},
                  {"unit": "yuan"}):  # fmt: skip
        assert mine not in found(net.alice, **wrong)
    with pytest.raises(AtollError) as caught:
        net.alice.analyst.catalog.search(provider="nobody")
    assert caught.value.code == "E_NOT_FOUND"

    made = net.alice.steward.agreements.accept(offer["id"], assets=[own(net.alice, net.bob)])
    net.alice.steward.agreements.wait(made["id"])
    net.bob.steward.agreements.wait(made["id"])
    (row,) = [o for o in net.alice.analyst.catalog.search() if o["digest"] == mine]
    assert row["agreements"] == [made["id"]]
    job = net.alice.analyst.join(made["id"], "loans", "taxes", on="id", purpose="test")
    assert len(job.wait(timeout=60).result().pandas()) == 30
    # Once more would be a second quota: that is for bob's steward to decide.
    again = net.alice.steward.agreements.accept(offer["id"])
    (reason,) = state(net.bob, again["id"])["waits"]
    assert made["id"] in reason["en"]
    assert "begin anew" in reason["en"]
    # The same people may not widen it: any other proposal waits for bob's steward.
    shown = net.alice.steward.agreements.show(made["id"])
    net.alice.steward.agreements.propose(drafts.amended(shown, net.alice.identity, title="Another title"))
    until("bob sees the amendment", lambda: any(
        a["version"] == 2 for a in net.bob.steward.agreements.list() if a["id"] == made["id"]))  # fmt: skip
    assert net.bob.steward.agreements.show(made["id"], 2)["state"] == "offered"


def test_one_accepts_the_offers_of_several_into_one_agreement(net: Net) -> None:
    """Totals over three holders and the accepter; no steward of a provider does anything."""
    uses = {"segment": "group_key", "debt": "aggregate"}
    terms = {"functions": ["totals"], "join": None}
    made = [
        publish(node, net.alice, table="book", uses=uses, terms=terms, title=f"Book of {node.name}")
        for node in (net.bob, net.carol, net.dora)
    ]
    book = drafts.asset(
        "book",
        net.alice.identity,
        columns=net.alice.steward.data.show("book")["columns"],
        grants=[
            drafts.grant(
                [n.identity for n in (net.bob, net.carol, net.dora)], purposes=["test"], functions=["totals"],
                columns=uses, approval="automatic",
            )
        ],
    )  # fmt: skip
    agreement = net.alice.steward.agreements.accept([o["id"] for o in made], assets=[book], title="Books")
    for node in net:
        until(f"in force at {node.name}", lambda n=node: state(n, agreement["id"])["state"] == "active")  # type: ignore[misc]
    job = net.alice.analyst.totals(agreement["id"], "book", group="segment", values=["debt"], purpose="test")
    result = job.wait(timeout=90).result().pandas()
    assert [int(v) for v in result.filter(like="debt").iloc[:, 0]] == [150, 150]
    # The same offers in the hands of one whom they do not all stand for.
    alone = publish(net.bob, net.alice, table="book", uses=uses, terms=terms, to=[net.alice.identity])
    with pytest.raises(AtollError) as caught:
        net.alice.steward.agreements.accept([alone["id"], made[1]["id"]])
    assert caught.value.code == "E_OFFER"
    assert "carol" in caught.value.text
    net.bob.steward.offers.withdraw(alone["id"])


def test_an_offer_to_one_is_seen_by_that_one_alone(net: Net) -> None:
    offer = publish(net.bob, net.alice, to=[net.alice.identity])
    assert offer["receivers"] == ["alice"]
    after = publish(net.bob, net.carol)  # in order: whatever carol was to get before has arrived
    assert offer["digest"] not in found(net.carol)
    with pytest.raises(AtollError) as caught:
        net.carol.steward.agreements.accept(offer["digest"])
    assert caught.value.code == "E_OFFER"
    # For carol it ends, for dora it begins, when the next version stands for others.
    net.bob.steward.offers.publish(
        draft(net.bob, to=[net.alice.identity, net.dora.identity]), version_of=after["id"]
    )
    until("dora has it", lambda: any(o["id"] == after["id"] for o in net.dora.analyst.catalog.search()))
    until("carol lost it", lambda: all(o["id"] != after["id"] for o in net.carol.analyst.catalog.search()))


def test_a_new_version_replaces_and_a_withdrawal_ends(net: Net) -> None:
    first = publish(net.bob, net.alice)
    planned = net.bob.steward.offers.publish(
        draft(net.bob, terms={"approval": "steward"}), version_of=first["id"], dry_run=True
    )
    assert {c["path"] for c in planned["changes"]} >= {"terms.0.approval"}
    assert "becomes" in planned["changes"][0]["en"]
    assert "改为" in planned["changes"][0]["zh"]
    assert net.bob.steward.offers.show(first["id"])["version"] == 1
    second = publish(net.bob, net.alice, version_of=first["id"], terms={"approval": "steward"})
    assert second["version"] == 2
    assert first["digest"] not in found(net.alice)
    shown = net.alice.analyst.catalog.show(first["id"])
    assert shown["digest"] == second["digest"]
    assert any("approval" in c["path"] for c in shown["changes"])
    with pytest.raises(AtollError) as caught:
        net.alice.steward.agreements.accept(first["digest"])
    assert (caught.value.code, "superseded" in caught.value.text) == ("E_OFFER", True)

    net.bob.steward.offers.withdraw(first["id"])
    net.bob.steward.offers.withdraw(first["id"])  # twice is once
    until("alice lost it", lambda: second["digest"] not in found(net.alice))
    with pytest.raises(AtollError) as caught:
        net.alice.steward.agreements.accept(first["id"])
    assert (caught.value.code, "withdrawn" in caught.value.text) == ("E_OFFER", True)
    with pytest.raises(AtollError) as caught:
        publish(net.bob, version_of=first["id"])
    assert caught.value.code == "E_STATE"


def test_what_was_withdrawn_is_refused_by_the_provider_itself(net: Net) -> None:
    """An accepter that keeps an old offer and proposes by hand is told so, and its proposal is over."""
    offer = publish(net.bob, net.alice)
    shown = net.alice.analyst.catalog.show(offer["id"])
    net.bob.steward.offers.withdraw(offer["id"])
    document = by_hand(net, shown)
    made = net.alice.steward.agreements.propose(document)
    with pytest.raises(AtollError) as caught:
        net.alice.steward.agreements.wait(made["id"])
    assert (caught.value.code, caught.value.party) == ("E_OFFER", "bob")
    assert net.alice.steward.agreements.show(made["id"])["refused"] == {"by": "bob", "code": "E_OFFER"}
    with pytest.raises(AtollError) as caught:
        net.bob.steward.agreements.show(made["id"])
    assert caught.value.code == "E_NOT_FOUND"


def by_hand(net: Net, shown: Json, **change: Any) -> Json:
    """What alice proposes past `accept`, from an offer of bob's that she was shown."""
    offer = shown["document"]
    to = [net.alice.identity]
    asset = {
        **offer["asset"], "provider": net.bob.identity, "grants": [{**t, "to": to} for t in offer["terms"]],
    }  # fmt: skip
    document = drafts.agreement(
        {net.alice.identity: "alice", net.bob.identity: "bob"}, [asset], title="By hand", days=300,
        now=None,
    )  # fmt: skip
    return document | {"offers": [shown["digest"]]} | change


def test_what_is_wider_than_the_offer_waits_for_the_steward_with_the_reason(net: Net) -> None:
    offer = publish(net.bob, net.alice)
    shown = net.alice.analyst.catalog.show(offer["id"])
    document = by_hand(net, shown)
    document["assets"][0]["grants"][0]["purposes"] = ["test", "marketing"]
    made = net.alice.steward.agreements.propose(document)
    seen = state(net.bob, made["id"])
    assert seen["state"] == "offered"
    reason = seen["waits"][0]
    assert "differs from offer" in reason["en"]
    assert "不一致" in reason["zh"]
    net.bob.steward.agreements.sign(made["id"])
    net.alice.steward.agreements.wait(made["id"])

    # The owner's table changed since: its node does not sign for what is there no more.
    net.bob.steward.data.add("passing", {"id": ["a", "b"]})
    passing = net.bob.steward.offers.publish(draft(net.bob, table="passing", uses={"id": "join_key"}))
    until("alice has it", lambda: passing["digest"] in found(net.alice))
    net.bob.steward.data.remove("passing")
    made = net.alice.steward.agreements.accept(passing["id"])
    assert "E_NOT_FOUND" in state(net.bob, made["id"])["waits"][0]["en"]


def test_what_its_owner_cannot_give_is_not_published(net: Net) -> None:
    wrong = draft(net.bob)
    for change, code in (
        ({"asset": wrong["asset"] | {"name": "nothing"}}, "E_NOT_FOUND"),
        ({"provider": net.alice.identity}, "E_OFFER"),
        ({"to": {"kind": "consortium", "keys": [], "roster": "nobody"}}, "E_NOT_FOUND"),
        ({"terms": []}, "E_FORMAT"),
        (
            {"validity": {"not_before": "2020-01-01T00:00:00Z", "not_after": "2021-01-01T00:00:00Z"}},
            "E_OFFER",
        ),
    ):
        with pytest.raises(AtollError) as caught:
            net.bob.steward.offers.publish(wrong | change)
        assert caught.value.code == code, change
    with pytest.raises(AtollError) as caught:
        net.bob.analyst.offers.publish(wrong)
    assert caught.value.code == "E_ROLE"


def test_offers_survive_a_restart_of_both(net: Net) -> None:
    offer = publish(net.bob, net.alice)
    net.bob.restart()
    net.alice.restart()
    assert offer["digest"] in found(net.alice)
    assert net.bob.steward.offers.show(offer["id"])["state"] == "current"


def test_who_is_paired_later_sees_what_stands_for_all() -> None:
    with nodes("early", "late", pair=None) as made:
        made.early.steward.data.add("taxes", {"id": ["a"], "income": [1]})
        stands = made.early.steward.offers.publish(draft(made.early))
        gone = made.early.steward.offers.publish(draft(made.early))
        made.early.steward.offers.withdraw(gone["id"])
        assert stands["receivers"] == []
        pair(made.early, made.late)
        until("late sees it", lambda: found(made.late) == [stands["digest"]])


def test_the_command_line(net: Net, tmp_path: Any) -> None:
    def atoll(node: NodeProcess, *words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "atoll.cli", *words, "-d", str(node.folder)],
            env=node.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    net.bob.steward.data.add("incomes", {"id": [f"s{i}" for i in range(60)], "income": list(range(60))})
    flags = [
        "publish", "--table", "incomes:id=join_key,income=reveal", "--title", "Incomes", "--title-zh", "收入表",
        "--to", "alice", "--purpose", "test", "--function", "join", "--approval", "automatic", "--minimum-rows", "1",
        "--minimum-change", "1", "--price", "per-run=12", "--price", "currency=CNY", "--quota", "runs=100",
        "--rate", "100/60", "--days", "30", "--jurisdiction", "CN", "--replay-days", "3", "--finding", "stale",
    ]  # fmt: skip
    written = atoll(net.bob, *flags, "--dry-run")
    draft = tmp_path / "draft.json"
    draft.write_text(written, encoding="utf-8")
    assert json.loads(written)["terms"][0]["price"]["per_run"] == "12"
    offer = json.loads(atoll(net.bob, "publish", str(draft), "--json"))["id"]
    assert offer in atoll(net.bob, "offer", "list")
    until("alice has it", lambda: net.alice.analyst.catalog.search("收入表"))
    assert offer in atoll(net.alice, "catalog", "search", "收入表")
    said = atoll(net.alice, "catalog", "show", offer)
    for text in ("CNY 12 per run", "100 in 60 s", "runs per day: 100", "keep_days: 3", "CN"):
        assert text in said
    made = json.loads(
        atoll(net.alice, "agreement", "accept", offer, "--table", "loans:id=join_key", "--json")
    )["id"]
    net.alice.steward.agreements.wait(made)
    assert "kept 3 days" in atoll(net.alice, "agreement", "show", made)
    lines = atoll(net.bob, "agreement", "amend", made, "--add-purpose", "audit", "--dry-run")
    assert "audit" in lines
    atoll(net.bob, "agreement", "amend", made, "--add-purpose", "audit", "--quota", "runs=5")
    until("alice has version 2", lambda: _version(net.alice, made) is not None)
    atoll(net.alice, "agreement", "sign", made)
    net.bob.steward.agreements.wait(made, version=2)
    assert json.loads(atoll(net.bob, "agreement", "amend", made))["version"] == 3
    atoll(net.bob, "offer", "withdraw", offer)


def _version(node: NodeProcess, agreement: str) -> Json | None:
    return next(
        (a for a in node.steward.agreements.list() if (a["id"], a["version"]) == (agreement, 2)), None
    )


def test_an_offer_to_a_consortium_follows_its_roster() -> None:
    """Members find it and combine it with each other's; who leaves is told that it ended."""
    with nodes("alice", "bob", "carol", pair=None) as made:
        alice, bob, carol = made
        pair(bob, carol)  # so that they stay partners when carol leaves the consortium
        roster = made.roster(quorum=2)
        for node in (bob, carol):
            node.steward.data.add("taxes", {"id": ["a"], "income": [1]})
        mine = publish(bob, alice, carol, consortium=roster)
        assert sorted(mine["receivers"]) == ["alice", "carol"]
        theirs = publish(carol, alice, consortium=roster)
        both = alice.steward.agreements.accept([mine["id"], theirs["id"]])
        for node in made:
            until(f"in force at {node.name}", lambda n=node: state(n, both["id"])["state"] == "active")  # type: ignore[misc]
        with pytest.raises(AtollError) as caught:
            bob.steward.offers.publish(draft(bob, consortium="ros-unknown"))
        assert caught.value.code == "E_NOT_FOUND"

        carol.administrator.rosters.propose(carol.administrator.rosters.next(roster, remove=["carol"]))
        bob.administrator.rosters.wait(roster, 2, complete=False)
        bob.administrator.rosters.sign(roster, 2)
        bob.administrator.rosters.wait(roster, 2)
        bob.administrator.rosters.accept(roster, 2)
        until("carol lost bob's offer", lambda: mine["digest"] not in found(carol))
        assert mine["digest"] in found(alice)
        assert bob.steward.offers.show(mine["id"])["receivers"] == ["alice"]
