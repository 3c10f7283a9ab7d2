"""Private set intersection of two parties from VOLE, bucket by bucket (docs/protocols/vole-psi.md)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import numpy as np

from atoll.crypto.files import Bytes, FileBytes
from atoll.crypto.psi import Role, Security, Side, Variant, VolePsi, slots
from atoll.crypto.stream import stream_bytes
from atoll.crypto.suite import digest_bytes, digest_parts
from atoll.errors import AtollError
from atoll.protocols import buckets as split
from atoll.protocols.coin import COIN_BYTES, fields, toss
from atoll.protocols.driver import Channel, Renamed, converse
from atoll.protocols.ecdh_psi import Intersection
from atoll.protocols.results import DIGEST_BYTES, Filed, Held, Results

PROTOCOL: Final = "vole-psi/v1"
ASSUMPTION: Final = "ristretto255-dual-lpn-random-oracle"
PARTIES: Final = 2
BUCKET_ITEMS: Final = split.BUCKET_ITEMS
STEP: Final = "vole-psi"
CHUNK: Final = 1 << 15
# Of the VOLE: blocks of noise, checks of its transfers, least number of rows.
_NOISE = 555
_CHECKS = 4
_MIN_ROWS = 1 << 13
# Bytes of keys that are hashed at once.
_PIECE = 1 << 20
# Heads of a VOLE's messages, and the bytes of the coin with its hello.
PART_BYTES: Final = 16
_HELLO = 74 + 49
_CHECKPOINT = b"atoll vole-psi checkpoint v1"
_CHECKPOINT_FILED = b"atoll vole-psi checkpoint in files v1"
_HEAD = "<BIQ"


def _pieces(*parts: Bytes) -> Iterator[bytes]:
    """As `coin.fields`, in pieces."""
    for field in parts:
        yield struct.pack("<Q", len(field))
        yield from (field[start : start + _PIECE] for start in range(0, len(field), _PIECE))


@dataclass
class _State:
    """What is known after some buckets: coin, part, and the results so far."""

    coin: bytes
    role: Role
    matched: Results
    peer_multiplicity: Results
    finished: int = 0

    def encode(self, prefix: bytes) -> bytes:
        head = struct.pack(_HEAD, self.role == "receiver", self.finished, len(self.matched))
        return prefix + self.coin + head + self.matched.state() + self.peer_multiplicity.state()

    @classmethod
    def parse(
        cls, data: bytes, prefix: bytes, results: _Found, *, learns: bool, counts: bool, buckets: int
    ) -> _State:
        """The state of a checkpoint, and its results in `results`."""
        head = len(prefix) + COIN_BYTES
        body = head + struct.calcsize(_HEAD)
        if len(data) < body or data[: len(prefix)] != prefix:
            raise _foreign()
        receiver, finished, length = struct.unpack(_HEAD, data[head:body])
        if receiver > 1 or finished > buckets or length % 4 or (length and not learns):
            raise _foreign()
        at = body + results.state_bytes(length)
        counted = length if counts else 0
        if len(data) != at + results.state_bytes(counted):
            raise _foreign()
        results.matched.restore(data[body:at], length)
        results.peer_multiplicity.restore(data[at:], counted)
        role: Role = "receiver" if receiver else "sender"
        return cls(data[len(prefix) : head], role, results.matched, results.peer_multiplicity, finished)


class _Found:
    """Where the results of a run go: into memory, or beside keys that are in a file, under a name or without one."""

    def __init__(self, digests: Bytes, path: Path | None) -> None:
        self.filed = isinstance(digests, FileBytes)
        self.matched: Results = Held()
        self.peer_multiplicity: Results = Held()
        if isinstance(digests, FileBytes) and path is None:
            self.matched, self.peer_multiplicity = (Filed.scratch(digests.folder) for _ in range(2))
        elif isinstance(digests, FileBytes) and path is not None:
            names = (path.with_name(f"{path.name}.{what}") for what in ("keys", "counts"))
            self.matched, self.peer_multiplicity = (Filed.at(name) for name in names)

    def state_bytes(self, length: int) -> int:
        """Bytes of a checkpoint for results of that length."""
        return DIGEST_BYTES if self.filed else length


def _foreign() -> AtollError:
    return AtollError("E_FORMAT", "This is not a checkpoint of this run.", step=STEP)


def role_of(side: Side) -> Role | None:
    """This party's part: who learns alone is the receiver; of two, the one with fewer keys; `None` if the coin says.

    Raises:
        AtollError: `E_FORMAT` if a side is to learn the size alone, which is left to `ecdh-psi/v1`, or neither learns.
    """
    learn = (side.i_learn, side.peer_learns)
    if "size" in learn or learn == ("nothing", "nothing"):
        raise AtollError("E_FORMAT", "One side or both learn rows in this protocol.", step=STEP)
    if learn != ("rows", "rows"):
        return "receiver" if side.i_learn == "rows" else "sender"
    mine = len(side.digests) // 32
    if mine == side.peer_items:
        return None
    return "receiver" if mine < side.peer_items else "sender"


class _Run:
    """One party's run: what does not change from bucket to bucket."""

    def __init__(
        self,
        side: Side,
        seed: bytes,
        attempt: int,
        name: str,
        threads: int,
        security: Security,
        variant: Variant,
    ) -> None:
        self.side, self.seed, self.attempt, self.name = side, seed, attempt, name
        self.threads, self.security, self.variant = threads, security, variant
        self.mine = len(side.digests) // 32
        if len(side.digests) % 32 or (side.multiplicity and len(side.multiplicity) != 4 * self.mine):
            raise AtollError("E_FORMAT", "Digests have 32 bytes each, multiplicities 4.", step=STEP)
        if security not in get_args(Security) or variant not in get_args(Variant):
            raise AtollError(
                "E_FORMAT", f"There is no {variant!r} variant with {security!r} security.", step=STEP
            )
        if security == "malicious" and variant != "fast":
            raise AtollError("E_FORMAT", "The low-communication variant is semi-honest only.", step=STEP)
        self.both = side.i_learn == side.peer_learns == "rows"
        self.counts = self.both and side.multiplicity is not None
        self.role = role_of(side)
        self._prefix: bytes | None = None

    def agreed(self, bucket_items: int) -> bytes:
        """What both sides must have alike."""
        names = (PROTOCOL, self.security, self.variant, "both" if self.both else "one")
        numbers = struct.pack("<QB", bucket_items, self.counts)
        return fields(*(n.encode() for n in names), numbers, self.side.context)

    def prefix(self, bucket_items: int) -> bytes:
        """What a checkpoint begins with: its form, and a digest of seed, parameters and inputs that it is bound to."""
        if self._prefix is None:
            side = self.side
            binding = stream_bytes(self.seed, self.attempt, self.name, "vole-psi/checkpoint", 32)
            numbers = struct.pack("<Q?", side.peer_items, side.i_learn == "rows")
            inputs = (side.digests, side.multiplicity or b"")
            pieces = _pieces(binding, self.agreed(bucket_items), numbers, *inputs)
            form = _CHECKPOINT_FILED if isinstance(side.digests, FileBytes) else _CHECKPOINT
            self._prefix = form + digest_bytes(digest_parts(pieces))
        return self._prefix

    def begin(self, channel: Channel, bucket_items: int, results: _Found) -> _State:
        """Sizes are compared, then a coin is tossed for buckets, stores and random oracles."""

        def says(keys: int, learns: bool) -> bytes:
            return struct.pack("<Q?", keys, learns)

        side = self.side
        coin = toss(
            channel,
            self.agreed(bucket_items),
            says(self.mine, side.i_learn == "rows"),
            says(side.peer_items, side.peer_learns == "rows"),
            seed=self.seed,
            attempt=self.attempt,
            name=self.name,
            step=STEP,
        )
        role = self.role or ("receiver" if coin.first else "sender")
        return _State(coin.value, role, results.matched, results.peer_multiplicity)

    def machine(self, state: _State, bucket: split.Bucket, peer_items: int) -> VolePsi:
        """The machine of the next bucket."""
        return VolePsi(
            self.seed,
            self.attempt,
            f"{self.name}/{state.finished}",
            context=fields(self.side.context, state.coin, struct.pack("<I", state.finished)),
            digests=bucket.digests,
            multiplicity=bucket.multiplicity if self.counts else None,
            peer_items=peer_items,
            role=state.role,
            both=self.both,
            security=self.security,
            variant=self.variant,
            threads=self.threads,
        )

    def take(self, state: _State, machine: VolePsi, bucket: split.Bucket) -> None:
        """Adds a finished bucket to the results."""
        if self.side.i_learn == "rows":
            matched = np.frombuffer(machine.matched(), dtype="<u4")
            if len(matched) and int(matched.max()) >= len(bucket.items):
                raise AtollError("E_PROTOCOL", "A filler matched.", step=STEP)
            state.matched.append(bucket.items[matched].astype("<u4").tobytes())
            state.peer_multiplicity.append(machine.peer_multiplicity() or b"")
        state.finished += 1

    def result(self, matched: Bytes, peer_multiplicity: Bytes) -> Intersection:
        if self.side.i_learn != "rows":
            return Intersection(None, None, None)
        return Intersection(matched, peer_multiplicity if self.counts else None, len(matched) // 4)


def run(
    side: Side,
    channel: Channel,
    *,
    seed: bytes,
    attempt: int,
    name: str,
    threads: int = 1,
    security: Security = "malicious",
    variant: Variant = "fast",
    before_open: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: bytes | None = None,
    save: Callable[[Callable[[], bytes]], None] = lambda state: None,
    bucket_items: int = BUCKET_ITEMS,
    results: Path | None = None,
) -> Intersection:
    """Runs one party's side over `channel`.

    Args:
        side: keys and agreed parameters; both parties swap `i_learn` and `peer_learns`, which are `rows` or
            `nothing`. `chunk_items` is not used. Of keys in a file a bucket alone is in memory, and results go to files
            beside them.
        seed: 32 secret bytes of this party's job; used with `attempt` and `name` for all randomness.
        name: the channel's name.
        security: what the run withstands, the same on both sides.
        variant: `low-communication` is semi-honest only.
        before_open: called once before the first message that opens a result to the peer.
        checkpoint: state from which a restarted run goes on at the first bucket that was not finished, with
            byte-identical messages.
        save: called after a bucket with a function that gives the state; it decides whether to keep it.
        bucket_items: items of the larger side in a bucket on average, the same on both sides.
        results: of keys in a file: where the matches are, as files whose names begin with this path, so that a
            restarted run finds them; a checkpoint is of no use without. None for files without a name, that end with
            the run. Without effect on keys in memory, whose matches a checkpoint holds.

    Raises:
        AtollError: `E_PROTOCOL` if the peer breaks the protocol or its number of keys is not the declared one,
            `E_FORMAT` for bad arguments and foreign checkpoints, `E_DISK` if the disk is full, and whatever the channel
            raises.
    """
    this = _Run(side, seed, attempt, name, threads, security, variant)
    if not 1 <= bucket_items <= BUCKET_ITEMS:
        raise AtollError("E_FORMAT", f"A bucket has 1 to {BUCKET_ITEMS} items.", step=STEP)
    if not this.mine or not side.peer_items:
        return this.result(b"", b"")
    number = split.count(this.mine, side.peer_items, bucket_items)
    sizes = [split.capacity(n, number) for n in (this.mine, side.peer_items)]
    found = _Found(side.digests, results)
    if checkpoint is None:
        state = this.begin(channel, bucket_items, found)
    else:
        state = _State.parse(
            checkpoint,
            this.prefix(bucket_items),
            found,
            learns=side.i_learn == "rows",
            counts=this.counts,
            buckets=number,
        )
    opened = False

    def open_once() -> None:
        nonlocal opened
        if not opened:
            before_open()
            opened = True

    placed = split.Buckets(
        side.digests,
        side.multiplicity if this.counts else None,
        key=state.coin,
        buckets=number,
        capacity=sizes[0],
        threads=threads,
    )
    backlog: deque[bytes] = deque()
    while state.finished < number:
        bucket = placed.take(state.finished, seed=seed, attempt=attempt, name=f"{name}/{state.finished}")
        machine = this.machine(state, bucket, sizes[1])
        before = state.finished

        def report(done: int, total: int, before: int = before) -> None:
            progress(before * total + done, number * total)

        numbered = Renamed(machine, STEP, f"{STEP}/{before}")
        converse(numbered, channel, backlog, before_open=open_once, progress=report)
        this.take(state, machine, bucket)
        if not backlog:
            # What was laid aside counts as received and is not in the state: it would not come again.
            save(lambda: state.encode(this.prefix(bucket_items)))
    if backlog:
        raise AtollError("E_PROTOCOL", "The peer sent messages after the last.", step=STEP)
    return this.result(state.matched.all(), state.peer_multiplicity.all())


def presented_at_most(receiver: int, sender: int, security: Security, variant: Variant = "fast") -> int:
    """Most keys that a receiver of that declared size can have entered.

    A receiver that follows the protocol enters what it declared. One that does not can fill the slots of its
    stores: one key a slot.
    """
    if security == "semi-honest" or not receiver or not sender:
        return receiver if sender else 0
    number = split.count(receiver, sender)
    return number * slots(split.capacity(receiver, number), variant)


def vole_bytes(size: int, width: int, security: Security) -> tuple[int, int]:
    """Bytes of the VOLE of so many places and bytes a value: of its sender, and of its receiver.

    Base transfers, then for each of the noisy blocks a tree of sums at the sender, and at the receiver a column for
    each of 128 base transfers (docs/protocols/vole.md).
    """
    leaves = max(-(-2 * max(size, _MIN_ROWS) // _NOISE), 2)
    depth = (leaves - 1).bit_length()
    checked = security == "malicious"
    sender = 128 * 64 + _NOISE * (2 * depth + 1) * 16 + 32 * checked
    column = -(-_NOISE * depth // 8) + _NOISE * width + 16 * (1 + _CHECKS) * checked
    return sender, 128 * 32 + 128 * column + 32 * (1 + _CHECKS) * checked


def wire_bytes(
    mine: int,
    peer: int,
    *,
    role: Role,
    both: bool,
    security: Security = "malicious",
    variant: Variant = "fast",
    multiplicities: bool = False,
    bucket_items: int = BUCKET_ITEMS,
) -> int:
    """Upper bound of the payload bytes that this party sends; exact but for the number of matches.

    Of two sides of one size that both learn, the coin decides which is the receiver: ask for both roles.
    """
    if not mine or not peer:
        return 0
    number = split.count(mine, peer, bucket_items)
    own, other = (split.capacity(n, number) for n in (mine, peer))
    receiver, sender = (own, other) if role == "receiver" else (other, own)
    malicious = security == "malicious"
    size = slots(receiver, variant)
    width = 16 if variant == "fast" else value_bits(receiver, sender) // 8
    vole = vole_bytes(size, width, security)

    def chunked(count: int, each: int) -> int:
        return count * each + -(-count // CHUNK)

    # Matches over all buckets, and a last message of each bucket that is not full.
    matches = chunked(min(mine, peer), 1) - min(mine, peer) + number
    told = 4 * min(mine, peer) + matches if multiplicities and both else 0
    if role == "sender":
        tag = 16 if malicious else tag_bytes(receiver, sender)
        each = vole[0] + PART_BYTES + 2 * 33 * malicious + chunked(own, tag)
    else:
        each = vole[1] + PART_BYTES + 17 * malicious + chunked(size, width) + 5 * both
        told += (16 if malicious else 4) * min(mine, peer) + matches if both else 0
    return _HELLO + number * each + told


def value_bits(receiver: int, sender: int) -> int:
    """Bits of a store's value in the low-communication variant."""
    bits = 40 + sum(max(n - 1, 0).bit_length() for n in (receiver, sender))
    return min(-(-bits // 8) * 8, 128)


def tag_bytes(receiver: int, sender: int) -> int:
    """Bytes of a semi-honest tag: 40 bits over the pairs across the sides."""
    larger = max(receiver, sender, 1)
    return min(max(-(-(40 + (larger * larger - 1).bit_length()) // 8), 10), 16)
