"""Documents that a peer sends or a file holds: whatever they are, they are taken or refused with a code.

Frames, CBOR bodies, invites, notes, checkpoints and plans are attacked beside the code that reads them.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from atoll_test_world import NOW, SIGNERS, terms
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.agreements import (
    build_approval,
    build_refusal,
    build_revocation,
    open_approval,
    open_envelope,
    open_revocation,
    parse,
    parse_receipt,
)
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import digest
from atoll.errors import AtollError
from atoll.net.identity import NodeKeys, key_statement, make_tls, read_key_statement

# Lone surrogates too: JSON can carry them, UTF-8 cannot.
TEXT = (
    st.text(st.characters(), max_size=12) | st.just("\ud800") | st.sampled_from(["ed25519:00", "sha256:", ""])
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
FUZZ = settings(max_examples=150, deadline=None)
ALICE, BOB = SIGNERS["alice"], SIGNERS["bob"]
JOB, PLAN = "job-" + "0" * 32, digest(b"plan")


def codes(read: Any, *arguments: Any) -> Any:
    """What a reader gives, or None where it refuses with a stable code. Anything else it raises is a defect."""
    error: AtollError
    try:
        return read(*arguments)
    except AtollError as caught:
        error = caught
    assert error.code.startswith("E_")
    assert error.code != "E_INTERNAL"
    json.dumps(error.to_wire())
    return None


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every part of a document, below its root."""
    inner = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    return [path for key, part in inner for path in [(*at, key), *places(part, (*at, key))]]


def damaged(document: Any, data: st.DataObject) -> Any:
    """A copy in which one part is something else, absent, or there twice under another name."""
    copy = json.loads(json.dumps(document))
    path = data.draw(st.sampled_from(places(copy)))
    at = copy
    for part in path[:-1]:
        at = at[part]
    what = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if what == "replace":
        at[path[-1]] = data.draw(JSON)
    elif what == "remove":
        del at[path[-1]]
    elif isinstance(at, dict):
        at[data.draw(TEXT)] = data.draw(JSON)
    else:
        at.append(data.draw(JSON))
    return copy


# Canonical JSON


@FUZZ
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_canonical_or_refused(data: bytes) -> None:
    value = codes(canonical.loads, data)
    if value is not None:
        assert canonical.dumps(value) == data


@FUZZ
@given(JSON)
def test_a_value_has_one_form_or_none(value: Any) -> None:
    written = codes(canonical.dumps, value)
    if written is not None:
        assert canonical.loads(written) == value
        # The same value written by another encoder is not taken.
        other = json.dumps(value, indent=1).encode()
        assert other == written or codes(canonical.loads, other) is None


@FUZZ
@given(st.data())
def test_a_changed_byte_never_gives_the_same_document(data: st.DataObject) -> None:
    good = canonical.dumps(terms())
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    value = codes(canonical.loads, bytes(bad))
    assert value is None or value != terms() or bytes(bad) == good


# Envelopes


def every_reading(envelope: Any) -> None:
    codes(dsse.payload_bytes, envelope)
    codes(dsse.identifier, envelope)
    codes(dsse.signers, envelope)
    codes(dsse.verify, "agreement/v1", envelope, [ALICE.public])
    codes(open_envelope, envelope)
    codes(read_key_statement, envelope, NOW)


@FUZZ
@given(JSON)
def test_anything_as_an_envelope(value: Any) -> None:
    every_reading(value)


ENTRY = st.fixed_dictionaries({"keyid": TEXT | st.just(str(ALICE.public)), "sig": TEXT | st.just("AAAA")})


@FUZZ
@given(
    TEXT | st.just(dsse.media_type("agreement/v1")),
    TEXT | JSON.map(lambda v: base64.b64encode(json.dumps(v).encode()).decode()),
    st.lists(ENTRY | JSON, max_size=3),
)
def test_anything_in_the_form_of_an_envelope(kind: str, payload: str, signatures: list[Any]) -> None:
    every_reading({"payloadType": kind, "payload": payload, "signatures": signatures})


