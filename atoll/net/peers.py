"""At most one live link to every paired peer, whichever side dials."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from atoll.errors import AtollError
from atoll.net.dial import dial
from atoll.net.line import Measured
from atoll.net.link import Link, Local, Peer, accept_link, open_link

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
DIAL_SECONDS = 5.0
DIALERS = 4
RETIRE_IDLE_SECONDS = 5.0


@dataclass
class _Known:
    tls: str
    address: str | None
    link: Link | None = None
    dialing: bool = False
    wait: float = FIRST_WAIT
    next_dial: float = 0.0
    failure: AtollError | None = None
    # Which own TLS key, and which of the peer's, made the last link: where either was renewed there are two.
    own: int = 0
    older: bool = False


class LinkManager:
    """Keeps links to the peers that were added; dials those that have an address, takes those that dial in.

    Peers without an address are waited for, so that one of two nodes needs no listener. Where both dial at
    the same time, the link dialed by the smaller identity stays; the other ends once it is idle.
    """

    def __init__(self, local: Local, connected: Callable[[str], None] = lambda identity: None) -> None:
        """`connected` hears of every peer that is linked anew, on a thread of its own."""
        self._local, self._connected = local, connected
        self._known: dict[str, _Known] = {}
        self._retired: list[Link] = []
        self._change = threading.Condition()
        self._stopping = False
        self._dialers = ThreadPoolExecutor(DIALERS, "dial")
        self._thread = threading.Thread(target=self._keep, name="links", daemon=True)

    def start(self) -> None:
        """Begins to dial in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Ends every link."""
        with self._change:
            self._stopping = True
            links = [k.link for k in self._known.values() if k.link is not None] + self._retired
            self._change.notify_all()
        for link in links:
            link.close()
        if self._thread.ident is not None:
            self._thread.join(2)
        self._dialers.shutdown(wait=False, cancel_futures=True)

    def add(self, identity: str, tls: str, address: str | None) -> None:
        """Makes a peer known or replaces its address; a link with another TLS key ends."""
        with self._change:
            known = self._known.get(identity)
            stale = None
            if known is None:
                self._known[identity] = _Known(tls, address)
            else:
                stale = known.link if known.tls != tls else None
                known.tls, known.address = tls, address
                known.next_dial, known.wait = 0.0, FIRST_WAIT
                if stale is not None:
                    known.link = None
            self._change.notify_all()
        if stale is not None:
            stale.close(AtollError("E_PEER_KEY", "the peer's key was replaced"))

    def disconnect(self, identity: str, reason: AtollError) -> None:
        """Forgets a peer and ends its links at once; the peer is told the reason's code."""
        with self._change:
            known = self._known.pop(identity, None)
            links = [link for link in self._retired if link.peer.identity == identity]
            if known is not None and known.link is not None:
                links.append(known.link)
            self._change.notify_all()
        for link in links:
            link.close(reason)

    def connected(self) -> dict[str, Peer]:
        """The peers with a live link."""
        with self._change:
            return {i: k.link.peer for i, k in self._known.items() if k.link is not None and k.link.alive}

    def measured(self) -> dict[str, Measured]:
        """What was measured of the live links, where the kernel says something."""
        with self._change:
            links = {i: k.link for i, k in self._known.items() if k.link is not None and k.link.alive}
        found = {identity: link.measure() for identity, link in links.items()}
        return {identity: measured for identity, measured in found.items() if measured is not None}

    def accept(self, sock: socket.socket, *, older: bool = False) -> Link:
        """Takes a control connection from the listener; errors as `accept_link`.

        With `older` the dialer pins the TLS key that this node had before its newest.
        """
        link = accept_link(sock, self._views()[-1 if older else 0])
        self._register(link)
        return link

    def _views(self) -> list[Local]:
        """What this node says of itself with each of its TLS keys, the newest first."""
        return [replace(self._local, keys=keys) for keys in self._local.keys.views(self._local.clock())]

    def link(self, identity: str, timeout: float = DIAL_SECONDS) -> Link:
        """The live link to a peer; dials it, or waits for it to dial, at most `timeout` seconds.

        Raises:
            AtollError: `E_PEER_UNKNOWN` for a peer that was not added; `E_UNREACHABLE`, or the reason why the
                last attempt was refused.
        """
        deadline = time.monotonic() + timeout
        with self._change:
            begun = False
            while True:
                known = self._known.get(identity)
                if known is None:
                    raise AtollError("E_PEER_UNKNOWN", "there is no such peer", party=identity)
                if known.link is not None and known.link.alive:
                    return known.link
                if known.address is not None and not known.dialing:
                    if begun and known.failure is not None:
                        raise known.failure
                    self._begin_dial(identity, known)
                    begun = True
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping:
                    text = (
                        f"no connection to {known.address} within {timeout:g} s."
                        if known.address
                        else f"the peer has no address and did not dial within {timeout:g} s."
                    )
                    raise known.failure or AtollError("E_UNREACHABLE", text, party=identity)
                self._change.wait(left)

    def request(self, identity: str, verb: str, body: Any, timeout: float = 30.0) -> Any:
        """Asks a peer over its link, made first where there is none. Errors as `link` and `Link.request`."""
        return self.link(identity).request(verb, body, timeout)

    def _begin_dial(self, identity: str, known: _Known) -> None:
        if self._stopping:
            return
        known.dialing, known.failure = True, None
        self._dialers.submit(self._dial, identity, known)

    def _dial(self, identity: str, known: _Known) -> None:
        failure: AtollError | None = None
        try:
            if known.address is not None:
                link = self._open(known, known.address)
                if link.peer.identity == identity:
                    self._register(link)
                else:
                    failure = AtollError(
                        "E_PEER_KEY", f"another node answers at {known.address}", party=identity
                    )
                    link.close(failure)
        except AtollError as error:
            failure = error
        finally:
            with self._change:
                known.dialing, known.failure = False, failure
                if failure is None:
                    known.wait = FIRST_WAIT
                else:
                    known.wait = min(2 * known.wait, LONGEST_WAIT)
                # Jitter, so that nodes that lost each other do not dial in step.
                known.next_dial = time.monotonic() + known.wait * random.uniform(0.5, 1.5)  # noqa: S311
                self._change.notify_all()
        if failure is not None:
            self._local.log(
                "peer.dial_failed", {"peer": identity, "code": failure.code, "text": failure.text}
            )

    def _open(self, known: _Known, address: str) -> Link:
        """Dials with the TLS keys that fit: a renewed key is not pinned by all at the same moment.

        A peer that refuses this side's key is offered the other one; one that shows another key than the pinned
        one is asked for the other. The pin itself never gives way.
        """
        views = self._views()
        failure: AtollError | None = None
        for own in sorted(range(len(views)), key=lambda number: number != known.own):
            for older in (known.older, not known.older):
                try:
                    link = open_link(dial(address, DIAL_SECONDS), views[own], known.tls, older=older)
                except AtollError as error:
                    failure = failure or error
                    if error.detail.get("refused_by_peer") and error.code in ("E_PEER_KEY", "E_PEER_EXPIRED"):
                        break
                    if error.code != "E_PEER_KEY":
                        raise failure from None
                else:
                    known.own, known.older = own, older
                    return link
            else:
                break  # neither of the peer's keys is the pinned one, whatever this side shows
        assert failure is not None  # every way that did not return left one
        raise failure

    def _dialer_of(self, link: Link) -> str:
        return self._local.keys.identity if link.peer.dialed else link.peer.identity

    def _register(self, link: Link) -> None:
        refused: AtollError | None = None
        with self._change:
            identity = link.peer.identity
            known = self._known.get(identity)
            if self._stopping or known is None:
                refused = AtollError("E_UNPAIRED", "the peer is not one of this node's", party=identity)
            elif known.tls != link.peer.tls:
                refused = AtollError("E_PEER_KEY", "the peer uses another key", party=identity)
            else:
                old = known.link
                if old is None or not old.alive:
                    known.link = link
                elif self._dialer_of(link) == self._dialer_of(old):
                    # The same side dialed again: it has lost the old one.
                    known.link = link
                    self._retired.append(old)
                elif self._dialer_of(link) < self._dialer_of(old):
                    known.link = link
                    self._retired.append(old)
                else:
                    self._retired.append(link)
                self._change.notify_all()
        if refused is not None:
            link.close(refused)
            raise refused
        self._local.log(
            "peer.connected", {"peer": identity, "name": link.peer.name, "dialed": link.peer.dialed}
        )
        link.on_close(self._forget)
        threading.Thread(target=self._connected, args=(link.peer.identity,), daemon=True).start()

    def _forget(self, link: Link) -> None:
        with self._change:
            known = self._known.get(link.peer.identity)
            if known is not None and known.link is link:
                known.link = None
                known.next_dial = time.monotonic() + FIRST_WAIT * random.uniform(0.1, 1.0)  # noqa: S311
            if link in self._retired:
                self._retired.remove(link)
            self._change.notify_all()

    def _keep(self) -> None:
        while True:
            with self._change:
                if self._stopping:
                    return
                now = time.monotonic()
                for identity, known in self._known.items():
                    if known.link is None and known.address and not known.dialing and now >= known.next_dial:
                        self._begin_dial(identity, known)
                done = [link for link in self._retired if link.idle_seconds > RETIRE_IDLE_SECONDS]
            for link in done:
                link.close()
            with self._change:
                if not self._stopping:
                    self._change.wait(1.0)
