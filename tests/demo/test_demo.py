"""`atoll demo` from end to end: every verdict of a good run, own files, and a wrong answer that is noticed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import string
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from atoll.demo import ledger_copy, lenders, own_data, plaintext, words
from atoll.demo.play import attempt
from atoll.demo.show import Show
from atoll.errors import AtollError
from atoll.testing import nodes


def run(*arguments: str, home: Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TMPDIR": str(home), "http_proxy": "http://127.0.0.1:9", "all_proxy": ""}
    return subprocess.run(
        [sys.executable, "-m", "atoll.cli", "demo", *arguments],
        capture_output=True, text=True, timeout=timeout, env=environment, check=False,
    )  # fmt: skip


def verdicts(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output)
    return found


@pytest.mark.slow
def test_the_whole_demo_is_right_and_leaves_nothing(tmp_path: Path) -> None:
    ended = run("--json", home=tmp_path)
    found = verdicts(ended.stdout)
    wrong = [check for act in found["acts"] for check in act["checks"] if not check["ok"]]
    assert (ended.returncode, wrong, ended.stderr) == (0, [], "")
    assert found["ok"]
    assert [act["act"] for act in found["acts"]] == list("abcdefghijkl")
    checks = [len(act["checks"]) for act in found["acts"]]
    assert checks == [8, 13, 5, 4, 4, 7, 1, 2, 4, 2, 2, 0]
    assert list(tmp_path.iterdir()) == []


def test_own_files_in_chinese(tmp_path: Path) -> None:
    left, right, home = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "tmp"
    home.mkdir()
    left.write_text("id,x\n007,1\n008,2\n8,3\n 009 ,4\n", encoding="utf-8")
    right.write_bytes("id;城市\n007;北京\n7;上海\n００９;深圳\n009;成都\n".encode("gb18030"))
    ended = run("--data", str(left), str(right), "--key", "id", "--lang", "zh", "--json", home=home)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    checks = verdicts(ended.stdout)["acts"][0]["checks"]
    assert [check["got"] for check in checks] == ["2", "2", "True", "3", "True", "2", "2"]
    assert list(home.iterdir()) == []


def test_a_file_without_the_key_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("name\nx\n")
    ended = run("--data", str(file), str(file), "--key", "id", "--json", home=tmp_path)
    assert ended.returncode == 1
    assert "E_COLUMN" in verdicts(ended.stdout)["acts"][0]["checks"][0]["got"]


def test_data_without_key_is_wrong_usage(tmp_path: Path) -> None:
    assert run("--data", "a.csv", "b.csv", home=tmp_path).returncode == 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    with nodes("A", "B", folder=tmp_path_factory.mktemp("pair")) as net:
        for number, node in enumerate(net):
            ids = [f"x{i}" for i in range(number * 3, number * 3 + 10)]
            node.steward.data.add(f"table{number}", {"id": ids})
        yield net, own_data._agree(net, ["id"])


@pytest.mark.parametrize("falsified", [False, True])
def test_an_answer_that_differs_from_the_plain_one_is_a_wrong_verdict(
    pair: tuple[Any, str], falsified: bool
) -> None:
    net, agreement = pair
    common = Counter({(f"X{i}",): 1 for i in range(3, 10)})
    if falsified:
        common["nobody",] = 1
    show = Show("en", machine=True)
    show.act("a", "act-own")
    own_data.overlap(net, show, agreement, ["id"], plaintext.Overlap(common, common))
    assert [check["ok"] for check in show.acts[0]["checks"]][:6] == [not falsified] * 6
    assert show.verdict() is not falsified


def test_an_act_that_does_not_finish_is_a_wrong_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> None:
        raise AtollError("E_UNREACHABLE", "no answer")

    show = Show("en", machine=True)
    attempt(show, "a", "act-overlap", act)
    assert not show.verdict()
    assert not verdicts(capsys.readouterr().out)["ok"]


def test_a_demo_without_checks_is_not_right() -> None:
    assert not Show("en", machine=True).verdict()


@pytest.mark.slow
def test_ctrl_c_stops_every_process_and_removes_every_folder(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "atoll.cli", "demo"], env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        # A background job of a shell that reads no terminal ignores the signal, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    end = time.monotonic() + 120
    while not list(tmp_path.glob("atoll-demo-*/atoll-*/*/api.address")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(150) == 130
    assert list(tmp_path.iterdir()) == []
    assert not _mentioning(str(tmp_path))


def _mentioning(text: str) -> list[str]:
    """Running processes that name a folder in their command line, or have a file of it open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().decode(errors="replace")
            if text in line or any(text in os.readlink(file) for file in (process / "fd").iterdir()):
                found.append(line)
    return found


def test_the_tables_are_the_same_for_the_same_seed_and_dirty_in_every_way(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = (lenders.write(tmp_path / name) for name in ("one", "two"))
    assert all(one[k].path.read_bytes() == two[k].path.read_bytes() for k in one)
    rows = plaintext.read(one["river"].path, "gb18030")
    ids = [row["id"] for row in rows]
    assert len(rows) >= 20_000
    assert any(i == "" for i in ids)
    assert any(i.startswith(" ") for i in ids)
    assert any(i and not i.isascii() for i in ids)
    assert any(i.endswith("x") for i in ids)
    assert max(Counter(ids).values()) > 1
    assert any(row["debt"] == "" for row in rows)
    with pytest.raises(UnicodeDecodeError):
        one["river"].path.read_text("utf-8")


def test_the_plain_answers_agree_with_a_count_by_hand() -> None:
    left = [{"id": " 1x"}, {"id": "1X"}, {"id": ""}, {"id": "２"}]
    right = [{"id": "1X"}, {"id": "2"}, {"id": "2"}, {"id": ""}]
    found = plaintext.overlap(left, right, ["id"])
    assert (found.keys, sum(found.left.values()), sum(found.pairs.values())) == (2, 3, 4)
    rows = [
        {"segment": "car", "applications": "2", "debt": "0.10"},
        {"segment": "car", "applications": "", "debt": ""},
    ]
    assert plaintext.totals([rows, rows], ["car"]) == {"car": (4, Decimal("0.20"), 4)}


def test_both_languages_are_complete_and_have_the_same_fields() -> None:
    for key, (en, zh) in words.WORDS.items():
        fields = [{f for _, f, _, _ in string.Formatter().parse(text) if f} for text in (en, zh)]
        assert fields[0] == fields[1], key
        assert en, key
        assert zh, key
    modules = Path(words.__file__).parent.glob("*.py")
    source = "".join(p.read_text() for p in modules if not p.name.startswith("words"))
    assert [key for key in words.WORDS if key not in source] == []


def test_flip_changes_one_bit_of_a_member_and_mends_the_checksum(tmp_path: Path) -> None:
    from atoll.ledger import archive

    path = tmp_path / "x.atoll-ledger"
    content = b'{"commitment":"sha256:ab12cd"}'
    with path.open("wb") as out:
        archive.write(out, [("manifest.json", b"{}"), ("ab/tile/entries/000.p/1", content)])
    forged = archive.read(ledger_copy.flip(path).read_bytes())
    assert forged.damaged == ()
    changed = forged.members["ab/tile/entries/000.p/1"]
    assert sum((a ^ b).bit_count() for a, b in zip(content, changed, strict=True)) == 1
