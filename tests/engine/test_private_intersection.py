"""The join of tables in hand, against a plain comparison of the same tables."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.engine import key_digests, private_intersection
from atoll.errors import AtollError
from atoll.protocols.memory import pair
from atoll.protocols.rows import NO_KEY, rows_in_order, rows_of

RUNS = {
    "malicious": {},
    "semi-honest": {"security": "semi-honest"},
    "low-communication": {"variant": "low-communication"},
    "ecdh": {"protocol": "ecdh-psi/v1"},
}
SWAPPED = {"me": "peer", "peer": "me", "both": "both"}


def both(left, right, learns="both", seconds=5.0, **given):
    """Results of the two sides; an argument may be a pair, one for each."""
    ends = pair(capacity=64, seconds=seconds)
    mine = {k: v[0] if isinstance(v, tuple) else v for k, v in given.items()}
    theirs = {k: v[1] if isinstance(v, tuple) else v for k, v in given.items()}

    def side(keys, end, **how):
        try:
            return private_intersection(keys, end, **how)
        except BaseException:
            end.close()
            raise

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(side, left, ends[0], learns=learns, **mine)
        second = pool.submit(side, right, ends[1], learns=SWAPPED[learns], **theirs)
        errors = [f.exception() for f in (first, second)]
        if any(errors):
            # The first of the two that is not only the other's end.
            raise next(e for e in errors if e is not None and getattr(e, "code", "") != "E_PEER_SILENT")
        return first.result(), second.result()


def plain(mine, theirs):
    """Row numbers of `mine` whose value `theirs` has."""
    return [i for i, value in enumerate(mine) if value is not None and value in set(theirs)]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("learns", ["me", "peer", "both"])
def test_who_learns_gets_its_matching_rows(learns, run):
    left, right = ["a", "b", None, "b", "c"], ["b", "d", "c", "c", None]
    mine, theirs = both(pa.array(left), pa.array(right), learns, **RUNS[run])
    if learns == "peer":
        assert mine is None
    else:
        assert mine.dtype == np.int64
        assert mine.tolist() == plain(left, right) == [1, 3, 4]
    if learns == "me":
        assert theirs is None
    else:
        assert theirs.tolist() == plain(right, left) == [0, 2, 3]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(RUNS)),
    st.lists(st.one_of(st.none(), st.integers(0, 8)), max_size=20),
    st.lists(st.one_of(st.none(), st.integers(0, 8)), max_size=20),
)
def test_agrees_with_a_plain_comparison(run, left, right):
    mine, theirs = both(pa.array(left, pa.int64()), pa.array(right, pa.int64()), **RUNS[run])
    assert (mine.tolist(), theirs.tolist()) == (plain(left, right), plain(right, left))


@pytest.mark.parametrize(
    ("left", "right"),
    [([], []), ([], [1, 2]), ([1, 2], []), ([1, 2, 3], [1, 2, 3]), ([1, 2], [3, 4]), ([7, 7, 7], [7, 7])],
    ids=["both empty", "left empty", "right empty", "all equal", "nothing equal", "one key many times"],
)
@pytest.mark.parametrize("order", ["rows", "shared"])
@pytest.mark.parametrize("run", ["malicious", "ecdh"])
def test_edges(left, right, order, run):
    mine, theirs = both(np.array(left, np.int64), np.array(right, np.int64), order=order, **RUNS[run])
    assert sorted(mine) == plain(left, right)
    assert sorted(theirs) == plain(right, left)


@pytest.mark.parametrize("run", RUNS)
def test_in_the_shared_order_rows_stand_beside_their_partners(run):
    pick = np.random.default_rng(1)
    left, right = pick.permutation(500), pick.permutation(700)[:400]
    mine, theirs = both(left, right, order="shared", **RUNS[run])
    assert (left[mine] == right[theirs]).all()
    assert len(mine) == len(np.intersect1d(left, right))
    assert (np.diff(mine) < 0).any(), "the shared order follows no side's rows"


def test_several_columns_steps_and_forms_of_keys():
    left = pa.table({"name": ["Ada ", "Bo"], "born": pa.array([1, 2], pa.int32())})
    right = pa.table({"n": ["bo", "ada"], "b": [3, 1]})
    steps = ({"name": ["trim", "lower"]}, {"n": ["lower"]})
    mine, theirs = both(left, right, steps=steps, threads=2)
    assert (mine.tolist(), theirs.tolist()) == ([0], [1])
    batch = left.to_batches()[0]
    assert [x.tolist() for x in both(batch, key_digests(left, ["name", "born"]))] == [[0, 1], [0, 1]]
    chunked = pa.chunked_array([["x"], ["y"]])
    assert both(chunked, np.array(["y", "z"]))[0].tolist() == [1]


def test_the_same_seed_gives_the_same_order():
    seeds, keys = (b"1" * 32, b"2" * 32), np.arange(50)
    once = both(keys, keys, order="shared", seed=seeds)[0]
    assert sorted(once) == list(range(50))


@pytest.mark.parametrize(
    "given",
    [
        {"learns": "all"},
        {"protocol": "psi"},
        {"order": "none"},
        {"threads": 0},
        {"security": "malicious", "variant": "low-communication"},
        {"protocol": "ecdh-psi/v1", "security": "malicious"},
    ],
)
def test_unfit_arguments(given):
    mine, peer = pair(seconds=2)
    with pytest.raises(AtollError) as caught:
        private_intersection(np.arange(3), mine, **given)
    assert caught.value.code == "E_FORMAT"
    assert not peer.readable(), "nothing was sent"


def test_a_seed_of_the_wrong_length():
    with pytest.raises(AtollError) as caught:
        both(np.arange(3), np.arange(3), seed=b"short")
    assert caught.value.code == "E_FORMAT"


def test_less_memory_means_smaller_buckets_and_the_same_rows():
    left, right = np.arange(40_000), np.arange(20_000, 60_000)
    mine, theirs = both(left, right, memory=(5 << 20, None), security="semi-honest")
    assert mine.tolist() == list(range(20_000, 40_000))
    assert theirs.tolist() == list(range(20_000))
    with pytest.raises(AtollError) as caught:
        private_intersection(left, pair()[0], memory=1 << 20)
    assert caught.value.code == "E_MEMORY"


@pytest.mark.parametrize(
    "keys", [[1, 2], np.array([1.5]), np.array([object()])], ids=["list", "floats", "objects"]
)
def test_unfit_keys(keys):
    with pytest.raises(AtollError) as caught:
        private_intersection(keys, pair()[0])
    assert caught.value.code == "E_TYPE"


def test_sides_that_were_asked_differently_stop():
    ends = pair(capacity=8, seconds=2)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(private_intersection, np.arange(3), end, learns="me") for end in ends]
        assert [run.exception().code for run in runs] == ["E_PROTOCOL"] * 2


def test_sides_that_mean_another_occasion_stop():
    with pytest.raises(AtollError, match="another occasion"):
        both(np.arange(3), np.arange(3), context=(b"one", b"two"))


@pytest.mark.parametrize("change", ["empty", "short", "long", "other", "mirror", "many", "bucket"])
def test_a_hello_that_is_none(change):
    mine, peer = pair(capacity=8, seconds=2)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(private_intersection, np.arange(3), mine, learns="both")
        hello = peer.recv()
        at = len(hello) - 72
        forms = {
            "empty": b"",
            "short": hello[:-1],
            "long": hello + b"\0",
            "other": b"x" + hello[1:],
            "mirror": hello,
            "many": hello[:at] + b"\xff" * 4 + hello[at + 4 : -32] + bytes(32),
            "bucket": hello[: at + 4] + bytes(4) + hello[at + 8 : -32] + bytes(32),
        }
        peer.send(forms[change], "hello")
        assert run.exception().code == "E_PROTOCOL"


@pytest.mark.slow
def test_sides_of_different_size_with_keys_of_several_columns():
    def table(numbers):
        return pa.table(
            {
                "region": pa.array(np.char.mod("R%02d", numbers % 37)),
                "number": pa.array(numbers, pa.int64()),
                "day": pa.array((numbers % 20_000).astype(np.int32)).cast(pa.date32()),
            }
        )

    pick = np.random.default_rng(5)
    few, many = pick.permutation(400_000), 300_000 + pick.permutation(2_000_000)
    mine, theirs = both(table(few), table(many), seconds=300.0, order="shared")
    assert len(mine) == 100_000
    assert (few[mine] == many[theirs]).all()


rows_lists = st.lists(st.one_of(st.just(NO_KEY), st.integers(0, 9)), max_size=40)


@given(rows_lists, st.permutations(range(10)), st.integers(0, 10))
def test_rows_of_keys(rows, keys, count):
    # A key set has each of its keys on at least one row.
    rows = [*rows, *range(10)]
    matched = keys[:count]
    array = np.array(rows, np.uint32)
    assert rows_of(array, np.array(matched, np.uint32), 10).tolist() == [
        i for i, key in enumerate(rows) if key in matched
    ]
    found, counts = rows_in_order(array, np.array(matched, np.uint32), 10)
    want = [[i for i, key in enumerate(rows) if key == one] for one in matched]
    assert found.tolist() == [i for one in want for i in one]
    assert counts.tolist() == [len(one) for one in want]


def test_the_engine_imports_nothing_of_a_node():
    code = "import sys, atoll.engine; print(*sorted(m.split('.')[0] for m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"pydantic", "httpx", "fastapi", "sqlalchemy", "duckdb", "asyncio", "cryptography", "ssl"}
    assert not heavy & set(out.split())
    inner = "import sys, atoll.engine; print(*(m for m in sys.modules if m.startswith('atoll.')))"
    out = subprocess.run([sys.executable, "-c", inner], capture_output=True, text=True, check=True).stdout
    packages = {name.split(".")[1] for name in out.split()}
    assert packages == {"_core", "crypto", "engine", "errors", "protocols"}
    assert "pyarrow.compute" not in out
