"""Data subjects' authorisations, on which calls of services rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from atoll.client.resources import Resource
from atoll.client.transport import objects, segment

Json = dict[str, Any]


class Consents(Resource):
    """Authorisations that this node issued, was given, or knows to be withdrawn."""

    def issue(
        self,
        subject: str,
        *,
        purposes: Iterable[str],
        functions: Iterable[str],
        grantee: str | None = None,
        days: int = 365,
    ) -> Json:
        """Issues an authorisation for a data subject whose word this institution has.

        Args:
            subject: the subject's identity; it enters by a salted commitment only.
            purposes, functions: what the subject agreed to.
            grantee: name or key of the partner who may ask; None for this institution.
            days: of validity.

        Returns:
            `consent`, the digest by which calls name it, and what it says.
        """
        body = {
            "subject": subject, "purposes": list(purposes), "functions": list(functions), "grantee": grantee,
            "days": days,
        }  # fmt: skip
        return dict(self._call("POST", "/v1/consents", body))

    def take(self, envelope: Mapping[str, Any]) -> Json:
        """Keeps an authorisation that another issuer signed for this institution; `E_CONSENT`."""
        return dict(self._call("POST", "/v1/consents/given", {"envelope": dict(envelope)}))

    def list(self, limit: int = 100, before: str | None = None) -> list[Json]:
        """Authorisations, newest first; page with `before`, the `created` of the last one."""
        return objects(self._call("GET", "/v1/consents", limit=limit, before=before))

    def show(self, consent: str) -> Json:
        """One authorisation with its signed envelope, and its subject where this node issued it."""
        return dict(self._call("GET", f"/v1/consents/{segment(consent)}"))

    def withdraw(self, consent: str, withdrawal: Mapping[str, Any] | None = None) -> Json:
        """Ends an authorisation; `withdrawal` is its issuer's, where that is another one."""
        body = {"envelope": dict(withdrawal) if withdrawal is not None else None}
        return dict(self._call("POST", f"/v1/consents/{segment(consent)}/withdraw", body))
