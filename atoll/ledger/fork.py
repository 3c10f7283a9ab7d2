"""Proof that a log's owner signed two histories that cannot both be true.

Two checkpoints of the same size with different roots prove it by themselves. Of different sizes, they prove
it together with the first entry in which the histories differ: both leaf hashes, and their path to each root.
Anyone who knows the owner's key can check the proof; it holds no body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, merkle, note
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.merkle import Place, Reader

FORMAT = "atoll.fork/v1"


@dataclass(frozen=True)
class Branch:
    """One history: its signed checkpoint, and the leaf hash at the fork with its inclusion proof."""

    note: bytes
    leaf: bytes | None = None
    proof: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ForkProof:
    """Two histories of one log. `index` is the first entry in which they differ; None for equal sizes."""

    origin: str
    key: PublicKey
    first: Branch
    second: Branch
    index: int | None = None

    def verify(self) -> tuple[Checkpoint, Checkpoint]:
        """Both checkpoints, if they were signed by `key` and contradict each other.

        Raises:
            AtollError: `E_SIGNATURE` or `E_LEDGER` if this proves nothing.
        """
        points = [
            checkpoint.open_note(note.parse(branch.note), self.origin, self.key)
            for branch in (self.first, self.second)
        ]
        one, two = points
        if self.index is None:
            if one.size != two.size or one.root == two.root:
                raise AtollError("E_LEDGER", "the two checkpoints do not contradict each other")
            return one, two
        if one.hash.name != two.hash.name:
            raise AtollError("E_LEDGER", "the two checkpoints use different hashes")
        for branch, point in ((self.first, one), (self.second, two)):
            if branch.leaf is None or not merkle.verify_inclusion(
                branch.leaf, self.index, point.size, branch.proof, point.root, point.hash
            ):
                raise AtollError("E_LEDGER", "an inclusion proof of the fork does not verify")
        if self.first.leaf == self.second.leaf:
            raise AtollError("E_LEDGER", "the two histories have the same entry there")
        return one, two

    def to_json(self) -> dict[str, Any]:
        """The proof as a document; holds public facts only."""

        def branch(value: Branch) -> dict[str, Any]:
            return {
                "checkpoint": value.note.decode(),
                "leaf": value.leaf.hex() if value.leaf is not None else None,
                "proof": [item.hex() for item in value.proof],
            }

        return {
            "format": FORMAT,
            "origin": self.origin,
            "key": str(self.key),
            "index": self.index,
            "first": branch(self.first),
            "second": branch(self.second),
        }

    @classmethod
    def from_json(cls, value: Any) -> ForkProof:
        """Reads `to_json`; `E_LEDGER` for anything else. Call `verify` before believing it."""
        try:
            if value["format"] != FORMAT or set(value) != {
                "format",
                "origin",
                "key",
                "index",
                "first",
                "second",
            }:
                raise ValueError
            index = value["index"]
            if index is not None and (type(index) is not int or index < 0):
                raise ValueError
            branches = []
            for side in (value["first"], value["second"]):
                if set(side) != {"checkpoint", "leaf", "proof"} or len(side["proof"]) > merkle.MAX_PROOF:
                    raise ValueError
                leaf = None if side["leaf"] is None else bytes.fromhex(side["leaf"])
                proof = tuple(bytes.fromhex(item) for item in side["proof"])
                branches.append(Branch(side["checkpoint"].encode(), leaf, proof))
            return cls(str(value["origin"]), PublicKey.parse(value["key"]), branches[0], branches[1], index)
        except (KeyError, TypeError, ValueError, AttributeError, AtollError):
            raise AtollError("E_LEDGER", "not a proof of a fork") from None


def first_difference(size: int, one: Reader, two: Reader) -> int | None:
    """The first of `size` leaves in which two stored trees differ, by descent; None if there is none."""
    places = merkle.complete_places(0, size)
    for place, left, right in zip(places, one(places), two(places), strict=True):
        if left == right:
            continue
        while place.level:
            low = Place(place.level - 1, place.number * 2)
            place = low if one([low]) != two([low]) else Place(low.level, low.number + 1)
        return place.number
    return None


def prove(
    origin: str, key: PublicKey, notes: Sequence[bytes], sizes: Sequence[int], readers: Sequence[Reader]
) -> ForkProof | None:
    """The proof from two signed checkpoints and the trees behind them; None if one extends the other.

    Args:
        notes, sizes, readers: of the two histories: signed checkpoint, its size, hashes of complete subtrees.

    Raises:
        AtollError: `E_SIGNATURE` or `E_LEDGER` if the trees do not belong to the checkpoints.
    """
    if sizes[0] == sizes[1]:
        points = [checkpoint.open_note(note.parse(item), origin, key) for item in notes]
        if points[0].root != points[1].root:
            return ForkProof(origin, key, Branch(notes[0]), Branch(notes[1]))
        return None
    index = first_difference(min(sizes), readers[0], readers[1])
    if index is None:
        return None
    branches = []
    for item, size, read in zip(notes, sizes, readers, strict=True):
        using = checkpoint.parse_text(note.parse(item).text).hash
        path = merkle.inclusion_proof(index, size, read, using)
        branches.append(Branch(item, read([Place(0, index)])[0], tuple(path)))
    proof = ForkProof(origin, key, branches[0], branches[1], index)
    proof.verify()
    return proof
