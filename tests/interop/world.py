"""The Go programs of this folder, and logs laid out as files for them."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atoll.crypto.suite import SigningKey
from atoll.ledger import checkpoint, cosignature, merkle, note, tiles
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.entry import Record
from atoll.ledger.log import OwnLog
from atoll.ledger.note import Verifier
from atoll.ledger.storage import MemoryStorage

HERE = Path(__file__).resolve().parent
NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
AGREEMENT = "agr-0011223344556677"
OWNER = SigningKey(b"\x01" * 32)
PARTNER = SigningKey(b"\x02" * 32)
OUTSIDE = SigningKey(b"\x05" * 32)
OUTSIDE_NAME = "witness.example/w1"


@dataclass(frozen=True)
class Interop:
    """The built programs. Every `check` is one process of `interop`."""

    go: str
    folder: Path
    environment: dict[str, str]

    @property
    def program(self) -> Path:
        return self.folder / "interop"

    def build(self, package: str) -> None:
        """Builds a program into the folder; an error of the compiler fails the test."""
        done = subprocess.run(
            [self.go, "build", "-o", f"{self.folder}/", package],
            cwd=HERE, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """One call of the program, whatever its outcome."""
        return subprocess.run([self.program, *arguments], capture_output=True, text=True)

    def check(self, command: str, *arguments: str | Path) -> list[dict[str, Any]]:
        """What the program says of each thing that it was to check."""
        done = self.run(command, *arguments)
        assert done.returncode in (0, 1), done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.returncode == 0) == all(answer["ok"] for answer in answers)
        return answers


@dataclass
class World:
    """A log of some size with checkpoints at older sizes, cosigned by a partner and by an outside witness."""

    size: int
    log: OwnLog
    newest: note.Note
    older: dict[int, note.Note] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """What a verifier trusts, as arguments of the program: both witnesses must have cosigned."""
        owner = Verifier.of(self.log.origin, OWNER.public).vkey
        witnesses = (
            cosignature.verifier(PARTNER.public).vkey,
            cosignature.verifier(OUTSIDE.public, OUTSIDE_NAME).vkey,
        )
        return ["-log", owner, "-witness", witnesses[0], "-witness", witnesses[1], "-quorum", "2"]

    def lay_out(self, folder: Path) -> Path:
        """Writes the log as static files below a tlog-tiles prefix."""
        files = {"checkpoint": self.newest.encode()}
        files |= {f"cosigned/{size}": item.encode() for size, item in self.older.items()}
        for tile in (*tiles.tiles_of(self.size), *tiles.bundles_of(self.size)):
            files[tile.path] = self.log.file(tile)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder

    def older_files(self, folder: Path) -> list[str]:
        """The older checkpoints of a laid out log, as arguments."""
        return [word for size in self.older for word in ("-older", str(folder / "cosigned" / str(size)))]


def signed_point(log: OwnLog, size: int) -> note.Note:
    """The owner's checkpoint of a size; of the empty log too, which the node never signs."""
    if size == 0:
        return checkpoint.sign(Checkpoint(log.origin, 0, merkle.empty_root()), OWNER)
    return note.parse(log.sign(size))


def make_world(size: int, older: Iterable[int] = ()) -> World:
    log = OwnLog(MemoryStorage(), AGREEMENT, OWNER)
    sizes = sorted({n for n in (*older, size) if 0 < n <= size})
    for n in sizes:
        log.append([Record("receipt/v1", {"job": i}) for i in range(log.size, n)], NOW)
    signed = {n: signed_point(log, n) for n in (*sizes, size)}
    for n, item in signed.items():
        lines = (
            cosignature.cosign(item.text, PARTNER, NOW),
            cosignature.cosign(item.text, OUTSIDE, NOW, OUTSIDE_NAME),
        )
        signed[n] = item.with_signatures(*lines)
    newest = signed.pop(size)
    return World(size, log, newest, signed)


def tlog_proof(index: int, proof: Iterable[bytes], signed: bytes) -> str:
    """An inclusion proof in the form of C2SP tlog-proof."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(base64.b64encode(v).decode() for v in proof)]
    return "\n".join(lines) + "\n\n" + signed.decode()
