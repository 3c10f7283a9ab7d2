"""What the sides of lookup totals see: a holder nothing of ids and hits, the asker totals and not whose they are.

All randomness follows from fixed seeds, so that these tests either always pass or never do.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from atoll_lookup_world import body, digests, kinds
from atoll_totals_world import ALICE, BOB, CAROL, DAN, HOLDERS, NAMES, Service, Tables, plain
from atoll_view_statistics import (
    BYTES_BOUND,
    TILT_BOUND,
    Bits,
    difference,
    leaning,
    tilted,
    uniformity,
    unlikeness,
)

from atoll.crypto.lookup_totals import Query
from atoll.functions.query_totals import asker, host, messages

Words = npt.NDArray[np.uint64]
Masked = Callable[[host.Masks, list[int], int], bytes]
# More than one preparation has, in requests that are answered in two parts each.
COUNT, AT_ONCE = 132, 44
# Keys of a table that are asked for; tables of up to 64 keys have one shape.
KEYS = 60


class Run:
    """A service in which keys were asked for: what each side saw, and what only a test knows.

    Args:
        masked: in place of `Masks.masked`.
        parameters: of the service.
    """

    def __init__(
        self,
        folder: Path,
        tables: Tables,
        keys: list[str],
        *,
        at_once: int = AT_ONCE,
        masked: Masked = host.Masks.masked,
        **parameters: Any,
    ) -> None:
        self.keys = keys
        self.totals: list[list[int] | None] = []
        asked: dict[str, list[Query]] = {holder: [] for holder in HOLDERS}
        kept: dict[str, list[list[int]]] = {holder: [] for holder in HOLDERS}
        queries = asker.Pair.queries

        def ask(pair: asker.Pair, keys: list[bytes]) -> list[Query]:
            found = queries(pair, keys)
            asked[pair.peer.key] += found
            return found

        def mask(masks: host.Masks, words: list[int], number: int) -> bytes:
            kept[masks._context.me].append(words)
            return masked(masks, words, number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asker.Pair, "queries", ask)
            patch.setattr(host.Masks, "masked", mask)
            service = Service(folder, tables, **parameters)
            for start in range(0, len(keys), at_once):
                self.totals += service.ask(*keys[start : start + at_once]).totals
            service.ended()
        self.calls = {party: [calls for calls, _ in blocks] for party, blocks in service.blocks.items()}
        self.by_alice = {holder: Seen(service.sent(ALICE, holder)) for holder in HOLDERS}
        self.by_holder = {holder: Seen(service.sent(holder, ALICE)) for holder in HOLDERS}
        self.shares = {h: np.array([query.shares() for query in asked[h]], np.uint64) for h in HOLDERS}
        """Alice's, of each holder's words: a row a query."""
        self.opened = {h: self.by_holder[h].opened.reshape(self.shares[h].shape) for h in HOLDERS}
        self.holders_shares = {h: np.array(kept[h], np.uint64) for h in HOLDERS}

    def words(self, *holders: str) -> Words:
        """What alice can make of her shares and the opened words of some holders: their sums."""
        return np.sum([self.shares[h] + self.opened[h] for h in holders], axis=0, dtype=np.uint64)


class Seen:
    """What one side received on one line.

    `form`: kinds and lengths in order, and the headers of what belongs to queries; `parts`: bodies of each kind and
    level, a row a query; `requests`: what the query's record names, a row of 16 bytes for each holder; `rest`:
    messages that belong to no query.
    """

    def __init__(self, received: list[bytes]) -> None:
        self.form: list[Any] = []
        self.rest: list[str] = []
        opened, requests = b"", b""
        parts: dict[tuple[int, int], list[bytes]] = defaultdict(list)
        for message, kind in zip(received, kinds(received), strict=True):
            turn = body(message)["messages"] if kind in ("ask", "turn", "blocks") else []
            several = list(itertools.chain.from_iterable(turn))
            self.form.append((kind, len(message), [(m[: messages.HEADER_BYTES], len(m)) for m in several]))
            if kind in ("ask", "turn"):
                for one in several:
                    parts[one[0], one[1]].append(one[messages.HEADER_BYTES :])
            if kind == "ask":
                requests += b"".join(body(message)["requests"])
            elif kind == "opened":
                opened += body(message)["words"]
            elif kind != "turn":
                self.rest.append(hashlib.sha256(message).hexdigest())
        self.opened = np.frombuffer(opened, "<u8")
        self.requests: Bits = np.frombuffer(requests, np.uint8).reshape(
            -1, len(HOLDERS), messages.REQUEST_BYTES
        )
        self.parts: dict[tuple[int, int], Bits] = {
            name: np.array([np.frombuffer(one, np.uint8) for one in found]) for name, found in parts.items()
        }


def cycled(keys: list[str]) -> list[str]:
    return list(itertools.islice(itertools.cycle(keys), COUNT))


# A holder's view: keys of two holders, of nobody, and one key again and again.

PLACED: Tables = {
    BOB: [(f"bob {n}", 100 * n, n) for n in range(KEYS)],
    CAROL: [(f"carol {n}", -100 * n, 1) for n in range(KEYS) for _ in range(2)],
    DAN: [("dan", 1, 1)],
}
ASKED = {
    "of bob": cycled([f"bob {n}" for n in range(KEYS)]),
    "of carol": cycled([f"carol {n}" for n in range(KEYS)]),
    "of nobody": [f"nobody {n}" for n in range(COUNT)],
    "one key": ["bob 7"] * COUNT,
}
ALL = tuple(ASKED)
# Bits of each kind and level that say anything: of an input, of four for each leaf of 64 cells, of two words for each
# of them, of one choice. Others are zero.
FREE = {
    (6, 0): 128,
    (8, 0): 12 * 4 * 64,
    (8, 1): 3 * 4 * 64,
    (8, 2): 4 * 64,
    (11, 0): 2 * 64 * 64,
    (12, 0): 1,
}
PARTS = pytest.mark.parametrize(
    "part", FREE, ids=["inputs", "leaves 1", "leaves 2", "leaves 3", "words", "bit"]
)
Get = Callable[..., Run]


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """Makes each run once, when it is needed first."""

    @functools.cache
    def get(asked: str, *, seeds: str = "", count: int = COUNT, at_once: int = AT_ONCE) -> Run:
        keys = ASKED[asked][:count]
        two = {"count_rows": False, "count_holders": False}
        folder = tmp_path_factory.mktemp("run")
        run = Run(folder, PLACED, keys, at_once=at_once, seeds=seeds or f" {asked}", **two)
        assert run.totals == [plain(PLACED, key)[:2] for key in keys]
        return run

    return get


def free_bits(run: Run, holder: str, part: tuple[int, int]) -> Bits:
    """The bits of a part that are not always zero, a row a query."""
    bits = np.unpackbits(run.by_alice[holder].parts[part], axis=1)
    found: Bits = bits[:, bits.any(0)]
    assert found.shape == (COUNT, FREE[part])
    return found


@pytest.mark.parametrize("holder", HOLDERS, ids=NAMES.get)
def test_messages_have_one_order_and_one_length_whatever_is_asked(hidden: Get, holder: str) -> None:
    runs = [hidden(asked) for asked in ALL]
    assert set(runs[0].by_alice[holder].parts) == set(FREE)
    assert {kind for kind, _, _ in runs[0].by_alice[holder].form} == {
        "roster", "piece", "calls", "go", "ask", "turn", "close", "stop",
    }  # fmt: skip
    for run in runs[1:]:
        assert run.by_alice[holder].form == runs[0].by_alice[holder].form
        assert run.calls == runs[0].calls
        # Nor does alice see a difference.
        assert run.by_holder[holder].form == runs[0].by_holder[holder].form


@pytest.mark.parametrize("holder", HOLDERS, ids=NAMES.get)
def test_requests_of_one_key_look_alike_too(hidden: Get, holder: str) -> None:
    runs = [hidden(asked, count=6, at_once=1) for asked in ALL]
    assert len({str(run.by_alice[holder].form) for run in runs}) == 1


def test_what_comes_before_an_id_is_the_same_for_any(hidden: Get) -> None:
    """Under the same seeds, all that is not of a query is one and the same, byte by byte."""
    one, other = hidden("of bob"), hidden("of nobody", seeds=" of bob")
    for holder in HOLDERS:
        assert one.by_alice[holder].rest == other.by_alice[holder].rest
        assert one.by_holder[holder].rest == other.by_holder[holder].rest


@PARTS
@pytest.mark.parametrize("asked", ALL)
def test_all_that_the_asker_sends_looks_uniform(hidden: Get, asked: str, part: tuple[int, int]) -> None:
    for holder in HOLDERS:
        bits = free_bits(hidden(asked), holder, part)
        assert leaning(bits) < TILT_BOUND
        assert uniformity(np.packbits(bits)) < BYTES_BOUND
        # Neither alone nor beside the one before.
        assert leaning(bits[1:] ^ bits[:-1]) < TILT_BOUND
        assert uniformity(np.packbits(bits[1:] ^ bits[:-1])) < BYTES_BOUND


@PARTS
@pytest.mark.parametrize("asked", ALL[1:])
def test_hits_and_misses_are_not_told_apart(hidden: Get, asked: str, part: tuple[int, int]) -> None:
    """Bob has all keys of the first run, and carol has those of the second."""
    for holder in HOLDERS:
        hits, others = (free_bits(hidden(name), holder, part) for name in ("of bob", asked))
        assert difference(np.packbits(hits), np.packbits(others)) < BYTES_BOUND
        changes = [np.packbits(bits[1:] ^ bits[:-1]) for bits in (hits, others)]
        assert difference(*changes) < BYTES_BOUND


@pytest.mark.parametrize("asked", ALL)
def test_a_holders_own_shares_do_not_tell_it_whether_it_was_a_hit(hidden: Get, asked: str) -> None:
    for holder in HOLDERS:
        shares, of_bob = (hidden(name).holders_shares[holder] for name in (asked, "of bob"))
        assert shares.shape == (COUNT, 2)
        assert uniformity(shares) < BYTES_BOUND
        assert tilted(shares.view(np.uint8)) < TILT_BOUND
        assert difference(shares, of_bob) < BYTES_BOUND


@functools.cache
def of_key(key: str) -> bytes:
    """What of a key goes into a query."""
    return digests([key])[: messages.REQUEST_BYTES]


def of_keys(keys: list[str]) -> Bits:
    return np.array([np.frombuffer(of_key(key), np.uint8) for key in keys])


def linked(one: Bits, other: Bits, keys: list[str], others: list[str]) -> int:
    """How many requests differ from the other ones exactly as their keys do."""
    return int(((one ^ other) == (of_keys(keys) ^ of_keys(others))).all(1).sum())


def repeats(requests: Bits) -> int:
    """How many requests of a query to a holder were made before, or to another holder."""
    rows = requests.reshape(-1, messages.REQUEST_BYTES)
    return len(rows) - len({row.tobytes() for row in rows})


@pytest.mark.parametrize("asked", ALL)
def test_requests_are_never_repeated_and_are_not_linked_by_their_keys(hidden: Get, asked: str) -> None:
    run = hidden(asked)
    keys, requests = run.keys, run.by_alice[BOB].requests
    assert all((run.by_alice[holder].requests == requests).all() for holder in HOLDERS)
    assert repeats(requests) == 0
    for place, holder in enumerate(HOLDERS):
        own = requests[:, place]
        assert (own == run.by_alice[holder].parts[6, 0]).all()
        assert linked(own[1:], own[:-1], keys[1:], keys[:-1]) == 0
        assert linked(own, requests[:, place - 1], keys, keys) == 0
        other = hidden("of nobody" if asked != "of nobody" else "of bob")
        assert linked(own, other.by_alice[BOB].requests[:, place], keys, other.keys) == 0


# That the measures find what they are there to find.


def test_masks_that_serve_twice_are_found(hidden: Get) -> None:
    """Two services of one seed mask their first queries alike: what holders see differs as the keys do."""
    one, other = hidden("of bob"), hidden("of nobody", seeds=" of bob")
    for place in range(len(HOLDERS)):
        requests = (run.by_alice[BOB].requests[:, place] for run in (one, other))
        assert linked(*requests, one.keys, other.keys) == COUNT


def one_mask(requests: Bits, keys: list[str]) -> Bits:
    return of_keys(keys) ^ requests[0]


BAD_MASKS: dict[str, Callable[[Bits, list[str]], Bits]] = {
    "no mask": lambda requests, keys: of_keys(keys),
    "one mask": one_mask,
    "a bit without a mask": lambda requests, keys: (requests & 0xFE) | (of_keys(keys) & 1),
    "a request again and again": lambda requests, keys: np.repeat(requests[:1], len(requests), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MASKS)
def test_requests_of_one_key_that_tell_something_are_found(hidden: Get, name: str) -> None:
    run = hidden("one key")
    bad = BAD_MASKS[name](run.by_alice[BOB].requests[:, 0], run.keys)
    assert tilted(bad) > TILT_BOUND
    assert tilted(bad[1:] ^ bad[:-1]) > TILT_BOUND
    if name != "a bit without a mask":
        assert repeats(bad) == COUNT - 1


@pytest.mark.parametrize("name", ["no mask", "one mask"])
def test_requests_of_many_keys_that_are_not_masked_are_found(hidden: Get, name: str) -> None:
    """Digests look uniform by themselves; what they have in common does not."""
    run = hidden("of bob")
    bad = BAD_MASKS[name](run.by_alice[BOB].requests[:, 0], run.keys)
    assert tilted(bad) < TILT_BOUND
    assert linked(bad[1:], bad[:-1], run.keys[1:], run.keys[:-1]) == COUNT - 1
    assert repeats(bad) == COUNT - KEYS


# The asker's view: keys that all have the same totals, at other holders.

TOTAL = [7000, 3, 3]
"""Debt, loans and rows of each key."""
NAMED = [f"key {n}" for n in range(KEYS)]
PLACES = [n % 3 for n in range(KEYS)]
random.Random(5).shuffle(PLACES)
WHOSE = np.array(cycled(PLACES))
"""Whose key each query is of, where a key is at one holder: its place among the holders."""
# Guesses at one holder in three, of so many queries: six standard deviations above a third.
GUESS_BOUND = 1 / 3 + 6 * (2 / 9 / COUNT) ** 0.5


def spread(places: list[int]) -> Tables:
    """Each key on three rows of one holder, beside keys that nobody asks for."""
    tables: Tables = {holder: [(f"other {n}", n, n) for n in range(3)] for holder in HOLDERS}
    for key, place in zip(NAMED, places, strict=True):
        tables[HOLDERS[place]] += [(key, 6000, 1), (key, 999, 1), (key, 1, 1)]
    return tables


def split() -> Tables:
    """Each key on a row of every holder."""
    draws = random.Random(6)
    tables: Tables = {holder: [] for holder in HOLDERS}
    for key in NAMED:
        one, two = draws.randrange(-(10**6), 10**6), draws.randrange(-(10**6), 10**6)
        for holder, debt in zip(HOLDERS, (one, two, 7000 - one - two), strict=True):
            tables[holder].append((key, debt, 1))
    return tables


MASKED = host.Masks.masked


def unmasked(masks: host.Masks, words: list[int], number: int) -> bytes:
    return np.array(words, "<u8").tobytes()


def masked_above(masks: host.Masks, words: list[int], number: int) -> bytes:
    """The lower 16 bits are not masked; the masks still add up to zero."""
    found = np.frombuffer(MASKED(masks, [0] * len(words), number), "<u8")
    return ((found << np.uint64(16)) + np.array(words, "<u8")).tobytes()


def masked_alike(masks: host.Masks, words: list[int], number: int) -> bytes:
    masks._last = 0  # it refuses else to use masks twice
    return MASKED(masks, words, 1)


CASES: dict[str, tuple[Tables, Masked]] = {
    "at bob": (spread([0] * KEYS), MASKED),
    "spread": (spread(PLACES), MASKED),
    "split": (split(), MASKED),
    "spread, unmasked": (spread(PLACES), unmasked),
    "at bob, unmasked": (spread([0] * KEYS), unmasked),
    "spread, masked above": (spread(PLACES), masked_above),
    "spread, masked alike": (spread(PLACES), masked_alike),
}
HONEST = ("at bob", "spread", "split")


@pytest.fixture(scope="module")
def totals(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """Makes each run once, when it is needed first; whatever the masks are, totals are right."""

    @functools.cache
    def get(name: str) -> Run:
        tables, masked = CASES[name]
        folder = tmp_path_factory.mktemp("run")
        run = Run(folder, tables, cycled(NAMED), masked=masked, seeds=f" {name}", count_holders=False)
        assert run.totals == [TOTAL] * COUNT
        return run

    return get


def own_words(name: str) -> dict[str, Words]:
    """Each holder's words for the keys of the queries, as nobody but it has them."""
    tables, _ = CASES[name]
    found = {h: [plain({h: tables[h]}, key)[:3] for key in cycled(NAMED)] for h in HOLDERS}
    return {holder: np.array(words, np.int64).astype(np.uint64) for holder, words in found.items()}


