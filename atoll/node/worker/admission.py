"""Which calls of a standing service pass at their owner, by the authorisation that they show."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from atoll.agreements.consent import check_consent, open_consent
from atoll.crypto import dsse
from atoll.crypto.suite import digest_bytes
from atoll.errors import AtollError
from atoll.functions.context import Shown


class Admission:
    """Admits or refuses one call after the other.

    Args:
        terms: `mode`, `issuers`, `asker`, `purpose`, `function` of the consent that is asked for; `rated`,
            whether the node counts calls by an agreed rate; `withdrawn`, digests of authorisations that were withdrawn.
        clock: the owner's clock, by which authorisations begin and end.
    """

    def __init__(self, terms: dict[str, Any], clock: Callable[[], datetime]) -> None:
        self._terms, self._clock = terms, clock
        self._withdrawn = set(terms["withdrawn"])
        self.rated: bool = terms["rated"]

    def withdraw(self, consent: str) -> None:
        """From now on this authorisation covers nothing. Called from the node's thread."""
        self._withdrawn.add(consent)

    def check(self, shown: Shown | None) -> None:
        """Lets one call pass.

        Raises:
            AtollError: `E_CONSENT` says what is missing.
        """
        mode = self._terms["mode"]
        if mode == "attested":
            if shown is None or shown.commitment is None:
                raise AtollError("E_CONSENT", "the call carries no commitment to an authorisation")
            digest_bytes(shown.commitment)
        elif mode == "presented":
            if shown is None or shown.envelope is None:
                raise AtollError("E_CONSENT", "the call presents no authorisation")
            self._presented(shown.envelope)

    def _presented(self, envelope: dsse.Envelope) -> None:
        check_consent(
            open_consent(envelope),
            issuers=self._terms["issuers"],
            asker=self._terms["asker"],
            purpose=self._terms["purpose"],
            function=self._terms["function"],
            now=self._clock(),
        )
        if dsse.identifier(envelope) in self._withdrawn:
            raise AtollError("E_CONSENT", "the authorisation was withdrawn")
