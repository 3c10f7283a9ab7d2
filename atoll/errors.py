"""One tree of errors: each says what happened, whose fault it is and what to do next.

An error has two renderings. The owner sees everything, rows and values included (`str(error)`, `to_problem`).
A peer sees only what `to_wire` gives: the stable code, the party, the step, and a column if the plan names it.
"""

from __future__ import annotations

from typing import Any, Literal

Fault = Literal["caller", "owner", "peer", "operator", "data", "atoll"]

# code: (HTTP status, default fault, what to do). docs/reference/errors.md gives an example of each.
CODES: dict[str, tuple[int, Fault, str]] = {
    "E_FORMAT": (422, "caller", "Correct the value that the message names."),
    "E_CONFIG": (422, "operator", "Correct the setting that the message names in atoll.toml."),
    "E_PASSPHRASE": (403, "operator", "Give the passphrase that was set at `atoll init`."),
    "E_AUTH": (401, "caller", "Send a valid token in the Authorization header."),
    "E_ROLE": (403, "caller", "Ask someone who holds one of the roles that the message names."),
    "E_HOST": (403, "caller", "Call the node by a host name listed in api.hosts."),
    "E_ORIGIN": (403, "caller", "Call from an origin listed in api.origins."),
    "E_NOT_FOUND": (404, "caller", "List what exists and use one of those names."),
    "E_CONFLICT": (409, "caller", "Use another name, or remove what stands there first."),
    "E_SELF_APPROVAL": (403, "caller", "Ask another steward: an asker never approves its own plan."),
    "E_UNREACHABLE": (503, "peer", "Check that the partner's node runs and that its address is reachable."),
    "E_PEER_UNKNOWN": (403, "peer", "Pair the two nodes first: `atoll peer invite`, `atoll peer accept`."),
    "E_PEER_KEY": (
        403,
        "peer",
        "The key is not the one that was pinned. Ask the partner; if it changed its key, pair again.",
    ),
    "E_PEER_EXPIRED": (
        403,
        "peer",
        "The partner's key is past its date; the partner renews it and both pair again.",
    ),
    "E_UNPAIRED": (403, "peer", "The pairing was ended. Pair again if that was not meant."),
    "E_INVITE": (422, "caller", "Ask the partner for a new invite."),
    "E_WORDS": (
        422,
        "caller",
        "The words differ: someone may stand between the nodes. Do not confirm; pair again.",
    ),
    "E_WIRE": (
        400,
        "peer",
        "The peer sent bytes that are not a valid message; both sides should run a current version.",
    ),
    "E_TOO_LARGE": (413, "peer", "The message is over the limit that the text names."),
    "E_REWIND": (409, "peer", "The peer answered a step twice with different bytes. Start the job anew."),
    "E_PEER_SILENT": (504, "peer", "The peer stopped answering. Check its node, then run the job again."),
    "E_PEER_ABORT": (502, "peer", "The peer ended the job; its reason is in the message."),
    "E_PROTOCOL": (502, "peer", "The peer did not follow the protocol. Nothing was opened after the fault."),
    "E_TRANSCRIPT": (
        502,
        "peer",
        "The two sides do not agree on what was sent. Keep the records; involve the partner.",
    ),
    "E_SIGNATURE": (403, "peer", "The signature does not verify under the key that was expected."),
    "E_SOURCE": (422, "owner", "Check that the source exists and can be read by the node's user."),
    "E_ENCODING": (422, "data", "Declare the right encoding, or save the file as UTF-8 or GB18030."),
    "E_DATA": (422, "data", "Correct the row that the message names, then add the table again."),
    "E_COLUMN": (422, "caller", "Use one of the columns that the message lists."),
    "E_TYPE": (422, "data", "Declare the column's type, or correct the value that the message names."),
    "E_UNIT": (422, "caller", "Join or add only columns of the same unit; convert one of them at its owner."),
    "E_DUPLICATE": (422, "data", 'Remove the duplicate keys, or choose duplicates="sql".'),
    "E_RANGE": (422, "data", "Declare a wider range for the column, or correct the value."),
    "E_PLAN": (
        422,
        "caller",
        "The plan is not one that this node can check. Compile it with a current version.",
    ),
    "E_PLAN_VERSION": (422, "caller", "The plan or an operator has a version that this node does not know."),
    "E_AGREEMENT": (403, "caller", "Make or amend an agreement that covers this use."),
    "E_REVOKED": (403, "caller", "The agreement was revoked. Make a new one."),
    "E_EXPIRED": (403, "caller", "The agreement is outside its validity. Make a new one."),
    "E_ROSTER": (
        409,
        "caller",
        "Show the roster: it says which version is in force here and what the next one must follow from.",
    ),
    "E_POLICY": (403, "caller", "Ask the owner for the grant that the message names."),
    "E_JOIN_BOUND": (403, "caller", "Join larger tables, or ask the owner for a wider bound."),
    "E_QUOTA": (429, "caller", "Wait for the next period, or ask the owner for a larger quota."),
    "E_CONSENT": (
        403,
        "caller",
        "Give an authorisation of the data subject that covers the call, or ask the owner what is agreed on.",
    ),
    "E_OFFER": (403, "caller", "Look at the catalogue for the offer that stands now."),
    "E_RECOVERY": (
        503,
        "operator",
        "Wait until the partners have given the node its own records back: `atoll ledger standing`.",
    ),
    "E_MIN_GROUP": (403, "caller", "Use coarser segments, so that each holds enough subjects."),
    "E_REFUSED": (403, "caller", "The owner's steward refused; ask for the reason or change the plan."),
    "E_APPROVAL": (409, "caller", "The job still waits for an approval."),
    "E_STATE": (409, "caller", "The object is not in a state that allows this; show it first."),
    "E_CANCELLED": (409, "caller", "The job was cancelled; run it again if that was not meant."),
    "E_RESTARTED": (
        409,
        "operator",
        "Run the job again: `atoll job rerun ID` repeats it without a second debit.",
    ),
    "E_BUSY": (
        503,
        "operator",
        "Wait until a job ends, or raise jobs.concurrent, for services jobs.services.",
    ),
    "E_WORKER": (
        500,
        "operator",
        "Look at the node's log and at the machine's memory; then run the job again.",
    ),
    "E_MEMORY": (507, "operator", "Give the job a larger memory budget, or split the input."),
    "E_DISK": (
        507,
        "operator",
        "Free space on the disk of the node's folder, or move the folder to a larger one; then run the job again.",
    ),
    "E_TIME": (504, "operator", "Give the job a larger time budget."),
    "E_RECEIPT": (
        502,
        "peer",
        "A receipt does not match what this node saw. Keep both and involve the partner.",
    ),
    "E_LEDGER": (
        409,
        "peer",
        "The copy of the ledger does not verify; the message names the first bad entry.",
    ),
    "E_REPLAY": (
        409,
        "owner",
        "What was kept does not give what was sent. Look at the findings; keep the records as they are.",
    ),
    "E_PROOF": (
        422,
        "owner",
        "Ask the owner for another proof, and compare the version's digest with the one in the receipt.",
    ),
    "E_SCRIPT": (
        422,
        "caller",
        "Correct the package where the message says, then check it: `atoll script check`.",
    ),
    "E_QUALITY": (
        409,
        "owner",
        "Correct the data at their source, or change the rules: `atoll data rules`.",
    ),
    "E_BUDGET": (
        403,
        "caller",
        "Wait for the next period, or ask the owner for a larger budget: `atoll script review`.",
    ),
    "E_SANDBOX": (
        501,
        "operator",
        "Run scripts on a machine whose kernel and configuration have what the message names.",
    ),
    "E_INTERNAL": (500, "atoll", "This is a defect in Atoll. Report it with the identifier in the message."),
}


