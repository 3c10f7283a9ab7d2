"""Canonical bytes: RFC 8785 JSON, read strictly.

Integers beyond 2^53, decimals and money travel as strings; floats are refused, since two languages print them
differently and nothing that is signed needs them. At most 100 lists and objects stand inside each other.
"""

from __future__ import annotations

from typing import Any

from atoll import _core
from atoll.errors import AtollError

MAX_BYTES = 8 << 20


def dumps(value: Any) -> bytes:
    """Canonical bytes of a JSON value: dict with str keys, list, tuple, str, int, bool, None, and their subclasses.

    A subclass is written as what its built-in base stores: an enum of str as its text, of int as its number.

    Raises:
        AtollError: `E_FORMAT`, naming the path (`$.rows[3]`), for floats, integers beyond 2^53, lone surrogates,
            types that JSON does not have, or more than 100 lists and objects inside each other.
    """
    try:
        return _core.canonical_encode(value)
    except _core.CoreError as error:
        raise AtollError(*error.args) from None


def check(data: bytes) -> None:
    """Refuses what `loads` refuses, and reads nothing: for bytes that another reader takes in."""
    if len(data) > MAX_BYTES:
        raise AtollError("E_TOO_LARGE", f"a document of {len(data)} bytes is over the limit of {MAX_BYTES}")
    try:
        _core.canonical_check(data)
    except _core.CoreError as error:
        raise AtollError(*error.args) from None


def loads(data: bytes) -> Any:
    """Reads canonical bytes; anything that does not re-encode to the same bytes is refused.

    Raises:
        AtollError: `E_TOO_LARGE` over `MAX_BYTES`; `E_FORMAT` if `data` is not UTF-8 JSON, not in canonical form
            (naming the first byte that is not), or not a value that `dumps` takes (naming its path).
    """
    if len(data) > MAX_BYTES:
        raise AtollError("E_TOO_LARGE", f"a document of {len(data)} bytes is over the limit of {MAX_BYTES}")
    try:
        return _core.canonical_decode(data)
    except _core.CoreError as error:
        raise AtollError(*error.args) from None
