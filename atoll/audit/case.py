"""What the checked entries say, put together: agreements, and for each job its plan, answers, releases and receipts.

Every signed document is taken with the keys whose signatures verify; all signatures of a file are verified together.
Nothing is judged here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from atoll.agreements.approval import KIND as APPROVAL_KIND
from atoll.agreements.approval import Approval
from atoll.agreements.lifecycle import REVOCATION_KIND, Revocation
from atoll.agreements.model import KIND as AGREEMENT_KIND
from atoll.agreements.model import Agreement
from atoll.agreements.provisional import PROVISIONAL_KIND, Provisional
from atoll.agreements.receipt import RECEIPT_KIND, Receipt
from atoll.audit.logs import CheckedLog
from atoll.crypto import canonical, dsse
from atoll.errors import AtollError
from atoll.ledger.entry import Body
from atoll.plan import KIND as PLAN_KIND
from atoll.plan import Plan
from atoll.plan import parse as parse_plan
from atoll.scripts.deployment import KIND as DEPLOYMENT_KIND
from atoll.scripts.deployment import Deployment

_CHUNK = 2_000
# Debits carry thousandths of a second.
_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z")
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where something stands: in whose log, as which entry, under which claimed time."""

    owner: str
    index: int
    time: str


@dataclass(frozen=True)
class Signed(Generic[T]):
    """A document with its digest and the keys whose signatures on it verify."""

    document: T
    digest: str
    signers: frozenset[str]


@dataclass(frozen=True)
class Charged:
    """One debit of a release entry: `kind` is run, rows, keys or calls; `block` 0 unless it is of a service's calls."""

    kind: str
    agreement: str
    asset: str
    provider: str
    partner: str
    amount: int
    block: int
    at: str


@dataclass(frozen=True)
class Release:
    """An owner's note that it let a result, or a block of calls, open: under whose words, at which debits."""

    place: Place
    job: str
    attempt: int
    block: int
    words: tuple[Signed[Provisional], ...]
    debits: tuple[Charged, ...]


