"""From a deployed package to the plan of its standing service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from atoll.agreements import grants_to
from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Digest, Document, Identifier, Name
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, clear_edge, operator
from atoll.plan.operators import visit
from atoll.scripts.manifest import Output, Symbol


class Table(Document):
    """A table of the host that the package reads: asset, key column, other columns."""

    asset: Name
    key: Name
    columns: Annotated[tuple[Name, ...], Field(max_length=256)]


class Request(compiling.Request):
    """The service of a package that its host deployed; the node fills this in from package and consent.

    `depends` maps each output to the inputs that it depends on. `holds`: whether the host holds some answers for a
    steward. `consent`: null for what the grants ask.
    """

    host: Name
    package: Digest
    deployment: Digest
    name: Identifier
    version: Name
    inputs: Annotated[dict[Symbol, Table], Field(min_length=1, max_length=16)]
    outputs: Annotated[dict[Symbol, Output], Field(min_length=1, max_length=16)]
    reasons: Annotated[tuple[Symbol, ...], Field(max_length=64)]
    maximum_reasons: Annotated[int, Field(ge=0, le=8)]
    depends: Annotated[dict[Symbol, tuple[Symbol, ...]], Field(max_length=17)]
    holds: bool
    arguments: Annotated[tuple[Symbol, ...], Field(max_length=32)]
    maximum_bytes: Annotated[int, Field(ge=1, le=1 << 23)] = 4 << 20
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)] = 3600
    consent: ConsentMode | None = None


def compile(
    request: Any,
    agreement: Any,
    *,
    me: str,
    person: str,
    now: datetime,
    job: str,
    salt: str,
    calibration: Calibration = DEFAULT_CALIBRATION,
) -> Json:
    """The plan document of a package's service; arguments and errors as in `atoll.functions.join.compile`."""
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    host = compiling.find_party(terms, wanted.host, "host")
    inputs, reads, keys = [], [], {}
    grants = []
    for number, (symbol, table) in enumerate(sorted(wanted.inputs.items())):
        field = f"inputs.{symbol}"
        asset = compiling.find_asset(terms, table.asset, host, field)
        item = compiling.input_document(terms, asset, symbol, [table.key, *table.columns], field)
        inputs.append(item)
        names = [column["name"] for column in item["columns"]]
        reads.append(operator(f"r-{number}", "read/v1", [symbol], [host], clear_edge("table", names, [host])))
        keys[symbol] = table.key
        grants += [g for _, g in grants_to(asset, me, wanted.purpose, "script")]
    document = wanted.document()
    names = [*document["outputs"], *(["reasons"] if wanted.reasons else [])]
    joint = operator(
        "v-0",
        visit.RULE.kind,
        [read["id"] for read in reads],
        [me, host],
        clear_edge("table", names, [me, host]),
        {
            **{field: document[field] for field in ("package", "deployment", "name", "version", "outputs")},
            **{
                field: document[field]
                for field in ("reasons", "maximum_reasons", "holds", "arguments", "block_calls")
            },
            **{field: document[field] for field in ("maximum_bytes", "block_seconds")},
            "keys": keys,
            "depends": {name: sorted(found) for name, found in document["depends"].items()},
            "consent": compiling.consent_mode(wanted.consent, grants),
        },
        visit.PROTOCOL.id,
        visit.PROTOCOL.security,
    )
    total_bytes = wanted.block_calls * 600
    calibration = calibration.among([wanted.host])
    return compiling.frame(
        wanted,
        terms,
        function="script",
        shape="service",
        me=me,
        person=person,
        now=now,
        job=job,
        salt=salt,
        inputs=inputs,
        operators=[*reads, joint],
        outputs=[{"id": "out-0", "from": "v-0", "receiver": me, "columns": names, "minimum_group": 1}],
        estimate=compiling.estimate(
            None,
            wanted.block_calls,
            total_bytes,
            calibration.start_seconds + total_bytes / calibration.bytes_per_second,
        ),
    )
