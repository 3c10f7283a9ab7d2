"""Policy through real nodes: what a careless or curious asker tries, and what each side reads of the refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from atoll.client.jobs import Job
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

# Values that exist only in bob's table; nothing of them may stand in anything of alice's.
SECRET_IDS = [f"BOBS-{i:03d}-SECRET" for i in range(40)]
SECRET_PHONES = [f"+86-555-{i:05d}" for i in range(100)]
SECRET_DEBT = 98_765_432_101_234
PERIOD_KEYS = 250


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        alice, bob = made.alice.steward, made.bob.steward
        alice.data.add("many", {"id": [f"A{i}" for i in range(100)]})
        alice.data.add("one", {"id": ["A7"]})
        bob.data.add(
            "taxes",
            {
                "id": [f"A{i}" for i in range(60)] + SECRET_IDS,
                "debt": [SECRET_DEBT] * 100,
                "phone": SECRET_PHONES,
            },
        )
        yield made


def offer(net: Net, **grant: Any) -> str:
    """An agreement in which bob's grant has bounds, and alice's own tables have none."""
    free = {"columns": {"id": "join_key"}}
    bounds = {"minimum_rows": 10, "maximum_ratio": 20, "keys": PERIOD_KEYS, "days": 30, "minimum_change": 10}
    taxes = {"columns": {"id": "join_key"}, "grant": {"join": bounds} | grant}
    return net.agreement({"alice": {"many": free, "one": free}, "bob": {"taxes": taxes}}, silence_seconds=3)


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    return offer(net)


def ask(net: Net, agreement: str, table: str = "many", **how: Any) -> Job:
    options: dict[str, Any] = {"on": "id", "purpose": "test", "reveal": "size"} | how
    return net.alice.analyst.join(agreement, f"{table}@alice", "taxes@bob", **options)


def refused(net: Net, agreement: str, table: str = "many", **how: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        ask(net, agreement, table, **how).wait(timeout=60)
    return caught.value


def newest(node: NodeProcess) -> Job:
    return node.analyst.jobs.list(limit=1)[0].refresh()


def test_the_one_row_attack_is_refused_by_the_owner(net: Net, agreement: str, records: Any) -> None:
    """A table of one person asks: is this person yours?"""
    error = refused(net, agreement, "one")
    assert error.code == "E_JOIN_BOUND"
    assert error.party == "bob"
    theirs = newest(net.bob)
    assert theirs.error is not None
    assert theirs.error.code == "E_JOIN_BOUND"
    assert records(net.bob).charges(theirs.id) == []


def test_the_one_row_edit_is_refused(net: Net, agreement: str) -> None:
    """The same table with one person more: the difference of two answers would be that person."""
    assert ask(net, agreement).wait(timeout=60).result().scalars == {"intersection_size": 60}
    net.alice.steward.data.refresh("many", {"id": [f"A{i}" for i in range(100)] + [SECRET_IDS[3]]})
    error = refused(net, agreement)
    assert (error.code, error.party) == ("E_JOIN_BOUND", "bob")
    net.alice.steward.data.refresh("many", {"id": [f"A{i}" for i in range(100)]})


def test_the_same_rows_under_another_name_are_the_same_rows(net: Net, agreement: str) -> None:
    net.alice.steward.data.add("copy", {"id": [f"A{i}" for i in range(99)]})
    free = {"columns": {"id": "join_key"}}
    taxes = {
        "columns": {"id": "join_key"},
        "grant": {"join": {"minimum_rows": 10, "keys": 10**6, "minimum_change": 10}},
    }
    both = net.agreement({"alice": {"many": free, "copy": free}, "bob": {"taxes": taxes}})
    ask(net, both).wait(timeout=60)
    error = refused(net, both, "copy")
    assert (error.code, error.party) == ("E_JOIN_BOUND", "bob")


def test_enumeration_ends_at_the_period_s_keys(net: Net, agreement: str, records: Any) -> None:
    """Fresh ids in every table, large enough each time: what counts is how many were asked in all."""
    asked, steps = 100, 0
    while asked + 100 <= PERIOD_KEYS:
        steps += 1
        asked += 100
        net.alice.steward.data.refresh("many", {"id": [f"X{steps}-{i}" for i in range(100)]})
        ask(net, agreement).wait(timeout=60)
    net.alice.steward.data.refresh("many", {"id": [f"Y-{i}" for i in range(100)]})
    error = refused(net, agreement)
    assert error.code in ("E_JOIN_BOUND", "E_QUOTA")
    assert error.party == "bob"
    total = records(net.bob).rows(
        "select sum(amount) as n from charges where kind = 'keys' and agreement = ?", agreement
    )[0]["n"]
    assert total == asked <= PERIOD_KEYS
    net.alice.steward.data.refresh("many", {"id": [f"A{i}" for i in range(100)]})


def test_the_quota_of_runs(net: Net, records: Any) -> None:
    once = offer(net, runs_per_day=1, join={"minimum_rows": 1, "keys": 10**6, "minimum_change": 1})
    ask(net, once).wait(timeout=60)
    error = refused(net, once)
    assert (error.code, error.party) == ("E_QUOTA", "bob")
    runs = records(net.bob).rows("select * from charges where kind = 'run' and agreement = ?", once)
    assert len(runs) == 1


def test_a_refusal_names_column_and_grant_and_the_peer_reads_no_value(
    net: Net, agreement: str, records: Any
) -> None:
    """Alice tries to join on a column for which bob's grant names no use."""
    fresh = offer(net)
    error = refused(net, fresh, on=None, left_on="id", right_on="phone")
    assert (error.code, error.party) == ("E_POLICY", "bob")
    theirs = newest(net.bob)
    assert theirs.error is not None
    shown = theirs.explain()
    missing = {c["column"]: c["missing"] for c in shown["columns"] if c["missing"]}
    assert missing == {"phone": ["join_key"]}, "the owner reads which use of which column"
    assert "phone" in str(shown["grants"]), "and the one grant that would let it pass"
    assert "phone" in theirs.error.text
    assert not any(phone in str(error.to_problem()) for phone in SECRET_PHONES)


