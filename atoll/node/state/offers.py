"""The table of standing offers; see `publishing.offers`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Integer, String
from sqlalchemy.orm import Mapped

from atoll.node.state.base import DIGEST, KEY, TIME, Base
from atoll.node.state.base import column as _c


class Offer(Base):
    """One version of a standing offer, of this node or of a partner."""

    __tablename__ = "offers"
    provider: Mapped[str] = _c(KEY, "who signed it", primary_key=True)
    id: Mapped[str] = _c(String(64), "identifier of the offer, drawn by its provider", primary_key=True)
    version: Mapped[int] = _c(Integer, "version of the offer", primary_key=True)
    digest: Mapped[str] = _c(DIGEST, "digest of the document", unique=True)
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope of the offer")
    state: Mapped[str] = _c(String(16), "current, superseded or withdrawn")
    not_after: Mapped[str] = _c(TIME, "end of its validity")
    receivers: Mapped[Any] = _c(JSON, "keys of the partners that an own offer was sent to")
    created: Mapped[str] = _c(TIME, "when it was published, or arrived")
    changed: Mapped[str] = _c(TIME, "when the state last changed")
    withdrawal: Mapped[Any | None] = _c(JSON, "DSSE envelope of the withdrawal", nullable=True)
