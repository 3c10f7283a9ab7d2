"""What a node makes of the records that come from a lookup, whatever a partner wrote into them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import cbor2
import pytest

from atoll.crypto.wire import decode_body, encode_body
from atoll.data.schema import Column
from atoll.functions.query.records import encode_rows
from atoll.node.lookups import Lookups

LENGTH = 4096


def lookups(monkeypatch: pytest.MonkeyPatch, records: list[bytes | None]) -> Lookups:
    """Lookups of a node whose one service gives these records."""

    def call(job: str, payload: bytes, timeout: float) -> bytes:
        body = decode_body(payload)
        assert len(body["digests"]) == 32 * len(records)
        return encode_body({"records": records, "errors": [None] * len(records), "version": b"v" * 16})

    found: Any = Lookups(SimpleNamespace(runs=SimpleNamespace(call=call)), SimpleNamespace())  # type: ignore[arg-type]
    service = SimpleNamespace(
        job="job",
        totals=False,
        consent=None,
        keys=[Column("id", "string")],
        values=[Column("debt", "int64")],
        steps={},
        parameters={"maximum_keys": 10},
    )
    monkeypatch.setattr(found, "serving", lambda name: service)
    return found


def test_records_are_rows_and_what_no_holder_writes_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that JSON cannot write would end the request with an internal error."""
    huge = b"\x81\x81\xc2\x59\x0f\x00" + b"\xff" * 3840
    odd = [huge, cbor2.dumps([[float("nan")]]), cbor2.dumps([[1]]) + b"\0"]
    records = [(len(body).to_bytes(2, "little") + body).ljust(LENGTH, b"\0") for body in odd]
    found = lookups(monkeypatch, [encode_rows([[5]], LENGTH), None, *records]).query(
        "debts", list("abcde"), None
    )
    assert [answer["rows"] for answer in found["answers"]] == [[{"debt": 5}], [], [], [], []]
    assert [answer["found"] for answer in found["answers"]] == [True, False, False, False, False]
    json.dumps(found, allow_nan=False)
