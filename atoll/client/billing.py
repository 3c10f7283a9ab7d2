"""What a month costs and earns: statements, compared and signed, and checked without a node."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from atoll.client.resources import Resource
from atoll.client.transport import objects
from atoll.errors import AtollError

Json = dict[str, Any]
_COLUMNS = (
    "month", "agreement", "partner", "payer", "provider", "asset", "unit", "quantity", "price", "amount", "currency",
    "payee", "payee_amount", "provisional",
)  # fmt: skip


class Bills(Resource):
    """Statements between this node and its partners, computed from receipts."""

    def show(self, month: str, *, agreement: str | None = None, partner: str | None = None) -> list[Json]:
        """Statements of a month, such as `2026-11`, one for each agreement and partner with which something is billed.

        Amounts are whole numbers of the currency's minor unit, as text; `owe` and `owed` are written for people.
        """
        return objects(self._call("GET", "/v1/bills", month=month, agreement=agreement, partner=partner))

    def compare(self, month: str, agreement: str, partner: str) -> Json:
        """Fetches the partner's own statement and names the receipts by which the two differ."""
        query = {"month": month, "agreement": agreement, "partner": partner}
        return dict(self._call("GET", "/v1/bills/compare", **query))

    def dispute(self, month: str, agreement: str, partner: str) -> Json:
        """As `compare`, and a difference is noted in the agreement's log."""
        body = {"month": month, "agreement": agreement, "partner": partner}
        return dict(self._call("POST", "/v1/bills/dispute", body))

    def sign(self, month: str, agreement: str, partner: str) -> Json:
        """Signs this node's statement of a month that is over; agreed once the partner signed the same one."""
        body = {"month": month, "agreement": agreement, "partner": partner}
        return dict(self._call("POST", "/v1/bills/sign", body))


def bills_csv(bills: Iterable[Mapping[str, Any]]) -> str:
    """Statements as CSV, one row for each line and payee, amounts as whole numbers of minor units."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for bill in bills:
        for line in bill["lines"]:
            for payee in line["payees"]:
                facts = {**bill, **line, "payee": payee["to"], "payee_amount": payee["amount"]}
                writer.writerow({name: _cell(facts[name]) for name in _COLUMNS})
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is quoted: names are chosen by partners."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def verify_statement(envelope: Mapping[str, Any]) -> list[str]:
    """Checks a signed statement offline: its arithmetic, its shares, its signatures.

    Returns:
        The keys of the two parties that have signed, in order; both make it an agreed statement.

    Raises:
        AtollError: `E_FORMAT` for a sum or share that is wrong, `E_SIGNATURE` if neither party signed it.
    """
    from atoll.billing import STATEMENT_KIND, parse_statement
    from atoll.crypto import dsse

    found = parse_statement(dsse.verify(STATEMENT_KIND, dict(envelope), ()))
    signed = sorted(set(found.parties) & dsse.signers(dict(envelope)))
    if not signed:
        raise AtollError("E_SIGNATURE", "neither of the two parties signed the statement")
    return signed
