"""`open/v1`: shared totals open to their receivers, who work out statistics from them; nothing else ever opens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Key, Name, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Rule, clear, no_uses, only_shared, wrong
from atoll.plan.model import Edge, Operator, Plan
from atoll.plan.operators.calculate import PROTOCOL, corruptible
from atoll.plan.operators.hidden_join import KEYS, ROWS
from atoll.plan.operators.withhold import ENOUGH
from atoll.plan.shared import SharedColumn

_TOTALS: tuple[Kind, ...] = ("matched_sum", "matched_moments", "matched_histogram")
MAX_RESULTS = 256

Form = Literal["sum", "mean", "variance", "stddev", "covariance", "correlation", "histogram"]
TAKES: Final[Mapping[Form, tuple[str, ...]]] = {
    "sum": ("sum",),
    "mean": ("sum",),
    "variance": ("sum", "squares"),
    "stddev": ("sum", "squares"),
    "covariance": ("sum", "other sum", "products"),
    "correlation": ("sum", "other sum", "squares", "other squares", "products"),
}
"""Totals that a statistic is worked out from, in order; a histogram has its cells."""


class Result(Document):
    """A statistic that receivers work out from opened totals; variance and covariance are those of a sample."""

    name: Annotated[Name, Field(alias="as")]
    form: Form
    of: Annotated[tuple[Name, ...], Field(min_length=1, max_length=128)]

    @model_validator(mode="after")
    def _validate(self) -> Result:
        takes = TAKES.get(self.form)
        if takes is not None and len(self.of) != len(takes):
            raise ValueError(f"of: {self.form} takes {', '.join(takes)}")
        return self


class Parameters(Document):
    """Who learns, and which statistics follow, after whether there were enough keys, and the numbers of keys and
    rows.
    """

    receivers: Annotated[tuple[Key, ...], Field(min_length=1, max_length=2)]
    results: Annotated[tuple[Result, ...], Field(max_length=MAX_RESULTS)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.receivers, "receiver")
        if list(self.receivers) != sorted(self.receivers):
            raise ValueError("receivers: keys stand in order")
        require_unique(self.columns, "results: name")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the result."""
        return (ENOUGH, KEYS, ROWS, *(result.name for result in self.results))


def _check_results(op: Operator, parameters: Parameters, source: Flow) -> None:
    """Statistics are of totals that are there, and no total opens that none is worked out from."""
    cells = {name for histogram in source.histograms for name in histogram}
    known = set(source.edge.columns)
    taken = {ENOUGH, KEYS, ROWS}
    for result in parameters.results:
        missing = [name for name in result.of if name not in known]
        if missing:
            raise wrong(op.id, f"works out {result.name!r} from {missing[0]!r}, which does not open")
        if (result.form == "histogram") != (result.of in source.histograms):
            raise wrong(op.id, f"works out {result.name!r} from other totals than a {result.form} has")
        if result.form != "histogram" and cells & set(result.of):
            raise wrong(op.id, f"works out {result.name!r} from a cell of a histogram")
        taken |= set(result.of)
    if known - taken:
        raise wrong(op.id, f"opens {min(known - taken)!r}, which no result needs")


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """One row of totals, in clear at the receivers; only of what a minimum group was kept for."""
    source = only_shared(op, sources, rows=False)
    if source.release is None:
        raise wrong(op.id, "opens totals for which no minimum group was kept")
    if not set(parameters.receivers) <= set(op.at):
        raise wrong(op.id, "has a receiver that holds no shares")
    _check_results(op, parameters, source)
    columns = parameters.columns
    edge = Edge(type="vector", columns=columns, rows="1", visibility=clear(*parameters.receivers))
    return Flow(
        edge,
        source.inputs,
        release=source.release,
        delivers=dict.fromkeys(parameters.receivers, columns),
    )


def crosses(column: SharedColumn) -> bool:
    """Whether it holds products of one owner's numbers with the other's."""
    return len({o.input for o in column.origins if o.tells == "matched_moments"}) > 1


def _columns(columns: Iterable[SharedColumn], input: str, tells: Kind | None = None) -> tuple[str, ...]:
    """The columns of an input that these are computed from, and tell so much of it."""
    found = {o.column for c in columns for o in c.origins if o.input == input and tells in (None, o.tells)}
    return tuple(sorted(found))


def told_bits(columns: Iterable[SharedColumn]) -> int:
    """Bits that totals can hold: what values chosen for it could tell about which rows match."""
    return max(1, sum((c.high - c.low).bit_length() for c in columns))


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """To receivers: whether enough keys matched, and if so how many, and totals by the columns that they come from."""
    (source,) = sources
    out = []
    group = source.release.minimum_group if source.release else 1

    def say(what: Kind, side: int, to: str, facts: Facts) -> None:
        about = source.sides[side]
        out.append(
            Statement(
                subject=about.input,
                owner=about.owner,
                what=what,
                to=(to,),
                step=op.id,
                security=PROTOCOL.security,
                assumption=PROTOCOL.assumption,
                parameters=facts.model_copy(update={"asset": about.asset, "minimum_group": group}),
            )
        )

    for me, other in ((0, 1), (1, 0)):
        mine, theirs = source.sides[me], source.sides[other]
        if mine.owner not in parameters.receivers:
            continue
        say("too_few_matched", other, mine.owner, Facts(columns=theirs.keys))
        say("matched_count", other, mine.owner, Facts(columns=theirs.keys))
        for tells in _TOTALS:
            columns = _columns((c for c in source.shared if not crosses(c)), theirs.input, tells)
            if columns:
                say(tells, other, mine.owner, Facts(columns=columns))
        products = [c for c in source.shared if crosses(c)]
        if products:
            # The receiver's own factor weighs the other's values: chosen weights tell single ones.
            columns = _columns(products, theirs.input)
            say(
                "matched_product", other, mine.owner, Facts(columns=columns, maximum_bits=told_bits(products))
            )
        own = [c for c in source.shared if any(o.input == mine.input for o in c.origins)]
        if own:
            facts = Facts(columns=_columns(own, mine.input), maximum_bits=told_bits(own))
            say("own_matched_sum", other, mine.owner, facts)
    guessing = Statement(
        subject=op.id,
        owner=None,
        what="guessing",
        to=tuple(sorted(op.at)),
        step=op.id,
        security=PROTOCOL.security,
        assumption=PROTOCOL.assumption,
        parameters=Facts(minimum_group=group),
    )
    return [*out, guessing, corruptible(op)]


RULE = Rule("open/v1", Parameters, derive, no_uses, discloses, function="join_statistics", protocol=PROTOCOL)