SUBSETS = [s for count in (1, 2) for s in itertools.combinations(HOLDERS, count)]


def told(run: Run) -> float:
    """Of how many queries, as a part of all, the best of some guesses at the holder that has the key is right."""
    opened, shares = (np.stack([found[h] for h in HOLDERS]) for found in (run.opened, run.shares))
    words, total = opened + shares, np.array(TOTAL, np.uint64)
    guesses = []
    for shift in (np.uint64(0), np.uint64(48)):
        cut = words << shift
        guesses += [(cut == total << shift).all(2).argmax(0), cut.any(2).argmax(0)]
        for found in (cut, opened << shift, shares << shift):
            ones = np.unpackbits(found.view(np.uint8), axis=2).sum(2, dtype=np.int64)
            for measure in (ones, *np.moveaxis(found, 2, 0)):
                guesses += [measure.argmax(0), measure.argmin(0)]
    return float(max((guess == WHOSE).mean() for guess in guesses))


@pytest.mark.parametrize("name", HONEST)
def test_all_holders_together_give_the_total_and_no_fewer_anything(totals: Get, name: str) -> None:
    run, own = totals(name), own_words(name)
    assert (run.words(*HOLDERS) == np.array(TOTAL, np.uint64)).all()
    for holder in HOLDERS:
        # The shares of both sides are the holder's words, and only masks stand between alice and these.
        assert (run.shares[holder] + run.holders_shares[holder] == own[holder]).all()
        assert not (run.opened[holder] == run.holders_shares[holder]).any()
    for holders in SUBSETS:
        words = run.words(*holders)
        assert not (words == np.sum([own[h] for h in holders], axis=0, dtype=np.uint64)).any()
        assert uniformity(words) < BYTES_BOUND
        assert tilted(words.view(np.uint8)) < TILT_BOUND
        for shift in (56, 0):
            assert uniformity((words >> np.uint64(shift)).astype(np.uint8)) < BYTES_BOUND
        # Neither of one query nor between two that follow each other.
        assert uniformity(words[1:] - words[:-1]) < BYTES_BOUND


