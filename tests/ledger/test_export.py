"""Exported copies: complete, checkable by anyone, silent without openings, and no byte of them can change."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from atoll.crypto import canonical
from atoll.crypto.suite import SigningKey, commit
from atoll.errors import AtollError
from atoll.ledger import archive, checkpoint, cosignature, export, merkle, note, report, tiles
from atoll.ledger.entry import Record, format_time, seal
from atoll.ledger.log import Log, OwnLog
from atoll.ledger.replica import Replica
from atoll.ledger.storage import MemoryStorage
from atoll.ledger.witness import MemorySeen, Witness

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
AGREEMENT = "agr-0011223344556677"
ALICE = SigningKey(b"\x01" * 32)
BOB = SigningKey(b"\x02" * 32)
KEYS = {"alice": ALICE.public, "bob": BOB.public}
NAMES = {str(key): name for name, key in KEYS.items()}


def log_of(key: SigningKey, count: int, secrets: list[str] | None = None) -> OwnLog:
    log = OwnLog(MemoryStorage(), AGREEMENT, key)
    values = secrets or [f"job-{i}" for i in range(count)]
    if values:
        log.append([Record("receipt/v1", {"value": value}) for value in values], NOW)
    return log


def cosign(log: OwnLog, key: SigningKey, at: datetime = NOW) -> None:
    signed = log.checkpoint()
    assert signed is not None
    line = Witness(key, MemorySeen()).update(log.origin, log.owner, 0, [], signed.encode(), at)
    log.add_cosignature(signed.encode(), line.line, key.public)


def write(path: Path, *logs: Log, bodies: bool = False) -> Path:
    export.write_export(path, logs, NAMES, with_bodies=bodies)
    return path


def codes(found: report.Report) -> list[str]:
    return [finding.code for finding in found.findings]


def check(path: Path, **options: object) -> report.Report:
    return export.verify_export(path, NOW + timedelta(hours=1), **options)  # type: ignore[arg-type]


def test_a_good_copy(tmp_path: Path) -> None:
    alice, bob = log_of(ALICE, 600), log_of(BOB, 3)
    cosign(alice, BOB)
    cosign(bob, ALICE)
    alice.append([Record("receipt/v1", {"value": "later"})], NOW)
    found = check(write(tmp_path / "copy.atoll-ledger", alice, bob, bodies=True), trusted=KEYS)
    assert found.ok, found.lines()
    assert sorted(codes(found)) == [
        "alone",
        "cosigned",
        "cosigned",
        "limits",
        "log",
        "log",
        "opened",
        "opened",
    ]
    assert "No partner has cosigned the last 1 entries" in "\n".join(found.lines("en"))
    assert any("无伙伴见证" in line for line in found.lines("zh"))
    found.require()
    json.dumps(found.to_json())
    # Without the keys it says whose keys it used.
    assert "keys" in codes(check(tmp_path / "copy.atoll-ledger"))


def test_the_file_is_a_zip_for_everyone(tmp_path: Path) -> None:
    log = log_of(ALICE, 300)
    path = write(tmp_path / "copy", log)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        names = file.namelist()
        folder = ALICE.public.raw.hex()[:16]
        assert names == [
            "manifest.json",
            f"{folder}/checkpoint",
            f"{folder}/tile/0/000",
            f"{folder}/tile/0/001.p/44",
            f"{folder}/tile/1/000.p/1",
            f"{folder}/tile/entries/000",
            f"{folder}/tile/entries/001.p/44",
        ]
        bundle = file.read(f"{folder}/tile/entries/001.p/44")
        leaves = tiles.decode_bundle(bundle, 44)
        assert merkle.leaf_hash(leaves[0]) == file.read(f"{folder}/tile/0/001.p/44")[:32]


def test_every_flipped_byte_is_caught(tmp_path: Path) -> None:
    log = log_of(ALICE, 4)
    cosign(log, BOB)
    log.append([Record("receipt/v1", {"value": "later"})], NOW)
    log.erase(1)
    path = write(tmp_path / "copy", log, bodies=True)
    good = path.read_bytes()
    assert check(path).ok
    rng = random.Random(7)
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        found = check(path)
        assert not found.ok, f"byte {position}"
        with pytest.raises(AtollError, match="E_LEDGER"):
            found.require()


@pytest.mark.parametrize("cut", [0, 1, 21, 22, 100, 500])
def test_cut_and_lengthened_files_are_caught(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "copy", log_of(ALICE, 4))
    good = path.read_bytes()
    for data in (good[:cut], good[: len(good) - cut - 1], good + b"\0", b"\0" + good, good + good):
        path.write_bytes(data)
        assert not check(path).ok


def repack(path: Path, change: dict[str, bytes | None]) -> None:
    """Rewrites members of a file with fitting checksums, as a careful forger would; None drops one."""
    members = dict(archive.read(path.read_bytes()).members)
    for name, data in change.items():
        if data is None:
            del members[name]
        else:
            members[name] = data
    out = io.BytesIO()
    archive.write(out, members.items())
    path.write_bytes(out.getvalue())


def test_the_first_bad_entry_is_named(tmp_path: Path) -> None:
    log = log_of(ALICE, 600)
    path = write(tmp_path / "copy", log)
    folder = checkpoint.short(ALICE.public)
    name = f"{folder}/tile/entries/001"
    leaves = [entry.leaf for entry in log.entries(256, 512)]
    forged = log_of(BOB, 1).entries(0, 1)[0].leaf
    good = path.read_bytes()

    repack(path, {name: tiles.encode_bundle([*leaves[:44], forged, *leaves[45:]])})
    bad = check(path).first_bad
    assert bad is not None
    assert (bad.code, bad.facts["index"]) == ("entry-changed", 300)
    assert "300" in bad.text("en")
    assert "300" in bad.text("zh")

    # The same byte flipped in the file itself, so that the container's checksum is wrong as well.
    position = good.index(leaves[44]) + 30
    path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
    bad = check(path).first_bad
    assert bad is not None
    assert bad.facts["index"] == 300

    # Entry and its tile forged together: the tile above still knows in which 256 it is.
    path.write_bytes(good)
    hashes = [merkle.leaf_hash(leaf) for leaf in [*leaves[:44], forged, *leaves[45:]]]
    repack(
        path,
        {
            name: tiles.encode_bundle([*leaves[:44], forged, *leaves[45:]]),
            f"{folder}/tile/0/001": b"".join(hashes),
        },
    )
    bad = check(path).first_bad
    assert bad is not None
    assert (bad.code, bad.facts["index"]) == ("rewritten", 256)

    path.write_bytes(good)
    repack(path, {name: tiles.encode_bundle([*leaves[:44], leaves[3], *leaves[45:]])})
    bad = check(path).first_bad
    assert bad is not None
    assert (bad.code, bad.facts["index"], bad.facts["earlier"]) == ("entry-repeated", 300, 259)

    path.write_bytes(good)
    tile = archive.read(good).members[f"{folder}/tile/0/002.p/88"]
    repack(path, {f"{folder}/tile/0/002.p/88": tile[:-1] + bytes([tile[-1] ^ 1])})
    bad = check(path).first_bad
    assert bad is not None
    assert (bad.code, bad.facts["index"]) == ("tile", 599)


def test_missing_extra_and_misplaced_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "copy", log_of(ALICE, 300), bodies=True)
    good = path.read_bytes()
    names = list(archive.read(good).members)
    for name in names:
        path.write_bytes(good)
        repack(path, {name: None})
        assert not check(path).ok, name
    path.write_bytes(good)
    repack(path, {"0/extra": b""})
    assert "member-extra" in codes(check(path))
    members = list(archive.read(good).members.items())
    out = io.BytesIO()
    archive.write(out, [members[0], members[2], members[1], *members[3:]])
    path.write_bytes(out.getvalue())
    assert not check(path).ok


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"agreement": "agr-other"}, "checkpoint"),
        ({"format": "atoll.ledger/v2"}, "manifest"),
        ({"bodies": 1}, "manifest"),
        ({"logs": []}, "manifest"),
        ({"logs": [{"key": "ed25519:00", "size": 1, "cosigned": []}]}, "manifest"),
        ({"logs": [{"key": str(ALICE.public), "size": 10**12, "cosigned": []}]}, "manifest"),
        ({"logs": [{"key": str(ALICE.public), "size": 2**31 - 1, "cosigned": []}]}, "manifest"),
        ({"logs": [{"key": str(ALICE.public), "size": 2, "cosigned": []}]}, "checkpoint"),
        ({"logs": [{"key": str(ALICE.public), "size": 3, "cosigned": [2]}]}, "member-missing"),
        ({"logs": [{"key": str(BOB.public), "size": 3, "cosigned": []}]}, "checkpoint"),
        ({"logs": [{"key": str(ALICE.public), "size": True, "cosigned": []}]}, "manifest"),
        ({"logs": "x"}, "manifest"),
        (
            {"witnesses": [{"name": "b", "key": str(BOB.public)}, {"name": "a", "key": str(BOB.public)}]},
            "manifest",
        ),
        (
            {"witnesses": [{"name": "a", "key": str(BOB.public)}, {"name": "b", "key": str(BOB.public)}]},
            "manifest",
        ),
        ({"witnesses": [{"name": 1, "key": str(BOB.public)}]}, "manifest"),
        ({"extra": 1}, "manifest"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, change: dict[str, object], code: str) -> None:
    path = write(tmp_path / "copy", log_of(ALICE, 3))
    manifest = canonical.loads(archive.read(path.read_bytes()).members["manifest.json"])
    repack(path, {"manifest.json": canonical.dumps({**manifest, **change})})
    bad = check(path).first_bad
    assert bad is not None
    assert bad.code == code


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", b"0" * 50_000_000)
    assert path.stat().st_size < 100_000
    assert codes(check(path)) == ["container"]
    with pytest.raises(AtollError, match="E_NOT_FOUND"):
        check(tmp_path / "absent")


def test_strangers_keys_and_absent_logs(tmp_path: Path) -> None:
    path = write(tmp_path / "copy", log_of(ALICE, 3))
    found = check(path, trusted={"bob": BOB.public})
    assert [f.code for f in found.findings if f.level == "bad"] == ["untrusted", "absent"]
    # A forger's whole new log, well formed and under its own key, is caught by the key alone.
    assert check(path).ok


def test_a_stranger_among_the_cosigners_is_refused(tmp_path: Path) -> None:
    log = log_of(ALICE, 3)
    stranger = SigningKey(b"\x09" * 32)
    cosign(log, stranger)
    path = write(tmp_path / "copy", log)
    # The file names him as a witness; who knows the signatories' keys sees that he is none of them.
    assert check(path).ok
    bad = check(path, trusted={"alice": ALICE.public}).first_bad
    assert bad is not None
    assert bad.facts["key"] == str(stranger.public)
    manifest = canonical.loads(archive.read(path.read_bytes()).members["manifest.json"])
    listed = [w for w in manifest["witnesses"] if w["key"] != str(stranger.public)]
    repack(path, {"manifest.json": canonical.dumps({**manifest, "witnesses": listed})})
    bad = check(path).first_bad
    assert bad is not None
    assert bad.code == "cosignature"


def test_a_witness_that_is_no_node_has_a_name_of_its_own(tmp_path: Path) -> None:
    outside, name = SigningKey(b"\x06" * 32), "witness.example/w1"
    alice, bob = log_of(ALICE, 3), log_of(BOB, 2)
    cosign(alice, BOB)
    cosign(bob, ALICE)
    signed = alice.checkpoint()
    assert signed is not None
    line = cosignature.cosign(signed.text, outside, NOW, name)
    alice.add_cosignature(signed.encode(), line.line, outside.public, name)
    path = write(tmp_path / "copy", alice, bob)
    seen = check(path, trusted=KEYS, outside={"w1": outside.public})
    assert seen.ok, seen.lines()
    assert codes(seen).count("cosigned") == 3
    assert check(path).ok
    # Who does not trust it is told; it never stands for a signatory, nor a signatory for it.
    assert "untrusted" in codes(check(path, trusted=KEYS))
    assert "absent" in codes(check(path, trusted={**KEYS, "w1": outside.public}))
    assert "untrusted" in codes(check(path, trusted={"alice": ALICE.public}, outside={"bob": BOB.public}))
    # A line whose name alone was changed is by nobody: its identifier covers the name.
    renamed = path.read_bytes().replace(b"example/w1", b"example/w2")
    content = archive.read(renamed)
    with (tmp_path / "renamed").open("wb") as out:
        archive.write(out, content.members.items())
    assert "cosignature" in codes(check(tmp_path / "renamed"))


def test_one_key_cosigns_once(tmp_path: Path) -> None:
    """A cosignature does not cover its signer's name: anyone can write the line again under another one."""
    log = log_of(ALICE, 3)
    cosign(log, BOB)
    path = write(tmp_path / "copy", log)
    good = path.read_bytes()
    member = f"{checkpoint.short(ALICE.public)}/checkpoint"
    signed = note.parse(archive.read(good).members[member])
    own, line = signed.signatures
    renamed = note.Signature("w.example", cosignature.verifier(BOB.public, "w.example").id, line.value)
    later = cosignature.cosign(signed.text, BOB, NOW + timedelta(hours=1))
    for lines in ((own, line, renamed), (own, line, later), (own, line, line), (own, own, line)):
        path.write_bytes(good)
        repack(path, {member: note.Note(signed.text, lines).encode()})
        found = check(path)
        assert [f.code for f in found.findings if f.level == "bad"] == ["cosignature"], lines
        assert found.first_bad is not None
        assert "signed twice" in found.first_bad.text()
    # Alone it verifies, and is by the key that it is by.
    repack(path, {member: note.Note(signed.text, (own, renamed)).encode()})
    assert check(path, trusted={"alice": ALICE.public}, outside={"bob": BOB.public}).ok


