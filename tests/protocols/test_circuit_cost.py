"""What a run of circuit-PSI sends is known before it runs, to the byte."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atoll.crypto.circuit import MAX_ROWS, HiddenSide, circuit_sizes
from atoll.errors import AtollError
from atoll.protocols import circuit_psi, memory


def sent(placer: int, mapper: int, copies: int, words: tuple[int, int]) -> tuple[list[int], int]:
    """Bytes of both sides, and how often the direction changed, of a real run."""
    channels = memory.pair(4, 120)
    order: list[int] = []

    def party(i: int) -> None:
        rows = (placer, mapper)[i]
        channel, send = channels[i], channels[i].send

        def noted(payload: bytes, step: str) -> None:
            order.append(i)
            send(payload, step)

        channel.send = noted  # type: ignore[method-assign]
        role = ("placer", "mapper")[i]
        side = HiddenSide(
            role, os.urandom(32 * rows), bytes(8 * rows * words[i]), placer, mapper, copies, *words, b"job"
        )
        circuit_psi.run(side, channel, seed=bytes([i]) * 32, attempt=0, name="c")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(party, range(2)))
    changes = sum(a != b for a, b in zip([None, *order], order, strict=False))
    return [sum(len(payload) for _, payload in channel.sent) for channel in channels], changes


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3))
@example(1, 1, 1, 0, 0)
@example(0, 5, 1, 1, 1)
@example(5, 0, 1, 1, 1)
@example(70_000, 3, 1, 1, 0)
def test_bytes_and_rounds_are_those_of_a_run(placer, mapper, copies, own, other):
    found, rounds = sent(placer, mapper, copies, (own, other))
    stated = circuit_sizes(placer, mapper, copies, own, other)
    assert [stated.placer_bytes, stated.mapper_bytes] == found
    assert [stated.sent("placer"), stated.sent("mapper")] == found
    assert stated.rounds == rounds


@pytest.mark.slow
def test_bytes_of_a_run_whose_correlations_are_made_in_groups():
    found, rounds = sent(200_000, 5000, 1, (1, 1))
    stated = circuit_sizes(200_000, 5000, 1, 1, 1)
    assert ([stated.placer_bytes, stated.mapper_bytes], stated.rounds) == (found, rounds)
    assert stated.values > 1 << 22


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((1, 1, 0, 1, 1), "E_FORMAT"),
        ((-1, 1, 1, 1, 1), "E_FORMAT"),
        ((1, 2**32, 1, 1, 1), "E_FORMAT"),
        ((1, 1, 1, 257, 1), "E_FORMAT"),
        ((1, MAX_ROWS + 1, 1, 1, 1), "E_TOO_LARGE"),
        ((2**22, 1, 2, 1, 1), "E_TOO_LARGE"),
    ],
)
def test_numbers_that_no_run_takes_are_refused(numbers, code):
    with pytest.raises(AtollError) as caught:
        circuit_sizes(*numbers)
    assert caught.value.code == code
