"""A check removed, a share revealed, a quota not debited: each makes a named test fail (see `tests/mutations.py`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("atoll_mutations", Path(__file__).parents[1] / "mutations.py")
assert _SPEC is not None
assert _SPEC.loader is not None
mutations = importlib.util.module_from_spec(_SPEC)
sys.modules["atoll_mutations"] = mutations
_SPEC.loader.exec_module(mutations)


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda m: m.name)
def test_the_place_is_still_there(mutation: mutations.Mutation) -> None:  # type: ignore[name-defined]
    text = (mutations.ROOT / "atoll" / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    file, _, name = mutation.test.partition("::")
    assert f"def {name}(" in (mutations.ROOT / file).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda m: m.name)
def test_a_mutation_is_noticed(mutation: mutations.Mutation) -> None:  # type: ignore[name-defined]
    assert mutations.check(mutation) is None
