"""A forger's copy of an exported ledger: one bit of one entry changed, and the file's checksums mended."""

from __future__ import annotations

from pathlib import Path

from atoll.ledger import archive


def flip(path: Path) -> Path:
    """Writes a copy of the export at `path` in which one bit of the last entry of one log is changed."""
    members = dict(archive.read(path.read_bytes()).members)
    name = max(name for name in members if "/entries/" in f"/{name}")
    content = bytearray(members[name])
    # A digit of the entry's commitment: one bit further it is a digit still, and the entry well formed.
    at = max(i for i, byte in enumerate(content) if chr(byte).isdigit())
    content[at] ^= 1
    members[name] = bytes(content)
    forged = path.with_name(f"forged-{path.name}")
    with forged.open("wb") as out:
        archive.write(out, members.items())
    return forged
