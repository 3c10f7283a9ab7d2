"""The checker: from the graph alone, who uses which column for what, and who learns what.

It trusts no word of the asker's compiler. Whatever a plan states beside the graph (edges, visibility, roles,
security levels, the function's name) is derived here again and must be the same. Unknown operators, unused or
doubly used edges and outputs to anyone but a derived receiver are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.agreements import model as agreement_model
from atoll.agreements.model import Agreement
from atoll.agreements.receipt import Derived
from atoll.agreements.terms import ConsentMode, JoinVariant
from atoll.disclosure import Security, Statement, to_json, weakest
from atoll.errors import AtollError
from atoll.plan.flow import Flow, KeySet, Release, clear, wrong
from atoll.plan.model import Edge, Input, Operator, Plan, parse
from atoll.plan.operators import OPERATORS


@dataclass(frozen=True)
class Derivation:
    """What a plan means. `uses` maps input -> column -> sorted uses; a column with no use only reaches its
    owner.
    """

    plan: Plan
    agreements: dict[str, Agreement]
    uses: dict[str, dict[str, tuple[str, ...]]]
    disclosures: tuple[Statement, ...]
    protocols: tuple[str, ...]
    security: Security
    receivers: tuple[str, ...]
    edges: dict[str, Edge]
    keysets: dict[str, KeySet]
    releases: dict[str, Release]
    block_calls: int | None
    consent: ConsentMode
    declares_hits: bool
    variant: JoinVariant | None

    @property
    def function(self) -> str:
        """The function that the joint operators belong to."""
        return self.plan.function

    def joined_with(self, input_id: str, partner: str) -> str | None:
        """The partner's input that this one is joined with, if it is joined and the partner has one."""
        if input_id not in self.keysets:
            return None
        inputs = (other for other in self.keysets if other != input_id)
        return next((other for other in inputs if self.plan.input(other).party == partner), None)

    @property
    def stated(self) -> Derived:
        """What a receipt must state alike."""
        return Derived(self.protocols, self.security, self.disclosures, self.consent, self.declares_hits)

    def statement_json(self) -> list[dict[str, Any]]:
        """The disclosure statement as JSON documents."""
        return to_json(self.disclosures)


def _fail(what: str) -> AtollError:
    return AtollError("E_PLAN", f"The plan {what}.")


def _open_agreements(plan: Plan, documents: Mapping[str, Any]) -> dict[str, Agreement]:
    """The agreements that the inputs name, each in exactly the version that the plan names."""
    found: dict[str, Agreement] = {}
    for item in plan.inputs:
        if item.agreement not in documents:
            raise AtollError("E_AGREEMENT", f"Agreement {item.agreement} is not known here.")
        given = documents[item.agreement]
        agreement = given if isinstance(given, Agreement) else agreement_model.parse(given)
        if agreement.id != item.agreement or agreement.digest != item.agreement_digest:
            raise AtollError(
                "E_AGREEMENT", f"The plan rests on another version of agreement {item.agreement}."
            )
        found[item.agreement] = agreement
    for agreement in found.values():
        for party in plan.parties:
            if agreement.names.get(party.key) != party.name:
                raise AtollError(
                    "E_AGREEMENT", f"{party.name} is not a signatory of {agreement.id} by that name."
                )
        if plan.limits.silence_seconds > agreement.silence_seconds:
            raise _fail(f"allows more silence than agreement {agreement.id}")
    return found


def _input_flow(item: Input, agreement: Agreement) -> Flow:
    """An input as the agreement declares it; types, scales and units stated in the plan must be the same."""
    asset = agreement.asset_at(item.party, item.asset)
    if asset is None or (asset.type == "dataset" and asset.provider != item.party):
        raise AtollError(
            "E_AGREEMENT", f"Agreement {agreement.id} has no asset {item.asset!r} of {item.party}."
        )
    for column in item.columns:
        declared = asset.column(column.name)
        if declared is None:
            raise AtollError(
                "E_COLUMN", f"Asset {asset.name} has no column {column.name!r}.", column=column.name
            )
        for field, code in (
            ("type", "E_TYPE"),
            ("precision", "E_TYPE"),
            ("scale", "E_TYPE"),
            ("unit", "E_UNIT"),
        ):
            if getattr(column, field) != getattr(declared, field):
                text = f"Column {column.name!r} of {asset.name} has another {field} in the agreement."
                raise AtollError(code, text, column=column.name)
    edge = Edge(
        type="table", columns=tuple(c.name for c in item.columns), rows=None, visibility=clear(item.party)
    )
    return Flow(
        edge,
        (item.id,),
        owner=item.party,
        asset=asset.name,
        asset_type=asset.type,
        raw=True,
        columns=item.columns,
    )


def _check_claims(op: Operator, plan: Plan) -> None:
    """Kind, protocol, security level and function are those that the operator's rule knows."""
    rule = OPERATORS.get(op.kind)
    if rule is None:
        raise wrong(op.id, f"has the kind {op.kind}, which is not known", "E_PLAN_VERSION")
    levels = [protocol.security for protocol in rule.protocols if protocol.id == op.protocol]
    if not rule.protocols:
        if op.protocol is not None or op.security is not None:
            raise wrong(op.id, "is local and has no protocol")
    elif not levels:
        raise wrong(op.id, f"names protocol {op.protocol}, which is not known for it", "E_PLAN_VERSION")
    elif op.security not in levels:
        raise wrong(op.id, f"claims security {op.security}; {op.protocol} is {' or '.join(levels)}")
    if rule.function not in (None, plan.function):
        raise wrong(op.id, f"belongs to {rule.function}, but the plan says {plan.function}")


