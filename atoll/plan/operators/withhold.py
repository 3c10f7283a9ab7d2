"""`withhold/v1`: of shared totals nothing goes on where too few keys matched, and no small cell of a histogram. Nothing
opens.

A cell of fewer subjects than the minimum is withheld. Where all that is withheld of a histogram together is fewer, so
that its other cells and the number of rows would tell it, the smallest remaining cell is withheld too. Cells that are
withheld go on as -1, other totals of too few keys as zero.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Name, require_unique
from atoll.disclosure import Statement
from atoll.plan.flow import Flow, Release, Rule, no_uses, only_shared, wrong
from atoll.plan.model import Edge, Operator, Plan
from atoll.plan.operators.calculate import PROTOCOL, corruptible
from atoll.plan.shared import SharedColumn, partition

Transfers = Literal["rich-2", "rich-4", "rich-8", "thin"]
ENOUGH = "enough"
MAX_CELLS = 128


class Parameters(Document):
    """Fewest keys of which totals go on, and of a histogram's cell; the columns that are a histogram's cells.

    `transfers`: how the two parties make the random transfers that comparisons use up: with more bytes (`rich-2`) or
    fewer (`rich-8`), or silently (`thin`), with more work.
    """

    minimum_group: Annotated[int, Field(ge=1, le=2**31)]
    histograms: Annotated[
        tuple[Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_CELLS)], ...],
        Field(max_length=MAX_CELLS),
    ]
    transfers: Transfers

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique((name for cells in self.histograms for name in cells), "histograms: column")
        return self


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """The same totals after a column that says whether there were enough keys, shared as before."""
    source = only_shared(op, sources, rows=False)
    if source.release is not None:
        raise wrong(op.id, "takes totals of which small ones were withheld before")
    known = {column.name: column for column in source.shared}
    cells = {name for histogram in parameters.histograms for name in histogram}
    counts = {column.name for column in source.shared if column.cell is not None}
    if cells != counts:
        name = min(cells ^ counts)
        raise wrong(op.id, f"does not have {name!r} in a histogram just where it counts a range or codes")
    for histogram in parameters.histograms:
        if not partition([known[name].cell for name in histogram]):
            # What a row is in no cell could be told from the number of all rows.
            raise wrong(
                op.id, f"has a histogram with {histogram[0]!r} in which some row is in no cell, or in two"
            )
    firsts = [known[histogram[0]].cell for histogram in parameters.histograms]
    names = [(cell.input, cell.column) for cell in firsts if cell is not None]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        # Two ways to cut one column differ by rows that are too few for either.
        raise wrong(op.id, f"has two histograms of {twice[0][1]!r}", column=twice[0][1])
    if cells and not source.unique_rows:
        raise wrong(
            op.id,
            "counts rows by ranges or codes where a key may stand on several rows, so that rows are not subjects",
            "E_MIN_GROUP",
        )
    low = {name: replace(column, low=-1) for name, column in known.items() if name in cells}
    enough = SharedColumn(ENOUGH, 0, 0, 1)
    columns = (enough, *(low.get(c.name, c) for c in source.shared))
    edge = Edge(
        type="shares",
        columns=tuple(c.name for c in columns),
        rows="1",
        visibility=source.edge.visibility,
    )
    return replace(
        source,
        edge=edge,
        shared=columns,
        histograms=parameters.histograms,
        # A subject is a key.
        release=Release(parameters.minimum_group, source.sides[0].keys[0]),
    )


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Nothing to those who follow the protocol: whether there were enough opens with the totals."""
    return [corruptible(op)]


RULE = Rule(
    "withhold/v1", Parameters, derive, no_uses, discloses, function="join_statistics", protocol=PROTOCOL
)
