"""What the checker carries along an edge: the derived edge, and where each of its columns comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from atoll.agreements.terms import ConsentMode, JoinVariant
from atoll.crypto import canonical
from atoll.crypto.document import Document
from atoll.crypto.suite import digest
from atoll.disclosure import Assumption, Security, Statement
from atoll.errors import AtollError
from atoll.plan.model import Edge, InputColumn, Operator, Plan, Visibility
from atoll.plan.shared import SharedColumn


@dataclass(frozen=True)
class KeySet:
    """Which key columns of an input are joined, and how they are normalised."""

    columns: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]

    def identify(self, version: str) -> str:
        """A digest of table version, key columns and normalisation: what a distinct-key charge is booked
        under.

        The version alone would not do: one table holds a different set of keys in each of its columns.
        """
        document = {"version": version, "columns": list(self.columns), "steps": [list(s) for s in self.steps]}
        return digest(canonical.dumps(document))


@dataclass(frozen=True)
class Release:
    """How aggregates over an input are protected: fewest subjects in a released group, and the column that
    tells subjects apart (None: each row is its own subject)."""

    minimum_group: int
    subject: str | None


@dataclass(frozen=True)
class Total:
    """One value column of a vector: its name there, decimal scale, unit, and largest magnitude of its sum."""

    name: str
    scale: int
    unit: str | None
    magnitude: int
    column: str


@dataclass(frozen=True)
class Side:
    """One of the tables behind a shared edge: its input, owner, asset, and key columns."""

    input: str
    owner: str
    asset: str | None
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Flow:
    """The derived state of an edge.

    Args:
        edge: type, columns, rows and visibility as derived.
        inputs: ids of the plan inputs that it depends on.
        owner: the party at which a local edge stands; None after a joint step.
        asset: name of the asset, and `asset_type`, of what a single input gave.
        raw: true for a plan input that no operator has read yet.
        columns: the columns of a table or of keys, with their types.
        keyset: of keys.
        group, domain, totals, counted, release: of a holder's vector of sums.
        block_calls: of a service, the calls that one release opens.
        consent: how each call shows the data subject's authorisation.
        declares_hits: whether the asker declares its hits to the other party.
        variant: of a join, the variant that every grant must name under its bounds; None where none need.
        delivers: for each receiver of a joint step, the columns that may stand in its output.
        shared: of a shared edge, its columns.
        sides: of a shared edge, the tables that it comes from.
        most_rows: of shared rows, how many matched at most; None where they are added up.
        unique_rows: of a shared edge, whether each key stands on one row, so that rows are subjects.
        histograms: of shared totals, names of the columns of each histogram.
    """

    edge: Edge
    inputs: tuple[str, ...]
    owner: str | None = None
    asset: str | None = None
    asset_type: str | None = None
    raw: bool = False
    columns: tuple[InputColumn, ...] = ()
    keyset: KeySet | None = None
    group: tuple[str, ...] = ()
    domain: tuple[tuple[str, ...], ...] = ()
    totals: tuple[Total, ...] = ()
    counted: bool = False
    release: Release | None = None
    block_calls: int | None = None
    consent: ConsentMode = "none"
    declares_hits: bool = False
    variant: JoinVariant | None = None
    delivers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shared: tuple[SharedColumn, ...] = ()
    sides: tuple[Side, ...] = ()
    most_rows: int | None = None
    unique_rows: bool = False
    histograms: tuple[tuple[str, ...], ...] = ()

    def column(self, name: str, step: str) -> InputColumn:
        """The column of that name; `E_PLAN` if the edge has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise wrong(step, f"reads a column {name!r} that its input does not carry")


@dataclass(frozen=True)
class Protocol:
    """What a joint operator runs, at which security level, and what that rests on."""

    id: str
    security: Security
    assumption: Assumption


Uses = list[tuple[str, str, str]]
"""Input id, column, use."""


@dataclass(frozen=True)
class Rule:
    """Everything that is known about an operator kind, in one place.

    Args:
        kind: name and version.
        parameters: the strict model of its parameters.
        derive: checks the operator against what flows in, and gives what flows out.
        uses: which columns of which inputs it uses, and how.
        discloses: what becomes known to whom.
        function: for joint operators, the function that a plan with it must name; None for local ones.
        protocol: for joint operators.
        alternatives: further protocols, or security levels of one, among which a plan may choose.
    """

    kind: str
    parameters: type[Document]
    derive: Callable[[Operator, Any, tuple[Flow, ...], Plan], Flow]
    uses: Callable[[Operator, Any, tuple[Flow, ...]], Uses]
    discloses: Callable[[Operator, Any, tuple[Flow, ...], Plan], list[Statement]]
    function: str | None = None
    protocol: Protocol | None = None
    alternatives: tuple[Protocol, ...] = ()

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """Every protocol, at every security level, that the operator may run; none for local ones."""
        return () if self.protocol is None else (self.protocol, *self.alternatives)


def wrong(step: str, what: str, code: str = "E_PLAN", column: str | None = None) -> AtollError:
    """An error that names the operator, and the column where one is at fault."""
    return AtollError(code, f"Operator {step} {what}.", step=step, column=column, wire_column=True)


def no_uses(op: Operator, parameters: Any, sources: tuple[Flow, ...]) -> Uses:
    """The uses of an operator that only passes columns on."""
    return []


def no_disclosures(op: Operator, parameters: Any, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """The disclosures of an operator that sends nothing."""
    return []


def only_source(op: Operator, sources: tuple[Flow, ...], *, raw: bool = False) -> Flow:
    """The single table that flows into a local operator at its owner; `raw` where it is a plan input."""
    if len(sources) != 1 or sources[0].edge.type != "table" or sources[0].raw != raw:
        raise wrong(op.id, f"takes exactly one {'input' if raw else 'table that was read'}")
    if op.at != (sources[0].owner,):
        raise wrong(op.id, "stands at another party than the data it reads")
    return sources[0]


def clear(*keys: str) -> Visibility:
    """In clear at these parties."""
    return Visibility(clear=tuple(sorted(set(keys))))


def among(*keys: str) -> Visibility:
    """Shared among these parties, none of whom sees it."""
    return Visibility(shared=tuple(sorted(set(keys))))


def only_shared(op: Operator, sources: tuple[Flow, ...], *, rows: bool) -> Flow:
    """The single shared edge that flows into an operator at the parties that hold it: of rows, or of totals."""
    if len(sources) != 1 or not sources[0].shared or (sources[0].most_rows is not None) != rows:
        raise wrong(op.id, f"takes exactly one shared edge of {'rows' if rows else 'totals'}")
    if tuple(sorted(op.at)) != sources[0].edge.visibility.shared:
        raise wrong(op.id, "stands at other parties than those that hold its shares")
    return sources[0]
