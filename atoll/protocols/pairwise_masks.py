"""Sums over a fixed set of holders by pairwise masks, as a star (docs/protocols/pairwise-masks.md).

Each holder sends the hub an ephemeral key signed by its identity key; the hub returns all of them; each
holder checks all against the holder set before it masks its vector; the hub adds. The hub may be a holder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from atoll.crypto import masks
from atoll.crypto.suite import PublicKey, SigningKey, digest
from atoll.errors import AtollError
from atoll.protocols.driver import Channel
from atoll.protocols.pair_keys import Group, prefixed

PROTOCOL: Final = "pairwise-masks/v1"
SECURITY: Final[Literal["semi-honest"]] = "semi-honest"
ASSUMPTION: Final = "x25519-cdh-random-oracle"
MIN_HOLDERS: Final = 2
MAX_HOLDERS: Final = 64
MAX_VALUES: Final = 1 << 20
_DOMAIN: Final = b"atoll pairwise-masks/v1 ephemeral key"
_CHUNK: Final = 1 << 16
_MASKED: Final = 3


STATEMENT_PREFIX: Final = prefixed(_DOMAIN)
"""How every statement that a holder signs begins: a signer can tell it from all other documents."""


@dataclass(frozen=True)
class Session:
    """What all holders and the hub agreed on before.

    Attributes:
        job: identifier of the job.
        attempt: number of the attempt, 0 to 2^32 - 1; a vector is masked once per attempt and label.
        holders: key identifiers (`str(PublicKey)`) of all holders, sorted, 2 to 64.
        length: number of values in every holder's vector, 1 to 2^20.
        label: names this vector within the job.
    """

    job: str
    attempt: int
    holders: tuple[str, ...]
    length: int
    label: str

    def __post_init__(self) -> None:
        if not MIN_HOLDERS <= len(self.holders) <= MAX_HOLDERS:
            raise AtollError("E_FORMAT", f"A sum has {MIN_HOLDERS} to {MAX_HOLDERS} holders.")
        if list(self.holders) != sorted(set(self.holders)):
            raise AtollError("E_FORMAT", "Holders are sorted and named once each.")
        if not 1 <= self.length <= MAX_VALUES or not 0 <= self.attempt < 2**32:
            raise AtollError("E_FORMAT", "The vector's length or the attempt is out of range.")
        for holder in self.holders:
            PublicKey.parse(holder)

    @property
    def context(self) -> bytes:
        """Bytes that stand under every signature and mask of this session."""
        numbers = struct.pack("<IQ", self.attempt, self.length)
        holders = [holder.encode() for holder in self.holders]
        return digest(prefixed(_DOMAIN, self.job.encode(), self.label.encode(), numbers, *holders)).encode()

    @property
    def limit(self) -> int:
        """Largest absolute value of a single entry: the sum over all holders stays within 127 bits."""
        return (2**127 - 1) // len(self.holders)

    @property
    def group(self) -> Group:
        """The holders as parties that agree on keys."""
        return Group("pairwise-masks", _DOMAIN, self.context, self.holders)

    def statement(self, holder: str, ephemeral: bytes) -> bytes:
        """What a holder signs about its ephemeral key."""
        return self.group.statement(holder, ephemeral)


class Holder:
    """One holder's part, without I/O: `hello`, then `masked` once.

    Args:
        session: what was agreed on.
        key: this holder's identity key; its public part is in `session.holders`.
        seed: 32 secret bytes of this holder's job.

    Raises:
        AtollError: `E_FORMAT` if the key is not one of the holders.
    """

    def __init__(self, session: Session, key: SigningKey, seed: bytes) -> None:
        self.me = str(key.public)
        if self.me not in session.holders:
            raise AtollError("E_FORMAT", "This key is not one of the holders.")
        self.session = session
        self._seed = seed
        self._channel = f"{session.job}/{session.label}"
        self._ephemeral = masks.public_key(seed, session.attempt, self._channel)
        self._hello = session.group.hello(key, self._ephemeral)
        self._used = False

    def hello(self) -> bytes:
        """The signed ephemeral key."""
        return self._hello

    def masked(self, roster: bytes, values: Sequence[int]) -> bytes:
        """The masked vector, after every key in the hub's roster was checked.

        Raises:
            AtollError: `E_PROTOCOL` for a malformed roster, a holder missing, added or changed, `E_SIGNATURE`
                for a key that its holder did not sign, `E_RANGE` for a value beyond `session.limit`,
                `E_REWIND` if called a second time.
        """
        if self._used:
            raise AtollError(
                "E_REWIND", "A vector was already masked in this attempt.", step="pairwise-masks"
            )
        if len(values) != self.session.length:
            raise AtollError("E_FORMAT", f"{len(values)} values, agreed on were {self.session.length}.")
        if any(abs(value) > self.session.limit for value in values):
            raise AtollError("E_RANGE", "A value is too large to be summed over all holders.")
        group = self.session.group
        keys = group.read_roster(roster)
        if keys.pop(self.me) != self._ephemeral:
            raise group.broken("the hub changed this party's key", None)
        self._used = True
        return masks.masked(
            masks.encode(values),
            self._seed,
            self.session.attempt,
            self._channel,
            me=self.me,
            peers=keys,
            context=self.session.context,
            label=self.session.label,
        )


def run_holder(
    holder: Holder, values: Sequence[int], hub: Channel, *, before_open: Callable[[], None]
) -> None:
    """A remote holder's side of the star; `before_open` is called before its vector is sent."""
    hub.send(holder.hello(), "pairwise-masks/hello")
    vector = holder.masked(hub.recv(), values)
    before_open()
    for i, start in enumerate(range(0, len(vector), _CHUNK * masks.WORD_BYTES)):
        chunk = vector[start : start + _CHUNK * masks.WORD_BYTES]
        hub.send(bytes([_MASKED]) + chunk, f"pairwise-masks/masked/{i}")


