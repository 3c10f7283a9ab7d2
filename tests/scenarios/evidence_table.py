"""Scenarios of evidence: consent, files for auditors, the state of the ledger."""

from __future__ import annotations

from pathlib import Path

from atoll_scenario_evidence_actions import actions
from atoll_scenario_world import Play, numbers, scenario

from atoll.client import requests, verify_audit
from atoll.testing import until


def _service(p: Play, mode: str) -> str:
    """A service of bob's whose calls need consent; bob issues where it is to be presented."""
    issuers = [p.bob.identity] if mode == "presented" else []
    agreement = p.agree(alice={}, bob={"echo": "service"}, consent={"mode": mode, "issuers": issuers})
    p.kept["agreement"] = agreement
    job = p.do.ask(p.alice, requests.echo(agreement, "echo", purpose="test", block_calls=2))
    until(
        "the service runs",
        lambda: p.alice.analyst.jobs.get(job).state in ("running", "released", "failed", "refused"),
    )
    return job


def _file(p: Play) -> Path:
    return p.world.folder / f"audit{next(numbers)}.atoll-audit"


@scenario("calls that attest consent, and an auditor who has one opened", heavy=True)
def _(p: Play) -> None:
    do = actions(p.do)
    job = _service(p, "attested")
    consent = do.issue(p.alice, f"subject {next(numbers)}", "test", "echo", None)
    for i in range(2):
        assert do.call(p.alice, job, f"call {i}".encode(), consent) == f"call {i}".encode()
    p.do.stop(p.alice, job)
    p.do.receipt(p.alice, job)
    until(
        "the receipts of block and service are final",
        lambda: (
            [entry["kind"] for entry in p.alice.auditor.ledger.entries(p.kept["agreement"], 0, 100)].count(
                "receipt/v1"
            )
            == 2
        ),
    )
    to = _file(p)
    do.export(p.alice, p.kept["agreement"], to, jobs=[job], calls=[f"{job}:1:2"])
    report = verify_audit(to, {node.name: node.identity for node in (p.alice, p.bob)})
    assert report.ok, report.lines()
    assert "consent-shown" in {finding.code for finding in report.findings}


@scenario("a call without the consent that it needs", error="E_CONSENT", text="names none")
def _(p: Play) -> None:
    actions(p.do).call(p.alice, _service(p, "attested"), b"hello", None)


@scenario("a call whose consent is for another purpose", error="E_CONSENT", text="purpose")
def _(p: Play) -> None:
    do = actions(p.do)
    job = _service(p, "attested")
    do.call(p.alice, job, b"hello", do.issue(p.alice, "someone", "marketing", "echo", None))


@scenario("consent presented to the owner, and withdrawn by its issuer", error="E_CONSENT")
def _(p: Play) -> None:
    do = actions(p.do)
    job = _service(p, "presented")
    digest = do.issue(p.bob, f"subject {next(numbers)}", "test", "echo", "alice")
    assert do.take(p.alice, do.consent(p.bob, digest)["envelope"]) == digest
    assert do.call(p.alice, job, b"hello", digest) == b"hello"
    assert do.withdraw(p.bob, digest)["state"] == "withdrawn"
    do.call(p.alice, job, b"again", digest)


@scenario("consent that was given to another institution is not taken in", error="E_CONSENT")
def _(p: Play) -> None:
    do = actions(p.do)
    digest = do.issue(p.bob, "someone", "test", "echo", None)
    do.take(p.alice, do.consent(p.bob, digest)["envelope"])


@scenario("an authorisation that is not here", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).consent(p.alice, "sha256:" + "0" * 64)


@scenario("an auditor's file of one job")
def _(p: Play) -> None:
    agreement = p.both()
    job = p.run(p.join(agreement, reveal="size"))
    p.do.receipt(p.alice, job)
    # The release stands in bob's log, of which alice's copy comes a moment later.
    until(
        "bob's log has been copied",
        lambda: any(
            log["agreement"] == agreement and not log["own"] and log["size"] >= 5
            for log in p.alice.auditor.ledger.list()
        ),
    )
    to = _file(p)
    actions(p.do).export(p.alice, agreement, to, jobs=[job])
    report = verify_audit(to, {node.name: node.identity for node in (p.alice, p.bob)})
    assert report.ok, report.lines()
    assert {"authorised", "valid", "receipted"} <= {finding.code for finding in report.findings}


