"""A worker's hold on what a kept OPRF keeps at this node, and what a replay needs of it.

The node hands the worker a folder and the key of a vault that opens this folder alone. One job at a time uses it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atoll.errors import AtollError
from atoll.node.clock import Clock
from atoll.node.kept import AskerFile, HolderFiles, Limits, pack, unpack
from atoll.node.vault import Vault
from atoll.protocols.kept_oprf import Held

Note = Callable[[str, Any], None]
_PART = 32 << 20
_WAIT_SECONDS = 15.0


def _lock(folder: Path) -> int:
    """Takes the folder for this process until it ends; waits for an earlier job that is ending."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(descriptor)
                raise AtollError("E_BUSY", "another job uses what is kept for this join") from None
            time.sleep(0.1)


class KeptFiles:
    """See `atoll.functions.context.Kept`.

    Args:
        spec: `folder`, `key` of its vault, `label`, and `limits`: askings, days and keys of one key.
        note: keeps an event for a replay.
    """

    def __init__(self, spec: dict[str, Any], clock: Clock, note: Note) -> None:
        folder, vault = Path(spec["folder"]), Vault(spec["key"])
        self._limits = Limits(*spec["limits"])
        self._clock, self._note = clock, note
        self._holder = HolderFiles(folder, vault, spec["label"])
        self._asker = AskerFile(folder / "store", vault, spec["label"])
        self._descriptor = _lock(folder)
        self.most_keys = self._limits.keys
        self.fresh = os.urandom(32)
        note("kept", {"most_keys": self.most_keys, "fresh": self.fresh})

    @property
    def _now(self) -> int:
        return int(self._clock().timestamp())

    def held(self) -> Held | None:
        """The set; None where there is none, or its key has served its time."""
        held = self._holder.load()
        if held is not None and self._limits.due(self._holder.use(held, self._now), self._now):
            held = None
        note_whole(self._note, None if held is None else pack(held))
        return held

    def hold(self, held: Held) -> None:
        """Keeps a set."""
        self._holder.save(held, self._now)

    def charge(self, held: Held, keys: int) -> None:
        """Charges keys; `E_QUOTA` says which setting allows no more."""
        try:
            self._holder.charge(held, keys, self._limits, self._now)
        except AtollError as error:
            if error.code == "E_QUOTA":
                error.cure = (
                    "Raise jobs.kept_keys at the holder, or wait until its key rotates after jobs.kept_days."
                )
            raise

    def store(self) -> bytes | None:
        """The outputs; None where nothing is kept."""
        store = self._asker.load()
        note_whole(self._note, store)
        return store

    def keep(self, store: bytes) -> None:
        """Keeps the outputs."""
        self._asker.save(store)

    def forget(self) -> None:
        """Removes the outputs."""
        self._asker.forget()

    def close(self) -> None:
        """Lets other jobs use the folder."""
        os.close(self._descriptor)


def note_whole(note: Note, body: bytes | None) -> None:
    """Notes bytes of any length in events of limited size: their length, -1 for None, and then the parts."""
    note("kept", -1 if body is None else len(body))
    for start in range(0, len(body or b""), _PART):
        note("kept", (body or b"")[start : start + _PART])


class KeptThen:
    """What was kept when the job ran, from its events; nothing is kept or charged again.

    Args:
        following: the value of the next kept event.
    """

    def __init__(self, following: Callable[[], Any]) -> None:
        first = following()
        if not isinstance(first, dict) or first.keys() != {"most_keys", "fresh"}:
            raise AtollError("E_DATA", "the kept events do not go on with what was kept", step="kept")
        self.most_keys: int = first["most_keys"]
        self.fresh: bytes = first["fresh"]
        self._following = following

    def _parts(self, size: int) -> Iterator[bytes]:
        while size > 0:
            part = self._following()
            if not isinstance(part, bytes) or not 0 < len(part) <= size:
                raise AtollError("E_DATA", "the kept events do not go on with what was kept", step="kept")
            size -= len(part)
            yield part

    def _whole(self) -> bytes | None:
        size = self._following()
        if not isinstance(size, int):
            raise AtollError("E_DATA", "the kept events do not go on with what was kept", step="kept")
        return None if size < 0 else b"".join(self._parts(size))

    def held(self) -> Held | None:
        """The set as it was."""
        body = self._whole()
        return None if body is None else unpack(body)

    def hold(self, held: Held) -> None:
        """It was kept then."""

    def charge(self, held: Held, keys: int) -> None:
        """They were charged then."""

    def store(self) -> bytes | None:
        """The outputs as they were."""
        return self._whole()

    def keep(self, store: bytes) -> None:
        """They were kept then."""

    def forget(self) -> None:
        """They were removed then."""
