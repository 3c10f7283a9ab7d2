"""Checks one log of an audit file: signatures, cosignatures, every entry's place under the newest root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.audit.file import LogPart
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, merkle, note
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.cosignature import Cosigned
from atoll.ledger.entry import Body, format_time, open_leaf, parse_leaf
from atoll.ledger.merkle import Frontier


@dataclass(frozen=True)
class Cosignature:
    """Who has seen the log up to which size, and when by its own clock: in words, since it may be no time at all."""

    key: str
    size: int
    time: str


@dataclass
class CheckedLog:
    """A log whose entries are where its owner signed them.

    `bodies` maps the places of opened entries to what they say; `places` lists all entries of the file.
    """

    owner: str
    origin: str
    size: int
    whole: bool
    cosignatures: list[Cosignature] = field(default_factory=list)
    bodies: dict[int, Body] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)

    def seen(self, index: int) -> list[Cosignature]:
        """The cosignatures that cover an entry."""
        return [c for c in self.cosignatures if c.size > index]


class Broken(AtollError):  # noqa: N818
    """`E_LEDGER`: something in a log does not hold. `index` is the entry, where one is at fault."""

    def __init__(self, origin: str, text: str, index: int | None = None) -> None:
        where = origin if index is None else f"entry {index} of {origin}"
        super().__init__("E_LEDGER", f"{where}: {text}", detail={"origin": origin, "index": index})
        self.index = index


def _cosigners(signed: note.Note, point: Checkpoint, allowed: Mapping[str, PublicKey]) -> list[Cosignature]:
    """The verified cosignatures by allowed keys; a line by anyone else than these and the owner is refused."""
    found: list[Cosignature] = []
    for line in signed.signatures:
        if line.name == point.origin:
            continue
        key = next((k for k in allowed.values() if line.by(cosignature.verifier(k, line.name))), None)
        if key is None:
            raise AtollError("E_SIGNATURE", f"a cosignature is by {line.name[:120]}, whom nobody named")
        seen: Cosigned = cosignature.verify(signed.text, line, cosignature.verifier(key, line.name))
        time = format_time(seen.at) if seen.at else str(seen.time)
        found.append(Cosignature(str(key), point.size, time))
    return found


def check_log(part: LogPart, agreement: str, allowed: Mapping[str, PublicKey]) -> CheckedLog:
    """Checks everything in a log of the file.

    Args:
        part: as read.
        agreement: the agreement that the file is about.
        allowed: who may have cosigned: signatories and witnesses, by key.

    Raises:
        Broken: names the first entry or checkpoint that does not hold.
    """
    origin = checkpoint.origin(agreement, part.owner)
    try:
        signed = note.parse(part.checkpoint)
        newest = checkpoint.open_note(signed, origin, part.owner)
        if newest.size != part.size:
            raise AtollError("E_LEDGER", "its newest checkpoint has another size than the list says")
        log = CheckedLog(str(part.owner), origin, newest.size, part.whole)
        log.cosignatures += _cosigners(signed, newest, allowed)
        for size, (data, proof) in sorted(part.cosigned.items()):
            older = note.parse(data)
            point = checkpoint.open_note(older, origin, part.owner)
            if point.size != size or not merkle.verify_consistency(
                point.size, newest.size, point.root, newest.root, proof, newest.hash
            ):
                raise AtollError(
                    "E_LEDGER", f"the checkpoint of {size} entries is not part of the newest one"
                )
            log.cosignatures += _cosigners(older, point, allowed)
        _entries(part, newest, log)
    except Broken:
        raise
    except AtollError as error:
        raise Broken(origin, error.text) from None
    return log


def _entries(part: LogPart, newest: Checkpoint, log: CheckedLog) -> None:
    edge = Frontier(using=newest.hash)
    before, last = "", -1
    places, bodies = log.places, log.bodies
    for item in part.entries:
        index, leaf = item.index, item.entry.leaf
        if index <= last or index >= newest.size:
            raise Broken(log.origin, "it is out of order, or beyond the newest checkpoint", index)
        last = index
        try:
            if item.entry.opened is None:
                parse_leaf(leaf)
            hashed = merkle.leaf_hash(leaf, newest.hash)
            if part.whole:
                edge.append(hashed)
            elif not merkle.verify_inclusion(
                hashed, index, newest.size, item.proof, newest.root, newest.hash
            ):
                raise AtollError("E_LEDGER", "it is not in the log that was signed")
            if item.entry.opened is not None:
                body = open_leaf(leaf, item.entry.opened)
                if body.time < before:
                    raise AtollError(
                        "E_LEDGER", "it claims a time before that of an earlier entry: back-dated"
                    )
                before = body.time
                bodies[index] = body
        except AtollError as error:
            raise Broken(log.origin, error.text, index) from None
        places.append(index)
    if part.whole and edge.root() != newest.root:
        raise Broken(log.origin, "its entries are not those of the root that was signed")
