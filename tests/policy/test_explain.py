"""Explanations: the one grant that they name makes the plan pass. Decisions: deterministic and monotone."""

from __future__ import annotations

import copy
import json
from typing import Any

import atoll_test_world as w
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.agreements import grant, join_bounds
from atoll.plan import check
from atoll.policy import decide, explain
from atoll.policy.text import SENTENCES, sentence


def explained(plan: Any, document: Any, me: str = w.BOB, **facts: Any) -> Any:
    # The plan rests on the digest of the agreement, so it is moved to the agreement under test.
    moved = rebase(plan, document)
    derivation = check(moved, {w.ID: document})
    found = w.facts(derivation, me, **facts)
    return explain(derivation, me=me, agreements=w.state(document), facts=found, now=w.NOW, final=True)


def rebase(plan: Any, document: Any) -> Any:
    out = copy.deepcopy(plan)
    digest = w.parse(document).digest
    for item in out["inputs"]:
        item["agreement_digest"] = digest
    return out


def grants_of(document: Any, party: str) -> Any:
    return next(a for a in document["assets"] if (a["provider"], a["name"]) == (party, "loans"))["grants"]


def test_the_report_names_asked_granted_and_missing_uses() -> None:
    document = w.with_grants(w.BOB, [w.join_grant(w.BOB, columns={"phone": ["join_key"]})])
    found = explained(w.join_plan(), document)
    (report,) = found.columns
    assert (report.column, report.asked, report.granted, report.missing) == (
        "id",
        ("join_key",),
        (),
        ("join_key",),
    )
    (passing,) = found.grants
    assert passing.grant["columns"] == {"phone": ["join_key"], "id": ["join_key"]}
    assert passing.grant["to"] == [w.ALICE]
    assert passing.replaces == 0
    for language in ("zh", "en"):
        text = "\n".join(found.lines(language))
        assert "id" in text
        assert "join_key" in text
        assert "E_POLICY" in text
    json.dumps(found.document())


grant_changes = st.fixed_dictionaries(
    {},
    optional={
        "purposes": st.just(["marketing"]),
        "functions": st.sampled_from([["totals"], ["echo"]]),
        "users": st.sampled_from([["*"], ["Zhang San"]]),
        "columns": st.sampled_from([{}, {"debt": ["aggregate"]}, {"id": ["reveal"]}]),
        "disclose": st.lists(st.sampled_from(["size", "membership", "sum", "participation"]), unique=True),
        "minimum_group": st.integers(1, 20),
        "minimum_security": st.sampled_from(["semi-honest", "malicious"]),
        "runs_per_day": st.integers(0, 2),
        "rows_per_day": st.integers(0, 2000),
        "approval": st.sampled_from(["automatic", "steward"]),
        "join": st.builds(
            join_bounds,
            minimum_rows=st.integers(1, 2000),
            maximum_ratio=st.integers(1, 20),
            keys_per_period=st.integers(1, 3000),
            minimum_change=st.integers(1, 100),
            variants=st.sampled_from([(), ("semi-honest",), ("low-communication", "semi-honest"), ("kept",)]),
        ),
    },
)


def _grant(totals: bool, changes: dict[str, Any]) -> dict[str, Any]:
    """A grant with changes, of which those that no document may hold together are dropped."""
    if changes.get("minimum_security") == "malicious" and changes.get("join"):
        changes = {**changes, "join": {k: v for k, v in changes["join"].items() if k != "variants"}}
    return (w.totals_grant if totals else w.join_grant)(w.BOB, **changes)


grant_lists = st.lists(
    st.builds(
        _grant,
        st.booleans(),
        grant_changes,
    ),
    max_size=3,
)
plans = st.sampled_from(
    [
        w.join_plan(),
        w.join_plan(receivers="both"),
        w.join_plan(reveal="size"),
        w.fast_plan(receivers="both"),
        w.fast_plan(security="semi-honest"),
        w.fast_plan(variant="low-communication", receivers="peer"),
        w.kept_plan(),
        w.totals_plan(),
    ]
)


@settings(max_examples=80, deadline=None)
@given(plans, grant_lists, st.integers(1, 3000), st.one_of(st.none(), st.integers(0, 200)))
def test_the_one_grant_that_is_named_makes_the_plan_pass(
    plan: Any, grants: Any, theirs: int, change: Any
) -> None:
    document = w.with_grants(w.BOB, grants)
    found = explained(plan, document, theirs=theirs, change=change)
    if found.decision.outcome != "refuse":
        assert not found.grants
        return
    assert found.grants
    better = w.with_grants(w.BOB, [*grants, *(g.grant for g in found.grants)])
    again = explained(plan, better, theirs=theirs, change=change)
    assert again.decision.outcome != "refuse", again.decision.reasons


@settings(max_examples=60, deadline=None)
@given(plans, grant_lists, st.integers(0, 3000), st.integers(0, 2))
def test_decisions_are_deterministic_and_removing_a_grant_never_helps(
    plan: Any, grants: Any, theirs: int, index: int
) -> None:
    rank = {"refuse": 0, "steward": 1, "approve": 2}
    document = w.with_grants(w.BOB, grants)
    before = explained(plan, document, theirs=theirs).decision
    assert explained(plan, document, theirs=theirs).decision == before
    if index < len(grants):
        fewer = w.with_grants(w.BOB, [g for i, g in enumerate(grants) if i != index])
        after = explained(plan, fewer, theirs=theirs).decision
        assert rank[after.outcome] <= rank[before.outcome]


def test_without_any_grant_a_whole_grant_is_named() -> None:
    document = w.with_grants(w.BOB, [])
    found = explained(w.totals_plan(), document)
    assert {g.partner for g in found.grants} == set(w.KEYS.values()) - {w.BOB}
    assert all(g.replaces is None for g in found.grants)
    assert found.decision.reasons[0].grant["index"] is None
    better = w.with_grants(w.BOB, [g.grant for g in found.grants])
    assert explained(w.totals_plan(), better).decision.outcome == "steward"


def test_an_empty_table_cannot_be_helped_by_any_grant() -> None:
    found = explained(w.join_plan(), w.terms(), theirs=0)
    assert found.decision.outcome == "refuse"
    assert not found.grants


def test_a_grant_to_one_partner_is_no_grant_to_another() -> None:
    only_carol = grant(
        [w.CAROL],
        purposes=["credit-risk"],
        functions=["join"],
        columns={"id": ["join_key"]},
        disclose=w.JOIN_KINDS,
        approval="automatic",
        join=join_bounds(minimum_rows=1),
    )
    document = w.with_grants(w.BOB, [only_carol])
    derivation = check(rebase(w.join_plan(), document), {w.ID: document})
    found = w.facts(derivation, w.BOB)
    decision = decide(derivation, me=w.BOB, agreements=w.state(document), facts=found, now=w.NOW, final=True)
    assert decision.outcome == "refuse"
    assert "no grant to alice" in decision.reasons[0].text["en"]


def test_every_sentence_exists_in_both_languages_with_the_same_facts() -> None:
    import string

    from atoll.policy import text

    for name in SENTENCES:
        code, en, zh = text._SENTENCES[name]
        en_fields, zh_fields = ({f for _, f, _, _ in string.Formatter().parse(t) if f} for t in (en, zh))
        if name != "agreement":
            assert en_fields == zh_fields, name
            assert code.startswith("E_")
    assert sentence("runs", partner="alice", maximum=3, asset="loans")[0] == "E_QUOTA"
