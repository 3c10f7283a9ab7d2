"""Comparisons by digits (docs/protocols/additive-shares.md, step 5; eprint 2020/1002), number by number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from reference.stream import Stream

DIGIT, BLOCK = 4, 64
Json = dict[str, Any]


def widths(bits: int) -> list[int]:
    """Bits of each digit, the lowest first: it has what is left over."""
    count = -(-bits // DIGIT)
    return [bits - DIGIT * (count - 1)] + [DIGIT] * (count - 1)


def cut(number: int, bits: int) -> list[int]:
    out = []
    for width in widths(bits):
        out.append(number & (1 << width) - 1)
        number >>= width
    return out


@dataclass(frozen=True)
class Transfers:
    """Random transfers of words: both at the sender, a choice and its word at the receiver."""

    zeros: list[int]
    ones: list[int]
    choices: list[int]

    def place(self, number: int, bit: int, bits: int) -> int:
        """Of bit `bit` of a number: block by block, the lowest bits first."""
        return BLOCK * (number // BLOCK * bits + bit) + number % BLOCK


def entries(own: int, width: int, kinds: list[str]) -> dict[str, list[int]]:
    """For each digit that the receiver may have whether it is less, and whether it is equal."""
    told = {
        "less": [int(r < own) for r in range(1 << width)],
        "equal": [int(r == own) for r in range(1 << width)],
    }
    return {kind: told[kind] for kind in kinds}


def kinds(at: int, equal: bool) -> list[str]:
    """What is told of a digit: nothing is below the lowest that it would have to be equal for."""
    if equal:
        return ["equal"]
    return ["less"] if at == 0 else ["less", "equal"]


def joined(bits: list[int]) -> list[int]:
    """Words of 64 bits, the first in the lowest place."""
    return [sum(bit << i for i, bit in enumerate(bits[at : at + 64])) for at in range(0, len(bits), 64)]


def run(
    sender: list[int],
    receiver: list[int],
    bits: int,
    equal: bool,
    transfers: Transfers,
    masks: dict[tuple[int, str], list[int]],
) -> Json:
    """Both messages, and the receiver's shares. The sender's shares are its masks, one of each number."""
    blocks = -(-len(sender) // BLOCK)
    filled = BLOCK * blocks
    sender, receiver = (numbers + [0] * (filled - len(numbers)) for numbers in (sender, receiver))
    turned, sealed = [0] * (filled * bits), []
    shares: dict[tuple[int, str], list[int]] = {key: [] for key in masks}
    for number in range(filled):
        for bit in range(bits):
            place = transfers.place(number, bit, bits)
            turned[place] = receiver[number] >> bit & 1 ^ transfers.choices[place]
    for block in range(blocks):
        first = 0
        for at, width in enumerate(widths(bits)):
            for number in range(BLOCK * block, BLOCK * (block + 1)):
                places = [transfers.place(number, first + bit, bits) for bit in range(width)]
                own, theirs = (cut(numbers[number], bits)[at] for numbers in (sender, receiver))
                shift = 0
                for kind, told in entries(own, width, kinds(at, equal)).items():
                    for entry, value in enumerate(told):
                        value ^= masks[at, kind][number]
                        for bit, place in enumerate(places):
                            # The word that the receiver has if this is its digit's bit.
                            one = entry >> bit & 1 ^ turned[place]
                            word = (transfers.ones if one else transfers.zeros)[place]
                            value ^= word >> (shift + entry) & 1
                        sealed.append(value)
                    # What the receiver sees: the entry of its digit, less its words' bits.
                    value = sealed[-(1 << width) + theirs]
                    for place in places:
                        word = (transfers.ones if transfers.choices[place] else transfers.zeros)[place]
                        value ^= word >> (shift + theirs) & 1
                    shares[at, kind].append(value)
                    shift += 1 << width
            first += width
    return {"turned": joined(turned), "tables": joined(sealed), "shares": shares}


def planes(shares: dict[tuple[int, str], list[int]]) -> list[list[int]]:
    """In the product's order: which is less of all digits, then which are equal."""
    keys = sorted(shares, key=lambda key: (key[1] == "equal", key[0]))
    return [joined(shares[key]) for key in keys]


def hexed(words: list[int]) -> list[str]:
    return [f"{word:016x}" for word in words]


def message(words: list[int]) -> Json:
    data = b"".join(word.to_bytes(8, "little") for word in words)
    return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def case(bits: int, equal: bool, sender: list[int], receiver: list[int]) -> Json:
    name = f"{bits} {equal} {len(sender)}"
    stream = Stream.of_step(b"\x03" * 32, 0, "vectors", name)
    blocks = -(-len(sender) // BLOCK)
    count = BLOCK * blocks * bits

    def words(n: int) -> list[int]:
        data = stream.take(8 * n)
        return [int.from_bytes(data[i : i + 8], "little") for i in range(0, 8 * n, 8)]

    def unpacked(packed: list[int]) -> list[int]:
        return [word >> i & 1 for word in packed for i in range(64)]

    zeros, ones, choices = words(count), words(count), words(blocks * bits)
    told = [(at, kind) for at in range(len(widths(bits))) for kind in kinds(at, equal)]
    random = {key: words(blocks) for key in sorted(told, key=lambda key: (key[1] == "equal", key[0]))}
    masks = {key: unpacked(words) for key, words in random.items()}
    found = run(sender, receiver, bits, equal, Transfers(zeros, ones, unpacked(choices)), masks)
    return {
        "bits": bits,
        "equal": equal,
        "stream": name,
        "sender": hexed(sender),
        "receiver": hexed(receiver),
        "turned": message(found["turned"]),
        "tables": message(found["tables"]),
        "shares": [[hexed(plane) for plane in planes(side)] for side in (masks, found["shares"])],
    }


def vectors() -> Json:
    """The stream of a case gives words of zeros, words of ones, choices, and masks in the order of the shares."""
    numbers = [0, 1, 5, 6, 7, 8, 15, 0x7FFF_FFFF, 0x1234_5678_9ABC_DEF0, 2**64 - 1]
    pairs = [(a, b) for a in numbers for b in numbers]
    cases = []
    for bits, equal in (
        (4, False),
        (4, True),
        (1, False),
        (6, False),
        (7, True),
        (31, False),
        (64, False),
        (64, True),
    ):
        kept = [(a % 2**bits, b % 2**bits) for a, b in pairs]
        few = kept if bits == 6 else kept[::7]
        cases.append(case(bits, equal, [a for a, _ in few], [b for _, b in few]))
    return {"cases": cases}
