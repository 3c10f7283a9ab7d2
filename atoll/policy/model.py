"""What a decision is made from, and what it is. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from atoll.errors import AtollError

Outcome = Literal["approve", "refuse", "steward"]
DebitKind = Literal["run", "keys", "rows"]


@dataclass(frozen=True)
class Declared:
    """What an input's owner states in its signed approval (for an own input: what this node found).

    `keys` is the number of distinct keys; `change` the least number of keys added plus removed since any
    table that the party joined before with this partner under the agreement, None if there was none. Both
    are None where nothing is joined.
    """

    version: str
    mode: Literal["snapshot", "live"]
    keys: int | None = None
    change: int | None = None


@dataclass(frozen=True)
class Account:
    """Where charges are booked: one partner's use of one asset of a provider under one agreement."""

    agreement: str
    asset: str
    provider: str
    partner: str


@dataclass(frozen=True)
class Windows:
    """Over which spans an account is to be counted: keys in days, runs in seconds, both up to now."""

    days: frozenset[int] = frozenset()
    seconds: frozenset[int] = frozenset()

    def __or__(self, other: Windows) -> Windows:
        return Windows(self.days | other.days, self.seconds | other.seconds)


@dataclass(frozen=True)
class Counters:
    """What stands on an account: today (UTC), in the windows that `accounts` asks for, and ever.

    `keys_in_period` maps a period's length in days to the keys charged in it, up to now, `runs_in_window` a
    length in seconds to the runs charged in it. `charged` holds the key sets ever charged, `last` the one last
    used (`KeySet.identify`); both without limit of time.
    """

    runs_today: int = 0
    calls_today: int = 0
    rows_today: int = 0
    keys_in_period: Mapping[int, int] = field(default_factory=dict)
    runs_in_window: Mapping[int, int] = field(default_factory=dict)
    charged: frozenset[str] = frozenset()
    last: str | None = None


@dataclass(frozen=True)
class Facts:
    """Everything that the node looked up for a decision."""

    declared: Mapping[str, Declared] = field(default_factory=dict)
    counters: Mapping[Account, Counters] = field(default_factory=dict)


@dataclass(frozen=True)
class Debit:
    """A charge to be made in the transaction that releases the result.

    `keys` debits stand even with amount 0: they make `keyset` the partner's last one. `version` is the
    partner's table version, `partner_asset` its table. A service's calls are charged block by block as they
    are released, within `Decision.calls_left`.
    """

    kind: DebitKind
    account: Account
    amount: int
    keyset: str | None = None
    version: str | None = None
    partner_asset: str | None = None

    @property
    def agreement(self) -> str:
        """The agreement's id."""
        return self.account.agreement

    @property
    def asset(self) -> str:
        """Name of the asset that was used."""
        return self.account.asset

    @property
    def provider(self) -> str:
        """Key of the asset's owner."""
        return self.account.provider

    @property
    def partner(self) -> str:
        """Key of the party that is charged."""
        return self.account.partner


@dataclass(frozen=True)
class Reason:
    """Why a plan is refused: code, place, sentences, and the change to a grant that would remove this reason.

    `grant` is `{"agreement", "asset", "partner", "index", "change"}`: `index` names the existing grant to be
    changed (None: a new one), `change` the fields with their new values. It is None where no grant helps.
    """

    code: str
    text: Mapping[str, str]
    input: str | None = None
    column: str | None = None
    partner: str | None = None
    grant: Mapping[str, Any] | None = None

    def error(self, party: str) -> AtollError:
        """The owner's rendering."""
        return AtollError(
            self.code,
            self.text["en"],
            party=party,
            step=self.input,
            column=self.column,
            wire_column=True,
            detail={"grant": self.grant, "text": dict(self.text)}
            if self.grant
            else {"text": dict(self.text)},
        )

    def wire(self, party: str) -> dict[str, str]:
        """The peer's rendering: code, party, input and column, and no value."""
        return self.error(party).to_wire()

    def document(self) -> dict[str, Any]:
        """JSON for REST and console, for the owner only."""
        return {
            "code": self.code,
            "text": dict(self.text),
            "input": self.input,
            "column": self.column,
            "partner": self.partner,
            "grant": self.grant,
        }


@dataclass(frozen=True)
class Decision:
    """The outcome with all reasons, not only the first.

    Args:
        outcome: approve, refuse, or ask a steward.
        reasons: every reason for a refusal.
        debits: what to charge on release; complete only when `awaiting` is empty.
        awaiting: inputs whose owners have not yet declared their size. Decide again, with `final=True`, once
            their approvals are there; never run before.
        grants: index of the grant used for each (input, partner).
        calls_left: for a service, the calls that the quota still allows today; None is no limit.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    debits: tuple[Debit, ...] = ()
    awaiting: tuple[str, ...] = ()
    grants: Mapping[tuple[str, str], int] = field(default_factory=dict)
    calls_left: int | None = None
