"""What accepting a version of a roster changes in this node's pairings, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from atoll.agreements.roster import Member, Roster
from atoll.errors import AtollError
from atoll.net.identity import read_key_statement
from atoll.node.partners import Partners
from atoll.node.state.models import Peer


@dataclass
class Effects:
    """Names by what became of them, and what is to be done once the transaction has committed.

    `not_paired` had been un-paired by this node's people and were not named; `kept` left the roster and stay
    partners, since words or another roster paired them.
    """

    paired: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unpaired: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    not_paired: list[str] = field(default_factory=list)
    to_connect: list[str] = field(default_factory=list)
    to_part: dict[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """For the API."""
        names = ("paired", "replaced", "unpaired", "kept", "not_paired")
        return {name: sorted(getattr(self, name)) for name in names}


def check_pins(session: Session, old: Roster | None, new: Roster, me: str) -> None:
    """`E_PEER_KEY` names a member with whom this node is paired under a TLS key that neither version has."""
    for member in new.members:
        row = session.get(Peer, member.key) if member.key != me else None
        before = old.entries.get(member.key) if old is not None else None
        pins = {member.tls} | ({before.tls} if before is not None else set())
        if row is not None and row.state == "active" and row.tls not in pins:
            raise AtollError(
                "E_PEER_KEY",
                f"this node is paired with {member.name} under the TLS key {row.tls}; the roster says {member.tls}",
                party=member.name,
                cure=f"Ask {member.name} which one is right. If it is the roster's: un-pair, and accept with include.",
            )


def apply(
    session: Session,
    partners: Partners,
    me: str,
    old: Roster | None,
    new: Roster,
    others: Mapping[str, str],
    include: set[str],
    person: str,
) -> Effects:
    """Pairs who joined, takes over changed entries, un-pairs who left, in the caller's transaction.

    Args:
        partners: whose rows change; links are made and ended by the caller, after the commit.
        me: this node's key; where it is not in `new`, this node has left.
        old: the version in force until now; None if none was, or this node was not in it.
        others: members of other rosters in force here, with that roster.
        include: names of members whom this node's people had un-paired, and who are to be paired again.
        person: who accepts.

    Raises:
        AtollError: `E_PEER_KEY` as `check_pins`; `E_NOT_FOUND` for a name in `include` that is no un-paired
            member's.
    """
    check_pins(session, old, new, me)
    effects = Effects()
    for name in sorted(include):
        key = new.named(name).key
        row = session.get(Peer, key)
        if row is None or row.state != "removed":
            raise AtollError("E_NOT_FOUND", f"include: {name} was not un-paired here")
    _leave(session, partners, me, old, new, others, effects)
    if me in new.entries:
        for member in new.members:
            if member.key != me:
                before = old.entries.get(member.key) if old is not None else None
                _keep(session, partners, member, before, new.id, include, person, effects)
    return effects


def _leave(
    session: Session,
    partners: Partners,
    me: str,
    old: Roster | None,
    new: Roster,
    others: Mapping[str, str],
    effects: Effects,
) -> None:
    """Those who left; all of them if it was this node that did."""
    left_itself = me not in new.entries
    why = "this node left" if left_itself else "it left"
    reason = f"{why} the roster {new.name} in version {new.version}"
    for key, member in (old.entries if old is not None else {}).items():
        row = session.get(Peer, key)
        if key == me or row is None or row.state != "active" or (key in new.entries and not left_itself):
            continue
        if row.roster != new.id:
            effects.kept.append(row.name)
        elif key in others:
            row.roster = others[key]
            effects.kept.append(row.name)
        else:
            effects.unpaired.append(row.name)
            effects.to_part[key] = reason
            # A member with a new identity key comes back under the same name.
            partners.release(session, key, reason, rename=member.name in new.names.values())
            session.flush()


def _keep(
    session: Session,
    partners: Partners,
    member: Member,
    before: Member | None,
    roster: str,
    include: set[str],
    person: str,
    effects: Effects,
) -> None:
    """One member of the new version, other than this node."""
    row = session.get(Peer, member.key)
    statement = read_key_statement(member.statement, None)
    joins = before is None
    if row is not None and row.state == "active":
        if not joins and before != member:
            partners.repin(session, statement)
            effects.replaced.append(member.name)
            effects.to_connect.append(member.key)
        return
    by_hand = row is not None and row.state == "removed" and row.removed_by is not None
    if member.name in include or (joins and not by_hand):
        partners.enrol(session, statement, roster, person)
        effects.paired.append(member.name)
        effects.to_connect.append(member.key)
    elif row is None or row.state == "removed":
        effects.not_paired.append(member.name)
