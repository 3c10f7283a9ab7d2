"""The tree against a recursive reference that follows RFC 6962 word by word."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.ledger import merkle
from atoll.ledger.merkle import Frontier, Place

SIZES = 200


def mth(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """RFC 6962, 2.1.2."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


class Tree:
    """Stored hashes of a growing tree; counts what is read."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.nodes: dict[Place, bytes] = {}
        self.edge = Frontier()
        self.reads = 0
        for leaf in leaves:
            self.nodes.update(self.edge.append(merkle.leaf_hash(leaf)))

    def read(self, places: Sequence[Place]) -> list[bytes]:
        self.reads += len(places)
        return [self.nodes[place] for place in places]


LEAVES = [b"entry %d" % i for i in range(SIZES)]
TREE = Tree(LEAVES)
ROOTS = [mth(LEAVES[:n]) for n in range(SIZES + 1)]

# The test tree of the Certificate Transparency reference implementation.
CT_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_known_roots() -> None:
    edge = Frontier()
    for leaf, root in zip(CT_LEAVES, CT_ROOTS, strict=True):
        edge.append(merkle.leaf_hash(bytes.fromhex(leaf)))
        assert edge.root().hex() == root


def test_roots_of_all_sizes() -> None:
    for size in range(SIZES + 1):
        assert merkle.root(size, TREE.read) == ROOTS[size]
        assert merkle.load_frontier(size, TREE.read).root() == ROOTS[size]


def test_inclusion_proofs_of_all_sizes() -> None:
    for size in range(1, SIZES + 1):
        # Every index up to 70 leaves, then the edges and a spread: each shape of path occurs.
        indices = range(size) if size <= 70 else {*range(0, size, 17), size - 1, size - 2}
        for index in indices:
            proof = merkle.inclusion_proof(index, size, TREE.read)
            assert proof == path(index, LEAVES[:size])
            leaf = merkle.leaf_hash(LEAVES[index])
            assert merkle.verify_inclusion(leaf, index, size, proof, ROOTS[size])


def test_consistency_proofs_of_all_sizes() -> None:
    for new in range(1, SIZES + 1):
        olds = range(new + 1) if new <= 70 else {0, 1, *range(2, new, 19), new - 1, new}
        for old in olds:
            proof = merkle.consistency_proof(old, new, TREE.read)
            assert proof == (subproof(old, LEAVES[:new], True) if old else [])
            assert merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


@given(st.integers(1, SIZES), st.data())
def test_a_wrong_inclusion_proof_fails(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaf = merkle.leaf_hash(LEAVES[index])
    proof = merkle.inclusion_proof(index, size, TREE.read)
    other = data.draw(st.integers(0, SIZES))
    if other != index:
        assert not merkle.verify_inclusion(leaf, other, size, proof, ROOTS[size])
    assert not merkle.verify_inclusion(leaf, index, size, [*proof, ROOTS[3]], ROOTS[size])
    assert not merkle.verify_inclusion(merkle.leaf_hash(b"no"), index, size, proof, ROOTS[size])
    if proof:
        assert not merkle.verify_inclusion(leaf, index, size, proof[:-1], ROOTS[size])
        assert not merkle.verify_inclusion(leaf, index, size, proof[1:], ROOTS[size])
        place = data.draw(st.integers(0, len(proof) - 1))
        wrong = list(proof)
        wrong[place] = bytes([wrong[place][0] ^ 1]) + wrong[place][1:]
        assert not merkle.verify_inclusion(leaf, index, size, wrong, ROOTS[size])
        wrong[place] = proof[place][:-1]
        assert not merkle.verify_inclusion(leaf, index, size, wrong, ROOTS[size])


@given(st.integers(1, SIZES), st.data())
def test_a_wrong_consistency_proof_fails(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency_proof(old, new, TREE.read)
    other = mth([b"other", *LEAVES[1:old]])
    assert not merkle.verify_consistency(old, new, other, ROOTS[new], proof)
    assert not merkle.verify_consistency(old, new, ROOTS[old], other, proof)
    assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], [*proof, ROOTS[1]])
    assert not merkle.verify_consistency(new + 1, new, ROOTS[old], ROOTS[new], proof)
    if proof:
        assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof[:-1])
        place = data.draw(st.integers(0, len(proof) - 1))
        wrong = list(proof)
        wrong[place] = bytes([wrong[place][0] ^ 1]) + wrong[place][1:]
        assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], wrong)


def test_the_empty_tree_is_a_prefix_of_all_but_proves_nothing_else() -> None:
    assert merkle.verify_consistency(0, 5, ROOTS[0], ROOTS[5], [])
    assert not merkle.verify_consistency(0, 5, ROOTS[1], ROOTS[5], [])
    assert not merkle.verify_consistency(0, 5, ROOTS[0], ROOTS[5], [ROOTS[1]])
    assert not merkle.verify_consistency(5, 5, ROOTS[5], ROOTS[6], [])


def test_out_of_range() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(AtollError):
            merkle.inclusion_proof(index, size, TREE.read)
        assert not merkle.verify_inclusion(ROOTS[0], index, size, [], ROOTS[size])
    with pytest.raises(AtollError):
        merkle.consistency_proof(6, 5, TREE.read)
    with pytest.raises(AtollError):
        Frontier(3, [ROOTS[1]])


def test_an_append_and_a_proof_read_few_hashes() -> None:
    tree = Tree([b"%d" % i for i in range(5000)])
    assert len(tree.nodes) < 2 * 5000
    for work in (
        lambda: merkle.load_frontier(4999, tree.read),
        lambda: merkle.inclusion_proof(1234, 4999, tree.read),
        lambda: merkle.consistency_proof(1234, 4999, tree.read),
    ):
        tree.reads = 0
        work()
        assert tree.reads <= 2 * 13
