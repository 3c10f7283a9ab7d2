"""Frames and bodies: one form each, everything else refused."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.wire import Frame, Kind, decode_body, decode_frames, encode_body, encode_frame
from atoll.errors import AtollError

LIMIT = 1 << 16
FRAMES = st.builds(
    Frame,
    st.sampled_from(sorted(Kind)),
    st.text(max_size=16),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.text(max_size=32),
    st.binary(max_size=200),
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(FRAMES, max_size=4))
def test_frames_come_back(frames: list[Frame]) -> None:
    data = b"".join(encode_frame(frame, LIMIT) for frame in frames)
    assert decode_frames(data, LIMIT) == frames


@given(FRAMES, st.data())
def test_a_truncated_or_damaged_frame_is_refused_or_is_another_frame(
    frame: Frame, data: st.DataObject
) -> None:
    good = encode_frame(frame, LIMIT)
    cut = data.draw(st.integers(1, len(good) - 1))
    with pytest.raises(AtollError, match="E_WIRE"):
        decode_frames(good[:cut], LIMIT)
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert b"".join(encode_frame(f, LIMIT) for f in decode_frames(bytes(bad), LIMIT)) == bytes(bad)
    except AtollError as error:
        if error.code not in ("E_WIRE", "E_TOO_LARGE"):
            raise


def test_limits() -> None:
    frame = Frame(9, "psi", 0, 0, True, "", bytes(LIMIT))
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        encode_frame(frame, LIMIT)
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        decode_frames((LIMIT + 1).to_bytes(4, "big"), LIMIT)
    for name, step in (("n" * 65, ""), ("", "s" * 129)):
        with pytest.raises(AtollError, match="E_WIRE"):
            encode_frame(frame._replace(name=name, step=step, payload=b""), LIMIT)


@given(PLAIN)
@settings(max_examples=100)
def test_bodies_come_back(value: Any) -> None:
    assert decode_body(encode_body(value)) == value


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": {1, 2}}, 2**70, object(), float("nan")])
def test_a_body_that_is_not_plain_is_not_encoded(value: Any) -> None:
    with pytest.raises(AtollError, match="E_FORMAT"):
        encode_body(value)


def test_deep_nesting_is_refused_both_ways() -> None:
    deep: Any = 0
    for _ in range(17):
        deep = [deep]
    with pytest.raises(AtollError, match="E_FORMAT"):
        encode_body(deep)
    with pytest.raises(AtollError, match="E_WIRE"):
        decode_body(cbor2.dumps(deep))
    with pytest.raises(AtollError, match="E_WIRE"):
        decode_body(b"\x81" * 100_000 + b"\x00")


@given(st.binary(max_size=40))
@settings(max_examples=100)
def test_any_bytes_are_a_body_in_one_form_or_refused(data: bytes) -> None:
    try:
        assert encode_body(decode_body(data)) == data
    except AtollError as error:
        if error.code != "E_WIRE":
            raise