@pytest.mark.parametrize("name", HONEST)
def test_shares_and_opened_words_look_uniform_by_themselves(totals: Get, name: str) -> None:
    run = totals(name)
    for holder in HOLDERS:
        for words in (run.shares[holder], run.opened[holder]):
            assert uniformity(words) < BYTES_BOUND
            assert tilted(words.view(np.uint8)) < TILT_BOUND


def test_the_asker_cannot_guess_whose_the_key_is(totals: Get) -> None:
    assert told(totals("spread")) < GUESS_BOUND


def test_what_a_holder_sends_is_the_same_whether_it_has_the_key(totals: Get) -> None:
    run = totals("spread")
    parts = set(run.by_holder[BOB].parts)
    assert parts == {(7, 0), (9, 0), (9, 1), (9, 2), (10, 0), (13, 0)}
    sent = {part: {h: run.by_holder[h].parts[part] for h in HOLDERS} for part in parts}
    for found in (*sent.values(), run.shares, run.opened, {h: run.words(h) for h in HOLDERS}):
        has, has_not = parted(found)
        assert unlikeness(has, has_not) < TILT_BOUND
        assert max(tilted(rows.view(np.uint8)) for rows in (has, has_not)) < TILT_BOUND


def parted(found: dict[str, Any]) -> tuple[Any, Any]:
    """Rows of queries of which the holder has the key, and of which it has not."""
    return (
        np.concatenate([found[h][place == WHOSE] for place, h in enumerate(HOLDERS)]),
        np.concatenate([found[h][place != WHOSE] for place, h in enumerate(HOLDERS)]),
    )


