"""Labelled randomness against HKDF and ChaCha20 of another library."""

from __future__ import annotations

import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from atoll.crypto.stream import stream_bytes
from atoll.errors import AtollError


def expected(seed: bytes, attempt: int, channel: str, step: str, length: int) -> bytes:
    labels = [struct.pack(">I", attempt), channel.encode(), step.encode()]
    info = b"".join(struct.pack(">I", len(label)) + label for label in labels)
    key = HKDF(SHA256(), 32, b"atoll stream v1", info).derive(seed)
    return Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(length))


@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 5000])
def test_the_stream_is_hkdf_and_chacha20(length):
    assert stream_bytes(b"s" * 32, 7, "c", "é", length) == expected(b"s" * 32, 7, "c", "é", length)


@pytest.mark.parametrize(
    ("seed", "attempt", "length"), [(b"", 0, 1), (b"s" * 32, 2**32, 1), (b"s" * 32, 0, -1)]
)
def test_bad_arguments_are_refused(seed, attempt, length):
    with pytest.raises(AtollError) as caught:
        stream_bytes(seed, attempt, "c", "s", length)
    assert caught.value.code == "E_FORMAT"
