"""The later acts of the claims: a changed rule, receipts, and packages that reach too far."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from atoll.demo.acts import refused
from atoll.demo.claims_acts import bits_of, key_of
from atoll.demo.claims_plain import OLD
from atoll.demo.claims_stage import BOUNDS, NAME, Stage, waits
from atoll.demo.packages import Changes
from atoll.demo.page import bits, print_changes, reads, sources
from atoll.demo.show import Show
from atoll.demo.visiting import AT_LEAST, SECONDS, Caller, Json, code, consent, state
from atoll.testing import until

_COLUMNS = 'columns = { diagnosis = "string", admitted = "date", discharged = "date?" }'
_AGE: tuple[str, str] = (_COLUMNS, _COLUMNS.replace(" }", ', age = "int64" }'))
_PAY = '"pay": pay // 100 * 100'
# 1.1.0: the old pay no deductible, and more is paid of a shared room.
WAIVED: Changes = {
    "package.toml": [_AGE],
    "rules.py": [
        (
            '    total -= arguments["deductible"]\n',
            f'    if claim["age"] < {OLD}:\n        total -= arguments["deductible"]\n',
        )
    ],
    "tariff.csv": [("bed in a shared room,6000,", "bed in a shared room,6600,")],
}
BY_NAME: Changes = {
    "package.toml": [(_COLUMNS, _COLUMNS.replace(" }", ', name = "string" }'))],
    "rules.py": [
        (
            "    total = 0\n",
            '    if claim["name"].startswith("欧"):\n        return refuse("excluded")\n    total = 0\n',
        )
    ],
}
_HIDDEN = (_PAY, '"pay": pay // 100 * 100 + claim["age"]')
IN_FEN: Changes = {"package.toml": [_AGE, ("step = 100", "step = 1")], "rules.py": [_HIDDEN]}
IN_YUAN: Changes = {"package.toml": [_AGE], "rules.py": [_HIDDEN]}
BY_PHONE: Changes = {
    "features.sql": [
        (
            "(SELECT date_diff('day', c.admitted, c.discharged) FROM claim AS c)",
            "(SELECT length(c.phone) FROM claim AS c)",
        )
    ]
}
_REACHING = {"2.0.0": BY_NAME, "2.0.1": IN_FEN, "2.0.2": IN_YUAN}
_TRIAL = 50


def change(on: Stage, show: Show) -> None:
    """Version 1.1.0 is reviewed with its differences, consented to, and switched to while calls go on."""
    show.say("claims-change-intro", age=OLD, insurer=on.insurer.name)
    owner = on.hospital.steward.scripts
    folder = on.version("1.1.0", WAIVED)
    old = next(
        c
        for c in on.fresh
        if not waits(on.truth(c)) and on.truth(c) != on.truth(c, folder=folder, waived=True)
    )
    on.fresh.remove(old)
    calls = [{"subject": claim, "arguments": {}, "key": key_of(claim)} for claim in on.take(len(on.fresh))]
    caller = Caller(on.insurer, NAME, calls)
    try:
        with show.busy("asking"):
            caller.wait("1.0.0")
            on.publish(folder, "1.1.0")
            page = owner.review(f"{NAME}@1.1.0", bounds=BOUNDS)
            early = refused(lambda: on.insurer.analyst.scripts.switch(f"{NAME}@1.1.0"))
            unasked = caller.by("1.1.0")
            consent(on.insurer, on.hospital, NAME, "1.1.0", BOUNDS)
            on.insurer.analyst.scripts.switch(f"{NAME}@1.1.0")
            caller.wait("1.1.0")
            waived = on.insurer.application.scripts.call(NAME, old)
    finally:
        caller.close()
    print_changes(show, page)
    now = owner.review(f"{NAME}@1.0.0")
    more = sorted(set(reads(page)) - set(reads(now)))
    show.check(show.text("claims-change-reads"), ", ".join(more), "claims.age")
    show.check(show.text("claims-change-early"), code(early), "E_STATE")
    show.check(show.text("claims-change-unasked"), unasked, 0)
    for version, text in (("1.0.0", "claims-change-old"), ("1.1.0", "claims-change-new")):
        count = caller.by(version)
        show.check(show.text(text), count, count if count >= AT_LEAST else f">= {AT_LEAST}")
    show.check(show.text("claims-change-lost"), len(caller.errors), 0)
    mixed = [answer for answer in caller.answers if not _of_its_version(on, folder, answer)]
    show.check(show.text("claims-change-mixed"), len(mixed), 0)
    was, now = on.truth(old) or {}, on.truth(old, folder=folder, waived=True) or {}
    text = show.text("claims-change-waived", subject=old, was=f"{was['pay']:,}")
    show.check(text, (waived["answer"] or {}).get("pay"), now["pay"])
    decided = Counter(d["key"] for d in owner.decisions(name=NAME, limit=1000))
    counts = {decided[answer["key"]] for answer in caller.answers}
    show.check(show.text("claims-change-once"), ", ".join(map(str, sorted(counts))), "1")
    show.table()


def _of_its_version(on: Stage, folder: Path, call: Json) -> bool:
    new = call["version"] == "1.1.0"
    truth = on.truth(call["subject"], folder=folder if new else None, waived=new)
    held = waits(truth)
    return (call["state"], call["answer"]) == ("held" if held else "decided", None if held else truth)


def signed_blocks(receipt: Json) -> list[tuple[int, str, list[str]]]:
    """Number, signed bytes and signatures of each block that stands under a job's receipt."""
    found = []
    for block in receipt["blocks"]:
        envelope = block["receipt"] or {"payload": "", "signatures": []}
        found.append((block["number"], envelope["payload"], sorted(s["sig"] for s in envelope["signatures"])))
    return found


