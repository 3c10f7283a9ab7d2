"""The reference pages list exactly what the code knows."""

from __future__ import annotations

import re
from pathlib import Path

from atoll.agreements import USES
from atoll.disclosure import KINDS, QUALIFIERS, render_kind
from atoll.disclosure.text import _ASSUMPTIONS
from atoll.plan import OPERATORS
from atoll.plan.operators.normalise import STEPS

DOCS = Path(__file__).parent.parent.parent / "docs"


def rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page, headers and rules left out."""
    text = (DOCS / "reference" / page).read_text()
    cells = [
        [c.strip() for c in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return [[c.strip("`") for c in row] for row in cells]


def test_column_uses_are_documented_with_the_operators_that_derive_them() -> None:
    found = {row[0]: row[2] for row in rows("column-uses.md")}
    assert tuple(found) == USES
    assert {kind for kind in found.values() if kind} <= OPERATORS.keys()


def test_kinds_of_disclosure_are_documented_in_both_languages() -> None:
    found = [row for row in rows("disclosure.md") if len(row) == 4]
    assert [row[0] for row in found] == list(KINDS)
    for kind, english, chinese, grantable in found:
        assert (english, chinese) == (render_kind(kind, "en"), render_kind(kind, "zh"))
        assert (grantable == "no") == (kind in QUALIFIERS)
    assert {row[0] for row in rows("disclosure.md") if len(row) == 2} == set(_ASSUMPTIONS)


def test_operators_are_documented_with_protocol_security_and_every_parameter() -> None:
    found = {row[0]: row for row in rows("operators.md") if len(row) == 6}
    assert set(found) == set(OPERATORS)
    for kind, rule in OPERATORS.items():
        protocols, levels = (re.findall(r"[\w-]+(?:/v\d+)?", found[kind][i]) for i in (2, 3))
        assert protocols == (list(dict.fromkeys(p.id for p in rule.protocols)) or ["local"])
        assert sorted(levels) == sorted({p.security for p in rule.protocols})
    documented = {(row[0], row[1]) for row in rows("operators.md") if len(row) == 3}
    known = {(kind, name) for kind, rule in OPERATORS.items() for name in rule.parameters.model_fields}
    assert documented == known
    steps = re.findall(
        r"`(\w+)`", (DOCS / "reference" / "operators.md").read_text().split("its steps:")[1].split("|")[0]
    )
    assert tuple(steps) == STEPS