@FUZZ
@given(st.data())
def test_a_damaged_envelope_holds_the_signed_document_or_nothing(data: st.DataObject) -> None:
    envelope = dsse.sign("agreement/v1", terms(), ALICE, BOB)
    bad = damaged(envelope, data)
    every_reading(bad)
    found = codes(dsse.verify, "agreement/v1", bad, [ALICE.public])
    assert found is None or found == terms()
    signed = codes(dsse.signers, bad) or set()
    assert signed <= {str(ALICE.public), str(BOB.public)}


@FUZZ
@given(st.data())
def test_a_changed_signature_does_not_count(data: st.DataObject) -> None:
    envelope = dsse.sign("agreement/v1", terms(), ALICE)
    raw = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(raw)).decode()
    assert dsse.signers(envelope) == set()
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        dsse.verify("agreement/v1", envelope, [ALICE.public])


# Documents behind a good signature: the partner itself is hostile.


@FUZZ
@given(st.data())
def test_a_hostile_agreement(data: st.DataObject) -> None:
    document = damaged(terms(), data)
    agreement = codes(parse, document)
    if agreement is not None:
        assert agreement.document() == document


@FUZZ
@given(st.data())
def test_a_hostile_revocation(data: st.DataObject) -> None:
    agreement = parse(terms())
    good = build_revocation(agreement, str(ALICE.public), "moved", NOW)
    document = damaged(good, data)
    envelope = codes(dsse.sign, "revocation/v1", document, ALICE)
    if envelope is not None:
        revocation = codes(open_revocation, envelope, agreement)
        assert revocation is None or revocation.document() == document


def approval(approve: bool) -> dict[str, Any]:
    common: dict[str, Any] = {
        "job": JOB, "plan": PLAN, "party": str(ALICE.public), "by": "agreement", "at": NOW, "nonce": "00" * 16,
    }  # fmt: skip
    if not approve:
        return build_refusal(
            **common, reasons=[{"code": "E_QUOTA", "party": str(ALICE.public), "step": "n4"}]
        )
    fed = {"version": digest(b"version"), "mode": "snapshot", "keys": 2000, "change": None}
    return build_approval(
        **common, inputs={"in0": fed}, seed_commitment=digest(b"seed"), tls=digest(b"certificate")
    )


@FUZZ
@given(st.booleans(), st.data())
def test_a_hostile_approval(approve: bool, data: st.DataObject) -> None:
    document = damaged(approval(approve), data)
    envelope = codes(dsse.sign, "approval/v1", document, ALICE)
    if envelope is not None:
        expected = {"plan": PLAN, "job": JOB, "party": str(ALICE.public), "inputs": ["in0"]}
        found = codes(lambda: open_approval(envelope, **expected))
        assert found is None or found.document() == document


@FUZZ
@given(JSON)
def test_anything_as_a_receipt(value: Any) -> None:
    codes(parse_receipt, value)


@FUZZ
@given(st.data())
def test_a_hostile_key_statement(data: st.DataObject) -> None:
    keys = NodeKeys(ALICE, TLS)
    document = damaged(canonical.loads(dsse.payload_bytes(key_statement(keys, "alice", None, NOW))), data)
    envelope = codes(dsse.sign, "key/v1", document, ALICE)
    if envelope is not None:
        found = codes(read_key_statement, envelope, NOW)
        assert found is None or found.identity == str(ALICE.public)


TLS = make_tls(NOW, 30)


def test_the_documents_before_the_damage_are_good() -> None:
    """Else every test above would pass for the wrong reason."""
    agreement, signed = open_envelope(dsse.sign("agreement/v1", terms(), ALICE))
    assert signed == {str(ALICE.public)}
    revocation = dsse.sign(
        "revocation/v1", build_revocation(agreement, str(ALICE.public), "moved", NOW), ALICE
    )
    assert open_revocation(revocation, agreement).by == str(ALICE.public)
    for approve in (True, False):
        envelope = dsse.sign("approval/v1", approval(approve), ALICE)
        open_approval(envelope, plan=PLAN, job=JOB, party=str(ALICE.public), inputs=["in0"])
    statement = key_statement(NodeKeys(ALICE, TLS), "alice", None, NOW)
    assert read_key_statement(statement, NOW + timedelta(days=1)).tls == TLS.fingerprint
