"""The parameters of lookups without a hint meet what their page promises, and are those of the kernel."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def parameters() -> ModuleType:
    folder = str(ROOT / "scripts")
    spec = importlib.util.spec_from_file_location("hintless_parameters", f"{folder}/hintless_parameters.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def test_answers_fail_as_rarely_as_the_page_says(parameters: ModuleType) -> None:
    assert parameters.log_failure(11_616, 7228) < -84
    largest = parameters.log_failure(parameters.MOST_COLUMNS, parameters.MOST_COLUMN_BYTES)
    assert largest < -54
    page = (ROOT / "docs" / "protocols" / "sealed-lookup.md").read_text()
    assert "2^-84 at 11616 columns of 7228 bytes, and below 2^-54 for any table" in page


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("FINE_LEVELS", 3),
        ("FINE", (2, 12, 20)),
        ("COARSE", (1, 18, 26)),
        ("HINT_DROPPED", 15),
        ("ROW_BITS", 8),
    ],
)
def test_coarser_parameters_fail_too_often(
    parameters: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, worse: object
) -> None:
    monkeypatch.setattr(parameters, name, worse)
    assert parameters.log_failure(11_616, 7228) > -40


def test_the_ring_has_the_security_that_the_page_states(parameters: ModuleType) -> None:
    ratio = float(parameters.SIGMA) / math.sqrt(2 / 3)
    for attack in (parameters.primal, parameters.dual):
        cost = attack(parameters.DEGREE, 2.0**parameters.BITS, float(parameters.SIGMA), 4096, ratio)
        assert 135 <= cost < 137


def test_the_kernel_has_these_parameters(parameters: ModuleType) -> None:
    source = (ROOT / "rust" / "hintless" / "src" / "parameters.rs").read_text().replace("_", "")
    p = parameters
    for line in (
        f"DEGREE: usize = {p.DEGREE};",
        f"Q: u64 = 0x0{p.Q:x};",
        f"QBITS: usize = {p.BITS};",
        f"WIDTH: usize = {p.WIDTH};",
        f"HINTDROPPED: u32 = {p.HINT_DROPPED};",
        f"ROWBITS: u32 = {p.ROW_BITS};",
        f"MASKBITS: u32 = {p.MASK_BITS};",
        f"FINELEVELS: usize = {p.FINE_LEVELS};",
        f"{p.FINE}",
        f"{p.COARSE}",
    ):
        assert line in source, line
    assert p.WIDTH.bit_length() - 1 == p.LEVELS
