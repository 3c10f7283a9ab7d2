"""Tiles and entry bundles: how a log's hashes and entries stand in files (C2SP tlog-tiles).

A tile of level L holds up to 256 hashes of complete subtrees of 256**L leaves; an entry bundle holds the same
up to 256 entries as the tile of level 0, each after its length as two big-endian bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from atoll.errors import AtollError
from atoll.ledger.merkle import Place

WIDTH = 256
HEIGHT = 8
MAX_LEVEL = 63
MAX_ENTRY = 0xFFFF
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9]\d?)/(?P<high>(?:x\d{3}/)*)(?P<low>\d{3})(?:\.p/(?P<width>[1-9]\d{0,2}))?"
)


class Tile(NamedTuple):
    """A tile, or with level None an entry bundle; `number` counts from the left, `width` is 1..256."""

    level: int | None
    number: int
    width: int

    @property
    def places(self) -> list[Place]:
        """Places of the hashes that it holds, left to right."""
        first = self.number * WIDTH
        return [Place((self.level or 0) * HEIGHT, i) for i in range(first, first + self.width)]

    @property
    def path(self) -> str:
        """Path below the log's prefix, for example `tile/0/x001/x234/067.p/5`."""
        digits = str(self.number)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{path}" + ("" if self.width == WIDTH else f".p/{self.width}")


def parse_path(path: str) -> Tile:
    """The tile of a path.

    Raises:
        AtollError: `E_LEDGER` if it is not the one path of a tile.
    """
    match = _PATH.fullmatch(path) if len(path) <= 80 and path.isascii() else None
    if match is None:
        raise AtollError("E_LEDGER", f"not a tile's path: {path[:80]!r}")
    level = None if match["level"] == "entries" else int(match["level"])
    number = int(match["high"].replace("x", "").replace("/", "") + match["low"])
    tile = Tile(level, number, int(match["width"] or WIDTH))
    if tile.path != path or tile.width > WIDTH or (level or 0) > MAX_LEVEL:
        raise AtollError("E_LEDGER", f"not a tile's path: {path[:80]!r}")
    return tile


def _row(level: int | None, count: int) -> Iterator[Tile]:
    full, rest = divmod(count, WIDTH)
    for number in range(full):
        yield Tile(level, number, WIDTH)
    if rest:
        yield Tile(level, full, rest)


def bundles_of(size: int) -> Iterator[Tile]:
    """The entry bundles of a log of `size` entries, in order."""
    return _row(None, size)


def tiles_of(size: int) -> Iterator[Tile]:
    """The tiles of a log of `size` entries: level 0 first, each level in order; none is empty."""
    level = 0
    while size:
        yield from _row(level, size)
        size //= WIDTH
        level += 1


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of an entry bundle.

    Raises:
        AtollError: `E_TOO_LARGE` if an entry is over 65,535 bytes; `E_LEDGER` for none or over 256 entries.
    """
    if not 0 < len(entries) <= WIDTH:
        raise AtollError("E_LEDGER", f"an entry bundle holds 1 to {WIDTH} entries, not {len(entries)}")
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise AtollError("E_TOO_LARGE", f"a log entry has at most {MAX_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle that holds exactly `width` of them.

    Raises:
        AtollError: `E_LEDGER` if the bundle is cut short or bytes are left over.
    """
    entries: list[bytes] = []
    position = 0
    for _ in range(width):
        body = position + 2
        end = body + int.from_bytes(data[position:body], "big")
        if end > len(data) or body > len(data):
            raise AtollError("E_LEDGER", f"an entry bundle ends within its entry {len(entries)}")
        entries.append(data[body:end])
        position = end
    if position != len(data):
        raise AtollError("E_LEDGER", f"an entry bundle has bytes after its {width} entries")
    return entries


def decode_tile(data: bytes, width: int, hash_size: int) -> list[bytes]:
    """The hashes of a tile that holds exactly `width` of them; `E_LEDGER` for any other length."""
    if len(data) != width * hash_size:
        raise AtollError(
            "E_LEDGER", f"a tile of {width} hashes has {width * hash_size} bytes, not {len(data)}"
        )
    return [data[i : i + hash_size] for i in range(0, len(data), hash_size)]
