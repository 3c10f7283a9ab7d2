"""One file with the logs of an agreement, for anyone who is to check them (`.atoll-ledger`).

Its parts have fixed names: `manifest.json`, and for each log, under the first 16 hex digits of its owner's
key, `checkpoint`, `cosigned/<size>`, `tile/...` as in C2SP tlog-tiles, and in a copy for those who may read
them `bodies/<number>`. docs/reference/ledger-format.md describes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from atoll.crypto import canonical
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import archive, checkpoint, note, tiles
from atoll.ledger.entry import Body, Opened, encode_bodies, open_leaf
from atoll.ledger.log import Log
from atoll.ledger.report import Finding, Report
from atoll.ledger.verify import Copy, verify_copy

FORMAT = "atoll.ledger/v1"
SUFFIX = ".atoll-ledger"
MAX_LOGS = 64
MANIFEST = "manifest.json"

Reader = Callable[[int, Body], bool]


@dataclass(frozen=True)
class _Part:
    """One log as it goes into the file: its newest checkpoint, and older ones with cosignatures by size."""

    log: Log
    signed: note.Note | None
    size: int
    older: dict[int, note.Note]

    @classmethod
    def of(cls, log: Log) -> _Part:
        signed = log.checkpoint()
        size = 0 if signed is None else checkpoint.parse_text(signed.text).size
        by_size = {checkpoint.parse_text(item.text).size: item for item in log.cosigned()}
        return cls(log, signed, size, {key: by_size[key] for key in sorted(by_size) if key < size})


def _describe(parts: Sequence[_Part], names: Mapping[str, str], bodies: bool) -> dict[str, Any]:
    keys = {str(part.log.owner) for part in parts}
    keys |= {item.witness for part in parts for item in part.log.storage.cosignatures()}
    named = sorted((names.get(key, key), key) for key in keys)
    if len({name for name, _ in named}) != len(named):
        raise AtollError("E_FORMAT", "two signatories or witnesses have the same name")
    return {
        "format": FORMAT,
        "agreement": parts[0].log.agreement,
        "bodies": bodies,
        "logs": [{"key": str(p.log.owner), "size": p.size, "cosigned": list(p.older)} for p in parts],
        "witnesses": [{"name": name, "key": key} for name, key in named],
    }


def _members(
    manifest: Mapping[str, Any], parts: Sequence[_Part], may_read: Reader | None
) -> Iterator[tuple[str, bytes]]:
    yield MANIFEST, canonical.dumps(manifest)
    for part in parts:
        if part.signed is None:
            continue
        folder = checkpoint.short(part.log.owner)
        yield f"{folder}/checkpoint", part.signed.encode()
        for size, older in part.older.items():
            yield f"{folder}/cosigned/{size}", older.encode()
        for tile in (*tiles.tiles_of(part.size), *tiles.bundles_of(part.size)):
            yield f"{folder}/{tile.path}", part.log.file(tile)
        if may_read is None:
            continue
        for bundle in tiles.bundles_of(part.size):
            start = bundle.number * tiles.WIDTH
            bodies = _readable(part.log, start, start + bundle.width, may_read)
            yield f"{folder}/bodies/{bundle.number}", encode_bodies(bodies)


def _readable(log: Log, start: int, end: int, may_read: Reader) -> list[Opened | None]:
    found: list[Opened | None] = []
    for index, entry in enumerate(log.entries(start, end), start):
        opened = entry.opened
        found.append(opened if opened and may_read(index, open_leaf(entry.leaf, opened)) else None)
    return found


def write_export(
    path: Path,
    logs: Sequence[Log],
    names: Mapping[str, str] | None = None,
    *,
    with_bodies: bool = False,
    may_read: Reader = lambda index, body: True,
) -> dict[str, Any]:
    """Writes the file, whole or not at all; one that stands there is replaced.

    Args:
        path: where to; its folder exists.
        logs: of one agreement, at most one for each signatory: own and copies.
        names: display names by key identifier, of signatories and witnesses; else the key stands.
        with_bodies: whether the file holds bodies and openings at all. Without them nobody can guess what the
            entries say.
        may_read: decides for each entry, by its number and body, whether the receiver may read it.

    Returns:
        The manifest.

    Raises:
        AtollError: `E_TOO_LARGE` beyond 2 GiB; `E_FORMAT` for logs of several agreements or two of one owner.
    """
    owners = {checkpoint.short(log.owner) for log in logs}
    if not logs or len(owners) != len(logs) or len({log.agreement for log in logs}) != 1:
        raise AtollError("E_FORMAT", "an export holds one log of each signatory of one agreement")
    parts = [_Part.of(log) for log in sorted(logs, key=lambda log: str(log.owner))]
    manifest = _describe(parts, names or {}, with_bodies)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("xb") as out:
            archive.write(out, _members(manifest, parts, may_read if with_bodies else None))
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def _manifest(data: bytes) -> Mapping[str, Any]:
    """The checked manifest; `E_LEDGER` for anything that `export` does not write."""

    def need(condition: bool, text: str) -> None:
        if not condition:
            raise AtollError("E_LEDGER", text)

    try:
        value: Any = canonical.loads(data)
    except AtollError as error:
        raise AtollError("E_LEDGER", error.text) from None
    need(isinstance(value, dict), "it is not an object")
    need(value.get("format") == FORMAT, "its format is not known")
    need(set(value) == {"format", "agreement", "bodies", "logs", "witnesses"}, "it has other fields")
    need(
        isinstance(value["agreement"], str) and isinstance(value["bodies"], bool), "a field has another type"
    )
    logs, witnesses = value["logs"], value["witnesses"]
    need(isinstance(logs, list) and 0 < len(logs) <= MAX_LOGS, "it names no log or too many")
    need(isinstance(witnesses, list) and len(witnesses) <= 2 * MAX_LOGS, "it names too many witnesses")
    for item, fields in (
        *((log, {"key", "size", "cosigned"}) for log in logs),
        *((witness, {"key", "name"}) for witness in witnesses),
    ):
        need(isinstance(item, dict) and set(item) == fields, "an item has other fields")
        need(isinstance(item["key"], str), "a key is not text")
        try:
            PublicKey.parse(item["key"])
        except AtollError as error:
            raise AtollError("E_LEDGER", error.text) from None
    for log in logs:
        need(isinstance(log["cosigned"], list) and len(log["cosigned"]) <= 2 * MAX_LOGS, "too many sizes")
        for size in (log["size"], *log["cosigned"]):
            need(type(size) is int and 0 <= size <= archive.MAX_BYTES, "a size is impossible")
        need(log["cosigned"] == sorted(set(log["cosigned"])), "sizes are out of order")
    need(all(isinstance(w["name"], str) and len(w["name"]) <= 200 for w in witnesses), "a name is not text")
    for items, field in ((logs, "key"), (witnesses, "name")):
        order = [item[field] for item in items]
        need(order == sorted(set(order)), "its lists are out of order")
    need(len({w["key"] for w in witnesses}) == len(witnesses), "it lists a witness twice")
    return dict(value)


def _expected(manifest: Mapping[str, Any]) -> list[str]:
    """Names of all parts that the file must hold, in their order; bounded before any is made."""
    if sum(log["size"] for log in manifest["logs"]) // tiles.WIDTH > archive.MAX_MEMBERS:
        raise AtollError("E_LEDGER", "it claims more entries than a file can hold")
    names = [MANIFEST]
    for log in manifest["logs"]:
        if log["size"] == 0:
            continue
        folder = checkpoint.short(PublicKey.parse(log["key"]))
        names.append(f"{folder}/checkpoint")
        names += [f"{folder}/cosigned/{size}" for size in log["cosigned"]]
        parts = (*tiles.tiles_of(log["size"]), *tiles.bundles_of(log["size"]))
        names += [f"{folder}/{part.path}" for part in parts]
        if manifest["bodies"]:
            names += [f"{folder}/bodies/{bundle.number}" for bundle in tiles.bundles_of(log["size"])]
    return names


def _copy(manifest: Mapping[str, Any], log: Mapping[str, Any], members: Mapping[str, bytes]) -> Copy:
    owner = PublicKey.parse(log["key"])
    folder = checkpoint.short(owner) + "/"
    own = {name.removeprefix(folder): data for name, data in members.items() if name.startswith(folder)}
    return Copy(
        manifest["agreement"],
        owner,
        own.get("checkpoint", b""),
        {name: data for name, data in own.items() if name.startswith("tile/")},
        [own[f"cosigned/{size}"] for size in log["cosigned"] if f"cosigned/{size}" in own],
        {int(name.removeprefix("bodies/")): data for name, data in own.items() if name.startswith("bodies/")},
    )


def verify_export(
    path: Path,
    now: datetime,
    trusted: Mapping[str, PublicKey] | None = None,
    seen: Sequence[bytes] = (),
    outside: Mapping[str, PublicKey] | None = None,
) -> Report:
    """Checks an exported file with nothing but the file and, better, the signatories' keys.

    Args:
        path: the file.
        now: the verifier's clock, aware.
        trusted: the signatories' keys by display name, from the agreement. Every one must have its log in the
            file, and no other key counts. Without it the file's own keys and names are used, and the report says
            so.
        seen: checkpoints of these logs that the verifier has from elsewhere.
        outside: keys, by display name, of witnesses that are no signatories and whose cosignatures count.
            Without `trusted` it is not needed.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read. What is wrong with its content is in the report.
    """
    try:
        if path.stat().st_size > archive.MAX_BYTES + (archive.MAX_MEMBERS << 8):
            return Report((Finding("container", {"reason": "it is over 2 GiB"}),))
        data = path.read_bytes()
    except OSError as error:
        raise AtollError("E_NOT_FOUND", f"{path}: {error.strerror}") from None
    try:
        content = archive.read(data)
    except AtollError as error:
        return Report((Finding("container", {"reason": error.text}),))
    try:
        manifest = _manifest(content.members.get(MANIFEST, b""))
        names = _expected(manifest)
    except AtollError as error:
        return Report((Finding("manifest", {"reason": error.text}),))
    findings: list[Finding] = []
    # Who cosigned is called by the name that the verifier knows: the file's own may be anything.
    names_of = {str(key): name for known in (outside, trusted) for name, key in (known or {}).items()}
    witnesses = {names_of.get(w["key"], w["name"]): PublicKey.parse(w["key"]) for w in manifest["witnesses"]}
    if trusted is None:
        listed = ", ".join(log["key"] for log in manifest["logs"])
        findings.append(Finding("keys", {"keys": listed}))
    else:
        findings += _trust(manifest, witnesses, trusted, outside or {})
    for log in manifest["logs"]:
        if log["size"]:
            findings += _verify_log(manifest, log, content.members, witnesses, now, seen)
    findings += [Finding("member-missing", {"member": n}) for n in names if n not in content.members]
    findings += [Finding("member-extra", {"member": n}) for n in content.members if n not in set(names)]
    findings += [Finding("member-damaged", {"member": name}) for name in content.damaged]
    if list(content.members) != names and all(finding.level != "bad" for finding in findings):
        findings.append(Finding("manifest", {"reason": "its parts are out of order"}))
    findings.append(Finding("limits"))
    return Report(tuple(findings))


def _trust(
    manifest: Mapping[str, Any],
    witnesses: Mapping[str, PublicKey],
    trusted: Mapping[str, PublicKey],
    outside: Mapping[str, PublicKey],
) -> Iterator[Finding]:
    known = {str(key) for key in trusted.values()}
    present = {log["key"] for log in manifest["logs"]}
    cosigning = {str(key) for key in witnesses.values()} - {str(key) for key in outside.values()}
    for key in sorted((present | cosigning) - known):
        yield Finding("untrusted", {"key": key})
    for key in sorted(known - present):
        yield Finding("absent", {"key": key})


def _verify_log(
    manifest: Mapping[str, Any],
    log: Mapping[str, Any],
    members: Mapping[str, bytes],
    witnesses: Mapping[str, PublicKey],
    now: datetime,
    seen: Sequence[bytes],
) -> list[Finding]:
    copy = _copy(manifest, log, members)
    try:
        origin = checkpoint.origin(copy.agreement, copy.owner)
        given = [item for item in seen if checkpoint.parse_text(note.parse(item).text).origin == origin]
        point = checkpoint.parse_text(note.parse(copy.checkpoint).text)
    except AtollError as error:
        return [Finding("checkpoint", {"origin": checkpoint.short(copy.owner), "reason": error.text})]
    if point.size != log["size"]:
        return [Finding("checkpoint", {"origin": origin, "reason": "its size is not the one that is listed"})]
    found = verify_copy(copy, witnesses, now, given[0] if given else None)
    for item in given[1:]:
        found += [f for f in verify_copy(copy, witnesses, now, item) if f.level == "bad"]
    return found