def test_another_purpose_person_and_function(net: Net, agreement: str) -> None:
    assert refused(net, agreement, purpose="marketing").code in ("E_POLICY", "E_AGREEMENT")
    named = offer(net, users=["Li Wei"])
    assert refused(net, named).code == "E_POLICY"
    li_wei = net.alice.client("analyst", "Li Wei")
    job = li_wei.join(named, "many@alice", "taxes@bob", on="id", purpose="test", reveal="size")
    assert job.wait(timeout=60).state == "completed"


def test_a_revocation_works_at_once_on_both_sides(net: Net) -> None:
    short = offer(net)
    net.bob.steward.agreements.revoke(short, "the law changed")
    theirs = until(
        "alice knows",
        lambda: _state(net.alice, short) if _state(net.alice, short)["state"] == "revoked" else None,
        5,
    )
    assert theirs["revocation"]["reason"] == "the law changed"
    assert theirs["revocation"]["by"] == "bob"
    assert refused(net, short).code == "E_REVOKED"


def _state(node: NodeProcess, agreement: str) -> dict[str, Any]:
    return node.steward.agreements.show(agreement)


def test_an_agreement_outside_its_validity(net: Net) -> None:
    draft = net.draft({"alice": {"many": {"id": "join_key"}}, "bob": {"taxes": {"id": "join_key"}}})
    draft["validity"] = {"not_before": "2020-01-01T00:00:00Z", "not_after": "2020-12-31T00:00:00Z"}
    over = net.sign(draft)
    assert refused(net, over).code == "E_EXPIRED"
    draft["validity"] = {"not_before": "2999-01-01T00:00:00Z", "not_after": "2999-12-31T00:00:00Z"}
    assert refused(net, net.sign(draft)).code == "E_EXPIRED"


def test_an_asker_does_not_approve_its_own_plan(net: Net) -> None:
    """Not in the same person, whatever role the person's other token carries."""
    draft = {"alice": {"many": {"columns": {"id": "join_key"}, "grant": {"approval": "steward"}}},
             "bob": {"taxes": {"id": "join_key"}}}  # fmt: skip
    agreement = net.agreement(draft)
    both = net.alice.client("analyst", "Wang Fang"), net.alice.client("steward", "Wang Fang")
    job = both[0].join(agreement, "many@alice", "taxes@bob", on="id", purpose="test", reveal="size")
    until("it waits", lambda: job.refresh().state == "waiting")
    with pytest.raises(AtollError) as caught:
        both[1].jobs.get(job.id).approve()
    assert caught.value.code == "E_SELF_APPROVAL"
    net.alice.steward.jobs.get(job.id).approve()
    assert job.wait(timeout=60).state == "completed"
    approved = [e for e in job.events() if e["kind"] == "approved here"]
    assert approved[0]["detail"]["by"] == "alice steward", "the evidence names the approver"


def test_nothing_of_bobs_rows_is_at_alice(net: Net, records: Any) -> None:
    """After all of the above: refusals, errors, jobs and logs of alice hold no value of bob's."""
    kept = records(net.alice).everything() + net.alice.log().encode()
    for file in net.alice.folder.glob("jobs/*/*"):
        kept += file.read_bytes()
    for value in [
        *SECRET_IDS[:3],
        *SECRET_IDS[4:],
        *SECRET_PHONES,
        str(SECRET_DEBT),
    ]:  # alice guessed one of the ids herself
        assert value.encode() not in kept
    assert not any(i.encode() in net.bob.log().encode() for i in SECRET_IDS), "no log holds a value"
    assert str(SECRET_DEBT) not in net.bob.log()
