"""What stays between the runs of a kept OPRF: the holder's key, set and use, and the asker's store.

Every file is sealed, mode 0600 and replaced whole, so a crash leaves the one before. A set and its use stand in two
files: the use is small and written before each answer. The use of another key counts as none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from atoll.errors import AtollError
from atoll.node.files import write_private
from atoll.node.vault import Vault
from atoll.protocols.kept_oprf import Held

_HELD: Final = struct.Struct("<32sQBIQQQ")
_USE: Final = struct.Struct("<32sQQQ")
_DAY: Final = 86_400


@dataclass(frozen=True)
class Use:
    """What was answered under one key.

    Attributes:
        public: the public key.
        since: Unix time in seconds of its first set.
        askings: number of askings.
        keys: number of keys asked, answered or not.
    """

    public: bytes
    since: int
    askings: int = 0
    keys: int = 0


@dataclass(frozen=True)
class Limits:
    """When a key has served its time, and how much is answered under it.

    Attributes:
        askings: askings after which the key rotates.
        days: days after which it rotates.
        keys: keys that are answered under one key, at most.
    """

    askings: int
    days: int
    keys: int

    def due(self, use: Use, now: int) -> bool:
        """True if the key must rotate before the next asking."""
        return use.askings >= self.askings or now - use.since >= self.days * _DAY


def pack(held: Held) -> bytes:
    """A set as bytes, with its key: as secret as the key."""
    before, old = held.before or (0, b"")
    head = _HELD.pack(
        held.seed,
        held.version,
        held.width,
        len(held.info),
        before,
        len(old) // 32,
        len(held.digests) // 32,
    )
    return head + held.info + held.digests + old


def unpack(body: bytes) -> Held:
    """A set from its bytes; `E_FORMAT` if they have another length than they say."""
    if len(body) < _HELD.size:
        raise AtollError("E_FORMAT", "The file of a kept set is cut short.")
    seed, version, width, info_bytes, before, old, count = _HELD.unpack_from(body)
    start = _HELD.size + info_bytes
    info = body[_HELD.size : start]
    digests = body[start : start + 32 * count]
    rest = body[start + 32 * count :]
    if len(digests) != 32 * count or len(rest) != 32 * old:
        raise AtollError("E_FORMAT", "The file of a kept set has another length than it says.")
    return Held(seed, info, version, width, digests, (before, rest) if before else None)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


class HolderFiles:
    """The holder's files for one lineage and partner, in `folder` (made if it is absent)."""

    def __init__(self, folder: Path, vault: Vault, label: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = folder / "held"
        self._use = folder / "use"
        self._vault = vault
        self._label = f"kept-oprf/{label}"

    def load(self) -> Held | None:
        """The set that is held; `None` before the first. `E_PASSPHRASE` if the file was changed."""
        sealed = _read(self._held)
        if sealed is None:
            return None
        return unpack(self._vault.open(f"{self._label}/held", sealed))

    def save(self, held: Held, now: int) -> None:
        """Keeps a set; a new key begins a new use at Unix time `now`."""
        write_private(self._held, self._vault.seal(f"{self._label}/held", pack(held)))
        if self._stored_use(held.state.public) is None:
            self._store_use(Use(held.state.public, now))

    def use(self, held: Held, now: int) -> Use:
        """What was answered under the key of `held`."""
        return self._stored_use(held.state.public) or Use(held.state.public, now)

    def _stored_use(self, public: bytes) -> Use | None:
        sealed = _read(self._use)
        if sealed is None:
            return None
        use = Use(*_USE.unpack(self._vault.open(f"{self._label}/use", sealed)))
        return use if use.public == public else None

    def _store_use(self, use: Use) -> None:
        body = _USE.pack(use.public, use.since, use.askings, use.keys)
        write_private(self._use, self._vault.seal(f"{self._label}/use", body))

    def charge(self, held: Held, keys: int, limits: Limits, now: int) -> Use:
        """Charges an asking of `keys` keys and makes that durable; to be called before the first evaluation.

        Raises:
            AtollError: `E_QUOTA` if the key must rotate first or more keys would be answered under it than
                `limits` allow; then nothing is charged.
        """
        use = self.use(held, now)
        if limits.due(use, now):
            raise AtollError("E_QUOTA", "The key of the kept set has served its time; it rotates first.")
        if use.keys + keys > limits.keys:
            raise AtollError(
                "E_QUOTA", f"{use.keys} keys were asked and {keys} more are; the limit is {limits.keys}."
            )
        use = replace(use, askings=use.askings + 1, keys=use.keys + keys)
        self._store_use(use)
        return use

    def forget(self) -> None:
        """Removes set, key and use."""
        self._held.unlink(missing_ok=True)
        self._use.unlink(missing_ok=True)


class AskerFile:
    """The asker's store of one holder's lineage, at `path`."""

    def __init__(self, path: Path, vault: Vault, label: str) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._vault = vault
        self._label = f"kept-oprf/{label}/store"

    def load(self) -> bytes | None:
        """What is kept, or `None`; `E_PASSPHRASE` if the file was changed."""
        sealed = _read(self._path)
        return None if sealed is None else self._vault.open(self._label, sealed)

    def save(self, store: bytes) -> None:
        """Keeps `store`; durable when it returns."""
        write_private(self._path, self._vault.seal(self._label, store))

    def forget(self) -> None:
        """Removes what is kept."""
        self._path.unlink(missing_ok=True)
