"""Logs, checkpoints, cosignatures and proofs against implementations that are not ours, in both directions."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from atoll_interop_world import (
    AGREEMENT,
    NOW,
    OUTSIDE,
    OUTSIDE_NAME,
    OWNER,
    PARTNER,
    Interop,
    World,
    make_world,
    tlog_proof,
)

from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, export, merkle, note, tiles
from atoll.ledger.entry import Record, format_time, seal
from atoll.ledger.note import Verifier
from atoll.ledger.verify import Copy, verify_copy

SIZES = [0, 1, 2, 255, 256, 257]
LARGE = 65536 + 3
EVERY_SIZE = [*SIZES, pytest.param(LARGE, marks=pytest.mark.slow)]


@functools.cache
def world_of(size: int) -> World:
    """A log with checkpoints at the sizes where trees and tiles change their shape."""
    return make_world(size, {1, 2, size // 2, 255, 256, 65535, 65536, size - 1})


def proofs_of(world: World) -> dict[str, Any]:
    """Proofs by Atoll's code: of every entry, or in a large log of some; from every older checkpoint."""
    log, size = world.log, world.size
    step = max(1, size // 300)
    indexes = sorted({*range(0, size, step), size - 1} - {-1})
    inclusion = [
        {
            "entry": base64.b64encode(log.entries(i, i + 1)[0].leaf).decode(),
            "proof": tlog_proof(i, log.inclusion_proof(i), world.newest.encode()),
        }
        for i in indexes
    ]
    consistency = [
        {
            "old": old.encode().decode(),
            "new": world.newest.encode().decode(),
            "proof": [base64.b64encode(value).decode() for value in log.consistency_proof(n)],
        }
        for n, old in world.older.items()
    ]
    return {"inclusion": inclusion, "consistency": consistency}


# Ours, read by theirs.


@pytest.mark.parametrize("size", EVERY_SIZE)
def test_a_log_is_read_by_another_implementation(interop: Interop, tmp_path: Path, size: int) -> None:
    world = world_of(size)
    folder = world.lay_out(tmp_path / "log")
    (answer,) = interop.check("log", *world.keys, *world.older_files(folder), folder)
    assert answer["ok"], answer
    assert (answer["origin"], answer["size"]) == (world.log.origin, size)
    assert (answer["entries"], answer["older"]) == (size, len(world.older))
    assert base64.b64decode(answer["root"]) == world.log.root()
    seconds = int(NOW.timestamp())
    assert answer["cosigned"] == {cosignature.name_of(PARTNER.public): seconds, OUTSIDE_NAME: seconds}


@pytest.mark.parametrize("size", EVERY_SIZE)
def test_our_proofs_are_accepted(interop: Interop, tmp_path: Path, size: int) -> None:
    given = proofs_of(world_of(size))
    file = tmp_path / "proofs.json"
    file.write_text(json.dumps(given))
    (answer,) = interop.check("proofs", *world_of(size).keys, file)
    assert answer["ok"], answer
    assert answer["inclusion"] == len(given["inclusion"]) >= min(size, 257)
    assert answer["consistency"] == len(world_of(size).older)


def test_a_quorum_counts_cosignatures(interop: Interop, tmp_path: Path) -> None:
    world = world_of(2)
    whole = tmp_path / "whole"
    whole.write_bytes(world.newest.encode())
    owner, *cosigned = world.newest.signatures
    partly = {"none": (owner,), "one": (owner, cosigned[0]), "no owner": tuple(cosigned)}
    for name, lines in partly.items():
        (tmp_path / name).write_bytes(note.Note(world.newest.text, lines).encode())
    files = [whole, *(tmp_path / name for name in partly)]
    by_quorum = {
        quorum: [a["ok"] for a in interop.check("checkpoint", *world.keys[:-1], str(quorum), *files)]
        for quorum in (0, 1, 2)
    }
    assert by_quorum == {
        0: [True, True, True, False],
        1: [True, False, True, False],
        2: [True, False, False, False],
    }


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder as static files over HTTP, as any web server has them."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def printed_keys(file: Path, folder: str) -> list[str]:
    """The verifier keys that the script of docs/reference/ledger-format.md prints for a log, as arguments."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "ledger-format.md"
    (script,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [word for where, *words in lines if where == folder for word in words]


def test_an_export_is_read_as_it_is_and_served_unpacked(interop: Interop, tmp_path: Path) -> None:
    """What docs/reference/ledger-format.md shows. The newest size is cosigned by a witness that is no node."""
    log = make_world(300, {257}).log
    for size, key, name in ((257, PARTNER, None), (300, OUTSIDE, OUTSIDE_NAME)):
        signed = log.sign(size)
        line = cosignature.cosign(note.parse(signed).text, key, NOW, name)
        log.add_cosignature(signed, line.line, key.public, name)
    file = tmp_path / "evidence.atoll-ledger"
    export.write_export(file, [log], with_bodies=True)
    folder = checkpoint.short(OWNER.public)
    keys = printed_keys(file, folder)
    outside = cosignature.verifier(OUTSIDE.public, OUTSIDE_NAME).vkey
    assert keys == ["-log", Verifier.of(log.origin, OWNER.public).vkey, "-witness", outside]
    keys += ["-quorum", "1"]

    (answer,) = interop.check("log", *keys, f"{file}:{folder}")
    assert (answer["ok"], answer["entries"]) == (True, 300), answer
    assert answer["cosigned"] == {OUTSIDE_NAME: int(NOW.timestamp())}
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "unpacked")
    older = tmp_path / "unpacked" / folder / "cosigned" / "257"
    with served(tmp_path / "unpacked") as url:
        (answer,) = interop.check("log", *keys, "-older", older, f"{url}/{folder}/")
    assert (answer["ok"], answer["entries"], answer["older"]) == (True, 300, 1), answer


# One changed byte.


def flipped(data: bytes, position: int) -> bytes:
    """`data` with one bit of one byte changed; a negative position counts from the end."""
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize("size", [256, 257, 300])
def test_a_changed_tile_or_entry_is_refused(interop: Interop, tmp_path: Path, size: int) -> None:
    world = world_of(size)
    good = world.lay_out(tmp_path / "good")
    spoilt = []
    for tile in (*tiles.tiles_of(size), *tiles.bundles_of(size)):
        data = (good / tile.path).read_bytes()
        middle = len(data) // 2
        changes = [flipped(data, position) for position in (0, 1, 2, middle, -1)]
        for number, changed in enumerate([*changes, data[:-1], data + b"\0", b""]):
            folder = tmp_path / f"{tile.path.replace('/', '-')}-{number}"
            shutil.copytree(good, folder)
            (folder / tile.path).write_bytes(changed)
            spoilt.append(folder)
    answers = interop.check("log", *world.keys, good, *spoilt)
    assert [answer["ok"] for answer in answers] == [True] + [False] * len(spoilt)
    # Each is refused for what it holds, not for a file that is missing.
    assert not [a["error"] for a in answers[1:] if "no such file" in a["error"]]


def test_a_changed_checkpoint_or_cosignature_is_refused(interop: Interop, tmp_path: Path) -> None:
    world = world_of(257)
    data = world.newest.encode()
    # The last character before the padding of a signature has unused bits, which the other implementation
    # overlooks: the same signature, written in another way.
    start = len(world.newest.text.encode()) + 1
    unused = {i for i in range(start, len(data) - 1) if data[i + 1] == 0x3D and data[i] != 0x3D}
    assert len(unused) == 3
    positions = [position for position in range(len(data)) if position not in unused]
    files = []
    for position in positions:
        files.append(tmp_path / str(position))
        files[-1].write_bytes(flipped(data, position))
    answers = interop.check("checkpoint", *world.keys, *files)
    assert not [a["subject"] for a in answers if a["ok"]]
    # This project reads one encoding only.
    for position in unused:
        with pytest.raises(AtollError):
            note.parse(flipped(data, position))


def test_a_cosignature_of_another_checkpoint_is_refused(interop: Interop, tmp_path: Path) -> None:
    world = world_of(257)
    owner = world.newest.signatures[0]
    earlier = world.older[256].signatures[1:]
    (tmp_path / "moved").write_bytes(note.Note(world.newest.text, (owner, *earlier)).encode())
    (answer,) = interop.check("checkpoint", *world.keys, tmp_path / "moved")
    assert not answer["ok"]
    assert "invalid signature" in answer["error"]


@pytest.mark.parametrize("size", [2, 257])
def test_a_changed_proof_is_refused(interop: Interop, tmp_path: Path, size: int) -> None:
    world = world_of(size)
    good = proofs_of(world)
    spoilt: list[dict[str, Any]] = []
    for item in (good["inclusion"][0], good["inclusion"][-1]):
        lines = item["proof"].split("\n")
        entry = base64.b64decode(item["entry"])
        end = lines.index("")
        changed = [[*lines[:2], *lines[3:]], [*lines[:3], lines[2], *lines[3:]]]
        other = base64.b64encode(flipped(base64.b64decode(lines[2]), 7)).decode()
        changed.append([*lines[:2], other, *lines[3:]])
        changed.append([lines[0], "index 1" if lines[1] == "index 0" else "index 0", *lines[2:]])
        changed.append([*lines[:end], *lines[end:][:2], "9999", *lines[end:][3:]])
        for words in changed:
            spoilt.append({"inclusion": [{**item, "proof": "\n".join(words)}]})
        for position in (0, 20, -1):
            other = base64.b64encode(flipped(entry, position)).decode()
            spoilt.append({"inclusion": [{**item, "entry": other}]})
    for item in good["consistency"]:
        first, *rest = item["proof"]
        other = base64.b64encode(flipped(base64.b64decode(first), 31)).decode()
        for proof in (rest, [first, *item["proof"]], [other, *rest], [*rest, other]):
            spoilt.append({"consistency": [{**item, "proof": proof}]})
    files = []
    for number, document in enumerate(spoilt):
        files.append(tmp_path / str(number))
        files[-1].write_text(json.dumps(document))
    answers = interop.check("proofs", *world.keys, *files)
    assert len(answers) == len(spoilt) >= 20
    assert not [spoilt[i] for i, answer in enumerate(answers) if answer["ok"]]


def test_another_key_is_not_trusted(interop: Interop, tmp_path: Path) -> None:
    world = world_of(2)
    folder = world.lay_out(tmp_path / "log")
    stranger = Verifier.of(world.log.origin, PARTNER.public).vkey
    for keys in (["-log", stranger, *world.keys[2:]], ["-log", Verifier.of("atoll/x/y", OWNER.public).vkey]):
        (answer,) = interop.check("log", *keys, folder)
        assert not answer["ok"]


# Theirs, read by ours.


@pytest.mark.parametrize("size", EVERY_SIZE)
def test_what_another_implementation_writes_verifies_here(
    interop: Interop, tmp_path: Path, size: int
) -> None:
    leaves = [seal(Record("receipt/v1", {"job": i}), format_time(NOW)).leaf for i in range(size)]
    origin = checkpoint.origin(AGREEMENT, OWNER.public)
    sizes = sorted({0, 1, 2, 255, 256, size // 2} & set(range(size)))
    request = {
        "origin": origin,
        "seed": OWNER.seed.hex(),
        "witness": cosignature.name_of(PARTNER.public),
        "witness_seed": PARTNER.seed.hex(),
        "entries": [base64.b64encode(leaf).decode() for leaf in leaves],
        "sizes": sizes,
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    folder = tmp_path / "log"
    done = interop.run("write", tmp_path / "request.json", folder)
    assert done.returncode == 0, done.stderr

    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    expected = {tile.path for tile in (*tiles.tiles_of(size), *tiles.bundles_of(size))}
    assert {name for name in files if name.startswith("tile/")} == expected
    newest = note.parse(files["checkpoint"])
    point = checkpoint.open_note(newest, origin, OWNER.public)
    assert point.size == size
    (seen,) = cosignature.cosigners(newest, [cosignature.verifier(PARTNER.public)])
    assert seen.at is not None
    assert abs(seen.at - datetime.now(UTC)) < timedelta(minutes=10)

    points = {
        n: checkpoint.open_note(note.parse(files[f"cosigned/{n}"]), origin, OWNER.public) for n in sizes
    }
    if size:
        cosigned = [files[f"cosigned/{n}"] for n in sizes if n]
        copy = Copy(AGREEMENT, OWNER.public, files["checkpoint"], files, cosigned)
        found = verify_copy(copy, {"partner": PARTNER.public}, datetime.now(UTC) + timedelta(minutes=10))
        assert [f.code for f in found if f.level == "bad"] == []
        assert [f.code for f in found].count("cosigned") == len(cosigned) + 1

    made = json.loads(files["proofs.json"])
    for index, leaf in enumerate(leaves):
        proof = [base64.b64decode(value) for value in made["inclusion"][index] or []]
        assert merkle.verify_inclusion(merkle.leaf_hash(leaf), index, size, proof, point.root)
    for n, old in points.items():
        proof = [base64.b64decode(value) for value in made["consistency"].get(str(n)) or []]
        assert merkle.verify_consistency(n, size, old.root, point.root, proof)
