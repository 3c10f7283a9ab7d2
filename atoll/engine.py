"""The private join of tables in hand: own keys and a channel in, the rows that both sides have out.

    from atoll.engine import private_intersection

    rows = private_intersection(table["id"], channel, learns="me")

This is the engine that nodes run inside their workers, without what makes it safe to offer to a stranger: no
agreement, no policy, no limit on what a series of calls reveals, no receipt. The caller brings an authenticated,
encrypted channel, and answers for the keys being the ones that both agreed to compare.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atoll.crypto.files import FileArray, whole
from atoll.crypto.key_files import KeyFiles, key_files
from atoll.crypto.keys import KeySet, int64_array, key_digests
from atoll.crypto.psi import MAX_ITEMS, Learns, Security, Side, Variant
from atoll.crypto.suite import digest, digest_bytes
from atoll.errors import AtollError
from atoll.protocols import ecdh_psi, rows_on_disk, vole_psi
from atoll.protocols.driver import Channel
from atoll.protocols.ecdh_psi import Intersection
from atoll.protocols.rows import rows_in_order, rows_of

__all__ = ["Channel", "FileArray", "KeyFiles", "KeySet", "key_digests", "key_files", "private_intersection"]

Who = Literal["me", "peer", "both"]
Keys: TypeAlias = (
    KeySet | KeyFiles | pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray | npt.NDArray[Any]
)
Rows: TypeAlias = npt.NDArray[np.int64] | FileArray

_CHANNEL: Final = "intersection"
_HELLO: Final = b"atoll intersection v1 "
_NONCE_BYTES: Final = 32
_WHO: Final = {"me": 1, "peer": 2, "both": 3}
# Each run that can be had, in one byte of the hello.
_RUNS: Final = {
    (ecdh_psi.PROTOCOL, "semi-honest", "fast"): 1,
    (vole_psi.PROTOCOL, "semi-honest", "fast"): 2,
    (vole_psi.PROTOCOL, "malicious", "fast"): 3,
    (vole_psi.PROTOCOL, "semi-honest", "low-communication"): 4,
}
# What a machine takes for an item of its bucket, both sides as large (measured), and the least bucket worth having.
_BYTES_AN_ITEM: Final = 256
_LEAST_BUCKET: Final = 1 << 14


@dataclass(frozen=True)
class _Terms:
    """What both sides must have been asked for alike, the number of distinct keys, and the largest bucket wished.

    `context` is a digest.
    """

    run: int
    learns: int
    keys: int
    bucket: int
    context: bytes

    def hello(self, nonce: bytes) -> bytes:
        """The first message."""
        numbers = struct.pack("<BBII", self.run, self.learns, self.keys, self.bucket)
        return _HELLO + numbers + self.context + nonce

    def peer(self, mine: bytes, theirs: bytes) -> _Terms:
        """The peer's terms out of its hello, with who learns said from this side's place."""
        if len(theirs) != len(mine) or not theirs.startswith(_HELLO) or theirs == mine:
            raise AtollError("E_PROTOCOL", "The peer does not begin an intersection.", step=_CHANNEL)
        run, learns, keys, bucket = struct.unpack_from("<BBII", theirs, len(_HELLO))
        if (run, learns) != (self.run, {1: 2, 2: 1, 3: 3}[self.learns]):
            raise AtollError(
                "E_PROTOCOL", "The peer runs another protocol or lets others learn.", step=_CHANNEL
            )
        if theirs[-_NONCE_BYTES - len(self.context) : -_NONCE_BYTES] != self.context:
            raise AtollError("E_PROTOCOL", "The peer means another occasion.", step=_CHANNEL)
        if keys > MAX_ITEMS or not _LEAST_BUCKET <= bucket <= vole_psi.BUCKET_ITEMS:
            raise AtollError("E_PROTOCOL", "The peer's numbers are out of range.", step=_CHANNEL)
        return _Terms(run, self.learns, keys, bucket, self.context)


def _bucket(memory: int | None) -> int:
    """Items of a bucket that take so many bytes."""
    most: int = vole_psi.BUCKET_ITEMS
    if memory is None:
        return most
    if memory < _LEAST_BUCKET * _BYTES_AN_ITEM:
        least = _LEAST_BUCKET * _BYTES_AN_ITEM >> 20
        raise AtollError("E_MEMORY", f"An intersection takes at least {least} MiB beside its keys.")
    return min(most, memory // _BYTES_AN_ITEM)


def private_intersection(
    keys: Keys,
    channel: Channel,
    *,
    learns: Who = "me",
    protocol: str = vole_psi.PROTOCOL,
    security: Security | None = None,
    variant: Variant = "fast",
    steps: Mapping[str, Sequence[str]] | None = None,
    order: Literal["rows", "shared"] = "rows",
    memory: int | None = None,
    threads: int = 1,
    context: bytes = b"",
    seed: bytes | None = None,
    before_open: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Rows | None:
    """Runs this side of a private intersection with the peer at the other end of `channel`.

    Both sides learn how many distinct keys the other has. Who learns learns in addition which of its own keys the
    peer has too; the other learns nothing more.

    Args:
        keys: the key of each row: a table or record batch (all its columns, in this order, make the key), an
            array of one column, a key set of `key_digests`, or the files of `key_files`, for tables larger than
            memory. Types and columns match when they do in a join. A row with a null in its key matches nothing.
        channel: ordered, reliable and authenticated; see `atoll.protocols.driver.Channel`. After the call it is
            as the protocol left it, and may carry the next one.
        learns: who learns: `me`, `peer` or `both`. The peer says the same from its own place.
        protocol: `vole-psi/v1`, or `ecdh-psi/v1`, which sends less and works more.
        security: what the run withstands: `malicious` or `semi-honest`; default the most that the protocol has.
        variant: `fast`, or `low-communication` (semi-honest `vole-psi/v1` only).
        steps: normalisation by column, as for `key_digests`.
        order: `rows` gives row numbers ascending; `shared` gives rows by matched key in an order that is the same
            on both sides, rows of one key ascending: with unique keys the two results stand row beside row.
        memory: bytes that `vole-psi/v1` may take beside the keys, at least 4 MiB; less means more buckets. The
            smaller wish of the two sides holds. With keys in files, what else is in memory is a bit for each key and
            a few tens of MB; `ecdh-psi/v1` takes all keys into memory.
        threads: worker threads, 1 to 1024.
        context: bytes that name the occasion, the same on both sides; the peer is shown a digest of them.
        seed: 32 secret bytes that fix all randomness; default new ones. Never use a seed twice.
        before_open: called once before the first message that lets the peer learn.
        progress: called with work done and to do.

    Returns:
        Row numbers from 0, int64; None where this side learns nothing. Of keys in files they are in a file without a
        name beside them, as a `FileArray`: `rows[start:stop]` reads some, `numpy.asarray(rows)` all.

    Raises:
        AtollError: `E_PROTOCOL` if the peer breaks the protocol or was asked for another run; `E_FORMAT` for an
            argument out of its range; `E_DISK` if the disk of key files is full; what `key_digests` and the channel
            raise.
    """
    if security is None:
        security = "semi-honest" if protocol == ecdh_psi.PROTOCOL or variant != "fast" else "malicious"
    chosen = _RUNS.get((protocol, security, variant))
    if chosen is None or learns not in _WHO or order not in ("rows", "shared"):
        raise AtollError(
            "E_FORMAT", f"Not to be had: {protocol=}, {security=}, {variant=}, {learns=}, {order=}."
        )
    wish = _bucket(memory)
    known = keys if isinstance(keys, KeySet | KeyFiles) else _key_set(keys, steps or {}, threads)
    occasion = digest_bytes(digest(_HELLO + context))
    terms = _Terms(chosen, _WHO[learns], known.n_unique, wish, occasion)
    hello = terms.hello(os.urandom(_NONCE_BYTES))
    channel.send(hello, "hello")
    theirs = channel.recv()
    peer = terms.peer(hello, theirs)
    bound = b"".join(sorted((hello, theirs)))
    i_learn: Learns = "nothing" if learns == "peer" else "rows"
    peer_learns: Learns = "nothing" if learns == "me" else "rows"
    side = Side(known.digests, None, peer.keys, i_learn, peer_learns, digest_bytes(digest(bound)))
    run = ecdh_psi.run
    if protocol == vole_psi.PROTOCOL:
        bucket = min(wish, peer.bucket)
        run = partial(vole_psi.run, security=security, variant=variant, bucket_items=bucket)
    found = run(
        side,
        channel,
        seed=os.urandom(32) if seed is None else seed,
        attempt=0,
        name=_CHANNEL,
        threads=threads,
        before_open=before_open,
        progress=progress,
    )
    return _rows(known, found, order)


def _rows(known: KeySet | KeyFiles, found: Intersection, order: str) -> Rows | None:
    """The rows of the matched keys."""
    if found.matched is None:
        return None
    if isinstance(known, KeyFiles):
        if order == "shared":
            return rows_on_disk.rows_in_order(known.rows, found.matched, known.n_unique)[0]
        return rows_on_disk.rows_of(known.rows, found.matched, known.n_unique)
    matched = np.frombuffer(whole(found.matched), dtype="<u4")
    rows = np.frombuffer(known.rows, dtype="<u4")
    if order == "shared":
        return rows_in_order(rows, matched, known.n_unique)[0]
    return rows_of(rows, matched, known.n_unique)


def _key_set(keys: Any, steps: Mapping[str, Sequence[str]], threads: int) -> KeySet:
    if isinstance(keys, np.ndarray):
        try:
            keys = int64_array(keys) if keys.dtype == np.int64 and keys.ndim == 1 else pa.array(keys)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise AtollError("E_TYPE", f"The array cannot be a key: {error}.") from None
    if isinstance(keys, pa.Array | pa.ChunkedArray):
        keys = pa.table({"key": keys})
    if isinstance(keys, pa.RecordBatch):
        keys = pa.Table.from_batches([keys])
    if not isinstance(keys, pa.Table):
        raise AtollError("E_TYPE", f"Keys are an Arrow table or array, or a NumPy array, not {type(keys)}.")
    return key_digests(keys, keys.column_names, steps, threads)
