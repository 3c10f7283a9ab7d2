"""Which jobs were run again, and whether they came out as recorded: by the signed reports in the file."""

from __future__ import annotations

from atoll.agreements.replay import REPLAY_KIND, open_replay
from atoll.audit.scene import Scene, Tally, found
from atoll.errors import AtollError
from atoll.ledger.report import Finding


def replays(scene: Scene) -> list[Finding]:
    """One finding for each party whose side was run again, by outcome and by the host that ran it."""
    tally = Tally()
    out: list[Finding] = []
    seen: set[str] = set()
    hosts = {
        host
        for version in scene.case.versions.values()
        if version.document.replay is not None
        for host in version.document.replay.hosts
    }
    for place, document in scene.case.others.get(REPLAY_KIND, []):
        try:
            report = open_replay(document["envelope"])
        except (AtollError, KeyError, TypeError) as error:
            reason = error.text if isinstance(error, AtollError) else "it has other fields"
            facts = {"owner": scene.name(place.owner), "index": place.index, "kind": REPLAY_KIND}
            out.append(found("document", **facts, reason=reason))
            continue
        identity = f"{report.job} {report.party} {report.host} {report.finished}"
        if identity in seen:
            continue
        seen.add(identity)
        job = scene.case.jobs.get(report.job)
        receipts = {receipt.digest for receipt in job.receipts.values()} if job is not None else set()
        facts = {"name": scene.name(report.party), "host": scene.name(report.host)}
        if report.host not in hosts | {report.party} or report.party not in scene.logs:
            # Anybody can make a key and call it a host.
            tally.add("replay-stranger", report.job, **facts)
        elif not report.ok:
            tally.add("replay-failed", report.job, **facts)
        elif report.receipt in receipts:
            tally.add("replayed", report.job, **facts)
        else:
            tally.add("replay-other", report.job, **facts)
    return out + tally.findings()
