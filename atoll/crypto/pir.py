"""Index PIR: read one column of a holder's table, who does not learn which (SimplePIR, eprint 2022/949).

The asker gets the whole column: records that he may not read must be sealed above this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll import _core
from atoll.crypto.stream import check_labels, kernel_errors

STEP = "index-pir"


class Table:
    """The holder's table of `rows` (1 to 2^24) records of `record_bytes` (1 to 4096) bytes.

    `version` has 16 bytes and names this state of the table; `records` are all records in order.

    Raises:
        AtollError: `E_RANGE` for sizes outside, `E_FORMAT` for wrong lengths.
    """

    def __init__(self, rows: int, record_bytes: int, version: bytes, records: bytes) -> None:
        with kernel_errors(step=STEP):
            self._core = _core.PirTable(rows, record_bytes, version, records)

    def hint(self, seed: bytes) -> bytes:
        """What an asker needs once: the table times the public matrix of `seed` (32 bytes)."""
        with kernel_errors(step=STEP):
            return self._core.hint(seed)

    def answer(self, queries: Sequence[bytes]) -> list[bytes]:
        """Answers in one pass; `E_FORMAT` or `E_STATE` if one is malformed or of another version."""
        with kernel_errors(step=STEP):
            return self._core.answer(list(queries))

    def change(self, row: int, record: bytes) -> None:
        """Replaces a record; until `publish` the table answers nothing."""
        with kernel_errors(step=STEP):
            self._core.change(row, record)

    def publish(self, version: bytes) -> bytes:
        """Gives the changed table its new version; returns the delta that askers apply."""
        with kernel_errors(step=STEP):
            return self._core.publish(version)


class Asker:
    """Reads columns of one table with its hint; the arguments are those of the holder's table."""

    def __init__(self, rows: int, record_bytes: int, version: bytes, seed: bytes, hint: bytes) -> None:
        with kernel_errors(step=STEP):
            self._core = _core.PirAsker(rows, record_bytes, version, seed, hint)

    def place(self, row: int) -> tuple[int, int]:
        """Column of a record, and the byte where it begins there; `E_RANGE` outside the table."""
        with kernel_errors(step=STEP):
            return self._core.place(row)

    def query(
        self, column: int, seed: bytes, attempt: int, channel: str, number: int
    ) -> tuple[_core.PirState, bytes]:
        """The secret state and the query for `column`; `E_RANGE` outside the table.

        `number` counts the queries of this attempt and channel: none is used twice, for two queries under one
        secret show whether their columns differ.
        """
        check_labels(seed, attempt)
        with kernel_errors(step=STEP):
            return self._core.query(column, seed, attempt, channel, f"{STEP}/{number}")

    def recover(self, state: _core.PirState, answer: bytes) -> bytes:
        """The column; `E_STATE` for a state used before or another version, `E_FORMAT` for a wrong length.

        Also a refused answer uses the state up. What a cheating holder answers is not noticed here.
        """
        with kernel_errors(step=STEP):
            return self._core.recover(state, answer)

    def apply(self, delta: bytes) -> None:
        """Brings the hint to the next version; refused, it is as before."""
        with kernel_errors(step=STEP):
            self._core.apply(delta)
