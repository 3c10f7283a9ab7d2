"""Whether this node holds all that it ever signed: asked of the partners at every start, before it signs more.

A node that was restored from a backup would write other entries over the ones that its partners cosigned, and so fork
its own log. So at its start it asks its partners for the newest checkpoint of its own that they hold. Until they have
answered it records nothing; where they hold more than it does, it fetches its own entries back first (`recovery`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import select

from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, note
from atoll.ledger.fork import ForkProof
from atoll.net.link import Peer as Remote
from atoll.node.evidence.mark import mark, read_mark, unmark
from atoll.node.evidence.shelf import PRIVATE, Shelf
from atoll.node.state.models import Agreement, LogName

_MOST = 100_000
_RETRY_SECONDS = 2.0

Behind = dict[str, tuple[int, bytes]]
"""By partner: how much of an own log it holds, and the checkpoint."""


class Recovers(Protocol):
    """What `recovery.Recovery` does; each may raise what the partner or the connection gives."""

    def recover(self, agreement: str, behind: Behind) -> None:
        """Completes the own log of an agreement from those who hold more of it."""

    def extends(self, agreement: str, peer: str) -> bool:
        """Whether a partner's longer copy has the own log's last entry where it belongs."""

    def other_history(self, agreement: str, peer: str, signed: bytes) -> ForkProof | None:
        """The proof that a partner's copy and the own log are two histories, None if they are one."""