def _check_outputs(plan: Plan, flows: dict[str, Flow]) -> None:
    """Every receiver of a joint operator has exactly one output, of what it may see; nobody else has any."""
    for output in plan.outputs:
        flow = flows.get(output.source)
        # Only joint edges have no owner; inputs and local edges never leave theirs.
        if flow is None or flow.owner is not None:
            raise _fail(f"has an output {output.id} that is not from a joint operator")
        if output.receiver not in flow.delivers:
            raise _fail(f"gives output {output.id} to a party that is no receiver")
        own = flow.delivers[output.receiver]
        fits = set(output.columns) <= set(own) if flow.edge.type == "membership" else output.columns == own
        if not fits or len(set(output.columns)) != len(output.columns):
            raise _fail(f"has other columns in output {output.id} than its operator gives")
        if output.minimum_group != (flow.release.minimum_group if flow.release else 1):
            raise _fail(f"states another minimum group in output {output.id} than its operator keeps")
    stated = Counter((o.source, o.receiver) for o in plan.outputs)
    derived = Counter(
        (name, key) for name, flow in flows.items() for key in flow.delivers if flow.owner is None
    )
    if stated != derived:
        raise _fail("does not have exactly one output for each receiver")


def _check_consumed_once(plan: Plan, flows: dict[str, Flow]) -> None:
    """Each input and each local or shared edge flows into exactly one operator; what is in clear only into outputs."""
    taken = Counter(name for op in plan.operators for name in op.inputs)
    for name, flow in flows.items():
        expected = 1 if flow.owner is not None or flow.shared else 0
        if taken[name] != expected:
            raise _fail(f"uses {name} {taken[name]} times instead of {expected}")


def _check_roles(plan: Plan) -> None:
    roles: dict[str, set[str]] = {party.key: set() for party in plan.parties}
    try:
        roles[plan.asker].add("asker")
        for item in plan.inputs:
            roles[item.party].add("owner")
        for output in plan.outputs:
            roles[output.receiver].add("receiver")
        for op in plan.operators:
            for key in op.at:
                if op.protocol is not None:
                    roles[key].add("computing")
    except KeyError as error:
        raise _fail(f"names {error.args[0]}, which is not among its parties") from None
    for party in plan.parties:
        if party.roles != tuple(sorted(roles[party.key])):
            raise _fail(f"gives {party.name} other roles than its graph does")


def _releases(flows: dict[str, Flow]) -> dict[str, Release]:
    """How aggregates over each input are protected: by what its owner adds up, else by the joint step."""
    found: dict[str, Release] = {}
    for flow in flows.values():
        if flow.release is not None:
            for name in flow.inputs:
                found.setdefault(name, flow.release)
    return found


def check(document: Any, agreements: Mapping[str, Any]) -> Derivation:
    """Checks a plan and derives what it uses and discloses.

    Args:
        document: the plan document, of which nothing but its form is believed.
        agreements: agreements (or their documents) by id, each the version that this node holds.

    Raises:
        AtollError: `E_PLAN_VERSION` for an unknown format, operator or protocol; `E_AGREEMENT` for an unknown
            agreement, version or asset; `E_COLUMN`, `E_TYPE`, `E_UNIT`, `E_RANGE` naming the column; `E_PLAN`
            for everything else that is inconsistent.
    """
    plan = parse(document)
    opened = _open_agreements(plan, agreements)
    flows = {item.id: _input_flow(item, opened[item.agreement]) for item in plan.inputs}
    uses: dict[str, dict[str, set[str]]] = {i.id: {c.name: set() for c in i.columns} for i in plan.inputs}
    disclosures: list[Statement] = []
    for op in plan.operators:
        _check_claims(op, plan)
        rule = OPERATORS[op.kind]
        parameters = rule.parameters.parse(op.parameters, code="E_PLAN", what=f"operator {op.id}: parameters")
        missing = [name for name in op.inputs if name not in flows]
        if missing:
            # Operators stand in order, so this refuses cycles as well.
            raise wrong(op.id, f"reads {missing[0]}, which does not stand before it")
        sources = tuple(flows[name] for name in op.inputs)
        flow = rule.derive(op, parameters, sources, plan)
        if op.edge != flow.edge:
            raise wrong(op.id, "states another edge (type, columns, rows, visibility) than its graph gives")
        flows[op.id] = flow
        for input_id, column, use in rule.uses(op, parameters, sources):
            uses[input_id][column].add(use)
        disclosures += rule.discloses(op, parameters, sources, plan)
    _check_consumed_once(plan, flows)
    _check_outputs(plan, flows)
    _check_roles(plan)
    joint = [op for op in plan.operators if op.protocol is not None]
    # Shares that nobody sees pass from one joint operator to the next; only the last gives anything.
    ends = [op.id for op in joint if not flows[op.id].shared]
    if len(ends) != 1:
        raise _fail(
            f"has {len(ends)} joint operators whose results are seen; this version checks plans with one"
        )
    last = flows[ends[0]]
    if (plan.shape == "service") != (plan.function in ("echo", "script", "query", "query_totals")):
        raise _fail(f"has the shape {plan.shape}, which {plan.function} does not have")
    return Derivation(
        plan=plan,
        agreements=opened,
        uses={i: {c: tuple(sorted(u)) for c, u in columns.items()} for i, columns in uses.items()},
        disclosures=tuple(disclosures),
        protocols=tuple(sorted({op.protocol for op in joint if op.protocol is not None})),
        security=weakest(op.security for op in joint if op.security is not None),
        receivers=tuple(sorted({output.receiver for output in plan.outputs})),
        edges={op.id: op.edge for op in plan.operators},
        keysets={f.inputs[0]: f.keyset for f in flows.values() if f.keyset is not None},
        releases=_releases(flows),
        block_calls=last.block_calls,
        consent=last.consent,
        declares_hits=last.declares_hits,
        variant=last.variant,
    )