class AtollError(Exception):
    """Base of every error that Atoll raises on purpose.

    Args:
        code: stable code, a key of `CODES`.
        text: what happened, for the owner: may name file, row, column and value.
        party: name of the party at fault, where one is known.
        step: protocol or life-cycle step, where one is known.
        column: column name; travels to a peer only when `wire_column` is true.
        fault: whose fault it is; the code's default if not given.
        cure: what to do next; the code's default if not given.
        detail: further facts for the owner, JSON values only.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        party: str | None = None,
        step: str | None = None,
        column: str | None = None,
        wire_column: bool = False,
        fault: Fault | None = None,
        cure: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        if code not in CODES:
            raise KeyError(f"unknown error code {code}")
        super().__init__(text)
        self.code = code
        self.text = text
        self.party = party
        self.step = step
        self.column = column
        self.wire_column = wire_column
        self.fault: Fault = fault or CODES[code][1]
        self.cure = cure or CODES[code][2]
        self.detail = detail or {}

    @property
    def status(self) -> int:
        """HTTP status of this error."""
        return CODES[self.code][0]

    def __str__(self) -> str:
        return f"{self.code}: {self.text} {self.cure}"

    def to_problem(self) -> dict[str, Any]:
        """The owner's rendering: a problem document (RFC 9457) with every fact."""
        body: dict[str, Any] = {
            "type": f"urn:atoll:error:{self.code}",
            "title": self.code,
            "status": self.status,
            "detail": self.text,
            "code": self.code,
            "fault": self.fault,
            "cure": self.cure,
        }
        for key in ("party", "step", "column"):
            if getattr(self, key) is not None:
                body[key] = getattr(self, key)
        if self.detail:
            body["facts"] = self.detail
        return body

    def to_wire(self) -> dict[str, str]:
        """The peer's rendering: code, party, step, and a column only if the plan names it."""
        body = {"code": self.code}
        if self.party is not None:
            body["party"] = self.party
        if self.step is not None:
            body["step"] = self.step
        if self.column is not None and self.wire_column:
            body["column"] = self.column
        return body

    @classmethod
    def from_problem(cls, body: dict[str, Any]) -> AtollError:
        """Rebuilds an error from a node's problem document."""
        code = body.get("code")
        if not isinstance(code, str) or code not in CODES:
            return cls("E_INTERNAL", f"the node answered {str(body)[:300]}")
        return cls(
            code,
            str(body.get("detail", "")),
            party=body.get("party"),
            step=body.get("step"),
            column=body.get("column"),
            fault=body.get("fault"),
            cure=body.get("cure"),
            detail=body.get("facts"),
        )

    @classmethod
    def from_wire(cls, body: Any, *, peer: str) -> AtollError:
        """Reads a peer's rendering. Anything that is not one becomes `E_WIRE`."""
        if not isinstance(body, dict) or not isinstance(body.get("code"), str) or body["code"] not in CODES:
            return cls("E_WIRE", f"{peer} sent a refusal that is not one", party=peer)
        fields = {k: str(body[k])[:200] for k in ("party", "step", "column") if isinstance(body.get(k), str)}
        where = "".join(f", {k} {v}" for k, v in fields.items())
        return cls(
            str(body["code"]),
            f"{peer} refused: {body['code']}{where}.",
            party=fields.get("party", peer),
            step=fields.get("step"),
            column=fields.get("column"),
            wire_column=True,
        )
