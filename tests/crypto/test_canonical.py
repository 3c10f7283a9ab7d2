"""Canonical JSON against `rfc8785`, an independent implementation of RFC 8785."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import canonical
from atoll.errors import AtollError

MAX = 2**53 - 1
# The ends of the ranges in which UTF-16 and UTF-8 order differ, every escape, and anything else.
TEXT = st.text(
    st.sampled_from('\x00\x07\b\t\n\f\r\x1f "\\/aé\x7f\x80中\ud7ff\ue000\uffff\U00010000😀\U0010ffff'),
    max_size=5,
) | st.text(max_size=12)
SCALAR = st.none() | st.booleans() | st.integers(-MAX, MAX) | st.integers(-3, 3) | TEXT
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=25,
)
NESTED = st.builds(
    lambda value, keys: nested(value, keys), VALUE, st.lists(st.none() | TEXT, min_size=40, max_size=60)
)
MANY = settings(max_examples=300, deadline=None)


def nested(value: Any, keys: list[str | None]) -> Any:
    for key in keys:
        value = [value] if key is None else {key: value}
    return value


def refusal(function: Any, value: Any) -> str:
    with pytest.raises(AtollError) as caught:
        function(value)
    assert caught.value.code == "E_FORMAT"
    return caught.value.text


def same(a: Any, b: Any) -> bool:
    """Equality that tells True from 1 and a list from a tuple."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@MANY
@given(VALUE | NESTED)
def test_bytes_are_those_of_the_other_implementation_and_read_back(value: Any) -> None:
    data = canonical.dumps(value)
    assert data == rfc8785.dumps(value)
    assert same(canonical.loads(data), value)
    assert same(canonical.loads(data), json.loads(data))


@MANY
@given(VALUE, st.data())
def test_a_changed_byte_is_refused_or_makes_another_canonical_document(
    value: Any, data: st.DataObject
) -> None:
    good = canonical.dumps(value)
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.integers(0, 255) | st.sampled_from(b' \n"\\/,:[]{}0-.eEu'))
    bad = good[:at] + bytes([other]) + good[at + 1 :]
    code = ""
    try:
        found = canonical.loads(bad)
    except AtollError as error:
        code = error.code
    if code:
        assert code == "E_FORMAT"
        assert refusal(canonical.check, bad) == refusal(canonical.loads, bad)
        return
    canonical.check(bad)
    assert bad == good or not same(found, value)
    assert canonical.dumps(found) == rfc8785.dumps(found) == bad


@MANY
@given(VALUE, st.randoms(use_true_random=False))
def test_the_order_in_which_keys_were_put_does_not_matter(value: Any, random: Any) -> None:
    def shuffled(part: Any) -> Any:
        if isinstance(part, dict):
            return dict(random.sample([(key, shuffled(item)) for key, item in part.items()], len(part)))
        return [shuffled(item) for item in part] if isinstance(part, list) else part

    assert canonical.dumps(shuffled(value)) == canonical.dumps(value)


# RFC 8785: the objects of sections 3.2.2 and 3.2.3, without the floats of the first.


def test_the_texts_and_literals_of_the_rfc() -> None:
    value = {"string": '€$\u000f\nA\'B"\\\\"/', "literals": [None, True, False]}
    want = r'{"literals":[null,true,false],"string":"€$\u000f\nA' + "'" + r'B\"\\\\\"/"}'
    assert canonical.dumps(value).decode() == want
    assert canonical.loads(want.encode()) == value


def test_the_key_order_of_the_rfc() -> None:
    names = {
        "€": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "😀": "Emoji: Grinning Face",
        "\u0080": "Control",
        "ö": "Latin Small Letter O With Diaeresis",
    }
    assert list(canonical.loads(canonical.dumps(names)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


# Subclasses are written as what their base stores.


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not this"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Colour(str, enum.Enum):  # noqa: UP042 - its str() is not its text
    RED = "red"


class Plain(enum.StrEnum):
    BLUE = "blue"


class Number(enum.IntEnum):
    SEVEN = 7


class Count(int):
    def __index__(self) -> int:
        raise AssertionError

    def __str__(self) -> str:
        return "not this"


class Rows(list[int]):
    pass


Pair = namedtuple("Pair", ["left", "right"])


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (Word("a"), b'"a"'),
        ({Word("k"): Word("v")}, b'{"k":"v"}'),
        (Colour.RED, b'"red"'),
        ({Colour.RED: Plain.BLUE}, b'{"red":"blue"}'),
        (Number.SEVEN, b"7"),
        (Count(3), b"3"),
        ([True, False, 1, 0], b"[true,false,1,0]"),
        (Rows([1, 2]), b"[1,2]"),
        ((1, (2, [])), b"[1,[2,[]]]"),
        (Pair(1, "x"), b'[1,"x"]'),
        (OrderedDict(b=1, a=2), b'{"a":2,"b":1}'),
        (defaultdict(int, b=1, a=2), b'{"a":2,"b":1}'),
    ],
)
def test_subclasses(value: Any, want: bytes) -> None:
    assert canonical.dumps(value) == want == rfc8785.dumps(value)


