"""The vocabulary of disclosure: closed, checked, judged and rendered in two languages."""

from __future__ import annotations

from typing import Any, get_args

import atoll_test_world as w
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.disclosure import (
    GRANTABLE,
    KINDS,
    QUALIFIERS,
    Assumption,
    Statement,
    about,
    at_least,
    exceeds,
    from_json,
    render,
    render_kind,
    to_json,
    weakest,
)
from atoll.disclosure.statement import PARAMETERS
from atoll.errors import AtollError

FACTS: dict[str, Any] = {
    "columns": ["id"],
    "by": ["id"],
    "minimum_group": 10,
    "parties": 4,
    "maximum_bytes": 4096,
    "maximum_bits": 23,
    "percent": 135,
    "extra": 800,
}
NAMES = {key: name for name, key in w.KEYS.items()}


def document(what: str, **changes: Any) -> dict[str, Any]:
    return {
        "subject": "in0",
        "owner": w.BOB,
        "what": what,
        "to": [w.ALICE],
        "step": "n4",
        "security": "semi-honest",
        "assumption": "ddh-two-party",
        "parameters": {"asset": "loans", **{k: FACTS[k] for k in PARAMETERS[what]}},
        **changes,
    }


@pytest.mark.parametrize("what", KINDS)
def test_every_kind_round_trips_and_reads_in_both_languages(what: str) -> None:
    statements = from_json([document(what)])
    assert to_json(statements) == [document(what)]
    (english,), (chinese,) = render(statements, NAMES, "en"), render(statements, NAMES, "zh")
    for text in (english, chinese):
        assert "{" not in text
        assert "ed25519" not in text
        assert "None" not in text
    assert english[0].isupper() or english.startswith("alice")
    assert english.rstrip("]").rstrip()[-1] in ".n" or english.endswith("]")
    assert "。" in chinese
    assert all(render_kind(what, language) for language in ("zh", "en"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"what": "everything"}, "what"),
        ({"to": []}, "to"),
        ({"to": [w.BOB, w.ALICE]}, "to"),
        ({"to": [w.ALICE, w.ALICE]}, "twice"),
        ({"security": "perfect"}, "security"),
        ({"assumption": "trust us"}, "assumption"),
        ({"parameters": {}}, "parameters"),
        ({"parameters": {"columns": ["id"], "parties": 3}}, "parameters"),
        ({"parameters": {"columns": ["id"], "text": "nothing leaks"}}, "parameters"),
        ({"note": "x"}, "note"),
    ],
)
def test_nothing_outside_the_vocabulary_is_read(change: dict[str, Any], field: str) -> None:
    with pytest.raises(AtollError) as caught:
        from_json([{**document("size"), **change}])
    assert caught.value.code == "E_FORMAT"
    assert field in caught.value.text
    with pytest.raises(AtollError):
        from_json({"not": "a list"})


def test_sums_over_all_owners_are_one_sentence() -> None:
    statements = w.derive(w.totals_plan()).disclosures
    english = render(statements, NAMES, "en")
    sums = [text for text in english if "sum of debt and apps" in text]
    assert sums == [
        "alice learns the sum of debt and apps per segment, added over 4 institutions together: "
        "alice, bob, carol and dave."
    ]
    chinese = render(statements, NAMES, "zh")
    assert (
        "alice获知alice、bob、carol和dave共 4 家机构的“debt”和“apps”按“segment”分组的总和，"
        "各家数值已合并相加。" in chinese
    )
    assert len([t for t in english if "took part" in t]) == 1
    assert len([t for t in english if "cheat" in t or "departs from it" in t]) == 1


def test_the_join_reads_as_people_would_say_it() -> None:
    statements = w.derive(w.join_plan()).disclosures
    english = render(statements, NAMES, "en")
    assert "alice learns which of its own values of id also stand in bob's table loans." in english
    assert (
        "bob learns how many distinct values of id stand in alice's table loans, and by how many it differs from "
        "the nearest one that alice joined with it before." in english
    )
    assert any("semi-honest" in text and "no third party" in text for text in english)


