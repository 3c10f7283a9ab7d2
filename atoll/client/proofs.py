"""Checking what an owner proved of a table, without a node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.data.rowproof import RowProof


def verify_row_proof(path: str | Path, version_digest: str) -> RowProof:
    """Checks a proof about rows of an id offline, with no node and no network.

    Args:
        path: a file that `node.data.prove` wrote.
        version_digest: of the version that the proof must be about, from an approval or a receipt.

    Returns:
        What is proved: `.outcome` (`present` or `absent`), `.rows`, `.lines("en")`.

    Raises:
        AtollError: `E_NOT_FOUND` if the file cannot be read; `E_FORMAT`, `E_TOO_LARGE` for what is no proof or no
            digest; `E_PROOF` for a proof that does not hold, with what is wrong.
    """
    from atoll.crypto.canonical import MAX_BYTES
    from atoll.data.rowproof import verify_proof

    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AtollError("E_NOT_FOUND", f"cannot read {path}: {error.strerror}.") from None
    return verify_proof(data, version_digest)
