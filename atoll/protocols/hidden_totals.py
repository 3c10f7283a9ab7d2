"""Count and sums over a hidden intersection, if enough subjects are in it (docs/protocols/hidden-totals.md).

Every bucket of both tables is a run of circuit-PSI, whose shares each side adds up at home. One more run of it compares
the shared count with the minimum; only if the count reaches it do the totals open, and nothing else ever does.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from atoll.crypto.circuit import MAX_ENTRIES, MAX_ROWS, MAX_WORDS, CircuitPsi, HiddenSide, Role
from atoll.crypto.stream import stream_bytes
from atoll.crypto.suite import digest, digest_bytes
from atoll.errors import AtollError
from atoll.protocols import at_least, circuit_psi
from atoll.protocols import buckets as split
from atoll.protocols.coin import COIN_BYTES, fields, toss
from atoll.protocols.driver import Channel, Machine, Renamed, converse

PROTOCOL: Final = "hidden-totals/v1"
SECURITY: Final = circuit_psi.SECURITY
ASSUMPTION: Final = circuit_psi.ASSUMPTION
PARTIES: Final = 2
STEP: Final = "hidden-totals"
MAX_ITEMS: Final = 1 << 25
BUCKET_ITEMS: Final = 1 << 18
"""Rows of the larger side in a bucket, unless said otherwise; a run of circuit-PSI takes four times as many."""
MAX_BUCKET_ITEMS: Final = split.BUCKET_ITEMS
MOST_PADDING: Final = 8
"""Most places in all buckets for each row of the mapper."""
LANES: Final = 2
"""Buckets that are worked at side by side."""
_CHECKPOINT: Final = b"atoll hidden-totals checkpoint v1"
_ENOUGH, _TOTALS = 1, 2
_DIGEST = 32

Receivers = Literal["placer", "mapper", "both"]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Terms:
    """What both sides agreed on before.

    Attributes:
        placer_items: keys of the placer, all different, 0 to 2^25.
        mapper_items: rows of the mapper, 0 to 2^25.
        multiplicity: most rows of the mapper with one key, at least 1.
        placer_words: values of 64 bits that a row of the placer brings, at most 254.
        mapper_words: the same of the mapper.
        minimum: fewest matched subjects (different keys) for which totals open, 1 to 2^32 - 1.
        receivers: who learns the totals; whether there are enough subjects, both learn.
        context: bytes that name the job; bound into every hash.
    """

    placer_items: int
    mapper_items: int
    multiplicity: int
    placer_words: int
    mapper_words: int
    minimum: int
    receivers: Receivers
    context: bytes

    def __post_init__(self) -> None:
        if min(self.placer_items, self.mapper_items) < 0:
            raise _format("A side does not have fewer than no rows.")
        if max(self.placer_items, self.mapper_items) > MAX_ITEMS:
            raise AtollError(
                "E_TOO_LARGE",
                f"A side has at most {MAX_ITEMS:,} rows, those included that are filled up.",
                step=STEP,
            )
        if not 1 <= self.minimum < 1 << 32 or not 1 <= self.multiplicity <= MAX_ROWS:
            raise _format(f"A minimum is 1 to 2^32 - 1, a multiplicity 1 to {MAX_ROWS}.")
        if not all(0 <= n <= MAX_WORDS - 2 for n in (self.placer_words, self.mapper_words)):
            raise _format(f"A row brings 0 to {MAX_WORDS - 2} values.")
        if self.receivers not in get_args(Receivers):
            raise _format(f"The totals go to placer, mapper or both, not to {self.receivers!r}.")

    @property
    def empty(self) -> bool:
        """True if nothing can match, so that nothing is sent."""
        return not self.placer_items or not self.mapper_items

    @property
    def placer_row(self) -> int:
        """Words of a row of the placer within the protocol: its values, and a one that counts matched rows."""
        return self.placer_words + 1

    @property
    def mapper_row(self) -> int:
        """Words of a row of the mapper: its values, and where keys repeat a one on the first row of each key."""
        return self.mapper_words + (self.multiplicity > 1)

    @property
    def compared_bits(self) -> int:
        """Bits in which the count is compared with the minimum."""
        most = min(self.placer_items, self.mapper_items)
        return at_least.width(most, self.minimum)

    def learns(self, role: Role) -> bool:
        """Whether that side learns the totals."""
        return self.receivers in (role, "both")

    def encode(self) -> bytes:
        """Bytes that are equal exactly where all is."""
        numbers = (self.placer_items, self.mapper_items, self.multiplicity, self.placer_words)
        more = (self.mapper_words, self.minimum, get_args(Receivers).index(self.receivers))
        return struct.pack("<7Q", *numbers, *more) + self.context


@dataclass(frozen=True)
class Fit:
    """Buckets of a run, from public numbers.

    Attributes:
        buckets: how many.
        placer_items: keys of the placer in each, fillers included.
        mapper_items: rows of the mapper in each, fillers included.
    """

    buckets: int
    placer_items: int
    mapper_items: int


def fit(terms: Terms, bucket_items: int = BUCKET_ITEMS) -> Fit:
    """How both tables are split.

    Args:
        bucket_items: rows of the larger side in a bucket on average; a placer's key counts once for each of the
            mapper's rows that it may match.

    Raises:
        AtollError: `E_FORMAT` for a bucket of no item or more than 2^20; `E_TOO_LARGE` if the multiplicity is too large
            for tables of this size, so that buckets would be mostly empty or more than one run of circuit-PSI takes.
    """
    if not 1 <= bucket_items <= MAX_BUCKET_ITEMS:
        raise _format(f"A bucket has 1 to {MAX_BUCKET_ITEMS} items.")
    copies = terms.multiplicity
    number = split.count(terms.placer_items * copies, terms.mapper_items, bucket_items)
    placer = split.capacity(terms.placer_items, number)
    mapper = split.capacity(terms.mapper_items, number, copies)
    wide = number > 1 and number * mapper > MOST_PADDING * terms.mapper_items
    if wide or placer * copies > MAX_ENTRIES or mapper > MAX_ROWS:
        raise AtollError(
            "E_TOO_LARGE",
            f"With up to {copies} rows a key these tables would be {number:,} buckets of {placer:,} keys and "
            f"{mapper:,} rows, most of which would be empty; declare fewer rows a key.",
            step=STEP,
        )
    return Fit(number, placer, mapper)


@dataclass(frozen=True)
class HiddenTotals:
    """What one party learns.

    Attributes:
        enough: whether at least the minimum of subjects matched.
        subjects: matched keys; None, like all that follows, if there were not enough or others learn.
        rows: matched rows of the mapper.
        placer_sums: sum of each of the placer's values over all matched pairs of rows, as a signed number of 64 bits:
            exact where the true sum is at least -2^63 and below 2^63.
        mapper_sums: the same of the mapper's values.
    """

    enough: bool
    subjects: int | None = None
    rows: int | None = None
    placer_sums: tuple[int, ...] | None = None
    mapper_sums: tuple[int, ...] | None = None


def _format(text: str) -> AtollError:
    return AtollError("E_FORMAT", text, step=STEP)


def _broken(text: str) -> AtollError:
    return AtollError("E_PROTOCOL", text, step=STEP)


class _Lanes:
    """Several runs at once: while one side works at one, the other works at the next.

    Each in turn says all that it can, after it was handed what it waits for, so that every message still has its place.
    """

    def __init__(self, lanes: Sequence[Machine]) -> None:
        self._lanes, self._at, self._spoke = lanes, 0, False

    def _next(self) -> None:
        self._at, self._spoke = (self._at + 1) % len(self._lanes), False

    def next_message(self) -> tuple[bytes, str, bool] | None:
        while not self.done:
            lane = self._lanes[self._at]
            message = lane.next_message()
            if message is not None:
                self._spoke = True
                return message
            if not self._spoke and not lane.done:
                return None
            self._next()
        return None

    def receive(self, message: bytes) -> None:
        self._lanes[self._at].receive(message)

    @property
    def done(self) -> bool:
        return all(lane.done for lane in self._lanes)

    def progress(self) -> tuple[int, int]:
        done, total = zip(*(lane.progress() for lane in self._lanes), strict=True)
        return sum(done), sum(total)


class _Opening:
    """One exchange: what this side says, if anything, and what it hears, if anything. The placer speaks first."""

    def __init__(self, role: Role, kind: int, step: str, said: bytes | None, length: int | None) -> None:
        self._placer, self._kind, self._step = role == "placer", kind, step
        self._said, self._length = said, length
        self.heard: bytes | None = None

    def next_message(self) -> tuple[bytes, str, bool] | None:
        waits = not self._placer and self._length is not None and self.heard is None
        if self._said is None or waits:
            return None
        said, self._said = self._said, None
        return bytes([self._kind]) + said, f"{STEP}/{self._step}", True

    def receive(self, message: bytes) -> None:
        if self._length is None or self.heard is not None:
            raise _broken("A message came that must not come now.")
        if len(message) != 1 + self._length or message[0] != self._kind:
            raise _broken("A message is not the opening that comes next.")
        self.heard = message[1:]

    @property
    def done(self) -> bool:
        return self._said is None and (self._length is None or self.heard is not None)

    def progress(self) -> tuple[int, int]:
        return int(self.done), 1


@dataclass
class _State:
    """What is known after some buckets: the coin, and this side's shares of all totals so far."""

    coin: bytes
    finished: int
    sums: U64

    def encode(self, identity: bytes) -> bytes:
        return (
            _CHECKPOINT
            + identity
            + self.coin
            + struct.pack("<I", self.finished)
            + self.sums.astype("<u8").tobytes()
        )

    @classmethod
    def parse(cls, data: bytes, identity: bytes, *, words: int, buckets: int) -> _State:
        head = _CHECKPOINT + identity
        sums = len(head) + COIN_BYTES + 4
        if len(data) != sums + 8 * words or data[: len(head)] != head:
            raise _format("This is not a checkpoint of this run.")
        (finished,) = struct.unpack("<I", data[sums - 4 : sums])
        if finished > buckets:
            raise _format("This is not a checkpoint of this run.")
        coin = data[len(head) : len(head) + COIN_BYTES]
        return cls(coin, finished, np.frombuffer(data[sums:], "<u8").astype(np.uint64))