def test_who_cosigned_is_called_as_the_verifier_calls_him(tmp_path: Path) -> None:
    alice, bob = log_of(ALICE, 3), log_of(BOB, 2)
    cosign(alice, BOB)
    path = tmp_path / "copy"
    # The file's own names are whatever its writer put there.
    export.write_export(path, [alice, bob], {str(ALICE.public): "Bob", str(BOB.public): "Mint"})

    def names(**known: object) -> list[object]:
        found = check(path, **known)
        assert found.ok, found.lines()
        return [f.facts["name"] for f in found.findings if f.code == "cosigned"]

    assert names() == ["Mint"]
    assert names(trusted={"Alice": ALICE.public, "Bob": BOB.public}) == ["Bob"]


def test_a_cut_or_rewritten_log_is_caught_by_what_was_seen_before(tmp_path: Path) -> None:
    log = log_of(ALICE, 3)
    old = log.checkpoint()
    path = write(tmp_path / "copy", log)
    log.append([Record("receipt/v1", {})], NOW)
    new = log.checkpoint()
    assert old is not None
    assert new is not None
    bad = check(path, seen=[new.encode()]).first_bad
    assert bad is not None
    assert bad.code == "older"
    assert check(write(path, log), seen=[old.encode(), new.encode()]).ok
    rewritten = log_of(ALICE, 9)
    bad = check(write(path, rewritten), seen=[old.encode()]).first_bad
    assert bad is not None
    assert bad.code == "contradiction"
    other = log_of(ALICE, 3)
    bad = check(write(path, other), seen=[old.encode()]).first_bad
    assert bad is not None
    assert bad.code == "contradiction"


