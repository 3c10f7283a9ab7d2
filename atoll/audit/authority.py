"""Was it authorised, by whom, and within the agreement's validity?"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.agreements.lifecycle import grants_to
from atoll.audit.case import JobCase, Release
from atoll.audit.scene import Scene, Tally, found
from atoll.errors import AtollError
from atoll.ledger.report import Finding


def agreements(scene: Scene) -> list[Finding]:
    """Which versions of the agreement are in the file, who signed them, and who ended it."""
    out = []
    for version in sorted(scene.case.versions.values(), key=lambda v: v.document.version):
        document = version.document
        missing = set(document.keys) - version.signers
        facts = {"agreement": document.id, "version": document.version}
        if missing:
            out.append(found("agreement-unsigned", **facts, names=scene.names(missing)))
        else:
            out.append(found("agreement", **facts, names=scene.names(document.keys)))
    seen = set()
    for _, revoked in scene.case.revocations:
        if revoked.digest not in seen:
            seen.add(revoked.digest)
            out.append(found("revoked", name=scene.name(revoked.document.by), time=revoked.document.at))
    return out


def gave_out(job: JobCase) -> bool:
    """Whether a result, or part of one, may have left."""
    return bool(job.releases or job.words or job.receipts)


def authorised(scene: Scene) -> list[Finding]:
    """Whether every job that gave something out was planned, approved and agreed to."""
    tally, people = Tally(), Tally()
    for job in scene.case.jobs.values():
        refused = [a for a in job.answers.values() if a.document.decision == "refuse"]
        if not gave_out(job):
            if refused:
                tally.add("refused", job.job)
            continue
        reason = _unauthorised(scene, job)
        if reason is not None:
            tally.add("unauthorised", job.job, reason=reason)
            continue
        if not _complete(job) or not _consented(scene, job):
            tally.add("authority-unknown", job.job)
        elif scene.agreements(job) is None:
            tally.add("agreement-absent", job.job)
        else:
            tally.add("authorised", job.job)
        for party, answer in job.answers.items():
            if answer.document.by == "agreement":
                people.add("approved-rule", job.job, name=scene.name(party))
            else:
                people.add("approved-person", job.job, name=scene.name(party), by=answer.document.by)
    return tally.findings() + people.findings()


def _complete(job: JobCase) -> bool:
    return job.plan is not None and set(job.plan.document.names) <= set(job.answers)


def _packages(job: JobCase) -> Iterator[tuple[str, str, str]]:
    """Host, package and consent of each package that a job's plan runs."""
    for op in job.plan.document.operators if job.plan is not None else ():
        if op.kind == "visit/v1":
            yield op.at[1], op.parameters["package"], op.parameters["deployment"]


def _consented(scene: Scene, job: JobCase) -> bool:
    """Whether the file holds the hosts' consent to every package that a job runs."""
    return all(consent in scene.case.deployments for _, _, consent in _packages(job))


def _unauthorised(scene: Scene, job: JobCase) -> str | None:
    """What speaks against a job; None if nothing in the file does."""
    if job.plan is None:
        return None
    plan = job.plan.document
    if plan.asker not in job.plan.signers:
        return "the plan is not signed by its asker"
    for party, answer in job.answers.items():
        document = answer.document
        if party not in plan.names or (document.plan, document.job) != (job.plan.digest, job.job):
            return f"the answer of {scene.name(party)} is to another plan"
        if document.decision == "refuse":
            return f"{scene.name(party)} refused the plan"
        if set(document.inputs) != {i.id for i in plan.inputs if i.party == party}:
            return f"{scene.name(party)} approved other inputs"
    for host, package, consent in _packages(job):
        word = scene.case.deployments.get(consent)
        if word is not None and (
            word.document.decision != "consent"
            or (word.document.host, word.document.package, word.document.author)
            != (host, package, plan.asker)
        ):
            return f"the word of {scene.name(host)} that the plan names is no consent to its package"
    derived = scene.derivation(job)
    if isinstance(derived, AtollError):
        return f"the plan does not fit its agreement: {derived.text}"
    if derived is None:
        return None
    for item in plan.inputs:
        asset = derived.agreements[item.agreement].asset_at(item.party, item.asset)
        if item.party == plan.asker or asset is None:
            continue
        if not grants_to(asset, plan.asker, plan.purpose, plan.function):
            return f"no grant lets {scene.name(plan.asker)} use {item.asset} for it"
    return None


def valid(scene: Scene) -> list[Finding]:
    """Whether each release stands, in its owner's log, while the agreement held by the owner's clock."""
    tally = Tally()
    for job in scene.case.jobs.values():
        agreed = scene.agreements(job)
        for release in job.releases:
            if agreed is not None:
                code = "valid" if _holds(scene, job, release) else "invalid"
                tally.add(code, job.job, name=scene.name(release.place.owner))
        released = {(release.place.owner, release.block) for release in job.releases}
        for block, receipt in job.receipts.items():
            document = receipt.document
            if document.outcome != "completed" or (document.shape == "service" and not block):
                continue
            for party in {i.party for i in document.inputs.values()} - {document.asker}:
                if (party, block) not in released:
                    tally.add("release-absent", job.job, name=scene.name(party))
    return tally.findings()


def _holds(scene: Scene, job: JobCase, release: Release) -> bool:
    owner, index, time = release.place.owner, release.place.index, release.place.time
    for agreement in (scene.agreements(job) or {}).values():
        if not agreement.validity.not_before <= time < agreement.validity.not_after:
            return False
        for place, later in scene.case.in_force:
            earlier = place.owner == owner and place.index < index
            if earlier and later.id == agreement.id and later.version > agreement.version:
                return False
    return not any(place.owner == owner and place.index < index for place, _ in scene.case.revocations)


def revoked_at(scene: Scene) -> str | None:
    """When the agreement was first revoked, as the revocation says; None if none is in the file."""
    return min((revoked.document.at for _, revoked in scene.case.revocations), default=None)
