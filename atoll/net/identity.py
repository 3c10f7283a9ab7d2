"""Who a node is: an Ed25519 identity, a TLS key beside it, and the signed statement that binds the two."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from atoll.crypto import dsse
from atoll.crypto.suite import PublicKey, SigningKey, digest, digest_bytes
from atoll.errors import AtollError

IDENTITY_FILE = "identity.pem"
TLS_DAYS = 825
STATEMENT_KIND, STATEMENT_FORMAT = "key/v1", "atoll.key/v1"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TLS_FILE = re.compile(r"tls(?:-([1-9][0-9]{0,5}))?\.crt")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})")


def write_time(time: datetime) -> str:
    """RFC 3339 in UTC with seconds."""
    return time.astimezone(UTC).strftime(_TIME)


def read_time(text: Any) -> datetime:
    """Reads what `write_time` writes, and only that; else `E_FORMAT`."""
    try:
        time = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise AtollError("E_FORMAT", "a time is written as 2026-11-23T16:30:00Z") from None
    if write_time(time) != text:
        raise AtollError("E_FORMAT", "a time is written as 2026-11-23T16:30:00Z")
    return time


def check_name(name: Any) -> str:
    """A display name: 1 to 64 characters, none of them a control character; else `E_FORMAT`."""
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= 64
        or not name.isprintable()
        or name != name.strip()
    ):
        raise AtollError("E_FORMAT", "a name has 1 to 64 printable characters")
    return name


def parse_address(address: Any) -> tuple[str, int]:
    """Host and port of `host:port` (an IPv6 host in brackets); else `E_FORMAT`."""
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if match is None or not 0 < int(match[2]) < 65536:
        raise AtollError("E_FORMAT", f"an address is written as host:port, not {str(address)[:80]!r}")
    return match[1].strip("[]"), int(match[2])


@dataclass(frozen=True)
class TlsIdentity:
    """A self-signed certificate (DER) and its key (PKCS#8 DER). `repr` shows no secret."""

    certificate: bytes
    private_key: bytes
    not_before: datetime
    not_after: datetime

    @property
    def fingerprint(self) -> str:
        """`sha256:…` of the certificate: what peers pin."""
        return digest(self.certificate)

    def __repr__(self) -> str:
        return f"TlsIdentity({self.fingerprint})"


def _tls_from(key: Any, certificate: x509.Certificate) -> TlsIdentity:
    return TlsIdentity(
        certificate.public_bytes(serialization.Encoding.DER),
        key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


_CLOCKS_DIFFER = timedelta(days=2)


def make_tls(now: datetime, days: int) -> TlsIdentity:
    """A new ECDSA P-256 key with a self-signed certificate, valid from two days before `now` to `days` days after.

    Partners pin the key itself, so the beginning protects nothing; a partner whose clock is hours behind may use it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "atoll")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _tls_from(key, certificate)


def ephemeral_tls(now: datetime, days: int = 30) -> TlsIdentity:
    """A worker's certificate for one job. It is never written to a disk."""
    return make_tls(now, days)


def _write_private(path: Path, data: bytes) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _encrypted(key: Any, passphrase: str) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode()),
        )
    )


def _decrypted(path: Path, passphrase: str) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AtollError("E_CONFIG", f"cannot read the key file {path}: {error.strerror}") from None
    try:
        return serialization.load_pem_private_key(data, passphrase.encode())
    except ValueError as error:
        if b"ENCRYPTED PRIVATE KEY" not in data:
            raise AtollError("E_CONFIG", f"{path} is not an encrypted key file: {error}") from None
        raise AtollError("E_PASSPHRASE", f"the passphrase does not open {path}") from None
    except TypeError:
        raise AtollError("E_CONFIG", f"{path} is not encrypted; keys are kept encrypted") from None


