"""Shares of products of matrices (docs/protocols/products.md, eprint 2022/207), both sides honest."""

from __future__ import annotations

from dataclasses import dataclass

from reference.bit_triples import Session
from reference.word_triples import NARROW, WORD, N, Source, centred, polynomial, values

Matrix = list[list[int]]
#: Primes of the modulus of ciphertexts; the last two are dropped before the way back.
LIMBS = [2**47 - below for below in (81_919, 229_375, 311_295, 1_048_575)]
MODULUS = LIMBS[0] * LIMBS[1] * LIMBS[2] * LIMBS[3]
LEFT = LIMBS[0] * LIMBS[1]
SIZE = 47 * N // 8
FIRST, SECOND = 9, 74 * N // 8
DROPPED = (22, 20)
HELLO, KEYS, BLOCK, ANSWER = range(4)


@dataclass(frozen=True)
class Plan:
    """Sizes of a product and of its blocks."""

    rows: int
    inner: int
    columns: int
    r: int
    w: int
    c: int

    def counts(self) -> tuple[int, int, int]:
        return -(-self.rows // self.r), -(-self.inner // self.w), -(-self.columns // self.c)

    def bytes(self) -> int:
        rows, inner, columns = self.counts()
        return columns * (inner * 4 * SIZE + rows * (FIRST * self.r * self.c + SECOND))

    def left(self, matrix: Matrix, at: int, inner: int) -> list[int]:
        out = [0] * N
        for i, row in enumerate(matrix[at * self.r : (at + 1) * self.r]):
            for j, entry in enumerate(row[inner * self.w : (inner + 1) * self.w]):
                out[i * self.w * self.c + self.w - 1 - j] = entry
        return out

    def right(self, matrix: Matrix, inner: int, at: int) -> list[int]:
        out = [0] * N
        for j, row in enumerate(matrix[inner * self.w : (inner + 1) * self.w]):
            for k, entry in enumerate(row[at * self.c : (at + 1) * self.c]):
                out[k * self.w + j] = entry
        return out

    def places(self) -> list[int]:
        return [i * self.w + self.w - 1 for i in range(self.r * self.c)]

    def put(self, product: Matrix, row: int, column: int, entries: list[int]) -> None:
        for at, entry in enumerate(entries):
            i, k = row * self.r + at // self.c, column * self.c + at % self.c
            if i < self.rows and k < self.columns:
                product[i][k] = entry


def plan(rows: int, inner: int, columns: int) -> Plan:
    """The blocks that send the fewest bytes, the first of equals. Small matrices, whose transforms have room."""
    found = [
        Plan(rows, inner, columns, min(N // w // c, rows), w, c)
        for w in range(1, min(inner, N) + 1)
        for c in range(1, min(columns, N // w) + 1)
    ]
    return min(found, key=Plan.bytes)


def encoded(word: int) -> int:
    """round(q word / 2^64)."""
    return (2 * MODULUS * word + WORD) // (2 * WORD)


def packed(numbers: list[int], bits: int) -> bytes:
    return sum(x << bits * i for i, x in enumerate(numbers)).to_bytes(bits * N // 8, "little")


def unpacked(data: bytes, bits: int) -> list[int]:
    number = int.from_bytes(data, "little")
    return [number >> bits * i & 2**bits - 1 for i in range(N)]


def public(seed: bytes, place: int, limb: int) -> list[int]:
    """Uniform residues; what is none is drawn again from the blocks that follow."""
    q, purpose = LIMBS[limb], 4 * place + limb
    source = Source(seed)
    more = (block % WORD >> 17 for block in source.blocks(purpose, N // 2 + 64)[N // 2 :])
    found = []
    for word in source.words(purpose, N):
        x = word >> 17
        while x >= q:
            x = next(more)
        found.append(x)
    return found


def switched(residues: tuple[int, ...], dropped: int) -> int:
    """A number modulo all four primes, divided by the last two one after the other, and rounded without low bits."""
    rest = list(residues)
    for last in (3, 2):
        taken, q = centred(rest.pop(), LIMBS[last]), LIMBS[last]
        rest = [(x - taken) * pow(q, -1, p) % p for x, p in zip(rest, LIMBS, strict=False)]
    (x, y), (p, q) = rest, LIMBS[:2]
    number = x + p * ((y - x) * pow(p, -1, q) % q)
    return number + (1 << dropped - 1) >> dropped


class First:
    """The side with the right matrix."""

    def __init__(self, session: Session) -> None:
        stream = session.stream("matrices", "keys")
        self.seed = stream.take(16)
        secret = Source(stream.take(16)).ternary(0)
        self.errors = Source(stream.take(16))
        self.secrets = [values(secret, q) for q in LIMBS]
        self.keys = self.seed + self.encrypt(0, [0] * N)

    def encrypt(self, place: int, words: list[int]) -> bytes:
        errors, out = self.errors.errors(place), b""
        for limb, q in enumerate(LIMBS):
            message = values([e + encoded(w) for e, w in zip(errors, words, strict=True)], q)
            a = public(self.seed, place, limb)
            out += packed(
                [(m - x * s) % q for m, x, s in zip(message, a, self.secrets[limb], strict=True)], 47
            )
        return out

    def open(self, plan: Plan, answer: bytes) -> list[int]:
        (p, q), places = LIMBS[:2], plan.places()
        cut = FIRST * len(places)
        parts = [int.from_bytes(answer[i : i + FIRST], "little") for i in range(0, cut, FIRST)]
        low = [x << DROPPED[0] for x in parts]
        high = [x << DROPPED[1] for x in unpacked(answer[cut:], 74)]
        found = [
            polynomial([x * s % limb for x, s in zip(values(high, limb), secret, strict=True)], limb)
            for limb, secret in zip((p, q), self.secrets, strict=False)
        ]
        out = []
        for place, value in zip(places, low, strict=True):
            x, y = ((part[place] + value) % limb for part, limb in zip(found, (p, q), strict=True))
            phase = x + p * ((y - x) * pow(p, -1, q) % q)
            out.append((2 * WORD * phase + LEFT) // (2 * LEFT) % WORD)
        return out


class Second:
    """The side with the left matrix."""

    def __init__(self, session: Session, keys: bytes, plan: Plan, left: Matrix) -> None:
        self.secret = Source(session.stream("matrices", "answers").take(16))
        self.seed, self.plan = keys[:16], plan
        self.key = [unpacked(keys[16 + SIZE * i : 16 + SIZE * (i + 1)], 47) for i in range(4)]
        rows, inner, _ = plan.counts()
        blocks = [[plan.left(left, row, i) for i in range(inner)] for row in range(rows)]
        self.left = [
            [[values([NARROW.signed(x) for x in block], q) for q in LIMBS] for block in row] for row in blocks
        ]

    def answer(self, number: int, row: int, first: int, asked: list[bytes]) -> tuple[bytes, list[int]]:
        """The answer of a row of blocks to encryptions of a column, of which the first has a number; and its mask."""
        places = self.plan.places()
        mask = self.secret.words(4 * number, len(places) + 1)[: len(places)]
        cover, errors = self.secret.ternary(4 * number + 1), self.secret.errors(4 * number + 2)
        flood = self.secret.flood(4 * number + 3)
        found: list[list[list[int]]] = [[], []]
        for limb, q in enumerate(LIMBS):
            u = values(cover, q)
            pairs = [(self.key[limb], public(self.seed, 0, limb), u)]
            for i, block in enumerate(asked):
                given = unpacked(block[SIZE * limb : SIZE * (limb + 1)], 47)
                second = public(self.seed, 1 + first + i, limb)
                pairs.append((given, second, self.left[row][i][limb]))
            for part in range(2):
                total = [0] * N
                for pair in pairs:
                    total = [(t + x * y) % q for t, x, y in zip(total, pair[part], pair[2], strict=True)]
                found[part].append(polynomial(total, q))
            for at, (place, word) in enumerate(zip(places, mask, strict=True)):
                found[0][limb][place] = (found[0][limb][place] + encoded(word) + flood[at]) % q
            found[1][limb] = [(x + e) % q for x, e in zip(found[1][limb], errors, strict=True)]
        out = b""
        for place in places:
            number = switched(tuple(part[place] for part in found[0]), DROPPED[0])
            out += number.to_bytes(FIRST, "little")
        out += packed([switched(part, DROPPED[1]) for part in zip(*found[1], strict=True)], 74)
        return out, mask


def run(sessions: list[Session], left: Matrix, right: Matrix) -> list[tuple[list[bytes], Matrix]]:
    """Messages and shares of both sides."""
    rows, inner, columns = len(left), len(right), len(right[0])
    sizes = plan(rows, inner, columns)
    binding = sessions[0].binding("matrices", [rows, inner, columns])
    first = First(sessions[0])
    second = Second(sessions[1], first.keys, sizes, left)
    sent = [[bytes([HELLO]) + binding, bytes([KEYS]) + first.keys], [bytes([HELLO]) + binding]]
    shares = [[[0] * columns for _ in range(rows)] for _ in range(2)]
    row_blocks, inner_blocks, column_blocks = sizes.counts()
    for column in range(column_blocks):
        number = column * inner_blocks
        asked = [first.encrypt(1 + number + i, sizes.right(right, i, column)) for i in range(inner_blocks)]
        sent[0] += [bytes([BLOCK]) + block for block in asked]
        for row in range(row_blocks):
            answer, mask = second.answer(column * row_blocks + row, row, number, asked)
            sent[1].append(bytes([ANSWER]) + answer)
            sizes.put(shares[0], row, column, first.open(sizes, answer))
            sizes.put(shares[1], row, column, [-word % WORD for word in mask])
    return [(sent[i], shares[i]) for i in range(2)]
