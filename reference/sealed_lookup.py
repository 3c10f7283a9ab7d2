"""Sealed lookup in plain Python: cells sealed under a verifiable oblivious function, fetched by index PIR.

The function is that of RFC 9497 in mode 1 (VOPRF) for ristretto255-SHA512, blinded by addition; a cell is
ChaCha20-Poly1305 (RFC 8439); columns travel by `reference.index_pir`. Slow, not constant-time, for vectors only.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from reference import index_pir
from reference import ristretto255 as group
from reference.ecdh_psi import expand_message_xmd, hash_to_group
from reference.stream import Stream

CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"
BASE = group.decode(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))
INFO = b"sealed-lookup/v1"
OVERHEAD = 20


class RefusedError(Exception):
    """What a side says of a message that it does not take: a code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# The function (RFC 9497).


def framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def hash_to_scalar(message: bytes) -> int:
    return int.from_bytes(expand_message_xmd(message, b"HashToScalar-" + CONTEXT), "little") % group.ORDER


def hashed(digest: bytes) -> group.Point:
    return hash_to_group(digest, b"HashToGroup-" + CONTEXT)


def derive_key(secret: bytes, info: bytes = INFO) -> int:
    """DeriveKeyPair, section 3.2.1."""
    for counter in range(256):
        data = secret + framed(info) + bytes([counter])
        scalar = int.from_bytes(expand_message_xmd(data, b"DeriveKeyPair" + CONTEXT), "little") % group.ORDER
        if scalar:
            return scalar
    raise RefusedError("E_STATE")


def finalize(digest: bytes, element: bytes) -> bytes:
    """Section 3.3.1."""
    return hashlib.sha512(framed(digest, element) + b"Finalize").digest()


def weights(public: bytes, blinded: list[bytes], evaluated: list[bytes]) -> list[int]:
    """ComputeComposites, section 2.2.1."""
    seed = hashlib.sha512(framed(public, b"Seed-" + CONTEXT)).digest()
    return [
        hash_to_scalar(framed(seed) + i.to_bytes(2, "big") + framed(c, d) + b"Composite")
        for i, (c, d) in enumerate(zip(blinded, evaluated, strict=True))
    ]


def challenge(public: bytes, points: list[group.Point]) -> int:
    return hash_to_scalar(framed(public, *(group.encode(p) for p in points)) + b"Challenge")


def combined(factors: list[int], points: list[group.Point]) -> group.Point:
    out = group.IDENTITY
    for factor, point in zip(factors, points, strict=True):
        out = group.add(out, group.multiply(point, factor))
    return out


def prove(key: int, sent: list[bytes], evaluated: list[bytes], nonce: int) -> bytes:
    """GenerateProof, section 2.2.1: challenge and response."""
    public = group.encode(group.multiply(BASE, key))
    m = combined(weights(public, sent, evaluated), elements(b"".join(sent)))
    z, t2, t3 = (group.multiply(*pair) for pair in ((m, key), (BASE, nonce), (m, nonce)))
    c = challenge(public, [m, z, t2, t3])
    return scalar_bytes(c) + scalar_bytes((nonce - c * key) % group.ORDER)


def verify(public: bytes, sent: list[bytes], evaluated: list[bytes], proof: bytes) -> bool:
    """VerifyProof, section 2.2.2."""
    c, s = (int.from_bytes(proof[at : at + 32], "little") for at in (0, 32))
    factors = weights(public, sent, evaluated)
    m, z = (combined(factors, elements(b"".join(points))) for points in (sent, evaluated))
    t2, t3 = combined([s, c], [BASE, *elements(public)]), combined([s, c], [m, z])
    return max(c, s) < group.ORDER and challenge(public, [m, z, t2, t3]) == c


def negative(point: group.Point) -> group.Point:
    x, y, z, t = point
    return -x % group.P, y, z, -t % group.P


def scalar_bytes(value: int) -> bytes:
    return value.to_bytes(32, "little")


