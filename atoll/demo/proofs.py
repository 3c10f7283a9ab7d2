"""The last acts: what can be shown afterwards, to the partner and to a third party."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from atoll.demo.ledger_copy import flip
from atoll.demo.show import Show
from atoll.demo.stage import RISK_PRICE, Stage


def bills(stage: Stage, show: Show, asked: int) -> None:
    """Both sides of a pair compute what the month costs, each from its own receipts.

    Args:
        asked: runs that Harbour has asked Lotus for so far, in the acts before.
    """
    payer, owner = stage["harbour"], stage["lotus"]
    names = {"payer": payer.name, "owner": owner.name}
    show.say("bills-intro", **names)
    month = str(owner.auditor.ledger.entries(stage.agreement, 0, 1)[0]["time"])[:7]
    with show.busy("asking"):
        (mine,) = payer.auditor.bills.show(month, agreement=stage.agreement, partner=owner.name)
        (theirs,) = owner.auditor.bills.show(month, agreement=stage.agreement, partner=payer.name)
        compared = payer.auditor.bills.compare(month, stage.agreement, owner.name)
    runs = sum(x["quantity"] for x in mine["lines"] if x["unit"] == "run" and x["payer"] == payer.name)
    rows = sum(x["quantity"] for x in mine["lines"] if x["unit"] == "row" and x["payer"] == payer.name)
    due = runs * RISK_PRICE["per_run"] + rows * RISK_PRICE["per_row"]
    show.check(show.text("bills-runs", **names), runs, asked)
    show.check(show.text("bills-owes", **names), mine["owe"][0], f"{due // 100}.{due % 100:02} CNY")
    show.check(show.text("bills-owed", **names), theirs["owed"][0], mine["owe"][0])
    show.check(show.text("bills-equal"), compared["equal"] and mine["statement"] == theirs["statement"], True)
    show.table()


def _verify(path: Path, stage: Stage, folder: Path) -> tuple[int, dict[str, Any]]:
    """What `atoll audit verify` says in a process that has no key, no node and no folder of one."""
    keys = [word for node in stage.net for word in ("--key", f"{node.name}={node.identity}")]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ATOLL")} | {"PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli", "audit", "verify", str(path), *keys, "--json"],
        cwd=folder, env=clean, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or "{}")


def audit(stage: Stage, show: Show) -> None:
    """A third party checks one file, with nothing but the signatories' public keys; and a copy that was changed."""
    node = stage["harbour"]
    show.say("audit-intro", name=node.name)
    empty = stage.folder / "third party"
    empty.mkdir()
    with show.busy("asking"):
        file = node.auditor.audit.export(stage.agreement, empty / "harbour.atoll-audit")
        code, report = _verify(file, stage, empty)
        spoiled, forged = _verify(flip(file), stage, empty)
    show.check(show.text("audit-clean"), code, 0)
    show.check(show.text("audit-forged"), spoiled, 1)
    show.table()
    wanted = ("authorised", "valid", "quota", "receipted", "witnessed", "limits")
    said: set[str] = set()
    for finding in report.get("findings", []):
        if finding["code"] in wanted and finding["code"] not in said:
            said.add(finding["code"])
            show.say("verifier", text=finding[show.language])
    reason = next((f for f in forged.get("findings", []) if f["level"] == "bad"), None)
    if reason is not None:
        show.say("audit-reason", text=reason[show.language])


def replay(stage: Stage, show: Show) -> None:
    """A job's side is run again from what was kept; then one value of its input is changed, and it does not fit."""
    node = stage["harbour"]
    show.say("replay-intro", name=node.name)
    jobs = [j for j in node.analyst.jobs.list(state="completed", function="join") if j.document["result"]]
    job = jobs[-1].id
    with show.busy("asking"):
        honest = node.auditor.audit.replay(job)
        path = node.folder / "data" / "loans" / "1" / "data.parquet"
        before = path.read_bytes()
        _change_one(path, "id")
        try:
            changed = node.auditor.audit.replay(job)
        finally:
            path.write_bytes(before)
    show.check(show.text("replay-honest"), honest["ok"], True)
    show.check(show.text("replay-changed"), changed["ok"], False)
    show.table()
    for found, levels in ((honest, ("ok",)), (changed, ("bad",))):
        first = next((f for f in found["report"]["findings"] if f["level"] in levels), None)
        if first is not None:
            show.say("replay-says", text=first[show.language])


def _change_one(path: Path, column: str) -> None:
    """Changes one value of one row in a version's file, as somebody might who would rather have sent another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    values = table.column(place).to_pylist()
    values[0] = f"{values[0] or ''}9"
    pq.write_table(
        table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type)),
        path,
    )
