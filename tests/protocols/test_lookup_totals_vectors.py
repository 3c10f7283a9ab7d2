"""The vectors of one id against a sealed table, against the slow reference that makes them.

The kernel has no face in Python yet: `rust/psi/tests/select_vectors.rs` holds it to the same file.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reference import vectors

FILE = Path(__file__).resolve().parents[2] / "vectors" / "lookup_totals.json"


@pytest.mark.timeout(600)
def test_the_reference_makes_exactly_this_file():
    assert vectors.render(FILE.name) == FILE.read_text(encoding="utf-8")


def test_shares_add_up_to_what_a_table_in_plain_sight_gives():
    for case in json.loads(FILE.read_text(encoding="utf-8"))["cases"]:
        table = dict(zip(case["digests"], case["values"], strict=True))
        assert any(query["digest"] in table for query in case["queries"])
        for query in case["queries"]:
            sums = zip(*([int(word) for word in side] for side in query["shares"]), strict=True)
            opened = [str((a + b) % 2**64) for a, b in sums]
            assert opened == query["opened"] == table.get(query["digest"], ["0"] * case["words"])
