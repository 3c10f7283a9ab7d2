"""Shares of products of matrices (docs/protocols/products.md, eprint 2022/207), both sides honest."""

from __future__ import annotations

from dataclasses import dataclass

from reference.bit_triples import Session
from reference.word_triples import (
    NARROW,
    PLAIN,
    WORD,
    N,
    Q,
    R,
    Source,
    packed,
    polynomial,
    public,
    switched,
    unpacked,
    values,
)

Matrix = list[list[int]]
LIMBS = [PLAIN[0], Q, R]
MODULUS = PLAIN[0] * Q * R
SIZE = 62 * N // 8
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
        return columns * (inner * 3 * SIZE + rows * (9 * self.r * self.c + 10 * N))

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
            a = public(self.seed, place, limb, q)
            out += packed([(m - x * s) % q for m, x, s in zip(message, a, self.secrets[limb], strict=True)])
        return out

    def open(self, plan: Plan, answer: bytes) -> list[int]:
        p, places = PLAIN[0], plan.places()
        low = [int.from_bytes(answer[9 * i : 9 * i + 9], "little") << 52 for i in range(len(places))]
        rest = answer[9 * len(places) :]
        high = [int.from_bytes(rest[10 * i : 10 * i + 10], "little") << 44 for i in range(N)]
        found = [
            polynomial([x * s % q for x, s in zip(values(high, q), secret, strict=True)], q)
            for q, secret in zip((p, Q), self.secrets, strict=False)
        ]
        out = []
        for place, value in zip(places, low, strict=True):
            x, y = ((part[place] + value) % q for part, q in zip(found, (p, Q), strict=True))
            phase = x + p * ((y - x) * pow(p, -1, Q) % Q)
            out.append((2 * WORD * phase + p * Q) // (2 * p * Q) % WORD)
        return out


class Second:
    """The side with the left matrix."""

    def __init__(self, session: Session, keys: bytes, plan: Plan, left: Matrix) -> None:
        self.secret = Source(session.stream("matrices", "answers").take(16))
        self.seed, self.plan = keys[:16], plan
        self.key = [unpacked(keys[16 + SIZE * i : 16 + SIZE * (i + 1)]) for i in range(3)]
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
            pairs = [(self.key[limb], public(self.seed, 0, limb, q), u)]
            for i, block in enumerate(asked):
                given = unpacked(block[SIZE * limb : SIZE * (limb + 1)])
                second = public(self.seed, 1 + first + i, limb, q)
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
            x, y, z = (part[place] for part in found[0])
            out += ((switched(PLAIN[0], x, y, z) + 2**51) >> 52).to_bytes(9, "little")
        for x, y, z in zip(*found[1], strict=True):
            out += ((switched(PLAIN[0], x, y, z) + 2**43) >> 44).to_bytes(10, "little")
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
