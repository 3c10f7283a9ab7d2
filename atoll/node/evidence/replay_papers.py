"""The papers of a replay: every signed document and secret that one side of a job is judged by, in one document.

The audited node gathers them from its records. Whoever runs the replay, that node itself or a host, checks them the
same way; see `replay_case`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cbor2
from pydantic import Field, StringConstraints
from sqlalchemy import select

from atoll.agreements.provisional import Attempt
from atoll.crypto.document import AgreementId, Document, Key
from atoll.errors import AtollError
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.launch import computes
from atoll.node.state.models import Agreement, Block, Job, Receipt, ReceiptPart
from atoll.node.state.models import Approval as ApprovalRow

Json = dict[str, Any]
Envelope = dict[str, Any]
Number = Annotated[int, Field(ge=0, le=2**31)]
Hex16 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Evidence = Literal["none", "provisional", "final", "disputed"]
_MOST_BLOCKS = 1_000_000


class PaperReceipt(Document):
    """A receipt as it is signed so far, of a block or (0) of the whole job."""

    block: Number
    envelope: Envelope


class PaperPart(Document):
    """The party's own part of a receipt; `called` has calls and root of a block."""

    block: Number
    part: Json
    called: Json | None


class PaperBlock(Document):
    """A block of calls: in which attempt, which book of it, and how far its receipt came."""

    number: Number
    attempt: Attempt
    book: Number
    evidence: Evidence


class Papers(Document):
    """One side of one job.

    `secret` and `opening` are null where the sealed secret is gone; `output_opening` where the party received nothing.
    `peers` are those whose messages were kept, in the order of the files' numbers.
    """

    format: Literal["atoll.replay-papers/v1"]
    party: Key
    plan: Envelope
    agreements: Annotated[dict[AgreementId, Envelope], Field(max_length=64)]
    approvals: Annotated[dict[Key, Envelope], Field(max_length=64)]
    receipts: Annotated[tuple[PaperReceipt, ...], Field(max_length=_MOST_BLOCKS)]
    parts: Annotated[tuple[PaperPart, ...], Field(max_length=_MOST_BLOCKS)]
    blocks: Annotated[tuple[PaperBlock, ...], Field(max_length=_MOST_BLOCKS)]
    attempt: Attempt
    evidence: Evidence
    nonce: Hex16
    peers: Annotated[tuple[Key, ...], Field(max_length=64)]
    secret: Hex32 | None
    opening: Hex16 | None
    output_opening: Hex16 | None


def require(desk: Desk, row: Job, plan: Json) -> None:
    """Raises `E_STATE`, with the reason, for a job whose side at this node cannot be run again."""
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


def _secret(desk: Desk, row: Job) -> tuple[str | None, str | None]:
    if row.secret is None:
        return None, None
    try:
        kept = cbor2.loads(desk.vault.open(f"job {row.id}", row.secret))
    except AtollError:
        return None, None
    return kept["secret"].hex(), kept["opening"].hex()


def collect(desk: Desk, row: Job) -> Papers:
    """The papers of this node's side of a job; `E_STATE` as `require`."""
    plan = desk.plan(row)
    require(desk, row, plan)
    secret, opening = _secret(desk, row)
    wanted = {i["agreement"]: i["agreement_digest"] for i in plan["inputs"]}
    with desk.store.read() as session:
        agreements = session.scalars(select(Agreement).where(Agreement.digest.in_(wanted.values()))).all()
        approvals = session.scalars(select(ApprovalRow).where(ApprovalRow.job == row.id)).all()
        receipts = session.scalars(
            select(Receipt).where(Receipt.job == row.id, Receipt.kind == "final").order_by(Receipt.block)
        ).all()
        parts = session.scalars(
            select(ReceiptPart)
            .where(ReceiptPart.job == row.id, ReceiptPart.party == desk.me)
            .order_by(ReceiptPart.block)
        ).all()
        blocks = session.scalars(select(Block).where(Block.job == row.id).order_by(Block.number)).all()
    return Papers.parse(
        {
            "format": "atoll.replay-papers/v1",
            "party": desk.me,
            "plan": row.plan,
            "agreements": {a.id: a.envelope for a in agreements},
            "approvals": {a.party: a.envelope for a in approvals},
            "receipts": [{"block": r.block, "envelope": r.envelope} for r in receipts],
            "parts": [{"block": p.block, "part": p.part, "called": p.called} for p in parts],
            "blocks": [
                {"number": b.number, "attempt": b.attempt, "book": b.book, "evidence": b.evidence}
                for b in blocks
            ],
            "attempt": row.attempt,
            "evidence": row.evidence,
            "nonce": row.start["nonce"],
            "peers": sorted(row.start["routes"]),
            "secret": secret,
            "opening": opening,
            "output_opening": (row.output or {}).get("opening"),
        },
        what="papers",
    )