class _Run:
    """One party's run: what does not change from bucket to bucket."""

    def __init__(
        self,
        role: Role,
        digests: bytes,
        payload: bytes,
        terms: Terms,
        seed: bytes,
        attempt: int,
        name: str,
        threads: int,
        bucket_items: int,
    ) -> None:
        if role not in get_args(Role):
            raise _format(f"A side is the placer or the mapper, not {role!r}.")
        placer = role == "placer"
        items = terms.placer_items if placer else terms.mapper_items
        values = terms.placer_words if placer else terms.mapper_words
        given, rest = divmod(len(digests), _DIGEST)
        if rest or given > items or len(payload) != 8 * values * given:
            raise _format(
                "Rows are at most as many as declared, of a digest of 32 bytes and the declared values."
            )
        self.role, self.terms = role, terms
        self.seed, self.attempt, self.name, self.threads = seed, attempt, name, threads
        self.bucket_items, self.fit = bucket_items, fit(terms, bucket_items)
        self.words = terms.placer_row + terms.mapper_row
        own = np.frombuffer(payload, "<u8").reshape(given, values)
        first = firsts(digests, 1 if placer else terms.multiplicity)
        # With keys that stand once each, the placer's ones count subjects as well as rows.
        if placer or terms.multiplicity > 1:
            own = np.column_stack([own, np.ones(given, "<u8") if placer else first])
        fill = stream_bytes(seed, attempt, name, f"{STEP}/rows", _DIGEST * (items - given))
        self.digests = digests + fill
        self.rows = np.concatenate([own, np.zeros((items - given, own.shape[1]), "<u8")])

    def agreed(self) -> bytes:
        """What both sides must have alike."""
        return fields(PROTOCOL.encode(), self.terms.encode(), struct.pack("<Q", self.bucket_items))

    def identity(self) -> bytes:
        """A digest of seed, terms and inputs that a checkpoint is bound to."""
        binding = stream_bytes(self.seed, self.attempt, self.name, f"{STEP}/checkpoint", 32)
        inputs = (self.role.encode(), self.digests, np.ascontiguousarray(self.rows).tobytes())
        return digest_bytes(digest(fields(binding, self.agreed(), *inputs)))

    def begin(self, channel: Channel) -> _State:
        """Terms are compared, then a coin is tossed for the buckets."""
        other = "mapper" if self.role == "placer" else "placer"
        coin = toss(
            channel,
            self.agreed(),
            self.role.encode(),
            other.encode(),
            seed=self.seed,
            attempt=self.attempt,
            name=self.name,
            step=STEP,
        )
        return _State(coin.value, 0, np.zeros(self.words, np.uint64))

    def side(self, coin: bytes, number: int, bucket: split.Bucket) -> HiddenSide:
        """What this side brings to a bucket; fillers bring zeros."""
        terms, items = self.terms, len(bucket.digests) // _DIGEST
        rows = np.zeros((items, self.rows.shape[1]), "<u8")
        rows[: len(bucket.items)] = self.rows[bucket.items]
        return HiddenSide(
            self.role,
            bucket.digests,
            rows.tobytes(),
            self.fit.placer_items,
            self.fit.mapper_items,
            terms.multiplicity,
            terms.placer_row,
            terms.mapper_row,
            fields(terms.context, coin, struct.pack("<I", number)),
        )

    def compared(self, coin: bytes, share: int) -> tuple[int, HiddenSide]:
        """What this side brings to the comparison: its bit, and its set filled up to its largest size."""
        bit, strings = at_least.halves(self.role, share, self.terms.minimum, self.terms.compared_bits)
        most = self.terms.compared_bits - 1
        missing = _DIGEST * (most - len(strings))
        fill = stream_bytes(self.seed, self.attempt, self.name, f"{STEP}/fill", missing)
        context = fields(self.terms.context, coin, b"enough")
        digests = b"".join(digest_bytes(digest(fields(context, string))) for string in strings) + fill
        return bit, HiddenSide(self.role, digests, b"", most, most, 1, 0, 0, context)

    def result(self, totals: U64) -> HiddenTotals:
        """The opened totals, by name."""
        terms = self.terms
        signed = tuple(int(n) for n in totals.astype(np.int64))
        placer, mapper = signed[: terms.placer_row], signed[terms.placer_row :]
        rows = placer[-1]
        subjects = mapper[-1] if terms.multiplicity > 1 else rows
        sums = mapper[: terms.mapper_words]
        return HiddenTotals(True, subjects, rows, placer[: terms.placer_words], sums)


