"""What a function may use while it runs in a worker: its plan, its inputs, its channels, and nothing of the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from atoll.crypto import dsse
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.protocols.kept_oprf import Held
from atoll.sandbox.host import End, Process


class Channel(Protocol):
    """One named, ordered channel to one peer."""

    def send(self, payload: bytes, step: str) -> None:
        """Sends one message."""

    def recv(self) -> bytes:
        """The next message; waits for it."""

    def readable(self) -> bool:
        """True when a message waits."""

    def writable(self) -> bool:
        """True when `send` would not block."""

    def wait(self, read: bool, write: bool) -> None:
        """Waits until one of the two is possible."""


@dataclass(frozen=True)
class NodeSigner:
    """Signs with the node's identity key, which never enters the worker; stands for a `SigningKey`.

    Args:
        public: the identity key.
        purpose: what the node lets the function sign for.
        ask: `Context.sign`.
    """

    public: PublicKey
    purpose: str
    ask: Callable[[str, bytes], bytes]

    def sign(self, message: bytes) -> bytes:
        """The node's signature."""
        return self.ask(self.purpose, message)


@dataclass(frozen=True)
class LocalInput:
    """One of this party's own inputs of the plan, materialised."""

    id: str
    asset: str
    data: Path
    """Parquet file with the rows."""
    cache: Path
    """Folder for what is derived from this version, such as key digests."""
    version: str
    keys: int | None
    """Number of distinct keys that this party declared in its approval, where the function joins."""


class Kept(Protocol):
    """What stays at this party between the runs of a kept OPRF. What a call writes is durable when it returns."""

    most_keys: int
    """Keys that are answered under one key of the function, at most."""
    fresh: bytes
    """32 secret bytes for a new key, used by no other job."""

    def held(self) -> Held | None:
        """The holder's set; None where there is none yet, or its key has served its time."""

    def hold(self, held: Held) -> None:
        """Keeps the holder's set."""

    def charge(self, held: Held, keys: int) -> None:
        """Charges keys to the key of a set, before any of them is answered; `E_QUOTA` if there would be too many."""

    def store(self) -> bytes | None:
        """The receiver's outputs; None where nothing is kept."""

    def keep(self, store: bytes) -> None:
        """Keeps the receiver's outputs."""

    def forget(self) -> None:
        """Removes the receiver's outputs: the next run takes them anew."""


class Context(Protocol):
    """One party's side of one running job."""

    plan: dict[str, Any]
    me: str
    seed: bytes
    attempt: int
    threads: int
    memory_bytes: int
    """Memory that this party's worker may take."""
    folder: Path
    declared_keys: dict[str, int | None]
    """Distinct keys that each party declared, by input id."""

    def inputs(self) -> dict[str, LocalInput]:
        """This party's own inputs, by input id."""

    def taken_up(self, version: str | None) -> None:
        """Standing services, at the owner: which new version of its table serves from here on, None for the same.

        Raises:
            AtollError: `E_REPLAY` in a replay, where another version was taken up.
        """

    def channel(self, peer: str, name: str) -> Channel:
        """The channel of that name to a peer."""

    def before_open(self, receivers: list[str]) -> None:
        """Waits until the node has stored everything that must stand before `receivers` can open a result.

        Raises:
            AtollError: the node refused (quota, revocation, no provisional receipt).
        """

    def sign(self, purpose: str, message: bytes) -> bytes:
        """The node's identity signature over `message`, bound to this job and `purpose`."""

    def progress(self, done: int, total: int, step: str) -> None:
        """Reports progress. Also raises `E_CANCELLED` once the job was cancelled."""

    def call(self, timeout: float | None = None) -> Call | None:
        """Standing services, at the asker: the next call to make; None when the service stops.

        Raises:
            TimeoutError: none came in `timeout` seconds.
        """

    def reply(self, call: int, payload: bytes) -> None:
        """Standing services, at the asker: the answer to a call."""

    def deny(self, call: int, error: AtollError) -> None:
        """Standing services, at the asker: the owner answered a call with a refusal."""

    def admit(self, shown: Shown | None) -> None:
        """Standing services, at the owner: lets one call pass.

        Raises:
            AtollError: `E_CONSENT` or `E_QUOTA` if its authorisation or the agreed rate does not allow it.
        """

    def calls(self) -> CallBook:
        """Standing services: an empty book for the calls of the next block, in this party's folder."""

    def close_block(self, book: CallBook, hits: int | None) -> None:
        """Standing services: reports a block whose end both sides know, for its receipt."""

    def kept(self) -> Kept:
        """Joins by a kept OPRF: what is kept for this plan, for this job alone until it ends.

        Raises:
            AtollError: `E_BUSY` if another job uses it.
        """

    def deployed(self) -> dict[str, Any]:
        """Packages, at the host: the `package` envelope, and the `bounds` of the host's consent."""

    def cell(self, line: End) -> Process:
        """Packages, at the host: starts a confined process that serves the other end of `line`."""

    def recall(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """Packages, at the host: what was decided before under these keys: `request` digest and `answer`, by key."""

    def settle(self, decisions: list[dict[str, Any]]) -> list[AtollError | None]:
        """Packages, at the host: stores decisions and what they cost of the budget, before any of them leaves.

        Returns:
            For each decision None, or why it may not leave: `E_BUDGET`, `E_QUOTA`, `E_EXPIRED`.
        """

    def checkpoint(self, state: Callable[[], bytes]) -> None:
        """Long jobs: makes the state durable together with the positions of all channels, every few seconds.

        Does nothing in other jobs, and nothing if the last checkpoint is young.
        """

    def restored(self) -> bytes | None:
        """Long jobs: the state of the last checkpoint of this attempt, if this is a restart."""


@dataclass(frozen=True)
class Shown:
    """What a call shows of the data subject's authorisation.

    Attested: the salted `commitment`, and at the asker its `opening`. Presented: the signed `envelope`.
    """

    commitment: str | None = None
    opening: bytes | None = None
    envelope: dict[str, Any] | None = None

    @classmethod
    def read(cls, mode: str, commitment: Any, envelope: Any) -> Shown | None:
        """What a call of a partner shows, in the one form that the plan asks for; None where it asks for none.

        Raises:
            AtollError: `E_CONSENT` for another form, `E_PROTOCOL` for a commitment that is no text, `E_FORMAT` for an
                envelope that is none.
        """
        wanted = {"none": (False, False), "attested": (True, False), "presented": (False, True)}
        if (commitment is not None, envelope is not None) != wanted[mode]:
            raise AtollError("E_CONSENT", f"the plan asks for consent that is {mode}")
        if commitment is not None and not isinstance(commitment, str):
            raise AtollError("E_PROTOCOL", "a commitment is text")
        if envelope is not None:
            dsse.payload_bytes(envelope)
        return None if mode == "none" else cls(commitment, None, envelope)

    @property
    def recorded(self) -> str | None:
        """What a call's record names: the commitment, or the digest of what was presented."""
        return self.commitment if self.envelope is None else dsse.identifier(self.envelope)


@dataclass(frozen=True)
class Call:
    """One call that the asker's user makes of a standing service."""

    number: int
    payload: bytes
    shown: Shown | None = None


@dataclass
class Outcome:
    """What a function gives back."""

    table: pa.Table | pa.RecordBatchReader | None = None
    """The result for this party, if it is a receiver; a large one is read batch after batch while it is written."""
    rows: int | None = None
    meters: dict[str, int] = field(default_factory=dict)
    """Further meters: keys, rows, calls."""
    scalars: dict[str, Any] = field(default_factory=dict)
    """Small figures of the result, such as the size of an intersection."""
