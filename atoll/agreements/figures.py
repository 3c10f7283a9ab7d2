"""Figures of a table's quality that its owner showed a partner under an agreement.

Kind `quality-figures/v1`, signed by the owner. Which figures there are, and how coarse, is `atoll.data.quality`'s.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.crypto import dsse
from atoll.crypto.document import AgreementId, Document, Key, Name, Text, Time, format_time
from atoll.errors import AtollError

FIGURES_KIND = "quality-figures/v1"
MAX_FIGURES = 1000


class Figures(Document):
    """Figures by name, as text; null for one that was not measured."""

    format: Literal["atoll.quality-figures/v1"]
    agreement: AgreementId
    asset: Name
    provider: Key
    to: Key
    at: Time
    figures: Annotated[dict[Name, Text | None], Field(max_length=MAX_FIGURES)]


def build_figures(
    *, agreement: str, asset: str, provider: str, to: str, at: datetime, figures: dict[str, str | None]
) -> dict[str, Any]:
    """A document of figures, to be signed by `provider`."""
    return Figures.parse(
        {
            "format": "atoll.quality-figures/v1",
            "agreement": agreement,
            "asset": asset,
            "provider": provider,
            "to": to,
            "at": format_time(at),
            "figures": figures,
        },
        what="quality figures",
    ).document()


def open_figures(envelope: dsse.Envelope, *, agreement: str, asset: str, provider: str, to: str) -> Figures:
    """The checked figures, signed by the provider, for this asset and asker.

    Raises:
        AtollError: `E_FORMAT`, `E_SIGNATURE`; `E_WIRE` if they are about something else.
    """
    found = Figures.parse(dsse.verify(FIGURES_KIND, envelope, (provider,)), what="quality figures")
    if (found.agreement, found.asset, found.provider, found.to) != (agreement, asset, provider, to):
        raise AtollError("E_WIRE", "the figures are about another table, or for another partner")
    return found