def firsts(digests: bytes, most: int) -> npt.NDArray[np.uint64]:
    """A one at the first row of each key, else a zero; `E_DUPLICATE` if a key stands on more than `most` rows."""
    keys = np.frombuffer(digests, "<u8").reshape(-1, 4)
    if not len(keys):
        return np.zeros(0, np.uint64)
    order = np.argsort(keys[:, 0], kind="stable")
    ranked = keys[order]
    same = (ranked[1:] == ranked[:-1]).all(axis=1)
    if ((ranked[1:, 0] == ranked[:-1, 0]) & ~same).any():
        # Two keys that differ begin alike, so that one's rows need not stand together.
        order = np.lexsort(keys.T)
        ranked = keys[order]
        same = (ranked[1:] == ranked[:-1]).all(axis=1)
    starts = np.concatenate(([0], np.flatnonzero(~same) + 1))
    counts = np.diff(np.concatenate((starts, [len(keys)])))
    over = np.flatnonzero(counts > most)
    if len(over):
        row = int((order[starts[over] + most]).min())
        raise AtollError(
            "E_DUPLICATE",
            f"Row {row} has a key that stands on more rows than the {most} that were declared.",
            step=STEP,
        )
    out = np.zeros(len(keys), np.uint64)
    out[order[starts]] = 1
    return out


