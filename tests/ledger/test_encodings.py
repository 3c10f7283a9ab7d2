"""Tiles, signed notes, checkpoints and cosignatures in their C2SP forms."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.crypto import suite as suites
from atoll.crypto.suite import DEFAULT, Hash, PublicKey, Signature, SigningKey, Suite
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, entry, merkle, note, tiles
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.note import Verifier
from atoll.ledger.tiles import Tile

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
TIME = entry.format_time(NOW)
ALICE = SigningKey(b"\x01" * 32)
BOB = SigningKey(b"\x02" * 32)
ORIGIN = checkpoint.origin("agr-0011223344556677", ALICE.public)


# tiles


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(0, 1234067, 256), "tile/0/x001/x234/067"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(2, 0, 1), "tile/2/000.p/1"),
        (Tile(None, 1000, 255), "tile/entries/x001/000.p/255"),
        (Tile(63, 999, 256), "tile/63/999"),
    ],
)
def test_paths_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert tiles.parse_path(path) == tile


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 10**12), st.integers(1, 256))
def test_paths_round_trip(level: int | None, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert tiles.parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/x01/000",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/001/000",
        "tile/-1/000",
        "tile/0/../000",
        "tile/entries/000.p/300",
        "tile/0/٠٠٠",
        "tile/0/" + "x001/" * 30 + "000",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(AtollError, match="E_LEDGER"):
        tiles.parse_path(path)


def test_tiles_of_a_tree_of_70000() -> None:
    found = list(tiles.tiles_of(70_000))
    assert [t for t in found if t.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert sum(t.level == 0 for t in found) == 274
    assert list(tiles.tiles_of(256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert list(tiles.tiles_of(0)) == []


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_bundles_round_trip(entries: list[bytes]) -> None:
    data = tiles.encode_bundle(entries)
    assert tiles.decode_bundle(data, len(entries)) == entries
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(AtollError, match="E_LEDGER"):
            tiles.decode_bundle(wrong, len(entries))


def test_bundle_limits() -> None:
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        tiles.encode_bundle([b"x" * 65536])
    assert tiles.encode_bundle([b"x" * 258])[:2] == b"\x01\x02"
    for count in (0, 257):
        with pytest.raises(AtollError):
            tiles.encode_bundle([b""] * count)
    with pytest.raises(AtollError):
        tiles.decode_tile(b"x" * 63, 2, 32)


# signed notes

# The example of C2SP signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1E"
    "RYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()


def example_key() -> Verifier:
    name, _, material = VKEY.split("+")
    return Verifier.of(name, PublicKey("ed25519", base64.b64decode(material)[1:]))


def test_the_example_of_the_specification_verifies() -> None:
    found = example_key().vkey
    assert found == VKEY
    parsed = note.parse(NOTE)
    assert parsed.text == "This is an example message.\n"
    assert note.verify(parsed, {"foo": example_key()}) == {"foo"}
    assert parsed.encode() == NOTE


@pytest.mark.parametrize("position", range(0, len(NOTE), 3))
def test_a_changed_note_is_refused(position: int) -> None:
    wrong = NOTE[:position] + bytes([NOTE[position] ^ 1]) + NOTE[position + 1 :]
    try:
        good = note.verify(note.parse(wrong), {"foo": example_key()})
    except AtollError:
        return
    # A line whose name or key identifier changed is by another key, and is ignored.
    assert good == set()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"x",
        b"\xff" + NOTE,
        b"\0" + NOTE,
        b"a\tb" + NOTE,
        NOTE.replace(b"\n\n", b"\n"),
        NOTE.replace("—".encode(), b"-"),
        NOTE.replace(b"Uw2", b"U w2"),
        NOTE.replace(b"aQM=", b"aQN="),
        NOTE.replace(b"aQM=", b"aQM"),
        NOTE.replace(b"example.com/foo U", b"example.com/f+o U"),
        NOTE.replace(b"example.com/foo U", "a\u00a0b U".encode()),
        "t\n\n— n AAAA\n".encode(),
        NOTE + NOTE.split(b"\n\n")[1] * 128,
        b"x" * (1 << 20) + NOTE,
    ],
)
def test_malformed_notes_are_refused(data: bytes) -> None:
    with pytest.raises(AtollError, match="E_LEDGER"):
        note.parse(data)


def test_text_with_blank_lines_and_signing() -> None:
    signed = note.sign("one\n\ntwo\n", "a/b", ALICE)
    parsed = note.parse(signed.encode())
    assert parsed == signed
    assert note.verify(parsed, {"a": Verifier.of("a/b", ALICE.public)}) == {"a"}
    assert note.verify(parsed, {"a": Verifier.of("a/c", ALICE.public)}) == set()
    with pytest.raises(AtollError):
        note.sign("no newline", "a", ALICE)


# checkpoints


def point(size: int = 3, root: bytes = b"\x07" * 32) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root)


def test_checkpoint_form() -> None:
    first, second, third = ORIGIN.split("/")
    assert (first, second, third) == ("atoll", "agr-0011223344556677", ALICE.public.raw.hex()[:16])
    assert point().text == f"{ORIGIN}\n3\n{base64.b64encode(bytes([7]) * 32).decode()}\n"
    assert checkpoint.parse_text(point().text) == point()
    signed = checkpoint.sign(point(), ALICE)
    assert checkpoint.open_note(signed, ORIGIN, ALICE.public) == point()
    example = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert checkpoint.parse_text(example).size == 20852163
    assert checkpoint.parse_text(example).text == example


@pytest.mark.parametrize(
    "text",
    [
        "o\n03\n" + "A" * 43 + "=\n",
        "o\n-1\n" + "A" * 43 + "=\n",
        "o\n3\nAAAA\n",
        "o\n3\n",
        "\n3\n" + "A" * 43 + "=\n",
        "o\n3\n" + "A" * 42 + "B=\n",
        "o\n9223372036854775808\n" + "A" * 43 + "=\n",
        "o\n0\n" + "A" * 43 + "=\n",
        "o\n3\n" + "A" * 43 + "=\nextension\n",
        "o\n3\n" + "A" * 43 + "=\nhash sha256\n",
        "o\n3\n" + "A" * 43 + "=\nhash md5\n",
        "o\n3\n" + "A" * 43 + "=\n\n",
        "o\n٣\n" + "A" * 43 + "=\n",
        "o \n3\n" + "A" * 43 + "=\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(AtollError, match="E_LEDGER"):
        checkpoint.parse_text(text)


def test_checkpoint_of_another_log_or_key() -> None:
    signed = checkpoint.sign(point(), ALICE)
    with pytest.raises(AtollError, match="E_LEDGER"):
        checkpoint.open_note(signed, checkpoint.origin("agr-1", ALICE.public), ALICE.public)
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        checkpoint.open_note(signed, ORIGIN, BOB.public)
    with pytest.raises(AtollError, match="E_FORMAT"):
        checkpoint.origin("a/b", ALICE.public)


# cosignatures


def test_cosignature_form() -> None:
    line = cosignature.cosign(point().text, BOB, NOW)
    seconds = int(NOW.timestamp())
    message = f"cosignature/v1\ntime {seconds}\n{point().text}".encode()
    assert line.value[:8] == seconds.to_bytes(8, "big")
    assert BOB.public.verify(message, line.value[8:])
    name = cosignature.name_of(BOB.public)
    assert line.key_id == hashlib.sha256(name.encode() + b"\n\x04" + BOB.public.raw).digest()[:4]
    signed = checkpoint.sign(point(), ALICE).with_signatures(line)
    seen = cosignature.cosigners(note.parse(signed.encode()), [cosignature.verifier(BOB.public)])
    assert [(c.key, c.at) for c in seen] == [(BOB.public, NOW)]
    # The owner's signature still verifies, and the cosignature is not taken for a plain one.
    assert checkpoint.open_note(signed, ORIGIN, ALICE.public).size == 3
    assert note.verify(signed, {"bob": Verifier.of(name, BOB.public)}) == set()


def test_one_key_is_one_witness() -> None:
    names = (None, "w.example")
    known = [cosignature.verifier(BOB.public, name) for name in names]
    lines = [
        cosignature.cosign(point().text, BOB, NOW + timedelta(hours=hours), name)
        for name in names
        for hours in (0, 2, 1)
    ]
    signed = checkpoint.sign(point(), ALICE).with_signatures(*lines)
    assert len(signed.signatures) == 7
    (seen,) = cosignature.cosigners(signed, known)
    assert seen.at == NOW + timedelta(hours=2)
    # One that does not verify is not outvoted by those that do.
    wrong = note.Signature(lines[0].name, lines[0].key_id, bytes(8) + lines[0].value[8:])
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        cosignature.cosigners(signed.with_signatures(wrong), known)


def test_wrong_cosignatures() -> None:
    who = cosignature.verifier(BOB.public)
    line = cosignature.cosign(point().text, BOB, NOW)
    later = note.Signature(line.name, line.key_id, (1).to_bytes(8, "big") + line.value[8:])
    for text, item in ((point(4).text, line), (point().text, later)):
        with pytest.raises(AtollError, match="E_SIGNATURE"):
            cosignature.verify(text, item, who)
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        cosignature.verify(point().text, line, cosignature.verifier(ALICE.public))
    for value in (b"", line.value[:-1], line.value + b"\0", bytes(8) + line.value[8:]):
        with pytest.raises(AtollError, match="E_SIGNATURE"):
            cosignature.verify(point().text, note.Signature(line.name, line.key_id, value), who)


# entries


def test_entry_form() -> None:
    sealed = entry.seal(entry.Record("receipt/v1", {"rows": 3}), TIME)
    assert sealed.opened is not None
    assert sealed.opened.body == b'{"document":{"rows":3},"kind":"receipt/v1","time":"2026-11-23T16:30:00Z"}'
    assert len(sealed.opened.opening) == 16
    assert entry.open_leaf(sealed.leaf, sealed.opened).document == {"rows": 3}
    again = entry.seal(entry.Record("receipt/v1", {"rows": 3}), TIME)
    assert again.leaf != sealed.leaf
    assert "rows" not in repr(sealed) + repr(sealed.opened)
    wrong = entry.Opened(sealed.opened.body.replace(b"3}", b"4}"), sealed.opened.opening)
    with pytest.raises(AtollError, match="E_LEDGER"):
        entry.open_leaf(sealed.leaf, wrong)


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"{}",
        b'{"commitment":"sha256:00"}',
        b'{"commitment":"none:00"}',
        b'{"commitment": "sha256:' + b"0" * 64 + b'"}',
        b'{"commitment":"sha256:' + b"0" * 64 + b'","x":1}',
        b'{"commitment":"sha256:' + b"0" * 64 + b'"}\n',
        b'{"commitment":"sha256:' + b"A" * 64 + b'"}',
    ],
)
def test_malformed_leaves_are_refused(leaf: bytes) -> None:
    with pytest.raises(AtollError, match="E_LEDGER"):
        entry.parse_leaf(leaf)


@given(st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=30)), min_size=1, max_size=9))
def test_bodies_round_trip(bodies: list[bytes | None]) -> None:
    opened = [None if b is None else entry.Opened(b, b"o" * 16) for b in bodies]
    data = entry.encode_bodies(opened)
    assert entry.decode_bodies(data, len(bodies)) == opened
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(AtollError, match="E_LEDGER"):
            entry.decode_bodies(wrong, len(bodies))


def test_records_are_checked() -> None:
    for kind in ("receipt", "Receipt/v1", "receipt/v0", "a/b/v1"):
        with pytest.raises(AtollError, match="E_FORMAT"):
            entry.seal(entry.Record(kind, {}), TIME)
    with pytest.raises(AtollError, match="E_FORMAT"):
        entry.seal(entry.Record("receipt/v1", 1.5), TIME)
    with pytest.raises(AtollError, match="E_FORMAT"):
        entry.format_time(NOW.replace(tzinfo=None))


# a second suite


def test_a_second_suite_needs_no_change_here() -> None:
    ed25519 = DEFAULT.signature
    other = Suite(
        "test-2",
        Hash("blake2b", 64, lambda data: hashlib.blake2b(data).digest()),
        Signature(
            "ed25519-test", 32, 64, ed25519.public, lambda seed, message: ed25519.sign(seed, b"2" + message),
            lambda key, message, signature: ed25519.verify(key, b"2" + message, signature),
            note_type=b"\xffatoll test", cosign_type=b"\xffatoll test cosign",
        ),
    )  # fmt: skip
    suites.register(other)
    key, witness = SigningKey(b"\x03" * 32, other), SigningKey(b"\x04" * 32, other)
    origin = checkpoint.origin("agr-1", key.public)
    edge = merkle.Frontier(using=other.hash)
    sealed = entry.seal(entry.Record("receipt/v1", {}), TIME, other)
    edge.append(merkle.leaf_hash(sealed.leaf, other.hash))
    signed = checkpoint.sign(Checkpoint(origin, 1, edge.root(), other.hash), key)
    signed = signed.with_signatures(cosignature.cosign(signed.text, witness, NOW))
    assert "hash blake2b\n" in signed.text
    back = note.parse(signed.encode())
    assert checkpoint.open_note(back, origin, key.public).root == edge.root()
    assert cosignature.cosigners(back, [cosignature.verifier(witness.public)])[0].at == NOW
    assert sealed.commitment.startswith("blake2b:")
    assert sealed.opened is not None
    assert entry.open_leaf(sealed.leaf, sealed.opened).kind == "receipt/v1"
    same_seed = SigningKey(b"\x03" * 32).public
    with pytest.raises(AtollError):
        checkpoint.open_note(back, origin, same_seed)
