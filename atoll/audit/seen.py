"""Who else has seen it? Cosignatures of the other signatories, and of the witnesses that the agreement names."""

from __future__ import annotations

from atoll.agreements.model import Witnesses
from atoll.audit.logs import CheckedLog
from atoll.audit.scene import Scene, found
from atoll.ledger.report import Finding


def witnesses(scene: Scene) -> list[Finding]:
    """For each log: who has seen how much of it, what nobody else has seen, and whether a quorum stands."""
    newest = max(
        (version.document for version in scene.case.versions.values()),
        key=lambda document: document.version,
        default=None,
    )
    known = {key for version in scene.case.versions.values() for key in version.document.keys}
    asked = newest.witnesses if newest is not None else None
    known |= {member.key for member in asked.members} if asked is not None else set()
    out = []
    for log in scene.logs.values():
        out += _log(scene, log, asked, known)
    return out


def _log(scene: Scene, log: CheckedLog, asked: Witnesses | None, known: set[str]) -> list[Finding]:
    out = []
    owner = scene.name(log.owner)
    latest = {c.key: c for c in sorted(log.cosignatures, key=lambda c: c.size)}
    if known:
        for key in sorted(latest.keys() - known):
            out.append(found("stranger", owner=owner, name=scene.name(key)))
            del latest[key]
    for key, seen in sorted(latest.items(), key=lambda item: scene.name(item[0])):
        out.append(
            found(
                "witnessed", owner=owner, name=scene.name(key), count=seen.size, size=log.size, time=seen.time
            )
        )
    most = max((seen.size for seen in latest.values()), default=0)
    unseen = sum(1 for index in log.places if index >= most)
    if unseen:
        out.append(found("unseen", owner=owner, count=unseen))
    if asked is not None and log.places:
        sizes = sorted((latest[m.key].size for m in asked.members if m.key in latest), reverse=True)
        reached = sizes[asked.quorum - 1] if len(sizes) >= asked.quorum else 0
        last = log.places[-1]
        if reached > last:
            out.append(found("quorum", owner=owner, quorum=asked.quorum, last=last))
        else:
            out.append(found("no-quorum", owner=owner, quorum=asked.quorum, last=reached - 1))
    return out
