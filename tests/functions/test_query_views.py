"""What the host of a lookup sees: the same of keys that have a record and of keys that have none.

All randomness follows from fixed seeds, so that these tests either always pass or never do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from atoll_lookup_world import BOB, Lookup, body
from atoll_view_statistics import BYTES_BOUND, TILT_BOUND, Bits, difference, tilted, uniformity

from atoll.crypto.lookup import Asker, Holder
from atoll.crypto.stream import stream_bytes
from atoll.functions.query import asker, messages

KEYS = 480
TABLE = {f"key {n}": n for n in range(KEYS)}
HITS, MISSES = [f"key {n}" for n in range(KEYS)], [f"none {n}" for n in range(KEYS)]
Words = npt.NDArray[np.uint32]


class View:
    """What bob received of one service in which keys were asked for, some in each request."""

    def __init__(self, folder: Path, keys: list[str], at_once: int, expected: list[int | None]) -> None:
        lookup = Lookup(folder, TABLE)
        found = []
        for start in range(0, len(keys), at_once):
            found += lookup.ask(*keys[start : start + at_once]).values
        lookup.ended()
        assert found == expected
        self.messages = [body(message) for message in lookup.lines[BOB].received]
        self.sizes = [
            (m["kind"], len(r)) for m, r in zip(self.messages, lookup.lines[BOB].received, strict=True)
        ]
        self.book = lookup.blocks[BOB]
        blinded = b"".join(m["blinded"] for m in self.messages if m["kind"] == "calls")
        self.blinded: Bits = np.frombuffer(blinded, np.uint8).reshape(-1, 32)
        queries = [query for m in self.messages if m["kind"] == "queries" for query in m["queries"]]
        self.versions = {query[:16] for query in queries}
        self.queries: Words = np.array([np.frombuffer(query, "<u4", offset=16) for query in queries])


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def view(keys: list[str], at_once: int) -> View:
        values = [TABLE.get(key) for key in keys]
        return View(tmp_path_factory.mktemp("view"), keys, at_once, values)

    with pytest.MonkeyPatch.context() as patch:
        # Columns one by one, however many.
        patch.setattr(asker, "_LEAST_FETCHED", 10**9)
        found = {("hits", n): view(HITS[:count], n) for n, count in ((1, 8), (20, 60), (60, KEYS))}
        found |= {("misses", n): view(MISSES[:count], n) for n, count in ((1, 8), (20, 60), (60, KEYS))}
    return found


@pytest.mark.parametrize("at_once", [1, 20, 60])
def test_messages_of_hits_and_misses_have_one_order_and_one_length(views: Any, at_once: int) -> None:
    hits, misses = views["hits", at_once], views["misses", at_once]
    assert hits.sizes == misses.sizes
    assert [calls for calls, _ in hits.book] == [calls for calls, _ in misses.book]
    assert {kind for kind, _ in hits.sizes} == {"calls", "queries", "close", "stop"}
    assert len(hits.versions) == 1
    groups = [len(m["queries"]) for m in hits.messages if m["kind"] == "queries"]
    assert max(groups) <= messages.QUERIES_AT_ONCE
    assert sum(groups) == len(hits.queries)


def test_queries_made_ahead_do_not_change_what_is_seen(
    views: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asker, "_LEAST_READY", 0)
    monkeypatch.setattr(asker, "_MOST_READY", 0)
    without = View(tmp_path, HITS[:60], 20, list(range(60)))
    assert without.sizes == views["hits", 20].sizes


# What a simulator sends that has no key.


def drawn(length: int, name: str) -> bytes:
    return stream_bytes(bytes(32), 0, "simulator", name, length)


def elements(count: int, name: str) -> Bits:
    """What a simulator without any key sends: uniform elements, as blinds of fixed texts under another seed."""
    seed = hashlib.sha256(name.encode()).digest()
    holder = Holder(
        seed, seed, 0, "c", version=bytes(16), matrix=seed, digests=b"", records=b"", record_bytes=1
    )
    _, blinded = Asker(holder.epoch, holder.hint(), seed, 0, name).blind(bytes(32 * count), 1)
    return np.frombuffer(blinded, np.uint8).reshape(-1, 32)


def free_bits(blinded: Bits) -> Bits:
    """Rows without the first and the last byte: an encoding is even and below 2^255 - 19, whatever the element."""
    return np.ascontiguousarray(blinded[:, 1:31])


BOTH = ("hits", "misses")


@pytest.mark.parametrize("which", BOTH)
def test_blinded_keys_look_like_uniform_elements(views: Any, which: str) -> None:
    blinded = views[which, 60].blinded
    assert len({row.tobytes() for row in blinded}) == KEYS
    assert not (blinded[:, 0] & 1).any()
    assert not (blinded[:, 31] & 128).any()
    assert uniformity(free_bits(blinded)) < BYTES_BOUND
    assert tilted(free_bits(blinded)) < TILT_BOUND
    assert difference(free_bits(blinded), free_bits(elements(KEYS, which))) < BYTES_BOUND


@pytest.mark.parametrize("which", BOTH)
def test_words_of_queries_look_like_uniform_ones(views: Any, which: str) -> None:
    queries = views[which, 60].queries
    draw = np.frombuffer(drawn(queries.nbytes, which), np.uint32).reshape(queries.shape)
    assert uniformity(queries) < BYTES_BOUND
    assert tilted(queries.view(np.uint8)) < TILT_BOUND
    assert difference(queries, draw) < BYTES_BOUND
    # The top byte of each word, where the column stands under the mask.
    top = queries >> np.uint32(24)
    assert difference(top.astype(np.uint8), (draw >> np.uint32(24)).astype(np.uint8)) < BYTES_BOUND


@pytest.mark.parametrize("part", ["blinded", "queries"])
def test_hits_and_misses_are_not_told_apart(views: Any, part: str) -> None:
    hits, misses = (getattr(views[which, 60], part) for which in BOTH)
    if part == "blinded":
        hits, misses = free_bits(hits), free_bits(misses)
    assert difference(hits, misses) < BYTES_BOUND
    # Neither in one message nor between two that follow each other.
    assert difference(hits[1:] ^ hits[:-1], misses[1:] ^ misses[:-1]) < BYTES_BOUND


def test_a_key_that_is_asked_again_shows_nothing_of_it(tmp_path: Path) -> None:
    view = View(tmp_path, ["key 3"] * 120, 40, [3] * 120)
    assert len({row.tobytes() for row in view.blinded}) == 120
    assert uniformity(free_bits(view.blinded)) < BYTES_BOUND
    pairs = view.queries[1:] - view.queries[:-1]
    assert uniformity(pairs) < BYTES_BOUND


# The statistics themselves: they find what they are there to find.


def unmasked(columns: list[int], width: int) -> Words:
    """Queries whose noise is theirs, and whose secret is zero."""
    source = np.random.default_rng(1)
    words = np.rint(source.normal(0, 6.4, (len(columns), width))).astype(np.int64).astype(np.uint32)
    words[np.arange(len(columns)), columns] += np.uint32(1 << 24)
    return words


def shifted(queries: Words) -> Words:
    """Queries one word in sixteen of which has an even top byte."""
    out = queries.copy()
    out[:, ::16] &= np.uint32(0xFEFFFFFF)
    return out


@pytest.mark.parametrize(
    "spoil",
    [lambda q: unmasked([5] * len(q), q.shape[1]), shifted, lambda q: np.repeat(q[:1], len(q), 0)],
    ids=["no mask", "a bit of a word in sixteen", "one query again and again"],
)
def test_queries_that_tell_something_are_found(views: Any, spoil: Callable[[Words], Words]) -> None:
    queries = views["hits", 60].queries
    bad = spoil(queries)
    assert max(uniformity(bad) / BYTES_BOUND, tilted(bad.view(np.uint8)) / TILT_BOUND) > 1


def test_keys_that_are_not_blinded_are_found() -> None:
    """The same key under one blind is the same element: bits of its rows do not vary."""
    fixed = np.repeat(elements(1, "fixed"), KEYS, 0)
    assert tilted(free_bits(fixed)) > TILT_BOUND
