"""Intersection of 3 to 20 parties, or its size, as a star (docs/protocols/star-psi.md).

Every pair of parties agrees on a key, and every party's keys give it a share of zero for each item. A function that
each of the others programs hands its shares to the leader, which adds them up: to zero where all have the item.
"""

from __future__ import annotations

import hmac
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from atoll.crypto import masks
from atoll.crypto.psi import Side, slots
from atoll.crypto.star_psi import WORD_BYTES, ProgrammedFunction, blinds, pairwise
from atoll.crypto.suite import PublicKey, SigningKey, digest
from atoll.errors import AtollError
from atoll.protocols import ecdh_psi
from atoll.protocols.coin import toss
from atoll.protocols.driver import Channel, converse
from atoll.protocols.ecdh_psi import Intersection
from atoll.protocols.pair_keys import Group, prefixed

PROTOCOL: Final = "star-psi/v1"
SECURITY: Final[Literal["semi-honest"]] = "semi-honest"
ASSUMPTION: Final = "x25519-ristretto255-dual-lpn-random-oracle"
MIN_PARTIES: Final = 3
MAX_PARTIES: Final = 20
MAX_ITEMS: Final = 1 << 22
CHUNK: Final = 1 << 15
STEP: Final = "star-psi"
_DOMAIN: Final = b"atoll star-psi/v1 ephemeral key"
_COUNT, _COMMON, _SIZE = 3, 4, 5
_DIGEST = 32

Learns = Literal["rows", "size"]

STATEMENT_PREFIX: Final = prefixed(_DOMAIN)
"""How every statement that a party signs begins: a signer can tell it from all other documents."""


@dataclass(frozen=True)
class Session:
    """What all parties agreed on before.

    Attributes:
        job: identifier of the job.
        attempt: number of the attempt, 0 to 2^32 - 1.
        parties: key identifiers (`str(PublicKey)`), each once, 3 to 20: the leader first. If the size alone is
            learnt, the second holds what hides the rows from the leader.
        items: number of distinct keys that each declared, in the same order, at most 2^22.
        label: names this intersection within the job.
        learns: what the leader learns: which of its keys all have, or how many.
        everyone: whether the leader tells the others, each of its own keys.
    """

    job: str
    attempt: int
    parties: tuple[str, ...]
    items: tuple[int, ...]
    label: str
    learns: Learns = "rows"
    everyone: bool = False

    def __post_init__(self) -> None:
        if not MIN_PARTIES <= len(self.parties) <= MAX_PARTIES:
            raise _format(f"An intersection by a star has {MIN_PARTIES} to {MAX_PARTIES} parties.")
        if len(set(self.parties)) != len(self.parties) or len(self.items) != len(self.parties):
            raise _format("Parties are named once each, with a number of keys each.")
        if not 0 <= self.attempt < 2**32 or self.learns not in get_args(Learns):
            raise _format("The attempt is out of range, or what the leader learns is neither rows nor size.")
        if min(self.items) < 0:
            raise _format("A number of keys is not negative.")
        if max(self.items) > MAX_ITEMS:
            raise AtollError("E_TOO_LARGE", f"A party has at most {MAX_ITEMS} keys.", step=STEP)
        for party in self.parties:
            PublicKey.parse(party)

    @property
    def context(self) -> bytes:
        """Bytes that stand under every signature, key and function of this session."""
        numbers = struct.pack(f"<I{len(self.items)}Q?", self.attempt, *self.items, self.everyone)
        names = (self.job, self.label, self.learns, *self.parties)
        return digest(prefixed(_DOMAIN, numbers, *(name.encode() for name in names))).encode()

    @property
    def group(self) -> Group:
        """The parties, as they agree on keys."""
        return Group(STEP, _DOMAIN, self.context, self.parties)

    @property
    def channel(self) -> str:
        """Name of what is not of one link, a label of the randomness."""
        return f"{self.job}/{STEP}/{self.label}"

    def link(self, party: int) -> str:
        """Name of the channel between the leader and a party, a label of the randomness."""
        return f"{self.channel}/{party}"


