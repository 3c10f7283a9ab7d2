"""The acts: each asks, and puts the answer beside what is right."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

from atoll.client import Job, requests, verify_ledger
from atoll.demo import lenders, plaintext
from atoll.demo.ledger_copy import flip
from atoll.demo.plaintext import Cells, Overlap, normal
from atoll.demo.show import Show
from atoll.demo.stage import FRAUD, REVIEW, RISK, SILENCE, STEPS, Stage
from atoll.errors import AtollError

GONE = ("E_UNREACHABLE", "E_PEER_SILENT", "E_PEER_ABORT", "E_RESTARTED")


def _keys(job: Job) -> list[tuple[str, ...]]:
    """The customers in a node's own result, in its order."""
    return [(normal(value),) for value in job.result().arrow().column("id").to_pylist()]


def refused(call: Callable[[], object]) -> AtollError | None:
    """The refusal that a call ends with, or None if it went through."""
    try:
        call()
    except AtollError as error:
        return error
    return None


def _code(error: AtollError | None) -> str:
    return error.code if error is not None else "-"


def overlap(stage: Stage, show: Show, truth: Overlap) -> None:
    """One side learns, both learn, only the size is learned."""
    show.say("overlap-intro", left=stage.name("harbour"), right=stage.name("lotus"))
    with show.busy("asking"):
        mine = stage.join("harbour", "lotus")
        both = stage.join("harbour", "lotus", receivers="both")
        size = stage.join("harbour", "lotus", reveal="size")
        for job in (mine, both, size):
            job.wait()
        theirs = stage["lotus"].analyst.jobs.get(both.id).wait()
    found, ours, yours = _keys(mine), _keys(both), _keys(theirs)
    show.check(show.text("one-side"), mine.result().scalars["matched_keys"], truth.keys)
    show.check(show.text("one-side-rows"), len(found), sum(truth.left.values()))
    show.check(show.text("one-side-same"), Counter(found) == truth.left, True)
    unseen = stage["lotus"].analyst.jobs.get(mine.id).document["result"] is None
    show.check(show.text("peer-nothing"), unseen, True)
    show.check(show.text("both"), len(ours), sum(truth.pairs.values()))
    show.check(show.text("both-same"), ours == yours and Counter(ours) == truth.pairs, True)
    show.check(show.text("size"), size.result().scalars["intersection_size"], truth.keys)
    show.table("plaintext")
    show.evidence(mine)


def totals(stage: Stage, show: Show, truth: Cells) -> None:
    """Applications and debt per product over all four."""
    show.say("totals-intro", name=stage.name("harbour"))
    with show.busy("asking"):
        job = stage["harbour"].analyst.totals(
            stage.agreement, "loans", group="segment", values=["applications", "debt"], subject="id",
            purpose=RISK,
        ).wait()  # fmt: skip
    for row in job.result().arrow().to_pylist():
        applications, debt, count = truth[row["segment"]]
        segment = lenders.SEGMENTS[row["segment"]][show.language]
        show.check(show.text("applications", segment=segment), int(row["applications"]), applications)
        show.check(show.text("debt", segment=segment), f"{row['debt']:,}", f"{debt:,}")
        show.check(show.text("count", segment=segment), int(row["count"]), count)
    show.table("plaintext")
    show.evidence(job)


def applicant(stage: Stage, show: Show) -> None:
    """Totals of one person over the other three lenders, for people whom all, one and none of them know."""
    asker, others = "river", [key for key in stage.plain if key != "river"]
    show.say("applicant-intro", name=stage.name(asker))
    tables = [stage.plain[key] for key in others]
    people = _known_to(tables, (3, 1, 0))
    with show.busy("asking"):
        lookups = stage[asker].analyst.lookups
        request = requests.lookup_totals(
            stage.agreement, "elsewhere", [f"loans@{stage.name(key)}" for key in others], purpose=RISK, on=["id"],
            values=["applications", "debt"], normalise={"id": STEPS}, count_holders=True,
        )  # fmt: skip
        lookups.start(request)
        answers = lookups.query("elsewhere", people)["answers"]
        job = lookups.stop("elsewhere").wait(timeout=60)
    for person, answer in zip(people, answers, strict=True):
        applications, debt, holders = plaintext.of_person(tables, person)
        (row,) = answer["rows"]
        show.check(
            show.text("applicant", holders=holders),
            f"{row['applications']} / {Decimal(row['debt']):,} / {row['holders']}",
            f"{applications} / {debt:,.2f} / {holders}",
        )
    show.check(
        show.text("applicant-receipts"), sum(b["calls"] for b in job.receipt(30)["blocks"]), len(people)
    )
    show.table("plaintext")
    show.evidence(job)


