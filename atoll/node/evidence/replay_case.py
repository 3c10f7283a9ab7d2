"""Everything that a replay of this node's side of a job needs, gathered from its records and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cbor2
from sqlalchemy import select

from atoll.agreements import Approval, check_receipt, open_receipt
from atoll.agreements.receipt import PartyRecord
from atoll.agreements.receipt import Receipt as ReceiptDocument
from atoll.crypto import dsse
from atoll.crypto.suite import check_commitment
from atoll.errors import AtollError
from atoll.ledger.report import Finding
from atoll.node.evidence.replay_report import Expected, finding
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.inputs import is_table
from atoll.node.jobs.launch import computes, seed
from atoll.node.jobs.receipts import receipt_digest
from atoll.node.state.models import Block, Job, Receipt, ReceiptPart

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One side of one completed job.

    Args:
        row, plan: the job.
        expected: what the receipt states.
        receipt: digest of the receipt that all signed, or None.
        seed: the job's seed; None where it cannot be had.
        inputs: for each own table `asset`, `path`, `version`, `keys`; `path` is None where the version is gone.
        declared_keys: distinct keys by input, of all parties.
        found: findings so far.
    """

    row: Job
    plan: Json
    expected: Expected
    receipt: str | None
    seed: bytes | None
    inputs: dict[str, Json]
    declared_keys: dict[str, int | None]
    found: tuple[Finding, ...]

    @property
    def can_run(self) -> bool:
        """Whether there is anything to run at all."""
        return self.seed is not None and all(i["path"] is not None for i in self.inputs.values())


def gather(desk: Desk, job: str) -> Case:
    """The case of a job at this node.

    Raises:
        AtollError: `E_NOT_FOUND`; `E_STATE` if it has not completed, no replay was agreed on, this node computed
            nothing in it, or what a replay needs was erased; `E_SIGNATURE`, `E_APPROVAL` for a damaged approval.
    """
    row = desk.job(job)
    plan = desk.plan(row)
    _require(desk, row, plan)
    approvals = desk.approvals(row)
    own = approvals[desk.me]
    record, receipt, found = _record(desk, row, plan, approvals)
    blocks, earlier, about_blocks = _blocks(desk, row, plan, approvals)
    secret, about_seed = _seed(desk, row, approvals)
    inputs, about_inputs = _inputs(desk, plan, own, record)
    names = {i["id"]: i["asset"] for i in plan["inputs"]}
    return Case(
        row=row,
        plan=plan,
        expected=Expected(
            record=record,
            names=desk.names(plan),
            assets={key: names[key] for key in inputs},
            blocks=tuple(blocks),
            earlier=earlier,
            opening=bytes.fromhex(row.output["opening"]) if row.output and "opening" in row.output else None,
        ),
        receipt=receipt,
        seed=secret,
        inputs=inputs,
        declared_keys={name: fed.keys for a in approvals.values() for name, fed in a.inputs.items()},
        found=(*found, *about_blocks, *about_seed, *about_inputs),
    )


def _require(desk: Desk, row: Job, plan: Json) -> None:
    if row.state != "completed":
        raise AtollError("E_STATE", f"job {row.id} is {row.state}; only a completed job is run again")
    if all(state.agreement.replay is None for state in desk.states(plan).values()):
        raise AtollError(
            "E_STATE",
            f"the agreements of job {row.id} ask for no replay: nothing was kept of it",
            cure="Agree on `replay` for future jobs.",
        )
    if not computes(plan, desk.me):
        raise AtollError("E_STATE", f"this node asked for job {row.id} and computed nothing in it")
    if row.replay_days is None:
        raise AtollError(
            "E_STATE",
            f"what a replay of job {row.id} needs is not kept any more",
            cure="A later job can be run again for as long as its agreement says.",
        )


