"""Offers of this institution, and the catalogue of what partners offer it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atoll.client.resources import Resource
from atoll.client.transport import objects, segment

Json = dict[str, Any]


class Offers(Resource):
    """What this node offers; `atoll.client.drafts.offer` helps to write one."""

    def publish(
        self, document: Mapping[str, Any], *, version_of: str | None = None, dry_run: bool = False
    ) -> Json:
        """Signs an offer here and sends it to whom it stands for.

        Args:
            document: a draft; identifier, version and provider are filled in.
            version_of: identifier of the offer that this is the next version of.
            dry_run: nothing is published; gives `document`, `receivers` and `changes`.

        Raises:
            AtollError: `E_FORMAT` for a wrong field, `E_NOT_FOUND` or `E_COLUMN` for a table that differs, `E_OFFER`.
        """
        return dict(self._call("POST", "/v1/offers", dict(document), version_of=version_of, dry_run=dry_run))

    def list(self) -> list[Json]:
        """The newest version of every own offer, newest first."""
        return objects(self._call("GET", "/v1/offers"))

    def show(self, offer: str, version: int | None = None) -> Json:
        """One version of an own offer, with its document and what changed since the version before."""
        return dict(self._call("GET", f"/v1/offers/{segment(offer)}", version=version))

    def withdraw(self, offer: str) -> Json:
        """Ends an offer; agreements that were made from it stay."""
        return dict(self._call("POST", f"/v1/offers/{segment(offer)}/withdraw"))


class Catalog(Resource):
    """What partners offer this institution now."""

    def search(
        self,
        text: str | None = None,
        *,
        provider: str | None = None,
        type: str | None = None,
        function: str | None = None,
        purpose: str | None = None,
        unit: str | None = None,
    ) -> list[Json]:
        """Offers that fit.

        Args:
            text: words in Chinese or English that all stand in title, asset or columns (name, label, definition,
                unit, codes).
            provider: name or key of a partner.
            type: of the asset: `dataset`, `service`, ...
            function, purpose: that some of the terms permit.
            unit: of some column.
        """
        return objects(
            self._call(
                "GET", "/v1/catalog", text=text, provider=provider, type=type, function=function,
                purpose=purpose, unit=unit,
            )
        )  # fmt: skip

    def show(self, offer: str) -> Json:
        """One offer by identifier or digest, with its document; `E_OFFER` if it does not stand."""
        return dict(self._call("GET", f"/v1/catalog/{segment(offer)}"))
