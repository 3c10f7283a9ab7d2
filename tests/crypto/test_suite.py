"""Keys, digests and commitments as text: one value has one spelling."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atoll.crypto.suite import (
    PublicKey,
    SigningKey,
    check_commitment,
    check_digest,
    commit,
    digest,
    digest_bytes,
)
from atoll.errors import AtollError

KEY = str(SigningKey(b"\x01" * 32).public)
OPENING = bytes(16)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (KEY, PublicKey.parse),
        (digest(b"data"), digest_bytes),
        (digest(b"data"), lambda text: check_digest(b"data", text)),
        (commit(b"data", OPENING), lambda text: check_commitment(b"data", OPENING, text)),
    ],
)
def test_another_spelling_is_refused(text: str, read: Callable[[str], object]) -> None:
    assert read(text)
    name, body = text.split(":")
    spellings = (
        f"{name}:{body.upper()}", f"{name}: {body}", f"{name}:{body} ", f"{name}:{body[:2]} {body[2:]}",
        f"{name}:{body}\n", f"{name}:0x{body}", f"{name}:{body[:-1]}", f"{name}{body}", "",
    )  # fmt: skip
    for other in spellings:
        with pytest.raises(AtollError, match="E_FORMAT"):
            read(other)
