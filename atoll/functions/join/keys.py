"""Keys of one table version, prepared once and kept beside it: digests, which row has which key, how often.

Those of large tables are prepared through files, and a join that is short of memory uses them from files; the bytes are
the same. The files hold digests of the owner's own keys under no secret, so they are as sensitive as the keys
themselves; they stand in the node's own folder like the table they come from.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.crypto import canonical
from atoll.crypto.files import FileBytes, disk_errors
from atoll.crypto.key_files import key_files
from atoll.crypto.keys import key_digests
from atoll.crypto.suite import digest
from atoll.data.changes import count_changes, count_file_changes
from atoll.data.read import read, row_count

U32 = npt.NDArray[np.uint32]
FILED_ROWS = 1 << 22
"""Tables of so many rows are prepared through files, and compared with earlier ones through files."""


@dataclass(frozen=True)
class PreparedKeys:
    """Distinct keys of a table, in order of first appearance."""

    digests: bytes
    """32 bytes for each distinct key."""
    rows: U32
    """For each row the index of its key, or `NO_KEY` where a key column is null."""
    multiplicity: bytes | memoryview
    """For each distinct key its number of rows, u32 little-endian."""
    nulls: int

    @property
    def count(self) -> int:
        """Number of distinct keys."""
        return len(self.digests) // 32

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def duplicates(self) -> int:
        """Rows beyond the first of their key."""
        return self.row_count - self.nulls - self.count


@dataclass(frozen=True)
class FiledKeys:
    """As `PreparedKeys`, in the files."""

    digests: FileBytes
    rows: FileBytes
    multiplicity: FileBytes
    nulls: int

    @property
    def count(self) -> int:
        """Number of distinct keys."""
        return len(self.digests) // 32

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self.rows) // 4

    @property
    def duplicates(self) -> int:
        """Rows beyond the first of their key."""
        return self.row_count - self.nulls - self.count


def cache_name(columns: list[str], steps: dict[str, list[str]]) -> str:
    """Name of the folder for these key columns under this normalisation."""
    return "keys-" + digest(canonical.dumps({"columns": columns, "steps": steps})).split(":")[1][:32]


def _mapped(path: Path) -> memoryview:
    """The bytes of a file, read from the disk when they are looked at; the system may drop them again.

    Files of prepared keys are never changed once they stand there.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def load_keys(folder: Path) -> PreparedKeys:
    """Prepared keys from their folder. The digests are read, since a protocol takes them whole; the rest is mapped."""
    facts = json.loads((folder / "keys.json").read_text())
    return PreparedKeys(
        (folder / "digests.bin").read_bytes(),
        np.frombuffer(_mapped(folder / "rows.bin"), dtype="<u4"),
        _mapped(folder / "multiplicity.bin"),
        facts["nulls"],
    )


def open_keys(folder: Path) -> FiledKeys:
    """Prepared keys in their folder, none of them in memory."""
    facts = json.loads((folder / "keys.json").read_text())
    names = ("digests.bin", "rows.bin", "multiplicity.bin")
    digests, rows, multiplicity = (FileBytes.open(folder / name) for name in names)
    return FiledKeys(digests, rows, multiplicity, facts["nulls"])


def make_keys(data: Path, columns: list[str], steps: dict[str, list[str]], threads: int) -> PreparedKeys:
    """Computes the keys of a table; `E_DATA` names the first row that the normalisation cannot take."""
    found = key_digests(read(data, columns), columns, steps, threads)
    return PreparedKeys(
        found.digests, np.frombuffer(found.rows, dtype="<u4"), found.multiplicity, found.n_null
    )


def _file_keys(
    data: Path, columns: list[str], steps: dict[str, list[str]], threads: int, folder: Path
) -> FiledKeys:
    """Computes the keys of a large table into `folder`; raises as `make_keys`, and `E_DISK` if the disk is full."""
    found = key_files(read(data, columns), columns, folder, steps, threads)
    return FiledKeys(found.digests, found.rows, found.multiplicity, found.n_null)


def _write(keys: PreparedKeys, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "digests.bin").write_bytes(keys.digests)
    keys.rows.tofile(folder / "rows.bin")
    (folder / "multiplicity.bin").write_bytes(keys.multiplicity)


def _store(data: Path, columns: list[str], steps: dict[str, list[str]], threads: int, folder: Path) -> None:
    """Computes the keys of a table into `folder`, which is there whole or not at all."""
    _remove_leftovers(folder.parent)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.new")
    try:
        with disk_errors():
            keys: PreparedKeys | FiledKeys
            rows = row_count(data)
            if rows >= FILED_ROWS:
                keys = _file_keys(data, columns, steps, threads, temporary)
            else:
                keys = make_keys(data, columns, steps, threads)
                _write(keys, temporary)
            facts = {"keys": keys.count, "rows": rows, "nulls": keys.nulls, "duplicates": keys.duplicates}
            (temporary / "keys.json").write_text(json.dumps(facts))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    try:
        temporary.rename(folder)
    except OSError:
        # Another job prepared the same keys first; its files are the same.
        shutil.rmtree(temporary)


def _remove_leftovers(cache: Path) -> None:
    """Removes what a process left behind that was killed while it prepared keys."""
    for left in cache.glob("keys-*.*.new"):
        maker = left.name.split(".")[1]
        if maker.isdecimal() and not _lives(int(maker)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    """Whether another process of that number runs. What has this one's own number is of an earlier one."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _difference(before: Path, now: Path) -> int:
    """Keys added plus removed."""
    if max(path.stat().st_size for path in (before, now)) >= 32 * FILED_ROWS:
        changes = count_file_changes(FileBytes.open(before), FileBytes.open(now))
    else:
        changes = count_changes(_mapped(before), _mapped(now))
    return changes.added + changes.removed


def prepare_keys(
    data: Path, cache: Path, columns: list[str], steps: dict[str, list[str]], threads: int, earlier: list[str]
) -> dict[str, Any]:
    """Makes sure that the keys stand in the cache, and says how many there are.

    Args:
        data: Parquet file of the table version.
        cache: folder of what is derived from this version.
        columns: key columns, in the plan's order.
        steps: normalisation steps by column.
        threads: threads to use.
        earlier: folders of the keys that were joined with the same partner under the agreement before,
            of whatever table.

    Returns:
        `keys`, `rows`, `nulls`, `duplicates`, and `change`: the least number of keys added plus removed since
        any of `earlier`, or None if there is none. The least, since two tables that differ in one key reveal
        that key's membership however many other tables were used between them.
    """
    folder = cache / cache_name(columns, steps)
    if not (folder / "keys.json").exists():
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        _store(data, columns, steps, threads, folder)
    facts: dict[str, Any] = json.loads((folder / "keys.json").read_text())
    if folder in map(Path, earlier):
        # Nothing is nearer than the same keys.
        return facts | {"change": 0}
    before = [Path(other) / "digests.bin" for other in earlier]
    changes = [_difference(path, folder / "digests.bin") for path in before if path.exists()]
    # Keys whose folder is gone cannot be compared: all of these count as changed.
    facts["change"] = min(changes) if changes else facts["keys"] if earlier else None
    return facts
