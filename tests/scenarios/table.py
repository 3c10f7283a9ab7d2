"""The table of scenarios: a name, steps in terms of abstract actions, and what must come of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from atoll_scenario_world import Json, Play, ids, numbers, scenario

from atoll import AtollError
from atoll.client import requests
from atoll.testing import NodeProcess, until

# What an owner refuses.


def _owner_sees_the_grant(p: Play, error: AtollError) -> None:
    found = p.do.explain(p.bob, p.kept["job"])
    assert found["outcome"] == "refuse"
    (grant,) = found["grants"]
    assert grant["asset"] == "taxes"
    assert "join_key" in grant["grant"]["columns"]["id"]
    missing = {c["column"]: c["missing"] for c in found["columns"]}
    assert missing["id"] == ["join_key"]


@scenario("the owner refuses a use that no grant permits, and sees the grant that would", error="E_POLICY", column="id",
          then=_owner_sees_the_grant)  # fmt: skip
def _(p: Play) -> None:
    p.run(p.join(p.agree(alice={"loans": "*"}, bob={"taxes": {"columns": {"income": "aggregate"}}})))


@scenario("one's own node refuses what one's own grant does not permit", error="E_POLICY", column="id")
def _(p: Play) -> None:
    p.do.ask(
        p.alice, p.join(p.agree(alice={"loans": {"columns": {"debt": "aggregate"}}}, bob={"taxes": "*"}))
    )


@scenario("a purpose that the grant does not name", error="E_POLICY")
def _(p: Play) -> None:
    p.run(p.join(p.both(), purpose="marketing"))


@scenario("a function that the grant does not name", error="E_POLICY")
def _(p: Play) -> None:
    p.run(p.join(p.both(functions=["totals"], disclose=["size", "membership"])))


@scenario("a person that the grant does not name", error="E_POLICY")
def _(p: Play) -> None:
    p.run(
        p.join(p.agree(alice={"loans": "*"}, bob={"taxes": {"columns": "*", "grant": {"users": ["Li Wei"]}}}))
    )


@scenario("a disclosure that the grant does not name", error="E_POLICY")
def _(p: Play) -> None:
    p.run(
        p.join(
            p.agree(alice={"loans": "*"}, bob={"taxes": {"columns": "*", "grant": {"disclose": ["size"]}}})
        )
    )


def _insisting(p: Play) -> str:
    bob = {"taxes": {"columns": "*", "grant": {"minimum_security": "malicious"}}}
    return p.agree(alice={"loans": "*"}, bob=bob)


@scenario("a security level below the grant's", error="E_POLICY")
def _(p: Play) -> None:
    p.run(p.join(_insisting(p), protocol="ecdh-psi/v1"))


@scenario("where the grant insists on security against cheats, that is what is chosen")
def _(p: Play) -> None:
    job = p.run(p.join(_insisting(p)))
    assert p.do.job(p.alice, job)["statement"]["security"] == "malicious"
    assert len(p.do.rows(p.alice, job)) == 60


@scenario(
    "a weaker variant of the fast join that the agreement does not name", error="E_POLICY", text="variants"
)
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), variant="low-communication"))


@scenario("another weaker variant than the agreement names", error="E_POLICY", text="variants")
def _(p: Play) -> None:
    agreement = p.both(join={"variants": ["low-communication"]})
    p.do.ask(p.alice, p.join(agreement, security="semi-honest", variant="fast"))


@scenario("only the owner's grant lacks the variant", error="E_POLICY")
def _(p: Play) -> None:
    alice = {"loans": {"columns": "*", "grant": {"join": {"variants": ["low-communication"]}}}}
    p.run(p.join(p.agree(alice=alice, bob={"taxes": "*"}), variant="low-communication"))


@scenario("a variant that the agreement names", heavy=True)
def _(p: Play) -> None:
    agreement = p.both(join={"variants": ["semi-honest", "low-communication"]})
    for variant in ("fast", "low-communication"):
        job = p.run(p.join(agreement, security="semi-honest", variant=variant))
        assert sorted(r["id"] for r in p.do.rows(p.alice, job)) == sorted(ids(60, 120))
        assert p.do.job(p.alice, job)["statement"]["security"] == "semi-honest"


@scenario("a join that names the protocol for small sets", heavy=True)
def _(p: Play) -> None:
    job = p.run(p.join(p.both(), protocol="ecdh-psi/v1", receivers="both"))
    assert p.do.job(p.alice, job)["statement"]["security"] == "semi-honest"
    assert len(p.do.rows(p.alice, job)) == 60


@scenario("the variant that sends least, secure against cheats", error="E_FORMAT", text="low-communication")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), variant="low-communication", security="malicious"))


@scenario("the size alone by the fast join", error="E_FORMAT", text="reveal")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), reveal="size", protocol="vole-psi/v1"))


@scenario("a protocol that there is none of", error="E_FORMAT", text="protocol")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), protocol="kkrt/v1"))


@scenario("every key that a cheat could test counts against the period", error="E_JOIN_BOUND")
def _(p: Play) -> None:
    p.run(p.join(p.both(join={"keys": 150}), security="malicious"))


@scenario("a table with too few keys: the one-row attack", error="E_JOIN_BOUND")
def _(p: Play) -> None:
    p.run(p.join(p.agree(alice={"one": "*"}, bob={"taxes": "*"}, join={"minimum_rows": 50}), "one"))


@scenario("tables of too unlike sizes", heavy=True, error="E_JOIN_BOUND")
def _(p: Play) -> None:
    p.run(p.join(p.agree(alice={"one": "*"}, bob={"taxes": "*"}, join={"maximum_ratio": 10}), "one"))


@scenario(
    "a second table that differs by one row: the attack by difference", heavy=True, error="E_JOIN_BOUND"
)
def _(p: Play) -> None:
    name = p.fresh(p.alice, {"id": ids(60, 120)})
    agreement = p.agree(alice={name: "*"}, bob={"taxes": "*"}, join={"minimum_change": 20})
    p.run(p.join(agreement, name))
    p.world.write({"id": ids(60, 121)}, f"alice-{name}")
    p.do.refresh(p.alice, name)
    p.run(p.join(agreement, name))


@scenario("a second table that differs enough", heavy=True)
def _(p: Play) -> None:
    name = p.fresh(p.alice, {"id": ids(60, 120)})
    agreement = p.agree(alice={name: "*"}, bob={"taxes": "*"}, join={"minimum_change": 20})
    p.run(p.join(agreement, name))
    p.world.write({"id": ids(60, 150)}, f"alice-{name}")
    p.do.refresh(p.alice, name)
    job = p.run(p.join(agreement, name))
    assert len(p.do.rows(p.alice, job)) == 90


@scenario("more keys in a period than granted: the attack by enumeration", heavy=True, error="E_JOIN_BOUND")
def _(p: Play) -> None:
    name = p.fresh(p.alice, {"id": ids(0, 50)})
    agreement = p.agree(alice={name: "*"}, bob={"taxes": "*"}, join={"keys": 120})
    p.run(p.join(agreement, name, protocol="ecdh-psi/v1"))
    for first in (50, 100):
        p.world.write({"id": ids(first, first + 50)}, f"alice-{name}")
        p.do.refresh(p.alice, name)
        p.run(p.join(agreement, name, protocol="ecdh-psi/v1"))


@scenario("the same table again costs no keys", heavy=True)
def _(p: Play) -> None:
    agreement = p.both(join={"keys": 150})
    p.run(p.join(agreement, protocol="ecdh-psi/v1"))
    p.run(p.join(agreement, protocol="ecdh-psi/v1"))


@scenario("more runs in a day than granted", heavy=True, error="E_QUOTA")
def _(p: Play) -> None:
    agreement = p.agree(alice={"loans": "*"}, bob={"taxes": {"columns": "*", "grant": {"runs_per_day": 1}}})
    p.run(p.join(agreement))
    p.run(p.join(agreement))


@scenario("a join cannot keep a minimum group", error="E_MIN_GROUP")
def _(p: Play) -> None:
    bob = {"taxes": {"columns": "*", "grant": {"minimum_group": 10}}}
    p.run(p.join(p.agree(alice={"loans": "*"}, bob=bob)))


# Requests that cannot be compiled.


@scenario("an unknown column", error="E_COLUMN", column="nobody")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), on="nobody"))


@scenario("an unknown table", error="E_NOT_FOUND")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), "nothing"))


@scenario("an unknown party", error="E_NOT_FOUND")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), right="taxes@nobody"))


@scenario("keys of unlike units", error="E_UNIT", column="length")
def _(p: Play) -> None:
    agreement = p.agree(alice={"rods": "*"}, bob={"poles": "*"})
    p.do.ask(p.alice, p.join(agreement, "rods", "poles", on="length"))


@scenario("keys of unlike types", error="E_TYPE", column="debt")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both(), left_on="debt", right_on="id", on=None))


@scenario("an agreement that nobody made", error="E_AGREEMENT")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join("agr-0123456789abcdef"))


@scenario("an identifier that is none", error="E_NOT_FOUND")
def _(p: Play) -> None:
    p.do.job(p.alice, "job-" + "0" * 32)


# Agreements.


def _draft(p: Play, **terms: Any) -> Json:
    return p.world.net.draft({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, **terms)


@scenario(
    "an agreement is proposed, signed, used and revoked; then its next use is refused", error="E_REVOKED"
)
def _(p: Play) -> None:
    agreement = p.do.propose(p.alice, _draft(p))
    p.bob.steward.agreements.wait(agreement, "offered")
    p.do.sign(p.bob, agreement)
    p.alice.steward.agreements.wait(agreement)
    p.run(p.join(agreement))
    p.do.revoke(p.bob, agreement, "no longer needed")
    p.alice.steward.agreements.wait(agreement, "revoked")
    p.do.ask(p.alice, p.join(agreement))


@scenario("a revocation ends a job that waits", error="E_REVOKED")
def _(p: Play) -> None:
    agreement = p.both(approval="steward")
    job = p.do.ask(p.alice, p.join(agreement))
    until("alice waits", lambda: p.alice.steward.jobs.get(job).state == "waiting")
    p.do.revoke(p.alice, agreement, "")
    p.do.wait(p.alice, job)


@scenario("an agreement that not all have signed", error="E_AGREEMENT", text="bob")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.do.propose(p.alice, _draft(p))))


@scenario("an agreement that has ended", error="E_EXPIRED")
def _(p: Play) -> None:
    document = _draft(p)
    start = datetime.now(UTC) - timedelta(days=9)
    form = "%Y-%m-%dT%H:%M:%SZ"
    ends = start + timedelta(days=3)
    document["validity"] = {"not_before": start.strftime(form), "not_after": ends.strftime(form)}
    p.do.ask(p.alice, p.join(p.world.net.sign(document)))


@scenario("an agreement about a column that the owner's table has not", error="E_COLUMN", column="wealth")
def _(p: Play) -> None:
    document = _draft(p)
    alice = next(a for a in document["assets"] if a["name"] == "loans")
    alice["columns"].append(alice["columns"][0] | {"name": "wealth"})
    p.do.propose(p.alice, document)


@scenario("an agreement with a use that does not exist", error="E_FORMAT")
def _(p: Play) -> None:
    document = _draft(p)
    document["assets"][0]["grants"][0]["columns"]["id"] = ["everything"]
    p.do.propose(p.alice, document)


# Stewards and roles.


def _waiting(p: Play) -> str:
    """A join of Alice's that waits for Bob's steward."""
    agreement = p.agree(
        alice={"loans": "*"}, bob={"taxes": {"columns": "*", "grant": {"approval": "steward"}}}
    )
    job = p.do.ask(p.alice, p.join(agreement))
    until("bob's node waits for its steward", lambda: _state(p.bob, job) == "waiting")
    return job


def _state(node: NodeProcess, job: str) -> str | None:
    try:
        return node.steward.jobs.get(job).state
    except AtollError:
        return None


@scenario("a steward approves, and the job runs")
def _(p: Play) -> None:
    job = _waiting(p)
    p.do.approve(p.bob, job)
    p.do.wait(p.alice, job)
    assert len(p.do.rows(p.alice, job)) == 60
    assert p.do.job(p.bob, job, "steward")["approvals"] == {"alice": "approve", "bob": "approve"}


def _asker_hears_no_reason(p: Play, error: AtollError) -> None:
    assert "salaries" not in str(error.to_problem())


@scenario("a steward refuses; the reason stays at home", error="E_REFUSED", then=_asker_hears_no_reason)
def _(p: Play) -> None:
    job = _waiting(p)
    p.do.refuse(p.bob, job, "these are salaries of our own staff")
    p.do.wait(p.alice, job)


@scenario("nobody approves the own plan, in whatever role", error="E_SELF_APPROVAL")
def _(p: Play) -> None:
    agreement = p.agree(
        alice={"loans": {"columns": "*", "grant": {"approval": "steward"}}}, bob={"taxes": "*"}
    )
    job = p.do.ask(p.alice, p.join(agreement))
    until("alice's node waits for its steward", lambda: _state(p.alice, job) == "waiting")
    p.do.approve(p.alice, job, person=p.alice.person("analyst"))


@scenario("an analyst does not approve", error="E_ROLE")
def _(p: Play) -> None:
    p.do.approve(p.bob, _waiting(p), "analyst")


@scenario("a steward does not ask", error="E_ROLE")
def _(p: Play) -> None:
    p.do.ask(p.alice, p.join(p.both()), "steward")


@scenario("an application does not look at jobs", error="E_ROLE")
def _(p: Play) -> None:
    p.do.job(p.alice, "job-" + "0" * 32, "application")


@scenario("what was decided is not decided again", error="E_STATE")
def _(p: Play) -> None:
    job = p.run(p.join(p.both()))
    p.do.approve(p.alice, job)


@scenario("a token that was never issued", error="E_AUTH")
def _(p: Play) -> None:
    p.do.whoami(p.alice, "atoll_0123456789ab_" + "x" * 43)


@scenario("a token says who calls")
def _(p: Play) -> None:
    found = p.do.whoami(p.alice, p.alice.token("auditor"))
    assert (found["name"], found["person"], found["role"]) == ("alice", "alice auditor", "auditor")


@scenario("a cancelled job ends on both sides", error="E_CANCELLED")
def _(p: Play) -> None:
    job = _waiting(p)
    p.do.cancel(p.alice, job)
    until("bob's side has ended", lambda: _state(p.bob, job) in ("cancelled", "failed"))
    p.do.wait(p.alice, job)


@scenario("a job that has ended is not cancelled", error="E_STATE")
def _(p: Play) -> None:
    p.do.cancel(p.alice, p.run(p.join(p.both())))


# Totals.


def _sums(p: Play) -> dict[str, tuple[str, int]]:
    out = {}
    for segment in "ABC":
        books = [p.world.book(i) for i in range(3)]
        values = [
            Decimal(d) for b in books for s, d in zip(b["segment"], b["debt"], strict=True) if s == segment
        ]
        out[segment] = (str(sum(values)), len(values))
    return out


def _totals(agreement: str, **how: Any) -> Json:
    given = {"purpose": "test", "group": "segment", "values": ["debt"]}
    return requests.totals(agreement, how.pop("assets", "book"), **given | how)


@scenario("totals per segment are exact")
def _(p: Play) -> None:
    job = p.run(_totals(p.books()))
    found = {r["segment"]: (str(r["debt"]), r["count"]) for r in p.do.rows(p.alice, job)}
    assert found == _sums(p)


@scenario("totals for another receiver", error="E_NOT_FOUND")
def _(p: Play) -> None:
    job = p.run(_totals(p.books(), receiver="carol"))
    until("carol has completed", lambda: _state(p.carol, job) == "completed")
    assert {r["segment"]: r["count"] for r in p.do.rows(p.carol, job)} == {"A": 30, "B": 30, "C": 30}
    p.do.rows(p.alice, job)


@scenario("totals of two holders", error="E_FORMAT")
def _(p: Play) -> None:
    p.do.ask(p.alice, _totals(p.agree(alice={"book": "*"}, bob={"book": "*"})))


@scenario("totals in unlike units", error="E_UNIT", column="debt")
def _(p: Play) -> None:
    agreement = p.agree(alice={"book": "*"}, bob={"book": "*"}, carol={"foreign": "*"})
    p.do.ask(p.alice, _totals(agreement, assets=["book@alice", "book@bob", "foreign@carol"]))


@scenario("totals of a column that is not granted to be added", error="E_POLICY", column="debt")
def _(p: Play) -> None:
    carol = {"book": {"segment": "group_key", "id": "aggregate"}}
    p.run(_totals(p.agree(alice={"book": "*"}, bob={"book": "*"}, carol=carol)))


@scenario("a minimum group needs the subjects' column", error="E_MIN_GROUP")
def _(p: Play) -> None:
    p.do.ask(p.alice, _totals(p.books(minimum_group=3)))


@scenario("a minimum group that all segments keep", heavy=True)
def _(p: Play) -> None:
    job = p.run(_totals(p.books(minimum_group=3), subject="id"))
    assert {r["segment"]: (str(r["debt"]), r["count"]) for r in p.do.rows(p.alice, job)} == _sums(p)


@scenario("a segment below the minimum group stops the run at its holder", error="E_MIN_GROUP")
def _(p: Play) -> None:
    agreement = p.agree(alice={"book": "*"}, bob={"book": "*"}, carol={"sparse": "*"}, minimum_group=3)
    p.run(_totals(agreement, assets=["book@alice", "book@bob", "sparse@carol"], subject="id"))


# Services and schedules.


def _echo(p: Play, **grant: Any) -> str:
    agreement = p.agree(alice={"loans": "*"}, bob={"echo": "service"}, **grant)
    job = p.do.ask(
        p.alice, requests.echo(agreement, "echo", purpose="test", maximum_bytes=100, block_calls=2)
    )
    until("the service runs", lambda: _state(p.alice, job) in ("running", "released", "failed", "refused"))
    return job


@scenario("a service answers calls, and ends with a receipt of all of them")
def _(p: Play) -> None:
    job = _echo(p)
    for i in range(5):
        assert p.do.call(p.alice, job, f"call {i} 你好".encode()) == f"call {i} 你好".encode()
    p.do.stop(p.alice, job)
    found = p.do.receipt(p.alice, job)
    assert found["missing"] == []
    assert found["outcome"] == "completed"


@scenario("a call of a service that has ended", error="E_STATE")
def _(p: Play) -> None:
    job = _echo(p)
    p.do.call(p.alice, job, b"1")
    p.do.stop(p.alice, job)
    p.do.call(p.alice, job, b"2")


@scenario("a call over the plan's bound", error="E_TOO_LARGE")
def _(p: Play) -> None:
    p.do.call(p.alice, _echo(p), b"x" * 101)


@scenario("a steward does not call services", error="E_ROLE")
def _(p: Play) -> None:
    p.do.call(p.alice, "job-" + "0" * 32, b"x", "steward")


@scenario("a schedule asks again until it is ended", heavy=True)
def _(p: Play) -> None:
    agreement = p.both()
    identifier = p.do.schedule(p.alice, p.join(agreement, reveal="size", shape="scheduled"), 1)

    def done() -> bool:
        jobs = p.alice.analyst.jobs.list(state="completed", function="join")
        return sum(j.document["agreement"] == agreement for j in jobs) >= 2

    until("two runs have completed", done)
    p.do.end_schedule(p.alice, identifier)
    (found,) = [s for s in p.do.schedules(p.alice) if s["id"] == identifier]
    assert found["ended"] is not None
    assert found["last_job"] is not None


@scenario("a schedule of what cannot be asked", error="E_COLUMN", column="nobody")
def _(p: Play) -> None:
    p.do.schedule(p.alice, p.join(p.both(), on="nobody"), 60)


# Tables and pairing.


@scenario("a malformed row names file, row and column", error="E_DATA", text="3")
def _(p: Play) -> None:
    path = p.world.folder / f"bad{next(numbers)}.csv"
    path.write_text("id,debt\n1,2\n3,4,5\n")
    p.do.add(p.alice, f"t{next(numbers)}", path)


@scenario("a value that is not of the declared type", error="E_TYPE", column="debt")
def _(p: Play) -> None:
    path = p.world.write({"id": ["1", "2"], "debt": ["10", "ten"]})
    words = path.with_suffix(".json")
    words.write_text(json.dumps({"columns": {"debt": {"type": "int64"}}}))
    p.do.add(p.alice, f"t{next(numbers)}", path, words)


@scenario("a table's name is taken", error="E_CONFLICT")
def _(p: Play) -> None:
    p.do.add(p.alice, "loans", p.world.write({"id": ["1"]}))


@scenario("a file that is not there", error="E_SOURCE")
def _(p: Play) -> None:
    p.do.add(p.alice, f"t{next(numbers)}", p.world.folder / "nothing.csv")


@scenario("an invite that is none", error="E_INVITE")
def _(p: Play) -> None:
    p.do.accept(p.alice, "atoll-invite:rubbish")


@scenario("one's own invite", error="E_INVITE")
def _(p: Play) -> None:
    p.do.accept(p.alice, p.alice.administrator.peers.invite())
