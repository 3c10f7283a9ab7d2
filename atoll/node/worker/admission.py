"""Which calls of a standing service pass at their owner: the authorisation that they show, and the agreed rate."""

from __future__ import annotations

import time
from collections import deque
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
        terms: `mode`, `issuers`, `asker`, `purpose`, `function` of the consent that is asked for; `rate`, most calls
            and seconds, or None; `withdrawn`, digests of authorisations that were withdrawn.
        clock: the owner's clock, by which authorisations begin and end.
    """

    def __init__(self, terms: dict[str, Any], clock: Callable[[], datetime]) -> None:
        self._terms, self._clock = terms, clock
        self._withdrawn = set(terms["withdrawn"])
        self._past: deque[float] = deque()

    def withdraw(self, consent: str) -> None:
        """From now on this authorisation covers nothing. Called from the node's thread."""
        self._withdrawn.add(consent)

    def check(self, shown: Shown | None) -> None:
        """Lets one call pass.

        Raises:
            AtollError: `E_CONSENT` says what is missing; `E_QUOTA` if the rate is used up.
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
        self._rate()

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

    def _rate(self) -> None:
        rate = self._terms["rate"]
        if rate is None:
            return
        now = time.monotonic()
        while self._past and self._past[0] <= now - rate["seconds"]:
            self._past.popleft()
        if len(self._past) >= rate["most"]:
            raise AtollError(
                "E_QUOTA",
                f"{rate['most']} calls in {rate['seconds']} s are agreed on",
                cure="Wait a moment, or ask the owner for a higher rate.",
            )
        self._past.append(now)
