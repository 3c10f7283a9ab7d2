"""`read/v1`: the owner reads the named columns of one of its tables, locally."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from atoll.crypto.document import Document
from atoll.plan.flow import Flow, Rule, clear, no_disclosures, no_uses, only_source, wrong
from atoll.plan.model import Edge, Operator, Plan


class Parameters(Document):
    """None: the input says what is read."""


def derive(op: Operator, parameters: Any, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """A table in clear at its owner."""
    source = only_source(op, sources, raw=True)
    if source.asset_type != "dataset":
        raise wrong(op.id, f"reads a dataset, not a {source.asset_type}")
    names = tuple(c.name for c in source.columns)
    if not names:
        raise wrong(op.id, "reads no column")
    edge = Edge(type="table", columns=names, rows=None, visibility=clear(*op.at))
    return replace(source, raw=False, edge=edge)


RULE = Rule("read/v1", Parameters, derive, no_uses, no_disclosures)