def test_exceeds_lists_what_a_grant_does_not_allow_about_one_subject_to_one_partner() -> None:
    statements = w.derive(w.join_plan(receivers="both")).disclosures
    about_bob = {"owner": w.BOB, "subject": "in1", "to": w.ALICE}
    assert [s.what for s in exceeds(statements, allowed=["size"], **about_bob)] == [
        "membership",
        "multiplicity",
    ]
    assert exceeds(statements, allowed=GRANTABLE, **about_bob) == []
    assert exceeds(statements, allowed=[], owner=w.BOB, subject="in1", to=w.CAROL) == []
    assert about(statements, w.BOB, "in1") == {w.ALICE}


@settings(max_examples=50, deadline=None)
@given(st.sets(st.sampled_from(GRANTABLE)), st.sets(st.sampled_from(GRANTABLE)))
def test_allowing_more_never_exceeds_more(some: set[str], more: set[str]) -> None:
    statements = w.derive(w.totals_plan()).disclosures
    about_bob = {"owner": w.BOB, "subject": "in1", "to": w.ALICE}
    assert len(exceeds(statements, allowed=some | more, **about_bob)) <= len(
        exceeds(statements, allowed=some, **about_bob)
    )


def test_levels_are_ordered_and_a_whole_is_as_strong_as_its_weakest_part() -> None:
    assert weakest(["malicious", "semi-honest"]) == "semi-honest"
    assert weakest([]) == "none"
    assert at_least("malicious", "semi-honest")
    assert not at_least("none", "semi-honest")


def test_every_plan_says_what_a_cheating_party_can_do() -> None:
    for plan in (
        w.join_plan(),
        w.fast_plan(security="semi-honest"),
        w.kept_plan(),
        w.hidden_plan(),
        w.totals_plan(),
        w.echo_plan(),
        w.lookup_plan(),
        w.lookup_plan(hint=False),
        w.lookup_totals_plan(),
    ):
        assert "corruptible" in {s.what for s in w.derive(plan).disclosures}
    cheating = {s.what for s in w.derive(w.fast_plan(receivers="both")).disclosures} & QUALIFIERS
    assert cheating == {"extra_keys", "input_choice", "omission"}
    assert (
        cheating
        | {
            "corruptible",
            "collusion",
            "common_collusion",
            "size_collusion",
            "guessing",
        }
        == QUALIFIERS
    )
    assert len(get_args(Assumption)) == 11


def test_a_join_secure_against_cheating_says_what_is_left_to_a_cheat() -> None:
    english = render(w.derive(w.fast_plan(receivers="both")).disclosures, NAMES, "en")
    joined = "\n".join(english)
    assert "at most 135 % of their number, and 800 more" in joined
    assert "alice or bob can put in other keys" in joined
    assert "alice or bob learns first and departs from the protocol, it can leave matches out" in joined
    assert "corrupt the result unnoticed and may learn more" not in joined
    assert any(line.endswith("and a random oracle]") and "[malicious; " in line for line in english)
    chinese = "\n".join(render(w.derive(w.fast_plan()).disclosures, NAMES, "zh"))
    assert "135%" in chinese
    assert "［恶意；" in chinese


def test_a_kept_join_says_that_its_receiver_recognises_keys_until_the_holders_key_changes() -> None:
    statements = w.derive(w.kept_plan()).disclosures
    english = "\n".join(render(statements, NAMES, "en"))
    assert "alice can recognise the values of id that it asks for again in later runs" in english
    assert "until bob changes its key" in english
    assert "how many values of id came into bob's table loans and how many left it" in english
    assert "one-more gap Diffie-Hellman" in english
    chinese = "\n".join(render(statements, NAMES, "zh"))
    assert "在bob更换密钥之前" in chinese
    assert "新增了多少个、移除了多少个" in chinese


def test_statements_are_values() -> None:
    assert Statement.parse(document("size")) == Statement.parse(document("size"))
