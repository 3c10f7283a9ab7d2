"""The reference page of agreements and offers names exactly the fields that the models have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atoll.agreements import consent, lifecycle, model, offer, terms
from atoll.crypto.document import Document

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "agreement.md"


def sections() -> dict[str, list[str]]:
    """First cells of the rows below each heading."""
    out: dict[str, list[str]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif found := re.match(r"\| `(\w+)` \|", line):
            out.setdefault(heading, []).append(found[1])
    return out


MODELS: dict[str, type[Document]] = {
    name: kind
    for module in (model, terms, offer, lifecycle, consent)
    for name, kind in vars(module).items()
    # `Terms` is a grant without `to`; a call's record travels in no signed document.
    if isinstance(kind, type)
    and issubclass(kind, Document)
    and name not in ("Document", "Terms", "CallRecord")
}


def test_every_model_has_a_section() -> None:
    assert sections().keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_every_field_is_documented(name: str) -> None:
    assert sorted(sections()[name]) == sorted(MODELS[name].model_fields)
