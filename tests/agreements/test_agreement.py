"""Agreements: their form, signing, amendments, revocation and validity."""

from __future__ import annotations

import copy
import dataclasses
from datetime import timedelta
from typing import Any

import atoll_test_world as w
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.agreements import (
    AgreementState,
    build_revocation,
    check_amendment,
    diff,
    grants_to,
    open_envelope,
    open_revocation,
    parse,
)
from atoll.agreements.lifecycle import REVOCATION_KIND
from atoll.agreements.model import KIND
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError


def fails(document: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        parse(document)
    return caught.value


def test_a_document_reads_back_to_itself_and_its_digest_is_the_envelopes() -> None:
    document = w.terms()
    assert parse(document).document() == document
    envelope = dsse.sign(KIND, document, w.SIGNERS["alice"])
    assert parse(document).digest == dsse.identifier(envelope)


BAD: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "format": (("format",), "atoll.agreement/v2", "format"),
    "id": (("id",), "agr-1", "id"),
    "unknown field": (("comment",), "x", "comment"),
    "control character": (("title",), "a\nb", "title"),
    "bidirectional override": (("title",), "pay \u202eecila", "title"),
    "lone surrogate": (("title",), "\ud800", "agreement"),
    "too many characters": (("title",), "x" * 201, "title"),
    "one signatory": (("signatories",), [{"key": w.ALICE, "name": "alice"}], "signatories"),
    "unsorted signatories": (
        ("signatories",),
        [{"key": k, "name": n} for n, k in reversed(w.KEYS.items())],
        "order",
    ),
    "unknown key algorithm": (("signatories", 0, "key"), "rsa:00", "signatories.0.key"),
    "same name twice": (("signatories", 0, "name"), "bob", "twice"),
    "ends before it begins": (("validity", "not_after"), "2020-01-01T00:00:00Z", "validity"),
    "no such day": (("validity", "not_after"), "2027-02-30T00:00:00Z", "not_after"),
    "other zone": (("validity", "not_after"), "2027-02-20T00:00:00+08:00", "not_after"),
    "second version without a first": (("version",), 2, "supersedes"),
    "version as text": (("version",), "1", "version"),
    "version as truth": (("version",), True, "version"),
    "stranger as provider": (("assets", 0, "provider"), str(SigningKey(bytes(32)).public), "signatories"),
    "unknown type": (("assets", 0, "columns", 0, "type"), "blob", "type"),
    "scale on a string": (("assets", 0, "columns", 0, "scale"), 2, "decimals"),
    "scale over precision": (("assets", 0, "columns", 3, "scale"), 19, "scale"),
    "unknown use": (("assets", 0, "grants", 0, "columns", "id"), ["read"], "columns.id"),
    "grant on no column": (("assets", 0, "grants", 0, "columns", "income"), ["reveal"], "income"),
    "join key without bounds": (("assets", 0, "grants", 0, "join"), None, "bounds"),
    "no variant": (("assets", 0, "grants", 0, "join", "variants"), [], "variants"),
    "variants of nothing": (("assets", 0, "grants", 0, "join", "variants"), None, "variants"),
    "unknown variant": (("assets", 0, "grants", 0, "join", "variants"), ["malicious"], "variants"),
    "variant twice": (("assets", 0, "grants", 0, "join", "variants"), ["semi-honest"] * 2, "twice"),
    "star beside names": (("assets", 0, "grants", 0, "users"), ["*", "Li Wei"], "users"),
    "grant to oneself": (("assets", 0, "grants", 0, "to"), [w.ALICE], "itself"),
    "grant to a stranger": (
        ("assets", 0, "grants", 0, "to"),
        [str(SigningKey(bytes(32)).public)],
        "signatories",
    ),
    "qualifier as grant": (("assets", 0, "grants", 0, "disclose"), ["corruptible"], "disclose"),
    "negative quota": (("assets", 0, "grants", 0, "quota", "runs_per_day"), -1, "runs_per_day"),
    "fraction": (("silence_seconds",), 1.5, "floats"),
    "huge integer": (("silence_seconds",), 2**60, "2^53"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_documents_are_refused_with_the_field(name: str) -> None:
    path, value, words = BAD[name]
    document = w.terms()
    at = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    error = fails(document)
    assert error.code == "E_FORMAT"
    assert words in error.text


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_missing_field_anywhere_is_refused(data: st.DataObject) -> None:
    document = w.terms()
    at: Any = document
    for _ in range(data.draw(st.integers(0, 4))):
        inner = [v for v in (at.values() if isinstance(at, dict) else at) if isinstance(v, dict | list) and v]
        if not inner:
            break
        at = data.draw(st.sampled_from(inner))
    if (
        isinstance(at, dict)
        and not {"id", "segment", "phone", "A"} & set(at) - {"id"}
        and "id" not in at.keys() - {"format"}
    ):
        del at[data.draw(st.sampled_from(sorted(at)))]
        with pytest.raises(AtollError):
            parse(document)
    else:
        assert parse(document).document() == document


def test_variants_of_joins_are_terms_that_an_amendment_adds_and_removes() -> None:
    document = w.terms()
    grant = document["assets"][0]["grants"][0]
    assert "variants" not in grant["join"]
    grant["join"]["variants"] = ["low-communication"]
    wider = parse(document)
    assert wider.document() == document
    old = parse(w.terms())
    assert wider.digest != old.digest
    (change,) = diff(old, wider)
    assert change.path.endswith("grants.0.join.variants")
    assert (change.old, change.new) == (None, ["low-communication"])
    (back,) = diff(wider, old)
    assert "removed" in back.text("en")
    grant["minimum_security"] = "malicious"
    error = fails(document)
    assert "join.variants" in error.text


def test_an_agreement_holds_once_all_have_signed() -> None:
    document = w.terms()
    envelope = dsse.sign(KIND, document, *list(w.SIGNERS.values())[:3])
    agreement, signed = open_envelope(envelope)
    state = AgreementState(agreement, signed)
    assert state.missing == (w.DAVE,)
    refusal = state.refusal(w.NOW)
    assert refusal is not None
    assert refusal.code == "E_AGREEMENT"
    assert "dave" in refusal.text
    agreement, signed = open_envelope(dsse.add_signature(envelope, w.SIGNERS["dave"]))
    state = AgreementState(agreement, signed)
    assert state.complete
    assert state.refusal(w.NOW) is None
    late, early = state.refusal(w.NOW + timedelta(days=365)), state.refusal(w.NOW - timedelta(days=2))
    assert late is not None
    assert early is not None
    assert late.code == early.code == "E_EXPIRED"


def test_signatures_by_strangers_and_false_ones_do_not_count() -> None:
    document = w.terms()
    with pytest.raises(AtollError) as caught:
        open_envelope(dsse.sign(KIND, document, SigningKey(bytes(32))))
    assert caught.value.code == "E_SIGNATURE"
    envelope = dsse.sign(KIND, document, *w.SIGNERS.values())
    other = copy.deepcopy(envelope)
    other["signatures"][0]["sig"] = other["signatures"][1]["sig"]
    assert len(open_envelope(other)[1]) == 3
    with pytest.raises(AtollError) as caught:
        open_envelope(dsse.sign("plan/v1", document, w.SIGNERS["alice"]))
    assert caught.value.code == "E_SIGNATURE"


def amended(**changes: Any) -> Any:
    old = parse(w.terms())
    return parse({**w.terms(), "version": 2, "supersedes": old.digest, **changes})


def test_amendments_follow_their_chain() -> None:
    old = parse(w.terms())
    check_amendment(old, amended())
    document = amended().document()
    three = [s for s in document["signatories"] if s["name"] != "dave"]
    for field, new in {
        "id": amended(id="agr-" + "0" * 16),
        "version": amended(version=3),
        "supersedes": amended(supersedes=w.version("other")),
        "signatories": amended(signatories=three, assets=[]),
    }.items():
        with pytest.raises(AtollError) as caught:
            check_amendment(old, new)
        assert caught.value.code == "E_AGREEMENT"
        assert field in caught.value.text


def test_the_difference_names_each_change_and_nothing_else() -> None:
    document = amended().document()
    assert diff(parse(w.terms()), parse(document)) == []
    loans = next(a for a in document["assets"] if a["provider"] == w.BOB and a["name"] == "loans")
    loans["grants"][0]["quota"]["runs_per_day"] = 3
    loans["columns"].insert(0, {**loans["columns"][0], "name": "tax"})
    document["title"] = "Joint credit risk 2"
    document["jurisdiction"] = "CN"
    changes = {c.path: c for c in diff(parse(w.terms()), parse(document))}
    assert set(changes) == {
        "title",
        "jurisdiction",
        "assets.bob/loans.columns.tax",
        "assets.bob/loans.grants.0.quota.runs_per_day",
    }
    assert changes["title"].text("en") == 'title: "Joint credit risk" becomes "Joint credit risk 2"'
    assert changes["jurisdiction"].text("zh") == 'jurisdiction：新增 "CN"'


def test_any_signatory_revokes_and_nobody_else_can() -> None:
    agreement = parse(w.terms())
    document = build_revocation(agreement, w.CAROL, "ended by carol", w.NOW)
    revoked = open_revocation(dsse.sign(REVOCATION_KIND, document, w.SIGNERS["carol"]), agreement)
    state = AgreementState(agreement, frozenset(agreement.keys))
    refusal = dataclasses.replace(state, revocation=revoked).refusal(w.NOW)
    assert refusal is not None
    assert refusal.code == "E_REVOKED"
    assert "carol" in refusal.text
    with pytest.raises(AtollError) as caught:
        open_revocation(dsse.sign(REVOCATION_KIND, document, w.SIGNERS["bob"]), agreement)
    assert caught.value.code == "E_SIGNATURE"
    stranger = SigningKey(bytes(32))
    with pytest.raises(AtollError):
        build_revocation(agreement, str(stranger.public), "", w.NOW)
    forged = {**document, "by": str(stranger.public)}
    with pytest.raises(AtollError) as caught:
        open_revocation(dsse.sign(REVOCATION_KIND, forged, stranger), agreement)
    assert caught.value.code == "E_AGREEMENT"


def test_grants_are_found_by_partner_purpose_and_function() -> None:
    asset = parse(w.terms()).asset(w.BOB, "loans")
    assert asset is not None
    assert [i for i, _ in grants_to(asset, w.ALICE, "credit-risk", "totals")] == [1]
    assert grants_to(asset, w.ALICE, "marketing", "totals") == []
    assert grants_to(asset, w.BOB, "credit-risk", "totals") == []


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda i: st.lists(i) | st.dictionaries(st.text(), i),
        max_leaves=10,
    )
)
def test_arbitrary_json_is_a_named_error(value: Any) -> None:
    assert fails(value).code == "E_FORMAT"


def test_documents_carry_no_floats_so_their_bytes_are_canonical() -> None:
    assert canonical.loads(canonical.dumps(w.terms())) == w.terms()
