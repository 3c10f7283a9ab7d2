"""Keys at rest and the statement that binds them."""

from __future__ import annotations

import contextlib
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net.identity import NodeKeys, key_statement, parse_address, read_key_statement

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("node") / "keys"
    NodeKeys.create(path, "open sesame", NOW)
    return path


def test_keys_come_back_and_lie_encrypted(folder: Path) -> None:
    keys = NodeKeys.load(folder, "open sesame")
    again = NodeKeys.load(folder, "open sesame")
    assert keys.identity == again.identity
    assert keys.tls.fingerprint == again.tls.fingerprint
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert keys.signing.seed not in path.read_bytes()
        assert keys.tls.private_key not in path.read_bytes()
    assert b"ENCRYPTED" in (folder / "identity.pem").read_bytes()
    assert keys.tls.private_key.hex()[:16] not in repr(keys.tls)
    assert keys.signing.seed.hex() not in repr(keys.signing)


def test_wrong_passphrases_and_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AtollError, match="E_PASSPHRASE"):
        NodeKeys.load(folder, "open barley")
    with pytest.raises(AtollError, match="E_PASSPHRASE"):
        NodeKeys.create(tmp_path / "new", "", NOW)
    with pytest.raises(AtollError, match="E_CONFLICT"):
        NodeKeys.create(folder, "open sesame", NOW)
    with pytest.raises(AtollError, match="E_CONFIG"):
        NodeKeys.load(tmp_path / "nowhere", "open sesame")
    other = tmp_path / "mixed"
    NodeKeys.create(other, "open sesame", NOW)
    (other / "tls.crt").write_bytes((folder / "tls.crt").read_bytes())
    with pytest.raises(AtollError, match="E_CONFIG"):
        NodeKeys.load(other, "open sesame")


def test_a_statement_says_what_it_says(folder: Path) -> None:
    keys = NodeKeys.load(folder, "open sesame")
    statement = read_key_statement(key_statement(keys, "甲银行", "bank.example:7443", NOW), NOW)
    assert (statement.name, statement.address, statement.identity) == (
        "甲银行",
        "bank.example:7443",
        keys.identity,
    )
    assert statement.tls == keys.tls.fingerprint
    assert statement.issued == NOW
    with pytest.raises(AtollError, match="E_PEER_EXPIRED"):
        read_key_statement(statement.envelope, NOW + timedelta(days=900))
    assert read_key_statement(statement.envelope, None) == statement


def test_forged_statements_are_refused(folder: Path) -> None:
    keys = NodeKeys.load(folder, "open sesame")
    good = key_statement(keys, "alice", None, NOW)
    document = dsse.verify("key/v1", good, [keys.identity])
    thief = SigningKey.generate()
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        read_key_statement(dsse.sign("key/v1", document, thief), NOW)
    with pytest.raises(AtollError, match="E_SIGNATURE"):
        read_key_statement(dsse.sign("plan/v1", document, keys.signing), NOW)
    for change in (
        {"tls": "sha256:00"},
        {"name": ""},
        {"address": "nowhere"},
        {"extra": 1},
        {"format": "v9"},
    ):
        with pytest.raises(AtollError, match="E_FORMAT"):
            read_key_statement(dsse.sign("key/v1", document | change, keys.signing), NOW)
    for junk in (None, {}, [], {"payloadType": 1, "payload": "", "signatures": []}):
        with pytest.raises(AtollError, match="E_FORMAT"):
            read_key_statement(junk, NOW)


def test_addresses() -> None:
    assert parse_address("[::1]:7443") == ("::1", 7443)
    assert parse_address("bank.example:1") == ("bank.example", 1)
    for bad in ("bank", ":1", "a:0", "a:65536", "a b:1", "a:1\n", None, 7):
        with pytest.raises(AtollError, match="E_FORMAT"):
            parse_address(bad)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_tls_key_is_renewed_under_the_same_identity(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = NodeKeys.create(folder, "open sesame", NOW, tls_days=30)
    second = NodeKeys.renew_tls(folder, "open sesame", NOW + timedelta(days=20), tls_days=30)
    loaded = NodeKeys.load(folder, "open sesame")
    assert loaded.identity == first.identity
    assert (loaded.tls.fingerprint, loaded.older and loaded.older.fingerprint) == (
        second.tls.fingerprint,
        first.tls.fingerprint,
    )
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert loaded.tls.private_key not in b"".join(path.read_bytes() for path in folder.iterdir())
    # A third one only once the first has ended, or was dropped.
    with pytest.raises(AtollError, match="E_STATE") as refused:
        NodeKeys.renew_tls(folder, "open sesame", NOW + timedelta(days=29))
    assert "2026-12-23" in refused.value.text
    third = NodeKeys.renew_tls(folder, "open sesame", NOW + timedelta(days=30))
    assert third.older is not None
    assert third.older.fingerprint == second.tls.fingerprint
    assert names(folder) == {"identity.pem", "tls-2.pem", "tls-2.crt", "tls-3.pem", "tls-3.crt"}
    alone = NodeKeys.drop_older(folder, "open sesame")
    assert (alone.tls.fingerprint, alone.older) == (third.tls.fingerprint, None)
    assert names(folder) == {"identity.pem", "tls-3.pem", "tls-3.crt"}
    with pytest.raises(AtollError, match="E_STATE"):
        NodeKeys.drop_older(folder, "open sesame")
    with pytest.raises(AtollError, match="E_PASSPHRASE"):
        NodeKeys.renew_tls(folder, "open barley", NOW)
    assert names(folder) == {"identity.pem", "tls-3.pem", "tls-3.crt"}


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("act", ["renew", "drop"])
def test_a_crash_at_any_point_leaves_keys_that_open(
    tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change of the folder is a rename or an unlink: the power fails before each of them, one after the other."""
    done = False
    for point in range(10):
        folder = tmp_path / str(point)
        first = NodeKeys.create(folder, "open sesame", NOW)
        newest = NodeKeys.renew_tls(folder, "open sesame", NOW) if act == "drop" else first
        left = point

        def step(original: Any) -> Any:
            def method(self: Path, *args: Any, **how: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise PowerCutError
                left -= 1
                return original(self, *args, **how)

            return method

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", step(Path.replace))
            patch.setattr(Path, "unlink", step(Path.unlink))
            try:
                if act == "renew":
                    newest = NodeKeys.renew_tls(folder, "open sesame", NOW)
                else:
                    NodeKeys.drop_older(folder, "open sesame")
                done = True
            except PowerCutError:
                pass
        found = NodeKeys.load(folder, "open sesame")
        assert found.identity == first.identity
        held = {k.tls.fingerprint for k in found.views(NOW)}
        assert newest.tls.fingerprint in held
        if act == "renew":
            assert first.tls.fingerprint in held
        # And it goes on from there; nothing of a dropped key stays behind.
        if found.older is not None or act == "drop":
            with contextlib.suppress(AtollError):
                NodeKeys.drop_older(folder, "open sesame")
            assert len(names(folder)) == 3
        again = NodeKeys.renew_tls(folder, "open sesame", NOW)
        assert again.older is not None
        assert again.older.fingerprint == found.tls.fingerprint
        if done:
            return
    pytest.fail("more steps than expected")
