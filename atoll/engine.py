"""The private join of tables in hand: own keys and a channel in, the rows that both sides have out.

    from atoll.engine import private_intersection

    rows = private_intersection(table["id"], channel, learns="me")

This is the engine that nodes run inside their workers, without what makes it safe to offer to a stranger: no
agreement, no policy, no limit on what a series of calls reveals, no receipt. The caller brings an authenticated,
encrypted channel, and answers for the keys being the ones that both agreed to compare.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atoll.crypto.keys import KeySet, int64_array, key_digests
from atoll.crypto.psi import MAX_ITEMS, Learns, Side
from atoll.crypto.suite import digest, digest_bytes
from atoll.errors import AtollError
from atoll.protocols import ecdh_psi
from atoll.protocols.driver import Channel
from atoll.protocols.rows import rows_in_order, rows_of

__all__ = ["Channel", "KeySet", "key_digests", "private_intersection"]

Who = Literal["me", "peer", "both"]
Keys: TypeAlias = KeySet | pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray | npt.NDArray[Any]

_CHANNEL: Final = "intersection"
_HELLO: Final = b"atoll intersection v1 "
_NONCE_BYTES: Final = 32
_PROTOCOLS: Final = (ecdh_psi.PROTOCOL,)
_WHO: Final = {"me": 1, "peer": 2, "both": 3}


@dataclass(frozen=True)
class _Terms:
    """What both sides must have been asked for alike."""

    protocol: int
    learns: int
    keys: int

    def hello(self, nonce: bytes) -> bytes:
        """The first message: these terms, the number of distinct keys (u32 little-endian), and a nonce."""
        return _HELLO + bytes([self.protocol, self.learns]) + self.keys.to_bytes(4, "little") + nonce

    def peer_keys(self, mine: bytes, theirs: bytes) -> int:
        """The peer's number of keys out of its hello."""
        at = len(_HELLO) + 2
        # Who learns is said from each side's own place.
        swapped = {1: 2, 2: 1, 3: 3}[self.learns]
        if len(theirs) != len(mine) or not theirs.startswith(_HELLO) or theirs == mine:
            raise AtollError("E_PROTOCOL", "The peer does not begin an intersection.", step=_CHANNEL)
        if theirs[len(_HELLO) : at] != bytes([self.protocol, swapped]):
            raise AtollError(
                "E_PROTOCOL", "The peer runs another protocol or lets others learn.", step=_CHANNEL
            )
        keys = int.from_bytes(theirs[at : at + 4], "little")
        if keys > MAX_ITEMS:
            raise AtollError("E_PROTOCOL", "The peer declares too many keys.", step=_CHANNEL)
        return keys


def private_intersection(
    keys: Keys,
    channel: Channel,
    *,
    learns: Who = "me",
    protocol: str = ecdh_psi.PROTOCOL,
    steps: Mapping[str, Sequence[str]] | None = None,
    order: Literal["rows", "shared"] = "rows",
    threads: int = 1,
    context: bytes = b"",
    seed: bytes | None = None,
    before_open: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> npt.NDArray[np.int64] | None:
    """Runs this side of a private intersection with the peer at the other end of `channel`.

    Both sides learn how many distinct keys the other has. Who learns learns in addition which of its own keys the
    peer has too; the other learns nothing more.

    Args:
        keys: the key of each row: a table or record batch (all its columns, in this order, make the key), an
            array of one column, or a key set of `key_digests`. Types and columns match when they do in a join.
            A row with a null in its key matches nothing.
        channel: ordered, reliable and authenticated; see `atoll.protocols.driver.Channel`. After the call it is
            as the protocol left it, and may carry the next one.
        learns: who learns: `me`, `peer` or `both`. The peer says the same from its own place.
        protocol: `ecdh-psi/v1` (semi-honest).
        steps: normalisation by column, as for `key_digests`.
        order: `rows` gives row numbers ascending; `shared` gives rows by matched key in an order that is the same
            on both sides, rows of one key ascending: with unique keys the two results stand row beside row.
        threads: worker threads, 1 to 1024.
        context: bytes that name the occasion, the same on both sides.
        seed: 32 secret bytes that fix all randomness; default new ones. Never use a seed twice.
        before_open: called once before the first message that lets the peer learn.
        progress: called with work done and to do.

    Returns:
        Row numbers from 0, int64; None where this side learns nothing.

    Raises:
        AtollError: `E_PROTOCOL` if the peer breaks the protocol or was asked for another run; `E_FORMAT` for an
            argument out of its range; what `key_digests` and the channel raise.
    """
    if learns not in _WHO or protocol not in _PROTOCOLS or order not in ("rows", "shared"):
        raise AtollError("E_FORMAT", f"Not to be had: {learns=}, {protocol=}, {order=}.")
    known = keys if isinstance(keys, KeySet) else _key_set(keys, steps or {}, threads)
    terms = _Terms(_PROTOCOLS.index(protocol), _WHO[learns], known.n_unique)
    seed = os.urandom(32) if seed is None else seed
    hello = terms.hello(os.urandom(_NONCE_BYTES))
    channel.send(hello, "hello")
    theirs = channel.recv()
    peer_items = terms.peer_keys(hello, theirs)
    first, second = sorted((hello, theirs))
    bound = len(context).to_bytes(8, "little") + context + first + second
    i_learn: Learns = "nothing" if learns == "peer" else "rows"
    peer_learns: Learns = "nothing" if learns == "me" else "rows"
    side = Side(known.digests, None, peer_items, i_learn, peer_learns, digest_bytes(digest(bound)))
    found = ecdh_psi.run(
        side,
        channel,
        seed=seed,
        attempt=0,
        name=_CHANNEL,
        threads=threads,
        before_open=before_open,
        progress=progress,
    )
    if found.matched is None:
        return None
    matched = np.frombuffer(found.matched, dtype="<u4")
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