def _known_to(tables: list[plaintext.Rows], counts: tuple[int, ...]) -> list[str]:
    """For each number of tables somebody who stands in so many of them."""
    known: Counter[str] = Counter()
    for rows in tables:
        known.update({key[0] for row in rows if (key := plaintext.key_of(row, ["id"]))})
    return [min((k for k in known if known[k] == count), default="110101200001019999") for count in counts]


def patched(stage: Stage, show: Show) -> None:
    """An asker without conscience meets the owner's own check."""
    asker, owner = stage["river"], stage["harbour"]
    names = {"asker": asker.name, "owner": owner.name}
    show.say("patched-intro", **names)
    honest = refused(lambda: stage.join("river", "harbour", on="phone"))
    show.check(show.text("own-refusal", **names), _code(honest), "E_POLICY")
    show.say("patched-run", **names)
    asker.program = ("-m", "atoll.demo.patched")
    with show.busy("asking"):
        asker.restart()
        job = stage.join("river", "harbour", on="phone")
        told = refused(job.wait)
    show.check(show.text("owner-refusal", **names), _code(told), "E_POLICY")
    there = owner.steward.jobs.get(job.id)
    reasons = (there.document["error"] or {}).get("facts", {}).get("reasons", [])
    reason = next((r for r in reasons if r["column"] == "phone" and r["grant"]), None)
    show.check(show.text("names-column"), reason["column"] if reason else "-", "phone")
    change = (reason["grant"] or {}).get("change", {}) if reason else {}
    show.check(show.text("names-grant"), "join_key" in json.dumps(change.get("columns", {})), True)
    show.table()
    if reason:
        show.say("owner-says", owner=owner.name, text=reason["text"][show.language])
        show.say("owner-grant", owner=owner.name, grant=json.dumps(change, ensure_ascii=False))
    show.say("asker-says", asker=asker.name, code=_code(told), column=told.column if told else None)


def steward(stage: Stage, show: Show, truth: Overlap) -> None:
    """Where the agreement asks for a person, a person decides."""
    owner = stage["pine"]
    show.say("steward-intro", owner=owner.name)
    with show.busy("asking"):
        job = stage.join("harbour", "pine", purpose=FRAUD, reveal="size")
        there = _arrived(stage, "pine", job.id, "waiting")
        show.check(show.text("waits"), there.state, "waiting")
        denied = refused(lambda: owner.analyst.jobs.get(job.id).approve())
        show.check(show.text("analyst-no", owner=owner.name), _code(denied), "E_ROLE")
        person = show.text("steward")
        owner.client("steward", person).jobs.get(job.id).approve()
        show.say("approved-by", person=person)
        job.wait()
    show.check(show.text("then-runs"), job.result().scalars["intersection_size"], truth.keys)
    show.table()
    show.evidence(job)


def _arrived(stage: Stage, owner: str, job: str, state: str, seconds: float = 20) -> Job:
    """The job as its owner's steward sees it, once it is there in that state."""
    end = time.monotonic() + seconds
    while True:
        found = next((j for j in stage[owner].steward.jobs.list() if j.id == job), None)
        if found is not None and found.state in (state, "failed", "refused", "completed"):
            return found
        if time.monotonic() > end:
            raise AtollError("E_TIME", f"{job} is not {state} at {stage.name(owner)} after {seconds:g} s.")
        time.sleep(0.05)


def _runs(stage: Stage, owner: str, partner: str) -> int:
    """Runs that an owner's ledger charges a partner with."""
    entries = stage[owner].auditor.ledger.entries(stage.agreement, 0, 1000)
    debits = [d for e in entries if e["kind"] == "release/v1" for d in e["document"]["debits"]]
    return sum(int(d["amount"]) for d in debits
               if d["kind"] == "run" and d["partner"] == stage[partner].identity)  # fmt: skip


