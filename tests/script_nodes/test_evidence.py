"""What stands behind decisions: consent of data subjects, bills, an auditor's file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atoll.audit.case import gather
from atoll.client import verify_audit
from atoll.errors import AtollError
from atoll.testing import until

from .conftest import TERMS, USES, World, plain

PRICE = {
    "currency": "CNY", "per_run": "0", "per_call": "7", "per_row": "0", "per_hit": "0", "per_month": "0",
    "shares": [],
}  # fmt: skip


@pytest.fixture
def other(world: World, tmp_path: Path) -> Iterator[Any]:
    """The same two nodes under another agreement."""
    made: list[World] = []

    def agree(**terms: Any) -> World:
        agreement = world.net.agreement({"hospital": USES}, **TERMS, **terms)
        made.append(
            replace(world, agreement=agreement, folder=tmp_path, deployed=[], numbers=itertools.count(1))
        )
        return made[-1]

    yield agree
    for each in made:
        for reference in each.deployed:
            each.host.withdraw(reference, "the test is over")


def refused(call: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        call()
    return caught.value


def test_attested_calls_name_an_authorisation_and_the_host_sees_none(world: World, other: Any) -> None:
    here = other(consent={"mode": "attested"})
    here.deploy("attested")
    words: dict[str, Any] = {"purposes": ["claim settlement"], "functions": ["script"]}
    consents = world.net.insurer.steward.consents
    digest = consents.issue("id 330101", **words)["consent"]
    assert here.caller.call("attested", "C-20", consent=digest)["answer"] == plain(20)
    assert refused(lambda: here.caller.call("attested", "C-21")).code == "E_CONSENT"
    batch = [{"subject": "C-22", "consent": digest}, {"subject": "C-23", "consent": digest}]
    assert [a["answer"] for a in here.caller.batch("attested", batch)] == [plain(22), plain(23)]
    wrong = consents.issue("another", purposes=["marketing"], functions=["script"])["consent"]
    assert refused(lambda: here.caller.call("attested", "C-24", consent=wrong)).code == "E_CONSENT"
    consents.withdraw(digest)
    assert refused(lambda: here.caller.call("attested", "C-25", consent=digest)).code == "E_CONSENT"
    assert len(here.host.decisions(name="attested")) == 3


def test_presented_calls_are_checked_by_the_host(world: World, other: Any) -> None:
    here = other(consent={"mode": "presented", "issuers": [world.net.hospital.identity]})
    here.deploy("presented")
    words: dict[str, Any] = {"purposes": ["claim settlement"], "functions": ["script"], "grantee": "insurer"}
    issuer, holder = world.net.hospital.steward.consents, world.net.insurer.steward.consents
    digest = issuer.issue("id 330101", **words)["consent"]
    holder.take(issuer.show(digest)["envelope"])
    assert here.caller.call("presented", "C-20", consent=digest)["answer"] == plain(20)
    own = holder.issue("self made", purposes=["claim settlement"], functions=["script"])["consent"]
    assert refused(lambda: here.caller.call("presented", "C-21", consent=own)).code == "E_CONSENT"
    issuer.withdraw(digest)
    # By its own node, or, where that has not heard of the withdrawal yet, by the host.
    assert refused(lambda: here.caller.call("presented", "C-22", consent=digest)).code == "E_CONSENT"
    assert len(here.host.decisions(name="presented")) == 1


def test_calls_are_billed_alike_and_an_auditor_finds_all_of_it(
    world: World, other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = other(price=PRICE)
    here.deploy("billed")
    found = here.caller.batch("billed", [{"subject": f"C-{n}"} for n in range(20, 40)])
    job = found[0]["job"]
    again = here.caller.call("billed", "C-20", key=found[0]["key"])
    assert again["answer"] == found[0]["answer"]
    here.host.withdraw("billed", "the month is over")
    here.deployed.clear()
    world.net.insurer.analyst.jobs.get(job).wait(timeout=60)
    receipt = world.net.insurer.analyst.jobs.get(job).receipt(30)
    assert not receipt["missing"]
    assert [(b["calls"], b["evidence"]) for b in receipt["blocks"]] == [(20, "final")]
    month = datetime.now(UTC).strftime("%Y-%m")

    def bill(node: Any) -> list[dict[str, Any]]:
        return list(node.auditor.bills.show(month, agreement=here.agreement))

    # Two tables are read under a grant with that price, in each of twenty calls.
    statements = [until("the bill is there", lambda n=node: bill(n)) for node in world.net]  # type: ignore[misc]
    documents = [statement["document"] for (statement,) in statements]
    assert documents[0] == documents[1]
    (total,) = documents[0]["totals"]
    assert (total["payer"], total["amount"]) == (world.net.insurer.identity, str(2 * 20 * 7))
    for node in world.net:
        until(
            "the copy is whole",
            lambda n=node: (
                verify_audit(  # type: ignore[misc]
                    n.auditor.audit.export(here.agreement, tmp_path / f"{n.name}.atoll-audit")
                ).ok
            ),
            30,
        )
        report = verify_audit(tmp_path / f"{node.name}.atoll-audit")
        codes = {finding.code for finding in report.findings}
        assert {"log-whole", "authorised", "receipted", "valid"} <= codes
    _consents_count(tmp_path / "hospital.atoll-audit", monkeypatch)


def _consents_count(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The auditor's finding rests on the host's consent: without it, or with a refusal in its place, it is another."""

    def codes(change: Any) -> set[str]:
        def gathered(agreement: str, logs: Any) -> Any:
            case = gather(agreement, logs)
            case.deployments = change(case.deployments)
            return case

        with monkeypatch.context() as patch:
            patch.setattr("atoll.audit.verify.gather", gathered)
            return {finding.code for finding in verify_audit(file).findings}

    assert "authorised" in codes(lambda found: found)
    assert {"authority-unknown"} == codes(lambda found: {}) & {
        "authorised",
        "authority-unknown",
        "unauthorised",
    }

    def refuse(found: Any) -> Any:
        return {
            digest: replace(
                word, document=word.document.model_copy(update={"decision": "refuse", "bounds": None})
            )
            for digest, word in found.items()
        }

    assert "unauthorised" in codes(refuse)
