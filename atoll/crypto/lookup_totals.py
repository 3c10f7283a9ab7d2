"""Lookup totals: shares of the words that a holder's table has for one id, neither side learning whether it has any.

The table is sealed under a pseudorandom function whose value at an id is only ever shared between the two sides. The
steps are pure; docs/protocols/lookup-totals.md has them in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

from atoll import _core
from atoll.crypto.stream import check_labels, kernel_errors, stream_bytes

STEP: Final = "lookup-totals"
MOST_KEYS: Final = 1 << 24
MOST_WORDS: Final = 16
MOST_CELLS: Final = 4096
MOST_COLUMNS: Final = 1 << 18
SALT_BYTES: Final = 16
WORD_BYTES: Final = 8
# Keys of a column on average: fewer would make queries cheaper and tables larger.
_LOAD: Final = 64
# A column overflows in one of so many tables, 2^40.
_OVERFLOW_BITS: Final = 40
_PREPARED: Final = 128


@dataclass(frozen=True)
class Shape:
    """Columns of a table, cells of a column, words of a cell."""

    columns: int
    cells: int
    words: int

    @property
    def column_bytes(self) -> int:
        """Bytes of a column."""
        return self.cells * _sizes(self.cells, self.words, 1)[0]

    @property
    def table_bytes(self) -> int:
        """Bytes of the sealed table."""
        return self.columns * self.column_bytes

    @property
    def prepared(self) -> int:
        """Queries of one preparation."""
        return min(_PREPARED, (1 << 22) // (self.cells * 32))

    @property
    def blocks(self) -> int:
        """Garbled blocks of a query: one for two of its tag and pads."""
        return -(-(1 + self.words) // 2)

    def cost(self) -> tuple[int, int, int]:
        """Bytes of a preparation, bytes of a query, both sides together, and rounds of a query."""
        _, preparation, query, rounds = _sizes(self.cells, self.words, self.prepared)
        return sum(preparation), sum(query), rounds


@cache
def _sizes(cells: int, words: int, queries: int) -> tuple[int, tuple[int, int], tuple[int, int], int]:
    with kernel_errors(step=STEP):
        return _core.totals_sizes(cells, words, queries)


def shape_for(keys: int, words: int) -> Shape:
    """A shape for so many keys, in which no column overflows but with a chance of 2^-40.

    By Chernoff's bound for one column and the sum over all of them. Tables of up to 64 keys look alike.
    """
    columns = max(1, -(-keys // _LOAD))
    if columns == 1:
        return Shape(1, _LOAD, words)
    mean, cells = keys / columns, _LOAD
    wanted = _OVERFLOW_BITS * math.log(2) + math.log(columns)
    while cells * (math.log(cells / mean) - 1) + mean < wanted:
        cells += 1
    return Shape(columns, cells, words)


def column_of(digest: bytes, salt: bytes, columns: int) -> int:
    """The column of a key (32 bytes), the same for everyone who knows it and the public salt (16 bytes)."""
    with kernel_errors(step=STEP):
        return _core.totals_column(digest, salt, columns)


class Sealed:
    """The holder's function for one state of its table.

    Args:
        seed, attempt, channel: of the job; key, salt and places follow from their streams. A table's values never
            stand under the same labels as another's: two values under one pad would show their difference.
    """

    def __init__(self, seed: bytes, attempt: int, channel: str, shape: Shape) -> None:
        check_labels(seed, attempt)
        self._labels = seed, attempt, channel
        self.shape = shape
        self.salt = stream_bytes(seed, attempt, channel, f"{STEP}/salt", SALT_BYTES)
        secret = stream_bytes(seed, attempt, channel, f"{STEP}/key", 32)
        with kernel_errors(step=STEP):
            self._core = _core.TotalsSealing(secret, shape.cells, shape.words)

    def table(self, digests: bytes, values: bytes) -> bytes:
        """The sealed table, `Shape.table_bytes` long.

        Args:
            digests: distinct keys, 32 bytes each.
            values: for each key its words, 8 little-endian bytes each.

        Raises:
            AtollError: `E_FORMAT` for wrong lengths, `E_DUPLICATE` if a key comes twice, `E_TOO_LARGE` if a column
                overflows.
        """
        with kernel_errors(step=STEP):
            return self._core.table(
                self.shape.columns, self.salt, digests, values, *self._labels, f"{STEP}/cells"
            )

    def query(self, pool: Pool) -> Query:
        """The next query of a pool, answered by this table; `E_STATE` when none is left."""
        with kernel_errors(step=STEP):
            return Query(pool._core.query(self._core))


class Preparation:
    """One party's side of the preparation of queries between an asker and a holder, as `atoll.protocols.driver` has it.

    Args:
        seed, attempt: of this party's job.
        channel, context: the same at both sides, used for one preparation only.
        asker: which side this is.
        shape: of the holder's table.
    """

    def __init__(
        self,
        seed: bytes,
        attempt: int,
        channel: str,
        context: bytes,
        shape: Shape,
        *,
        asker: bool,
        threads: int = 1,
    ) -> None:
        check_labels(seed, attempt)
        with kernel_errors(step=STEP):
            self._core = _core.TotalsPreparation(
                seed, attempt, channel, context, asker, shape.cells, shape.words, shape.prepared, threads
            )

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """`(bytes, step, opens)` of the next message, None while the peer's must come first."""
        with kernel_errors(step=STEP):
            return self._core.next_message()

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message; `E_PROTOCOL`."""
        with kernel_errors(step=STEP):
            self._core.receive(message)

    @property
    def done(self) -> bool:
        """True when nothing is left to send or to receive."""
        return self._core.done

    def progress(self) -> tuple[int, int]:
        """Preparations done, of one."""
        return int(self.done), 1

    def pool(self) -> Pool:
        """The prepared queries, once; `E_STATE` before the end."""
        with kernel_errors(step=STEP):
            return Pool(self._core.pool())


class Pool:
    """Prepared queries, each of which serves once."""

    def __init__(self, core: _core.TotalsPool) -> None:
        self._core = core

    @property
    def left(self) -> int:
        """Queries that are left."""
        return self._core.left

    def query(self) -> Query:
        """At the asker: the next query, still without an id; `E_STATE` when none is left."""
        with kernel_errors(step=STEP):
            return Query(self._core.query())


class Query:
    """One party's side of one query. The asker's takes the garbled blocks before it has an id."""

    def __init__(self, core: _core.TotalsQuery) -> None:
        self._core = core

    def ask(self, digest: bytes, column: bytes) -> None:
        """At the asker: the id (32 bytes), and the column where its cell would stand."""
        with kernel_errors(step=STEP):
            self._core.ask(digest, column)

    def outgoing(self) -> list[bytes]:
        """Messages that can be sent before the peer's next one."""
        found = []
        with kernel_errors(step=STEP):
            while (message := self._core.next_message()) is not None:
                found.append(message)
        return found

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message; `E_PROTOCOL`."""
        with kernel_errors(step=STEP):
            self._core.receive(message)

    @property
    def done(self) -> bool:
        """True when nothing is left to send or to receive."""
        return self._core.done

    def shares(self) -> list[int]:
        """This side's shares modulo 2^64 of the id's words, zeros if the table has none; `E_STATE` before the end."""
        with kernel_errors(step=STEP):
            found = self._core.shares()
        return [int.from_bytes(found[at : at + 8], "little") for at in range(0, len(found), WORD_BYTES)]
