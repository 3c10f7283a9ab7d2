"""The department's own part of the subsidy: what it makes of three declared outcomes. No row ever comes here."""

from __future__ import annotations

from typing import Any

from atoll.demo.families import Application

Outcome = dict[str, Any] | None


def combine(applied: Application, ownership: Outcome, income: Outcome, household: Outcome) -> str:
    """Whether a family gets the subsidy, from what each office's part says of it; None is no decision.

    Returns:
        yes; no; check, if the family is not as many as it says; open, if an office could not decide.
    """
    if ownership is None or income is None or household is None:
        return "open"
    if household["size"] != applied.members:
        return "check"
    if ownership["owns"] or household["subsidised"]:
        return "no"
    return "yes" if income["band"] == "low" else "no"