@scenario("an auditor's file of a job that is not of the agreement", error="E_NOT_FOUND", text="job-0")
def _(p: Play) -> None:
    actions(p.do).export(p.alice, p.both(), _file(p), jobs=["job-0"])


@scenario("an auditor's file of a month that is none", error="E_FORMAT", text="2026-13")
def _(p: Play) -> None:
    actions(p.do).export(p.alice, p.both(), _file(p), months=["2026-13"])


@scenario("an analyst writes no auditor's file", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).export(p.alice, p.both(), _file(p), role="analyst")


@scenario("a node says that it may record, and that nobody has two histories")
def _(p: Play) -> None:
    do = actions(p.do)
    agreement = p.both()
    assert do.standing(p.alice)["open"] is True
    assert do.forks(p.alice, agreement) == []
    until("the private log has entries", lambda: do.private(p.alice))


@scenario("going on without partners while nothing is being recovered", error="E_STATE")
def _(p: Play) -> None:
    actions(p.do).without(p.alice, ["bob"])


@scenario("a steward is not shown the private log", error="E_ROLE")
def _(p: Play) -> None:
    actions(p.do).private(p.alice, "steward")


# Bills.

PRICE = {"currency": "CNY", "per_run": 500, "per_row": 3}


def _month(p: Play, agreement: str) -> str:
    return str(p.bob.auditor.ledger.entries(agreement, 0, 1)[0]["time"])[:7]


@scenario("both sides compute the same statement")
def _(p: Play) -> None:
    do = actions(p.do)
    agreement = p.both(price=PRICE)
    job = p.run(p.join(agreement, reveal="size"))
    p.do.receipt(p.alice, job)
    month = _month(p, agreement)
    until("bob has the receipt", lambda: p.bob.auditor.jobs.get(job).document["evidence"] == "final")
    (mine,) = do.bills(p.alice, month, agreement=agreement)
    (theirs,) = do.bills(p.bob, month, agreement=agreement, partner="alice")
    assert mine["statement"] == theirs["statement"]
    assert {x["unit"]: (x["quantity"], x["amount"]) for x in mine["lines"]} == {
        "run": (1, "500"),
        "row": (120, "360"),
    }
    assert mine["owe"] == theirs["owed"] == ["8.60 CNY"]
    assert do.compare(p.alice, month, agreement, "bob")["equal"] is True


@scenario("nothing is billed where no price is named")
def _(p: Play) -> None:
    agreement = p.both()
    p.do.receipt(p.alice, p.run(p.join(agreement, reveal="size")))
    assert actions(p.do).bills(p.alice, _month(p, agreement), agreement=agreement) == []


@scenario("a month that is none", error="E_FORMAT", text="2026-13")
def _(p: Play) -> None:
    actions(p.do).bills(p.alice, "2026-13")


@scenario("a month that has not begun", error="E_FORMAT", text="not begun")
def _(p: Play) -> None:
    actions(p.do).bills(p.alice, "2199-01")


@scenario("a bill of an agreement that is not here", error="E_NOT_FOUND")
def _(p: Play) -> None:
    actions(p.do).bills(p.alice, "2026-01", agreement="agr-0000000000000000")


@scenario("a bill with one who is no signatory", error="E_NOT_FOUND", text="carol")
def _(p: Play) -> None:
    agreement = p.both()
    actions(p.do).compare(p.alice, _month(p, agreement), agreement, "carol")


@scenario("a month is signed when it is over", error="E_STATE", text="not over")
def _(p: Play) -> None:
    agreement = p.both(price=PRICE)
    actions(p.do).sign_bill(p.alice, _month(p, agreement), agreement, "bob")


@scenario("an auditor signs no bill", error="E_ROLE")
def _(p: Play) -> None:
    agreement = p.both(price=PRICE)
    actions(p.do).sign_bill(p.alice, _month(p, agreement), agreement, "bob", "auditor")