def test_an_older_cosigned_checkpoint_must_fit(tmp_path: Path) -> None:
    log = log_of(ALICE, 3)
    cosign(log, BOB)
    log.append([Record("receipt/v1", {})], NOW)
    path = write(tmp_path / "copy", log)
    assert check(path).ok
    other = log_of(ALICE, 3)
    cosign(other, BOB)
    forged = other.checkpoint()
    assert forged is not None
    repack(path, {f"{checkpoint.short(ALICE.public)}/cosigned/3": forged.encode()})
    bad = check(path).first_bad
    assert bad is not None
    assert bad.code == "contradiction"


def test_cosignatures_after_the_verifiers_time_are_noted_not_refused(tmp_path: Path) -> None:
    log = log_of(ALICE, 3)
    cosign(log, BOB, NOW + timedelta(hours=5))
    found = check(write(tmp_path / "copy", log, bodies=True))
    assert found.ok
    assert "future" in codes(found)


def test_a_clock_that_goes_back_does_not_take_the_log_with_it(tmp_path: Path) -> None:
    log = log_of(ALICE, 3)
    log.append([Record("receipt/v1", {})], NOW - timedelta(hours=3))
    last = log.body(3)
    assert last is not None
    assert last.time == format_time(NOW)
    assert check(write(tmp_path / "copy", log, bodies=True)).ok


