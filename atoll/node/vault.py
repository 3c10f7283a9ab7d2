"""Encryption of small secrets at rest, under a key that follows from the node's identity key."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from atoll.errors import AtollError

_ALGORITHM = b"\x01"  # AES-256-GCM, random 96-bit nonce


class Vault:
    """Seals and opens secrets of this node. The label binds a secret to its place."""

    def __init__(self, identity_seed: bytes) -> None:
        key = HKDF(SHA256(), 32, salt=None, info=b"atoll vault v1").derive(identity_seed)
        self._aead = AESGCM(key)
        self._root = HKDF(SHA256(), 32, salt=None, info=b"atoll vault v1 keys").derive(identity_seed)

    def seal(self, label: str, secret: bytes) -> bytes:
        """Algorithm byte, nonce and ciphertext."""
        nonce = os.urandom(12)
        return _ALGORITHM + nonce + self._aead.encrypt(nonce, secret, label.encode())

    def derive(self, label: str) -> bytes:
        """The seed of a vault of its own, 32 bytes, for a worker that shall open what is sealed there and no more."""
        return HKDF(SHA256(), 32, salt=None, info=label.encode()).derive(self._root)

    def open(self, label: str, sealed: bytes) -> bytes:
        """The secret; `E_PASSPHRASE` if it was sealed by another node or changed."""
        try:
            if sealed[:1] != _ALGORITHM:
                raise InvalidTag
            return self._aead.decrypt(sealed[1:13], sealed[13:], label.encode())
        except (InvalidTag, ValueError):
            raise AtollError(
                "E_PASSPHRASE", f"the stored secret {label!r} was not sealed by this node's key"
            ) from None
