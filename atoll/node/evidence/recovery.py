"""Fetching this node's own entries back from its partners, and what follows from them for its records."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from atoll.errors import AtollError
from atoll.ledger import checkpoint, merkle, note
from atoll.ledger.entry import Body, Entry, open_leaf, parse_leaf
from atoll.ledger.fork import ForkProof
from atoll.ledger.merkle import Node
from atoll.net.link import Peer as Remote
from atoll.node.evidence.ledgers import Ledgers
from atoll.node.evidence.replication import BATCH, read_entry, write_entry
from atoll.node.evidence.restore import Restore
from atoll.node.evidence.shelf import Shelf
from atoll.node.evidence.standing import Behind
from atoll.node.evidence.subjects import UNKNOWN, job_of
from atoll.node.state.models import LogName


class Recovery:
    """Both sides of it: a node that lost entries, and the partners that give them back.

    Args:
        shelf, ledgers: shared parts.
        restore: turns entries into records again.
    """

    def __init__(self, shelf: Shelf, ledgers: Ledgers, restore: Restore) -> None:
        self._shelf, self._ledgers, self._restore = shelf, ledgers, restore
        shelf.partners.handle("ledger.fetch", self._fetched_there)

    def recover(self, agreement: str, behind: Behind) -> None:
        """Completes the own log of an agreement from those who hold more of it, with what follows from it.

        Entries, counters and states become durable together. Bodies that one partner was not shown may come from
        another.

        Raises:
            AtollError: `E_LEDGER` if what partners give is not what this node signed; `E_UNREACHABLE`.
        """
        shelf = self._shelf
        with shelf.store.read() as session:
            start = shelf.own(session, agreement).size
        size, signed = max(behind.values(), key=lambda held: held[0])
        given = [self._fetch(peer, agreement, start, held) for peer, (held, _) in sorted(behind.items())]
        entries = _merge(given, size - start)
        origin = shelf.origin(agreement)
        point = checkpoint.open_note(note.parse(signed), origin, shelf.signing.public)
        with shelf.store.write() as session:
            shelf.name(session, agreement, shelf.me)
            storage = shelf.storage(session, origin)
            if storage.size() != start:
                raise AtollError("E_CONFLICT", f"{origin} grew while its entries were fetched")
            edge = merkle.load_frontier(start, storage.hashes, point.hash)
            nodes: list[Node] = []
            for entry in entries:
                parse_leaf(entry.leaf)
                nodes += edge.append(merkle.leaf_hash(entry.leaf, point.hash))
            if (edge.size, edge.root()) != (point.size, point.root):
                raise AtollError(
                    "E_LEDGER", f"{origin}: the partners' entries are not those that this node signed"
                )
            bodies = [open_leaf(e.leaf, e.opened) if e.opened else None for e in entries]
            for entry, body in zip(entries, bodies, strict=True):
                shelf.storage(session, origin, job_of(body) if body else UNKNOWN).append([entry], [])
            storage.append([], nodes)
            storage.put_head(checkpoint.by_owner(signed, origin, shelf.signing.public))
            self._restore.apply(session, agreement, [body for body in bodies if body is not None])
            self._note(session, agreement, start, size, bodies)
        self._ledgers.forget_tail(agreement)
        shelf.log.warning("own entries were fetched back", agreement=agreement, first=start, size=size)

    def extends(self, agreement: str, peer: str) -> bool:
        """Whether a partner's longer copy has the own log's last entry where it belongs."""
        with self._shelf.store.read() as session:
            log = self._shelf.own(session, agreement)
            size = log.size
            last = log.entries(size - 1, size)[0].leaf if size else b""
        return not size or self._fetch(peer, agreement, size - 1, size)[0].leaf == last

    def other_history(self, agreement: str, peer: str, signed: bytes) -> ForkProof | None:
        """The proof that a partner's copy and the own log are two histories that this node signed.

        None if one extends the other. All leaves of the copy are fetched: only with them is it certain that the
        partner does not lie.

        Raises:
            AtollError: `E_LEDGER` if its leaves are not those of the checkpoint that this node signed.
        """
        shelf = self._shelf
        origin, owner = shelf.origin(agreement), shelf.signing.public
        point = checkpoint.open_note(note.parse(signed), origin, owner)
        entries = self._fetch(peer, agreement, 0, point.size)
        with shelf.store.read() as session:
            copy = shelf.copy(session, agreement, shelf.me)
            return copy.accuse([entry.leaf for entry in entries], signed)

    def _note(
        self, session: Session, agreement: str, start: int, size: int, bodies: list[Body | None]
    ) -> None:
        document = {
            "agreement": agreement,
            "first": start,
            "size": size,
            "unopened": sum(body is None for body in bodies),
        }
        self._ledgers.record_private(session, "recovery", document)

    def _fetch(self, peer: str, agreement: str, start: int, end: int) -> list[Entry]:
        found: list[Entry] = []
        while start + len(found) < end:
            count = min(BATCH, end - start - len(found))
            body = {"agreement": agreement, "start": start + len(found), "count": count}
            answer = self._shelf.partners.request(peer, "ledger.fetch", body)
            entries = answer.get("entries") if isinstance(answer, dict) else None
            if not isinstance(entries, list) or not 0 < len(entries) <= count:
                raise AtollError("E_WIRE", "not entries of a log", party=peer)
            found += [read_entry(entry) for entry in entries]
        return found

    def _fetched_there(self, remote: Remote, body: Any) -> Any:
        """A partner asks for its own entries, of which this node has a copy."""
        if (
            not isinstance(body, dict)
            or set(body) != {"agreement", "start", "count"}
            or not isinstance(body["agreement"], str)
            or not all(type(body[k]) is int and body[k] >= 0 for k in ("start", "count"))
            or not 0 < body["count"] <= BATCH
        ):
            raise AtollError("E_WIRE", "not a request for entries")
        shelf = self._shelf
        with shelf.store.read() as session:
            if session.get(LogName, shelf.origin(body["agreement"], remote.identity)) is None:
                raise AtollError("E_NOT_FOUND", "there is no copy of such a log here")
            copy = shelf.copy(session, body["agreement"], remote.identity)
            end = min(copy.size, body["start"] + body["count"])
            entries = copy.entries(body["start"], end) if body["start"] < end else []
        return {"entries": [write_entry(entry) for entry in entries]}


def _merge(given: list[list[Entry]], count: int) -> list[Entry]:
    """The entries of the longest copy, each with a body from any copy that opens it."""
    longest = max(given, key=len)
    if len(longest) != count:
        raise AtollError("E_LEDGER", "a partner gave fewer entries than it said it holds")
    out = []
    for index, entry in enumerate(longest):
        opened = entry.opened
        for other in given:
            if opened is None and index < len(other) and other[index].leaf == entry.leaf:
                opened = other[index].opened
        out.append(Entry(entry.leaf, opened))
    return out
