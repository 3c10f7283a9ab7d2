"""The container of an audit (`.atoll-audit`): one file with exactly one encoding.

A zip file of stored members as `ledger.archive` writes it: `manifest.json`; for each log, under the first 16 hex
digits of its owner's key, `checkpoint`, `cosigned/<size>` with `consistency/<size>`, and `entries/<number>`;
`openings.json`. Parts that are lists are deterministic CBOR. docs/reference/audit-format.md describes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.crypto import canonical
from atoll.crypto.suite import PublicKey
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.ledger import archive, checkpoint, merkle
from atoll.ledger.entry import Entry, Opened

FORMAT = "atoll.audit/v1"
SUFFIX = ".atoll-audit"
MANIFEST, OPENINGS = "manifest.json", "openings.json"
PER_PART = 256
MAX_LOGS = 64
MAX_NAMES = 4096
MAX_OPENINGS = 10_000


@dataclass(frozen=True)
class Selected:
    """An entry with its place, and the path from it to the newest root; none in a log that is whole."""

    index: int
    entry: Entry
    proof: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class LogPart:
    """One log in the file.

    Args:
        owner: whose log it is.
        checkpoint: the newest one, with the cosignatures that it has.
        size: its number of entries.
        cosigned: older checkpoints with cosignatures, by size, each with the consistency proof to the newest.
        whole: whether every entry is there.
        count: how many entries are.
        entries: they, in order; read once.
    """

    owner: PublicKey
    checkpoint: bytes
    size: int
    cosigned: Mapping[int, tuple[bytes, tuple[bytes, ...]]]
    whole: bool
    count: int
    entries: Iterable[Selected]


@dataclass(frozen=True)
class Opening:
    """A call that its asker shows: its record with the path to the block's root, and the authorisation behind it."""

    job: str
    block: int
    index: int
    record: bytes
    path: tuple[bytes, ...]
    opening: bytes | None
    consent: Mapping[str, Any] | None
    withdrawal: Mapping[str, Any] | None

    def document(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "job": self.job,
            "block": self.block,
            "index": self.index,
            "record": self.record.decode(),
            "path": [value.hex() for value in self.path],
            "opening": self.opening.hex() if self.opening is not None else None,
            "consent": self.consent,
            "withdrawal": self.withdrawal,
        }

    @classmethod
    def read(cls, value: Any) -> Opening:
        """Reads `document`; `E_LEDGER` for anything else."""
        try:
            if set(value) != {"job", "block", "index", "record", "path", "opening", "consent", "withdrawal"}:
                raise ValueError
            if any(type(value[k]) is not int or value[k] < 0 for k in ("block", "index")):
                raise ValueError
            if not isinstance(value["job"], str) or not isinstance(value["path"], list):
                raise ValueError
            if len(value["path"]) > merkle.MAX_PROOF:
                raise ValueError
            if any(not isinstance(value[k], dict | None) for k in ("consent", "withdrawal")):
                raise ValueError
            return cls(
                value["job"],
                value["block"],
                value["index"],
                value["record"].encode(),
                tuple(bytes.fromhex(item) for item in value["path"]),
                None if value["opening"] is None else bytes.fromhex(value["opening"]),
                value["consent"],
                value["withdrawal"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AtollError("E_LEDGER", "an opened call is malformed") from None


@dataclass(frozen=True)
class AuditFile:
    """What an audit is about, and its parts.

    Args:
        agreement: the agreement's identifier.
        by: key of the node that wrote the file.
        at: when, by its clock.
        asked: what was asked for, in its words: jobs, months, kinds; for people.
        names: display names by key, of signatories and witnesses.
        logs: in order of owner.
        openings: calls that are shown.
        damaged: parts whose checksum does not fit; only of a file that was read.
    """

    agreement: str
    by: str
    at: str
    asked: Mapping[str, Any]
    names: Mapping[str, str]
    logs: Sequence[LogPart]
    openings: Sequence[Opening] = ()
    damaged: tuple[str, ...] = ()


def _parts(count: int) -> int:
    return -(-count // PER_PART)


def _manifest(content: AuditFile) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "agreement": content.agreement,
        "by": content.by,
        "at": content.at,
        "asked": dict(content.asked),
        "names": dict(content.names),
        "logs": [
            {
                "key": str(log.owner),
                "size": log.size,
                "cosigned": sorted(log.cosigned),
                "whole": log.whole,
                "entries": log.count,
            }
            for log in content.logs
        ],
        "openings": len(content.openings),
    }


def _written(item: Selected) -> list[Any]:
    opened = item.entry.opened
    return [
        item.index,
        item.entry.leaf,
        opened.opening if opened else None,
        opened.body if opened else None,
        list(item.proof),
    ]


def _members(content: AuditFile) -> Iterator[tuple[str, bytes]]:
    yield MANIFEST, canonical.dumps(_manifest(content))
    for log in content.logs:
        folder = checkpoint.short(log.owner)
        yield f"{folder}/checkpoint", log.checkpoint
        for size, (signed, proof) in sorted(log.cosigned.items()):
            yield f"{folder}/cosigned/{size}", signed
            yield f"{folder}/consistency/{size}", encode_body(list(proof))
        part: list[list[Any]] = []
        number = written = 0
        for item in log.entries:
            part.append(_written(item))
            if len(part) == PER_PART:
                yield f"{folder}/entries/{number}", encode_body(part)
                written, number, part = written + len(part), number + 1, []
        if part:
            yield f"{folder}/entries/{number}", encode_body(part)
        if written + len(part) != log.count:
            raise AtollError("E_INTERNAL", "a log gave another number of entries than it said")
    yield OPENINGS, canonical.dumps([opening.document() for opening in content.openings])


def write_audit(path: Path, content: AuditFile) -> dict[str, Any]:
    """Writes the file, whole or not at all; one that stands there is replaced. Gives its manifest.

    Raises:
        AtollError: `E_TOO_LARGE` beyond 2 GiB or 65,534 parts.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("xb") as out:
            archive.write(out, _members(content))
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return _manifest(content)


# Reading.


def _need(condition: bool, text: str) -> None:
    if not condition:
        raise AtollError("E_LEDGER", f"the list of contents is not valid: {text}")


def _checked_manifest(data: bytes) -> dict[str, Any]:
    value: Any = canonical.loads(data)
    fields = {"format", "agreement", "by", "at", "asked", "names", "logs", "openings"}
    _need(isinstance(value, dict) and value.get("format") == FORMAT, "its format is not known")
    _need(set(value) == fields, "it has other fields")
    _need(isinstance(value["agreement"], str) and isinstance(value["at"], str), "a field has another type")
    _need(isinstance(value["asked"], dict) and isinstance(value["names"], dict), "a field has another type")
    _need(len(value["names"]) <= MAX_NAMES, "it names too many")
    for key, name in value["names"].items():
        PublicKey.parse(key)
        _need(isinstance(name, str) and 0 < len(name) <= 200, "a name is not one")
    checkpoint.origin(value["agreement"], PublicKey.parse(value["by"]))
    _need(isinstance(value["logs"], list) and 0 < len(value["logs"]) <= MAX_LOGS, "no log, or too many")
    for log in value["logs"]:
        _need(
            isinstance(log, dict) and set(log) == {"key", "size", "cosigned", "whole", "entries"},
            "a log has other fields",
        )
        PublicKey.parse(log["key"])
        numbers = [
            log["size"],
            log["entries"],
            *(log["cosigned"] if isinstance(log["cosigned"], list) else [-1]),
        ]
        _need(all(type(n) is int and 0 <= n <= archive.MAX_BYTES for n in numbers), "a number is impossible")
        _need(isinstance(log["whole"], bool) and len(log["cosigned"]) <= 2 * MAX_LOGS, "a log is malformed")
        _need(log["cosigned"] == sorted(set(log["cosigned"])), "sizes are out of order")
        _need(log["entries"] <= log["size"], "more entries than the log has")
        _need(not log["whole"] or log["entries"] == log["size"], "a whole log lacks entries")
    owners = [log["key"] for log in value["logs"]]
    _need(owners == sorted(set(owners)), "its logs are out of order")
    _need(type(value["openings"]) is int and 0 <= value["openings"] <= MAX_OPENINGS, "a number is impossible")
    return dict(value)


def _expected(manifest: Mapping[str, Any]) -> list[str]:
    """Names of all parts in their order; bounded before any is made."""
    if sum(_parts(log["entries"]) for log in manifest["logs"]) > archive.MAX_MEMBERS:
        raise AtollError("E_LEDGER", "it claims more entries than a file can hold")
    names = [MANIFEST]
    for log in manifest["logs"]:
        folder = checkpoint.short(PublicKey.parse(log["key"]))
        names.append(f"{folder}/checkpoint")
        for size in log["cosigned"]:
            names += [f"{folder}/cosigned/{size}", f"{folder}/consistency/{size}"]
        names += [f"{folder}/entries/{number}" for number in range(_parts(log["entries"]))]
    return [*names, OPENINGS]


def _hashes(value: Any) -> tuple[bytes, ...]:
    if (
        not isinstance(value, list)
        or len(value) > merkle.MAX_PROOF
        or not all(isinstance(v, bytes) for v in value)
    ):
        raise AtollError("E_LEDGER", "a proof is malformed")
    return tuple(value)


def _selected(value: Any) -> Selected:
    if not isinstance(value, list) or len(value) != 5:
        raise AtollError("E_LEDGER", "an entry is malformed")
    index, leaf, opening, body, proof = value
    if (
        type(index) is not int
        or index < 0
        or not isinstance(leaf, bytes)
        or not ((opening is None) == (body is None) and isinstance(opening, bytes | None))
        or not isinstance(body, bytes | None)
    ):
        raise AtollError("E_LEDGER", "an entry is malformed")
    opened = Opened(body, opening) if body is not None and opening is not None else None
    return Selected(index, Entry(leaf, opened), _hashes(proof))


def _entries(members: Mapping[str, bytes], folder: str, count: int) -> Iterator[Selected]:
    left = count
    for number in range(_parts(count)):
        part = decode_body(members[f"{folder}/entries/{number}"])
        expected = min(PER_PART, left)
        if not isinstance(part, list) or len(part) != expected:
            raise AtollError(
                "E_LEDGER", f"part {number} of the entries of {folder} holds another number of them"
            )
        left -= expected
        yield from map(_selected, part)


def read_audit(path: Path) -> AuditFile:
    """Reads a file strictly; its proofs and signatures are not checked by having been read.

    Raises:
        AtollError: `E_NOT_FOUND` if it cannot be read, `E_LEDGER` if it is not what `write_audit` writes.
    """
    try:
        if path.stat().st_size > archive.MAX_BYTES + (archive.MAX_MEMBERS << 8):
            raise AtollError("E_TOO_LARGE", f"{path} is over 2 GiB")
        data = path.read_bytes()
    except OSError as error:
        raise AtollError("E_NOT_FOUND", f"{path}: {error.strerror}") from None
    content = archive.read(data)
    try:
        manifest = _checked_manifest(content.members.get(MANIFEST, b""))
    except AtollError as error:
        raise AtollError("E_LEDGER", error.text) from None
    names = _expected(manifest)
    if list(content.members) != names:
        wrong = next((n for n in names if n not in content.members), None) or "its order"
        raise AtollError("E_LEDGER", f"the file does not hold what its list says: {wrong[:120]}")
    logs = []
    for log in manifest["logs"]:
        owner = PublicKey.parse(log["key"])
        folder = checkpoint.short(owner)
        cosigned = {
            size: (
                content.members[f"{folder}/cosigned/{size}"],
                _hashes(decode_body(content.members[f"{folder}/consistency/{size}"])),
            )
            for size in log["cosigned"]
        }
        logs.append(
            LogPart(
                owner,
                content.members[f"{folder}/checkpoint"],
                log["size"],
                cosigned,
                log["whole"],
                log["entries"],
                _entries(content.members, folder, log["entries"]),
            )
        )
    openings = canonical.loads(content.members[OPENINGS])
    if not isinstance(openings, list) or len(openings) != manifest["openings"]:
        raise AtollError("E_LEDGER", "the opened calls are not as many as the list says")
    return AuditFile(
        manifest["agreement"],
        manifest["by"],
        manifest["at"],
        manifest["asked"],
        manifest["names"],
        logs,
        [Opening.read(value) for value in openings],
        content.damaged,
    )