def _signed_by_all(
    desk: Desk, row: Job, plan: Json, approvals: dict[str, Approval], block: int, evidence: str
) -> Any:
    """The receipt that all signed, checked; None where one is missing; an `AtollError` where it does not fit.

    `evidence` is what this node has noted of it: a receipt that was final has every signature, and a signature that
    stands in it is valid.
    """
    parties = [p["key"] for p in plan["parties"]]
    with desk.store.read() as session:
        held = session.get(Receipt, (row.id, "final", "", block))
    if held is None:
        return AtollError("E_NOT_FOUND", "the receipt is gone") if evidence == "final" else None
    try:
        signed = dsse.signers(held.envelope)
        if evidence != "final" and len(signed) == len(held.envelope["signatures"]) < len(parties):
            return None
        receipt = open_receipt(held.envelope, parties)
        agreements = {key: s.agreement for key, s in desk.states(plan).items()}
        check_receipt(receipt, plan, approvals, desk.derive(plan).stated, agreements)
        if receipt.attempt != row.attempt or (receipt.block.number if receipt.block else 0) != block:
            raise AtollError("E_RECEIPT", "the receipt is of another attempt or block")
    except AtollError as error:
        return error
    return receipt, receipt_digest(held.envelope)


def _own_part(desk: Desk, row: Job, block: int) -> tuple[PartyRecord, Any]:
    with desk.store.read() as session:
        mine = session.get(ReceiptPart, (row.id, block, desk.me))
    if mine is None:
        raise AtollError("E_NOT_FOUND", f"this node's part of the receipt of job {row.id} is not kept")
    return PartyRecord.parse(mine.part), mine.called


def _record(
    desk: Desk, row: Job, plan: Json, approvals: dict[str, Approval]
) -> tuple[PartyRecord, str | None, list[Finding]]:
    found = _signed_by_all(desk, row, plan, approvals, 0, row.evidence)
    if isinstance(found, tuple):
        return found[0].parties[desk.me], found[1], [finding("receipt")]
    record, _ = _own_part(desk, row, 0)
    if found is None:
        return record, None, [finding("receipt-own")]
    return record, None, [finding("receipt-changed", code=found.code)]


def _blocks(
    desk: Desk, row: Job, plan: Json, approvals: dict[str, Approval]
) -> tuple[list[Json], int, list[Finding]]:
    with desk.store.read() as session:
        rows = session.scalars(select(Block).where(Block.job == row.id).order_by(Block.number)).all()
    blocks: list[Json] = []
    about: list[Finding] = []
    for block in rows:
        if block.attempt != row.attempt:
            continue
        signed = _signed_by_all(desk, row, plan, approvals, block.number, block.evidence)
        if isinstance(signed, AtollError):
            about.append(finding("block-receipt-changed", number=block.number, code=signed.code))
        if isinstance(signed, tuple):
            document: ReceiptDocument = signed[0]
            assert document.block is not None  # checked by _signed_by_all
            record, said = document.parties[desk.me], document.block
            calls, tree_root = said.calls, said.root
        else:
            record, called = _own_part(desk, row, block.number)
            calls, tree_root = called["calls"], called["root"]
        blocks.append(
            {"number": block.number, "book": block.book, "calls": calls, "root": tree_root, "record": record}
        )
    return blocks, len(rows) - len(blocks), about


def _seed(desk: Desk, row: Job, approvals: dict[str, Approval]) -> tuple[bytes | None, list[Finding]]:
    """The job's seed from the kept secret, which must be the one that the approval commits to."""
    try:
        if row.secret is None:
            return None, [finding("seed-gone")]
        kept = cbor2.loads(desk.vault.open(f"job {row.id}", row.secret))
    except AtollError:
        return None, [finding("seed-gone")]
    stated = approvals[desk.me].seed_commitment or ""
    fits = check_commitment(kept["secret"], kept["opening"], stated)
    return seed(row, approvals, kept["secret"]), [finding("seed" if fits else "seed-changed")]


def _inputs(
    desk: Desk, plan: Json, own: Approval, record: PartyRecord
) -> tuple[dict[str, Json], list[Finding]]:
    """Own tables in the order of the receipt, each with the folder of the version that the approval names."""
    entries = {i["id"]: i for i in plan["inputs"]}
    tables = [name for name in own.inputs if is_table(desk, entries[name])]
    stated = list(record.execution.inputs) if record.execution else []
    inputs: dict[str, Json] = {}
    about = [] if sorted(stated) == sorted(tables) else [finding("input-order")]
    for name in [*(n for n in stated if n in tables), *(n for n in tables if n not in stated)]:
        fed, asset = own.inputs[name], entries[name]["asset"]
        path: str | None
        try:
            path = str(desk.tables.version(asset, fed.version).data.parent)
        except AtollError:
            path = None
        if path is None:
            about.append(finding("input-gone", input=name, asset=asset))
        inputs[name] = {"asset": asset, "path": path, "version": fed.version, "keys": fed.keys}
    return inputs, about
