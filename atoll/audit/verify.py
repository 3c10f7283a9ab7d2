"""Checks an auditor's file and answers the questions that it is for. No node, no network, no secret."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.audit.authority import agreements, authorised, valid
from atoll.audit.bills import bills
from atoll.audit.case import Case, gather
from atoll.audit.consents import consents
from atoll.audit.file import read_audit
from atoll.audit.logs import Broken, CheckedLog, check_log
from atoll.audit.receipts import receipts
from atoll.audit.replays import replays
from atoll.audit.scene import Scene, found
from atoll.audit.seen import witnesses
from atoll.audit.usage import quotas
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger.report import Finding, Report


@dataclass(frozen=True)
class AuditReport(Report):
    """The findings, and what the file says it is about: agreement, who wrote it, when, what was asked for."""

    agreement: str = ""
    by: str = ""
    at: str = ""
    asked: Mapping[str, object] | None = None

    def to_json(self) -> dict[str, object]:
        """As `Report.to_json`, with the file's own words about itself."""
        about = {"agreement": self.agreement, "by": self.by, "at": self.at, "asked": dict(self.asked or {})}
        return {**super().to_json(), **about}


def verify_audit(path: Path, trusted: Mapping[str, PublicKey] | None = None) -> AuditReport:
    """Checks everything in a file and says what it proves.

    Args:
        path: the file.
        trusted: keys by display name: the signatories', from the agreement, and witnesses'. No other key then counts.
            Without it the keys are those that the agreement in the file names, and the report says so.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read. What is wrong with its content is in the report.
    """
    with _uncollected():
        return _verify(path, trusted)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles: hundreds of thousands of documents are held at once, and none is one."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _verify(path: Path, trusted: Mapping[str, PublicKey] | None) -> AuditReport:
    try:
        content = read_audit(path)
    except AtollError as error:
        if error.code == "E_NOT_FOUND":
            raise
        return AuditReport((found("container", reason=error.text),))
    findings = [found("member-damaged", member=name) for name in content.damaged]
    names = dict(content.names)
    if trusted is None:
        allowed = {key: PublicKey.parse(key) for key in names}
    else:
        allowed = {str(key): key for key in trusted.values()}
        names = {str(key): name for name, key in trusted.items()}
        findings += [
            found("untrusted", key=str(log.owner)) for log in content.logs if str(log.owner) not in allowed
        ]
    logs: dict[str, CheckedLog] = {}
    for part in content.logs:
        try:
            logs[str(part.owner)] = check_log(part, content.agreement, allowed)
        except Broken as error:
            name = names.get(str(part.owner), str(part.owner)[:24])
            findings.append(found("log-bad", owner=name, reason=error.text))
    case = gather(content.agreement, list(logs.values()))
    scene = Scene(case, logs, names)
    if trusted is None:
        findings.append(found("keys", keys=", ".join(sorted(logs))))
    findings += _logs(scene, case)
    findings += [
        found(
            "document",
            owner=scene.name(bad.place.owner),
            index=bad.place.index,
            kind=bad.kind,
            reason=bad.reason,
        )
        for bad in case.malformed
    ]
    for question in (agreements, authorised, valid, quotas, receipts):
        findings += question(scene)
    findings += consents(scene, content.openings)
    findings += bills(scene)
    findings += replays(scene)
    findings += witnesses(scene)
    findings.append(found("limits"))
    return AuditReport(tuple(findings), content.agreement, content.by, content.at, content.asked)


def _logs(scene: Scene, case: Case) -> list[Finding]:
    out = []
    for owner, log in scene.logs.items():
        name = scene.name(owner)
        if log.whole:
            out.append(found("log-whole", owner=name, count=log.size))
        else:
            out.append(found("log-part", owner=name, count=len(log.places), size=log.size))
        closed = len(log.places) - len(log.bodies)
        if closed:
            out.append(found("closed", owner=name, count=closed))
    signatories = {key for version in case.versions.values() for key in version.document.keys}
    if signatories:
        out += [found("no-signatory", owner=scene.name(key)) for key in sorted(set(scene.logs) - signatories)]
    out += [found("absent", owner=scene.name(key)) for key in sorted(signatories - set(scene.logs))]
    return out


def calls_in(path: Path) -> list[tuple[str, int, int]]:
    """Job, block and number of calls of every receipt in a file whose calls rest on consent, in order.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read, `E_LEDGER` if it does not hold together.
    """
    content = read_audit(path)
    allowed = {key: PublicKey.parse(key) for key in content.names}
    case = gather(content.agreement, [check_log(part, content.agreement, allowed) for part in content.logs])
    return [
        (job.job, block, receipt.document.block.calls)
        for job in sorted(case.jobs.values(), key=lambda job: job.job)
        for block, receipt in sorted(job.receipts.items())
        if receipt.document.block is not None and receipt.document.consent != "none"
    ]