class NodeKeys:
    """The keys of a node, in a folder of mode 0700 as encrypted PKCS#8 files of mode 0600.

    `tls` is the newest TLS key, which this node states of itself. While `older` is there too, partners that still
    pin that one are answered with it.
    """

    def __init__(self, signing: SigningKey, tls: TlsIdentity, older: TlsIdentity | None = None) -> None:
        self.signing = signing
        self.tls = tls
        self.older = older

    @property
    def identity(self) -> str:
        """`ed25519:…`: the node's identifier everywhere."""
        return str(self.signing.public)

    def views(self, now: datetime) -> tuple[NodeKeys, ...]:
        """These keys with one TLS key each, the newest first; an older one until its end."""
        newest = NodeKeys(self.signing, self.tls)
        if self.older is None or self.older.not_after <= now:
            return (newest,)
        return newest, NodeKeys(self.signing, self.older)

    @classmethod
    def create(cls, folder: Path, passphrase: str, now: datetime, tls_days: int = TLS_DAYS) -> NodeKeys:
        """Makes and stores new keys.

        Raises:
            AtollError: `E_PASSPHRASE` for an empty passphrase; `E_CONFLICT` if the folder holds keys.
        """
        if not passphrase:
            raise AtollError("E_PASSPHRASE", "keys are kept encrypted: a passphrase cannot be empty")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if (folder / IDENTITY_FILE).exists():
            raise AtollError("E_CONFLICT", f"{folder} already holds a node's keys")
        signing = SigningKey.generate()
        cls._store_tls(folder, passphrase, tls := make_tls(now, tls_days))
        _write_private(
            folder / IDENTITY_FILE,
            _encrypted(ed25519.Ed25519PrivateKey.from_private_bytes(signing.seed), passphrase),
        )
        return cls(signing, tls)

    @classmethod
    def load(cls, folder: Path, passphrase: str) -> NodeKeys:
        """Opens stored keys; `E_PASSPHRASE` for a wrong passphrase, `E_CONFIG` for missing or foreign
        files."""
        identity = _decrypted(folder / IDENTITY_FILE, passphrase)
        if not isinstance(identity, ed25519.Ed25519PrivateKey):
            raise AtollError("E_CONFIG", f"the files in {folder} do not belong together")
        # A TLS key that was being renewed when the power failed has no certificate yet, and is no key.
        found = [cls._load_tls(folder, number, passphrase) for number in _tls_numbers(folder)[-2:]]
        if not found:
            raise AtollError("E_CONFIG", f"there is no TLS certificate in {folder}")
        older = found[0] if len(found) > 1 else None
        return cls(SigningKey(identity.private_bytes_raw()), found[-1], older)

    @classmethod
    def renew_tls(cls, folder: Path, passphrase: str, now: datetime, tls_days: int = TLS_DAYS) -> NodeKeys:
        """Makes a new TLS key beside the present one, which becomes the older one; both are kept.

        The key is written before its certificate, and counts once that is there: a crash leaves the keys as they
        were, or renewed.

        Raises:
            AtollError: as `load`; `E_STATE` if there are two TLS keys already and the older one has not ended.
        """
        keys = cls.load(folder, passphrase)
        if keys.older is not None:
            if keys.older.not_after > now:
                raise AtollError(
                    "E_STATE",
                    f"there are two TLS keys already; partners may pin the older one until "
                    f"{write_time(keys.older.not_after)}",
                    fault="operator",
                    cure="Drop it first, `atoll keys drop-old-tls`: partners that still pin it are cut off.",
                )
            cls.drop_older(folder, passphrase)
        tls = make_tls(now, tls_days)
        cls._store_tls(folder, passphrase, tls, _tls_numbers(folder)[-1] + 1)
        return cls(keys.signing, tls, keys.tls)

    @classmethod
    def drop_older(cls, folder: Path, passphrase: str) -> NodeKeys:
        """Deletes all TLS keys but the newest, and what a crash left of others; `E_STATE` if there is nothing.

        Errors as `load`.
        """
        keys = cls.load(folder, passphrase)
        kept = _tls_files(folder, _tls_numbers(folder)[-1])
        stale = [path for path in folder.glob("tls*") if path not in kept]
        if not stale:
            raise AtollError("E_STATE", f"there is only one TLS key in {folder}", fault="operator")
        # Certificates first: a crash leaves a key without certificate, which is none.
        for path in sorted(stale, key=lambda path: path.suffix != ".crt"):
            path.unlink(missing_ok=True)
        return cls(keys.signing, keys.tls)

    @staticmethod
    def _load_tls(folder: Path, number: int, passphrase: str) -> TlsIdentity:
        key_file, certificate_file = _tls_files(folder, number)
        key = _decrypted(key_file, passphrase)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except (OSError, ValueError) as error:
            raise AtollError("E_CONFIG", f"cannot read {certificate_file}: {error}") from None
        if key.public_key() != certificate.public_key():
            raise AtollError("E_CONFIG", f"the files in {folder} do not belong together")
        return _tls_from(key, certificate)

    @staticmethod
    def _store_tls(folder: Path, passphrase: str, tls: TlsIdentity, number: int = 1) -> None:
        key_file, certificate_file = _tls_files(folder, number)
        key = serialization.load_der_private_key(tls.private_key, None)
        certificate = x509.load_der_x509_certificate(tls.certificate)
        _write_private(key_file, _encrypted(key, passphrase))
        _write_private(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))


