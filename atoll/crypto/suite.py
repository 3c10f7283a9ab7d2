"""Algorithm suites: which hash and which signature a key identifier, digest or commitment was made with.

Every stored or sent digest, commitment, key and signature carries its algorithm's name
(`sha256:...`, `ed25519:...`), and this module is the only one that maps names to algorithms. A second suite
is added with `register`; no caller changes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from atoll import _core
from atoll.errors import AtollError

OPENING_BYTES = 16


@dataclass(frozen=True)
class Hash:
    """A hash function: `name` stands before the colon of every digest it makes."""

    name: str
    size: int
    run: Callable[[bytes], bytes]
    new: Callable[[], Any] = hashlib.sha256

    def mac(self, key: bytes, data: bytes) -> bytes:
        """HMAC of `data` with this hash (RFC 2104), as a pseudo-random function of `key`."""
        return hmac.new(key, data, self.new).digest()

    def file(self, file: BinaryIO) -> str:
        """Hex hash of what is left to read in `file`."""
        state = self.new()
        while piece := file.read(1 << 20):
            state.update(piece)
        return str(state.hexdigest())


@dataclass(frozen=True)
class Signature:
    """A signature algorithm over 32-byte seeds.

    `note_type` is the algorithm byte of a signed note's key (C2SP signed-note), `cosign_type` that of a
    timestamped cosignature (C2SP tlog-cosignature). `verify_many`, for an algorithm that has something faster
    than one by one, takes (key, message, signature) of any lengths and a number of threads, and gives the rising
    positions of those that `verify` refuses or that have a wrong length.
    """

    name: str
    public_size: int
    signature_size: int
    public: Callable[[bytes], bytes]
    sign: Callable[[bytes, bytes], bytes]
    verify: Callable[[bytes, bytes, bytes], bool]
    note_type: bytes = b"\x01"
    cosign_type: bytes = b"\x04"
    verify_many: Callable[[list[tuple[bytes, bytes, bytes]], int], list[int]] | None = None


@dataclass(frozen=True)
class Suite:
    """The algorithms that a node uses for what it makes itself."""

    name: str
    hash: Hash
    signature: Signature


_HASHES: dict[str, Hash] = {}
_SIGNATURES: dict[str, Signature] = {}
_SUITES: dict[str, Suite] = {}


def register(suite: Suite) -> None:
    """Makes a suite known. Registering the same name twice replaces it."""
    _HASHES[suite.hash.name] = suite.hash
    _SIGNATURES[suite.signature.name] = suite.signature
    _SUITES[suite.name] = suite


DEFAULT = Suite(
    "atoll-1",
    Hash("sha256", 32, lambda data: hashlib.sha256(data).digest()),
    Signature(
        "ed25519",
        32,
        64,
        _core.ed25519_public,
        _core.ed25519_sign,
        _core.ed25519_verify,
        verify_many=_core.ed25519_verify_many,
    ),
)
register(DEFAULT)


def suite(name: str) -> Suite:
    """The suite of that name; `E_FORMAT` if it is not known."""
    if name not in _SUITES:
        raise AtollError("E_FORMAT", f"unknown algorithm suite {name!r}")
    return _SUITES[name]


def _split(text: str, what: str) -> tuple[str, bytes]:
    name, colon, body = text.partition(":")
    try:
        raw = bytes.fromhex(body)
    except ValueError:
        raise AtollError("E_FORMAT", f"{what} is written as algorithm:hex") from None
    # `fromhex` reads capitals and spaces too; a value has one spelling.
    if not colon or raw.hex() != body:
        raise AtollError("E_FORMAT", f"{what} is written as algorithm:hex")
    return name, raw


def hash_named(name: str) -> Hash:
    """The hash of that name; `E_FORMAT` if it is not known."""
    if name not in _HASHES:
        raise AtollError("E_FORMAT", f"unknown hash algorithm {name!r}")
    return _HASHES[name]


def digest(data: bytes, using: Suite = DEFAULT) -> str:
    """`algorithm:hex` of the hash of `data`."""
    return f"{using.hash.name}:{using.hash.run(data).hex()}"


def digest_parts(parts: Iterable[bytes], using: Suite = DEFAULT) -> str:
    """`algorithm:hex` of the hash of all parts one after the other."""
    state = using.hash.new()
    for part in parts:
        state.update(part)
    return f"{using.hash.name}:{state.hexdigest()}"


def digest_file(path: Path, using: Suite = DEFAULT) -> str:
    """`algorithm:hex` of the hash of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return f"{using.hash.name}:{using.hash.file(file)}"


