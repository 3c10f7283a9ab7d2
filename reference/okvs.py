"""Key-value stores (docs/protocols/okvs.md) with plain integers: keys have 128 bits, values are exclusive ors of slots.

Peeling after Garimella et al. (eprint 2021/883) and Raghuraman and Rindal (eprint 2022/320), on coupled graphs
(Walzer, SODA 2021).
"""

from __future__ import annotations

from functools import reduce
from operator import xor

from reference.stream import Stream

DENSE = 64
WORD = 2**64
# Items below this number, weight, windows, sparse slots in thousandths of the items.
BRACKETS = {
    "fast": [(2**14, 3, 1, 1300), (2**16, 3, 30, 1200), (2**23, 3, 100, 1150)],
    "dense": [
        (2**14, 3, 1, 1300),
        (2**16, 4, 60, 1100),
        (2**17, 4, 150, 1062),
        (2**18, 4, 150, 1048),
        (2**21, 4, 300, 1047),
        (2**23, 4, 500, 1047),
    ],
}
Row = tuple[list[int], int]


def total(values: list[int]) -> int:
    return reduce(xor, values, 0)


class Store:
    """The shape of a store of up to `items` keys under a seed of 16 bytes."""

    def __init__(self, items: int, kind: str, seed: bytes) -> None:
        items = max(items, 1)
        _, self.weight, self.windows, permille = next(row for row in BRACKETS[kind] if items < row[0])
        segments = self.windows + self.weight - 1
        self.length = -(-(-(-items * permille // 1000) + 8) // segments)
        self.sparse = segments * self.length
        self.slots = self.sparse + DENSE
        self.seed = [int.from_bytes(seed[i : i + 8], "little") for i in (0, 8)]

    def window(self, key: int) -> tuple[int, int]:
        """The window of a key, and what is left of the bits that chose it."""
        word = (key >> 64 ^ self.seed[1]) * (self.seed[0] | 1) % WORD
        return word * self.windows // WORD, word * self.windows % WORD

    def row(self, key: int) -> Row:
        """Sparse slots of a key, and the mask of its dense ones."""
        window, rest = self.window(key)
        slots = []
        for segment in range(window, window + self.weight):
            slots.append(segment * self.length + rest * self.length // WORD)
            rest = rest * self.length % WORD
        return slots, (key % WORD ^ self.seed[0]) * (self.seed[1] | 1) % WORD

    def encode(self, keys: list[int], values: list[int], fill: Stream) -> list[int]:
        """Slots under which every key has its value; free ones are drawn."""
        order = sorted(range(len(keys)), key=lambda i: self.window(keys[i])[0])
        rows = [self.row(keys[i]) for i in order]
        sums = [values[i] for i in order]
        peeled, aside, core = self.peel(rows)
        pivots = {slot for _, slot in peeled}
        slots = [0 if at in pivots else draw(fill) for at in range(self.sparse)]
        if aside:
            slots += self.solve(rows, sums, peeled[core:], aside, slots, fill)
        else:
            slots += [draw(fill) for _ in range(DENSE)]
        for index, slot in reversed(peeled):
            slots[slot] = 0
            slots[slot] = sums[index] ^ self.product(rows[index], slots)
        return slots

    def decode(self, key: int, slots: list[int]) -> int:
        return self.product(self.row(key), slots)

    def product(self, row: Row, slots: list[int]) -> int:
        dense = [slots[self.sparse + i] for i in range(DENSE) if row[1] >> i & 1]
        return total([slots[at] for at in row[0]]) ^ total(dense)

    def peel(self, rows: list[Row]) -> tuple[list[tuple[int, int]], list[int], int]:
        """Rows with the slot that each alone names, rows set aside where there is none such, and how many of the
        former come before the first of the latter."""
        named: list[set[int]] = [set() for _ in range(self.sparse)]
        for index, (slots, _) in enumerate(rows):
            for slot in slots:
                named[slot].add(index)
        peeled: list[tuple[int, int]] = []
        aside: list[int] = []
        gone: set[int] = set()
        ready: list[int] = []
        scan = core = 0

        def remove(index: int) -> None:
            gone.add(index)
            for slot in rows[index][0]:
                named[slot].remove(index)
                if len(named[slot]) == 1:
                    ready.append(slot)

        while True:
            while ready or scan < self.sparse:
                if ready:
                    slot = ready.pop()
                else:
                    slot, scan = scan, scan + 1
                if len(named[slot]) == 1:
                    (index,) = named[slot]
                    peeled.append((index, slot))
                    remove(index)
            core = core if aside else len(peeled)
            if len(gone) == len(rows):
                return peeled, aside, core
            aside.append(next(index for index in range(len(rows)) if index not in gone))
            remove(aside[-1])

    def solve(
        self,
        rows: list[Row],
        sums: list[int],
        core: list[tuple[int, int]],
        aside: list[int],
        slots: list[int],
        fill: Stream,
    ) -> list[int]:
        """The dense slots, and free slots as far as they are needed, from the rows set aside."""
        pivots = {slot for _, slot in core}
        indices = [index for index, _ in core] + aside
        free = sorted({slot for index in indices for slot in rows[index][0]} - pivots)
        words = -(-max(len(aside) - 16, 0) // 64)
        while True:
            step = max(-(-len(free) // max(words * 64, 1)), 1)
            chosen = free[::step][: words * 64]
            solution = self.solution(rows, sums, core, aside, slots, chosen, words, fill)
            if solution:
                for slot, value in zip(chosen, solution[DENSE:], strict=False):
                    slots[slot] = value
                return solution[:DENSE]
            if len(chosen) == len(free):
                raise ArithmeticError("the equations depend on each other")
            words = max(4 * words, 1)

    def solution(
        self,
        rows: list[Row],
        sums: list[int],
        core: list[tuple[int, int]],
        aside: list[int],
        slots: list[int],
        chosen: list[int],
        words: int,
        fill: Stream,
    ) -> list[int] | None:
        """Dense and chosen slots, or none; unknowns that no equation determines are drawn."""
        # Each slot as a number and a mask of unknowns: 64 dense ones, then the chosen.
        masks = {slot: 1 << (DENSE + unknown) for unknown, slot in enumerate(chosen)}
        for slot in chosen:
            slots[slot] = 0
        equations = []
        for index, pivot in [*reversed(core), *((index, -1) for index in aside)]:
            named = [slot for slot in rows[index][0] if slot != pivot]
            right = sums[index] ^ total([slots[slot] for slot in named])
            mask = rows[index][1] ^ total([masks.get(slot, 0) for slot in named])
            if pivot < 0:
                equations.append((mask, right))
            else:
                slots[pivot], masks[pivot] = right, mask
        determined = []
        for at in range(len(equations)):
            mask, right = equations[at]
            if not mask:
                return None
            lead = mask & -mask
            determined.append(lead.bit_length() - 1)
            equations = [
                (m ^ mask, r ^ right) if other != at and m & lead else (m, r)
                for other, (m, r) in enumerate(equations)
            ]
        unknowns = (1 + words) * 64
        found = [0 if at in determined else draw(fill) for at in range(unknowns)]
        for (mask, right), pivot in zip(equations, determined, strict=True):
            others = [found[at] for at in range(unknowns) if mask >> at & 1 and at != pivot]
            found[pivot] = right ^ total(others)
        return found


def draw(fill: Stream) -> int:
    return int.from_bytes(fill.take(16), "little")
