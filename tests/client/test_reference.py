"""The SDK's reference page names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from atoll.client import (
    AsyncClient,
    Client,
    Job,
    Result,
    Service,
    audit,
    billing,
    consents,
    drafts,
    lookups,
    offers,
    quality,
    rosters,
    scripts,
)
from atoll.client import resources as groups

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "sdk.md").read_text(encoding="utf-8")
GROUPS = [groups.Data, groups.Peers, groups.Agreements, groups.Jobs, groups.Policy, groups.Services,
          groups.Schedules, groups.Ledger, groups.Persons, consents.Consents,
          audit.Audit, billing.Bills, offers.Offers, offers.Catalog, quality.Quality,
          rosters.Rosters, lookups.Lookups, scripts.Scripts]  # fmt: skip


def methods(kind: type) -> list[str]:
    return [
        n
        for n, m in vars(kind).items()
        if not n.startswith("_") and (inspect.isfunction(m) or isinstance(m, property))
    ]


@pytest.mark.parametrize("kind", [AsyncClient, Client, Job, Result, Service])
def test_methods_are_documented(kind: type) -> None:
    assert [n for n in methods(kind) if not re.search(rf"`\.?{n}\b", TEXT)] == []


@pytest.mark.parametrize("kind", GROUPS, ids=lambda kind: kind.__name__)
def test_groups_are_documented(kind: type) -> None:
    (line,) = [row for row in TEXT.splitlines() if row.startswith(f"| `node.{kind.__name__.lower()}` |")]
    assert [n for n in methods(kind) if f"`{n}(" not in line] == []
    assert sorted(re.findall(r"`(\w+)\(", line)) == sorted(methods(kind))


def test_drafts_are_documented() -> None:
    public = [
        n
        for n, f in vars(drafts).items()
        if inspect.isfunction(f) and f.__module__ == drafts.__name__ and n[0] != "_"
    ]
    assert [n for n in public if f"`{n}`" not in TEXT and n != "uses"] == []


def test_every_public_function_says_what_it_does() -> None:
    for kind in (AsyncClient, Client, Job, Result, Service, *GROUPS):
        assert kind.__doc__
        assert [n for n in methods(kind) if not inspect.getdoc(getattr(kind, n))] == []