def test_a_back_dated_entry_is_found(tmp_path: Path) -> None:
    """Such a log is written by somebody who changed the program."""
    log = log_of(ALICE, 3)
    late = seal(Record("receipt/v1", {}), format_time(NOW - timedelta(hours=3)))
    root, nodes = log._extend([late])
    signed = checkpoint.sign(checkpoint.Checkpoint(log.origin, 4, root), ALICE).encode()
    log.storage.append([late], nodes)
    log.storage.put_head(signed)
    bad = check(write(tmp_path / "copy", log, bodies=True)).first_bad
    assert bad is not None
    assert (bad.code, bad.facts["index"]) == ("backwards", 3)
    copy = Replica(MemoryStorage(), log.agreement, log.owner, log.hash)
    with pytest.raises(AtollError, match="entry 3: it claims the time"):
        copy.extend(0, log.entries(0, 4), signed)
    assert copy.size == 0


def test_bodies_only_for_those_who_may_read_them(tmp_path: Path) -> None:
    log = log_of(ALICE, 5)
    path = tmp_path / "copy"
    export.write_export(path, [log], NAMES, with_bodies=True, may_read=lambda index, body: index == 2)
    found = check(path)
    assert found.ok
    opened = next(f for f in found.findings if f.code == "opened")
    assert opened.facts["count"] == 1
    data = path.read_bytes()
    assert b"job-2" in data
    assert b"job-1" not in data
    folder = checkpoint.short(ALICE.public)
    bodies = archive.read(data).members[f"{folder}/bodies/0"]
    repack(path, {f"{folder}/bodies/0": bodies.replace(b"job-2", b"job-9")})
    bad = check(path).first_bad
    assert bad is not None
    assert (bad.code, bad.facts["index"]) == ("body", 2)