def _odd(packed: bytes) -> int:
    """Sum of all bits modulo 2."""
    return int.from_bytes(packed, "little").bit_count() & 1


def run(
    role: Role,
    digests: bytes,
    payload: bytes,
    terms: Terms,
    channel: Channel,
    *,
    seed: bytes,
    attempt: int,
    name: str,
    threads: int = 1,
    before_open: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: bytes | None = None,
    save: Callable[[Callable[[], bytes]], None] = lambda state: None,
    bucket_items: int = BUCKET_ITEMS,
) -> HiddenTotals:
    """Runs one party's side over `channel`.

    Args:
        role: the `placer` has every key once, the `mapper` up to `terms.multiplicity` times.
        digests: 32 bytes for each own row. Where rows are fewer than declared they are filled up with keys that nobody
            has, so that the peer does not learn how many there are.
        payload: the own values, u64 little-endian, row by row; a negative value is its two's complement.
        terms: what both sides agreed on.
        seed: 32 secret bytes of this party's job; used with `attempt` and `name` for all randomness.
        name: the channel's name.
        before_open: called once, before this side's part of "enough or not" is sent, the first message that opens
            anything; what it raises ends the run with nothing opened.
        progress: called with work done and to do.
        checkpoint: state from which a restarted run goes on at the first bucket that was not finished, with
            byte-identical messages.
        save: called after a bucket with a function that gives the state; it decides whether to keep it.
        bucket_items: see `fit`; the same on both sides.

    Raises:
        AtollError: `E_DUPLICATE` if an own key stands on more rows than declared; `E_PROTOCOL` if the peer breaks the
            protocol or has other terms; `E_FORMAT` for bad arguments and foreign checkpoints; `E_TOO_LARGE` as `fit`;
            and whatever the channel raises.
    """
    this = _Run(role, digests, payload, terms, seed, attempt, name, threads, bucket_items)
    if terms.empty:
        return HiddenTotals(False)
    number = this.fit.buckets
    if checkpoint is None:
        state = this.begin(channel)
    else:
        state = _State.parse(checkpoint, this.identity(), words=this.words, buckets=number)
    placed = split.Buckets(
        this.digests,
        None,
        key=state.coin,
        buckets=number,
        capacity=this.fit.placer_items if role == "placer" else this.fit.mapper_items,
        threads=threads,
    )
    backlog: deque[bytes] = deque()
    opened = False

    def open_once() -> None:
        nonlocal opened
        if not opened:
            before_open()
            opened = True

    def talk(machine: Machine, first: int, after: int) -> None:
        def report(done: int, total: int) -> None:
            progress(first * total + (after - first) * done, (number + 1) * total)

        converse(machine, channel, backlog, before_open=open_once, progress=report)

    def lane(at: int) -> CircuitPsi:
        bucket = placed.take(at, seed=seed, attempt=attempt, name=f"{name}/{at}")
        side = this.side(state.coin, at, bucket)
        return CircuitPsi(seed, attempt, f"{name}/{at}", side, threads=threads)

    while state.finished < number:
        lanes = range(state.finished, min(state.finished + LANES, number))
        machines = [lane(at) for at in lanes]
        named = [
            Renamed(machine, "circuit-psi", f"{STEP}/{at}")
            for machine, at in zip(machines, lanes, strict=True)
        ]
        talk(_Lanes(named), lanes.start, lanes.stop)
        del named
        while machines:
            words = np.frombuffer(machines.pop().shares().words, "<u8").reshape(-1, this.words)
            state.sums += words.sum(axis=0, dtype=np.uint64)
        state.finished = lanes.stop
        if not backlog:
            # What was laid aside counts as received and is not in the state: it would not come again.
            save(lambda: state.encode(this.identity()))
    count = this.words - 1 if terms.multiplicity > 1 else terms.placer_words
    bit, side = this.compared(state.coin, int(state.sums[count]))
    machine = CircuitPsi(seed, attempt, f"{name}/enough", side, threads=threads)
    talk(Renamed(machine, "circuit-psi", f"{STEP}/enough"), number, number + 1)
    bit ^= _odd(machine.shares().matched)
    exchange = _Opening(role, _ENOUGH, "enough", bytes([bit]), 1)
    talk(exchange, number, number + 1)
    if exchange.heard is None or exchange.heard[0] > 1:
        raise _broken("The peer's part of whether there are enough is not a bit.")
    totals = HiddenTotals(bool(bit ^ exchange.heard[0]))
    if totals.enough:
        own = state.sums.astype("<u8").tobytes()
        other: Role = "mapper" if role == "placer" else "placer"
        learns = terms.learns(role)
        exchange = _Opening(
            role, _TOTALS, "totals", own if terms.learns(other) else None, len(own) if learns else None
        )
        talk(exchange, number, number + 1)
        if exchange.heard is not None:
            totals = this.result(state.sums + np.frombuffer(exchange.heard, "<u8"))
    if backlog:
        raise _broken("The peer sent messages after the last.")
    return totals
