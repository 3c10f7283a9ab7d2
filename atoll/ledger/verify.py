"""Verifies a whole copy of a log, without node and network, and names the first bad entry.

Every hash is recomputed from the entries. The signed root says whether a copy is right; the tiles, which
also follow from the entries, say where it is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from atoll.crypto.suite import Hash, PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, merkle, note, tiles
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.entry import decode_bodies, format_time, open_leaf, parse_leaf
from atoll.ledger.merkle import Frontier
from atoll.ledger.note import Note, Signature, Verifier
from atoll.ledger.report import Finding
from atoll.ledger.tiles import HEIGHT, WIDTH, Tile


@dataclass(frozen=True)
class Copy:
    """A log's files, unchecked.

    `files` maps tile paths to bytes. `cosigned` holds further checkpoints of smaller sizes with cosignatures.
    `bodies` maps the number of a bundle to the encoded bodies of its entries.
    """

    agreement: str
    owner: PublicKey
    checkpoint: bytes
    files: Mapping[str, bytes]
    cosigned: Sequence[bytes] = ()
    bodies: Mapping[int, bytes] = field(default_factory=dict)


class _Stop(Exception):  # noqa: N818
    """Ends the verification of one log: what follows would rest on what is wrong."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


def _by(line: Signature, key: PublicKey) -> Verifier | None:
    """The verifier of a cosignature line that claims to be by this key, under whatever name: a witness that
    is no node has a name of its own, and a line's identifier covers name and key."""
    who = cosignature.verifier(key, line.name)
    return who if line.by(who) else None


def _open(
    copy: Copy, origin: str, data: bytes, witnesses: Mapping[str, PublicKey]
) -> tuple[Checkpoint, Note]:
    """A checkpoint whose every signature line is by the owner or a listed witness, each once; cosignatures are
    not verified yet."""
    try:
        signed = note.parse(data)
        point = checkpoint.open_note(signed, origin, copy.owner)
    except AtollError as error:
        raise _Stop(Finding("checkpoint", {"origin": origin, "reason": error.text})) from None
    owner = Verifier.of(origin, copy.owner)
    used: set[tuple[bool, PublicKey]] = set()
    for line in signed.signatures:
        own = line.by(owner)
        key = copy.owner if own else next((k for k in witnesses.values() if _by(line, k)), None)
        if key is None or (own, key) in used:
            # A cosignature does not cover its name: under a second one it would seem to be another's.
            reason = f"{line.name[:120]} {'signed twice' if key else 'is not among the witnesses'}"
            raise _Stop(Finding("cosignature", {"origin": origin, "reason": reason}))
        used.add((own, key))
    return point, signed


def _cosignatures(
    origin: str, point: Checkpoint, signed: Note, witnesses: Mapping[str, PublicKey], now: datetime
) -> Iterator[Finding]:
    for label, key in witnesses.items():
        for line in signed.signatures:
            who = _by(line, key)
            if who is None:
                continue
            try:
                seen = cosignature.verify(signed.text, line, who)
            except AtollError as error:
                raise _Stop(Finding("cosignature", {"origin": origin, "reason": error.text})) from None
            time = format_time(seen.at) if seen.at else str(seen.time)
            facts = {"origin": origin, "name": label, "size": point.size, "time": time}
            yield Finding("cosigned", facts)
            if seen.time > now.timestamp():
                yield Finding("future", facts)


