"""A second algorithm suite is registered, and agreements, plans, approvals and ledgers work with it unchanged."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed448

from atoll.agreements import build_revocation, model, open_envelope, open_revocation
from atoll.agreements.lifecycle import REVOCATION_KIND
from atoll.client import drafts
from atoll.crypto import dsse, suite
from atoll.crypto.suite import Hash, PublicKey, Signature, SigningKey, Suite
from atoll.errors import AtollError
from atoll.functions.join.compile import compile as compile_join
from atoll.ledger import note
from atoll.ledger.entry import Record
from atoll.ledger.log import OwnLog
from atoll.ledger.replica import Replica
from atoll.ledger.storage import MemoryStorage
from atoll.ledger.witness import MemorySeen, Witness
from atoll.plan import KIND as PLAN_KIND
from atoll.plan import check, plan_digest

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)


def _private(seed: bytes) -> ed448.Ed448PrivateKey:
    return ed448.Ed448PrivateKey.from_private_bytes(hashlib.shake_256(b"ed448 key" + seed).digest(57))


def _verify(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        ed448.Ed448PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


SECOND = Suite(
    "atoll-test-2",
    Hash("sha3-256", 32, lambda data: hashlib.sha3_256(data).digest(), hashlib.sha3_256),
    Signature(
        "ed448", 57, 114,
        lambda seed: _private(seed).public_key().public_bytes_raw(),
        lambda seed, message: _private(seed).sign(message),
        _verify,
        b"\xff\x01", b"\xff\x02",
    ),
)  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known for one test, and forgotten after it."""
    for registry in ("_HASHES", "_SIGNATURES", "_SUITES"):
        monkeypatch.setattr(suite, registry, dict(getattr(suite, registry)))
    suite.register(SECOND)


@pytest.fixture
def keys(registered: None) -> tuple[SigningKey, SigningKey]:
    """One signatory on each suite: an agreement of an old node and a new one."""
    return SigningKey.generate(SECOND), SigningKey.generate()


def agreement(keys: tuple[SigningKey, SigningKey]) -> dict[str, Any]:
    names = {str(k.public): n for k, n in zip(keys, ("new", "old"), strict=True)}
    column = {"name": "id", "type": "string"}
    assets = []
    for key, name in (keys[0], "loans"), (keys[1], "taxes"):
        grant = drafts.grant(
            [k for k in names if k != str(key.public)], purposes=["test"], functions=["join"],
            columns={"id": "join_key"}, approval="automatic",
        )  # fmt: skip
        assets.append(drafts.asset(name, str(key.public), columns=[column], grants=[grant]))
    return {**drafts.agreement(names, assets, title="Two suites", now=NOW), "id": "agr-0123456789abcdef"}


def test_a_key_of_another_suite_names_its_algorithm(keys: tuple[SigningKey, SigningKey]) -> None:
    key = keys[0].public
    assert str(key).startswith("ed448:")
    assert PublicKey.parse(str(key)) == key
    signature = keys[0].sign(b"message")
    assert key.verify(b"message", signature)
    assert not key.verify(b"another", signature)
    assert not keys[1].public.verify(b"message", signature)


def test_a_key_of_an_unknown_suite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = str(SigningKey.generate(SECOND).public)
    monkeypatch.delitem(suite._SIGNATURES, "ed448")
    with pytest.raises(AtollError) as caught:
        PublicKey.parse(text)
    assert caught.value.code == "E_FORMAT"


def test_agreement_plan_and_revocation(keys: tuple[SigningKey, SigningKey]) -> None:
    document = agreement(keys)
    envelope = dsse.sign(model.KIND, model.parse(document).document(), *keys)
    parsed, signed = open_envelope(envelope)
    assert signed == {str(k.public) for k in keys}
    request = {
        "agreement": document["id"], "purpose": "test", "reveal": "size",
        "left": {"asset": "loans", "keys": ["id"]}, "right": {"asset": "taxes", "keys": ["id"]},
    }  # fmt: skip
    plan = compile_join(
        request,
        parsed,
        me=str(keys[0].public),
        person="Li Wei",
        now=NOW,
        job="job-" + "0" * 32,
        salt="0" * 32,
    )
    signed_plan = dsse.sign(PLAN_KIND, plan, keys[0])
    assert dsse.verify(PLAN_KIND, signed_plan, [keys[0].public]) == plan
    with pytest.raises(AtollError):
        dsse.verify(PLAN_KIND, signed_plan, [keys[1].public])
    derived = check(plan, {document["id"]: parsed.document()})
    assert derived.receivers == (str(keys[0].public),)
    assert plan_digest(plan) == dsse.identifier(signed_plan)
    revocation = dsse.sign(
        REVOCATION_KIND, build_revocation(parsed, str(keys[0].public), "test", NOW), keys[0]
    )
    assert open_revocation(revocation, parsed).by == str(keys[0].public)


@pytest.mark.parametrize("witness", [SECOND, suite.DEFAULT], ids=lambda s: s.name)
def test_ledger(witness: Suite) -> None:
    owner = SigningKey.generate(SECOND)
    log = OwnLog(MemoryStorage(), "agr-0123456789abcdef", owner, SECOND)
    for number in range(5):
        log.append([Record("note/v1", {"number": number})], NOW)
    point = log.checkpoint()
    assert point is not None
    copy = Replica(MemoryStorage(), "agr-0123456789abcdef", owner.public, SECOND.hash)
    copy.extend(0, log.entries(0, 5), point.encode())
    assert copy.root() == log.root()
    other = SigningKey.generate(witness)
    line = Witness(other, MemorySeen()).update(log.origin, owner.public, 0, [], point.encode(), NOW).line
    log.add_cosignature(point.encode(), line, other.public)
    assert len(log.cosigned()) == 1
    spoiled = note.parse(point.encode().replace(b"\n5\n", b"\n4\n"))
    with pytest.raises(AtollError):
        Witness(other, MemorySeen()).update(log.origin, owner.public, 0, [], spoiled.encode(), NOW)


def test_digests_and_commitments(keys: tuple[SigningKey, SigningKey]) -> None:
    text = suite.digest(b"data", SECOND)
    assert text == f"sha3-256:{hashlib.sha3_256(b'data').hexdigest()}"
    assert suite.check_digest(b"data", text)
    opening = b"o" * 16
    assert suite.check_commitment(b"data", opening, suite.commit(b"data", opening, SECOND))
    assert not suite.check_commitment(b"other", opening, suite.commit(b"data", opening, SECOND))
