"""Files of a kept OPRF: sealed, private, replaced whole; use charged before an answer."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.node.kept import AskerFile, HolderFiles, Limits
from atoll.node.vault import Vault
from atoll.node.worker.kept import KeptFiles, KeptThen
from atoll.protocols.kept_oprf import Held

VAULT = Vault(b"i" * 32)
LIMITS = Limits(askings=3, days=10, keys=100)


def held(seed: bytes = b"s" * 32) -> Held:
    return Held.first(seed, b"table/partner", b"a" * 32 + b"b" * 32, max_held=100, max_asked=100)


def test_a_set_comes_back_as_it_was(tmp_path: Path) -> None:
    files = HolderFiles(tmp_path / "kept", VAULT, "t/p")
    assert files.load() is None
    for value in (held(), held().following(b"c" * 32)):
        files.save(value, 0)
        assert HolderFiles(tmp_path / "kept", VAULT, "t/p").load() == value
    assert b"s" * 32 not in (tmp_path / "kept" / "held").read_bytes()
    for path in (tmp_path / "kept").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "ssss" not in repr(held())
    files.forget()
    assert files.load() is None
    assert list((tmp_path / "kept").iterdir()) == []


def test_use_is_charged_and_bounded(tmp_path: Path) -> None:
    files = HolderFiles(tmp_path, VAULT, "t/p")
    files.save(held(), 0)
    files.charge(held(), 60, LIMITS, 5)
    files.save(held().following(b"c" * 32), 6)
    files = HolderFiles(tmp_path, VAULT, "t/p")
    with pytest.raises(AtollError) as error:
        files.charge(held(), 41, LIMITS, 7)
    assert error.value.code == "E_QUOTA"
    assert files.use(held(), 8).keys == 60
    files.charge(held(), 40, LIMITS, 9)
    assert (files.use(held(), 9).askings, files.use(held(), 9).since) == (2, 0)


def test_a_key_serves_its_time_and_the_next_begins_anew(tmp_path: Path) -> None:
    files = HolderFiles(tmp_path, VAULT, "t/p")
    files.save(held(), 0)
    for _ in range(3):
        files.charge(held(), 1, LIMITS, 1)
    with pytest.raises(AtollError) as error:
        files.charge(held(), 1, LIMITS, 1)
    assert error.value.code == "E_QUOTA"
    assert "rotates" in str(error.value)
    new = held(b"n" * 32)
    files.save(new, 1)
    assert files.charge(new, 1, LIMITS, 1).askings == 1
    with pytest.raises(AtollError):
        files.charge(new, 1, LIMITS, 1 + 10 * 86_400)


def test_a_crash_between_the_two_files_leaves_the_new_set_with_no_use(tmp_path: Path) -> None:
    files = HolderFiles(tmp_path, VAULT, "t/p")
    files.save(held(), 0)
    files.charge(held(), 5, LIMITS, 0)
    old_use = (tmp_path / "use").read_bytes()
    files.save(held(b"n" * 32), 1)
    (tmp_path / "use").write_bytes(old_use)
    loaded = files.load()
    assert loaded is not None
    assert files.use(loaded, 2).keys == 0


@pytest.mark.parametrize("name", ["held", "use"])
def test_changed_and_foreign_files_are_refused(tmp_path: Path, name: str) -> None:
    files = HolderFiles(tmp_path, VAULT, "t/p")
    files.save(held(), 0)
    path = tmp_path / name
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    foreign = HolderFiles(tmp_path, VAULT, "t/q")

    def read(of: HolderFiles) -> None:
        of.load()
        of.use(held(), 0)

    with pytest.raises(AtollError) as error:
        read(foreign)
    assert error.value.code == "E_PASSPHRASE"
    path.write_bytes(body)
    with pytest.raises(AtollError) as error:
        read(files)
    assert error.value.code == "E_PASSPHRASE"


def test_the_askers_store(tmp_path: Path) -> None:
    file = AskerFile(tmp_path / "cache" / "store", VAULT, "t/p")
    assert file.load() is None
    file.save(b"store")
    assert file.load() == b"store"
    assert stat.S_IMODE((tmp_path / "cache" / "store").stat().st_mode) == 0o600
    file.forget()
    assert file.load() is None


SPEC: dict[str, Any] = {"key": b"k" * 32, "label": "t", "limits": [3, 10, 100]}


class Notes:
    """Events of a job, and these read back."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def note(self, kind: str, value: Any) -> None:
        self.events.append((kind, value))

    def then(self) -> KeptThen:
        events = iter(self.events)
        return KeptThen(lambda: next(events)[1])


def files(folder: Path, notes: Notes | None = None, days: int = 0) -> KeptFiles:
    def clock() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)

    return KeptFiles(SPEC | {"folder": str(folder)}, clock, (notes or Notes()).note)


def test_a_worker_finds_what_an_earlier_one_kept_until_the_key_has_served_its_time(tmp_path: Path) -> None:
    first = files(tmp_path / "k")
    assert (first.held(), first.store(), first.most_keys) == (None, None, 100)
    first.hold(held())
    first.keep(b"outputs")
    first.charge(held(), 60)
    first.close()
    second = files(tmp_path / "k", days=9)
    assert second.held() == held()
    assert second.store() == b"outputs"
    assert second.fresh != first.fresh
    with pytest.raises(AtollError) as error:
        second.charge(held(), 41)
    assert error.value.code == "E_QUOTA"
    assert "jobs.kept_keys" in error.value.cure
    second.forget()
    assert second.store() is None
    second.close()
    third = files(tmp_path / "k", days=10)
    assert third.held() is None
    third.close()
    other = KeptFiles(
        SPEC | {"folder": str(tmp_path / "k"), "key": b"x" * 32}, lambda: datetime.now(UTC), Notes().note
    )
    with pytest.raises(AtollError) as error:
        other.held()
    assert error.value.code == "E_PASSPHRASE"
    other.close()


def test_one_job_at_a_time_uses_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.node.worker.kept._WAIT_SECONDS", 0.3)
    first = files(tmp_path)
    with pytest.raises(AtollError) as error:
        files(tmp_path)
    assert error.value.code == "E_BUSY"
    first.close()
    files(tmp_path).close()


def test_a_replay_is_given_what_was_kept_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.node.worker.kept._PART", 100)
    before = files(tmp_path)
    before.hold(held())
    before.keep(b"o" * 250)
    before.close()
    for ask in ("held", "store"):
        notes = Notes()
        during = files(tmp_path, notes)
        found = getattr(during, ask)()
        during.close()
        then = notes.then()
        assert then.fresh == during.fresh
        assert getattr(then, ask)() == found is not None
        assert len(notes.events) > 3
        # A record that goes on otherwise is refused.
        for at in range(len(notes.events)):
            broken = Notes()
            broken.events = [*notes.events[:at], ("kept", "other"), *notes.events[at + 1 :]]
            with pytest.raises(AtollError) as error:
                getattr(broken.then(), ask)()
            assert error.value.code == "E_DATA"


def test_a_vault_for_a_worker_opens_its_own_and_no_other() -> None:
    mine, other = Vault(VAULT.derive("kept-oprf a")), Vault(VAULT.derive("kept-oprf b"))
    sealed = mine.seal("l", b"secret")
    assert Vault(VAULT.derive("kept-oprf a")).open("l", sealed) == b"secret"
    for vault in (other, VAULT):
        with pytest.raises(AtollError):
            vault.open("l", sealed)
