"""`atoll roster` and `atoll keys` as people see them: files by pipe, words to compare, who is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.cli.app import main
from atoll.testing import Net, NodeProcess, nodes

PASSPHRASE = "a passphrase of many words"


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("Bank", "Tax Office", pair=None) as made:
        yield made


def run(node: NodeProcess, *words: str, cwd: Path, expect: int = 0) -> tuple[str, str]:
    """Standard output and error of one command of the node's administrator."""
    node.token("administrator")
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli", "roster", *words, "-d", str(node.folder), "--as",
         "administrator:administrator"],
        cwd=cwd, env=node.environment | {"COLUMNS": "200"}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_from_a_card_by_pipe_to_words_that_are_typed(net: Net, tmp_path: Path) -> None:
    bank, office = net
    card, _ = run(office, "card", cwd=tmp_path)
    assert len(card.splitlines()) == 1
    (tmp_path / "card.json").write_text(card)
    file, note = run(bank, "new", "card.json", "--name", "Circle", "--quorum", "1", cwd=tmp_path)
    assert "missing: Tax Office" in note
    (tmp_path / "circle.json").write_text(file)
    _, note = run(office, "sign", "circle.json", "--out", "signed.json", cwd=tmp_path)
    assert "signed by enough" in note
    shown, _ = run(bank, "accept", "signed.json", cwd=tmp_path)
    found = bank.administrator.rosters.list()[0]
    words = bank.administrator.rosters.show(found["id"])["words"]
    assert words["en"] in shown
    # What is to be typed is what the others read: it is not there to be copied.
    assert shown.count(words["en"]) == 1
    assert f"atoll roster confirm {found['id']} WORDS" in shown
    shown, _ = run(bank, "show", "--lang", "zh", cwd=tmp_path)
    assert words["zh"] in shown
    shown, _ = run(bank, "confirm", found["id"], *words["en"].split(), cwd=tmp_path)
    assert "paired with Tax Office" in shown
    _, said = run(office, "confirm", found["id"], words["en"], cwd=tmp_path, expect=1)
    assert said.startswith("E_STATE"), "the office has not accepted"
    _, note = run(bank, "next", found["id"], "--name", "Square", "--lang", "zh", cwd=tmp_path)
    assert "名册更名" in note


@pytest.mark.parametrize("words", [("show", "nowhere.json"), ("sign", "nowhere.json")])
def test_a_file_that_is_not_there(net: Net, tmp_path: Path, words: tuple[str, ...]) -> None:
    _, said = run(net["Bank"], *words, cwd=tmp_path, expect=1)
    assert said.startswith("E_SOURCE")
    assert "nowhere.json" in said


def test_tls_keys_are_renewed_once_and_the_older_one_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATOLL_PASSPHRASE", PASSPHRASE)
    for name in [n for n in os.environ if n.startswith("ATOLL_") and n != "ATOLL_PASSPHRASE"]:
        monkeypatch.delenv(name)
    folder = str(tmp_path / "node")
    assert main(["init", folder, "--name", "x"]) == 0

    def keys(*words: str, expect: int = 0, passphrase: str = PASSPHRASE) -> str:
        # A command takes it out of the environment.
        monkeypatch.setenv("ATOLL_PASSPHRASE", passphrase)
        capsys.readouterr()
        assert main(["keys", *words, "-d", folder]) == expect
        said = capsys.readouterr()
        return said.out if expect == 0 else said.err

    (first,) = json.loads(keys("show", "--json"))
    assert keys("drop-old-tls", expect=1).startswith("E_STATE")
    said = keys("renew-tls", "--days", "30")
    assert "atoll roster next ID --renew card.json" in said
    both = json.loads(keys("show", "--json"))
    assert both[1] == first
    assert both[0]["not_after"] < first["not_after"]
    assert keys("renew-tls", expect=1).startswith("E_STATE")
    wrong = keys("drop-old-tls", expect=1, passphrase="another one that is wrong")
    assert wrong.startswith("E_PASSPHRASE")
    assert json.loads(keys("drop-old-tls", "--json")) == both[:1]