def test_a_dictionary_finds_nothing_without_openings(tmp_path: Path) -> None:
    secrets = [f"1380013{i:04d}" for i in range(300)]
    log = log_of(ALICE, 0, secrets)
    data = write(tmp_path / "copy", log).read_bytes()
    haystack = data + b"".join(bytes.fromhex(e.commitment.split(":")[1]) for e in log.entries(0, log.size))
    for value in secrets:
        document = {"value": value}
        body = canonical.dumps({"kind": "receipt/v1", "time": "2026-11-23T16:30:00Z", "document": document})
        forms = [value.encode(), value.encode("utf-16-le"), value.encode().hex().encode()]
        forms += [
            base64.b64encode(value.encode())[:-2],
            int(value).to_bytes(8, "big"),
            int(value).to_bytes(8, "little"),
        ]
        for text in (value.encode(), canonical.dumps(value), canonical.dumps(document), body):
            for name in ("md5", "sha1", "sha256", "blake2b"):
                made = hashlib.new(name, text).digest()
                forms += [made[:8], made.hex()[:16].encode()]
            forms.append(merkle.leaf_hash(text))
            for guess in (b"\0" * 16, b"\xff" * 16, hashlib.sha256(text).digest()[:16]):
                guessed = commit(text, guess)
                forms += [guessed.encode(), bytes.fromhex(guessed.split(":")[1])]
        for form in forms:
            assert form not in haystack
    # The search would find what it looks for: in the copy with openings the values stand open.
    assert secrets[7].encode() in write(tmp_path / "open", log, bodies=True).read_bytes()


def test_equal_documents_are_not_seen_to_be_equal(tmp_path: Path) -> None:
    log = log_of(ALICE, 0, ["same"] * 50)
    assert len({entry.leaf for entry in log.entries(0, 50)}) == 50


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(ALICE, 3)
    path = write(tmp_path / "copy", log)
    before = path.read_bytes()
    monkeypatch.setattr(archive, "MAX_BYTES", 100)
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        write(path, log)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    with pytest.raises(AtollError, match="E_FORMAT"):
        export.write_export(path, [log, log], NAMES)
    with pytest.raises(AtollError, match="E_FORMAT"):
        export.write_export(path, [log, Log(MemoryStorage(), "agr-other", BOB.public)], NAMES)
    with pytest.raises(AtollError, match="same name"):
        export.write_export(path, [log, log_of(BOB, 1)], dict.fromkeys(NAMES, "same"))


def test_an_empty_log_and_the_same_bytes_twice(tmp_path: Path) -> None:
    empty, full = log_of(BOB, 0), log_of(ALICE, 2)
    one, two = write(tmp_path / "1", empty, full), write(tmp_path / "2", full, empty)
    assert one.read_bytes() == two.read_bytes()
    assert check(one, trusted=KEYS).ok


def test_every_finding_has_both_texts() -> None:
    for code, (_, english, chinese) in report.TEXTS.items():
        fields = {part.split("}")[0] for part in english.split("{")[1:]}
        assert fields == {part.split("}")[0] for part in chinese.split("{")[1:]}, code
        assert report.Finding(code, dict.fromkeys(fields, "7")).text("zh") != english


def test_bundles_and_notes_of_a_few_bytes() -> None:
    for data in (b"", b"\0", b"\xff\xff", b"\0\1"):
        with pytest.raises(AtollError, match="E_LEDGER"):
            tiles.decode_bundle(data, 1)
    with pytest.raises(AtollError, match="E_LEDGER"):
        note.parse(b"\n\n")
