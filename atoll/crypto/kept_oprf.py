"""A kept OPRF for unbalanced joins: RFC 9497 (VOPRF, ristretto255-SHA512), one side's machines without I/O."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from atoll import _core
from atoll.crypto.stream import check_labels, kernel_errors
from atoll.errors import AtollError

CHUNK_ITEMS: Final = 1024
STEP: Final = "kept-oprf"


@dataclass(frozen=True)
class State:
    """What an asker keeps.

    Attributes:
        public: the holder's public key, 32 bytes; zeros if nothing is kept.
        version: version of the holder's set under that key, from 1; 0 if nothing is kept.
    """

    public: bytes
    version: int

    @classmethod
    def nothing(cls) -> State:
        """Nothing is kept."""
        return cls(bytes(32), 0)

    @classmethod
    def of(cls, store: bytes | None) -> State:
        """The state of an asker's store; `E_FORMAT` if the bytes are not one."""
        if store is None:
            return cls.nothing()
        public, version, _, _ = _describe(store)
        return cls(public, version)

    @classmethod
    def parse(cls, message: bytes) -> State:
        """Parses a peer's message; `E_PROTOCOL` if it is another one."""
        with kernel_errors(step=STEP):
            return cls(*_core.kept_oprf_parse_state(message))

    def encode(self) -> bytes:
        """The message that says it."""
        with kernel_errors(step=STEP):
            return _core.kept_oprf_state(self.public, self.version)


def _describe(store: bytes) -> tuple[bytes, int, int, int]:
    with kernel_errors(step=STEP):
        return _core.kept_oprf_describe(store)


def kept_items(store: bytes) -> int:
    """Number of outputs in an asker's store."""
    return _describe(store)[3]


def public_key(seed: bytes, info: bytes) -> bytes:
    """The public key (32 bytes) of a 32-byte seed and what it is bound to."""
    with kernel_errors(step=STEP):
        return _core.kept_oprf_public(seed, info)


def output_bytes(held: int, asked: int) -> int:
    """Bytes of an output: among `held` and `asked` keys two outputs agree with probability at most 2^-40."""
    return _core.kept_oprf_width(held, asked)


def difference(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """`(added, removed)`: digests (32 bytes each) only in `new`, and only in `old`, each ascending."""
    with kernel_errors(step=STEP):
        return _core.kept_oprf_difference(old, new)


class KeptOprf:
    """One side of an update or an asking. Made by `holder`, `keeper`, `asker` or `evaluator`.

    A machine is driven by one thread at a time; `progress` may be read from another. Methods that take peer
    bytes raise `E_PROTOCOL` for a message that breaks the protocol, and `E_STATE` ever after.
    """

    def __init__(self, core: _core.KeptOprf, *, opens: bool) -> None:
        self._core = core
        self._opens = opens
        self._sent = 0
        self._lock = threading.Lock()
        self._progress = core.progress()

    @classmethod
    def holder(
        cls,
        seed: bytes,
        info: bytes,
        *,
        from_version: int,
        to_version: int,
        removed: bytes,
        added: bytes,
        width: int,
        threads: int = 1,
    ) -> KeptOprf:
        """The holder's side of an update; `from_version` 0 sends everything anew.

        Args:
            seed, info: the key: 32 secret bytes and what they are bound to.
            removed, added: digests of the keys that go and come, 32 bytes each, no key twice.
            width: bytes of an output (`output_bytes`), 10 to 16, the same for all versions under a key.

        Raises:
            AtollError: `E_FORMAT` for versions or lengths that make no update; `E_STATE` if two keys share an
                output: then another key of the function is needed.
        """
        _check(threads)
        with kernel_errors(step=STEP):
            core = _core.KeptOprf.holder(seed, info, from_version, to_version, removed, added, width, threads)
        return cls(core, opens=True)

    @classmethod
    def keeper(cls, store: bytes | None, *, max_items: int) -> KeptOprf:
        """The asker's side of an update: of what it keeps, to at most `max_items` outputs."""
        with kernel_errors(step=STEP):
            return cls(_core.KeptOprf.keeper(store, max_items), opens=False)

    @classmethod
    def asker(
        cls,
        seed: bytes,
        attempt: int,
        channel: str,
        store: bytes,
        digests: bytes,
        *,
        chunk_items: int = CHUNK_ITEMS,
        threads: int = 1,
    ) -> KeptOprf:
        """The asker's side of an asking for distinct `digests` (32 bytes each); `chunk_items` is 1 to 16,384."""
        check_labels(seed, attempt)
        _check(threads)
        with kernel_errors(step=STEP):
            core = _core.KeptOprf.asker(seed, attempt, channel, store, digests, chunk_items, threads)
        return cls(core, opens=False)

    @classmethod
    def evaluator(
        cls,
        seed: bytes,
        attempt: int,
        channel: str,
        key: tuple[bytes, bytes],
        *,
        version: int,
        max_items: int,
        threads: int = 1,
    ) -> KeptOprf:
        """The holder's side of an asking of at most `max_items` keys; `key` is seed and info."""
        check_labels(seed, attempt)
        _check(threads)
        with kernel_errors(step=STEP):
            core = _core.KeptOprf.evaluator(seed, attempt, channel, *key, version, max_items, threads)
        return cls(core, opens=True)

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """`(bytes, step, opens)` of the next message; `None` while the peer's comes first, and at the end."""
        with self._lock, kernel_errors(step=STEP):
            message = self._core.next_message()
            self._progress = self._core.progress()
            if message is None:
                return None
            step = f"{STEP}/{self._sent}"
            self._sent += 1
            return message, step, self._opens

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message."""
        with self._lock, kernel_errors(step=STEP):
            self._core.receive(message)
            self._progress = self._core.progress()

    @property
    def done(self) -> bool:
        """True when nothing is left to send or to receive."""
        with self._lock:
            return self._core.done

    def progress(self) -> tuple[int, int]:
        """Keys done and to do; never waits for a step that runs."""
        return self._progress

    def declared(self) -> int | None:
        """An evaluator: the number of keys that the asker declared, once it has."""
        with self._lock:
            return self._core.declared()

    def matched(self) -> bytes:
        """An asker at its end: u32 little-endian indices of its keys that the holder has, ascending."""
        with self._lock, kernel_errors(step=STEP):
            return self._core.matched()

    def store(self) -> bytes:
        """A keeper at its end: the bytes to keep. They let their reader test keys only with the holder's help."""
        with self._lock, kernel_errors(step=STEP):
            return self._core.store()


def _check(threads: int) -> None:
    if not 1 <= threads <= 1024:
        raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}.")
