"""The acts of the claims: each does something, and puts what came of it beside what is right."""

from __future__ import annotations

import time
from math import comb, log2

from atoll.client.authoring import check_folder, run_cases
from atoll.demo.acts import refused
from atoll.demo.claims_plain import Answer
from atoll.demo.claims_stage import (
    BOUNDS,
    CALLS_A_DAY,
    HOLD,
    NAME,
    SUBJECT_BITS,
    Stage,
    waits,
)
from atoll.demo.hospital import PERSONAL
from atoll.demo.page import bits, print_page, reads, sources
from atoll.demo.show import Show
from atoll.demo.visiting import Json, code, consent, state
from atoll.demo.wiretap import crossed
from atoll.errors import AtollError
from atoll.testing import until

_BATCH, _SINGLE, _TRIAL, _SHOWN = 100, 10, 20, 5
_DECISIONS, _REASONS, _MOST_REASONS = 3, 7, 3
# What is left of some policies, in fen.
_LITTLE = 200_000


def bits_of(amounts: int, holds: bool = False) -> int:
    """Thousandths of a bit that an answer with so many possible amounts carries, and its timing.

    Where some are held, one that is denied is one more.
    """
    answers = _DECISIONS * amounts * sum(comb(_REASONS, n) for n in range(_MOST_REASONS + 1)) + 1 + holds
    return int(-(-log2(answers) * 1000 // 1)) + 3000


def author(on: Stage, show: Show) -> None:
    """Check and test on the author's own machine."""
    show.say("claims-author-intro")
    with show.busy("asking"):
        _, _, findings = check_folder(on.package)
        outcomes = run_cases(on.package)
        slip = on.version(
            "0.9.0", {"rules.py": [("    total = 0\n", '    open("/etc/passwd")\n    total = 0\n')]}
        )
        error = refused(lambda: on.insurer.analyst.scripts.pack(slip))
        packed = on.insurer.analyst.scripts.pack(on.package)
    on.local = [(outcome.case, outcome.answer) for outcome in outcomes]
    show.check(show.text("claims-findings"), len(findings), 0)
    show.check(show.text("claims-cases"), sum(o.passed for o in outcomes), len(outcomes))
    truths = [on.truth(case.subject, **case.arguments) for case, _ in on.local]
    show.check(show.text("claims-local"), [answer for _, answer in on.local] == truths, True)
    show.check(show.text("claims-slip"), error is not None and "rules.py:" in error.text, True)
    show.table()
    if error is not None:
        show.say("claims-slip-text", "dim", text=error.text)
    show.say(
        "claims-packed", "dim", name=packed["name"], version=packed["version"], digest=packed["digest"][:23]
    )


def review(on: Stage, show: Show) -> None:
    """The hospital's page, trial and consent."""
    owner = on.hospital.steward.scripts
    show.say("claims-review-intro", insurer=on.insurer.name, hospital=on.hospital.name)
    with show.busy("asking"):
        on.insurer.steward.scripts.publish(NAME, on.hospital.name, on.agreement)
        until("the package has arrived", lambda: state(on.hospital, NAME, "1.0.0"))
        page = owner.review(NAME, bounds=BOUNDS)
        trial = owner.trial(NAME, _TRIAL, bounds=BOUNDS)["results"]
        consent(on.insurer, on.hospital, NAME, "1.0.0", BOUNDS)
    print_page(show, page)
    _print_trial(show, trial)
    columns = reads(page)
    pay = next(output for output in page["outputs"] if output["name"] == "pay")
    found = [source for source in sources(pay) if source.startswith("bills.")]
    show.check(show.text("claims-reads"), len(columns), 9)
    show.check(show.text("claims-personal"), sum(c.partition(".")[2] in PERSONAL for c in columns), 0)
    show.check(show.text("claims-depends"), ", ".join(found), "bills.item, bills.price, bills.quantity")
    show.check(show.text("claims-bits"), bits(page["bits"]["per_call"]), bits(bits_of(50_001, holds=True)))
    truths = [{"subject": row["subject"], "answer": on.truth(row["subject"])} for row in trial]
    own = trial == truths and len(trial) == _TRIAL
    show.check(show.text("claims-trial", count=_TRIAL), own, True)
    show.check(show.text("claims-consent"), state(on.insurer, NAME, "1.0.0"), "deployed")
    show.table()
    bounds = {"calls": f"{CALLS_A_DAY:,}", "bits": str(SUBJECT_BITS), "hold": f"{HOLD // 100:,}"}
    show.say("claims-bounds", hospital=on.hospital.name, **bounds)


def _print_trial(show: Show, trial: list[Json]) -> None:
    show.say("claims-tried-intro", "bold")
    for row in trial[:_SHOWN]:
        answer = row["answer"]
        if answer is None:
            show.item(show.text("claims-tried-none", subject=row["subject"]))
        else:
            pay = f"{answer['pay']:,}"
            text = show.text("claims-tried", subject=row["subject"], decision=answer["decision"], pay=pay)
            show.item(text)
    show.item(show.text("claims-tried-more", count=len(trial) - _SHOWN))


def key_of(claim: str) -> str:
    """The key under which a claim of the batch is asked about."""
    return f"claim-{claim}"


def _little(number: int) -> bool:
    """Whether little is left of the policy of a claim in the batch, so little that nothing is held."""
    return number % 7 == 3


def _as_said(on: Stage, call: Json, found: Json) -> bool:
    truth = on.truth(call["subject"], **call["arguments"])
    held = waits(truth)
    return (found["state"], found["answer"]) == ("held" if held else "decided", None if held else truth)


def decide(on: Stage, show: Show) -> None:
    """A batch, single calls, the same key again, and the budget of one claim."""
    show.say("claims-decide-intro", insurer=on.insurer.name)
    scripts, owner = on.insurer.application.scripts, on.hospital.steward.scripts
    calls: list[Json] = [
        {
            "subject": claim,
            "key": key_of(claim),
            "arguments": {"remaining": _LITTLE} if _little(number) else {},
        }
        for number, claim in enumerate(on.take(_BATCH))
    ]
    singles: list[Json] = [{"subject": claim, "arguments": {}} for claim in on.take(_SINGLE)]
    with show.busy("asking"):
        started = time.monotonic()
        found = scripts.batch(NAME, calls)
        seconds = time.monotonic() - started
        alone = [scripts.call(NAME, call["subject"]) for call in singles]
        samples = [
            scripts.call(NAME, case.subject, case.arguments, key=case.key)["answer"] for case, _ in on.local
        ]
        on.made += len(calls) + len(singles) + len(samples)
        first = singles[0]["subject"]
        again = scripts.call(NAME, first, key=alone[0]["key"])
        other = refused(lambda: scripts.call(NAME, calls[0]["subject"], key=alone[0]["key"]))
        decisions = owner.decisions(name=NAME, limit=1000)
        scripts.call(NAME, first)
        on.made += 1
        third = refused(lambda: scripts.call(NAME, first))
    show.check(show.text("claims-batch"), sum(map(lambda c, f: _as_said(on, c, f), calls, found)), _BATCH)
    show.check(show.text("claims-single"), sum(map(lambda c, f: _as_said(on, c, f), singles, alone)), _SINGLE)
    show.check(show.text("claims-same"), samples == [answer for _, answer in on.local], True)
    received = [call["answer"] for call in scripts.calls(name=NAME, limit=1000)]
    show.check(show.text("claims-declared"), sum(not _declared(answer) for answer in received), 0)
    show.check(show.text("claims-again"), again["answer"] == alone[0]["answer"], True)
    show.check(show.text("claims-uncharged"), len(decisions), on.made - 1)
    show.check(show.text("claims-conflict"), code(other), "E_CONFLICT")
    show.check(show.text("claims-budget"), code(third), "E_BUDGET")
    told = next(f for f in found if f["answer"] and f["answer"]["reasons"] and f["answer"]["pay"])
    explain(on, show, told["key"])
    show.table("plaintext-rules")
    show.say("claims-seconds", "dim", count=_BATCH, ms=round(seconds * 1000))
    show.statement(on.insurer.analyst.jobs.get(told["job"]))


def _declared(answer: Answer | None) -> bool:
    """Whether an answer is nothing but the package's outputs, each one of its values."""
    if answer is None:
        return True
    pay = answer.get("pay")
    return (
        answer.keys() == {"decision", "pay", "reasons"}
        and answer["decision"] in ("approve", "refuse", "check")
        and type(pay) is int and 0 <= pay <= 5_000_000 and pay % 100 == 0
        and set(answer["reasons"]) <= {
            "no_claim", "excluded", "deductible", "unlisted", "capped", "remaining", "unusual",
        }
    )  # fmt: skip


def explain(on: Stage, show: Show, key: str) -> None:
    """What a patient is told of a decision: it, and the declared reasons that fired, and no data."""
    call = on.insurer.analyst.scripts.show_call(NAME, key)
    lines = call["explanation"][show.language]
    show.say("claims-explain", subject=call["subject"])
    for line in lines:
        show.item(line.strip())
    row = on.plain.claims[call["subject"]]
    bills = on.plain.bills[call["subject"]]
    data = [
        *(row[name] for name in ("diagnosis", "admitted", "discharged", *PERSONAL)),
        *(b["item"] for b in bills),
    ]
    show.check(show.text("claims-explain-data"), sum(value in "\n".join(lines) for value in data), 0)


def wire(on: Stage, show: Show) -> None:
    """What the nodes' processes sent, searched for what must not be there."""
    taken = on.tap.taken()
    show.say("claims-wire-intro", bytes=f"{len(taken):,}")
    asked = on.written.ids[0]
    show.check(show.text("claims-wire-control"), ", ".join(crossed(taken, [asked])), asked)
    planted = on.written.planted
    show.check(show.text("claims-wire-planted", count=f"{len(planted):,}"), len(crossed(taken, planted)), 0)
    show.table()


def held(on: Stage, show: Show) -> None:
    """Answers above the owner's limit wait for its steward."""
    owner = on.hospital.steward.scripts
    show.say("claims-held-intro", hold=f"{HOLD // 100:,}", hospital=on.hospital.name, insurer=on.insurer.name)
    with show.busy("asking"):
        waiting = sorted(
            d["key"] for d in owner.decisions(state="held", name=NAME) if d["key"].startswith("claim-")
        )
        one, other = waiting[0], waiting[1]
        role = refused(lambda: on.hospital.analyst.scripts.settle(NAME, one, True))
        owner.settle(NAME, one, True)
        owner.settle(NAME, other, False)
        after = [_ask_again(on, key) for key in (one, other)]
    batch = enumerate(on.written.ids[:_BATCH])
    expected = [key_of(claim) for number, claim in batch if not _little(number) and waits(on.truth(claim))]
    show.check(
        show.text("claims-held-count"), len(waiting) if waiting == expected else waiting, len(expected)
    )
    show.check(show.text("claims-held-role", hospital=on.hospital.name), code(role), "E_ROLE")
    truth = on.truth(one.removeprefix("claim-"))
    show.check(show.text("claims-held-released"), (after[0] or {}).get("pay"), (truth or {}).get("pay"))
    show.check(show.text("claims-held-denied"), after[1] is None, True)
    show.table("plaintext-rules")


def _ask_again(on: Stage, key: str) -> Answer | None:
    call = on.insurer.application.scripts.call(NAME, key.removeprefix("claim-"), key=key)
    if call["state"] != "decided":
        raise AtollError("E_STATE", f"{key} is {call['state']}")
    answer: Answer | None = call["answer"]
    return answer