def _format(text: str) -> AtollError:
    return AtollError("E_FORMAT", text, step=STEP)


def _log(n: int) -> int:
    return max(n - 1, 0).bit_length()


def output_bits(items: tuple[int, ...], learns: Learns) -> int:
    """Bits of the leader's sums.

    Rows: 40 bits over the leader's keys, so that a sum is zero by chance with at most 2^-40; at least 80. Size: as a
    tag of ECDH-PSI between the first two parties.
    """
    if learns == "size":
        return 8 * ecdh_psi.tag_bytes(items[0], items[1])
    return max(80, 8 * -(-(40 + _log(items[0])) // 8))


class _Party:
    """One party's part: its keys with the others, and what it computes of its own items."""

    def __init__(self, session: Session, key: SigningKey, digests: bytes, seed: bytes, threads: int) -> None:
        self.me = str(key.public)
        if self.me not in session.parties:
            raise _format("This key is not one of the parties.")
        self.index = session.parties.index(self.me)
        if len(digests) != _DIGEST * session.items[self.index]:
            raise _format("Digests have 32 bytes each and are as many as were declared.")
        self.session, self.digests, self.seed, self.threads = session, digests, seed, threads
        self.group = session.group
        self._ephemeral = masks.public_key(seed, session.attempt, session.channel)
        self.hello = self.group.hello(key, self._ephemeral)
        self._peers: dict[str, bytes] = {}

    def agree(self, roster: bytes) -> None:
        """Checks and takes over the keys of all."""
        keys = self.group.read_roster(roster)
        if not hmac.compare_digest(keys.pop(self.me), self._ephemeral):
            raise self.group.broken("the leader changed this party's key", None)
        self._peers = keys

    def shares(self) -> npt.NDArray[np.uint64]:
        """This party's share of zero for every own item, two words each."""
        return _words(self._function("share", self._peers))

    def names(self, other: str) -> bytes:
        """16 bytes for every own item, which `other` has for the same items, and nobody else."""
        return self._function("common", {other: self._peers[other]})

    def _function(self, of: Literal["share", "common"], peers: Mapping[str, bytes]) -> bytes:
        return pairwise(
            of,
            self.digests,
            self.seed,
            self.session.attempt,
            self.session.channel,
            me=self.me,
            peers=peers,
            context=self.session.context,
            threads=self.threads,
        )

    def program(
        self,
        channel: Channel,
        party: int,
        targets: bytes | None,
        before_open: Callable[[], None],
        progress: Callable[[int, int], None],
    ) -> ProgrammedFunction:
        """The programmed function between the leader, without targets, and a party: sizes, coin and machine."""
        session = self.session
        peer = party if targets is None else 0
        name, agreed = session.link(party), prefixed(session.context, bytes([party]))
        mine, theirs = (struct.pack("<Q", session.items[i]) for i in (self.index, peer))
        coin = toss(
            channel,
            agreed,
            mine,
            theirs,
            seed=self.seed,
            attempt=session.attempt,
            name=name,
            step=STEP,
        )
        machine = ProgrammedFunction(
            self.seed,
            session.attempt,
            name,
            context=prefixed(agreed, coin.value),
            digests=self.digests,
            targets=targets,
            peer_items=session.items[peer],
            bits=output_bits(session.items, session.learns),
            threads=self.threads,
        )
        backlog: deque[bytes] = deque()
        converse(machine, channel, backlog, before_open=before_open, progress=progress)
        if backlog:
            raise self.group.broken("the peer sent messages out of their place", session.parties[peer])
        return machine

    def compare(
        self,
        sums: npt.NDArray[np.uint64],
        channel: Channel,
        before_open: Callable[[], None],
    ) -> int | None:
        """ECDH-PSI of sums between the first two parties, of which the leader learns the size."""
        session, leads = self.session, self.index == 0
        width = output_bits(session.items, session.learns) // 8
        entries = np.zeros((len(sums), _DIGEST), np.uint8)
        entries[:, :width] = sums.view(np.uint8).reshape(-1, WORD_BYTES)[:, :width]
        side = Side(
            entries.tobytes(),
            None,
            session.items[1 if leads else 0],
            "size" if leads else "nothing",
            "nothing" if leads else "size",
            prefixed(session.context, b"size"),
        )
        return ecdh_psi.run(
            side,
            channel,
            seed=self.seed,
            attempt=session.attempt,
            name=session.link(1),
            threads=self.threads,
            before_open=before_open,
        ).size


def _words(data: bytes) -> npt.NDArray[np.uint64]:
    return np.frombuffer(data, dtype="<u8").reshape(-1, 2)


def _once(call: Callable[[], None]) -> Callable[[], None]:
    called = False

    def first() -> None:
        nonlocal called
        if not called:
            call()
            called = True

    return first


def run_leader(
    session: Session,
    key: SigningKey,
    digests: bytes,
    channels: Mapping[str, Channel],
    *,
    seed: bytes,
    threads: int = 1,
    at_once: int = MAX_PARTIES - 1,
    before_open: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Intersection:
    """The leader's side.

    Args:
        key: identity key of `session.parties[0]`.
        digests: 32 bytes per distinct key.
        channels: a channel to every other party, by identifier.
        seed: 32 secret bytes of this party's job; used with attempt, job, label and link for all randomness.
        threads: worker threads for each link.
        at_once: links that are worked on at the same time; memory grows with it.
        before_open: called once before the first message that tells the others a result; not called if none does.
        progress: called with slots done and to do, over all links; from several threads, one at a time.

    Returns:
        Matched rows, in an order that all share, or the size.

    Raises:
        AtollError: `E_FORMAT` for bad arguments and for a digest that stands twice; `E_PROTOCOL` or `E_SIGNATURE`,
            naming the party, if one breaks the protocol; whatever a channel raises. Without all parties nothing
            opens.
    """
    own = _Party(session, key, digests, seed, threads)
    others = session.parties[1:]
    if own.index != 0 or set(channels) != set(others) or at_once < 1:
        raise _format("The leader is the first party and has a channel to each of the others.")
    if not min(session.items):
        return _nothing(session)
    hellos = [own.group.read_hello(own.me, own.hello)]
    hellos += [own.group.read_hello(party, channels[party].recv()) for party in others]
    roster = own.group.roster(hellos)
    own.agree(roster)
    for party in others:
        channels[party].send(roster, f"{STEP}/roster")

    shares = own.shares()
    sums, lock, done = shares.copy(), threading.Lock(), [0] * len(session.parties)
    total = sum(slots(session.items[0], "fast") + slots(n, "fast") for n in session.items[1:])

    def link(party: int) -> AtollError | None:
        def report(slots_done: int, _: int) -> None:
            with lock:
                done[party] = slots_done
                progress(sum(done), total)

        try:
            machine = own.program(channels[session.parties[party]], party, None, lambda: None, report)
            outputs = _words(machine.outputs())
        except AtollError as error:
            error.party = error.party or session.parties[party]
            return error
        with lock:
            np.bitwise_xor(sums, outputs, out=sums)
        return None

    with ThreadPoolExecutor(min(at_once, len(others))) as workers:
        failures = [error for error in workers.map(link, range(1, len(session.parties))) if error]
    if failures:
        raise failures[0]
    open_once = _once(before_open)
    if session.learns == "size":
        size = own.compare(sums, channels[others[0]], open_once)
        if session.everyone:
            open_once()
            for party in others:
                channels[party].send(bytes([_SIZE]) + struct.pack("<Q", size), f"{STEP}/size")
        return Intersection(None, None, size)
    left = _cut(sums, output_bits(session.items, session.learns))
    common = np.flatnonzero((left == 0).all(axis=1))
    common = common[np.lexsort((shares[common, 0], shares[common, 1]))]
    if session.everyone:
        open_once()
        for party in others:
            _tell(channels[party], own.names(party), common)
    return Intersection(common.astype("<u4").tobytes(), None, len(common))


def _cut(words: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint64]:
    """The lowest `bits` of every pair of words."""
    kept = [(1 << k) - 1 for k in (min(bits, 64), max(bits - 64, 0))]
    return words & np.array(kept, dtype=np.uint64)


def _tell(channel: Channel, names: bytes, common: npt.NDArray[np.intp]) -> None:
    """Tells a party which of its items are common, by names that only the two have."""
    chosen = np.frombuffer(names, np.uint8).reshape(-1, WORD_BYTES)[common].tobytes()
    channel.send(bytes([_COUNT]) + struct.pack("<I", len(common)), f"{STEP}/count")
    for i, start in enumerate(range(0, len(chosen), CHUNK * WORD_BYTES)):
        part = chosen[start : start + CHUNK * WORD_BYTES]
        channel.send(bytes([_COMMON]) + part, f"{STEP}/common/{i}")


def run_party(
    session: Session,
    key: SigningKey,
    digests: bytes,
    channel: Channel,
    *,
    seed: bytes,
    threads: int = 1,
    before_open: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Intersection:
    """The side of a party that does not lead; `channel` is to the leader.

    Args:
        key: identity key of this party.
        digests: 32 bytes per distinct key.
        seed: 32 secret bytes of this party's job; used with attempt, job, label and link for all randomness.
        threads: worker threads.
        before_open: called once before the first message of which the leader's result is made.
        progress: called with slots done and to do.

    Returns:
        What the leader tells: matched rows in an order that all share, or the size; nothing without `everyone`.

    Raises:
        AtollError: `E_FORMAT` for bad arguments and for a digest that stands twice; `E_PROTOCOL` or `E_SIGNATURE` if
            another party breaks the protocol; whatever the channel raises.
    """
    own = _Party(session, key, digests, seed, threads)
    if own.index == 0:
        raise _format("The first party leads.")
    if not min(session.items):
        return _nothing(session) if session.everyone else Intersection(None, None, None)
    channel.send(own.hello, f"{STEP}/key")
    own.agree(channel.recv())
    targets, blinded = own.shares(), None
    if session.learns == "size" and own.index == 1:
        blinded = _words(blinds(digests, seed, session.attempt, session.channel, threads=threads))
        targets = targets ^ blinded
    open_once = _once(before_open)
    own.program(channel, own.index, targets.tobytes(), open_once, progress)
    if blinded is not None:
        own.compare(blinded, channel, open_once)
    if not session.everyone:
        return Intersection(None, None, None)
    most = min(session.items)
    if session.learns == "size":
        message = channel.recv()
        if len(message) != 9 or message[0] != _SIZE:
            raise own.group.broken("the leader did not tell the size", session.parties[0])
        (size,) = struct.unpack("<Q", message[1:])
        if size > most:
            raise own.group.broken("the leader tells a size over that of a table", session.parties[0])
        return Intersection(None, None, size)
    matched = _told(own, channel, most)
    return Intersection(matched, None, len(matched) // 4)


def _told(own: _Party, channel: Channel, most: int) -> bytes:
    """Indices of the own items that the leader names, each once, in its order."""
    leader = own.session.parties[0]
    message = channel.recv()
    if len(message) != 5 or message[0] != _COUNT:
        raise own.group.broken("the leader did not tell the number of common items", leader)
    (count,) = struct.unpack("<I", message[1:])
    if count > most:
        raise own.group.broken("the leader tells more common items than a table has", leader)
    names = own.names(leader)
    places = {names[at : at + WORD_BYTES]: at // WORD_BYTES for at in range(0, len(names), WORD_BYTES)}
    found: list[int] = []
    while len(found) < count:
        message = channel.recv()
        want = min(CHUNK, count - len(found))
        if len(message) != 1 + WORD_BYTES * want or message[0] != _COMMON:
            raise own.group.broken("a list of common items has a wrong form or length", leader)
        for at in range(1, len(message), WORD_BYTES):
            place = places.pop(message[at : at + WORD_BYTES], None)
            if place is None:
                raise own.group.broken("the leader names an item that is not here, or twice", leader)
            found.append(place)
    return np.array(found, dtype="<u4").tobytes()


def _nothing(session: Session) -> Intersection:
    """The result where a party has no items: all know it beforehand."""
    return Intersection(b"" if session.learns == "rows" else None, None, 0)
