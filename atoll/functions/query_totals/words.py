"""A holder's rows as words: for each key what its rows add up to; and totals back from words."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from atoll.crypto.keys import key_digests
from atoll.data.read import read
from atoll.errors import AtollError
from atoll.functions.context import LocalInput
from atoll.functions.values import check_values, words

_NO_KEY = 2**32 - 1


@dataclass(frozen=True)
class Source:
    """Where words come from: an input, its key columns with their steps, columns to add, what is counted, bounds."""

    input: str
    keys: list[str]
    steps: dict[str, list[str]]
    values: list[dict[str, Any]]
    rows: int
    count_rows: bool
    count_holders: bool

    @property
    def words(self) -> int:
        """Words of a key."""
        return len(self.values) + self.count_rows + self.count_holders

    def read(self, local: LocalInput, step: str, party: str, threads: int) -> Sums:
        """The words of all keys of one version of the table.

        Raises:
            AtollError: `E_DUPLICATE` if a key stands on more rows than the plan says; `E_RANGE` for
                values that are not what it says; what `key_digests` raises.
        """
        found = key_digests(read(local.data, self.keys), self.keys, self.steps, threads)
        of_rows = np.frombuffer(found.rows, "<u4")
        multiplicity = np.frombuffer(found.multiplicity, "<u4")
        count = len(found.digests) // 32
        if count and int(multiplicity.max()) > self.rows:
            first = int(np.flatnonzero(multiplicity > self.rows)[0])
            row = int(np.flatnonzero(of_rows == first)[self.rows])
            raise AtollError(
                "E_DUPLICATE",
                f"row {row + 1} has a key that stands on {int(multiplicity[first])} rows; the lookup allows "
                f"{self.rows}",
                column=self.keys[0],
            )
        out = np.zeros((count, self.words), "<u8")
        if self.values:
            check_values(local, self.values, [value["column"] for value in self.values], step, party)
            added = words(local, self.values, step, party, missing="zero")
            used = of_rows != _NO_KEY
            np.add.at(out[:, : len(self.values)], of_rows[used], added[used])
        at = len(self.values)
        if self.count_rows:
            out[:, at] = multiplicity
            at += 1
        if self.count_holders:
            out[:, at] = 1
        return Sums(found.digests, out.tobytes())


@dataclass(frozen=True)
class Sums:
    """Distinct keys, 32 bytes each, and the words of each, 8 bytes little-endian."""

    digests: bytes
    words: bytes

    def same(self, other: Sums) -> bool:
        """Whether both are of the same keys and words, whatever their order."""
        return len(self.words) == len(other.words) and self._ordered() == other._ordered()

    def _ordered(self) -> bytes:
        keys = np.frombuffer(self.digests, "V32")
        if not len(keys):
            return b""
        # 8 bytes of a digest tell keys apart, but for a chance that only costs another sealing.
        order = np.argsort(np.frombuffer(self.digests, "<u8").reshape(-1, 4)[:, 0], kind="stable")
        width = np.frombuffer(self.words, "<u8").reshape(len(keys), -1)
        return keys[order].tobytes() + width[order].tobytes()


def signed(word: int) -> int:
    """The number that a word modulo 2^64 stands for."""
    return word - (1 << 64) if word >> 63 else word


def plain_total(total: int, scale: int | None) -> int | str:
    """A total as JSON has it: decimals as text."""
    return total if not scale else str(Decimal(total).scaleb(-scale))


def fits(totals: list[int], parameters: dict[str, Any]) -> bool:
    """Whether honest holders can have these totals; wrong shares give other ones but for a small chance."""
    holders, rows = len(parameters["holders"]), parameters["rows"]
    bounds = []
    for together in zip(*parameters["values"], strict=True):
        ranges = [[rows * min(0, int(v["range"][0])), rows * max(0, int(v["range"][1]))] for v in together]
        bounds.append((sum(low for low, _ in ranges), sum(high for _, high in ranges)))
    bounds += [(0, rows * holders)] * parameters["count_rows"] + [(0, holders)] * parameters["count_holders"]
    return all(low <= total <= high for total, (low, high) in zip(totals, bounds, strict=True))
