"""What a node says of a version of a roster, whether it keeps it or not."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from sqlalchemy.orm import Session

from atoll.agreements import roster as rules
from atoll.agreements.roster import Member, Roster
from atoll.crypto.words import SLOW_WORDS, slow_number, write_words
from atoll.node.rosters.book import RosterBook, opened, write_file
from atoll.node.state.models import Peer
from atoll.node.state.models import Roster as Row

WORDS_DOMAIN = "atoll roster words v1"


def words_number(digest: str) -> int:
    """What the words of a version say: 132 bits that follow from its digest, slowly."""
    return slow_number(digest.encode(), WORDS_DOMAIN)


def facts(
    session: Session,
    envelope: Any,
    before: Roster | None,
    me: str,
    connected: Container[str],
    full: bool,
) -> dict[str, Any]:
    """A version and how far its signing has come; with `full` its words, document and changes too.

    Args:
        before: the version before, where it is known; else nobody can say whether a later one is complete.
        me: this node's key.
        connected: keys of partners with a live link.
    """
    roster, signed = opened(envelope)
    known = roster.version == 1 or before is not None
    stand = rules.standing(roster, signed, before) if known else None
    names = stand.names if stand else roster.names
    body: dict[str, Any] = {
        "id": roster.id,
        "version": roster.version,
        "digest": roster.digest,
        "name": roster.name,
        "quorum": roster.quorum,
        "created": roster.created,
        "complete": stand.complete if stand else None,
        "missing": [names[k] for k in stand.missing] if stand else [],
        "more_needed": stand.short if stand else None,
        "signed": sorted(names.get(k, k) for k in signed),
        "members": [_member(session, m, m.key in signed, me, connected) for m in roster.members],
    }
    if full:
        number = words_number(roster.digest)
        body["words"] = {
            "en": write_words(number, SLOW_WORDS, "en"),
            "zh": write_words(number, SLOW_WORDS, "zh"),
        }
        body["document"] = roster.document()
        body["changes"] = [
            {"kind": c.kind, "member": c.member, "en": c.text("en"), "zh": c.text("zh")}
            for c in (rules.changes(before, roster) if before is not None else ())
        ]
    return body


def _member(
    session: Session, member: Member, signed: bool, me: str, connected: Container[str]
) -> dict[str, Any]:
    row = session.get(Peer, member.key)
    return {
        "name": member.name,
        "key": member.key,
        "tls": member.tls,
        "address": member.address,
        "not_after": member.not_after,
        "signed": signed,
        "pairing": "this node" if member.key == me else row.state if row is not None else "not paired",
        "connected": member.key in connected,
    }


def describe(
    session: Session, book: RosterBook, row: Row, me: str, connected: Container[str], full: bool
) -> dict[str, Any]:
    """A version that is kept here."""
    roster, signed = opened(row.envelope)
    before = book.before(session, roster)
    body = {
        **facts(session, row.envelope, before, me, connected, full),
        "state": row.state,
        "proposer": row.proposer,
        "seen": row.created,
        "changed": row.changed,
        "accepted": row.accepted,
        "accepted_by": row.accepted_by,
    }
    if full:
        body["file"] = write_file(book.chain(session, row))
        rivals = [
            r for r in book.rows(session, row.id) if r.version == row.version and r.digest != row.digest
        ]
        names = {**(before.names if before is not None else {}), **roster.names}
        both = {k for r in rivals for k in opened(r.envelope)[1] & signed}
        body["other_contents"] = [r.digest for r in rivals]
        # Whoever signs two contents of one version lets members go different ways: people should know.
        body["signed_both"] = sorted(names.get(k, k) for k in both)
    return body
