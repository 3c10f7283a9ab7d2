"""Addresses and tokens that a node's folder keeps."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

import atoll
from atoll import AtollError
from atoll.client import folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "atoll.toml").write_text("")
    (tmp_path / "api.address").write_text("http://127.0.0.1:9")
    return tmp_path


def test_a_kept_token_is_for_its_user_alone(home: Path) -> None:
    path = folder.keep(home, "Li Wei", "steward", "atoll_a_b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert folder.choose(home, "Li Wei", ("steward",)) == "atoll_a_b"


def test_no_name_leaves_the_folder(home: Path) -> None:
    path = folder.keep(home, "../../evil", "steward", "t")
    assert path.parent == home / "tokens"


def test_the_first_role_that_has_a_token(home: Path) -> None:
    folder.keep(home, "A", "analyst", "analyst-token")
    folder.keep(home, "S", "steward", "steward-token")
    assert folder.choose(home, None, ("auditor", "steward", "analyst")) == "steward-token"
    assert folder.choose(home, None, ("analyst", "steward")) == "analyst-token"


def test_two_persons_of_a_role_are_not_guessed_between(home: Path) -> None:
    folder.keep(home, "A", "steward", "a")
    folder.keep(home, "B", "steward", "b")
    with pytest.raises(AtollError) as caught:
        folder.choose(home, None, ("steward",))
    assert caught.value.code == "E_AUTH"
    assert "--as" in caught.value.cure
    assert folder.choose(home, "B", ("steward",)) == "b"


def test_no_token_names_the_command_that_makes_one(home: Path) -> None:
    with pytest.raises(AtollError) as caught:
        folder.choose(home, None, ("analyst",))
    assert "--role analyst" in caught.value.cure


def test_a_folder_that_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(AtollError) as caught:
        atoll.connect(folder=tmp_path)
    assert caught.value.code == "E_CONFIG"


def test_a_node_that_does_not_run(home: Path) -> None:
    (home / "api.address").unlink()
    with pytest.raises(AtollError) as caught:
        atoll.connect(folder=home)
    assert caught.value.code == "E_UNREACHABLE"
    assert "atoll node -d" in caught.value.cure


def test_connect_by_folder(home: Path) -> None:
    folder.keep(home, "A", "analyst", "atoll_a_b")
    assert atoll.connect(folder=home, role="analyst").url == "http://127.0.0.1:9"
