"""`atoll script` where no node is needed, and what its options become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atoll.cli import script_reviews
from atoll.cli.app import main
from atoll.errors import AtollError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("ATOLL_DIR", "ATOLL_URL", "ATOLL_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, capsys) -> Path:
    path = tmp_path / "claims"
    assert main(["script", "new", str(path)]) == 0
    shown = capsys.readouterr().out
    assert str(path / "rules.py") in shown
    assert "atoll script test" in shown
    return path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_new_check_test(folder, capsys) -> None:
    assert main(["script", "check", str(folder)]) == 0
    assert "claims 1.0.0: nothing is wrong" in capsys.readouterr().out
    assert main(["script", "test", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "4 of 4 cases as expected" in shown
    assert "pay: 1176000" in shown


def test_new_leaves_a_folder_alone(folder, capsys) -> None:
    change(folder / "rules.py", "dental", "eye")
    assert main(["script", "new", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("E_CONFLICT: ")
    assert '"eye"' in (folder / "rules.py").read_text()


def test_check_prints_every_finding_with_its_place(folder, capsys) -> None:
    change(folder / "rules.py", "# Typed", "import os\nimport sys\n# Typed")
    change(folder / "tariff.csv", "60000", "many")
    assert main(["script", "check", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("rules.py:1:1: ") and line.endswith("[rules-import]") for line in lines)
    assert any(line.startswith("rules.py:2:1: ") for line in lines)
    assert any(line.startswith("tariff.csv") and line.endswith("[table]") for line in lines)
    assert main(["script", "check", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"rules-import", "table"} <= {row["code"] for row in found["findings"]}
    assert found["depends"] == {}


def test_check_for_machines_has_the_dependencies(folder, capsys) -> None:
    assert main(["script", "check", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert ["bills", "price"] in found["depends"]["pay"]
    assert found["findings"] == []


def test_a_wrong_manifest_is_an_error_with_its_file(folder, capsys) -> None:
    change(folder / "package.toml", "step = 100", "step = 0")
    for command in ("check", "test"):
        assert main(["script", command, str(folder)]) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("E_SCRIPT: ")
        assert "package.toml" in shown
    assert main(["script", "check", str(folder / "nowhere")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_test_ends_with_1_where_an_answer_differs(folder, capsys) -> None:
    change(folder / "cases.toml", "pay = 1176000", "pay = 1")
    assert main(["script", "test", str(folder)]) == 1
    assert "3 of 4 cases as expected" in capsys.readouterr().out
    assert main(["script", "test", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["wrong"] == 1
    assert found["cases"][0]["differs"] == ["pay: 1176000 instead of 1"]
    assert main(["script", "test", str(folder), "--cases", str(folder / "other.toml")]) == 1
    assert "other.toml" in capsys.readouterr().err


def test_bounds_from_options_go_before_those_of_the_file(tmp_path) -> None:
    file = tmp_path / "bounds.json"
    file.write_text('{"calls_per_day": 5, "reasons": false, "subject_days": 30}')
    found = script_reviews._bounds(
        file, 9, 22.5, None, None, ["pay=1000"], False, ["pay=50000"], "2027-01-01T00:00:00Z"
    )
    assert found == {
        "calls_per_day": 9,
        "reasons": False,
        "subject_days": 30,
        "subject_millibits": 22500,
        "steps": {"pay": 1000},
        "hold_above": {"pay": 50000},
        "not_after": "2027-01-01T00:00:00Z",
    }
    # What is not said has its default at the node.
    assert script_reviews._bounds(None, None, None, None, None, None, False, None, None) == {}


@pytest.mark.parametrize("text", ["pay", "pay=", "pay=1.5", "pay=many"])
def test_a_step_that_is_no_number(text) -> None:
    with pytest.raises(AtollError) as caught:
        script_reviews._numbers([text], "--step")
    assert caught.value.code == "E_FORMAT"
    assert text in caught.value.text


def test_settle_needs_a_word(capsys) -> None:
    assert main(["script", "settle", "claims", "k"]) == 2
    assert main(["script", "refuse", "claims"]) == 2
    assert main(["script", "publish", "claims"]) == 2
    capsys.readouterr()


def test_an_argument_is_a_name_and_a_value(capsys) -> None:
    assert main(["script", "call", "claims", "C-1", "--arg", "deductible"]) == 1
    assert "NAME=VALUE" in capsys.readouterr().err
