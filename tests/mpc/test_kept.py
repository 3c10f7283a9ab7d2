"""Left matrices whose transforms are kept for the next product: what that saves, and that both parties do the same."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from mpc_parties import mixed, run, share

from atoll import mpc
from atoll.mpc.kept import Kept
from atoll.mpc.shares import Shares

RNG = np.random.default_rng(3)
LEFT = RNG.integers(-100, 101, (3000, 30))
VECTORS = RNG.integers(-100, 101, (4, 30))


def left(session, owner):
    if owner is None:
        return mixed(session, LEFT, -100, 100)
    return share(session, LEFT, owner, -100, 100)


def steps(session, owner, transposed=False):
    """Bytes of each of four products with one left matrix, and what they open."""
    x = left(session, owner)
    sent, found = [], []
    for vector in VECTORS:
        right = mixed(session, vector if not transposed else LEFT @ vector, -400_000, 400_000)
        before = session.links.sent
        product = (x.T if transposed else x) @ right
        session.open(product.sum())
        sent.append(session.links.sent - before)
        found.append(product)
    return sent, found


@pytest.mark.parametrize("transposed", [False, True], ids=["matrix", "transposed"])
@pytest.mark.parametrize("owner", [0, 1, None])
def test_the_next_vector_needs_no_keys_and_no_transforms(owner, transposed):
    def party(session):
        sent, found = steps(session, owner, transposed)
        return sent, session.open(*found), session.links.sent

    whole = run(party, parties=2)
    for _, opened, _ in whole:
        for vector, got in zip(VECTORS, opened, strict=True):
            assert (got == (LEFT.T @ (LEFT @ vector) if transposed else LEFT @ vector)).all()
    first, second, *others = [sum(sent) for sent in zip(*(w[0] for w in whole), strict=True)]
    # A public key of each direction.
    assert 150_000 < first - second < 2 * 200_000
    assert others == [second] * 2
    cost = mpc.estimate(lambda session: session.open(*steps(session, owner, transposed)[1]), 2)
    assert 0.99 < cost.bytes / sum(w[2] for w in whole) < 1.01


def test_the_same_whenever_a_party_lets_go_of_an_array():
    """One party drops its arrays at once, the other keeps them all."""

    def party(session):
        session.protocol._kept = Kept(2 << 20)
        arrays, opened = [], []
        lasting = share(session, LEFT[:200], 1, -100, 100)
        for _ in range(3):
            for count in (300, 400, 300):
                x = share(session, LEFT[:count], 0, -100, 100)
                for vector in VECTORS[:2]:
                    opened.append(session.open((x @ mixed(session, vector, -100, 100)).sum()))
                if session.me:
                    arrays.append(x)
                del x
                gc.collect()
                opened.append(session.open((lasting @ mixed(session, VECTORS[3], -100, 100)).sum()))
        return opened

    for opened in run(party, parties=2):
        sums = [[(LEFT[:count] @ vector).sum() for vector in VECTORS[:2]] for count in (300, 400, 300)]
        lasting = (LEFT[:200] @ VECTORS[3]).sum()
        assert opened == [total for pair in sums for total in (*pair, lasting)] * 3


def test_memory_goes_with_the_array_and_places_with_the_order():
    kept: Kept[object] = Kept(100)
    arrays = [Shares(np.zeros(1, np.uint64)) for _ in range(3)]
    values: list[list[object]] = [["a"], ["b"], ["c"]]
    assert kept.fits(100)
    assert not kept.fits(101)
    kept.put(arrays[0], "x", 60, values[0])
    kept.put(arrays[1], "x", 40, values[1])
    assert kept.get(arrays[0], "x") is values[0]
    assert kept.get(arrays[0], "y") is None
    assert kept.get(arrays[2], "x") is None
    # The one that was not used for longest goes.
    kept.put(arrays[2], "x", 40, values[2])
    assert kept.get(arrays[1], "x") is None
    assert values == [["a"], [], ["c"]]
    assert kept.get(arrays[0], "x") == ["a"]
    arrays[0] = Shares(np.zeros(1, np.uint64))
    gc.collect()
    assert values == [[], [], ["c"]]
    # Its place is taken still, as it is at a party that has the array.
    kept.put(arrays[0], "x", 20, ["d"])
    assert kept.get(arrays[2], "x") is None
    assert kept.get(arrays[0], "x") == ["d"]
