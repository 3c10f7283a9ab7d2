"""Strict models of signed documents: parsed once, frozen, every field present, no field unknown.

A model reads the canonical JSON of a document and gives back exactly the same document, so that a digest may
be taken before or after. Text that could deceive a reader (control characters, bidirectional overrides) is
refused here, once for all documents.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from atoll.crypto import canonical, dsse
from atoll.crypto.suite import PublicKey, digest_bytes
from atoll.errors import AtollError

# [0-9] and no \d, which other scripts' digits match too.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z")
# Directional formatting characters of UAX #9: they can make a signed text read as another one.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse_time(text: str) -> datetime:
    """The aware UTC time of an RFC 3339 text with seconds and `Z`; `E_FORMAT` otherwise."""
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise AtollError("E_FORMAT", f"{text[:40]!r} is not a UTC time such as 2026-11-23T16:30:00Z")


def format_time(moment: datetime) -> str:
    """RFC 3339 UTC text with seconds; `E_FORMAT` for a time without a zone."""
    if moment.tzinfo is None:
        raise AtollError("E_FORMAT", "a time in a document needs a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(text: str) -> str:
    try:
        # A key has one spelling, so this is the very text.
        PublicKey.parse(text)
    except AtollError as error:
        raise ValueError(error.text) from None
    return text


# What nearly every digest is; any other algorithm is looked up.
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


def _digest(text: str) -> str:
    if _SHA256.fullmatch(text):
        return text
    try:
        digest_bytes(text)
    except AtollError as error:
        raise ValueError(error.text) from None
    return text


def _time(text: str) -> str:
    try:
        parse_time(text)
    except AtollError as error:
        raise ValueError(error.text) from None
    return text


def _readable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _BIDI for c in text):
        raise ValueError("control and directional characters are not allowed")
    return text


def _name(text: str) -> str:
    if text != text.strip():
        raise ValueError("a name has no space at its ends")
    return _readable(text)


Key = Annotated[str, StringConstraints(max_length=200), AfterValidator(_key)]
Digest = Annotated[str, StringConstraints(max_length=200), AfterValidator(_digest)]
Time = Annotated[str, StringConstraints(max_length=20), AfterValidator(_time)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_name)]
Text = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_readable)]
Amount = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,17})$")]
"""A whole number in minor units of a currency, as text."""
WholeNumber = Annotated[str, StringConstraints(pattern=r"^(0|-?[1-9][0-9]{0,38})$")]
"""A whole number of at most 39 digits, as text."""
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
AgreementId = Annotated[str, StringConstraints(pattern=r"^agr-[0-9a-f]{16}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^job-[0-9a-f]{32}$")]


class Document(BaseModel):
    """Base of every part of a signed document."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, document: Any, *, code: str = "E_FORMAT", what: str | None = None) -> Self:
        """The checked model of a JSON document.

        Raises:
            AtollError: `code`, naming the first wrong field and what is wrong with it.
        """
        what = what or cls.__name__.lower()
        try:
            data = canonical.dumps(document)
        except AtollError as error:
            raise AtollError(code, f"{what}: {error.text}.") from None
        return cls._checked(data, code, what)

    @classmethod
    def read(cls, data: bytes, *, what: str | None = None) -> Self:
        """The checked model of a document's canonical bytes; `E_FORMAT` names what is wrong.

        The same as `parse` of what they say, in half the time.
        """
        canonical.check(data)
        return cls._checked(data, "E_FORMAT", what or cls.__name__.lower())

    @classmethod
    def _checked(cls, data: bytes, code: str, what: str) -> Self:
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            cause = first["msg"].removeprefix("Value error, ")
            raise AtollError(code, f"{what}: {where}: {cause}.") from None

    def document(self) -> dict[str, Any]:
        """The JSON document that this model was parsed from."""
        return self.model_dump(mode="json", by_alias=True)


def document_digest(kind: str, document: Any) -> str:
    """The digest of a document of a kind: equal to `dsse.identifier` of its envelope, whoever signed it."""
    return dsse.identifier(dsse.sign(kind, document))


def require_unique(values: Any, what: str) -> None:
    """`ValueError` naming the first value that stands twice; for use in validators."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value!r} stands twice")
        seen.add(value)
