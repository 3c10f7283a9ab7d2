"""Calls that rest on data subjects' authorisations: attested, presented, missing, of another purpose, withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from atoll import AtollError
from atoll.testing import Net, nodes, until


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        yield made


def agree(net: Net, consent: dict[str, Any]) -> str:
    return net.agreement({"alice": {}, "bob": {"echo": "service"}}, consent=consent)


def issue(net: Net, subject: str, **changed: Any) -> str:
    terms: dict[str, Any] = {"purposes": ["test"], "functions": ["echo"]} | changed
    return str(net.alice.steward.consents.issue(subject, **terms)["consent"])


def given_by_bob(net: Net, subject: str, **changed: Any) -> str:
    """An authorisation that bob issued for alice and handed over."""
    terms: dict[str, Any] = {"purposes": ["test"], "functions": ["echo"], "grantee": "alice"} | changed
    digest = net.bob.steward.consents.issue(subject, **terms)["consent"]
    return str(net.alice.steward.consents.take(net.bob.steward.consents.show(digest)["envelope"])["consent"])


def refused(service: Any, consent: str | None) -> str:
    with pytest.raises(AtollError) as error:
        service.call(b"hello", consent=consent)
    assert error.value.code == "E_CONSENT"
    return error.value.text


def receipts(net: Net, job: str) -> list[dict[str, Any]]:
    from atoll.crypto import dsse

    entries = net.bob.auditor.ledger.entries(net.alice.analyst.jobs.get(job).document["agreement"], 0, 1000)
    found = [
        dsse.verify("receipt/v1", e["document"]["envelope"], []) for e in entries if e["kind"] == "receipt/v1"
    ]
    return [receipt for receipt in found if receipt["job"] == job and receipt["block"]]


def test_attested_calls_carry_a_commitment_and_the_owner_sees_no_authorisation(net: Net) -> None:
    service = net.alice.analyst.echo(agree(net, {"mode": "attested"}), "echo", purpose="test", block_calls=2)
    digest = issue(net, "id 330101 1999")
    for i in range(3):
        assert service.call(f"call {i}".encode(), consent=digest) == f"call {i}".encode()
    assert "names none" in refused(service, None)
    assert "purpose" in refused(service, issue(net, "another", purposes=["marketing"]))
    assert "function" in refused(service, issue(net, "third", functions=["join"]))
    net.alice.steward.consents.withdraw(digest)
    assert "withdrawn" in refused(service, digest)
    service.stop().wait(timeout=60)
    until("both blocks have receipts", lambda: len(receipts(net, service.id)) == 2)
    found = receipts(net, service.id)
    assert {receipt["consent"] for receipt in found} == {"attested"}
    assert sum(receipt["block"]["calls"] for receipt in found) == 3
    assert net.bob.steward.consents.list() == []
    assert "330101" not in net.bob.log()


def test_presented_calls_are_checked_by_the_owner(net: Net) -> None:
    agreement = agree(net, {"mode": "presented", "issuers": [net.bob.identity]})
    service = net.alice.analyst.echo(agreement, "echo", purpose="test")
    good = given_by_bob(net, "subject one")
    assert service.call(b"hello", consent=good) == b"hello"
    own = issue(net, "not by the issuer")
    assert "issuers" in refused(service, own)
    assert service.call(b"again", consent=good) == b"again"
    # The issuer ends it: the owner's node, which is the issuer here, knows at once, whatever the asker knows.
    net.bob.steward.consents.withdraw(good)
    refused(service, good)
    assert service.call(b"other", consent=given_by_bob(net, "subject two")) == b"other"
    service.stop().wait(timeout=60)


def test_what_is_taken_in_must_be_for_this_institution_and_signed(net: Net) -> None:
    digest = net.bob.steward.consents.issue("x", purposes=["test"], functions=["echo"])["consent"]
    envelope = net.bob.steward.consents.show(digest)["envelope"]
    with pytest.raises(AtollError) as error:
        net.alice.steward.consents.take(envelope)
    assert error.value.code == "E_CONSENT"
    assert "another institution" in error.value.text
    with pytest.raises(AtollError) as error:
        net.alice.steward.consents.take(envelope | {"signatures": []})
    assert error.value.code == "E_CONSENT"
    with pytest.raises(AtollError) as error:
        net.alice.steward.consents.withdraw(given_by_bob(net, "y"))
    assert error.value.code == "E_CONSENT"
