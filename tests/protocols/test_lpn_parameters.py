"""The noise weights that the Rust core uses are those that the derivation gives, and the page shows."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "lpn_parameters.py"))


def test_the_table_in_rust_is_the_derived_one() -> None:
    source = (ROOT / "rust" / "ot" / "src" / "lpn.rs").read_text()
    line = re.search(r"WEIGHTS: \[\(u32, usize\); \d+\] = \[(.*)\];", source)
    assert line is not None
    found = [(int(bits), int(weight)) for bits, weight in re.findall(r"\((\d+), (\d+)\)", line[1])]
    assert found == [(bits, weight) for bits, weight, *_ in SCRIPT["table"]()]


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs" / "protocols" / "vole.md").read_text()
    for _, weight, *_ in SCRIPT["table"]():
        assert f"| {weight} |" in page


@pytest.mark.parametrize("bits", [1, 2, 64, 128])
def test_each_weight_is_enough_and_one_less_is_not(bits: int) -> None:
    attacks = [SCRIPT["linear_test"], SCRIPT["information_set"]]
    weight = SCRIPT["weight_for"](bits)
    assert all(attack(weight, bits) >= 128 for attack in attacks)
    assert any(attack(weight - 1, bits) < 128 for attack in attacks)
    assert weight <= next(w for most, w, *_ in SCRIPT["table"]() if bits <= most)
