"""Comparisons of two parties by digits: results, what crosses, and what happens if it is not what belongs there."""

from __future__ import annotations

from itertools import chain, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_parties import channels, run, share, uneven

from atoll.crypto.arrays import Streams
from atoll.crypto.digits import Digits
from atoll.errors import AtollError
from atoll.mpc import Rich, Thin
from atoll.mpc import digits as digits_module
from atoll.mpc import supply as supply_module
from atoll.mpc.digits import groups
from atoll.mpc.shares import Shares, unpack
from atoll.mpc.supply import Supply


def told(cases, **options):
    """For each (numbers, bits, whether equality is asked for) what opens, at both parties alike."""

    def party(session):
        protocol, found = session.protocol, []
        for numbers, bits, equal in cases:
            words = np.array(numbers, np.int64).view(np.uint64)
            x = session.links.run(protocol.share(0, words if session.me == 0 else None, words.shape))
            x = session.links.run(protocol.uniform(x))
            step = protocol.zero if equal else protocol.negative
            plane = session.links.run(step(x, bits))
            opened = session.links.run(protocol.open(plane, protocol.everybody, bits=True))
            found.append(unpack(opened, len(numbers)).astype(bool).tolist())
        return found

    first, second = run(party, parties=2, **options)
    assert first == second
    return first


def expected(cases):
    return [[n == 0 if equal else n < 0 for n in numbers] for numbers, bits, equal in cases]


def check(cases, **options):
    assert told(cases, **options) == expected(cases)


def edges(bits):
    """Numbers whose sign so many bits tell."""
    half = 1 << bits - 1
    return sorted(
        {n for n in (0, 1, -1, 2, -2, half - 1, half - 2, -half, 1 - half, half // 2) if -half <= n < half}
    )


def test_signs_of_every_width():
    rng = np.random.default_rng(1)
    check(
        [
            (
                [*edges(bits), *rng.integers(-(1 << bits - 1), (1 << bits - 1) - 1, bits + 6).tolist()],
                bits,
                False,
            )
            for bits in range(2, 65)
        ]
    )


def test_zeros_of_every_width():
    rng = np.random.default_rng(2)
    cases = []
    for bits in range(1, 65):
        most = min(2**bits, 2**63) - 1
        powers = [sign * (1 << b) for b in range(min(bits, 63)) for sign in (1, -1)]
        cases.append(([0, most, -most, 0, *powers, *rng.integers(-most, most, bits).tolist()], bits, True))
    check(cases)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 127, 128, 129, 1000])
def test_any_number_of_numbers(count):
    numbers = (np.arange(count) % 7 - 3).tolist()
    check([(numbers, 3, False), (numbers, 2, True)])


def test_all_numbers_of_few_bits_under_many_shares():
    for bits in (2, 4, 5, 6, 9):
        numbers = list(range(-(1 << bits - 1), 1 << bits - 1)) * 40
        check([(numbers, bits, False), (numbers, bits, True)])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_numbers_and_bits(data):
    bits = data.draw(st.integers(2, 64))
    half = 1 << bits - 1
    numbers = data.draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=130))
    check([(numbers, bits, False), (numbers, bits, True)])


@pytest.mark.parametrize("source", [Rich(2), Rich(8), Thin()], ids=["rich", "rich 8", "thin"])
def test_pieces_and_groups_change_nothing(source, monkeypatch):
    for module in (digits_module, supply_module):
        monkeypatch.setattr(module, "PIECE", {Rich: 1 << 12, Thin: 1 << 12})
    monkeypatch.setattr(digits_module, "MOST_TRANSFERS", 1 << 14)
    assert len(list(groups(32, 16, source))) == 2
    assert sum(len(beside) for group in groups(32, 16, source) for beside in group) == 8
    numbers = np.random.default_rng(3).integers(-(2**16), 2**16 - 1, 2000).tolist()
    check([(numbers, 17, False), (numbers, 17, True)], source=source)


@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 1000, 20_001])
@pytest.mark.parametrize("bits", [1, 31, 64])
@pytest.mark.parametrize("source", [Rich(), Thin()], ids=["rich", "thin"])
def test_every_block_is_compared_once_and_half_by_each(blocks, bits, source):
    seen = [0, 0]
    at = 0
    for group in groups(blocks, bits, source):
        for sender, start, count in sorted(chain(*group), key=lambda piece: piece[1]):
            assert start == at
            assert count > 0
            at += count
            seen[sender] += count
    assert sum(seen) == blocks == at
    assert 0 <= seen[0] - seen[1] <= len(list(groups(blocks, bits, source)))


def test_numbers_have_one_to_64_bits_and_lengths_belong_together():
    for bits in (0, 65):
        with pytest.raises(AtollError) as caught:
            Digits(bits)
        assert caught.value.code == "E_FORMAT"
    digits = Digits(5)
    assert (digits.count, digits.planes, digits.table_words) == (2, 3, 2 + 32)
    assert (Digits(63).table_words, Digits(64, equal=True).table_words) == (8 + 15 * 32, 16 * 16)
    with pytest.raises(AtollError) as caught:
        digits.fold_sent(np.zeros(320, np.uint64), np.zeros(319, np.uint64))
    assert caught.value.code == "E_FORMAT"


def compared(session):
    """Bytes that this party sent, for comparisons of shares that are all the same."""
    protocol, words = session.protocol, (0x7777_7777, 0x1111_1111)
    x = Shares(np.full(8192, words[session.me], np.uint64))
    session.prepare(bits=1 << 20, transfers=8192 * 64)
    before = session.links.sent
    for step in (protocol.negative(x, 32), protocol.zero(x, 32)):
        session.links.run(step)
    return session.links.sent - before