def check_digest(data: bytes, expected: str) -> bool:
    """True when `expected` (with any known algorithm) is the digest of `data`; constant time in the bytes."""
    name, want = _split(expected, "a digest")
    return hmac.compare_digest(hash_named(name).run(data), want)


def digest_bytes(text: str) -> bytes:
    """The raw bytes of an `algorithm:hex` digest or commitment, its length checked."""
    name, body = _split(text, "a digest")
    if len(body) != hash_named(name).size:
        raise AtollError("E_FORMAT", f"a {name} digest has {hash_named(name).size} bytes")
    return body


def opening() -> bytes:
    """A fresh 128-bit opening from the operating system."""
    return os.urandom(OPENING_BYTES)


def commit(data: bytes, opening: bytes, using: Suite = DEFAULT) -> str:
    """`algorithm:hex` commitment to `data` under a 128-bit random opening.

    Hiding as long as the opening is secret (the hash as a random oracle), binding by collision resistance.
    """
    if len(opening) != OPENING_BYTES:
        raise AtollError("E_FORMAT", f"an opening has {OPENING_BYTES} bytes")
    return f"{using.hash.name}:{using.hash.run(b'atoll commitment v1' + opening + data).hex()}"


def check_commitment(data: bytes, opening: bytes, expected: str) -> bool:
    """True when `expected` opens to `data` with `opening`."""
    name, want = _split(expected, "a commitment")
    if len(opening) != OPENING_BYTES:
        return False
    return hmac.compare_digest(hash_named(name).run(b"atoll commitment v1" + opening + data), want)


@dataclass(frozen=True)
class PublicKey:
    """A signature key that names its algorithm. `str(key)` is its identifier everywhere."""

    algorithm: str
    raw: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Reads `algorithm:hex`; `E_FORMAT` if the algorithm is unknown or the length is wrong."""
        return _read_key(text)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.raw.hex()}"

    @property
    def scheme(self) -> Signature:
        """The signature algorithm of this key."""
        return _SIGNATURES[self.algorithm]

    def verify(self, message: bytes, signature: bytes) -> bool:
        """True when `signature` over `message` verifies under this key."""
        scheme = self.scheme
        if len(self.raw) != scheme.public_size or len(signature) != scheme.signature_size:
            return False
        return scheme.verify(self.raw, message, signature)


def verify_many(items: Sequence[tuple[PublicKey, bytes, bytes]], threads: int = 1) -> list[int]:
    """Which of many (key, message, signature) do not verify: their positions, rising; empty if all do.

    Says of each what `PublicKey.verify` says of it alone, whatever `threads` (1 to 1024) is. Ed25519 has batches:
    a third of the cost for the signatures of few keys, six tenths if every key is another, more than the cost of
    one by one (at most three times) if many are bad.

    Raises:
        AtollError: `E_FORMAT` if `threads` is out of range.
    """
    if not 1 <= threads <= 1024:
        raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}")
    positions: dict[str, list[int]] = {}
    for at, (key, _, _) in enumerate(items):
        positions.setdefault(key.algorithm, []).append(at)
    failed: list[int] = []
    for algorithm, group in positions.items():
        together = _SIGNATURES[algorithm].verify_many
        if together is None:
            failed += (at for at in group if not items[at][0].verify(*items[at][1:]))
        else:
            raw = [(key.raw, message, signature) for key, message, signature in (items[at] for at in group)]
            failed += (group[at] for at in together(raw, threads))
    return sorted(failed)


# The same few keys stand in every document of a file of thousands.
@lru_cache(maxsize=4096)
def _read_key(text: str) -> PublicKey:
    name, raw = _split(text, "a key")
    if name not in _SIGNATURES or len(raw) != _SIGNATURES[name].public_size:
        raise AtollError("E_FORMAT", f"not a public key of a known algorithm: {text[:80]!r}")
    return PublicKey(name, raw)


class SigningKey:
    """A secret signature key: a 32-byte seed of a suite's algorithm. Its `repr` shows only the public part."""

    def __init__(self, seed: bytes, using: Suite = DEFAULT) -> None:
        if len(seed) != 32:
            raise AtollError("E_FORMAT", "a signing seed has 32 bytes")
        self._seed = seed
        self.suite = using
        self.public = PublicKey(using.signature.name, using.signature.public(seed))

    @classmethod
    def generate(cls, using: Suite = DEFAULT) -> SigningKey:
        """A new key from the operating system's randomness."""
        return cls(os.urandom(32), using)

    @property
    def seed(self) -> bytes:
        """The secret seed, for encrypted storage only."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """Signature over `message`."""
        return self.suite.signature.sign(self._seed, message)

    def __repr__(self) -> str:
        return f"SigningKey({self.public})"
