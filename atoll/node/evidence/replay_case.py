"""What a replay runs on and is compared with: the papers of one side of a job, every one of them checked.

Nothing in the papers is taken from the party's word where a signature can say it: agreements and receipt bear
everybody's, the plan its asker's, the approvals their parties'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.agreements import (
    Agreement,
    Approval,
    check_receipt,
    open_approval,
    open_envelope,
    open_receipt,
)
from atoll.agreements.receipt import PartyRecord
from atoll.agreements.receipt import Receipt as ReceiptDocument
from atoll.crypto import dsse
from atoll.crypto.suite import check_commitment
from atoll.errors import AtollError
from atoll.ledger.report import Finding
from atoll.node.evidence.replay_papers import Papers
from atoll.node.evidence.replay_report import Expected, finding
from atoll.node.jobs.launch import seed
from atoll.node.jobs.receipts import receipt_digest
from atoll.plan import KIND as PLAN_KIND
from atoll.plan import Derivation, check, plan_digest
from atoll.plan import parse as parse_plan

Json = dict[str, Any]
Locate = Callable[[str, str, str], Path | None]
"""Folder of a version, by input, table and version's digest; None where it is gone."""


@dataclass(frozen=True)
class Signed:
    """The checked documents that a case rests on."""

    plan: Json
    agreements: Mapping[str, Agreement]
    derivation: Derivation

    @property
    def parties(self) -> list[str]:
        """Keys of the plan's parties."""
        return [p["key"] for p in self.plan["parties"]]


@dataclass(frozen=True)
class Case:
    """One side of one completed job.

    Args:
        party: whose side.
        attempt: the attempt that completed.
        signed: plan and agreements.
        expected: what the receipt states.
        receipt: digest of the receipt that all signed, or None.
        seed: the job's seed; None where it cannot be had.
        inputs: for each own table `asset`, `path`, `version`, `keys`; `path` is None where the version is gone.
        declared_keys: distinct keys by input, of all parties.
        peers: number of each peer's files.
        found: findings so far.
    """

    party: str
    attempt: int
    signed: Signed
    expected: Expected
    receipt: str | None
    seed: bytes | None
    inputs: dict[str, Json]
    declared_keys: dict[str, int | None]
    peers: dict[str, int]
    found: tuple[Finding, ...]

    @property
    def plan(self) -> Json:
        """The plan document."""
        return self.signed.plan

    @property
    def job(self) -> str:
        """The job's identifier."""
        return str(self.plan["id"])

    @property
    def can_run(self) -> bool:
        """Whether there is anything to run at all."""
        return self.seed is not None and all(i["path"] is not None for i in self.inputs.values())

    @property
    def threads(self) -> int:
        """Threads of that time."""
        return self.expected.record.execution.threads if self.expected.record.execution else 1


def open_plan(plan: dsse.Envelope, agreements: Mapping[str, dsse.Envelope]) -> Signed:
    """Checks a plan and its agreements.

    Raises:
        AtollError: `E_SIGNATURE`, `E_FORMAT`; `E_AGREEMENT` where one is missing, is another version than the plan
            names, or lacks a signature; `E_PLAN` as the plan's checker.
    """
    document = parse_plan(dsse.verify(PLAN_KIND, plan, ())).document()
    dsse.verify(PLAN_KIND, plan, [document["asker"]])
    opened: dict[str, Agreement] = {}
    for entry in document["inputs"]:
        name = entry["agreement"]
        if name not in agreements:
            raise AtollError("E_AGREEMENT", f"agreement {name} of the plan is missing")
        agreement, signers = open_envelope(agreements[name])
        if agreement.id != name or agreement.digest != entry["agreement_digest"]:
            raise AtollError("E_AGREEMENT", f"agreement {name} is not the version that the plan names")
        if signers != set(agreement.keys):
            raise AtollError("E_AGREEMENT", f"agreement {name} is not signed by all its signatories")
        opened[name] = agreement
    return Signed(document, opened, check(document, opened))


def judge(papers: Papers, locate: Locate) -> Case:
    """The case that papers make.

    Raises:
        AtollError: as `open_plan`; `E_APPROVAL`, `E_SIGNATURE` for an approval; `E_NOT_FOUND` without the party's part.
    """
    signed = open_plan(papers.plan, papers.agreements)
    if set(papers.approvals) != set(signed.parties) or papers.party not in papers.approvals:
        raise AtollError("E_APPROVAL", "the approvals are not those of the plan's parties")
    digest = plan_digest(signed.plan)
    approvals = {}
    for party, envelope in papers.approvals.items():
        inputs = [i["id"] for i in signed.plan["inputs"] if i["party"] == party]
        found = open_approval(envelope, plan=digest, job=signed.plan["id"], party=party, inputs=inputs)
        if found.decision != "approve":
            raise AtollError("E_APPROVAL", "a party refused the plan", party=party)
        approvals[party] = found
    record, receipt, about = _record(papers, signed, approvals)
    blocks, earlier, about_blocks = _blocks(papers, signed, approvals)
    secret, about_seed = _seed(papers, signed, approvals)
    inputs_found, about_inputs = _inputs(papers, signed, approvals[papers.party], record, locate)
    return Case(
        party=papers.party,
        attempt=papers.attempt,
        signed=signed,
        expected=Expected(
            record=record,
            names={p["key"]: p["name"] for p in signed.plan["parties"]},
            assets={name: entry["asset"] for name, entry in inputs_found.items()},
            blocks=tuple(blocks),
            earlier=earlier,
            opening=bytes.fromhex(papers.output_opening) if papers.output_opening else None,
        ),
        receipt=receipt,
        seed=secret,
        inputs=inputs_found,
        declared_keys={name: fed.keys for a in approvals.values() for name, fed in a.inputs.items()},
        peers={peer: number for number, peer in enumerate(papers.peers)},
        found=(*about, *about_blocks, *about_seed, *about_inputs),
    )


