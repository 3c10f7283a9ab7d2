"""Pairing, and the links to paired partners."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.crypto.dsse import Envelope
from atoll.crypto.words import Language
from atoll.errors import AtollError
from atoll.net.dial import dial
from atoll.net.identity import KeyStatement, NodeKeys, key_statement
from atoll.net.line import Measured
from atoll.net.link import Handler, Local, accept_link, open_link
from atoll.net.link import Peer as Remote
from atoll.net.listener import Listener
from atoll.net.pairing import (
    Answered,
    Invite,
    OpenInvite,
    PendingPair,
    answer,
    commit,
    finish,
    invite_id,
    open_commitment,
)
from atoll.net.peers import LinkManager
from atoll.node.clock import Clock, seconds, stamp
from atoll.node.config import Config
from atoll.node.logs import logger
from atoll.node.metrics import Metrics
from atoll.node.outbox import Outbox
from atoll.node.state.models import Invite as InviteRow
from atoll.node.state.models import Peer
from atoll.node.state.store import Store
from atoll.node.vault import Vault

# What a partner may ask before both sides confirmed the words.
_BEFORE_PAIRED = {"pair.confirm"}
# Four weeks: an invite is for people who are about to speak to each other.
MAX_INVITE_HOURS = 672
_LANGUAGES: dict[str, Language] = {"en": "en", "zh": "zh"}


class Partners:
    """The partners of one node: invites, comparisons, pins, links."""

    def __init__(
        self,
        config: Config,
        store: Store,
        vault: Vault,
        keys: NodeKeys,
        clock: Clock,
        metrics: Metrics,
        language: str,
    ) -> None:
        self._config, self._store, self._vault, self._keys = config, store, vault, keys
        self._clock, self._metrics, self._language = clock, metrics, language
        self._log = logger("partners")
        self._handlers: dict[str, Handler] = {}
        self._address: str | None = None
        self._inviting = threading.Lock()
        self.listener: Listener | None = None
        self.links: LinkManager
        self.outbox = Outbox(store, clock, self.request)
        self.on_active: Callable[[str], None] = lambda identity: None
        self.on_linked: Callable[[str], None] = lambda identity: None
        self.on_removed: Callable[[str], None] = lambda identity: None
        self.handle("pair.confirm", self._confirmed_there)
        self.handle("unpair", self._unpaired_there)

    # Life.

    def start(self) -> None:
        """Opens the partner port, if there is one, and keeps links to all partners."""
        listen = self._config.partner_listen
        if listen is not None:
            self.listener = Listener(
                listen[0],
                listen[1],
                self._on_control,
                self._on_pair,
                log=self._net_log,
                on_older=lambda sock: self._on_control(sock, older=True),
            )
            self.listener.start()
            host, _, port = self.listener.address.rpartition(":")
            stated = self._config["partners.address"]
            self._address = stated or (None if host in ("0.0.0.0", "::", "[::]") else f"{host}:{port}")  # noqa: S104
        self.links = LinkManager(self._local(dict(self._handlers), self._admit), self._linked)
        self.links.start()
        with self._store.read() as session:
            for peer in session.scalars(select(Peer).where(Peer.state != "removed")):
                self.links.add(peer.identity, peer.tls, peer.address)
        self.outbox.start()

    def stop(self) -> None:
        """Closes port and links; stored messages stay stored."""
        self.outbox.stop()
        if self.listener is not None:
            self.listener.stop()
        self.links.stop()

    @property
    def name(self) -> str:
        """This institution's name."""
        name: str = self._config["node.name"]
        return name

    @property
    def address(self) -> str | None:
        """The host:port that partners dial, or None on a dial-only node."""
        return self._address

    def _linked(self, identity: str) -> None:
        """A link is up: what waits for the partner goes out at once."""
        self.outbox.reconnected(identity)
        self.on_linked(identity)

    def _net_log(self, event: str, facts: dict[str, Any]) -> None:
        if "refused" in event:
            self._metrics.refused.labels(reason=str(facts.get("code", "other"))).inc()
        self._log.info(event, **facts)

    def statement(self) -> Envelope:
        """This node's signed key statement."""
        return key_statement(self._keys, self._config["node.name"], self._address, self._clock())

    def _local(
        self, handlers: dict[str, Handler], admit: Callable[[str, str, KeyStatement, str], None]
    ) -> Local:
        return Local(
            keys=self._keys,
            name=self._config["node.name"],
            address=self._address,
            handlers=handlers,
            admit=admit,
            log=self._net_log,
            clock=self._clock,
            silence_seconds=float(self._config["partners.silence_seconds"]),
        )

    # Admission.

    def _admit(self, identity: str, tls: str, statement: KeyStatement, purpose: str) -> None:
        with self._store.read() as session:
            peer = session.get(Peer, identity)
        if peer is None:
            raise AtollError(
                "E_PEER_UNKNOWN",
                f"{statement.name} ({identity}) is not paired with this node",
                party=statement.name,
            )
        if peer.state == "removed":
            raise AtollError("E_UNPAIRED", f"{peer.name} was un-paired: {peer.reason}", party=peer.name)
        if peer.tls != tls:
            raise AtollError(
                "E_PEER_KEY", f"{peer.name} came with another TLS key than the pinned one", party=peer.name
            )
        if peer.not_after <= seconds(self._clock()):
            raise AtollError(
                "E_PEER_EXPIRED", f"the key of {peer.name} expired on {peer.not_after}", party=peer.name
            )
        if statement.address != peer.address:
            self._follow_address(statement)

    def _follow_address(self, statement: KeyStatement) -> None:
        """A partner that moved says so in its signed statement; jobs dial its new address from now on."""
        with self._store.write() as session:
            row = session.get(Peer, statement.identity)
            if row is None or row.address == statement.address or row.state == "removed":
                return
            row.address, row.statement = statement.address, _json(statement.envelope).decode()
        self.links.add(row.identity, row.tls, row.address)

    def handle(self, verb: str, handler: Handler) -> None:
        """Registers what answers a partner's request; only partners that both sides confirmed get through."""

        def guarded(remote: Remote, body: Any) -> Any:
            with self._store.read() as session:
                peer = session.get(Peer, remote.identity)
            if peer is None or peer.state == "removed":
                raise AtollError("E_UNPAIRED", f"{remote.name} is not paired", party=remote.name)
            if peer.state != "active" and verb not in _BEFORE_PAIRED:
                raise AtollError(
                    "E_UNPAIRED",
                    f"the words with {peer.name} are not confirmed on both sides yet",
                    party=peer.name,
                )
            return handler(remote, body)

        self._handlers[verb] = guarded

    def _on_control(self, sock: socket.socket, *, older: bool = False) -> None:
        self.links.accept(sock, older=older)

    # Requests to partners.

    def request(self, identity: str, verb: str, body: Any, timeout: float = 30.0) -> Any:
        """Asks a partner; `E_UNREACHABLE` or what the partner refused with."""
        return self.links.request(identity, verb, body, timeout=timeout)

    def measured(self) -> dict[str, Measured]:
        """What was measured of the links to partners that are connected now."""
        return self.links.measured()

    def peer(self, name_or_identity: str) -> Peer:
        """A partner by name or identity; `E_NOT_FOUND`."""
        with self._store.read() as session:
            found = session.scalars(
                select(Peer).where((Peer.name == name_or_identity) | (Peer.identity == name_or_identity))
            ).first()
        if found is None:
            raise AtollError("E_NOT_FOUND", f"there is no partner {name_or_identity!r}")
        return found

    def active(self) -> list[Peer]:
        """All partners that both sides confirmed."""
        with self._store.read() as session:
            return list(session.scalars(select(Peer).where(Peer.state == "active").order_by(Peer.name)))

    def describe(self) -> list[dict[str, Any]]:
        """All partners for the API."""
        connected = self.links.connected()
        with self._store.read() as session:
            rows = session.scalars(select(Peer).order_by(Peer.name)).all()
        return [self._describe(row, row.identity in connected) for row in rows]

    def _describe(self, row: Peer, connected: bool) -> dict[str, Any]:
        words = None
        if row.state == "comparing" and row.pending:
            words = PendingPair.from_json(row.pending).words(_LANGUAGES[self._language])
        return {
            "name": row.name,
            "identity": row.identity,
            "address": row.address,
            "state": row.state,
            "words": words,
            "connected": connected,
            "not_after": row.not_after,
            "created": row.created,
            "removed": row.removed,
            "reason": row.reason,
            "confirmed_by": row.confirmed_by,
            "roster": row.roster,
        }

    # Pairing.

    def invite(self, hours: int = 24) -> dict[str, Any]:
        """A new invite, as one line; `E_FORMAT` for a time that is none."""
        if not 1 <= hours <= MAX_INVITE_HOURS:
            raise AtollError("E_FORMAT", f"an invite lasts 1 to {MAX_INVITE_HOURS} hours")
        if self._address is None:
            raise AtollError(
                "E_STATE",
                "this node has no address that a partner could dial",
                cure="Set partners.address, or let the partner invite this node.",
            )
        invite = Invite.create(
            self._config["node.name"],
            self._address,
            self._keys.identity,
            self._keys.tls.fingerprint,
            self._clock(),
            hours,
        )
        record = OpenInvite(invite)
        with self._store.write() as session:
            session.add(
                InviteRow(
                    id=invite.id.hex(),
                    secret=self._vault.seal(f"invite {invite.id.hex()}", _json(record.to_json())),
                    created=stamp(self._clock()),
                    expires=seconds(invite.expires),
                    failures=0,
                )
            )
        return {"invite": invite.to_line(), "expires": seconds(invite.expires)}

    def accept(self, line: str) -> dict[str, Any]:
        """Takes up a partner's invite; gives the words to compare."""
        invite = Invite.parse(line)
        if invite.identity == self._keys.identity:
            raise AtollError("E_INVITE", "the invite is this node's own")
        with self._store.read() as session:
            known = session.get(Peer, invite.identity)
        if known is not None and known.state == "active":
            raise AtollError("E_CONFLICT", f"{known.name} is already paired")
        local = self._local({}, lambda *_: None)
        link = open_link(dial(invite.address), local, invite.tls, purpose="pair")
        try:
            committed, message = commit(
                invite, link.peer.mine, link.peer.statement, link.peer.binding, self._clock()
            )
            pending, opening = open_commitment(committed, link.request("pair.commit", message))
            link.request("pair.open", opening)
        finally:
            link.close(None)
        row = self._store_pending(pending)
        return self._describe(row, False)

    def _on_pair(self, sock: socket.socket) -> None:
        """One pairing handshake at the inviter, on a connection that may do nothing else."""
        held: dict[str, Answered] = {}

        def on_commit(remote: Remote, message: Any) -> Any:
            # One at a time: an invite works once, and every wrong secret counts.
            with self._inviting:
                record = self._open_invite(message)
                try:
                    answered, reply = answer(
                        record, remote.mine, remote.statement, remote.binding, message, self._clock()
                    )
                except AtollError as error:
                    if error.detail.get("wrong_secret"):
                        self._store_invite(record.failed())
                    raise
                self._store_invite(record.used())
            held["answered"] = answered
            return reply

        def on_open(_remote: Remote, message: Any) -> Any:
            answered = held.pop("answered", None)
            if answered is None:
                raise AtollError("E_INVITE", "the handshake is out of order")
            self._store_pending(finish(answered, message))
            return {}

        accept_link(
            sock, self._local({"pair.commit": on_commit, "pair.open": on_open}, lambda *_: None), "pair"
        )

    def _open_invite(self, message: Any) -> OpenInvite:
        identifier = invite_id(message).hex()
        with self._store.read() as session:
            row = session.get(InviteRow, identifier)
        if row is None:
            raise AtollError("E_INVITE", "there is no such open invite", fault="caller")
        return OpenInvite.from_json(_unjson(self._vault.open(f"invite {row.id}", row.secret)))

    def _store_invite(self, record: OpenInvite) -> None:
        with self._store.write() as session:
            row = session.get(InviteRow, record.invite.id.hex())
            if row is not None:
                row.failures = record.failures
                row.secret = self._vault.seal(f"invite {row.id}", _json(record.to_json()))
                if record.state == "used":
                    row.used = stamp(self._clock())

    def _store_pending(self, pending: PendingPair) -> Peer:
        with self._store.write() as session:
            row = self._pin(session, pending.peer, rename=False)
            row.state, row.pending, row.confirmed_by, row.removed, row.reason = (
                "comparing",
                pending.to_json(),
                None,
                None,
                None,
            )
            row.roster = row.removed_by = None
        self.links.add(row.identity, row.tls, row.address)
        self._log.info("pairing waits for the words", peer=row.name)
        return row

    def _pin(self, session: Session, statement: KeyStatement, rename: bool) -> Peer:
        """The row of a partner with address and TLS pin as its statement says; a new or renamed one with its name."""
        row = session.get(Peer, statement.identity)
        if row is None or rename:
            other = Peer.identity != statement.identity
            taken = session.scalars(select(Peer).where(Peer.name == statement.name, other)).first()
            name = _distinct(statement.name, statement.identity) if taken else statement.name
            row = row or Peer(identity=statement.identity, created=stamp(self._clock()))
            row.name = name
        row.address, row.tls = statement.address, statement.tls
        row.not_after, row.statement = seconds(statement.not_after), _json(statement.envelope).decode()
        session.add(row)
        return row

    def confirm(self, name: str, words: str, person: str) -> dict[str, Any]:
        """A person says which words the partner's side reads; `E_WORDS` if they differ."""
        with self._store.write() as session:
            row = session.get(Peer, self.peer(name).identity)
            assert row is not None  # found above; one writer
            if row.state != "comparing":
                raise AtollError("E_STATE", f"{row.name} is {row.state}; there are no words to compare")
            pending = PendingPair.from_json(row.pending)
            pending = pending.confirm(words)
            row.pending, row.confirmed_by = pending.to_json(), person
            self.outbox.put(session, row.identity, "pair.confirm", pending.confirm_message())
            became_active = self._activate(row, pending)
        self.outbox.wake()
        if became_active:
            self.on_active(row.identity)
        return self._describe(row, row.identity in self.links.connected())

    def _confirmed_there(self, remote: Remote, body: Any) -> Any:
        with self._store.write() as session:
            row = session.get(Peer, remote.identity)
            if row is None or row.state == "active":
                return {}
            pending = PendingPair.from_json(row.pending)
            pending = pending.receive_confirm(body)
            row.pending = pending.to_json()
            became_active = self._activate(row, pending)
        if became_active:
            self.on_active(remote.identity)
        return {}

    def _activate(self, row: Peer, pending: PendingPair) -> bool:
        if not pending.active:
            return False
        row.state, row.pending = "active", None
        self._log.info("paired", peer=row.name)
        return True

    def remove(self, name: str, reason: str, person: str) -> None:
        """Ends a pairing at once, on this side first."""
        identity = self.peer(name).identity
        self._tell(identity, reason)
        self._removed(identity, reason, person)

    def _tell(self, identity: str, reason: str) -> None:
        try:
            self.request(identity, "unpair", {"reason": reason[:200]}, timeout=2.0)
        except AtollError as error:
            self._log.info("the partner was not told that it is un-paired", code=error.code)

    def _unpaired_there(self, remote: Remote, body: Any) -> Any:
        reason = body.get("reason") if isinstance(body, dict) else None
        self._removed(remote.identity, f"by the partner: {str(reason)[:200]}")
        return {}

    def _removed(self, identity: str, reason: str, person: str | None = None) -> None:
        with self._store.write() as session:
            row = session.get(Peer, identity)
            if row is None:
                return
            self.release(session, identity, reason, person)
        self._cut(row, reason)

    def _cut(self, row: Peer, reason: str) -> None:
        error = AtollError("E_UNPAIRED", f"un-paired from {row.name}: {reason}", party=row.name)
        self.links.disconnect(row.identity, error)
        self.on_removed(row.identity)

    # Pairing by a roster: rows in the caller's transaction, links once it has committed.

    def enrol(self, session: Session, statement: KeyStatement, roster: str, person: str) -> None:
        """Makes a member of a roster that `person` accepted an active partner. Then `connect`."""
        row = self._pin(session, statement, rename=True)
        row.state, row.pending, row.removed, row.reason, row.removed_by = "active", None, None, None, None
        row.roster, row.confirmed_by = roster, person

    def repin(self, session: Session, statement: KeyStatement) -> None:
        """Takes over name, address and TLS pin of an active partner from its statement. Then `connect`."""
        self._pin(session, statement, rename=True)

    def connect(self, identity: str) -> None:
        """Keeps a link to a partner as its row says; a link with another TLS key than the pinned one ends."""
        with self._store.read() as session:
            row = session.get(Peer, identity)
        if row is not None and row.state == "active":
            self.links.add(row.identity, row.tls, row.address)
            self.on_active(row.identity)

    def release(
        self, session: Session, identity: str, reason: str, person: str | None = None, rename: bool = False
    ) -> None:
        """Marks a partner as un-paired and forgets what waits for it. Then `part`.

        With `rename` its name becomes free for another node.
        """
        row = session.get_one(Peer, identity)
        row.state, row.pending, row.removed, row.reason = "removed", None, stamp(self._clock()), reason[:300]
        row.removed_by = person
        if rename:
            row.name = _distinct(row.name, identity)
        self.outbox.drop(session, identity)

    def part(self, identity: str, reason: str) -> None:
        """Tells a released partner so, if a link is up, and ends the link and the jobs with it."""
        if identity in self.links.connected():
            self._tell(identity, reason)
        self._cut(self.peer(identity), reason)


def _distinct(name: str, identity: str) -> str:
    """A name with the first digits of the key, for where two nodes have one name."""
    return f"{name[:50]} ({identity.partition(':')[2][:8]})"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _unjson(data: bytes) -> Any:
    return json.loads(data)
