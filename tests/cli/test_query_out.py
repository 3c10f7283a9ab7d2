"""Answers of a lookup as a file: what was answered, and charged, is never lost, and goes on where it broke off."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.cli.lookups import _written
from atoll.errors import AtollError

HEADS, VALUES = ["row"], ["debt"]
ANSWERS = [
    {"found": True, "rows": [{"debt": 1}], "error": None},
    {"found": False, "rows": [], "error": None},
    {"found": True, "rows": [{"debt": 3}, {"debt": 4}], "error": None},
    {"found": None, "rows": [], "error": {"code": "E_CONSENT"}},
    {"found": True, "rows": [{"debt": 5}], "error": None},
]
LINES = [
    ["row", "found", "error", "debt"],
    ["1", "True", "", "1"],
    ["2", "False", "", ""],
    ["3", "True", "", "3"],
    ["3", "True", "", "4"],
    ["4", "", "E_CONSENT", ""],
    ["5", "True", "", "5"],
]


def asked(start: int, breaks: int | None = None) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Answers from a row on; before row `breaks` the lookup ends."""
    for row, answer in enumerate(ANSWERS[start - 1 :], start):
        if row == breaks:
            raise AtollError("E_STATE", "the lookup ended", cure="Start it.")
        yield [str(row)], answer


def written(out: Path, start: int = 1, breaks: int | None = None, heads: list[str] = HEADS) -> dict[str, Any]:
    return _written(out, heads, VALUES, asked(start, breaks), start)


def lines(file: Path) -> list[list[str]]:
    with file.open(newline="") as source:
        return list(csv.reader(source))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "answers.csv"


@pytest.fixture
def part(out: Path) -> Path:
    """What a request leaves that broke off before row 4."""
    with pytest.raises(AtollError) as caught:
        written(out, breaks=4)
    assert "--start 4" in caught.value.cure
    assert "Start it." in caught.value.cure
    assert not out.exists()
    return out.with_name("answers.csv.part")


def test_a_whole_request_is_one_file(out: Path) -> None:
    assert written(out) == {"file": str(out), "answers": 5, "found": 3}
    assert lines(out) == LINES
    assert [file.name for file in out.parent.iterdir()] == ["answers.csv"]


def test_what_was_answered_stays_and_the_rest_goes_on_after_it(out: Path, part: Path) -> None:
    assert lines(part) == LINES[:5]
    with pytest.raises(AtollError) as caught:
        written(out, start=4, breaks=5)
    assert "--start 5" in caught.value.cure
    assert lines(part) == LINES[:6]
    assert written(out, start=5) == {"file": str(out), "answers": 1, "found": 1}
    assert lines(out) == LINES
    assert not part.exists()


def test_who_goes_on_and_gets_nothing_loses_nothing(out: Path, part: Path) -> None:
    with pytest.raises(AtollError) as caught:
        written(out, start=4, breaks=4)
    assert "--start" not in caught.value.cure
    assert lines(part) == LINES[:5]


def test_who_begins_anew_does_not_write_over_what_was_charged(out: Path, part: Path) -> None:
    with pytest.raises(AtollError) as caught:
        written(out)
    assert (caught.value.code, "--start" in caught.value.cure) == ("E_STATE", True)
    assert lines(part) == LINES[:5]
    assert not out.exists()


@pytest.mark.parametrize("how", ["columns", "cut"])
def test_answers_do_not_go_on_after_others(out: Path, part: Path, how: str) -> None:
    if how == "cut":
        part.write_text(part.read_text()[:-3])
    before = part.read_bytes()
    with pytest.raises(AtollError) as caught:
        written(out, start=4, heads=["id"] if how == "columns" else HEADS)
    assert caught.value.code == "E_FORMAT"
    assert part.read_bytes() == before


def test_a_request_that_broke_off_before_its_first_answer_leaves_nothing(out: Path) -> None:
    with pytest.raises(AtollError):
        written(out, breaks=1)
    assert list(out.parent.iterdir()) == []
    assert written(out)["answers"] == 5
    assert lines(out) == LINES


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AtollError) as caught:
        written(tmp_path / "nowhere" / "answers.csv")
    assert caught.value.code == "E_FORMAT"
    assert "nowhere" in caught.value.text