def run_hub(
    session: Session,
    channels: Mapping[str, Channel],
    own: tuple[Holder, Sequence[int]] | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[int]:
    """The hub's side: passes the keys on, adds the masked vectors and returns the sums.

    Args:
        channels: a channel to every remote holder, by identifier.
        own: the hub's own part and values, if it is a holder itself.

    Raises:
        AtollError: `E_FORMAT` if channels and `own` are not exactly the holders; `E_PROTOCOL` or
            `E_SIGNATURE` naming the holder at fault; whatever a channel raises. Nothing opens without every
            vector.
    """
    here = {own[0].me} if own else set()
    if set(channels) | here != set(session.holders) or here & set(channels):
        raise AtollError("E_FORMAT", "The channels are not those of the agreed holders.")
    if own and own[0].session != session:
        raise AtollError("E_FORMAT", "The hub's own part belongs to another session.")
    group, hellos = session.group, []
    for holder in session.holders:
        hello = own[0].hello() if own and holder in here else channels[holder].recv()
        hellos.append(group.read_hello(holder, hello))
    roster = group.roster(hellos)
    for holder in sorted(channels):
        channels[holder].send(roster, "pairwise-masks/roster")
    total = own[0].masked(roster, own[1]) if own else None
    for i, holder in enumerate(sorted(channels)):
        vector = _read_vector(session, holder, channels[holder])
        total = masks.unmask_sum([total, vector] if total is not None else [vector])
        progress(i + 1, len(channels))
    return masks.decode(total or b"")


def _read_vector(session: Session, holder: str, channel: Channel) -> bytes:
    vector = b""
    while len(vector) < session.length * masks.WORD_BYTES:
        message = channel.recv()
        want = min(_CHUNK * masks.WORD_BYTES, session.length * masks.WORD_BYTES - len(vector))
        if message[:1] != bytes([_MASKED]) or len(message) != 1 + want:
            raise session.group.broken("a masked vector has a wrong form or length", holder)
        vector += message[1:]
    return vector
