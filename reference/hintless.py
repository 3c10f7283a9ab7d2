"""Index PIR without a hint in plain Python: the asker's secret under ring LWE, products with the hint, packing.

The idea is HintlessPIR's (Li et al., eprint 2023/1733), packing that of Chen, Dai, Kim and Song (eprint 2020/015).
Polynomials are lists of 2048 coefficients modulo Q and X^2048 + 1, multiplied as long integers. The wire has
transforms, which are values at the odd powers of a root. Slow, not constant-time, for vectors only.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from reference import index_pir
from reference.sealed_lookup import Holder, Labels
from reference.sealed_lookup_cases import CHANNEL, Run, digest
from reference.stream import Stream

DEGREE, Q, BITS = 2048, 0xFFFFFFFC001, 44
WIDTH, LEVELS, DROPPED = 512, 9, 11
ROW_BITS, MASK_BITS = 16, 20
# A product of two coefficients, 2048 of which are added, has less than 99 bits.
SLOT = 13
Poly = list[int]


def digits(level: int) -> tuple[int, int, int]:
    """How many, bits of each, bits rounded off."""
    return (2, 14, 16) if level <= 6 else (1, 21, 23)


def times(a: Poly, b: Poly) -> Poly:
    one, other = (int.from_bytes(b"".join(c.to_bytes(SLOT, "little") for c in p), "little") for p in (a, b))
    data = (one * other).to_bytes(2 * DEGREE * SLOT, "little")
    found = [int.from_bytes(data[at : at + SLOT], "little") for at in range(0, len(data), SLOT)]
    return [(low - high) % Q for low, high in zip(found[:DEGREE], found[DEGREE:], strict=True)]


def plus(a: Poly, b: Poly, sign: int = 1) -> Poly:
    return [(x + sign * y) % Q for x, y in zip(a, b, strict=True)]


def spread(a: Poly, power: int) -> Poly:
    """X becomes X to this odd power."""
    out = [0] * DEGREE
    for i, word in enumerate(a):
        place = i * power % (2 * DEGREE)
        out[place % DEGREE] = word if place < DEGREE else -word % Q
    return out


def shifted(a: Poly, by: int) -> Poly:
    """Times X to this power."""
    return [-word % Q for word in a[DEGREE - by :]] + a[: DEGREE - by]


@cache
def roots() -> list[int]:
    """The powers of the root of order 4096 that the least base gives."""
    root = next(r for b in range(2, 99) if pow(r := pow(b, (Q - 1) // (2 * DEGREE), Q), DEGREE, Q) == Q - 1)
    return [pow(root, k, Q) for k in range(2 * DEGREE)]


def odd(place: int) -> int:
    """Of which odd power of the root a transform has the value at this place: bits reversed."""
    return 2 * int(f"{place:011b}"[::-1], 2) + 1


def fold(words: list[int], root: int) -> list[int]:
    """Values at the even powers of a root (a root of one of their number)."""
    if len(words) == 1:
        return words
    even, uneven = (fold(words[start::2], root * root % Q) for start in (0, 1))
    half, factor, out = len(words) // 2, 1, [0] * len(words)
    for i in range(half):
        product = factor * uneven[i] % Q
        out[i], out[i + half] = (even[i] + product) % Q, (even[i] - product) % Q
        factor = factor * root % Q
    return out


def transform(a: Poly) -> list[int]:
    powers = roots()
    values = fold([word * powers[i] % Q for i, word in enumerate(a)], powers[2])
    return [values[odd(place) // 2] for place in range(DEGREE)]


def coefficients(transformed: list[int]) -> Poly:
    powers, values = roots(), [0] * DEGREE
    for place, word in enumerate(transformed):
        values[odd(place) // 2] = word
    found = fold(values, powers[-2])
    scale = pow(DEGREE, -1, Q)
    return [word * powers[-i] * scale % Q for i, word in enumerate(found)]


def pack(words: list[int], bits: int) -> bytes:
    return sum(word << i * bits for i, word in enumerate(words)).to_bytes(len(words) * bits // 8, "little")


def unpack(data: bytes, bits: int) -> list[int]:
    number = int.from_bytes(data, "little")
    return [number >> at & (1 << bits) - 1 for at in range(0, 8 * len(data), bits)]


def uniform(seed: bytes, label: bytes, count: int) -> list[Poly]:
    """Transforms that follow from a public seed, as coefficients."""
    stream, found = Stream(seed, [label]), []
    while len(found) < count * DEGREE:
        word = int.from_bytes(stream.take(8), "little") >> 64 - BITS
        found += [word] if word < Q else []
    return [coefficients(found[at : at + DEGREE]) for at in range(0, len(found), DEGREE)]


def noises(stream: Stream, count: int) -> list[int]:
    table = index_pir.thresholds()
    return [index_pir.noise(int.from_bytes(stream.take(8), "little"), table) for _ in range(count)]


def ternary(stream: Stream) -> int:
    while (byte := stream.take(1)[0]) == 255:
        pass
    return byte % 3 - 1


class Asker:
    """Draws its key, and `keys` that pack under it."""

    def __init__(self, labels: Labels) -> None:
        self.labels, self.questions = labels, 0
        stream = labels.stream("keys")
        self.secret = [ternary(stream) % Q for _ in range(DEGREE)]
        seed = stream.take(32)
        wanted = []
        for level in range(1, LEVELS + 1):
            count, bits, dropped = digits(level)
            turned = spread(self.secret, (DEGREE // WIDTH << level) + 1)
            wanted += [[word << dropped + bits * i for word in turned] for i in range(count)]
        self.keys = self.sealed(seed, b"hintless/v1/keys", wanted, stream)

    def sealed(self, seed: bytes, label: bytes, wanted: list[Poly], stream: Stream) -> bytes:
        """Seed, and for each polynomial it and noise, less the uniform one times the key."""
        out = seed
        for mask, poly in zip(uniform(seed, label, len(wanted)), wanted, strict=True):
            noisy = plus(poly, noises(stream, DEGREE))
            out += pack(transform(plus(noisy, times(mask, self.secret), -1)), BITS)
        return out

    def question(self, column: int, matrix: list[list[int]], version: bytes) -> bytes:
        """A query of index PIR with a short secret, and the secret."""
        stream = self.labels.stream(f"question/{self.questions}")
        self.questions += 1
        secret = noises(stream, index_pir.N)
        errors = noises(stream, len(matrix))
        sent = [
            sum(a * s for a, s in zip(line, secret, strict=True)) + error + (j == column) * 2**24
            for j, (line, error) in enumerate(zip(matrix, errors, strict=True))
        ]
        unit = (Q + 2 ** (31 - DROPPED)) >> 32 - DROPPED
        wanted = [
            [word * unit % Q for word in secret[at : at + WIDTH]] for at in range(0, index_pir.N, WIDTH)
        ]
        filled = [poly + [0] * (DEGREE - len(poly)) for poly in wanted]
        sealed = self.sealed(stream.take(32), b"hintless/v1/question", filled, stream)
        return index_pir.message(version, sent) + sealed

    def open(self, answer: bytes, rows: int) -> bytes:
        """The column."""
        blocks = -(-rows // DEGREE)
        length = DEGREE * MASK_BITS // 8
        body = answer[16 + blocks * length :]
        out = []
        for block in range(blocks):
            mask = unpack(answer[16 + block * length :][:length], MASK_BITS)
            products = times(mask, self.secret)
            for i in range(block * DEGREE, min(rows, (block + 1) * DEGREE)):
                product = (products[i % DEGREE] + Q // 2) % Q - Q // 2
                word = int.from_bytes(body[2 * i : 2 * i + 2], "little")
                out.append(
                    (word * 2 ** (32 - ROW_BITS) + product * 2 ** (32 - MASK_BITS) + 2**23) % 2**32 >> 24
                )
        return bytes(out)


Pair = tuple[Poly, Poly]


def parsed(data: bytes, label: bytes) -> list[Pair]:
    """Encrypted polynomials, as coefficients."""
    size = DEGREE * BITS // 8
    bodies = [coefficients(unpack(data[at : at + size], BITS)) for at in range(32, len(data), size)]
    return list(zip(bodies, uniform(data[:32], label, len(bodies)), strict=True))


def cut(word: int, number: int, count: int, bits: int, dropped: int) -> int:
    """A digit of a word, around zero and rounded."""
    rest = (word - Q * (word > Q // 2) + 2 ** (dropped - 1)) >> dropped
    for _ in range(number):
        rest = (rest + 2 ** (bits - 1)) >> bits
    return rest if number + 1 == count else (rest + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


class Products:
    """The holder's hint, and an asker's keys."""

    def __init__(self, hint: list[list[int]], keys: bytes) -> None:
        self.hint = [[(word - 2**32 * (word >= 2**31) + 1024) >> DROPPED for word in row] for row in hint]
        pairs = iter(parsed(keys, b"hintless/v1/keys"))
        self.keys = {level: [next(pairs) for _ in range(digits(level)[0])] for level in range(1, LEVELS + 1)}

    def leaf(self, secret: list[Pair], rows: list[list[int]]) -> Pair:
        """Products with rows, at every 512th coefficient."""
        body, mask = [0] * DEGREE, [0] * DEGREE
        for chunk, (sealed, random) in enumerate(secret):
            poly = [0] * DEGREE
            for at, row in enumerate(rows):
                for i, word in enumerate(row[chunk * WIDTH : (chunk + 1) * WIDTH]):
                    place = at * WIDTH - i
                    poly[place % DEGREE] = (word if place >= 0 else -word) % Q
            body, mask = plus(body, times(poly, sealed)), plus(mask, times(poly, random))
        return body, mask

    def merged(self, level: int, first: Pair, second: Pair | None) -> Pair:
        by, power = WIDTH >> level, (DEGREE // WIDTH << level) + 1
        other = [shifted(poly, by) for poly in second] if second else [[0] * DEGREE] * 2
        sums = [plus(a, b) for a, b in zip(first, other, strict=True)]
        turned = [spread(plus(a, b, -1), power) for a, b in zip(first, other, strict=True)]
        body, mask = plus(sums[0], turned[0]), sums[1]
        for number, (sealed, random) in enumerate(self.keys[level]):
            digit = [cut(word, number, *digits(level)) % Q for word in turned[1]]
            body, mask = plus(body, times(digit, sealed)), plus(mask, times(digit, random))
        return body, mask

    def node(self, level: int, at: int, secret: list[Pair], rows: list[list[int]]) -> Pair | None:
        if at >= len(rows):
            return None
        if not level:
            return self.leaf(secret, rows[at::WIDTH])
        first, second = (self.node(level - 1, k, secret, rows) for k in (at, at + (WIDTH >> level)))
        assert first is not None
        return self.merged(level, first, second)

    def answer(self, holder: Holder, question: bytes) -> bytes:
        """The query's answer less the products, under the asker's key."""
        head = 16 + 4 * holder.columns
        scale = -pow(WIDTH, -1, Q)
        secret = [
            ([word * scale % Q for word in body], [word * scale % Q for word in mask])
            for body, mask in parsed(question[head:], b"hintless/v1/question")
        ]
        words = index_pir.answer(holder.rows(), index_pir.words(question[16:head]))
        masks, rows = b"", b""
        for start in range(0, len(words), DEGREE):
            part = words[start : start + DEGREE]
            packed = self.node(LEVELS, 0, secret, self.hint[start : start + DEGREE])
            assert packed is not None
            masks += pack([rounded(word, MASK_BITS) for word in packed[1]], MASK_BITS)
            for word, product in zip(part, packed[0], strict=False):
                word = (word * Q + 2**31 >> 32) + product
                rows += rounded(word % Q, ROW_BITS).to_bytes(2, "little")
        return holder.version + masks + rows


def rounded(word: int, bits: int) -> int:
    return ((word << bits) + Q // 2) // Q % 2**bits


def hintless() -> dict[str, Any]:
    """One run: two keys of a table and one that it has not. Of long messages the file has digests."""
    run = Run("without a hint", {"a": 7, "b": 250, "c": 0}, 2, 4)
    holder = run.holder
    step = run.ask(["a", "none", "b"])
    labels = Labels(hashlib.sha256(b"without a hint asker").digest(), 4, CHANNEL)
    asker = Asker(labels)
    hint = index_pir.hint(holder.rows(), holder.matrix)
    products = Products(hint, asker.keys)
    steps = []
    for name, column, record in zip(("a", "none", "b"), step["columns"], step["records"], strict=True):
        question = asker.question(column, holder.matrix, holder.version)
        answer = products.answer(holder, question)
        height = holder.cells * holder.size
        found = asker.open(answer, height)
        assert found == b"".join(holder.contents[column * holder.cells :][: holder.cells])
        steps.append(
            {
                "digest": digest(name).hex(),
                "column": column,
                "record": record,
                "question_bytes": len(question),
                "question_sha256": hashlib.sha256(question).hexdigest(),
                "answer_bytes": len(answer),
                "answer_sha256": hashlib.sha256(answer).hexdigest(),
                "rows": answer[-2 * height :].hex(),
            }
        )
    case = {key: value for key, value in run.document.items() if key != "steps"}
    case |= {"keys_bytes": len(asker.keys), "keys_start": asker.keys[:80].hex()}
    return {"case": case | {"keys_sha256": hashlib.sha256(asker.keys).hexdigest(), "steps": steps}}
