"""The checker: what it derives from good plans, and that it refuses every kind of bad one by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import atoll_test_world as w
import pytest

from atoll.errors import AtollError
from atoll.plan import OPERATORS, parse, plan_digest, presented_at_most
from atoll.plan.operators import visit

Plan = dict[str, Any]


def code(plan: Any, document: dict[str, Any] | None = None) -> str:
    with pytest.raises(AtollError) as caught:
        w.derive(plan, document)
    return caught.value.code


def op(plan: Plan, id: str) -> Any:
    return next(o for o in plan["operators"] if o["id"] == id)


def said(derivation: Any) -> set[tuple[str, str | None, tuple[str, ...]]]:
    return {(s.what, s.owner, s.to) for s in derivation.disclosures}


def test_a_join_for_one_side_derives_uses_and_disclosure() -> None:
    d = w.derive(w.join_plan())
    assert d.uses == {"in0": {"id": ("join_key",), "apps": ()}, "in1": {"id": ("join_key",)}}
    assert said(d) == {
        ("size", w.ALICE, (w.BOB,)),
        ("size", w.BOB, (w.ALICE,)),
        ("membership", w.BOB, (w.ALICE,)),
        ("corruptible", None, (w.ALICE, w.BOB)),
    }
    assert (d.security, d.protocols, d.receivers) == ("semi-honest", ("ecdh-psi/v1",), (w.ALICE,))
    assert d.keysets["in0"].steps == (("trim", "upper"),)
    assert (d.joined_with("in0", w.BOB), d.joined_with("in0", w.CAROL)) == ("in1", None)


def test_a_join_for_both_sides_discloses_multiplicities_only_as_sql_does() -> None:
    sql = said(w.derive(w.join_plan(receivers="both")))
    once = said(w.derive(w.join_plan(receivers="both", duplicates="refuse")))
    assert sql - once == {("multiplicity", w.BOB, (w.ALICE,)), ("multiplicity", w.ALICE, (w.BOB,))}
    assert {("membership", w.ALICE, (w.BOB,)), ("membership", w.BOB, (w.ALICE,))} <= once


def test_a_size_only_join_discloses_no_membership() -> None:
    d = w.derive(w.join_plan(reveal="size"))
    assert ("intersection_size", w.BOB, (w.ALICE,)) in said(d)
    assert not {"membership", "multiplicity"} & {s.what for s in d.disclosures}


def test_the_fast_join_discloses_the_same_and_what_a_cheat_could_do_beside() -> None:
    plain = said(w.derive(w.join_plan()))
    d = w.derive(w.fast_plan())
    assert (d.security, d.protocols, d.variant) == ("malicious", ("vole-psi/v1",), None)
    assert said(d) - plain == {
        ("extra_keys", w.BOB, (w.ALICE,)),
        ("input_choice", None, (w.ALICE, w.BOB)),
    }
    assert plain - said(d) == {("corruptible", None, (w.ALICE, w.BOB))}
    both = said(w.derive(w.fast_plan(receivers="both")))
    assert {("extra_keys", w.ALICE, (w.BOB,)), ("omission", None, (w.ALICE, w.BOB))} <= both
    for variant in ("fast", "low-communication"):
        weaker = w.derive(w.fast_plan(security="semi-honest", variant=variant))
        assert said(weaker) == plain
        assert {s.assumption for s in weaker.disclosures} == {"lpn-two-party"}
        assert weaker.security == "semi-honest"
        assert weaker.variant == ("semi-honest" if variant == "fast" else variant)


def test_a_kept_join_says_what_its_receiver_can_recognise_and_how_much_changed() -> None:
    for receivers, (receiver, holder) in {"me": (w.ALICE, w.BOB), "peer": (w.BOB, w.ALICE)}.items():
        d = w.derive(w.kept_plan(receivers=receivers))
        assert (d.security, d.protocols, d.variant) == ("semi-honest", ("kept-oprf-psi/v1",), "kept")
        assert said(d) == {
            ("size", w.ALICE, (w.BOB,)),
            ("size", w.BOB, (w.ALICE,)),
            ("membership", holder, (receiver,)),
            ("linkable", holder, (receiver,)),
            ("changes", holder, (receiver,)),
            ("corruptible", None, (w.ALICE, w.BOB)),
        }
        assert {s.assumption for s in d.disclosures} == {"gap-dh-two-party"}
        assert d.receivers == (receiver,)


Change = Callable[[Plan], Any]
WRONG_KEPT: dict[str, tuple[Change, str, str]] = {
    "both receive": (lambda o: o["parameters"].update(receivers=[w.ALICE, w.BOB]), "E_PLAN", "receivers"),
    "nobody receives": (lambda o: o["parameters"].update(receivers=[]), "E_PLAN", "receivers"),
    "a stranger receives": (
        lambda o: o["parameters"].update(receivers=[w.CAROL]),
        "E_PLAN",
        "not one of its two parties",
    ),
    "the size": (lambda o: o["parameters"].update(reveal="size"), "E_PLAN", "reveal"),
    "a variant": (lambda o: o["parameters"].update(variant="fast"), "E_PLAN", "variant"),
    "another protocol": (lambda o: o.update(protocol="ecdh-psi/v1"), "E_PLAN_VERSION", "not known"),
    "against cheats": (lambda o: o.update(security="malicious"), "E_PLAN", "semi-honest"),
    "other keys": (lambda o: o["parameters"].update(keys=[["id"], ["apps"]]), "E_PLAN", "other key columns"),
}


@pytest.mark.parametrize("name", WRONG_KEPT)
def test_a_kept_join_is_checked_like_any_other(name: str) -> None:
    change, code, words = WRONG_KEPT[name]
    plan = w.kept_plan()
    change(op(plan, "n4"))
    with pytest.raises(AtollError) as caught:
        w.derive(plan)
    assert caught.value.code == code
    assert words in caught.value.text


def test_a_kept_join_is_no_long_job() -> None:
    plan = w.kept_plan()
    plan["shape"] = "long"
    with pytest.raises(AtollError) as caught:
        w.derive(plan)
    assert caught.value.code == "E_PLAN"
    assert "long job" in caught.value.text


WRONG_CHOICES: dict[str, tuple[Change, str, str]] = {
    "ecdh against cheats": (lambda o: o.update(protocol="ecdh-psi/v1"), "E_PLAN", "semi-honest"),
    "ecdh with a variant": (
        lambda o: o.update(protocol="ecdh-psi/v1", security="semi-honest"),
        "E_PLAN",
        "names a variant",
    ),
    "no variant": (lambda o: o["parameters"].pop("variant"), "E_PLAN", "no variant"),
    "unknown variant": (lambda o: o["parameters"].update(variant="quick"), "E_PLAN", "variant"),
    "little traffic against cheats": (
        lambda o: o["parameters"].update(variant="low-communication"),
        "E_PLAN",
        "low-communication",
    ),
    "the size alone": (lambda o: o["parameters"].update(reveal="size"), "E_PLAN", "size alone"),
    "no security": (lambda o: o.update(security="none"), "E_PLAN", "malicious or semi-honest"),
    "another protocol": (lambda o: o.update(protocol="pairwise-masks/v1"), "E_PLAN_VERSION", "not known"),
}


@pytest.mark.parametrize("name", WRONG_CHOICES)
def test_protocol_security_and_variant_of_a_join_go_together(name: str) -> None:
    change, code, words = WRONG_CHOICES[name]
    plan = w.fast_plan()
    change(op(plan, "n4"))
    with pytest.raises(AtollError) as caught:
        w.derive(plan)
    assert caught.value.code == code
    assert words in caught.value.text


def test_the_bound_on_tested_keys_grows_with_keys_and_with_buckets() -> None:
    facts = next(s.parameters for s in w.derive(w.fast_plan()).disclosures if s.what == "extra_keys")
    assert presented_at_most(facts, 1000, 1000, alone=True) == 1350 + 800
    assert presented_at_most(facts, 1, 2**20, alone=True) == 2 + 800
    assert presented_at_most(facts, 1, 2**20 + 1, alone=True) == 2 + 2 * 800
    assert presented_at_most(facts, 0, 0, alone=True) == 800
    # Where both learn, a side that is certainly second can test no more than it declared.
    assert presented_at_most(facts, 1001, 1000, alone=False) == 1001
    assert presented_at_most(facts, 1000, 1000, alone=False) == 1350 + 800


def test_totals_derive_sums_participation_and_the_refusal_for_a_small_group() -> None:
    d = w.derive(w.totals_plan())
    everyone = tuple(w.KEYS.values())
    for me in everyone:
        others = tuple(k for k in everyone if k != me)
        assert {
            ("sum", me, (w.ALICE,)),
            ("count", me, (w.ALICE,)),
            ("participation", me, everyone),
            ("small_group_exists", me, others),
        } <= said(d)
    assert {("collusion", None, (w.ALICE,)), ("corruptible", None, everyone)} <= said(d)
    expected = {
        "id": ("aggregate",),
        "segment": ("group_key",),
        "debt": ("aggregate",),
        "apps": ("aggregate",),
    }
    assert d.uses["in2"] == expected
    assert d.releases["in0"].minimum_group == 10
    plain = w.derive(w.totals_plan(minimum_group=1))
    assert "small_group_exists" not in {s.what for s in plain.disclosures}


def test_an_echo_discloses_the_call_to_its_host() -> None:
    d = w.derive(w.echo_plan())
    assert {("call", w.ALICE, (w.BOB,)), ("value", w.ALICE, (w.BOB,))} <= said(d)
    assert d.uses == {"in0": {}}


def test_a_visit_discloses_outcomes_to_the_asker_and_the_call_to_its_host() -> None:
    d = w.derive(w.visit_plan())
    assert {
        ("outcome", w.BOB, (w.ALICE,)),
        ("call", w.ALICE, (w.BOB,)),
        ("value", w.ALICE, (w.BOB,)),
        ("corruptible", None, (w.ALICE, w.BOB)),
    } == said(d)
    # The key finds the subject's rows; it is an input like every other column of the package.
    assert d.uses == {
        "rows": {"id": ("lookup_key", "script_input"), "apps": ("script_input",), "debt": ("script_input",)}
    }
    (outcome,) = [s for s in d.disclosures if s.what == "outcome"]
    # 3 decisions, 101 amounts, none or one of two reasons, or no decision: 910 answers, and three bits of timing.
    assert outcome.parameters.maximum_bits == 13
    assert outcome.parameters.columns == ("decision", "pay", "reasons")


def test_an_answer_that_may_be_held_is_one_more_outcome() -> None:
    # One output of two values and no decision are three outcomes; a fourth is what was held and denied.
    small = {
        "outputs": {"pay": {"type": "bool"}}, "reasons": [], "maximum_reasons": 0, "depends": {"pay": ["rows"]}
    }  # fmt: skip
    found = {}
    for holds in (False, True):
        plan = w.visit_plan(holds=holds, **small)
        (op,) = [op for op in plan["operators"] if op["kind"] == "visit/v1"]
        found[holds] = visit.Parameters.parse(op["parameters"], what="parameters").millibits
        (told,) = [s for s in w.derive(plan).disclosures if s.what == "outcome"]
        assert told.parameters.maximum_bits == 5
    assert found == {False: 1585 + 3000, True: 2000 + 3000}


def test_an_output_that_depends_on_no_table_discloses_none() -> None:
    depends = {"decision": [], "pay": [], "reasons": []}
    assert "outcome" not in {s.what for s in w.derive(w.visit_plan(depends=depends)).disclosures}


def test_plans_round_trip_and_their_digest_is_that_of_the_envelope() -> None:
    from atoll.crypto import dsse

    for plan in (
        w.join_plan(),
        w.totals_plan(),
        w.echo_plan(),
        w.visit_plan(),
        w.lookup_plan(),
        w.lookup_totals_plan(),
    ):
        assert parse(plan).document() == plan
        assert plan_digest(plan) == dsse.identifier(dsse.sign("plan/v1", plan, w.SIGNERS["alice"]))


def _join(change: Callable[[Plan], Any], **request: Any) -> Plan:
    plan = w.join_plan(**request)
    change(plan)
    return plan


def _totals(change: Callable[[Plan], Any], **request: Any) -> Plan:
    plan = w.totals_plan(**request)
    change(plan)
    return plan


def _set(path: str, value: Any) -> Callable[[Plan], None]:
    """Sets `operator id/parameters/...`-like paths; a first part that is an operator's id means that
    operator.
    """

    def change(plan: Plan) -> None:
        parts = path.split("/")
        at: Any = plan
        if any(o["id"] == parts[0] for o in plan["operators"]):
            at = op(plan, parts.pop(0))
        for part in parts[:-1]:
            at = at[int(part)] if isinstance(at, list) else at[part]
        last: Any = int(parts[-1]) if isinstance(at, list) else parts[-1]
        at[last] = value

    return change


def _drop_normalise(plan: Plan) -> None:
    plan["operators"] = [o for o in plan["operators"] if o["id"] != "n1"]
    op(plan, "n4")["inputs"][0] = "n0"


def _cycle(plan: Plan) -> None:
    op(plan, "n0")["inputs"] = ["n1"]


def _reorder(plan: Plan) -> None:
    plan["operators"].reverse()


def _output(plan: Plan, **fields: Any) -> None:
    plan["outputs"].append({**copy.deepcopy(plan["outputs"][0]), "id": "more", **fields})


def _dangling(plan: Plan) -> None:
    plan["operators"].insert(0, {**copy.deepcopy(op(plan, "n0")), "id": "spare"})


def _twin_party(plan: Plan) -> None:
    plan["parties"].append({**plan["parties"][0], "name": "alice2"})


def _second_join(plan: Plan) -> None:
    plan["operators"].append({**copy.deepcopy(op(plan, "n4")), "id": "n5"})
    _output(plan, **{"from": "n5"})


BOTH = sorted((w.ALICE, w.BOB))
BAD: dict[str, tuple[Callable[[], Plan], str]] = {
    "visibility wider": (lambda: _join(_set("n4/edge/visibility", {"clear": BOTH})), "E_PLAN"),
    "visibility narrower": (
        lambda: _join(_set("n4/edge/visibility", {"clear": [w.ALICE]}), receivers="both"),
        "E_PLAN",
    ),
    "visibility public": (lambda: _join(_set("n0/edge/visibility", {"public": True})), "E_PLAN"),
    "visibility shared": (lambda: _join(_set("n4/edge/visibility", {"shared": BOTH})), "E_PLAN"),
    "visibility both": (
        lambda: _join(_set("n4/edge/visibility", {"public": True, "clear": BOTH})),
        "E_PLAN",
    ),
    "edge type": (lambda: _join(_set("n4/edge/type", "size")), "E_PLAN"),
    "row bound": (lambda: _totals(_set("total/edge/rows", "4")), "E_PLAN"),
    "output to no receiver": (lambda: _join(_set("outputs/0/receiver", w.BOB)), "E_PLAN"),
    "further output": (lambda: _join(lambda p: _output(p, receiver=w.BOB)), "E_PLAN"),
    "output twice": (lambda: _join(_output), "E_PLAN"),
    "output of an intermediate edge": (lambda: _join(_set("outputs/0/from", "n3")), "E_PLAN"),
    "output of a local edge": (lambda: _join(_set("outputs/0/from", "n1")), "E_PLAN"),
    "output of a partner's column": (lambda: _join(_set("outputs/0/columns", ["debt"])), "E_PLAN"),
    "output of other totals": (lambda: _totals(_set("outputs/0/columns", ["debt"])), "E_PLAN"),
    "output with a smaller group": (lambda: _totals(_set("outputs/0/minimum_group", 1)), "E_PLAN"),
    "missing output": (lambda: _join(_set("outputs", [])), "E_PLAN"),
    "normalise dropped": (lambda: _join(_drop_normalise), "E_PLAN"),
    "normalised unlike": (lambda: _join(_set("n1/parameters/columns/0/steps", ["trim"])), "E_PLAN"),
    "unknown step": (lambda: _join(_set("n1/parameters/columns/0/steps", ["rot13"])), "E_PLAN"),
    "unknown format": (lambda: _join(_set("format", "atoll.plan/v2")), "E_PLAN_VERSION"),
    "unknown operator": (lambda: _join(_set("n4/kind", "psi/v2")), "E_PLAN_VERSION"),
    "unknown protocol": (lambda: _join(_set("n4/protocol", "ecdh-psi/v2")), "E_PLAN_VERSION"),
    "no protocol": (lambda: _join(_set("n4/protocol", None)), "E_PLAN_VERSION"),
    "security overstated": (lambda: _join(_set("n4/security", "malicious")), "E_PLAN"),
    "protocol on a local step": (lambda: _join(_set("n0/protocol", "echo/v1")), "E_PLAN"),
    "cycle": (lambda: _join(_cycle), "E_PLAN"),
    "order": (lambda: _join(_reorder), "E_PLAN"),
    "missing operator": (lambda: _join(_set("n4/inputs", ["n1", "n9"])), "E_PLAN"),
    "one edge on both sides": (lambda: _join(_set("n4/inputs", ["n1", "n1"])), "E_PLAN"),
    "dangling edge": (lambda: _join(_dangling), "E_PLAN"),
    "duplicated id": (lambda: _join(_set("n3/id", "n1")), "E_PLAN"),
    "party twice": (lambda: _join(_twin_party), "E_PLAN"),
    "party renamed": (lambda: _join(_set("parties/1/name", "bob's bank")), "E_AGREEMENT"),
    "role dropped": (lambda: _join(_set("parties/1/roles", ["owner"])), "E_PLAN"),
    "role added": (
        lambda: _join(_set("parties/1/roles", ["computing", "owner", "receiver"])),
        "E_PLAN",
    ),
    "asker no party": (lambda: _join(_set("asker", w.DAVE)), "E_PLAN"),
    "at another party": (lambda: _join(_set("n0/at", [w.BOB])), "E_PLAN"),
    "other function": (lambda: _join(_set("function", "totals")), "E_PLAN"),
    "service shape": (lambda: _join(_set("shape", "service")), "E_PLAN"),
    "two joint operators": (lambda: _join(_second_join), "E_PLAN"),
    "unknown asset": (lambda: _join(_set("inputs/0/asset", "cards")), "E_AGREEMENT"),
    "unknown agreement": (lambda: _join(_set("inputs/0/agreement", "agr-" + "f" * 16)), "E_AGREEMENT"),
    "other agreement version": (
        lambda: _join(_set("inputs/0/agreement_digest", w.version("x"))),
        "E_AGREEMENT",
    ),
    "unknown column": (lambda: _join(_set("inputs/0/columns/1/name", "income")), "E_COLUMN"),
    "other column type": (lambda: _join(_set("inputs/0/columns/1/type", "bool")), "E_TYPE"),
    "other column unit": (lambda: _join(_set("inputs/0/columns/1/unit", "yuan")), "E_UNIT"),
    "longer silence": (lambda: _join(_set("limits/silence_seconds", 11)), "E_PLAN"),
    "parameter added": (lambda: _join(_set("n4/parameters/also", True)), "E_PLAN"),
    "field missing": (lambda: _join(lambda p: p.pop("person")), "E_PLAN"),
    "number as text": (lambda: _join(_set("limits/seconds", "3600")), "E_PLAN"),
    "receiver outside": (
        lambda: _join(_set("n4/parameters/receivers", [w.CAROL])),
        "E_PLAN",
    ),
    "two holders": (
        lambda: _totals(
            lambda p: (
                _set("total/parameters/holders", BOTH)(p),
                _set("total/inputs", ["s0", "s1"])(p),
                _set("total/at", BOTH)(p),
            )
        ),
        "E_PLAN",
    ),
    "a holder left out": (
        lambda: _totals(_set("total/parameters/holders", sorted(w.KEYS.values())[:3])),
        "E_PLAN",
    ),
    "other scale": (lambda: _totals(_set("s1/parameters/values/0/scale", 3)), "E_UNIT"),
    "other domain": (lambda: _totals(_set("s1/parameters/domain", [["A"], ["B"], ["D"]])), "E_PLAN"),
    "domain too large": (
        lambda: _totals(
            lambda p: [
                _set(f"s{i}/parameters/domain", [[str(n)] for n in range(10_001)])(p) for i in range(4)
            ]
        ),
        "E_PLAN",
    ),
    "overflow": (
        lambda: _totals(_set("s1/parameters/values/0/range", ["0", "9" * 32])),
        "E_RANGE",
    ),
    "sum of a float": (
        lambda: _totals(
            lambda p: (
                p["inputs"][1]["columns"].append(
                    {"name": "score", "type": "float64", "precision": None, "scale": None, "unit": None}
                ),
                op(p, "r1")["edge"]["columns"].append("score"),
                _set("s1/parameters/values/0/column", "score")(p),
            )
        ),
        "E_TYPE",
    ),
    "unlike minimum groups": (lambda: _totals(_set("s1/parameters/minimum_group", 3)), "E_PLAN"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_plans_are_refused(name: str) -> None:
    make, expected = BAD[name]
    assert code(make()) == expected


def test_joins_and_sums_of_unlike_columns_are_refused() -> None:
    document = w.terms()
    bob = next(a for a in document["assets"] if (a["provider"], a["name"]) == (w.BOB, "loans"))
    by_name = {c["name"]: c for c in bob["columns"]}
    by_name["debt"]["unit"] = "yuan"
    with pytest.raises(AtollError) as caught:
        w.totals_plan(document)
    assert (caught.value.code, caught.value.column) == ("E_UNIT", "debt")
    by_name["debt"].update(unit="fen", scale=3)
    with pytest.raises(AtollError) as caught:
        w.totals_plan(document)
    assert caught.value.code == "E_UNIT"
    by_name["id"]["type"] = "int64"
    with pytest.raises(AtollError) as caught:
        w.join_plan(document, normalise={})
    assert (caught.value.code, caught.value.column) == ("E_TYPE", "id")
    by_name["id"].update(type="string", unit="account")
    with pytest.raises(AtollError) as caught:
        w.join_plan(document)
    assert caught.value.code == "E_UNIT"


def test_every_operator_is_registered_under_its_kind_with_its_protocol() -> None:
    assert set(OPERATORS) == {
        "read/v1",
        "normalise/v1",
        "psi/v1",
        "kept_psi/v1",
        "star_psi/v1",
        "hidden_totals/v1",
        "hidden_join/v1",
        "calculate/v1",
        "total/v1",
        "withhold/v1",
        "open/v1",
        "group_sum/v1",
        "masked_sum/v1",
        "echo/v1",
        "visit/v1",
        "lookup/v1",
        "lookup_totals/v1",
    }
    for rule in OPERATORS.values():
        assert (rule.function is None) == (rule.protocol is None)
