"""Canonical bytes: RFC 8785 JSON, read strictly.

Integers beyond 2^53, decimals and money travel as strings; floats are refused, since two languages print them
differently and nothing that is signed needs them.
"""

from __future__ import annotations

import json
from typing import Any

import rfc8785

from atoll.errors import AtollError

MAX_BYTES = 8 << 20
_MAX_INT = 2**53 - 1


def _check(value: Any, path: str) -> None:
    if isinstance(value, float):
        raise AtollError("E_FORMAT", f"{path}: floats are not allowed in signed documents")
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise AtollError("E_FORMAT", f"{path}: integers beyond 2^53 are written as strings")
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise AtollError("E_FORMAT", f"{path}: keys are strings")
            _check(item, f"{path}.{key}")
        return
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check(item, f"{path}[{i}]")
        return
    raise AtollError("E_FORMAT", f"{path}: {type(value).__name__} cannot be written in canonical JSON")


def dumps(value: Any) -> bytes:
    """Canonical bytes of a JSON value.

    Raises:
        AtollError: `E_FORMAT` for floats, integers beyond 2^53, or types that JSON does not have.
    """
    try:
        _check(value, "$")
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        # A lone surrogate, or nesting without end: a peer can send either.
        raise AtollError("E_FORMAT", f"cannot be written in canonical JSON: {error}") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("duplicate key")
    return out


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def loads(data: bytes) -> Any:
    """Reads canonical bytes; anything that does not re-encode to the same bytes is refused.

    Raises:
        AtollError: `E_FORMAT` if `data` is too large, not UTF-8 JSON, or not in canonical form.
    """
    if len(data) > MAX_BYTES:
        raise AtollError("E_TOO_LARGE", f"a document of {len(data)} bytes is over the limit of {MAX_BYTES}")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise AtollError("E_FORMAT", f"not a JSON document: {error}") from None
    if dumps(value) != data:
        raise AtollError("E_FORMAT", "the document is not in canonical form (RFC 8785)")
    return value