class Standing:
    """Opens the way for records, agreement by agreement.

    Args:
        shelf: shared parts.
        home: the node's folder, where the mark may be.
        seconds: how long a node without a mark waits for partners that do not answer.
        recovery: fetches own entries back, and says whether two copies are two histories.
        held: told what a partner holds of an own log: `held(origin, partner, size)`.
    """

    def __init__(
        self,
        shelf: Shelf,
        home: Path,
        seconds: float,
        recovery: Recovers,
        held: Callable[[str, str, int], None],
    ) -> None:
        self._shelf, self._home, self._seconds = shelf, home, seconds
        self._recovery, self._held = recovery, held
        self._lock = threading.RLock()
        self._answered: set[str] = set()
        self._behind: dict[str, Behind] = {}
        self._broken: dict[str, str] = {}
        self._asking: set[str] = set()
        self._opened = threading.Event()
        self._wake = threading.Event()
        self._stopping = False
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._loop, name="standing", daemon=True)
        shelf.partners.handle("ledger.standing", self._asked_there)

    # Life.

    def start(self) -> None:
        """Begins to ask."""
        self._started = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stopping = True
        self._wake.set()
        self._opened.set()
        self._thread.join(timeout=5)

    def connected(self, peer: str) -> None:
        """A partner can be asked."""
        self._wake.set()

    def wait(self) -> None:
        """Until records may be made, or the node stops."""
        self._opened.wait()

    @property
    def _marked(self) -> set[str] | None:
        return read_mark(self._home)

    # The gate.

    def require(self, agreement: str) -> None:
        """Raises while nothing may be recorded in an agreement.

        Raises:
            AtollError: `E_RECOVERY` while partners have not answered or own entries are fetched back; `E_LEDGER` if
                the own log was continued differently from what a partner holds, which nothing can mend.
        """
        if agreement == PRIVATE:
            return
        with self._lock:
            if agreement in self._broken:
                raise AtollError("E_LEDGER", self._broken[agreement], fault="operator", cure=_BROKEN_CURE)
            if agreement in self._behind:
                raise AtollError("E_RECOVERY", f"this node's entries of {agreement} are being fetched back")
            if self._opened.is_set() and self._marked is None:
                return
            missing = self._missing([agreement])
        if missing:
            names = ", ".join(self._name(key) for key in sorted(missing))
            raise AtollError(
                "E_RECOVERY", f"{names} did not yet say what it holds of this node's log of {agreement}"
            )

    def _name(self, key: str) -> str:
        try:
            return self._shelf.partners.peer(key).name
        except AtollError:
            return key

    def _missing(self, agreements: list[str] | None) -> set[str]:
        """Signatories of these agreements, or of all, that have not answered and that no operator excused."""
        shelf = self._shelf
        excused = self._marked or set()
        wanted: set[str] = set()
        with shelf.store.read() as session:
            names = (
                agreements
                if agreements is not None
                else list(
                    session.scalars(select(Agreement.id).where(Agreement.state != "declined").distinct())
                )
            )
            for name in names:
                wanted |= set(shelf.signatories(session, name))
        if self._marked is None:
            # A partner that was un-paired is not waited for: it is not asked again.
            wanted &= {p.identity for p in shelf.partners.active()}
        return wanted - {shelf.me} - self._answered - excused

    def describe(self) -> dict[str, Any]:
        """For the API: whether records may be made, and what is waited for."""
        with self._lock:
            return {
                "open": self._opened.is_set(),
                "recovering": self._marked is not None,
                "waiting_for": sorted(self._name(k) for k in self._missing(None))
                if not self._settled
                else [],
                "behind": {
                    name: {self._name(k): size for k, (size, _) in behind.items()}
                    for name, behind in self._behind.items()
                },
                "broken": dict(self._broken),
            }

    @property
    def _settled(self) -> bool:
        return self._opened.is_set() and self._marked is None

    def go_on_without(self, partners: list[str], person: str) -> dict[str, Any]:
        """An operator decides not to wait for partners that cannot be reached; the decision is kept."""
        keys = [self._shelf.partners.peer(name).identity for name in partners]
        with self._lock:
            found = self._marked
            if found is None:
                raise AtollError("E_STATE", "this node is not marked as recovering, and waits for nobody")
            mark(self._home, found | set(keys))
        self._shelf.log.warning("recovery goes on without partners", partners=partners, person=person)
        self._wake.set()
        return self.describe()

    # Asking.

    def _loop(self) -> None:
        while not self._stopping:
            try:
                self._round()
            except Exception:
                self._shelf.log.exception("asking partners for the own standing failed")
            self._wake.wait(timeout=_RETRY_SECONDS if self._settled else 0.2)
            self._wake.clear()

    def _round(self) -> None:
        connected = set(self._shelf.partners.links.connected())
        active = {p.identity for p in self._shelf.partners.active()}
        with self._lock:
            # Who went away and comes back is asked again: its copy may have been lost meanwhile.
            self._asking &= connected
            todo = sorted((connected & active) - self._asking)
        for peer in todo:
            try:
                self._ask(peer)
            except AtollError as error:
                self._shelf.log.info("a partner did not say what it holds", peer=peer[:24], code=error.code)
        self._fetch_back()
        self._settle()

    def _ask(self, peer: str) -> None:
        shelf = self._shelf
        with shelf.store.read() as session:
            rows = session.scalars(select(LogName).where(LogName.owner == peer).limit(_MOST)).all()
        body = {"held": {row.agreement: row.size for row in rows}}
        answer = shelf.partners.request(peer, "ledger.standing", body)
        logs = answer.get("logs") if isinstance(answer, dict) else None
        if not isinstance(logs, dict) or len(logs) > _MOST:
            raise AtollError("E_WIRE", "not a standing", party=peer)
        for agreement, signed in logs.items():
            if not isinstance(agreement, str) or not isinstance(signed, bytes):
                raise AtollError("E_WIRE", "not a standing", party=peer)
            self._compare(agreement, signed, peer)
        with self._lock:
            self._asking.add(peer)
            self._answered.add(peer)

    def _compare(self, agreement: str, signed: bytes, peer: str) -> None:
        """Holds what a partner has of an own log against the own log."""
        shelf = self._shelf
        origin = shelf.origin(agreement)
        point = checkpoint.open_note(note.parse(signed), origin, shelf.signing.public)
        with shelf.store.read() as session:
            log = shelf.own(session, agreement)
            size = log.size
            same = point.size > size or log.root(point.size) == point.root
        if not same:
            self._suspect(agreement, signed, peer)
        elif point.size > size:
            with self._lock:
                self._behind.setdefault(agreement, {})[peer] = (point.size, signed)

    def _suspect(self, agreement: str, signed: bytes, peer: str) -> bool:
        """Whether the own log was continued differently from what a partner holds: then it is closed for good."""
        proof = self._recovery.other_history(agreement, peer, signed)
        if proof is None:
            return False
        text = (
            f"{self._name(peer)} holds entries of this node's log of {agreement} that are not in it: the node was "
            "restored from a backup, and went on without them"
        )
        with self._lock:
            self._broken[agreement] = text
            self._behind.pop(agreement, None)
        self._shelf.note_fork(agreement, proof.origin, proof.to_json())
        return True

    def _fetch_back(self) -> None:
        with self._lock:
            todo = {name: dict(behind) for name, behind in self._behind.items()}
        for agreement, behind in todo.items():
            try:
                if not any(self._diverged(agreement, behind, peer) for peer in behind):
                    self._recovery.recover(agreement, behind)
            except AtollError as error:
                self._shelf.log.warning(
                    "own entries could not be fetched back",
                    agreement=agreement,
                    code=error.code,
                    text=error.text,
                )
                continue
            with self._lock:
                self._behind.pop(agreement, None)

    def _settle(self) -> None:
        """Opens the way once everyone has answered, or, without a mark, after the time for it."""
        with self._lock:
            missing = self._missing(None)
            waited = time.monotonic() - self._started >= self._seconds
            if self._marked is not None:
                if missing or self._behind or not self._answered:
                    return
                unmark(self._home)
                self._shelf.log.warning("recovery is complete")
            elif missing and not waited:
                return
            if not self._opened.is_set():
                self._shelf.log.info("records may be made", missing=len(missing))
            self._opened.set()

    def _diverged(self, agreement: str, behind: Behind, peer: str) -> bool:
        """A longer copy may extend the own log, or be another history of it. The usual case costs one entry."""
        if agreement in self._broken:
            return True
        _, signed = behind[peer]
        return not self._recovery.extends(agreement, peer) and self._suspect(agreement, signed, peer)

    # Answering.

    def _asked_there(self, remote: Remote, body: Any) -> Any:
        """A partner starts: what this node holds of the partner's logs; and what the partner holds of this node's."""
        held = body.get("held") if isinstance(body, dict) and set(body) == {"held"} else None
        if (
            not isinstance(held, dict)
            or len(held) > _MOST
            or not all(isinstance(k, str) and type(v) is int and v >= 0 for k, v in held.items())
        ):
            raise AtollError("E_WIRE", "not a request for a standing")
        shelf = self._shelf
        with shelf.store.read() as session:
            copies = session.scalars(select(LogName).where(LogName.owner == remote.identity)).all()
            own = session.scalars(select(LogName).where(LogName.owner == shelf.me)).all()
        for row in own:
            if row.agreement != PRIVATE and held.get(row.agreement, 0) < row.size:
                self._held(row.origin, remote.identity, held.get(row.agreement, 0))
        PublicKey.parse(remote.identity)
        return {"logs": {row.agreement: row.head for row in copies if row.head is not None}}


_BROKEN_CURE = "Nothing more can be recorded under this agreement; the proof is kept. Make a new agreement."
