"""Hidden joins as input of programs, against plain ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_parties import run

from atoll import mpc
from atoll.crypto.keys import key_digests
from atoll.errors import AtollError


def table(keys):
    return pa.table({"id": pa.array([None if k is None else f"key-{k}" for k in keys], pa.string())})


def joined(session, keys, values, sizes=None, **options):
    """Both parties' keys and values; each looks at its own."""
    me = session.me
    sizes = sizes or (len(keys[0]), len(keys[1]))
    columns = [
        mpc.Given(0, values[0] if me == 0 else None, -1000, 1000, name="debt"),
        mpc.Given(1, values[1] if me == 1 else None, 0, 500, name="spent"),
        mpc.Given(0, values[0] % 7 if me == 0 else None, 0, 6, name="grade"),
    ]
    return mpc.hidden_join(session, table(keys[me]), sizes, columns, **options)


def pairs(keys, values):
    return [
        (a, b)
        for k, a in zip(keys[0], values[0], strict=True)
        for j, b in zip(keys[1], values[1], strict=True)
        if k is not None and k == j
    ]


def statistics(join):
    debt, spent, grade = join.columns
    count = join.matched.sum()
    high = (debt > 0) & join.matched
    return (
        count,
        debt.sum(),
        spent.sum(),
        (debt * spent).sum(),
        (debt * debt).sum(),
        high.sum(),
        (grade == 3) & join.matched,
    )


def expected(found):
    a, b = (np.array([p[i] for p in found], np.int64) for i in (0, 1))
    return [len(found), a.sum(), b.sum(), (a * b).sum(), (a * a).sum(), (a > 0).sum()], (a % 7 == 3).sum()


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_statistics_over_a_hidden_join_are_those_of_a_plain_one(data):
    left = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 40)), min_size=1, max_size=40, unique=True))
    right = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=40, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    keys, values = (left, right), (rng.integers(-1000, 1000, len(left)), rng.integers(0, 500, len(right)))
    sizes = (len(left) + 3, len(right) + 5)
    unique = data.draw(st.integers(0, 1))

    def party(session):
        *numbers, grades = statistics(joined(session, keys, values, sizes, unique=unique))
        return session.open(*numbers, grades.sum())

    numbers, grades = expected(pairs(keys, values))
    for *found, three in run(party, parties=2):
        assert [int(f) for f in found] == numbers
        assert three == grades


def test_rows_with_one_key_up_to_the_declared_multiplicity():
    keys, values = ([1, 2, 3], [2, 2, 3, 9, 3, 3]), (np.array([10, 20, 30]), np.arange(6) + 1)

    def party(session):
        join = joined(session, keys, values, multiplicity=3)
        mean = join.columns[1].sum() / join.matched.sum()
        return session.open(join.matched.sum(), (join.columns[0] * join.columns[1]).sum(), mean)

    for count, product, mean in run(party, parties=2):
        assert count == 5
        assert product == 20 * 3 + 30 * (3 + 5 + 6)
        assert abs(mean - 17 / 5) < 4 * 2**-12


def test_correlation_and_histogram():
    rng = np.random.default_rng(6)
    ids = rng.permutation(400)
    keys = (ids[:300].tolist(), ids[100:].tolist())
    values = (rng.integers(-100, 100, 300), rng.integers(0, 200, 300))
    plain = np.array(pairs(keys, values))

    def party(session):
        join = joined(session, keys, values)
        a, b, _ = join.columns
        n = join.matched.sum()
        bins = [((a >= low) & (a < low + 50) & join.matched).sum() for low in range(-100, 100, 50)]
        return session.open(n, a.sum(), b.sum(), (a * b).sum(), (a * a).sum(), (b * b).sum(), *bins)

    n, sa, sb, sab, saa, sbb, *bins = (int(v) for v in run(party, parties=2)[0])
    correlation = (n * sab - sa * sb) / ((n * saa - sa**2) * (n * sbb - sb**2)) ** 0.5
    assert correlation == pytest.approx(np.corrcoef(plain.T)[0, 1])
    assert bins == np.histogram(plain[:, 0], range(-100, 101, 50))[0].tolist()


def test_joins_are_estimated():
    keys, values = (list(range(200)), list(range(100, 300))), (np.arange(200), np.arange(200))

    def party(session):
        session.open(joined(session, keys, values).matched.sum())
        return session

    cost = mpc.estimate(party, 2)
    sent = sum(s.links.sent for s in run(party, parties=2))
    assert sent / 1.3 < cost.bytes < sent * 1.3


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"sizes": (2, 3)}, "E_TOO_LARGE", "3 own rows, and 2 were declared"),
        ({"unique": 2}, "E_FORMAT", "one is unique"),
        ({"keys": ([1, 1, 2], [1, 2, 3])}, "E_DUPLICATE", ""),
        ({"values": (np.array([1, 2, 5000]), np.arange(3))}, "E_RANGE", "debt, place 2: 5000"),
        ({"values": (np.array([1, 2]), np.arange(3))}, "E_FORMAT", "debt has shape (2,)"),
    ],
)
def test_what_does_not_fit_is_named(change, code, text):
    given_ = {"keys": ([1, 2, 3], [2, 3, 4]), "values": (np.arange(3), np.arange(3))} | change

    def party(session):
        return session.open(joined(session, **given_).matched.sum())

    with pytest.raises(AtollError) as caught:
        run(party, parties=2)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_three_parties_and_missing_keys():
    with pytest.raises(AtollError, match="of two parties"):
        run(lambda s: mpc.hidden_join(s, table([1]), (1, 1), []))
    with pytest.raises(AtollError, match="brings no keys"):
        run(lambda s: mpc.hidden_join(s, None, (1, 1), []), parties=2)


def test_key_sets_and_joins_without_columns():
    keys = ([1, 2, 3], [3, 4, 2])

    def party(session):
        key_set = key_digests(table(keys[session.me]), ["id"])
        return session.open(mpc.hidden_join(session, key_set, (3, 3), []).matched.sum())

    assert run(party, parties=2) == [2, 2]