def _leaves(copy: Copy, origin: str, size: int) -> list[bytes]:
    """All entries, each of the one form; stops at the first that is not, or that repeats another."""
    found: list[bytes] = []
    first: dict[bytes, int] = {}
    for bundle in tiles.bundles_of(size):
        data = copy.files.get(bundle.path)
        if data is None:
            raise _Stop(
                Finding("member-missing", {"member": bundle.path, "origin": origin, "index": len(found)})
            )
        try:
            leaves = tiles.decode_bundle(data, bundle.width)
        except AtollError as error:
            leaves, reason = _readable(data), error.text
        else:
            reason = ""
        for leaf in leaves:
            index = len(found)
            try:
                parse_leaf(leaf)
            except AtollError as error:
                facts = {"origin": origin, "index": index, "reason": error.text}
                raise _Stop(Finding("entry-malformed", facts)) from None
            earlier = first.setdefault(leaf, index)
            if earlier != index:
                facts = {"origin": origin, "index": index, "earlier": earlier}
                raise _Stop(Finding("entry-repeated", facts))
            found.append(leaf)
        if reason:
            raise _Stop(Finding("entry-malformed", {"origin": origin, "index": len(found), "reason": reason}))
    return found


def _readable(data: bytes) -> list[bytes]:
    """The entries of a damaged bundle up to the first that is cut or malformed."""
    found: list[bytes] = []
    position = 0
    while position + 2 <= len(data) and len(found) < WIDTH:
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        leaf = data[position + 2 : end]
        try:
            parse_leaf(leaf)
        except AtollError:
            break
        found.append(leaf)
        position = end
    return found


@dataclass
class _Tree:
    """Hashes recomputed from the entries: those that tiles hold, and the roots at the sizes asked for."""

    rows: dict[int, list[bytes]]
    roots: dict[int, bytes]


