"""Products of words under RLWE encryption (docs/protocols/products.md) between peers that follow the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from reference.aes import counter
from reference.bit_triples import Session

N = 2**13
PLAIN = [2**62 - 65535, 2**62 - 98303, 2**62 - 933887]
Q, R = 2**62 - 1130495, 2**62 - 1572863
HELLO, KEYS, QUESTION, ANSWER = range(4)
WORD = 2**64


@dataclass(frozen=True)
class Width:
    """Words of one length: what labels call them, their plaintext primes, and their number."""

    kind: str
    primes: tuple[int, ...]
    word: int

    def signed(self, word: int) -> int:
        return word - self.word if word >= self.word // 2 else word


NARROW = Width("words", tuple(PLAIN), WORD)
WIDE = Width("wide", (*PLAIN, 2**62 - 2506751, 2**62 - 2654207), WORD**2)


@cache
def roots(q: int, forward: bool) -> list[int]:
    """Powers of the first 2N-th root of one, in bit-reversed order."""
    root = next(r for r in (pow(x, (q - 1) // (2 * N), q) for x in range(2, 99)) if pow(r, N, q) == q - 1)
    root = root if forward else pow(root, -1, q)
    powers = [1]
    while len(powers) < N:
        powers.append(powers[-1] * root % q)
    return [powers[int(f"{i:013b}"[::-1], 2)] for i in range(N)]


def values(polynomial: list[int], q: int) -> list[int]:
    """Its values at the primitive roots."""
    out, table = [x % q for x in polynomial], roots(q, True)
    groups, half = 1, N // 2
    while half:
        for group in range(groups):
            root = table[groups + group]
            for i in range(2 * half * group, 2 * half * group + half):
                a, b = out[i], out[i + half] * root % q
                out[i], out[i + half] = (a + b) % q, (a - b) % q
        groups, half = 2 * groups, half // 2
    return out


def polynomial(found: list[int], q: int) -> list[int]:
    """The polynomial of these values."""
    out, table = list(found), roots(q, False)
    groups, half = N // 2, 1
    while groups:
        for group in range(groups):
            root = table[groups + group]
            for i in range(2 * half * group, 2 * half * group + half):
                a, b = out[i], out[i + half]
                out[i], out[i + half] = (a + b) % q, (a - b) * root % q
        groups, half = groups // 2, 2 * half
    shrink = pow(N, -1, q)
    return [x * shrink % q for x in out]


def centred(x: int, q: int) -> int:
    return x - q if x > q // 2 else x


class Source:
    """A generator with a place for each purpose."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def blocks(self, purpose: int, count: int) -> list[int]:
        return counter(self.key, count, purpose << 20)

    def words(self, purpose: int, count: int) -> list[int]:
        return [half for block in self.blocks(purpose, count // 2) for half in (block % WORD, block >> 64)]

    def residues(self, purpose: int, q: int) -> list[int]:
        found = [word >> 2 for word in self.words(purpose, N)]
        # With probability 2^-30 something would have to be drawn again.
        assert all(x < q for x in found)
        return found

    def errors(self, purpose: int) -> list[int]:
        coins = 2**21 - 1
        return [(w & coins).bit_count() - (w >> 21 & coins).bit_count() for w in self.words(purpose, N)]

    def ternary(self, purpose: int) -> list[int]:
        return [
            (3 * (block >> 32 * i & 2**32 - 1) >> 32) - 1
            for block in self.blocks(purpose, N // 4)
            for i in range(4)
        ]

    def flood(self, purpose: int) -> list[int]:
        drawn = [block >> 8 for block in self.blocks(purpose, 3 * N)]
        return [sum(drawn[3 * i : 3 * i + 3]) - 3 * 2**119 for i in range(N)]


def packed(residues: list[int]) -> bytes:
    return sum(x << 62 * i for i, x in enumerate(residues)).to_bytes(62 * N // 8, "little")


def unpacked(data: bytes) -> list[int]:
    number = int.from_bytes(data, "little")
    return [number >> 62 * i & 2**62 - 1 for i in range(N)]


def limbs(p: int) -> list[int]:
    return [p, Q, R]


def public(seed: bytes, place: int, limb: int, q: int) -> list[int]:
    return Source(seed).residues(3 * place + limb, q)


def answered(data: bytes) -> list[list[list[int]]]:
    """Two ciphertexts' first parts, of three limbs each."""
    size = 62 * N // 8
    parts = [unpacked(data[i : i + size]) for i in range(0, len(data), size)]
    return [parts[:3], parts[3:]]


class First:
    """The side that encrypts."""

    def __init__(self, session: Session, width: Width) -> None:
        self.width = width
        stream = session.stream(width.kind, "keys")
        self.seed = stream.take(16)
        secret, self.errors = Source(stream.take(16)), Source(stream.take(16))
        self.secrets = []
        for number, p in enumerate(width.primes):
            s = secret.ternary(number)
            self.secrets.append([values(s, q) for q in limbs(p)])
        self.keys = self.seed + b"".join(self.encrypt(i, i, None) for i in range(len(width.primes)))

    def encrypt(self, plain: int, place: int, words: list[int] | None) -> bytes:
        errors, out = self.errors.errors(place), b""
        for limb, q in enumerate(limbs(self.width.primes[plain])):
            a = public(self.seed, place, limb, q)
            found = [
                (e - x * s) % q
                for e, x, s in zip(values(errors, q), a, self.secrets[plain][limb], strict=True)
            ]
            if words is not None and limb == 0:
                found = [(x + Q * R * self.width.signed(w)) % q for x, w in zip(found, words, strict=True)]
            out += packed(found)
        return out

    def ask(self, number: int, plain: int, a: list[int], b: list[int]) -> bytes:
        place = len(self.width.primes) + 2 * number
        return self.encrypt(plain, place, a) + self.encrypt(plain, place + 1, b)

    def open(self, plain: int, answer: bytes) -> list[int]:
        p = self.width.primes[plain]
        low = [int.from_bytes(answer[8 * i : 8 * i + 8], "little") << 60 for i in range(N)]
        rest = answer[8 * N :]
        high = [int.from_bytes(rest[9 * i : 9 * i + 9], "little") << 52 for i in range(N)]
        phase = []
        for limb, q in enumerate((p, Q)):
            product = zip(values(high, q), self.secrets[plain][limb], strict=True)
            found = polynomial([x * s % q for x, s in product], q)
            phase.append([(x + y) % q for x, y in zip(found, low, strict=True)])
        divide = pow(Q, -1, p)
        return values([(x - centred(y, Q)) * divide for x, y in zip(*phase, strict=True)], p)


class Second:
    """The side that multiplies."""

    def __init__(self, session: Session, keys: bytes, width: Width) -> None:
        self.width = width
        self.secret = Source(session.stream(width.kind, "answers").take(16))
        self.seed, size = keys[:16], 62 * N // 8
        parts = [unpacked(keys[i : i + size]) for i in range(16, len(keys), size)]
        self.keys = [parts[i : i + 3] for i in range(0, len(parts), 3)]

    def answer(
        self, number: int, plain: int, question: bytes, a: list[int], b: list[int]
    ) -> tuple[bytes, list[int]]:
        """The answer, and its mask."""
        p, width = self.width.primes[plain], self.width
        mask = self.secret.residues(4 * number, p)
        cover, errors = self.secret.ternary(4 * number + 1), self.secret.errors(4 * number + 2)
        flood = self.secret.flood(4 * number + 3)
        own = [
            [centred(x, p) for x in polynomial([width.signed(w) % p for w in words], p)] for words in (b, a)
        ]
        given = answered(question)
        found: list[list[list[int]]] = [[], []]
        for limb, q in enumerate(limbs(p)):
            factors = [values(x, q) for x in own] + [values(cover, q)]
            seconds = [
                public(self.seed, len(width.primes) + 2 * number + which, limb, q) for which in range(2)
            ]
            parts = (
                [given[0][limb], given[1][limb], self.keys[plain][limb]],
                [*seconds, public(self.seed, plain, limb, q)],
            )
            for which, part in enumerate(parts):
                total = [0] * N
                for left, right in zip(part, factors, strict=True):
                    total = [(t + x * y) % q for t, x, y in zip(total, left, right, strict=True)]
                if which == 0 and limb == 0:
                    total = [(t + Q * R * r) % q for t, r in zip(total, mask, strict=True)]
                noise = (flood, errors)[which]
                found[which].append([(x + e) % q for x, e in zip(polynomial(total, q), noise, strict=True)])
        low, high = ([switched(p, *x) for x in zip(*part, strict=True)] for part in found)
        out = b"".join(((x + 2**59) >> 60).to_bytes(8, "little") for x in low)
        return out + b"".join(((x + 2**51) >> 52).to_bytes(9, "little") for x in high), mask


def switched(p: int, x: int, y: int, z: int) -> int:
    """A number modulo p Q R, less what it lacks to a multiple of R, divided by R."""
    rest, inverse = centred(z, R), pow(R, -1, p * Q)
    number = x + p * ((y - x) * pow(p, -1, Q) % Q)
    return (number - rest) * inverse % (p * Q)


def joined(residues: list[list[int]], width: Width) -> list[int]:
    """The integers of their residues, as words."""
    out = []
    for row in zip(*residues, strict=True):
        number, modulus = 0, 1
        for residue, p in zip(row, width.primes, strict=True):
            number += modulus * ((residue - number) * pow(modulus, -1, p) % p)
            modulus *= p
        out.append(number % width.word)
    return out


def drawn(session: Session, width: Width) -> tuple[list[int], list[int]]:
    """A side's a and b."""
    source = Source(session.stream(width.kind, "shares").take(16))
    words = source.words(0, 2 * N) if width.word == WORD else source.blocks(0, 2 * N)
    return words[:N], words[N:]


def run(
    sessions: list[Session], count: int, width: Width = NARROW
) -> list[tuple[list[bytes], list[list[int]]]]:
    """Messages and a, b, c of both sides, for up to 8192 triples."""
    binding = sessions[0].binding(width.kind, [])
    (a0, b0), (a1, b1) = (drawn(session, width) for session in sessions)
    first = First(sessions[0], width)
    second = Second(sessions[1], first.keys, width)
    sent = [[bytes([HELLO]) + binding, bytes([KEYS]) + first.keys], [bytes([HELLO]) + binding]]
    opened, masks = [], []
    for plain in range(len(width.primes)):
        question = first.ask(plain, plain, a0, b0)
        answer, mask = second.answer(plain, plain, question, a1, b1)
        opened.append(first.open(plain, answer))
        masks.append(mask)
        sent[0].append(bytes([QUESTION]) + question)
        sent[1].append(bytes([ANSWER]) + answer)
    word = width.word
    c0 = [(a * b + w) % word for a, b, w in zip(a0, b0, joined(opened, width), strict=True)]
    c1 = [(a * b - r) % word for a, b, r in zip(a1, b1, joined(masks, width), strict=True)]
    sides = ((a0, b0, c0), (a1, b1, c1))
    return [(sent[i], [part[:count] for part in side]) for i, side in enumerate(sides)]