@dataclass
class JobCase:
    """Everything about one job. Answers are by party, receipts by block (0: the whole job)."""

    job: str
    plan: Signed[Plan] | None = None
    answers: dict[str, Signed[Approval]] = field(default_factory=dict)
    answered: dict[str, Place] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    words: dict[tuple[str, int], Signed[Provisional]] = field(default_factory=dict)
    receipts: dict[int, Signed[Receipt]] = field(default_factory=dict)
    disputes: list[tuple[Place, int]] = field(default_factory=list)
    outcomes: list[tuple[Place, str]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Malformed:
    """An entry whose document is not what its kind says."""

    place: Place
    kind: str
    reason: str


@dataclass
class Case:
    """All that the file says, by subject.

    `deployments` holds owners' words on packages, by digest; `in_force` says in whose log which version of the
    agreement began to hold; `others` holds the documents of kinds that are no job's, by kind.
    """

    agreement: str
    versions: dict[str, Signed[Agreement]] = field(default_factory=dict)
    in_force: list[tuple[Place, Agreement]] = field(default_factory=list)
    revocations: list[tuple[Place, Signed[Revocation]]] = field(default_factory=list)
    deployments: dict[str, Signed[Deployment]] = field(default_factory=dict)
    jobs: dict[str, JobCase] = field(default_factory=dict)
    others: dict[str, list[tuple[Place, Any]]] = field(default_factory=dict)
    malformed: list[Malformed] = field(default_factory=list)

    def job(self, name: str) -> JobCase:
        """The case of a job, begun if there is none."""
        found = self.jobs.get(name)
        if found is None:
            found = self.jobs[name] = JobCase(name)
        return found


def _envelopes(kind: str, document: Any) -> Iterator[Any]:
    """The signed documents inside an entry's document."""
    if kind == "release/v1":
        yield from document["provisional"]
    elif "envelope" in document:
        yield document["envelope"]


def _identity(envelope: Any) -> tuple[str, ...]:
    """What makes an envelope the same one: two logs hold the same receipt, and it is checked once."""
    return (
        envelope["payloadType"],
        envelope["payload"],
        *(text for entry in envelope["signatures"] for text in (entry["keyid"], entry["sig"])),
    )


def _read_plan(payload: bytes) -> Plan:
    return parse_plan(canonical.loads(payload))


class _Reader:
    """Reads envelopes whose signatures have been verified beforehand."""

    def __init__(self, bodies: Sequence[tuple[Place, Body]]) -> None:
        self._known: dict[tuple[str, ...], dsse.Examined | AtollError] = {}
        self._parsed: dict[tuple[str, ...], Signed[Any]] = {}
        threads = max(1, min(8, os.cpu_count() or 1))
        waiting: dict[tuple[str, ...], Any] = {}
        for _, body in bodies:
            try:
                for envelope in _envelopes(body.kind, body.document):
                    waiting.setdefault(_identity(envelope), envelope)
            except (KeyError, TypeError):
                continue  # Named when the entry is read.
        names = list(waiting)
        for start in range(0, len(names), _CHUNK):
            part = names[start : start + _CHUNK]
            found = dsse.examine_many([waiting[name] for name in part], threads)
            self._known.update(zip(part, found, strict=True))

    def open(self, kind: str, envelope: Any, read: Callable[[bytes], T]) -> Signed[T]:
        """The document in an envelope of that kind; `E_FORMAT` or `E_SIGNATURE` for another one."""
        name = _identity(envelope)
        if envelope["payloadType"] != dsse.media_type(kind):
            raise AtollError("E_SIGNATURE", f"it holds a document of another kind than {kind}")
        parsed = self._parsed.get(name)
        if parsed is None:
            known = self._known[name]
            if isinstance(known, AtollError):
                raise known
            parsed = Signed(read(known.payload), known.identifier, known.signers)
            self._parsed[name] = parsed
        return parsed


def _need(condition: bool, text: str) -> None:
    if not condition:
        raise AtollError("E_FORMAT", text)


def _charged(value: Any) -> Charged:
    _need(
        isinstance(value, Mapping)
        and set(value)
        == {"block", "kind", "agreement", "asset", "provider", "partner", "amount", "keyset", "at"}
        and value["kind"] in ("run", "rows", "keys", "calls")
        and type(value["block"]) is int
        and all(isinstance(value[k], str) for k in ("agreement", "asset", "provider", "partner", "at"))
        and isinstance(value["amount"], str)
        and value["amount"].isascii()
        and value["amount"].isdigit()
        and len(value["amount"]) < 20
        and _AT.fullmatch(value["at"]) is not None,
        "a debit is malformed",
    )
    datetime.fromisoformat(value["at"])
    return Charged(
        value["kind"],
        value["agreement"],
        value["asset"],
        value["provider"],
        value["partner"],
        int(value["amount"]),
        value["block"],
        value["at"],
    )


class _Gatherer:
    """Reads entries by their kinds into a case."""

    def __init__(self, case: Case, reader: _Reader) -> None:
        self._case, self._reader = case, reader
        self._kinds: dict[str, Callable[[Place, Any], None]] = {
            "agreement/v1": self._agreement,
            "revocation/v1": self._revocation,
            "deployment/v1": self._deployment,
            "plan/v1": self._plan,
            "approval/v1": self._approval,
            "refusal/v1": self._refusal,
            "release/v1": self._release,
            "provisional/v1": self._provisional,
            "receipt/v1": self._receipt,
            "dispute/v1": self._dispute,
            "outcome/v1": self._outcome,
        }

    def take(self, place: Place, body: Body) -> None:
        """Takes one entry in; a document that is not what its kind says is noted as malformed."""
        try:
            handler = self._kinds.get(body.kind)
            if handler is None:
                self._case.others.setdefault(body.kind, []).append((place, body.document))
            else:
                handler(place, body.document)
        except AtollError as error:
            self._case.malformed.append(Malformed(place, body.kind, error.text))
        except (KeyError, TypeError, ValueError, AttributeError):
            self._case.malformed.append(
                Malformed(place, body.kind, "it has other fields than documents of its kind")
            )

    def _of(self, job: str, place: Place) -> JobCase:
        found = self._case.job(job)
        found.places.append(place)
        return found

    def _agreement(self, place: Place, document: Any) -> None:
        version = self._reader.open(AGREEMENT_KIND, document["envelope"], Agreement.read)
        _need(version.document.id == self._case.agreement, "it holds another agreement")
        self._case.versions[version.digest] = version
        self._case.in_force.append((place, version.document))

    def _revocation(self, place: Place, document: Any) -> None:
        revoked = self._reader.open(REVOCATION_KIND, document["envelope"], Revocation.read)
        _need(revoked.document.agreement == self._case.agreement, "it ends another agreement")
        _need(revoked.document.by in revoked.signers, "it is not signed by the one who revokes")
        self._case.revocations.append((place, revoked))

    def _deployment(self, place: Place, document: Any) -> None:
        word = self._reader.open(DEPLOYMENT_KIND, document["envelope"], Deployment.read)
        _need(word.document.agreement == self._case.agreement, "it is under another agreement")
        _need(word.document.host in word.signers, "it is not signed by the host that decides")
        self._case.deployments[word.digest] = word

    def _plan(self, place: Place, document: Any) -> None:
        plan = self._reader.open(PLAN_KIND, document["envelope"], _read_plan)
        job = self._of(plan.document.id, place)
        _need(job.plan is None or job.plan.digest == plan.digest, "the job has another plan as well")
        job.plan = plan

    def _approval(self, place: Place, document: Any) -> None:
        answer = self._reader.open(APPROVAL_KIND, document["envelope"], Approval.read)
        _need(answer.document.party in answer.signers, "it is not signed by the party that answers")
        job = self._of(answer.document.job, place)
        job.answers[answer.document.party] = answer
        job.answered[answer.document.party] = place

    def _refusal(self, place: Place, document: Any) -> None:
        job = self._of(str(document["job"]), place)
        if "envelope" in document:
            answer = self._reader.open(APPROVAL_KIND, document["envelope"], Approval.read)
            job.answers.setdefault(answer.document.party, answer)

    def _release(self, place: Place, document: Any) -> None:
        _need(
            set(document) == {"job", "attempt", "provisional", "block", "versions", "debits"},
            "a release has other fields",
        )
        words = tuple(
            self._reader.open(PROVISIONAL_KIND, envelope, Provisional.read)
            for envelope in document["provisional"]
        )
        block = document["block"]["number"] if document["block"] else 0
        # Checked before anything of it is kept: its writer may be the one who is audited.
        _need(
            type(block) is int and type(document["attempt"]) is int and isinstance(document["job"], str),
            "a release has fields of other types",
        )
        for word in words:
            _need(
                word.document.job == document["job"] and word.document.receiver in word.signers,
                "it rests on a provisional receipt that is of another job, or not signed by its receiver",
            )
        debits = tuple(_charged(value) for value in document["debits"])
        job = self._of(document["job"], place)
        job.releases.append(Release(place, document["job"], document["attempt"], block, words, debits))
        for word in words:
            job.words[word.document.receiver, block] = word

    def _provisional(self, place: Place, document: Any) -> None:
        word = self._reader.open(PROVISIONAL_KIND, document["envelope"], Provisional.read)
        _need(word.document.receiver in word.signers, "it is not signed by its receiver")
        block = word.document.block.number if word.document.block else 0
        self._of(word.document.job, place).words[word.document.receiver, block] = word

    def _receipt(self, place: Place, document: Any) -> None:
        receipt = self._reader.open(RECEIPT_KIND, document["envelope"], Receipt.read)
        block = receipt.document.block.number if receipt.document.block else 0
        job = self._of(receipt.document.job, place)
        known = job.receipts.get(block)
        _need(known is None or known.digest == receipt.digest, "the job has another receipt as well")
        job.receipts[block] = receipt

    def _dispute(self, place: Place, document: Any) -> None:
        _need(type(document["block"]) is int, "a dispute has other fields")
        self._of(str(document["job"]), place).disputes.append((place, document["block"]))

    def _outcome(self, place: Place, document: Any) -> None:
        self._of(str(document["job"]), place).outcomes.append((place, str(document["outcome"])[:80]))


def gather(agreement: str, logs: Sequence[CheckedLog]) -> Case:
    """Reads all opened entries of checked logs; what is malformed is listed, never dropped silently."""
    bodies = [
        (Place(log.owner, index, body.time), body) for log in logs for index, body in log.bodies.items()
    ]
    case = Case(agreement)
    gatherer = _Gatherer(case, _Reader(bodies))
    for place, body in bodies:
        gatherer.take(place, body)
    return case