def killed(stage: Stage, show: Show, truth: Overlap) -> None:
    """A partner dies in the middle; the job ends, runs again, and is charged once."""
    asker, owner = stage["pine"], stage["lotus"]
    names = {"asker": asker.name, "owner": owner.name}
    show.say("killed-intro", **names)
    before = _runs(stage, "lotus", "pine")
    with show.busy("asking"):
        job = stage.join("pine", "lotus", purpose=REVIEW)
        _running(job)
        owner.kill()
        at = time.monotonic()
        error = refused(job.wait)
        seconds = time.monotonic() - at
    # The line may be seen to break, or only fall silent.
    found = _code(error)
    show.check(show.text("ends", **names), found, found if found in GONE else " / ".join(GONE))
    limits = {"silence": SILENCE, "limit": 2 * SILENCE}
    show.check(show.text("within", **limits), seconds <= 2 * SILENCE, True)
    told = error.text if error else "-"
    show.say("reason", asker=asker.name, seconds=round(seconds, 1), text=told)
    with show.busy("asking"):
        owner.start()
        dead = _runs(stage, "lotus", "pine")
        _rerun(job)
        again = stage["pine"].analyst.jobs.get(job.id)
        again.receipt(timeout=10)
        after = _runs(stage, "lotus", "pine")
        second = refused(lambda: stage.join("pine", "lotus", purpose=REVIEW).wait())
    show.say("restarted", owner=owner.name)
    show.check(show.text("rerun"), again.result().scalars["matched_keys"], truth.keys)
    show.check(show.text("charges-before", owner=owner.name), before, 0)
    show.check(show.text("charges-killed"), dead, 0)
    show.check(show.text("charges-after"), after, 1)
    show.check(show.text("second-run"), _code(second), "E_QUOTA")
    show.table()


def _running(job: Job, seconds: float = 60) -> None:
    """Looks often, so as to be in the middle of the job and not after it."""
    end = time.monotonic() + seconds
    while job.refresh().state in ("deciding", "waiting", "approved") and time.monotonic() < end:
        time.sleep(0.02)


def _rerun(job: Job, tries: int = 10) -> None:
    """Runs a job again; the link to the partner may take a moment to come back."""
    for left in reversed(range(tries)):
        job.rerun()
        error = refused(job.wait)
        if error is None:
            return
        if left == 0 or error.code != "E_UNREACHABLE":
            raise error
        time.sleep(0.5)


def revoked(stage: Stage, show: Show) -> None:
    """The owner ends the agreement, and the next call does not run."""
    owner, asker = stage["lotus"], stage["harbour"]
    show.say("revoked-intro", owner=owner.name, asker=asker.name)
    with show.busy("asking"):
        owner.steward.agreements.revoke(stage.agreement, "demo")
        error = refused(lambda: stage.join("harbour", "lotus", reveal="size").wait())
    show.check(show.text("revoked"), _code(error), "E_REVOKED")
    show.table()


def ledger(stage: Stage, show: Show) -> None:
    """A copy of the ledger is checked offline, once as it is and once with one bit changed."""
    node = stage["harbour"]
    show.say("ledger-intro", name=node.name)
    copy = node.auditor.ledger.export(stage.agreement, stage.folder / "harbour.atoll-ledger")
    keys = {n.name: n.identity for n in stage.net}
    clean = verify_ledger(copy, keys)
    show.check(show.text("untouched"), show.text("fits" if clean.ok else "caught"), show.text("fits"))
    spoiled = verify_ledger(flip(copy), keys)
    show.check(show.text("flipped"), show.text("missed" if spoiled.ok else "caught"), show.text("caught"))
    show.table()
    if spoiled.first_bad is not None:
        show.say("verifier", text=spoiled.first_bad.text(show.language))


def next_steps(show: Show) -> None:
    """What to type on two real machines."""
    show.say("next-here")
    show.line(
        'atoll init mynode --name "Bank A" --listen 0.0.0.0:8760 --address a.example.com:8760', "bold", "    "
    )
    show.line("atoll node -d mynode", "bold", "    ")
    show.say("next-pair")
    show.line(f"{show.text('next-on-a')}: atoll peer invite -d mynode", "bold", "    ")
    show.line(f"{show.text('next-on-b')}: atoll peer accept INVITE -d mynode", "bold", "    ")
    show.say("next-data", "dim")
