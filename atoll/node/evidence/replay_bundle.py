"""A bundle: all files that a replay at a host needs, with their names, sizes and digests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from atoll.crypto import canonical
from atoll.crypto.document import Digest, Document, require_unique
from atoll.crypto.suite import digest_file
from atoll.errors import AtollError
from atoll.node.evidence.replay_papers import Papers
from atoll.node.worker.keep import kept_files

PIECE = 1 << 20
PAPERS = "papers.json"
INPUT_FILES = ("data.parquet", "salts.bin", "leaves.bin", "manifest.json")
# Names stand under the host's folder: nothing in them can lead out of it.
_NAME = re.compile(
    r"papers\.json"
    r"|input/[a-z][a-z0-9_-]{0,31}/(data\.parquet|salts\.bin|leaves\.bin|manifest\.json)"
    r"|kept/(received|sent)-[0-9]{1,10}-[0-9]{1,4}-[a-z0-9][a-z0-9._-]{0,63}"
    r"|kept/events-[0-9]{1,10}"
)
_MOST_FILES = 4096


class BundleFile(Document):
    """One file of a bundle."""

    name: Annotated[str, StringConstraints(max_length=200)]
    size: Annotated[int, Field(ge=0, le=2**53 - 1)]
    digest: Digest

    @model_validator(mode="after")
    def _validate(self) -> BundleFile:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name: no file of a bundle is called so")
        return self


class Bundle(Document):
    """The list of a bundle's files."""

    files: Annotated[tuple[BundleFile, ...], Field(min_length=1, max_length=_MOST_FILES)]

    @model_validator(mode="after")
    def _validate(self) -> Bundle:
        require_unique((f.name for f in self.files), "files: name")
        if PAPERS not in {f.name for f in self.files}:
            raise ValueError("files: the papers are missing")
        return self

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)


def pack(papers: Papers, folder: Path, inputs: dict[str, Any], work: Path) -> tuple[Bundle, dict[str, Path]]:
    """The bundle of a case at the audited node, and where each of its files lies.

    Args:
        papers: written into `work`.
        folder: the job's, with what was kept.
        inputs: of the case; each has its version's folder under `path`.
    """
    path = work / PAPERS
    path.touch(mode=0o600)
    path.write_bytes(canonical.dumps(papers.document()))
    places = {PAPERS: path}
    for key, entry in inputs.items():
        places |= {f"input/{key}/{name}": Path(entry["path"]) / name for name in INPUT_FILES}
    for file in kept_files(folder):
        if file.name.split("-", 2)[1] == str(papers.attempt):
            places[f"kept/{file.name}"] = file
    try:
        files = [
            {"name": name, "size": place.stat().st_size, "digest": digest_file(place)}
            for name, place in sorted(places.items())
        ]
    except OSError as error:
        raise AtollError(
            "E_DATA", f"{error.filename} cannot be read: {error.strerror}", fault="owner"
        ) from None
    return Bundle.parse({"files": files}), places


def unpack_papers(folder: Path) -> Papers:
    """The papers of a bundle that arrived; `E_FORMAT`, `E_TOO_LARGE`."""
    return Papers.parse(canonical.loads((folder / PAPERS).read_bytes()), what="papers")


def check_files(bundle: Bundle, folder: Path) -> None:
    """Raises `E_DATA` for the first file that is not the one that was announced."""
    for file in bundle.files:
        path = folder / file.name
        try:
            same = path.stat().st_size == file.size and digest_file(path) == file.digest
        except OSError:
            same = False
        if not same:
            raise AtollError(
                "E_DATA", f"{file.name} of the bundle is not the file that was announced", fault="peer"
            )
