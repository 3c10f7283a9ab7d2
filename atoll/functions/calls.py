"""The book of a block of calls: a salted record of each, kept by both sides, and the root that its receipt names.

Each record is a leaf of an RFC 6962 tree. Beside it the file keeps what only this party may show: the opening of an
attested consent, or the authorisation that was presented.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2

from atoll.agreements.consent import call_record
from atoll.crypto.suite import DEFAULT
from atoll.errors import AtollError
from atoll.ledger.merkle import Frontier, inclusion_proof, leaf_hash
from atoll.ledger.storage import MemoryStorage

SALT_BYTES = 16


@dataclass(frozen=True)
class Kept:
    """One call as a book keeps it."""

    record: bytes
    opening: bytes | None
    envelope: Mapping[str, Any] | None


class CallBook:
    """A book that is written. One thread uses it.

    Args:
        path: its file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._edge = Frontier()

    @property
    def calls(self) -> int:
        """Calls recorded so far."""
        return self._edge.size

    @property
    def root(self) -> str:
        """`algorithm:hex` of the root over all records."""
        return f"{DEFAULT.hash.name}:{self._edge.root().hex()}"

    def add(
        self,
        request: bytes,
        answer: bytes,
        salt: bytes,
        consent: str | None,
        opening: bytes | None = None,
        envelope: Mapping[str, Any] | None = None,
    ) -> None:
        """Records the next call; `opening` and `envelope` are this party's to show.

        Raises:
            AtollError: `E_FORMAT` for a salt that is none.
        """
        if len(salt) != SALT_BYTES:
            raise AtollError("E_FORMAT", f"a call's salt has {SALT_BYTES} bytes")
        record = call_record(self.calls + 1, consent, request, answer, salt)
        self._edge.append(leaf_hash(record))
        self._file.write(cbor2.dumps([record, opening, envelope]))
        self._file.flush()

    def close(self) -> None:
        """Ends the book."""
        self._file.close()


def read_book(path: Path) -> list[Kept]:
    """All calls of a book that this node wrote, in order; `E_NOT_FOUND` if it is gone."""
    found = []
    try:
        with path.open("rb") as file:
            decoder = cbor2.CBORDecoder(file)
            end = path.stat().st_size
            while file.tell() < end:
                record, opening, envelope = decoder.decode()
                found.append(Kept(record, opening, envelope))
    except FileNotFoundError:
        raise AtollError("E_NOT_FOUND", "the records of these calls are not kept any more") from None
    return found


def prove_call(book: list[Kept], index: int) -> list[bytes]:
    """The path from the record at `index` to the root of its block."""
    storage = MemoryStorage()
    edge = Frontier()
    for kept in book:
        storage.append([], edge.append(leaf_hash(kept.record)))
    return inclusion_proof(index, len(book), storage.hashes)