def receipts(on: Stage, show: Show) -> None:
    """The old version ends; its calls stand in blocks that both sides signed."""
    show.say("claims-receipts-intro", insurer=on.insurer.name, hospital=on.hospital.name)
    calls = [c for c in on.insurer.analyst.scripts.calls(name=NAME, limit=1000) if c["version"] == "1.0.0"]
    # What still waits for a person stands in the block in which it is released.
    answered = [c for c in calls if c["state"] == "decided"]
    job = calls[0]["job"]
    with show.busy("asking"):
        mine = on.insurer.analyst.services.get(job).stop().wait(timeout=SECONDS).receipt(SECONDS)
        theirs = on.hospital.auditor.jobs.get(job).receipt(SECONDS)
        call = on.insurer.analyst.scripts.show_call(NAME, answered[-1]["key"])
        on.hospital.steward.scripts.withdraw(f"{NAME}@1.0.0", "1.1.0")
        until("the author knows", lambda: state(on.insurer, NAME, "1.0.0") == "withdrawn")
        back = refused(lambda: on.insurer.analyst.scripts.switch(f"{NAME}@1.0.0"))
        newest = on.insurer.application.scripts.call(NAME, on.written.samples[0])
    show.check(show.text("claims-receipts-signed"), 2 - len(mine["missing"]), 2)
    show.check(show.text("claims-receipts-calls"), sum(b["calls"] for b in mine["blocks"]), len(answered))
    same = mine["document"] == theirs["document"] and signed_blocks(mine) == signed_blocks(theirs) != []
    show.check(show.text("claims-receipts-equal"), same, True)
    show.check(show.text("claims-receipts-stands"), (call["receipt"] or {}).get("block"), 1)
    show.check(show.text("claims-receipts-back"), code(back), "E_STATE")
    show.check(show.text("claims-receipts-newest"), newest["version"], "1.1.0")
    show.table()


def _page(on: Stage, version: str, changes: Changes) -> Json:
    return on.publish(on.version(version, changes), version)


def reach(on: Stage, show: Show) -> None:
    """Packages that take or tell more than they should."""
    owner = on.hospital.steward.scripts
    show.say("claims-reach-name", hospital=on.hospital.name)
    with show.busy("asking"), ThreadPoolExecutor(len(_REACHING)) as pool:
        pages = dict(zip(_REACHING, pool.map(lambda v: _page(on, v, _REACHING[v]), _REACHING), strict=True))
        owner.refuse(f"{NAME}@2.0.0", "claims.name")
        until("the author knows", lambda: state(on.insurer, NAME, "2.0.0") != "published")
    stood = state(on.insurer, NAME, "2.0.0")
    named = ", ".join(column for column in reads(pages["2.0.0"]) if column == "claims.name")
    show.check(show.text("claims-reach-name-page"), named, "claims.name")
    decision = next(output for output in pages["2.0.0"]["outputs"] if output["name"] == "decision")
    show.check(show.text("claims-reach-name-depends"), "claim.name" in sources(decision), True)
    show.check(show.text("claims-reach-refused", insurer=on.insurer.name), stood, "refused")
    show.table()
    _digits(on, show, pages["2.0.1"])
    _column(on, show)


def _digits(on: Stage, show: Show, page: Json) -> None:
    owner = on.hospital.steward.scripts
    show.say("claims-reach-digit")
    with show.busy("asking"):
        owner.refuse(f"{NAME}@2.0.1", "step")
        trial = owner.trial(f"{NAME}@2.0.2", _TRIAL)["results"]
        owner.refuse(f"{NAME}@2.0.2", "gate")
    pay = next(output for output in page["outputs"] if output["name"] == "pay")
    show.check(show.text("claims-reach-digit-depends"), "claim.age" in sources(pay), True)
    show.check(
        show.text("claims-reach-digit-bits", before=bits(bits_of(50_001))),
        bits(page["bits"]["per_call"]),
        bits(bits_of(5_000_001)),
    )
    show.say("claims-reach-step")
    approved = sum((row["answer"] or {}).get("decision") == "approve" for row in trial)
    would = sum((on.truth(row["subject"]) or {}).get("decision") == "approve" for row in trial)
    show.check(show.text("claims-reach-step-passed", count=len(trial), would=would), approved, 0)
    show.table()


def _column(on: Stage, show: Show) -> None:
    owner, folder = on.hospital.steward.scripts, on.version("2.0.3", BY_PHONE)
    names = {"insurer": on.insurer.name, "hospital": on.hospital.name}
    show.say("claims-reach-column", insurer=on.insurer.name)
    with show.busy("asking"):
        honest = refused(lambda: on.insurer.analyst.scripts.pack(folder))
        on.insurer.program = ("-m", "atoll.demo.patched_author")
        on.insurer.restart()
        page = on.publish(folder, "2.0.3")
        deployed = refused(lambda: owner.deploy(f"{NAME}@2.0.3"))
    because = page["refused_because"] or "-"
    show.check(show.text("claims-reach-own", insurer=names["insurer"]), code(honest), "E_SCRIPT")
    show.check(show.text("claims-reach-deploy", hospital=names["hospital"]), code(deployed), "E_SCRIPT")
    show.check(show.text("claims-reach-place"), because.partition(":")[0], "features.sql")
    show.table()
    show.say("claims-reach-says", hospital=names["hospital"], text=because)
