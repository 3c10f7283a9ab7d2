"""What a partner found wrong with a table that it uses: a category and an extent of closed lists, and no free text.

Kind `finding/v1`, signed by the finder. Nothing in it can carry a value of the table, or anything else but what stands
in the lists; a column is one that the agreement names.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from atoll.agreements.model import Agreement
from atoll.crypto import dsse
from atoll.crypto.document import AgreementId, Document, Key, Name
from atoll.errors import AtollError

FINDING_KIND = "finding/v1"
Category = Literal["missing", "stale", "contradictory", "malformed", "duplicate", "other"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
Extent = Literal["few", "some", "many"]
EXTENTS: tuple[Extent, ...] = get_args(Extent)


class Finding(Document):
    """A finding about an asset of an agreement, or about one of its columns.

    `missing`: rows or values that should be there; `stale`: no longer true; `contradictory`: does not fit what the
    finder knows; `malformed`: not written as its definition says; `duplicate`: subjects that stand several times.
    """

    format: Literal["atoll.finding/v1"]
    agreement: AgreementId
    asset: Name
    provider: Key
    by: Key
    category: Category
    column: Name | None
    extent: Extent


def build_finding(
    agreement: Agreement,
    *,
    asset: str,
    provider: str,
    by: str,
    category: str,
    column: str | None,
    extent: str,
) -> dict[str, Any]:
    """A finding document, to be signed by `by`.

    Raises:
        AtollError: `E_FORMAT` for a category or extent that is not listed; as `check_finding`.
    """
    found = Finding.parse(
        {
            "format": "atoll.finding/v1",
            "agreement": agreement.id,
            "asset": asset,
            "provider": provider,
            "by": by,
            "category": category,
            "column": column,
            "extent": extent,
        }
    )
    check_finding(found, agreement)
    return found.document()


def check_finding(finding: Finding, agreement: Agreement) -> None:
    """That a finding is about an asset of this agreement, by another signatory than its provider.

    Raises:
        AtollError: `E_AGREEMENT`, `E_NOT_FOUND` for another asset, `E_COLUMN` for a column that the agreement does
            not name.
    """
    if (
        finding.agreement != agreement.id
        or finding.by not in agreement.keys
        or finding.by == finding.provider
    ):
        raise AtollError("E_AGREEMENT", f"the finding is not one by a partner in {agreement.id}")
    asset = agreement.asset(finding.provider, finding.asset)
    if asset is None:
        raise AtollError(
            "E_NOT_FOUND", f"agreement {agreement.id} has no asset {finding.asset!r} of that provider"
        )
    if finding.column is not None and asset.column(finding.column) is None:
        raise AtollError(
            "E_COLUMN",
            f"agreement {agreement.id} names no column {finding.column!r} of {finding.asset}",
            column=finding.column,
        )


def open_finding(envelope: dsse.Envelope, agreement: Agreement) -> Finding:
    """The checked finding in an envelope, signed by the finder that it names.

    Raises:
        AtollError: `E_FORMAT`, `E_SIGNATURE`, and as `check_finding`.
    """
    found = Finding.parse(dsse.verify(FINDING_KIND, envelope, ()))
    dsse.verify(FINDING_KIND, envelope, (found.by,))
    check_finding(found, agreement)
    return found
