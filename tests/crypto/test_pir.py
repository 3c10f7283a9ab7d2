"""Index PIR through the Python face."""

from __future__ import annotations

import pytest

from atoll.crypto.pir import Asker, Table
from atoll.errors import AtollError

ROWS, SIZE = 500, 6
SEED, DRAWS = bytes([4]) * 32, bytes([5]) * 32
OLD, NEW = bytes(16), bytes([1]) * 16
RECORDS = b"".join(i.to_bytes(SIZE, "little") for i in range(ROWS))


def pair() -> tuple[Table, Asker]:
    table = Table(ROWS, SIZE, OLD, RECORDS)
    return table, Asker(ROWS, SIZE, OLD, SEED, table.hint(SEED))


def read(table: Table, asker: Asker, row: int, number: int) -> bytes:
    column, offset = asker.place(row)
    state, query = asker.query(column, DRAWS, 0, "ask", number)
    return asker.recover(state, table.answer([query])[0])[offset : offset + SIZE]


def test_records_are_read_before_and_after_a_change() -> None:
    table, asker = pair()
    assert read(table, asker, 499, 0) == (499).to_bytes(SIZE, "little")
    table.change(499, b"\xff" * SIZE)
    asker.apply(table.publish(NEW))
    assert read(table, asker, 499, 1) == b"\xff" * SIZE
    assert read(table, asker, 7, 2) == (7).to_bytes(SIZE, "little")


def test_a_state_serves_one_answer() -> None:
    table, asker = pair()
    state, query = asker.query(0, DRAWS, 0, "ask", 0)
    answer = table.answer([query])[0]
    asker.recover(state, answer)
    with pytest.raises(AtollError) as caught:
        asker.recover(state, answer)
    assert caught.value.code == "E_STATE"


def test_each_number_draws_a_query_of_its_own() -> None:
    _, asker = pair()
    queries = {asker.query(3, DRAWS, 0, "ask", number)[1] for number in range(8)}
    assert len(queries) == 8


def test_malformed_input_is_refused() -> None:
    table, asker = pair()
    with pytest.raises(AtollError) as caught:
        asker.query(1 << 20, DRAWS, 0, "ask", 0)
    assert caught.value.code == "E_RANGE"
    with pytest.raises(AtollError) as caught:
        table.answer([OLD])
    assert caught.value.code == "E_FORMAT"
    with pytest.raises(AtollError) as caught:
        asker.apply(b"")
    assert caught.value.code == "E_FORMAT"