def _rebuild(leaves: Sequence[bytes], using: Hash, sizes: set[int]) -> _Tree:
    edge = Frontier(using=using)
    rows: dict[int, list[bytes]] = {}
    roots = {0: edge.root()}
    for leaf in leaves:
        for item in edge.append(merkle.leaf_hash(leaf, using)):
            if item.place.level % HEIGHT == 0:
                rows.setdefault(item.place.level // HEIGHT, []).append(item.hash)
        if edge.size in sizes:
            roots[edge.size] = edge.root()
    return _Tree(rows, roots)


def _wrong_tiles(copy: Copy, size: int, tree: _Tree, using: Hash) -> Iterator[tuple[Tile, int]]:
    """Tiles that do not follow from the entries, each with the first entry that it is wrong for."""
    for tile in tiles.tiles_of(size):
        level = tile.level or 0
        data = copy.files.get(tile.path)
        start = tile.number * WIDTH
        expected = tree.rows[level][start : start + tile.width]
        if data is None:
            facts = {"member": tile.path, "index": start * WIDTH**level}
            raise _Stop(Finding("member-missing", facts))
        if data == b"".join(expected):
            continue
        step = using.size
        given = [data[i * step : (i + 1) * step] for i in range(tile.width)]
        wrong = next((i for i, value in enumerate(expected) if given[i] != value), tile.width - 1)
        yield tile, (start + wrong) * WIDTH**level


def _tile_root(copy: Copy, size: int, using: Hash) -> bytes | None:
    """The root that the tiles of level 0 claim; None if they are not whole."""
    edge = Frontier(using=using)
    for tile in tiles.tiles_of(size):
        if tile.level == 0:
            try:
                for value in tiles.decode_tile(copy.files.get(tile.path, b""), tile.width, using.size):
                    edge.append(value)
            except AtollError:
                return None
    return edge.root()


def _tree_findings(
    copy: Copy, origin: str, newest: Checkpoint, leaves: Sequence[bytes], known: Mapping[int, bytes]
) -> None:
    """Compares entries, tiles and signed roots; stops with where they part."""
    using = newest.hash
    tree = _rebuild(leaves, using, {newest.size, *known})
    good = tree.roots[newest.size] == newest.root
    wrong = list(_wrong_tiles(copy, newest.size, tree, using))
    if good and wrong:
        tile, index = wrong[0]
        raise _Stop(Finding("tile", {"origin": origin, "member": tile.path, "index": index}))
    if not good:
        # The largest signed size whose root still fits bounds the first bad entry from below.
        low = max((size for size, root in known.items() if tree.roots.get(size) == root), default=0)
        if wrong and wrong[0][0].level == 0 and _tile_root(copy, newest.size, using) == newest.root:
            raise _Stop(Finding("entry-changed", {"origin": origin, "index": wrong[0][1]}))
        if wrong:
            low = max(low, min(index for _, index in wrong))
        raise _Stop(Finding("rewritten", {"origin": origin, "index": low, "last": newest.size - 1}))
    for size, root in sorted(known.items()):
        if tree.roots[size] != root:
            raise _Stop(Finding("contradiction", {"origin": origin, "seen": size}))


def _bodies(copy: Copy, origin: str, leaves: Sequence[bytes]) -> Iterator[Finding]:
    opened_count = 0
    before = ""
    backwards: int | None = None
    for number, data in sorted(copy.bodies.items()):
        start = number * WIDTH
        width = min(WIDTH, len(leaves) - start)
        try:
            bodies = decode_bodies(data, width)
        except AtollError:
            raise _Stop(Finding("body", {"origin": origin, "index": start})) from None
        for index, opened in enumerate(bodies, start):
            if opened is None:
                continue
            try:
                body = open_leaf(leaves[index], opened)
            except AtollError:
                raise _Stop(Finding("body", {"origin": origin, "index": index})) from None
            opened_count += 1
            if body.time < before and backwards is None:
                backwards = index
            before = body.time
    if copy.bodies:
        yield Finding("opened", {"origin": origin, "count": opened_count, "size": len(leaves)})
    if backwards is not None:
        yield Finding("backwards", {"origin": origin, "index": backwards})


def verify_copy(
    copy: Copy, witnesses: Mapping[str, PublicKey], now: datetime, seen: bytes | None = None
) -> list[Finding]:
    """Findings on one log; `bad` ones end it.

    Args:
        copy: the log's files.
        witnesses: who may cosign, by display name; a signature line by anyone else is an error.
        now: the verifier's clock, aware: only for notes on times after it.
        seen: a checkpoint of this log that the verifier holds from elsewhere.
    """
    origin = checkpoint.origin(copy.agreement, copy.owner)
    findings: list[Finding] = []
    try:
        newest, signed = _open(copy, origin, copy.checkpoint, witnesses)
        findings += _cosignatures(origin, newest, signed, witnesses, now)
        cosigned_size = newest.size if findings else 0
        known: dict[int, bytes] = {}
        for data in copy.cosigned:
            point, older = _open(copy, origin, data, witnesses)
            if point.size >= newest.size or point.hash.name != newest.hash.name or point.size in known:
                raise _Stop(Finding("checkpoint", {"origin": origin, "reason": "out of order"}))
            findings += _cosignatures(origin, point, older, witnesses, now)
            known[point.size] = point.root
            cosigned_size = max(cosigned_size, point.size)
        if seen is not None:
            earlier = checkpoint.open_note(note.parse(seen), origin, copy.owner)
            if earlier.size > newest.size:
                raise _Stop(Finding("older", {"origin": origin, "size": newest.size, "seen": earlier.size}))
            if earlier.size == newest.size and earlier.root != newest.root:
                raise _Stop(Finding("contradiction", {"origin": origin, "seen": earlier.size}))
            if known.setdefault(earlier.size, earlier.root) != earlier.root:
                raise _Stop(Finding("contradiction", {"origin": origin, "seen": earlier.size}))
        leaves = _leaves(copy, origin, newest.size)
        _tree_findings(copy, origin, newest, leaves, known)
        findings.append(Finding("log", {"origin": origin, "size": newest.size, "key": str(copy.owner)}))
        findings += _bodies(copy, origin, leaves)
        if cosigned_size < newest.size:
            findings.append(Finding("alone", {"origin": origin, "count": newest.size - cosigned_size}))
    except _Stop as stop:
        findings.append(stop.finding)
    return findings
