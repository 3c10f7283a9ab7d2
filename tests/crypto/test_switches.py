"""Switches of permutations: the layers of a network, applied by NumPy, give the order."""

from __future__ import annotations

import numpy as np
import pytest

from atoll.crypto.arrays import Switches, layer_shape, layers, switches
from atoll.errors import AtollError


def through(network: Switches, values: np.ndarray) -> np.ndarray:
    """What the network makes of 2^depth values."""
    for layer, words in enumerate(network.bits):
        shape = layer_shape(layer, network.depth)
        crosses = np.unpackbits(words.view(np.uint8), bitorder="little")[: len(values) // 2]
        pairs = values.reshape(shape)
        crosses = crosses.reshape(shape[0], 1, shape[2]).astype(bool)
        values = np.where(crosses, pairs[:, ::-1], pairs).reshape(-1)
    return values


def check(order: np.ndarray) -> None:
    network = switches(order)
    size = 1 << network.depth
    assert len(order) <= size < max(2 * len(order), 2)
    assert network.bits.shape == (layers(network.depth), -(-size // 128))
    assert not network.bits.flags.writeable
    expected = np.arange(size, dtype=np.uint32)
    expected[: len(order)] = order
    assert (through(network, np.arange(size, dtype=np.uint32)) == expected).all()
    spare = size // 2 % 64
    if spare and network.depth:
        assert (network.bits[:, -1] >> np.uint64(spare) == 0).all()


@pytest.mark.parametrize("places", [0, 1, 2, 3, 4, 5, 7, 8, 9, 127, 128, 129, 1000, 4096, 4097, 70_000])
def test_layers_give_the_order(places):
    draw = np.random.default_rng(places)
    check(np.arange(places, dtype=np.uint32))
    check(np.arange(places, dtype=np.uint32)[::-1])
    for _ in range(5):
        check(draw.permutation(places).astype(np.uint32))


def test_the_identity_crosses_nowhere_and_one_exchange_somewhere():
    assert not switches(np.arange(1000, dtype=np.uint32)).bits.any()
    order = np.arange(1000, dtype=np.uint32)
    order[[3, 700]] = order[[700, 3]]
    assert switches(order).bits.any()


def test_layers_join_places_one_bit_apart():
    for depth in range(1, 6):
        bits = []
        for layer in range(layers(depth)):
            pairs = np.arange(1 << depth).reshape(layer_shape(layer, depth))
            apart = np.unique(pairs[:, 0] ^ pairs[:, 1])
            assert len(apart) == 1
            bits.append(int(apart[0]).bit_length() - 1)
        assert bits == [*range(depth - 1, 0, -1), *range(depth)]


@pytest.mark.parametrize("order", [[1], [0, 0], [0, 1, 3], [0, 2**32 - 1]])
def test_what_is_no_permutation_is_refused(order):
    with pytest.raises(AtollError, match="each of its places once") as caught:
        switches(np.array(order, np.uint32))
    assert caught.value.code == "E_FORMAT"


@pytest.mark.parametrize("layer", [3, 100])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(AtollError) as caught:
        layer_shape(layer, 2)
    assert caught.value.code == "E_FORMAT"
    with pytest.raises(AtollError):
        layer_shape(0, 0)
