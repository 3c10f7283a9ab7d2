"""docs/reference/errors.md against the code: every code, with status, fault, cure and an example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atoll.errors import CODES, AtollError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
_USED = re.compile(r"\bE_[A-Z_]+\b")


def part(code: str) -> str:
    return PAGE.split(f"## `{code}`\n", 1)[1].split("\n## ", 1)[0]


def test_the_page_has_every_code_and_no_other() -> None:
    assert re.findall(r"^## `(E_[A-Z_]+)`$", PAGE, re.MULTILINE) == list(CODES)


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_status_fault_example_and_cure(code: str) -> None:
    status, fault, cure = CODES[code]
    text = part(code)
    assert f"Status {status}. Fault: {fault}." in text
    assert f"Cure: {cure}" in text
    example = re.search(r"^Example: (.+)$", text, re.MULTILINE)
    assert example is not None
    assert len(example[1]) > 20


def test_every_code_is_raised_somewhere_and_every_raised_code_is_known() -> None:
    files = [*ROOT.glob("atoll/**/*.py"), *ROOT.glob("rust/**/*.rs")]
    used = set()
    for file in files:
        if file != ROOT / "atoll" / "errors.py":
            used |= set(_USED.findall(file.read_text(encoding="utf-8")))
    assert set(CODES) - used == set(), "codes that nothing raises"
    assert used - set(CODES) <= {"E_CODE"}, "codes that are not in the table; E_CODE stands for any in texts"


@pytest.mark.parametrize("code", CODES)
def test_two_renderings(code: str) -> None:
    error = AtollError(
        code, "row 7 holds 98765", party="bob", step="n4", column="debt", detail={"value": 98765}
    )
    problem, wire = error.to_problem(), error.to_wire()
    assert (problem["status"], problem["code"]) == (CODES[code][0], code)
    assert "98765" in str(problem)
    assert "98765" not in str(wire)
    assert wire == {"code": code, "party": "bob", "step": "n4"}
    back = AtollError.from_problem(problem)
    assert back.to_problem() == problem
    assert AtollError.from_wire(wire, peer="bob").code == code