def _signed_by_all(
    papers: Papers, signed: Signed, approvals: Mapping[str, Approval], block: int, evidence: str
) -> tuple[ReceiptDocument, str] | AtollError | None:
    """The receipt that all signed, checked; None where one is missing; an `AtollError` where it does not fit.

    `evidence` is what the party has noted of it: a receipt that was final has every signature, and a signature that
    stands in it is valid.
    """
    held = next((r.envelope for r in papers.receipts if r.block == block), None)
    if held is None:
        return AtollError("E_NOT_FOUND", "the receipt is gone") if evidence == "final" else None
    try:
        signers = dsse.signers(held)
        if evidence != "final" and len(signers) == len(held["signatures"]) < len(signed.parties):
            return None
        receipt = open_receipt(held, signed.parties)
        check_receipt(receipt, signed.plan, approvals, signed.derivation.stated, signed.agreements)
        if receipt.attempt != papers.attempt or (receipt.block.number if receipt.block else 0) != block:
            raise AtollError("E_RECEIPT", "the receipt is of another attempt or block")
    except AtollError as error:
        return error
    return receipt, receipt_digest(held)


def _own_part(papers: Papers, block: int) -> tuple[PartyRecord, Any]:
    mine = next((p for p in papers.parts if p.block == block), None)
    if mine is None:
        raise AtollError("E_NOT_FOUND", "the party's own part of the receipt is not kept")
    return PartyRecord.parse(mine.part), mine.called


def _record(
    papers: Papers, signed: Signed, approvals: Mapping[str, Approval]
) -> tuple[PartyRecord, str | None, list[Finding]]:
    found = _signed_by_all(papers, signed, approvals, 0, papers.evidence)
    if isinstance(found, tuple):
        return found[0].parties[papers.party], found[1], [finding("receipt")]
    record, _ = _own_part(papers, 0)
    if found is None:
        return record, None, [finding("receipt-own")]
    return record, None, [finding("receipt-changed", code=found.code)]


def _blocks(
    papers: Papers, signed: Signed, approvals: Mapping[str, Approval]
) -> tuple[list[Json], int, list[Finding]]:
    blocks: list[Json] = []
    about: list[Finding] = []
    calls: Any
    root: Any
    for block in papers.blocks:
        if block.attempt != papers.attempt:
            continue
        held = _signed_by_all(papers, signed, approvals, block.number, block.evidence)
        if isinstance(held, AtollError):
            about.append(finding("block-receipt-changed", number=block.number, code=held.code))
        if isinstance(held, tuple) and held[0].block is not None:
            record, said = held[0].parties[papers.party], held[0].block
            calls, root = said.calls, said.root
        else:
            record, called = _own_part(papers, block.number)
            calls, root = (called or {}).get("calls"), (called or {}).get("root")
        blocks.append(
            {"number": block.number, "book": block.book, "calls": calls, "root": root, "record": record}
        )
    return blocks, len(papers.blocks) - len(blocks), about


def _seed(
    papers: Papers, signed: Signed, approvals: dict[str, Approval]
) -> tuple[bytes | None, list[Finding]]:
    """The job's seed from the kept secret, which must be the one that the approval commits to."""
    if papers.secret is None or papers.opening is None:
        return None, [finding("seed-gone")]
    secret = bytes.fromhex(papers.secret)
    stated = approvals[papers.party].seed_commitment or ""
    fits = check_commitment(secret, bytes.fromhex(papers.opening), stated)
    made = seed(signed.plan["id"], papers.nonce, approvals, secret)
    return made, [finding("seed" if fits else "seed-changed")]


def _inputs(
    papers: Papers, signed: Signed, own: Approval, record: PartyRecord, locate: Locate
) -> tuple[dict[str, Json], list[Finding]]:
    """Own tables in the order of the receipt, each with the folder of the version that the approval names."""
    entries = {i["id"]: i for i in signed.plan["inputs"]}

    def is_table(name: str) -> bool:
        entry = entries[name]
        asset = signed.agreements[entry["agreement"]].asset_at(entry["party"], entry["asset"])
        return asset is not None and asset.type == "dataset"

    tables = [name for name in own.inputs if is_table(name)]
    stated = list(record.execution.inputs) if record.execution else []
    inputs: dict[str, Json] = {}
    about = [] if sorted(stated) == sorted(tables) else [finding("input-order")]
    for name in [*(n for n in stated if n in tables), *(n for n in tables if n not in stated)]:
        fed, asset = own.inputs[name], entries[name]["asset"]
        path = locate(name, asset, fed.version)
        if path is None:
            about.append(finding("input-gone", input=name, asset=asset))
        inputs[name] = {
            "asset": asset,
            "path": None if path is None else str(path),
            "version": fed.version,
            "keys": fed.keys,
        }
    return inputs, about
