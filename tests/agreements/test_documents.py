"""Strict documents: times, texts and hostile JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import canonical
from atoll.crypto.document import Document, Key, Name, document_digest, format_time, parse_time
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError


def code(function: Any, *args: Any) -> str:
    with pytest.raises(AtollError) as caught:
        function(*args)
    return caught.value.code


@settings(max_examples=50, deadline=None)
@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))
def test_times_round_trip_to_the_second(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


def test_times_in_other_forms_are_refused() -> None:
    for text in (
        "2026-11-23",
        "2026-11-23T16:30:00",
        "2026-11-23T16:30:00+00:00",
        "2026-13-01T00:00:00Z",
        "２０26",
    ):
        assert code(parse_time, text) == "E_FORMAT"
    assert code(format_time, datetime(2026, 1, 1)) == "E_FORMAT"
    east = datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=8)))
    assert format_time(east) == "2026-01-01T00:00:00Z"


def test_hostile_json_is_a_named_error() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "\ud800", {"\udfff": 1}, 1.5, 2**60, {1: 2}, b"x", object()):
        assert code(canonical.dumps, value) == "E_FORMAT"
    assert code(canonical.loads, b'"\\ud800"') == "E_FORMAT"
    assert code(canonical.loads, b"[" * 100_000) == "E_FORMAT"


class Sample(Document):
    """A small document."""

    key: Key
    name: Name


def test_documents_check_keys_and_names_and_know_no_other_field() -> None:
    key = str(SigningKey(bytes(32)).public)
    assert Sample.parse({"key": key, "name": "阿里"}).document() == {"key": key, "name": "阿里"}
    for wrong in (
        {"key": key},
        {"key": key, "name": "a", "x": 1},
        {"key": key.upper(), "name": "a"},
        {"key": key + "0", "name": "a"},
        {"key": key, "name": " a"},
        {"key": key, "name": ""},
        {"key": key, "name": "a\u2066b"},
        {"key": key, "name": 1},
        [],
        None,
    ):
        assert code(Sample.parse, wrong) == "E_FORMAT"


def test_a_digest_depends_on_the_kind() -> None:
    assert document_digest("plan/v1", {}) != document_digest("agreement/v1", {})
