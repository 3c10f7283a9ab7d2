"""Sealed lookup: read one record of a holder's table by its key and nothing else, unseen by the holder.

A record is sealed under the value of an oblivious pseudorandom function (RFC 9497) at its key, and its column fetched
by index PIR (`atoll.crypto.pir`). The steps are pure; docs/protocols/sealed-lookup.md has them in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from atoll import _core
from atoll.crypto.stream import check_labels, kernel_errors

STEP: Final = "sealed-lookup"
MOST_KEYS: Final = 1 << 24
MOST_RECORD_BYTES: Final = 4096
MOST_COLUMNS: Final = 1 << 18
MOST_BATCH: Final = 65_535
"""Keys that are evaluated under one proof, at most."""
VERSION_BYTES: Final = 16
SALT_BYTES: Final = 16
PROOF_BYTES: Final = 64
SECRET_BYTES: Final = 1408
ENCRYPTION_KEYS_BYTES: Final = 168_992
"""What an asker without a hint sends once: a seed, and 15 polynomials of 2048 words of 44 bits."""
_ENCRYPTED_BYTES: Final = 33_824
_BLOCK_ROWS: Final = 2048
_BLOCK_BYTES: Final = 5120


@dataclass(frozen=True)
class Epoch:
    """What a holder says of a table that it sealed.

    Attributes:
        columns, cells, record_bytes: columns, cells of each, bytes of a record.
        salt: 16 bytes by which keys are placed.
        public: the function's public key, 32 bytes.
        version: 16 bytes that name the state of the table.
        seed: 32 public bytes of the matrix.
    """

    columns: int
    cells: int
    record_bytes: int
    salt: bytes
    public: bytes
    version: bytes
    seed: bytes

    @property
    def column_bytes(self) -> int:
        """Bytes of a column: for each cell a write number (4), a tag (16) and a record."""
        return self.cells * (20 + self.record_bytes)

    @property
    def hint_bytes(self) -> int:
        """Bytes of the hint as it travels."""
        return VERSION_BYTES + 4 * SECRET_BYTES * self.column_bytes

    @property
    def table_bytes(self) -> int:
        """Bytes of the sealed table."""
        return self.columns * self.column_bytes

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the public matrix, which the asker makes and keeps."""
        return 4 * SECRET_BYTES * self.columns

    @property
    def query_bytes(self) -> int:
        """Bytes of a query."""
        return VERSION_BYTES + 4 * self.columns

    @property
    def answer_bytes(self) -> int:
        """Bytes of an answer."""
        return VERSION_BYTES + 4 * self.column_bytes

    @property
    def question_bytes(self) -> int:
        """Bytes of a question without a hint: a query, and its secret in three polynomials."""
        return self.query_bytes + _ENCRYPTED_BYTES

    @property
    def whole_answer_bytes(self) -> int:
        """Bytes of an answer to a question: two for each byte of a column, and what unmasks 2048 of them."""
        blocks = -(-self.column_bytes // _BLOCK_ROWS)
        return VERSION_BYTES + blocks * _BLOCK_BYTES + 2 * self.column_bytes

    def delta_bytes(self, changes: int) -> int:
        """Bytes of the delta of so many changed cells: two versions, then for each its number and two contents."""
        return 2 * VERSION_BYTES + changes * (4 + 2 * (20 + self.record_bytes))


class Holder:
    """The holder's table in one epoch. One thread changes it at a time; it answers from any.

    Args:
        secret: 32 secret bytes of the function's key.
        seed, attempt, channel: of the job; the stream `sealed-lookup/table` says where records stand, and fills the
            cells that hold none.
        version: 16 bytes that name this state.
        matrix: 32 public bytes from which both sides make the matrix of index PIR.
        digests: distinct keys, 32 bytes each, at most 2^24.
        records: `record_bytes` (1 to 4096) bytes for each key.

    Raises:
        AtollError: `E_FORMAT` for wrong lengths, `E_RANGE` for sizes outside, `E_DUPLICATE` if a key comes twice.
    """

    def __init__(
        self,
        secret: bytes,
        seed: bytes,
        attempt: int,
        channel: str,
        *,
        version: bytes,
        matrix: bytes,
        digests: bytes,
        records: bytes,
        record_bytes: int,
        threads: int = 1,
    ) -> None:
        check_labels(seed, attempt)
        self._labels = seed, attempt, channel
        self._version, self._matrix = version, matrix
        with kernel_errors(step=STEP):
            self._core = _core.LookupHolder(
                secret, *self._labels, f"{STEP}/table", version, digests, records, record_bytes, threads
            )

    @property
    def epoch(self) -> Epoch:
        """What askers need to know of it."""
        columns, cells, record_bytes, salt, public, _ = self._core.describe()
        return Epoch(columns, cells, record_bytes, salt, public, self._version, self._matrix)

    @property
    def keys(self) -> int:
        """Keys that have a record."""
        return self._core.describe()[5]

    def hint(self) -> bytes:
        """What an asker needs once, `Epoch.hint_bytes` long."""
        with kernel_errors(step=STEP):
            return self._core.hint(self._matrix)

    def evaluate(self, blinded: bytes, granted: int, number: int) -> bytes:
        """The function's values at blinded keys under a proof; `number` counts the evaluations of this attempt.

        Raises:
            AtollError: `E_PROTOCOL` for bytes that are no elements, `E_QUOTA` for more than `granted`.
        """
        with kernel_errors(step=STEP):
            return self._core.evaluate(blinded, granted, *self._labels, f"{STEP}/proof/{number}")

    def answer(self, queries: Sequence[bytes]) -> list[bytes]:
        """Answers in one pass over the table; `E_FORMAT` or `E_STATE` if one is malformed or of another version."""
        with kernel_errors(step=STEP):
            return self._core.answer(list(queries))

    def columns(self, first: int, count: int) -> bytes:
        """The bytes of some columns, one after the other, for an asker that takes the sealed table whole."""
        with kernel_errors(step=STEP):
            return self._core.columns(first, count)

    def update(self, version: bytes, removed: bytes, digests: bytes, records: bytes) -> bytes:
        """Takes up a new version: keys that go, and keys that come or have another record. The delta for askers.

        Raises:
            AtollError: `E_TOO_LARGE` if a column is full: then the table is sealed anew. `E_NOT_FOUND`,
                `E_DUPLICATE`, `E_STATE` for changes that are none. The table is as before then.
        """
        with kernel_errors(step=STEP):
            delta = self._core.update(version, removed, digests, records)
        self._version = version
        return delta


class Products:
    """A holder's hint, which it multiplies with encrypted secrets itself: for an asker that takes no hint.

    Args:
        holder: whose table it is.
        kept_bytes: memory up to which the hint is also kept ready for products; else they take half as long again.
    """

    def __init__(self, holder: Holder, kept_bytes: int) -> None:
        self._holder = holder
        with kernel_errors(step=STEP):
            self._core = _core.LookupProducts(holder._core, holder.epoch.seed, kept_bytes)

    def take_keys(self, keys: bytes) -> None:
        """Takes the keys of the asker's encryption; `E_FORMAT` for bytes that are none."""
        with kernel_errors(step=STEP):
            self._core.take_keys(keys)

    def apply(self, delta: bytes) -> None:
        """Takes up what `Holder.update` gave."""
        with kernel_errors(step=STEP):
            self._core.apply(self._holder._core, delta)

    def answer(self, questions: Sequence[bytes]) -> list[bytes]:
        """Answers to questions, `Epoch.whole_answer_bytes` long.

        Raises:
            AtollError: `E_FORMAT` or `E_STATE` if one is malformed or of another version.
        """
        with kernel_errors(step=STEP):
            return self._core.answer(self._holder._core, list(questions))


class Asker:
    """Reads records of one epoch with its hint.

    Most of a query does not depend on its column: `prepare` makes that ahead of need, from any thread.

    Raises:
        AtollError: `E_RANGE` for an epoch that is none, `E_FORMAT` for a wrong length, `E_STATE` for another version.
    """

    def __init__(self, epoch: Epoch, hint: bytes, seed: bytes, attempt: int, channel: str) -> None:
        check_labels(seed, attempt)
        with kernel_errors(step=STEP):
            self._core = _core.LookupAsker(
                epoch.columns, epoch.cells, epoch.record_bytes, epoch.salt, epoch.public, epoch.version, epoch.seed,
                hint, seed, attempt, channel,
            )  # fmt: skip

    def blind(self, digests: bytes, number: int) -> tuple[_core.LookupBlinded, bytes]:
        """Blinds keys (32 bytes each, 1 to 65,535): the secret state, and what the holder is sent.

        `number` counts the groups of this attempt: none is used twice, since blinds of one number are the same.
        """
        with kernel_errors(step=STEP):
            return self._core.blind(digests, number)

    def finish(
        self, blinded: _core.LookupBlinded, evaluation: bytes, places: Sequence[int]
    ) -> list[_core.LookupKey]:
        """What opens the records of the keys at these places, which the holder evaluated.

        Raises:
            AtollError: `E_PROTOCOL` if its proof does not hold.
        """
        with kernel_errors(step=STEP):
            return self._core.finish(blinded, evaluation, list(places))

    def prepare(self, least: int, most: int) -> None:
        """Has `most` queries ready but for their columns if fewer than `least` are.

        Each takes `4 (columns + column_bytes + 1408)` bytes. Several are made for little more than one, since matrix
        and hint are read once for all.
        """
        with kernel_errors(step=STEP):
            self._core.prepare(least, most)

    def queries(self, keys: Sequence[_core.LookupKey]) -> list[tuple[_core.PirState, bytes]]:
        """For each key the secret state and the query for its column, from those that are ready as far as they go."""
        with kernel_errors(step=STEP):
            return self._core.queries(list(keys))

    def open(self, key: _core.LookupKey, state: _core.PirState, answer: bytes) -> bytes | None:
        """The key's record; None if the table has none, or if the holder spoiled it.

        Raises:
            AtollError: `E_FORMAT` for a wrong length, `E_STATE` for a query that was answered, or another version.
        """
        with kernel_errors(step=STEP):
            return self._core.open(key, state, answer)

    def keep(self, table: bytes) -> None:
        """Takes the sealed table whole, `Epoch.table_bytes` long, of the version at hand; `E_FORMAT`."""
        with kernel_errors(step=STEP):
            self._core.keep(table)

    def open_kept(self, key: _core.LookupKey) -> bytes | None:
        """As `open`, from the table that was taken whole; `E_STATE` if none was."""
        with kernel_errors(step=STEP):
            return self._core.open_kept(key)

    def apply(self, delta: bytes) -> None:
        """Brings the hint, and a table that was taken whole, to the next version; refused, they are as before."""
        with kernel_errors(step=STEP):
            self._core.apply(delta)


class OneShotAsker:
    """Reads records of one epoch without its hint, for 34 KB more a key and more of the holder's time.

    Arguments and errors as of `Asker`.
    """

    def __init__(self, epoch: Epoch, seed: bytes, attempt: int, channel: str) -> None:
        check_labels(seed, attempt)
        with kernel_errors(step=STEP):
            self._core = _core.LookupOneShot(
                epoch.columns, epoch.cells, epoch.record_bytes, epoch.salt, epoch.public, epoch.version, epoch.seed,
                seed, attempt, channel,
            )  # fmt: skip

    @property
    def keys(self) -> bytes:
        """The keys of its encryption, which the holder is sent once: `ENCRYPTION_KEYS_BYTES`."""
        return self._core.keys()

    def blind(self, digests: bytes, number: int) -> tuple[_core.LookupBlinded, bytes]:
        """As `Asker.blind`."""
        with kernel_errors(step=STEP):
            return self._core.blind(digests, number)

    def finish(
        self, blinded: _core.LookupBlinded, evaluation: bytes, places: Sequence[int]
    ) -> list[_core.LookupKey]:
        """As `Asker.finish`."""
        with kernel_errors(step=STEP):
            return self._core.finish(blinded, evaluation, list(places))

    def questions(self, keys: Sequence[_core.LookupKey]) -> list[bytes]:
        """For each key the question for its column, each with a secret of its own: `Epoch.question_bytes`."""
        with kernel_errors(step=STEP):
            return self._core.questions(list(keys))

    def open(self, key: _core.LookupKey, answer: bytes) -> bytes | None:
        """The key's record; None if the table has none, or if the holder spoiled it.

        Raises:
            AtollError: `E_FORMAT` for a wrong length, `E_STATE` for another version.
        """
        with kernel_errors(step=STEP):
            return self._core.open(key, answer)

    def renew(self, version: bytes) -> None:
        """Names the version of the table that is asked from now on, 16 bytes."""
        with kernel_errors(step=STEP):
            self._core.renew(version)