def test_two_keys_of_one_text_are_refused() -> None:
    assert refusal(canonical.dumps, {"a": {Word("k"): 1, Word("k"): 2}}) == '$.a: the key "k" stands twice'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "$: floats are not allowed in signed documents"),
        ({"a": [0, 1, 2, float("nan")]}, "$.a[3]: floats are not allowed in signed documents"),
        ([{"b": {"c": 2**53}}], "$[0].b.c: integers beyond 2^53 are written as strings"),
        (-(2**53), "$: integers beyond 2^53 are written as strings"),
        ((10**400,), "$[0]: integers beyond 2^53 are written as strings"),
        (Count(2**53), "$: integers beyond 2^53 are written as strings"),
        ({"a": {1: 2}}, "$.a: keys are strings"),
        ({None: 2}, "$: keys are strings"),
        ({"a": b"x"}, "$.a: bytes cannot be written in canonical JSON"),
        ({"a": {1}}, "$.a: set cannot be written in canonical JSON"),
        ([1, object()], "$[1]: object cannot be written in canonical JSON"),
        (["\ud800"], "$[0]: a lone surrogate cannot be written in canonical JSON"),
        ({"a": {"\udfff": 1}}, "$.a: a lone surrogate cannot be written in canonical JSON"),
        ("\ud83d\ude00", "$: a lone surrogate cannot be written in canonical JSON"),
        ({"k" * 200: 0.0}, f"$.{'k' * 80}…: floats are not allowed in signed documents"),
        ({"\x1b[2J\n中": 0.0}, r"$.\u{1b}[2J\n中: floats are not allowed in signed documents"),
    ],
)
def test_what_cannot_be_written_is_named_with_its_path(value: Any, text: str) -> None:
    assert refusal(canonical.dumps, value) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a":[0,1.0]}', "$.a[1]: floats are not allowed in signed documents"),
        (b"-0", "$: floats are not allowed in signed documents"),
        (b"[9007199254740992]", "$[0]: integers beyond 2^53 are written as strings"),
        (b"9" * 5000, None),
        (b'{"a":1,"a":1}', '$: the key "a" stands twice'),
        ('{"\ufb33":1,"😀":1}'.encode(), '$: the key "😀" is not in canonical order (RFC 8785)'),
        (b'{"a": 1}', "the document is not in canonical form (RFC 8785) at byte 5"),
        (b'"\\u000A"', "the document is not in canonical form (RFC 8785) at byte 2"),
        (b"1\n", "the document is not in canonical form (RFC 8785) at byte 1"),
        (b"[1,]", None),
        (b"NaN", None),
        (b"-Infinity", None),
        (b"", None),
        (b"\xff", None),
        (b'"\xed\xa0\x80"', None),
        (b'"\\ud800"', None),
        (b"\xef\xbb\xbf1", None),
        ('{"a":1}'.encode("utf-16"), None),
    ],
)
def test_what_is_not_canonical_is_refused_with_the_reason(data: bytes, text: str | None) -> None:
    found = refusal(canonical.loads, data)
    assert found == text if text else found.startswith("not a JSON document: ")
    assert refusal(canonical.check, data) == found


def test_nesting_ends_at_the_same_depth_in_both_directions() -> None:
    deepest = nested(0, [None, "a"] * 50)
    assert canonical.loads(canonical.dumps(deepest)) == deepest
    for too_deep in ([deepest], {"a": deepest}):
        assert "more than 100 lists and objects inside each other" in refusal(canonical.dumps, too_deep)
        assert "more than 100 lists and objects inside each other" in refusal(
            canonical.loads, rfc8785.dumps(too_deep)
        )
    endless: list[Any] = []
    endless.append(endless)
    assert "more than 100" in refusal(canonical.dumps, endless)


def test_a_document_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        canonical.loads(b" " * (canonical.MAX_BYTES + 1))
    largest = b'"' + b"a" * (canonical.MAX_BYTES - 2) + b'"'
    assert len(canonical.loads(largest)) == canonical.MAX_BYTES - 2
