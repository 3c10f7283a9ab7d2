"""Packages: built, signed, read again; what is none is refused by name."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from atoll.client.authoring import read_folder
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.scripts.manifest import parse
from atoll.scripts.package import KIND, MAX_FILES, build, open_package, read_package

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scripts" / "claims"
KEY = SigningKey(b"\1" * 32)
OTHER = SigningKey(b"\2" * 32)
AUTHOR = str(KEY.public)
SOURCE = read_folder(EXAMPLE)


def document(**changed: Any) -> dict[str, Any]:
    return build(SOURCE.manifest, SOURCE.files, AUTHOR).document() | changed


def refused(envelope: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        open_package(envelope)
    return caught.value


def test_a_package_comes_back_as_it_was_signed() -> None:
    package = build(SOURCE.manifest, SOURCE.files, AUTHOR)
    envelope = dsse.sign(KIND, package.document(), KEY)
    found = open_package(envelope)
    assert found == package
    assert found.contents == SOURCE.files
    read, again = read_package(canonical.dumps(envelope))
    assert (read, again.digest) == (envelope, package.digest)


def test_the_content_is_the_same_for_every_author_and_the_digest_is_not() -> None:
    mine, theirs = (build(SOURCE.manifest, SOURCE.files, str(key.public)) for key in (KEY, OTHER))
    assert mine.content == theirs.content
    assert mine.digest != theirs.digest
    changed = build(SOURCE.manifest, SOURCE.files | {"rules.py": b"x"}, AUTHOR)
    assert changed.content != mine.content


def test_the_manifest_comes_back_from_its_document() -> None:
    assert parse(SOURCE.manifest.document()) == SOURCE.manifest


def test_files_are_exactly_those_of_the_manifest() -> None:
    with pytest.raises(AtollError, match=r"rules\.py is missing"):
        build(SOURCE.manifest, {k: v for k, v in SOURCE.files.items() if k != "rules.py"}, AUTHOR)
    with pytest.raises(AtollError, match=r"nothing names more\.csv"):
        build(SOURCE.manifest, SOURCE.files | {"more.csv": b""}, AUTHOR)


def test_files_have_a_most_size_together() -> None:
    room = MAX_FILES - sum(map(len, SOURCE.files.values())) + len(SOURCE.files["rules.py"])
    build(SOURCE.manifest, SOURCE.files | {"rules.py": b"#" * room}, AUTHOR)
    with pytest.raises(AtollError, match="over 3 MiB"):
        build(SOURCE.manifest, SOURCE.files | {"rules.py": b"#" * (room + 1)}, AUTHOR)


@pytest.mark.parametrize("text", ["YQ", "YQ=", "YR==", "YQ==\n", " YQ==", "-_==", "é", 7, None])
def test_base64_has_one_form(text: Any) -> None:
    files = document()["files"] | {"rules.py": text}
    error = refused(dsse.sign(KIND, document(files=files), KEY))
    assert error.code == "E_SCRIPT"
    assert "rules.py" in error.text


@pytest.mark.parametrize(
    "changed",
    [
        {"format": "atoll.package/v2"},
        {"author": "insurer"},
        {"files": []},
        {"note": "free text"},
        {"manifest": {}},
    ],
)
def test_documents_that_are_no_package(changed: dict[str, Any]) -> None:
    assert refused(dsse.sign(KIND, document(**changed), KEY)).code == "E_SCRIPT"


def test_only_the_authors_signature_counts() -> None:
    good = dsse.sign(KIND, document(), KEY)
    flipped = {**good, "signatures": [{**good["signatures"][0], "sig": base64.b64encode(b"0" * 64).decode()}]}
    longer = {**good, "payload": base64.b64encode(base64.b64decode(good["payload"]) + b" ").decode()}
    for wrong in (
        dsse.sign(KIND, document(), OTHER),
        dsse.sign("agreement/v1", document(), KEY),
        flipped,
        longer,
        {**good, "signatures": []},
    ):
        assert refused(wrong).code in ("E_SIGNATURE", "E_FORMAT")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"payload": 1}', b'{"a": 1.5}'])
def test_files_that_are_no_package(data: bytes) -> None:
    with pytest.raises(AtollError) as caught:
        read_package(data)
    assert caught.value.code in ("E_SCRIPT", "E_FORMAT", "E_SIGNATURE")
