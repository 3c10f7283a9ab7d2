"""What operations ask of a setting: how values are shared among which parties, and what products cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atoll.mpc.rounds import U64, Links, Step
from atoll.mpc.shares import Shares
from atoll.mpc.wide import Words


@dataclass(frozen=True)
class Occasion:
    """What all parties must mean alike before they begin, and what is this party's own.

    Attributes:
        context: bytes that name the job and its program.
        seed: this party's 32 secret bytes of the job.
        attempt: number of the attempt.
        channel: label of the channel.
    """

    context: bytes
    seed: bytes
    attempt: int = 0
    channel: str = "shared-arrays"


class Setting(Protocol):
    """One party's side. All parties take the same steps in the same order.

    Numbers are modulo 2^64, or modulo 2^128 where arrays are wide, signed where that counts; operands of one step are
    of one ring. Bits stand in planes, 64 elements in a word.
    """

    links: Links
    me: int

    @property
    def everybody(self) -> tuple[int, ...]:
        """All parties that compute, and hold shares."""

    def public(self, words: Words) -> Shares:
        """Shares of words that everybody knows."""

    def share(
        self,
        owner: int,
        words: Words | None,
        shape: tuple[int, ...],
        *,
        bits: bool = False,
        wide: bool = False,
    ) -> Step[Shares]:
        """Shares of what `owner` alone has; the others pass `None`."""

    def widened(self, x: Shares) -> Step[Shares]:
        """Numbers from -2^62 to 2^62 - 1, modulo 2^128."""

    def open(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[Words | None]:
        """The values, for the parties in `to`; `None` for the others."""

    def mask(self, shape: tuple[int, ...]) -> U64 | None:
        """Uniform words that parties 0 and 1 draw alike, and nobody else; `None` at others."""

    def product(self, x: Shares, y: Shares) -> Step[Shares]:
        """Products element by element."""

    def both(self, x: Shares, y: Shares) -> Step[Shares]:
        """Bits that are set in both."""

    def both_of(self, x: Shares, y: Shares, z: Shares) -> Step[tuple[Shares, Shares]]:
        """Bits that are set in x and y, and in x and z."""

    def matrix_product(self, x: Shares, y: Shares, threads: int = 1) -> Step[Shares]:
        """The product of two matrices."""

    def scaled(self, x: Shares, shift: int) -> Step[Shares]:
        """Numbers divided by 2^shift, rounded down or up.

        From -2^62 to 2^62 - 1 and by a shift of 1 to 62; wide ones from -2^126 to 2^126 - 1 and of 1 to 63.
        """

    def scaled_product(self, x: Shares, y: Shares, shift: int) -> Step[Shares]:
        """Products, as `scaled`."""

    def scaled_matrix_product(self, x: Shares, y: Shares, shift: int, threads: int = 1) -> Step[Shares]:
        """The product of two matrices, as `scaled`."""

    def addends(self, x: Shares, bits: int = 64, *, negated: bool = False) -> Step[tuple[Shares, Shares]]:
        """Planes of bits of two numbers that add up to x, or whose difference x is if `negated`."""

    def negative(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """One plane: which of x, of one dimension, are below zero.

        x lie from -2^(bits - 1) to 2^(bits - 1) - 1, and `bits` is 2 to 64.
        """

    def zero(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """One plane: which of x, of one dimension, are zero; x lie from 1 - 2^bits to 2^bits - 1."""

    def words(self, b: Shares, count: int) -> Step[Shares]:
        """Words of 0 or 1 from the first `count` bits of planes."""

    def chosen(self, b: Shares, x: Shares) -> Step[Shares]:
        """Words x, of one dimension, where their bit in a plane is set, else 0."""

    def shuffle(self, columns: Shares) -> Step[Shares]:
        """Rows of shape (rows, columns) in an order that no party knows."""
