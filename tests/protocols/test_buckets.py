"""Sets in buckets: their bound, and where every key goes."""

from __future__ import annotations

import hashlib
from math import comb

import numpy as np
import pytest

from atoll.crypto.psi import partition
from atoll.errors import AtollError
from atoll.protocols import buckets


def digests(items) -> bytes:
    return b"".join(hashlib.sha256(repr(i).encode()).digest() for i in items)


def test_capacity_is_a_bound_with_the_stated_tail():
    def tail(n, b, bound):
        """P(load > bound) of a binomial with n and 1/b, in exact integers over b^n."""
        over = sum(comb(n, k) * (b - 1) ** (n - k) for k in range(bound + 1, n + 1))
        return over, b**n

    for n, b in ((200, 2), (500, 7), (1000, 40)):
        bound = buckets.capacity(n, b)
        over, all_ = tail(n, b, bound)
        assert over * b << buckets.TAIL_BITS <= all_
    assert buckets.capacity(10, 1) == 10
    assert buckets.capacity(3, 8) == 3
    assert buckets.capacity(0, 8) == 0
    assert buckets.capacity(10 << 20, 10) < 1.01 * (1 << 20)
    assert [buckets.count(a, b) for a, b in ((1, 1), (1 << 20, 5), ((1 << 20) + 1, 5))] == [1, 1, 2]


def test_a_partition_places_every_key_once_and_bad_arguments_are_refused():
    order, loads = partition(digests(range(100)), b"k" * 32, 7, threads=2)
    assert sorted(np.frombuffer(order, "<u4")) == list(range(100))
    assert (len(loads), sum(loads)) == (7, 100)
    for arguments in ((b"x", b"k" * 32, 1), (b"", b"k", 1), (b"", b"k" * 32, 0), (b"", b"k" * 32, 1 << 17)):
        with pytest.raises(AtollError, match="E_FORMAT"):
            partition(*arguments)


def test_an_overfull_bucket_ends_the_run():
    with pytest.raises(AtollError, match="E_STATE"):
        buckets.Buckets(digests(range(50)), None, key=b"k" * 32, buckets=2, capacity=20, threads=1)