@pytest.mark.parametrize("other", ["spread", "split"])
def test_the_same_totals_of_other_holders_look_the_same(totals: Get, other: str) -> None:
    runs = totals("at bob"), totals(other)
    for holder in HOLDERS:
        one, two = (run.by_holder[holder] for run in runs)
        assert one.form == two.form
        for part in one.parts:
            assert unlikeness(one.parts[part], two.parts[part]) < TILT_BOUND
        assert unlikeness(*(run.opened[holder] for run in runs)) < TILT_BOUND
        assert unlikeness(*(run.shares[holder] for run in runs)) < TILT_BOUND
    for holders in SUBSETS:
        assert unlikeness(*(run.words(*holders) for run in runs)) < TILT_BOUND


# That the measures find what they are there to find.


@pytest.mark.parametrize(
    ("name", "bare"), [("unmasked", 64), ("masked above", 16)], ids=["no bit masked", "lower bits not masked"]
)
def test_words_that_are_not_masked_tell_whose_the_key_is(totals: Get, name: str, bare: int) -> None:
    run, own = totals(f"spread, {name}"), own_words(f"spread, {name}")
    assert told(run) == 1
    shift = np.uint64(64 - bare)
    for holder in HOLDERS:
        assert (run.words(holder) << shift == own[holder] << shift).all()
    for holders in SUBSETS:
        words = run.words(*holders)
        assert max(uniformity(words), uniformity(words.astype(np.uint8))) > BYTES_BOUND
        assert tilted(words.view(np.uint8)) > TILT_BOUND
    assert unlikeness(*parted({h: run.words(h) for h in HOLDERS})) > TILT_BOUND
    # The shares alone are as uniform as before: masks are what keeps them from alice, who has the other ones.
    assert all(uniformity(run.opened[holder]) < BYTES_BOUND for holder in HOLDERS)


def test_words_that_are_not_masked_look_unlike_where_other_holders_have_the_keys(totals: Get) -> None:
    runs = totals("at bob, unmasked"), totals("spread, unmasked")
    assert all(unlikeness(*(run.words(holder) for run in runs)) > TILT_BOUND for holder in HOLDERS)


def test_a_mask_that_serves_twice_tells_how_two_queries_differ(totals: Get) -> None:
    run, own = totals("spread, masked alike"), own_words("spread, masked alike")
    for holder in HOLDERS:
        changes = run.words(holder)[1:] - run.words(holder)[:-1]
        assert (changes == own[holder][1:] - own[holder][:-1]).all()
        assert uniformity(changes) > BYTES_BOUND
        assert tilted(run.words(holder).view(np.uint8)) > TILT_BOUND
