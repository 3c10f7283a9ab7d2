"""The owner's word: bounds and what they leave of a manifest, what is held, and documents that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.client.authoring import read_folder
from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.scripts.deployment import KIND, Bounds, allowed, default_bounds, ends, held, open_deployment
from atoll.scripts.outputs import bits_per_call, gate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scripts" / "claims"
MANIFEST = read_folder(EXAMPLE).manifest
HOST, AUTHOR, STRANGER = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))


def bounds(**given: Any) -> Bounds:
    return Bounds.parse(default_bounds(**given), code="E_SCRIPT", what="bounds")


def word(**changed: Any) -> dict[str, Any]:
    return {
        "format": "atoll.deployment/v1", "agreement": "agr-0123456789abcdef", "host": str(HOST.public),
        "author": str(AUTHOR.public), "package": "sha256:" + "1" * 64, "name": "claims", "version": "1.0.0",
        "decision": "consent", "bounds": default_bounds(), "reason": "", "person": "Wang Fang",
        "at": "2026-11-26T07:00:00Z",
    } | changed  # fmt: skip


# Bounds.


def test_the_defaults_leave_everything_that_is_declared() -> None:
    left = allowed(MANIFEST, bounds())
    assert left == MANIFEST
    assert (bounds().subject_millibits, bounds().subject_days) == (64_000, 365)
    assert (bounds().day_millibits, bounds().calls_per_day) == (100_000_000, None)


def test_coarser_outputs_carry_fewer_bits() -> None:
    before = bits_per_call(allowed(MANIFEST, bounds()), False)
    coarse = allowed(MANIFEST, bounds(steps={"pay": 1000}))
    silent = allowed(MANIFEST, bounds(steps={"pay": 1000}, reasons=False))
    assert before > bits_per_call(coarse, False) > bits_per_call(silent, False)
    assert silent.reasons == {}
    # The last whole step below the declared end.
    assert allowed(MANIFEST, bounds(steps={"pay": 300})).outputs["pay"].range == (0, 4999800)  # type: ignore[union-attr]


@given(
    st.integers(0, 50_000).map(lambda n: n * 100),
    st.integers(1, 50_000).map(lambda n: n * 100),
    st.booleans(),
)
def test_what_leaves_is_never_more_than_what_was_decided(pay: int, step: int, reasons: bool) -> None:
    left = allowed(MANIFEST, bounds(steps={"pay": step}, reasons=reasons))
    answer = {"decision": "approve", "pay": pay, "reasons": ["capped"]}
    found = gate(MANIFEST, left, answer)
    assert found is not None
    assert pay - found["pay"] >= 0
    assert found["pay"] % step == 0
    assert found["reasons"] == (["capped"] if reasons else [])
    # What leaves fits what is allowed: there is no other value in it.
    assert gate(left, left, found) == found


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"steps": {"pay": 150}}, "pay"),
        ({"steps": {"pay": 50}}, "pay"),
        ({"steps": {"decision": 2}}, "decision"),
        ({"steps": {"amount": 100}}, "amount"),
        ({"hold_above": {"decision": 1}}, "decision"),
        ({"hold_above": {"amount": 1}}, "amount"),
    ],
)
def test_bounds_of_outputs_that_have_none(given: Any, named: str) -> None:
    with pytest.raises(AtollError) as caught:
        allowed(MANIFEST, bounds(**given))
    assert caught.value.code == "E_SCRIPT"
    assert named in caught.value.text


@pytest.mark.parametrize("field", ["subject_millibits", "day_millibits"])
def test_bits_cover_one_call_at_least(field: str) -> None:
    need = bits_per_call(MANIFEST, False)
    assert allowed(MANIFEST, bounds(**{field: need})) == MANIFEST
    with pytest.raises(AtollError, match=field):
        allowed(MANIFEST, bounds(**{field: need - 1}))
    # A coarser answer may be covered by what the declared one is not.
    allowed(MANIFEST, bounds(**{field: need - 1, "steps": {"pay": 1000}}))


@pytest.mark.parametrize(
    "given",
    [
        {"calls_per_day": -1}, {"calls_per_day": 1.5}, {"subject_millibits": -1}, {"subject_millibits": True},
        {"subject_days": 0}, {"subject_days": 3661}, {"day_millibits": 2**53}, {"steps": {"pay": 0}},
        {"steps": {"Pay": 100}}, {"steps": {f"p{n}": 1 for n in range(17)}}, {"reasons": None},
        {"hold_above": {"pay": "much"}}, {"not_after": "tomorrow"}, {"not_after": "2026-11-26"}, {"colour": "red"},
    ],
    ids=str,
)  # fmt: skip
def test_bounds_that_are_none(given: Any) -> None:
    with pytest.raises(AtollError) as caught:
        bounds(**given)
    assert caught.value.code == "E_SCRIPT"


def test_bits_cover_a_denial_where_answers_are_held() -> None:
    # Three decisions, two amounts: six answers and none are seven outcomes, and with held ones eight.
    coarse: dict[str, Any] = {"steps": {"pay": 5_000_000}, "reasons": False}
    need, more = (bits_per_call(allowed(MANIFEST, bounds(**coarse)), holds) for holds in (False, True))
    assert (need, more) == (2808 + 3000, 3000 + 3000)
    assert not bounds(subject_millibits=need, **coarse).holds
    allowed(MANIFEST, bounds(subject_millibits=need, **coarse))
    held_above = {"hold_above": {"pay": 0}, **coarse}
    assert bounds(**held_above).holds
    with pytest.raises(AtollError, match="subject_millibits"):
        allowed(MANIFEST, bounds(subject_millibits=more - 1, **held_above))
    allowed(MANIFEST, bounds(subject_millibits=more, **held_above))


def test_what_is_held() -> None:
    within = bounds(hold_above={"pay": 1000})
    assert not held(within, {"decision": "approve", "pay": 1000, "reasons": []})
    assert held(within, {"decision": "approve", "pay": 1100, "reasons": []})
    assert not held(within, None)
    assert not held(bounds(), {"decision": "approve", "pay": 5000000, "reasons": []})


# The signed word.


def test_a_word_comes_back() -> None:
    found = open_deployment(dsse.sign(KIND, word(), HOST))
    assert found.document() == word()
    assert ends(found) is None
    limited = word(bounds=default_bounds(not_after="2027-01-01T00:00:00Z"))
    assert ends(open_deployment(dsse.sign(KIND, limited, HOST))) == datetime(2027, 1, 1, tzinfo=UTC)
    withdrawn = word(decision="withdraw", bounds=None, reason="合同到期")
    assert open_deployment(dsse.sign(KIND, withdrawn, HOST)).reason == "合同到期"


def test_only_the_hosts_signature_counts() -> None:
    for envelope in (
        dsse.sign(KIND, word(), AUTHOR),
        dsse.sign(KIND, word(), STRANGER),
        dsse.sign("approval/v1", word(), HOST),
        {**dsse.sign(KIND, word(), HOST), "signatures": []},
    ):
        with pytest.raises(AtollError) as caught:
            open_deployment(envelope)
        assert caught.value.code in ("E_SIGNATURE", "E_FORMAT")


@pytest.mark.parametrize(
    "changed",
    [
        {"format": "atoll.deployment/v2"}, {"decision": "maybe"}, {"bounds": None}, {"decision": "refuse"},
        {"package": "claims"}, {"at": "now"}, {"note": "free text"}, {"person": ""}, {"agreement": "agr-1"},
        {"bounds": {**default_bounds(), "more": 1}}, {"reason": 7},
    ],
    ids=str,
)  # fmt: skip
def test_words_that_are_none(changed: dict[str, Any]) -> None:
    with pytest.raises(AtollError) as caught:
        open_deployment(dsse.sign(KIND, word(**changed), HOST))
    assert caught.value.code == "E_SCRIPT"