def draw(stream: Stream) -> int:
    return int.from_bytes(stream.take(64), "little") % group.ORDER


def elements(data: bytes) -> list[group.Point]:
    """A peer's elements: canonical, and none the identity."""
    out = []
    for at in range(0, len(data), 32):
        point = group.decode(data[at : at + 32])
        if point is None or not any(data[at : at + 32]):
            raise RefusedError("E_PROTOCOL")
        out.append(point)
    return out


# Shape and cells.


def capacity(keys: int, columns: int) -> int:
    """Least cells of a column that `keys` overflow in one of all columns with probability below 1/2 (Chernoff)."""
    mean, cells = keys / columns, 0
    while True:
        cells += 1
        ratio = (cells + 1) / mean
        if ratio > 1 and mean * (ratio * math.log(ratio) - ratio + 1) >= math.log(2 * columns):
            return min(cells, keys)


def choose(keys: int, record_bytes: int) -> tuple[int, int]:
    """Columns, and cells of each: of the shapes within bounds, that of the least weighted sum of costs."""
    room = keys + max(keys // 32, 16)
    found = []
    for step in range(105):
        columns = -(-int(32 * 2 ** (step / 8)) // 32) * 32
        cells = capacity(room, columns)
        height = cells * (OVERHEAD + record_bytes)
        if columns > 2**18 or height > 2**18:
            continue
        hint, traffic = 4 * index_pir.N * height, 4 * (columns + height)
        outside = hint > 60_000_000 or traffic > 512 * 1024
        found.append((outside, columns * height // 64 + hint // 128 + traffic, step, columns, cells))
    return min(found)[3:]


def derive(output: bytes, salt: bytes, columns: int) -> tuple[bytes, int]:
    """The key of a record, and the column of its cell."""
    key = Stream(output, [b"sealed-lookup/v1/record"]).take(32)
    return key, Stream(output, [b"sealed-lookup/v1/column", salt]).below(columns)


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def seal(key: bytes, column: int, slot: int, write: int, record: bytes) -> bytes:
    nonce = number(slot) + number(write) + bytes(4)
    sealed = ChaCha20Poly1305(key).encrypt(nonce, record, number(column))
    return number(write) + sealed[-16:] + sealed[:-16]


def unseal(key: bytes, column: int, slot: int, cell: bytes) -> bytes | None:
    nonce = number(slot) + cell[:4] + bytes(4)
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, cell[OVERHEAD:] + cell[4:OVERHEAD], number(column))
    except InvalidTag:
        return None


@dataclass
class Labels:
    """A job's seed, attempt and channel, from which one side draws."""

    seed: bytes
    attempt: int
    channel: str

    def stream(self, step: str) -> Stream:
        return Stream.of_step(self.seed, self.attempt, self.channel, f"sealed-lookup/{step}")


class Holder:
    """The table in one epoch."""

    def __init__(
        self, secret: bytes, labels: Labels, version: bytes, matrix: bytes, table: dict[bytes, bytes]
    ) -> None:
        self.key, self.labels, self.version = derive_key(secret), labels, version
        self.public = group.encode(group.multiply(BASE, self.key))
        self.record_bytes = len(next(iter(table.values()))) if table else 1
        self.size = OVERHEAD + self.record_bytes
        self.columns, self.cells = choose(len(table), self.record_bytes)
        self.matrix = index_pir.matrix(matrix, self.columns)
        self.filler = labels.stream("table")
        self.places: dict[bytes, int] = {}
        outputs = {digest: self.value(digest) for digest in table}
        while True:
            self.salt = self.filler.take(16)
            derived = {digest: derive(output, self.salt, self.columns) for digest, output in outputs.items()}
            columns = [column for _, column in derived.values()]
            if all(columns.count(column) <= self.cells for column in columns):
                break
        free = [self.filler.permutation(self.cells) for _ in range(self.columns)]
        self.contents = [self.filling(0) for _ in range(self.columns * self.cells)]
        self.writes = [0] * len(self.contents)
        for digest, (key, column) in derived.items():
            slot = free[column].pop()
            at = self.places[digest] = column * self.cells + slot
            self.contents[at] = seal(key, column, slot, 0, table[digest])

    def value(self, digest: bytes) -> bytes:
        return finalize(digest, group.encode(group.multiply(hashed(digest), self.key)))

    def filling(self, write: int) -> bytes:
        return number(write) + self.filler.take(self.size - 4)

    def rows(self) -> list[list[int]]:
        return index_pir.cells(self.contents, self.cells, self.columns)

    def table(self) -> bytes:
        """What goes to who takes the sealed table whole: its columns one after the other."""
        return b"".join(self.contents)

    def hint(self) -> bytes:
        found = index_pir.hint(self.rows(), self.matrix)
        return index_pir.message(self.version, [word for row in found for word in row])

    def evaluate(self, blinded: bytes, granted: int, count: int) -> bytes:
        """Proof, then elements; `count` numbers the evaluations."""
        if not blinded or len(blinded) % 32:
            raise RefusedError("E_PROTOCOL")
        if len(blinded) > 32 * granted:
            raise RefusedError("E_QUOTA")
        points = elements(blinded)
        sent = [blinded[at : at + 32] for at in range(0, len(blinded), 32)]
        found = [group.encode(group.multiply(point, self.key)) for point in points]
        proof = prove(self.key, sent, found, draw(self.labels.stream(f"proof/{count}")))
        return proof + b"".join(found)

    def answer(self, query: bytes) -> bytes:
        if len(query) != 16 + 4 * self.columns:
            raise RefusedError("E_FORMAT")
        if query[:16] != self.version:
            raise RefusedError("E_STATE")
        return index_pir.message(self.version, index_pir.answer(self.rows(), index_pir.words(query[16:])))

    def update(self, version: bytes, removed: list[bytes], changed: dict[bytes, bytes]) -> bytes:
        """The delta: both versions, then each changed cell with what stood there and what stands there now."""
        freed = [self.places[digest] for digest in removed]
        used = set(self.places.values()) - set(freed)
        placed = {}
        for digest in changed:
            key, column = derive(self.value(digest), self.salt, self.columns)
            at = self.places.get(digest)
            if at is None:
                first = column * self.cells
                free = [at for at in range(first, first + self.cells) if at not in used]
                if not free:
                    raise RefusedError("E_TOO_LARGE")
                at = free[self.filler.below(len(free))]
                used.add(at)
            placed[digest] = key, at
        for digest in removed:
            del self.places[digest]
        cells: dict[int, tuple[bytes, bytes] | None] = dict.fromkeys(freed)
        for digest, (key, at) in placed.items():
            self.places[digest] = at
            cells[at] = key, changed[digest]
        delta = self.version + version
        # In the order of cells, each once.
        for at, content in sorted(cells.items(), key=lambda item: item[0]):
            write = self.writes[at] + 1
            cell = self.filling(write) if content is None else self.sealed(at, write, *content)
            delta += self.written(at, cell)
        self.version = version
        return delta

    def sealed(self, at: int, write: int, key: bytes, record: bytes) -> bytes:
        return seal(key, *divmod(at, self.cells), write, record)

    def written(self, at: int, cell: bytes) -> bytes:
        old, self.contents[at] = self.contents[at], cell
        self.writes[at] += 1
        return number(at) + old + cell


@dataclass
class Key:
    """A key that was evaluated."""

    record: bytes
    column: int


@dataclass
class Blinded:
    """Keys that wait for their evaluation."""

    digests: list[bytes]
    blinds: list[int]
    sent: list[bytes] = field(default_factory=list)


class Asker:
    """Who reads records, with what the holder says of its epoch."""

    def __init__(
        self,
        labels: Labels,
        shape: tuple[int, int, int],
        salt: bytes,
        public: bytes,
        version: bytes,
        matrix: bytes,
        hint: bytes,
    ) -> None:
        self.labels, self.salt, self.public, self.version = labels, salt, public, version
        self.columns, self.cells, self.record_bytes = shape
        self.size = OVERHEAD + self.record_bytes
        self.matrix = index_pir.matrix(matrix, self.columns)
        words = self.words(hint, self.cells * self.size * index_pir.N)
        self.known = [words[at : at + index_pir.N] for at in range(0, len(words), index_pir.N)]
        self.queries = 0

    def words(self, data: bytes, count: int) -> list[int]:
        if len(data) != 16 + 4 * count:
            raise RefusedError("E_FORMAT")
        if data[:16] != self.version:
            raise RefusedError("E_STATE")
        return index_pir.words(data[16:])

    def blind(self, digests: list[bytes], count: int) -> Blinded:
        """H(x) + r G; `count` numbers the groups of keys."""
        stream = self.labels.stream(f"blind/{count}")
        found = Blinded(digests, [draw(stream) for _ in digests])
        for digest, blind in zip(digests, found.blinds, strict=True):
            found.sent.append(group.encode(group.add(hashed(digest), group.multiply(BASE, blind))))
        return found

    def finish(self, blinded: Blinded, evaluation: bytes, places: list[int]) -> list[Key]:
        """What opens the records of the keys at these places."""
        if len(evaluation) != 64 + 32 * len(places):
            raise RefusedError("E_PROTOCOL")
        (public,), found = elements(self.public), elements(evaluation[64:])
        sent = [blinded.sent[at] for at in places]
        shown = [evaluation[at : at + 32] for at in range(64, len(evaluation), 32)]
        if not verify(self.public, sent, shown, evaluation[:64]):
            raise RefusedError("E_PROTOCOL")
        keys = []
        for at, point in zip(places, found, strict=True):
            mask = negative(group.multiply(public, blinded.blinds[at]))
            output = finalize(blinded.digests[at], group.encode(group.add(point, mask)))
            keys.append(Key(*derive(output, self.salt, self.columns)))
        return keys

    def query(self, key: Key) -> tuple[list[int], bytes]:
        """The secret, and what is sent."""
        stream = self.labels.stream(f"query/{self.queries}")
        self.queries += 1
        secret, sent = index_pir.query(key.column, self.matrix, stream)
        return secret, index_pir.message(self.version, sent)

    def open(self, key: Key, secret: list[int], answer: bytes) -> bytes | None:
        """The record, or None."""
        received = self.words(answer, self.cells * self.size)
        column = index_pir.recover(secret, self.known, received)
        cells = [column[at : at + self.size] for at in range(0, len(column), self.size)]
        opened = [unseal(key.record, key.column, slot, cell) for slot, cell in enumerate(cells)]
        return next((record for record in opened if record is not None), None)

    def apply(self, delta: bytes) -> None:
        """Brings the hint to the next version."""
        entry = 4 + 2 * self.size
        if len(delta) < 32 or (len(delta) - 32) % entry:
            raise RefusedError("E_FORMAT")
        changes = [delta[at : at + entry] for at in range(32, len(delta), entry)]
        rows = [int.from_bytes(change[:4], "little") for change in changes]
        if any(row >= self.columns * self.cells for row in rows):
            raise RefusedError("E_RANGE")
        if delta[:16] != self.version:
            raise RefusedError("E_STATE")
        for row, change in zip(rows, changes, strict=True):
            column, slot = divmod(row, self.cells)
            old, new = change[4 : 4 + self.size], change[4 + self.size :]
            for i in range(self.size):
                step = (new[i] + 128) % 256 - (old[i] + 128) % 256
                at = slot * self.size + i
                self.known[at] = [
                    (word + step * a) % index_pir.Q
                    for word, a in zip(self.known[at], self.matrix[column], strict=True)
                ]
        self.version = delta[16:32]
