"""Decisions on plans: approvals, every kind of refusal, and the attacks on joins that bounds must stop."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import atoll_test_world as w
import pytest

from atoll.agreements import Revocation, join_bounds, parse
from atoll.crypto.document import format_time
from atoll.errors import AtollError
from atoll.policy import Account, Counters, Declared, Facts, Windows, accounts, decide

ACCOUNT = Account(w.ID, "loans", w.BOB, w.ALICE)


def judged(
    plan: dict[str, Any],
    document: dict[str, Any],
    me: str = w.BOB,
    now: Any = w.NOW,
    final: bool = True,
    **facts: Any,
) -> Any:
    derivation = w.derive(plan, document)
    found = w.facts(derivation, me, **facts)
    return decide(derivation, me=me, agreements=w.state(document), facts=found, now=now, final=final)


def codes(decision: Any) -> set[str]:
    return {reason.code for reason in decision.reasons}


def test_a_granted_join_is_approved_with_its_debits() -> None:
    document = w.terms()
    decision = judged(w.join_plan(document), document)
    assert decision.outcome == "approve"
    assert {(d.kind, d.amount) for d in decision.debits} == {("run", 1), ("keys", 1000), ("rows", 1000)}
    assert all(d.account == ACCOUNT for d in decision.debits)
    keys = next(d for d in decision.debits if d.kind == "keys")
    assert keys.partner_asset == "loans"
    assert keys.version == w.version("v1")
    assert decision.grants == {("in1", w.ALICE): 0}


def test_the_asker_judges_its_own_table_by_its_grants_to_the_partner() -> None:
    document = w.terms()
    assert judged(w.join_plan(document), document, me=w.ALICE).outcome == "approve"
    closed = w.with_grants(w.ALICE, [])
    decision = judged(w.join_plan(closed), closed, me=w.ALICE)
    assert decision.outcome == "refuse"
    assert {r.partner for r in decision.reasons} == {w.BOB}


def test_totals_are_approved_by_every_holder() -> None:
    document = w.terms()
    plan = w.totals_plan(document)
    for me in w.KEYS.values():
        decision = judged(plan, document, me=me)
        assert decision.outcome == "approve", decision.reasons
    assert plan["outputs"][0]["minimum_group"] == 10


def test_a_steward_is_asked_where_the_grant_says_so() -> None:
    document = w.with_grants(w.BOB, [w.join_grant(w.BOB, approval="steward")])
    assert judged(w.join_plan(document), document).outcome == "steward"
    both = w.with_grants(w.BOB, [w.join_grant(w.BOB, approval="steward"), w.join_grant(w.BOB)])
    assert judged(w.join_plan(both), both).outcome == "approve"


REFUSALS = {
    "purpose": ({"purposes": ["marketing"]}, "E_POLICY"),
    "function": ({"functions": ["totals"]}, "E_POLICY"),
    "user": ({"users": ["Zhang San"]}, "E_POLICY"),
    "column use": ({"columns": {"phone": ["join_key"]}}, "E_POLICY"),
    "security": ({"minimum_security": "malicious"}, "E_POLICY"),
    "disclosure": ({"disclose": ["size"]}, "E_POLICY"),
    "minimum group": ({"minimum_group": 5}, "E_MIN_GROUP"),
    "runs": ({"runs_per_day": 0}, "E_QUOTA"),
    "rows": ({"rows_per_day": 999}, "E_QUOTA"),
    "rows a side": ({"join": join_bounds(minimum_rows=1001)}, "E_JOIN_BOUND"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_each_missing_permission_is_refused_with_the_change_that_would_help(name: str) -> None:
    changes, code = REFUSALS[name]
    document = w.with_grants(w.BOB, [w.join_grant(w.BOB, **changes)])
    decision = judged(w.join_plan(document), document)
    assert decision.outcome == "refuse"
    assert codes(decision) == {code}
    for reason in decision.reasons:
        assert reason.grant is not None
        assert reason.grant["index"] == 0
        assert all(reason.text[language] for language in ("zh", "en"))
    if name == "column use":
        assert [r.column for r in decision.reasons] == ["id"]
        assert decision.reasons[0].wire("bob") == {
            "code": "E_POLICY",
            "party": "bob",
            "step": "in1",
            "column": "id",
        }


def test_all_reasons_are_given_and_not_only_the_first() -> None:
    document = w.with_grants(
        w.BOB, [w.join_grant(w.BOB, purposes=["marketing"], users=["Zhang San"], disclose=[])]
    )
    decision = judged(w.join_plan(document), document, theirs=1)
    texts = [reason.text["en"] for reason in decision.reasons]
    assert len(texts) == 6  # purpose, user, two disclosures, rows a side, ratio
    assert codes(decision) == {"E_POLICY", "E_JOIN_BOUND"}


def test_minimum_group_needs_a_subject_column() -> None:
    document = w.terms()
    plan = w.totals_plan(document)
    for op in plan["operators"]:
        if op["kind"] == "group_sum/v1":
            op["parameters"]["subject"] = None
    decision = judged(plan, document)
    assert codes(decision) == {"E_MIN_GROUP"}


def test_a_smaller_minimum_group_than_granted_is_refused() -> None:
    document = w.terms()
    assert codes(judged(w.totals_plan(document, minimum_group=9), document)) == {"E_MIN_GROUP"}


def test_agreements_that_do_not_hold_are_refused() -> None:
    document = w.terms()
    derivation = w.derive(w.join_plan(document), document)
    found = w.facts(derivation, w.BOB)
    opened = parse(document)
    revoked = Revocation.parse(
        {
            "format": "atoll.revocation/v1",
            "agreement": w.ID,
            "version": 1,
            "by": w.CAROL,
            "reason": "",
            "at": format_time(w.NOW),
        }
    )
    states = {
        "E_REVOKED": w.state(document, revocation=revoked),
        "E_AGREEMENT": {
            w.ID: dataclasses.replace(w.state(document)[w.ID], signed=frozenset(opened.keys[:3]))
        },
    }
    for code, agreements in states.items():
        decision = decide(derivation, me=w.BOB, agreements=agreements, facts=found, now=w.NOW)
        assert codes(decision) == {code}
    assert codes(decide(derivation, me=w.BOB, agreements={}, facts=found, now=w.NOW)) == {"E_AGREEMENT"}
    superseded = w.state(document, superseded_by=w.version("next"))
    assert codes(decide(derivation, me=w.BOB, agreements=superseded, facts=found, now=w.NOW)) == {
        "E_AGREEMENT"
    }
    assert codes(judged(w.join_plan(document), document, now=w.NOW + timedelta(days=2))) == {"E_EXPIRED"}
    assert codes(judged(w.join_plan(document), document, now=w.NOW + timedelta(days=366))) == {"E_EXPIRED"}
    assert codes(judged(w.join_plan(document), document, now=w.NOW - timedelta(days=2))) == {"E_EXPIRED"}
    assert codes(judged(w.join_plan(document), document, me=w.DAVE)) == {"E_PLAN"}


def test_one_row_attack_is_refused() -> None:
    document = w.terms()
    decision = judged(w.join_plan(document), document, theirs=1)
    assert decision.outcome == "refuse"
    assert codes(decision) == {"E_JOIN_BOUND"}


def test_small_table_attack_is_refused() -> None:
    document = w.terms()
    assert codes(judged(w.join_plan(document), document, theirs=99)) == {"E_JOIN_BOUND"}
    assert judged(w.join_plan(document), document, theirs=100).outcome == "approve"
    assert codes(judged(w.join_plan(document), document, mine=1001, theirs=100)) == {"E_JOIN_BOUND"}
    assert codes(judged(w.join_plan(document), document, theirs=0)) == {"E_JOIN_BOUND"}


WEAKER = (("semi-honest", "fast"), ("low-communication", "low-communication"))


@pytest.mark.parametrize(("name", "variant"), WEAKER)
def test_a_weaker_variant_of_the_fast_join_must_be_named_by_the_grant(name: str, variant: str) -> None:
    def decided(variants: list[str], me: str = w.BOB, **changes: Any) -> Any:
        bounds = join_bounds(minimum_rows=100, variants=variants)
        document = w.with_grants(me, [w.join_grant(me, join=bounds, **changes)])
        plan = w.fast_plan(document, security="semi-honest", variant=variant)
        return judged(plan, document, me=me)

    other = next(n for n, _ in WEAKER if n != name)
    assert decided([name]).outcome == decided([other, name]).outcome == "approve"
    for granted in ([], [other]):
        decision = decided(granted)
        assert codes(decision) == {"E_POLICY"}
        (reason,) = decision.reasons
        assert name in reason.text["en"]
        assert name in reason.text["zh"]
        assert reason.grant["change"] == {"join": {"variants": [*granted, name]}}
        # A partner that learns nothing could still cheat, so its grant is asked for the word as well.
        assert codes(decided(granted, me=w.ALICE)) == {"E_POLICY"}
    assert codes(decided([], minimum_security="malicious")) == {"E_POLICY"}


def test_a_kept_join_must_be_named_by_both_grants_and_its_disclosure_too() -> None:
    def decided(variants: list[str], kinds: tuple[str, ...] = w.KEPT_KINDS, me: str = w.BOB) -> Any:
        bounds = join_bounds(minimum_rows=100, variants=variants)
        document = w.with_grants(me, [w.join_grant(me, join=bounds, disclose=kinds)])
        return judged(w.kept_plan(document), document, me=me)

    for me in (w.ALICE, w.BOB):
        assert decided(["kept"], me=me).outcome == "approve"
        refused = decided(["semi-honest", "low-communication"], me=me)
        assert codes(refused) == {"E_POLICY"}
        (reason,) = refused.reasons
        assert "kept" in reason.text["en"]
        assert "join.variants" in reason.text["en"]
        assert reason.grant["change"] == {"join": {"variants": ["semi-honest", "low-communication", "kept"]}}
    # The holder's grant must let its change be known; the receiver's table discloses nothing new.
    assert codes(decided(["kept"], w.JOIN_KINDS)) == {"E_POLICY"}
    assert decided(["kept"], w.JOIN_KINDS, w.ALICE).outcome == "approve"


def test_a_grant_may_insist_on_security_against_parties_that_cheat() -> None:
    document = w.with_grants(w.BOB, [w.join_grant(w.BOB, minimum_security="malicious")])
    assert judged(w.fast_plan(document), document).outcome == "approve"
    assert codes(judged(w.join_plan(document), document)) == {"E_POLICY"}


def test_whoever_learns_first_in_the_fast_join_is_charged_for_every_key_that_it_could_test() -> None:
    document = w.terms()

    def keys(plan: Any, mine: int, theirs: int, me: str = w.BOB) -> set[int]:
        decision = judged(plan, document, me=me, mine=mine, theirs=theirs)
        assert decision.outcome == "approve", decision.reasons
        return {d.amount for d in decision.debits if d.kind == "keys"}

    one, both = w.fast_plan(document), w.fast_plan(document, receivers="both")
    assert keys(w.join_plan(document), 1000, 1000) == {1000}
    assert keys(one, 1000, 1000) == {1350 + 800}
    assert keys(one, 1000, 2000) == {2700 + 800}
    assert keys(one, 1000, 1000, me=w.ALICE) == set()
    # Where both learn, the side with fewer keys is first; at equal numbers either could be.
    assert keys(both, 1000, 2000) == {2000}
    assert keys(both, 2000, 1000) == keys(both, 1000, 1000) == {1350 + 800}
    # Rows are what the partner presents and pays for; what a cheat could test beside is none.
    decision = judged(one, document)
    assert {d.amount for d in decision.debits if d.kind == "rows"} == {1000}


def test_keys_that_a_cheat_could_test_exhaust_the_period_too() -> None:
    bounds = join_bounds(minimum_rows=100, keys_per_period=2149)
    document = w.with_grants(w.BOB, [w.join_grant(w.BOB, join=bounds)])
    assert judged(w.join_plan(document), document).outcome == "approve"
    assert codes(judged(w.fast_plan(document), document)) == {"E_JOIN_BOUND"}
    again = w.derive(w.fast_plan(document), document)
    keyset = again.keysets["in0"].identify(w.version("v1"))
    counters = Counters(keys_in_period={30: 2149}, charged=frozenset({keyset}), last=keyset)
    assert judged(w.fast_plan(document), document, counters=counters, change=0).outcome == "approve"


def test_enumeration_attack_is_refused() -> None:
    """Many tables, each allowed alone: the distinct keys of all of them are counted."""
    document = w.terms()
    plan = w.join_plan(document)
    derivation = w.derive(plan, document)
    spent, charged, last, runs = 0, set[str](), None, 0
    for number in range(10):
        counters = Counters(keys_in_period={30: spent}, charged=frozenset(charged), last=last)
        found = w.facts(
            derivation, w.BOB, table=f"t{number}", change=2000 if number else None, counters=counters
        )
        decision = decide(
            derivation, me=w.BOB, agreements=w.state(document), facts=found, now=w.NOW, final=True
        )
        if decision.outcome == "refuse":
            assert codes(decision) == {"E_JOIN_BOUND"}
            break
        debit = next(d for d in decision.debits if d.kind == "keys")
        spent += debit.amount
        charged.add(debit.keyset)
        last = debit.keyset
        runs += 1
    assert runs == 5
    assert spent == 5000
    # The same version again costs nothing, so an honest partner can repeat its job.
    counters = Counters(keys_in_period={30: spent}, charged=frozenset(charged), last=last)
    found = w.facts(derivation, w.BOB, table="t4", change=0, counters=counters)
    again = decide(derivation, me=w.BOB, agreements=w.state(document), facts=found, now=w.NOW, final=True)
    assert again.outcome == "approve"
    assert [d.amount for d in again.debits if d.kind == "keys"] == [0]


def test_enumeration_attack_over_the_columns_of_one_version_is_refused() -> None:
    """One table version with a thousand candidates in each of its columns is not one set of keys."""
    document = w.terms()
    by_id = w.derive(w.join_plan(document), document)
    keyset = by_id.keysets["in0"].identify(w.version("v1"))
    side = {"asset": "loans", "keys": ["phone"], "select": []}
    other = w.join_plan(
        document, left={**side, "party": "alice"}, right={**side, "party": "bob"}, normalise={}
    )
    derivation = w.derive(other, document)
    counters = Counters(keys_in_period={30: 4500}, charged=frozenset({keyset}), last=keyset)
    found = w.facts(derivation, w.BOB, change=2000, counters=counters)
    decision = decide(derivation, me=w.BOB, agreements=w.state(document), facts=found, now=w.NOW, final=True)
    assert codes(decision) == {"E_JOIN_BOUND"}


def test_one_row_edit_attack_is_refused() -> None:
    """Version 1, and then version 1 with one row more, would tell about that row alone."""
    document = w.terms()
    derivation = w.derive(w.join_plan(document), document)
    first = derivation.keysets["in0"].identify(w.version("v1"))
    counters = Counters(keys_in_period={30: 1000}, charged=frozenset({first}), last=first)

    def second(change: int | None, table: str = "v2") -> Any:
        found = w.facts(derivation, w.BOB, theirs=1001, change=change, table=table, counters=counters)
        return decide(derivation, me=w.BOB, agreements=w.state(document), facts=found, now=w.NOW, final=True)

    assert codes(second(1)) == {"E_JOIN_BOUND"}
    assert codes(second(49)) == {"E_JOIN_BOUND"}
    assert second(50).outcome == "approve"
    assert second(0).outcome == "approve"  # other values beside the same keys
    assert codes(second(None)) == {"E_JOIN_BOUND"}  # claims a first use that was not one
    assert codes(second(700, "v1")) == {"E_JOIN_BOUND"}  # the very same table cannot have changed


def test_a_size_only_join_is_bounded_as_well() -> None:
    document = w.terms()
    assert codes(judged(w.join_plan(document, reveal="size"), document, theirs=1)) == {"E_JOIN_BOUND"}


def test_a_partner_that_learns_only_the_size_needs_no_join_bounds() -> None:
    document = w.terms()
    # Bob learns only how many keys alice has, so alice's bounds do not apply to bob's small table.
    assert judged(w.join_plan(document), document, me=w.ALICE, theirs=5).outcome == "approve"
    both = w.join_plan(document, receivers="both")
    assert codes(judged(both, document, me=w.ALICE, theirs=5)) == {"E_JOIN_BOUND"}


def test_a_decision_before_the_peer_has_declared_awaits_it_and_a_final_one_does_not() -> None:
    document = w.terms()
    plan = w.join_plan(document, receivers="both")
    early = judged(plan, document, me=w.ALICE, declared=False, final=False)
    assert early.outcome == "approve"
    assert early.awaiting == ("in1",)
    assert codes(judged(plan, document, me=w.ALICE, declared=False, final=True)) == {"E_JOIN_BOUND"}


def test_undeclared_numbers_of_keys_are_refused() -> None:
    document = w.terms()
    assert codes(judged(w.join_plan(document), document, theirs=None)) == {"E_JOIN_BOUND"}
    assert codes(judged(w.join_plan(document), document, mine=None)) == {"E_JOIN_BOUND"}


def test_quota_of_runs_and_rows_counts_what_was_used_today() -> None:
    document = w.with_grants(w.BOB, [w.join_grant(w.BOB, runs_per_day=3, rows_per_day=2500)])
    for used, code in (
        (Counters(runs_today=2, rows_today=1500, keys_in_period={30: 0}), None),
        (Counters(runs_today=3, keys_in_period={30: 0}), "E_QUOTA"),
        (Counters(rows_today=1501, keys_in_period={30: 0}), "E_QUOTA"),
    ):
        decision = judged(w.join_plan(document), document, counters=used)
        assert codes(decision) == ({code} if code else set())


def test_a_service_says_how_many_calls_are_left() -> None:
    document = w.with_grants(w.BOB, [w.echo_grant(w.BOB, calls_per_day=1000)], "echo")
    plan = w.echo_plan(document)
    decision = judged(plan, document, counters=Counters(calls_today=400))
    assert (decision.outcome, decision.calls_left) == ("approve", 600)
    assert {(d.kind, d.amount) for d in decision.debits} == {("run", 1)}
    assert judged(plan, document, counters=Counters(calls_today=900)).outcome == "approve"
    assert codes(judged(plan, document, counters=Counters(calls_today=901))) == {"E_QUOTA"}
    free = w.terms()
    assert judged(w.echo_plan(free), free).calls_left is None


def test_counters_that_were_not_looked_up_are_a_defect_and_never_a_zero() -> None:
    document = w.terms()
    derivation = w.derive(w.join_plan(document), document)
    declared = {i: Declared(w.version("v1"), "snapshot", 1000, None) for i in ("in0", "in1")}
    with pytest.raises(AtollError) as caught:
        decide(derivation, me=w.BOB, agreements=w.state(document), facts=Facts(declared), now=w.NOW)
    assert caught.value.code == "E_INTERNAL"
    assert accounts(derivation, w.BOB) == {ACCOUNT: Windows(frozenset({30}))}
    with pytest.raises(AtollError) as caught:
        judged(w.join_plan(document), document, counters=Counters())
    assert caught.value.code == "E_INTERNAL"