def crossed():
    links = channels(parties=2, capacity=64)
    counts = run(compared, links=links)
    assert counts[0] == counts[1] > 200_000
    # All that comes last: what was prepared was sent before.
    return [b"".join(bytes(p) for _, p in links[i][1 - i].sent)[-counts[i] :] for i in range(2)]


def test_what_crosses_is_uniform_and_as_much_in_both_directions():
    for body in crossed():
        assert uneven([body]) < 6


@pytest.mark.parametrize("bare", ["sent", "chosen", "bits"])
def test_the_look_finds_what_has_no_mask(bare, monkeypatch):
    """Without words of transfers tables show, without choices the receiver's bits, without triples what is opened."""
    original = getattr(Supply, bare)
    monkeypatch.setattr(Supply, bare, lambda *a: tuple(np.zeros_like(w) for w in original(*a)))
    assert max(uneven([body]) for body in crossed()) > 100


def shares_of_digits():
    """Of both parties' shares, where all digits are the same, the part of bits that are set; of both halves."""

    def party(session):
        planes = np.broadcast_to(np.array([[0], [2**64 - 1]] * 4, np.uint64), (8, 256))
        shares = session.links.run(session.protocol._comparer.compare(planes, planes))
        halves = shares[:, :128], shares[:, 128:]
        return [unpack(half, half.size * 64).mean() for half in halves]

    return run(party, parties=2)


def test_shares_of_digits_are_uniform():
    for halves in shares_of_digits():
        # Six standard deviations of 3 * 128 * 64 bits.
        assert all(abs(part - 0.5) < 0.02 for part in halves)


def test_the_look_finds_tables_without_random_shares(monkeypatch):
    monkeypatch.setattr(Streams, "before", lambda self, shape: np.zeros(shape, np.uint64))
    assert max(abs(part - 0.5) for halves in shares_of_digits() for part in halves) > 0.1


def test_flipped_bits_of_tables_give_wrong_results_and_nothing_shows_it():
    links = channels(parties=2)
    armed = [False]
    channel = links[1][0]
    send = channel.send

    def flipped(payload, step):
        # Tables of 64 numbers of 4 bits: entries of 16 bits each. All but one of each are for nobody.
        if armed[0] and len(payload) == 8 * 16:
            armed[0], payload = False, bytes(b ^ 0xFF for b in payload)
        send(payload, step)

    channel.send = flipped
    numbers = np.arange(128) % 15 - 15

    def party(session):
        # Of a sign that one party knows there is no table.
        a = share(session, np.maximum(numbers, -14), 0, -14, 14)
        a = a + share(session, np.minimum(numbers + 14, 0), 1, -1, 1)
        if session.me == 1:
            armed[0] = True
        return session.open(a < 0)

    for found in run(party, links=links):
        assert not armed[0]
        # Party 1 sends the tables of the second half.
        assert found[:64].all()
        assert not found[64:].any()


@pytest.mark.parametrize("words", [0, 1, 70])
@pytest.mark.parametrize("source", [Rich(), Thin()], ids=["rich", "thin"])
def test_triples_of_a_bit_and_two(words, source, monkeypatch):
    monkeypatch.setattr(supply_module, "PIECE", {Rich: 1 << 11, Thin: 1 << 11})
    made = run(lambda session: session.protocol.supply.pairs(words), parties=2, source=source)
    a, b, c = (mine ^ theirs for mine, theirs in zip(*made, strict=True))
    assert a.shape == (words,)
    assert np.array_equal(c, a & b)
    assert b.shape == (2, words)
    if words == 70:
        for part in made[0]:
            # Six standard deviations of 70 * 64 bits.
            assert abs(unpack(part, part.size * 64).mean() - 0.5) < 0.045
        # Both bits are their own.
        assert abs(unpack(b[0] ^ b[1], 70 * 64).mean() - 0.5) < 0.045


@pytest.mark.parametrize("parties", [2, 3])
def test_bits_that_are_set_in_one_and_each_of_two(parties):
    """Whoever knows them: party 0, party 1, no party alone, or everybody."""
    planes = np.random.default_rng(5).integers(0, 2**64, (3, 4, 9), np.uint64)
    masks = np.random.default_rng(6).integers(0, 2**64, (3, 4, 9), np.uint64)
    cases = list(product([0, 1, None, "all"], repeat=3))

    def party(session):
        protocol, links = session.protocol, session.links

        def by(owner, words):
            return links.run(
                protocol.share(owner, words if session.me == owner else None, words.shape, bits=True)
            )

        def given(owner, plane, mask):
            if owner == "all":
                return protocol.public(plane)
            return by(0, plane ^ mask) ^ by(1, mask) if owner is None else by(owner, plane)

        found = []
        for case in cases:
            before = session.used
            products = links.run(protocol.both_of(*map(given, case, planes, masks)))
            used = {kind: count - before[kind] for kind, count in session.used.items()}
            found.append(
                ([links.run(protocol.open(p, protocol.everybody, bits=True)) for p in products], used)
            )
        return found

    for results in run(party, parties=parties):
        for (x, y, z), (products, used) in zip(cases, results, strict=True):
            assert np.array_equal(products, planes[0] & planes[1:])
            if parties == 3:
                continue
            crosses = [x != "all" and w != "all" and (w != x or x is None) for w in (y, z)]
            assert used["transfers"] == (2 * 64 * 36 if all(crosses) else 0)
            assert used["bits"] == (64 * 36 if sum(crosses) == 1 else 0)
