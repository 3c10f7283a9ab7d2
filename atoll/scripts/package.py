"""A package: the manifest and its files in one document that its author signs.

Kind `script/v1`. The digest of the document names the package everywhere: in consents, plans, decisions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from atoll.crypto import canonical, dsse
from atoll.crypto.document import Document, Key, Name, document_digest
from atoll.crypto.suite import digest
from atoll.errors import AtollError
from atoll.scripts.manifest import Manifest

KIND = "script/v1"
FORMAT = "atoll.package/v1"
# Encoded twice, so many bytes fit into one message between nodes.
MAX_FILES = 3 << 20
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


def _decode(name: str, text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"files.{name}: not base64") from None
    if base64.b64encode(data).decode() != text:
        raise ValueError(f"files.{name}: not base64 in its one form")
    return data


class Package(Document):
    """A manifest by an author, and exactly the files that it names, in base64."""

    format: Literal["atoll.package/v1"]
    author: Key
    manifest: Manifest
    files: Annotated[dict[Name, Base64], Field(max_length=64)]

    @model_validator(mode="after")
    def _validate(self) -> Self:
        missing = sorted(set(self.manifest.files) - self.files.keys())
        extra = sorted(self.files.keys() - set(self.manifest.files))
        if missing or extra:
            raise ValueError(
                f"files: {missing[0]} is missing" if missing else f"files: nothing names {extra[0]}"
            )
        if sum(len(_decode(name, text)) for name, text in self.files.items()) > MAX_FILES:
            raise ValueError(f"files: over {MAX_FILES >> 20} MiB together")
        return self

    @property
    def contents(self) -> dict[str, bytes]:
        """The bytes of each file."""
        return {name: base64.b64decode(text) for name, text in self.files.items()}

    @property
    def content(self) -> str:
        """The digest of manifest and files alone: the same for a folder and for the package that was made of it."""
        return digest(canonical.dumps({"manifest": self.manifest.document(), "files": dict(self.files)}))

    @property
    def digest(self) -> str:
        """What names this package."""
        return document_digest(KIND, self.document())


def build(manifest: Manifest, files: Mapping[str, bytes], author: str) -> Package:
    """The package document of an author; `E_SCRIPT` if files are missing, too many or too large."""
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return Package.parse(
        {"format": FORMAT, "author": author, "manifest": manifest.document(), "files": encoded},
        code="E_SCRIPT",
        what="package",
    )


def open_package(envelope: Any) -> Package:
    """The package in an envelope that its author signed; `E_SIGNATURE`, `E_SCRIPT`."""
    document = dsse.verify(KIND, envelope, [])
    package = Package.parse(document, code="E_SCRIPT", what="package")
    dsse.verify(KIND, envelope, [package.author])
    return package


def read_package(data: bytes) -> tuple[dict[str, Any], Package]:
    """Envelope and package of a package file; `E_SCRIPT` if it is none."""
    try:
        envelope = canonical.loads(data)
    except AtollError as error:
        raise AtollError("E_SCRIPT", f"the package file is malformed: {error.text}.") from None
    return envelope, open_package(envelope)