def stored_tls(folder: Path) -> list[tuple[str, datetime]]:
    """Fingerprint and end of each TLS key in a folder, the newest first, without opening a key; `E_CONFIG`."""
    found = []
    for number in reversed(_tls_numbers(folder)):
        path = _tls_files(folder, number)[1]
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise AtollError("E_CONFIG", f"cannot read {path}: {error}") from None
        der = certificate.public_bytes(serialization.Encoding.DER)
        found.append((digest(der), certificate.not_valid_after_utc))
    return found


def _tls_files(folder: Path, number: int) -> tuple[Path, Path]:
    """Key and certificate of the TLS key of that number, 1 for the first."""
    stem = "tls" if number == 1 else f"tls-{number}"
    return folder / f"{stem}.pem", folder / f"{stem}.crt"


def _tls_numbers(folder: Path) -> list[int]:
    """Numbers of the TLS keys in a folder, the newest last."""
    found = (_TLS_FILE.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match[1] or 1) for match in found if match)


@dataclass(frozen=True)
class KeyStatement:
    """What a node says of itself, signed by its identity: `tls` is the fingerprint that peers pin."""

    name: str
    identity: str
    tls: str
    address: str | None
    issued: datetime
    not_after: datetime
    envelope: dsse.Envelope


def key_statement(keys: NodeKeys, name: str, address: str | None, now: datetime) -> dsse.Envelope:
    """The signed statement (kind `key/v1`) that binds the TLS key to the identity until the certificate
    ends."""
    if address is not None:
        parse_address(address)
    document = {
        "format": STATEMENT_FORMAT,
        "name": check_name(name),
        "identity": keys.identity,
        "tls": keys.tls.fingerprint,
        "address": address,
        "issued": write_time(now),
        "not_after": write_time(keys.tls.not_after),
    }
    return dsse.sign(STATEMENT_KIND, document, keys.signing)


def _claimed_identity(envelope: dsse.Envelope) -> PublicKey:
    dsse.payload_bytes(envelope)
    if len(envelope["signatures"]) != 1:
        raise AtollError("E_FORMAT", "a key statement carries one signature")
    return PublicKey.parse(envelope["signatures"][0]["keyid"])


def read_key_statement(envelope: Any, now: datetime | None) -> KeyStatement:
    """Verifies a statement and its form.

    Args:
        envelope: what the peer sent.
        now: time at which the statement must be valid; None for a stored one whose date does not matter.

    Raises:
        AtollError: `E_FORMAT`, `E_SIGNATURE`, or `E_PEER_EXPIRED`.
    """
    identity = _claimed_identity(envelope)
    document = dsse.verify(STATEMENT_KIND, envelope, [identity])
    fields = {"format", "name", "identity", "tls", "address", "issued", "not_after"}
    if not isinstance(document, dict) or set(document) != fields or document["format"] != STATEMENT_FORMAT:
        raise AtollError("E_FORMAT", "not a key statement of a known version")
    if document["identity"] != str(identity) or not isinstance(document["tls"], str):
        raise AtollError("E_SIGNATURE", "the key statement is signed by another key than it names")
    digest_bytes(document["tls"])
    if document["address"] is not None:
        parse_address(document["address"])
    statement = KeyStatement(
        check_name(document["name"]),
        document["identity"],
        document["tls"],
        document["address"],
        read_time(document["issued"]),
        read_time(document["not_after"]),
        envelope,
    )
    if now is not None and now >= statement.not_after:
        raise AtollError(
            "E_PEER_EXPIRED",
            f"the key of {statement.name} ended at {document['not_after']}",
            party=statement.identity,
        )
    return statement
